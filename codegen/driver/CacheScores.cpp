//===- CacheScores.cpp - what each format of the cache costs --------------===//
//
// How much it hurts to keep keys and values in a format is the KL divergence of the model
// in f32 with only its cache changed, on the text of the scores: one model serves all
// formats, as what it stores goes through the format's codec first. It is kept in the
// statistics beside the scores of groups. Search.cpp weighs it with the others.
//
//===----------------------------------------------------------------------===//

#include "codegen/driver/PartialRuns.h"
#include "codegen/driver/ScoreGroups.h"
#include "codegen/driver/StatisticsKeeper.h"
#include "ir/Failure.h"
#include "ir/codecs/Codec.h"
#include "ir/packings/KvPages.h"

#include <llvm/ADT/StringSet.h>

using namespace mlir;
using namespace qplan;

namespace {

/// The row of Statistics::scores that caches have; no group has such a name.
constexpr const char *cacheRow = "kv_cache";

/// Bytes of one token of all layers. Errors: `format` does not fit heads of `module`.
llvm::Expected<uint64_t> tokenBytes(ModuleOp module, FormatId format) {
  uint64_t sum = 0;
  std::string fault;
  module.walk([&](qp::AttentionOp op) {
    if (auto bytes = kvTokenBytes(format, op.getHeadDim(), op.getKvHeads()))
      sum += *bytes;
    else
      fault = llvm::toString(bytes.takeError());
  });
  if (!fault.empty())
    return usageError("{}", fault);
  return sum;
}

/// What decides on the bytes of `format` in all caches of `module`, which it fits.
std::string layoutsOf(ModuleOp module, FormatId format) {
  std::string text;
  module.walk([&](qp::AttentionOp op) {
    const KvLayout layout = llvm::cantFail(kvLayoutFor(format, op.getHeadDim()));
    text += fmt::format("{} {} {} {} {};", layout.element, layout.group, int(layout.scale),
                        layout.zero, int(layout.fixed));
  });
  return text;
}

/// The keys, or the values, of one head as a cache in some format gives them back.
class CachedVector {
public:
  explicit CachedVector(FormatId format) : codec(codecFor(format)) {}

  llvm::Error round(float *x, int64_t columns, std::optional<double> scale) {
    const float side = float(scale.value_or(1.0));
    EncodeOptions encoding;
    encoding.subject = "cached keys and values";
    if (kvScalesOf(codec.format().id) != KvScales::None)
      encoding.tensor = {ArrayRef(side), 0};
    bytes.resize(codec.bytesPerRow(columns));
    if (auto error = codec.encodeRow(x, columns, encoding, bytes.data()))
      return error;
    codec.decodeRow(bytes.data(), columns, x, encoding.tensor);
    return llvm::Error::success();
  }

private:
  const Codec &codec;
  std::vector<uint8_t> bytes;
};

/// The fixed scale of head `h`; absent where the cache has none.
std::optional<double> scaleOf(const std::optional<ArrayRef<double>> &scales, int64_t h) {
  if (!scales)
    return std::nullopt;
  return (*scales)[scales->size() == 1 ? 0 : size_t(h)];
}

/// What the attention of `module`, whose scales are fixed, stores, at the launches of `pass`.
std::vector<RowChange> cacheChanges(ModuleOp module, const LivePass &pass, FormatId format) {
  std::vector<RowChange> changes;
  module.walk([&](qp::AttentionOp op) {
    const CacheStore store = pass.storeOf(op.getLayer());
    auto change = [op, store, vector = CachedVector(format)](float *row,
                                                             int64_t) mutable -> llvm::Error {
      const int64_t dim = op.getHeadDim();
      for (int64_t h = 0; h < int64_t(op.getKvHeads()); ++h) {
        if (auto error = vector.round(row + store.key + h * dim, dim,
                                      scaleOf(op.getKeyScales(), h)))
          return error;
        if (auto error = vector.round(row + store.value + h * dim, dim,
                                      scaleOf(op.getValueScales(), h)))
          return error;
      }
      return llvm::Error::success();
    };
    changes.push_back({store.launch, std::move(change)});
  });
  return changes;
}

} // namespace

llvm::Error Compiler::weighCaches() {
  const bool all = options.kvCache == "auto";
  if (!all && !options.budgets.memoryBytes)
    return llvm::Error::success();
  auto module = import("f32");
  if (!module)
    return module.takeError();
  auto facts = (**module)->getAttrOfType<DictionaryAttr>("qp.model");
  front->context = facts.getAs<IntegerAttr>("context").getInt();
  llvm::StringSet<> layouts; // a block of all columns and a larger one are the same
  for (FormatId format : all ? kvFormats() : std::vector<FormatId>{kvFormat}) {
    auto bytes = tokenBytes(**module, format);
    if (!bytes && !all)
      return bytes.takeError();
    if (!bytes)
      llvm::consumeError(bytes.takeError());
    else if (layouts.insert(layoutsOf(**module, format)).second)
      front->caches.push_back({formatName(format).str(), 0, double(*bytes), std::nullopt});
  }
  std::vector<std::string> missing;
  const auto &known = statistics->scores[cacheRow];
  for (const FrontCache &cache : front->caches)
    if (cache.format != formatName(FormatId::F32) && !known.contains(cache.format))
      missing.push_back(cache.format);
  if (!missing.empty())
    if (auto error = measureCaches(missing))
      return error;
  for (FrontCache &cache : front->caches)
    if (auto found = known.find(cache.format); found != known.end())
      cache.kl = found->second;
  return llvm::Error::success();
}

llvm::Error Compiler::measureCaches(ArrayRef<std::string> formats) {
  if (options.calibration.empty())
    return usageError("--statistics {}: holds no score of a cache in {}; give --calib TEXT to "
                      "measure it",
                      options.statistics, formats[0]);
  auto windows = calibrationText(scoringWindows, scoringLength);
  if (!windows)
    return windows.takeError();
  auto live = exactModel();
  if (!live)
    return live.takeError();
  auto runs = PartialRuns::create(**live, std::move(*windows), {});
  if (!runs)
    return runs.takeError();
  StatisticsKeeper keeper(*statistics, options.statistics);
  for (auto [i, name] : llvm::enumerate(formats)) {
    const FormatId format = llvm::cantFail(parseKvFormat(name));
    auto module = import(name);
    if (!module)
      return module.takeError();
    if (auto error = lowerExact(**module, /*toPlan=*/false))
      return error;
    auto kl = (*runs)->divergence(0, cacheChanges(**module, (*runs)->pass(), format));
    if (!kl)
      return kl.takeError();
    statistics->scores[cacheRow][name] = *kl;
    progress.update("score caches", i + 1, formats.size());
    if (auto error = keeper.keep())
      return error;
  }
  return keeper.write();
}

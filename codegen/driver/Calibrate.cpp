//===- Calibrate.cpp - what enters each site ------------------------------===//
//
// Statistics of a calibration text: read from a file that fits, or made by
// running the model with observers.
//
//===----------------------------------------------------------------------===//

#include "codegen/driver/Calibrator.h"
#include "codegen/driver/PartialSums.h"
#include "codegen/lower/Passes.h"
#include "codegen/plan/Passes.h"
#include "ir/Failure.h"
#include "passes/Sites.h"
#include "passes/search/SiteGlob.h"
#include "qplan/text.h"

#include <llvm/Support/FileSystem.h>
#include <llvm/Support/MemoryBuffer.h>
#include <mlir/Pass/PassManager.h>

using namespace mlir;
using namespace qplan;

llvm::Expected<std::vector<std::vector<int32_t>>>
qplan::calibrationWindows(const Checkpoint &source, const std::string &path, int64_t samples,
                          int64_t length, std::string *textHash) {
  auto file = llvm::MemoryBuffer::getFile(path);
  if (!file)
    return inputError("--calib {}: cannot read: {}", path, file.getError().message());
  llvm::StringRef text = (*file)->getBuffer();
  if (textHash)
    *textHash = calibrationTextHash(text);
  auto json = tokenizerOf(source);
  if (!json)
    return json.takeError();
  if (json->empty())
    return inputError("{}: calibration needs a tokenizer, and the checkpoint has none "
                      "(tokenizer.json)",
                      source.path());
  qplan_text_error error;
  qplan_tokenizer *tokenizer = nullptr;
  std::string name = source.path() + " (tokenizer)";
  if (int32_t status =
          qplan_tokenizer_parse(json->data(), json->size(), name.c_str(), &tokenizer, &error))
    return llvm::make_error<Failure>(ExitStatus(status), error.message);
  int32_t *ids = nullptr;
  size_t count = 0;
  int32_t status =
      qplan_tokenizer_encode(tokenizer, text.data(), text.size(), 0, &ids, &count, &error);
  qplan_tokenizer_free(tokenizer);
  if (status)
    return llvm::make_error<Failure>(ExitStatus(status), error.message);
  std::vector<std::vector<int32_t>> windows;
  for (int64_t i = 0; i < samples && size_t((i + 1) * length) <= count; ++i)
    windows.emplace_back(ids + i * length, ids + (i + 1) * length);
  qplan_text_free(ids);
  if (windows.empty())
    return inputError("--calib {}: {} tokens are too few for one sample of {}; give a longer "
                      "text or a smaller --calib-length",
                      path, count, length);
  return windows;
}

// The layout is that of `observe` in Kernels.inc.
SiteStatistics qplan::readObserver(const uint8_t *memory, int64_t columns) {
  SiteStatistics out;
  auto at = [&](auto &value, int64_t offset) {
    std::memcpy(&value, memory + offset, sizeof value);
  };
  int64_t sums = (columns * 4 + 7) / 8 * 8;
  int64_t rows = 0;
  at(rows, sums + columns * 16);
  out.rows = uint64_t(rows);
  double count = std::max<double>(double(rows), 1);
  for (int64_t j = 0; j < columns; ++j) {
    float largest;
    double magnitude, square;
    at(largest, j * 4);
    at(magnitude, sums + j * 8);
    at(square, sums + columns * 8 + j * 8);
    out.absMax.push_back(largest);
    out.meanAbs.push_back(float(magnitude / count));
    out.meanSquare.push_back(float(square / count));
  }
  return out;
}

llvm::Error Compiler::lowerForCalibration(ModuleOp module) {
  return runPasses(module, "calibrate", [](OpPassManager &manager) {
    manager.addPass(createFuse());
    addPlanPasses(manager);
  });
}

llvm::Error Compiler::observeWindows(LiveModel &live, llvm::ArrayRef<std::vector<int32_t>> windows,
                                     const PartialSums &partial) {
  llvm::MutableArrayRef<uint8_t> memory(live.statistics(), live.statisticsBytes());
  const uint64_t done = std::min<uint64_t>(partial.load(memory), windows.size());
  if (done)
    progress.note(fmt::format("calibration goes on after {} of {} samples", done, windows.size()));
  for (uint64_t i = done; i < windows.size(); ++i) {
    if (auto error = live.run(windows[i], nullptr))
      return error;
    progress.update("calibrate", i + 1, windows.size());
    if (auto error = partial.store(memory, i + 1))
      return error;
  }
  partial.remove();
  return llvm::Error::success();
}

llvm::Expected<std::vector<std::vector<int32_t>>> Compiler::calibrationText(int64_t samples,
                                                                            int64_t most) const {
  return calibrationWindows(*source, options.calibration, samples, std::min(options.length, most),
                            nullptr);
}

llvm::Error Compiler::calibrate() {
  if (options.calibration.empty()) {
    if (options.statistics.empty() || !llvm::sys::fs::exists(options.statistics))
      return usageError(
          "these treatments or this cache need calibration: give --calib TEXT, or --statistics "
          "with a file that exists");
    auto read = readStatistics(options.statistics);
    if (!read)
      return read.takeError();
    if (read->key.modelHash != source->contentHash())
      return inputError("--statistics {}: made for another model ({}), this one is {}",
                        options.statistics, read->key.modelHash, source->contentHash());
    if (read->key.rotate != options.rotate)
      return inputError(
          "--statistics {}: made with --rotate '{}', this run has '{}'; give the same, or "
          "other statistics",
          options.statistics, read->key.rotate, options.rotate);
    statistics = std::move(*read);
    return llvm::Error::success();
  }
  std::string hash;
  auto windows =
      calibrationWindows(*source, options.calibration, options.samples, options.length, &hash);
  if (!windows)
    return windows.takeError();
  StatisticsKey key{source->contentHash(), hash, uint64_t(windows->size()),
                    uint64_t(options.length), options.rotate};
  if (!options.statistics.empty() && llvm::sys::fs::exists(options.statistics)) {
    auto read = readStatistics(options.statistics);
    if (!read)
      return read.takeError();
    if (auto error = read->checkFits(key, options.statistics))
      return error;
    statistics = std::move(*read);
    return llvm::Error::success();
  }

  auto module = import("f32");
  if (!module)
    return module.takeError();
  // Sites that read one value share an observer, named after the first. Experts of a bank read
  // one, whatever is routed to them.
  std::vector<std::pair<std::string, std::string>> sharers;
  const std::vector<Site> sites = collectSites(**module);
  for (auto [site, name] : llvm::zip(sites, inputNames(sites)))
    if (!name.empty())
      sharers.push_back({bankOf(site.name), name});
  (*module)->walk([&](qp::AttentionOp op) {
    for (const std::string &name : {keyCacheName(op), valueCacheName(op)})
      sharers.push_back({name, name});
  });
  auto observe = [](OpPassManager &manager) { manager.addPass(createInsertObservers()); };
  if (auto error = runPasses(**module, "observe", observe))
    return error;
  if (auto error = lowerForCalibration(**module))
    return error;
  auto live = LiveModel::create(std::move(*module), *weights, options.threads, progress);
  if (!live)
    return live.takeError();
  if (auto error = observeWindows(**live, *windows, PartialSums(options.statistics, key)))
    return error;
  Statistics made;
  made.key = key;
  std::map<std::string, SiteStatistics> observed;
  for (Attribute attr : (*live)->program()->getAttrOfType<ArrayAttr>("observers")) {
    auto entry = cast<DictionaryAttr>(attr);
    std::string name = entry.getAs<StringAttr>("site").getValue().str();
    SiteStatistics site =
        readObserver((*live)->statistics() + entry.getAs<IntegerAttr>("offset").getInt(),
                     entry.getAs<IntegerAttr>("columns").getInt());
    for (auto [j, value] : llvm::enumerate(site.meanSquare))
      if (!std::isfinite(value))
        return inputError("site {}: column {} of its input becomes NaN or infinite on the "
                          "calibration text; the weights are broken or overflow f32",
                          name, j);
    observed[name] = std::move(site);
  }
  for (const auto &[name, source] : sharers)
    if (auto found = observed.find(source); found != observed.end())
      made.sites[name] = found->second;
  statistics = std::move(made);
  if (!options.statistics.empty())
    return writeStatistics(*statistics, options.statistics);
  return llvm::Error::success();
}

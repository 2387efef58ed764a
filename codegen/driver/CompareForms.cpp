//===- CompareForms.cpp - run both forms of a plan side by side -----------===//
//
// One module is treated, cloned where it is in QDQ form, and both copies are lowered for this
// machine with taps behind each layer: one as it is, in f32, one fused as a plan is.
//
//===----------------------------------------------------------------------===//

#include "codegen/driver/Calibrator.h"
#include "codegen/driver/FormComparison.h"
#include "ir/Failure.h"

#include <cmath>
#include <mlir/Pass/PassManager.h>

using namespace mlir;
using namespace qplan;

namespace {

/// Sums for one LayerError, in the order of tokens and columns.
struct ErrorSums {
  double squares = 0, sum = 0, sumOfSquares = 0, count = 0;

  void add(const float *expected, const float *found, int64_t values) {
    for (int64_t i = 0; i < values; ++i) {
      double difference = double(found[i]) - double(expected[i]);
      squares += difference * difference;
      sum += double(expected[i]);
      sumOfSquares += double(expected[i]) * double(expected[i]);
    }
    count += double(values);
  }

  LayerError result(std::string name) const {
    double n = std::max(count, 1.0), mean = sum / n;
    return {std::move(name), std::sqrt(squares / n),
            std::sqrt(std::max(0.0, sumOfSquares / n - mean * mean))};
  }
};

/// The rows that one tap kept of the last pass; the layout is that of `observe` in Kernels.inc.
struct Tap {
  std::string name;
  int64_t offset = 0, columns = 0;

  const float *rows(LiveModel &live) const {
    return reinterpret_cast<const float *>(live.statistics() + offset + 64);
  }
};

std::vector<Tap> tapsOf(LiveModel &live) {
  std::vector<Tap> taps;
  if (auto list = live.program()->getAttrOfType<ArrayAttr>("observers"))
    for (Attribute attr : list) {
      auto entry = cast<DictionaryAttr>(attr);
      taps.push_back({entry.getAs<StringAttr>("site").getValue().str(),
                      entry.getAs<IntegerAttr>("offset").getInt(),
                      entry.getAs<IntegerAttr>("columns").getInt()});
    }
  return taps;
}

} // namespace

llvm::Expected<FormComparison> Compiler::compareForms(const std::string &text, int64_t samples) {
  // One pass holds a window: a tap keeps the rows of the last pass only.
  const int64_t length = std::min<int64_t>(256, options.maxTokens);
  if (auto error = prepare())
    return std::move(error);
  auto windows = calibrationWindows(*source, text, samples, length, nullptr);
  if (!windows)
    return windows.takeError();
  auto module = import(formatName(kvFormat));
  if (!module)
    return module.takeError();
  if (auto error = runPasses(**module, "tap",
                             [](OpPassManager &manager) { manager.addPass(createTapLayers()); }))
    return std::move(error);
  const bool asked = std::exchange(options.qdq, true);
  auto transformed = transform(**module);
  options.qdq = asked;
  if (transformed)
    return std::move(transformed);

  std::unique_ptr<LiveModel> forms[2]; // QDQ, emitted code
  OwningOpRef<ModuleOp> fused = (*module)->clone();
  for (int i : {0, 1}) {
    OwningOpRef<ModuleOp> &form = i == 0 ? *module : fused;
    auto lower = [&](OpPassManager &manager) {
      if (i == 1)
        manager.addPass(createFuse());
      addPlanPasses(manager, length);
    };
    if (auto error = runPasses(*form, "compare", lower))
      return std::move(error);
    auto live = LiveModel::create(std::move(form), *weights, options.threads, progress);
    if (!live)
      return live.takeError();
    forms[i] = std::move(*live);
  }
  LiveModel &meaning = *forms[0], &emitted = *forms[1];
  const std::vector<Tap> wanted = tapsOf(meaning), found = tapsOf(emitted);
  if (wanted.size() != found.size())
    return defectError("the forms of {} have {} and {} taps", options.model, wanted.size(),
                       found.size());

  FormComparison result;
  std::vector<ErrorSums> sums(wanted.size());
  ErrorSums logitSums;
  std::vector<float> expected, logits;
  for (auto [w, window] : llvm::enumerate(*windows)) {
    if (auto error = meaning.run(window, &expected))
      return std::move(error);
    if (auto error = emitted.run(window, &logits))
      return std::move(error);
    for (size_t t = 0; t < wanted.size(); ++t)
      sums[t].add(wanted[t].rows(meaning), found[t].rows(emitted),
                  int64_t(window.size()) * wanted[t].columns);
    logitSums.add(expected.data(), logits.data(), int64_t(logits.size()));
    result.kl += meaning.divergence(expected, logits) / double(windows->size());
    result.tokens += int64_t(window.size());
    progress.update("compare forms", w + 1, windows->size());
  }
  for (size_t t = 0; t < wanted.size(); ++t)
    result.layers.push_back(sums[t].result(wanted[t].name));
  result.logits = logitSums.result("logits");
  return result;
}

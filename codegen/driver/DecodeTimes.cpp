//===- DecodeTimes.cpp - how long a decode step takes ---------------------===//
//
// The kernels that a plan would hold are emitted and run: the model with one treatment at
// all sites in scope, decoding from an empty cache as `qplan bench` does. A mixed plan then
// takes, at each site, the site's share of the uniform plans' times; shares are those of
// the weights, as decoding is bound by reading them. What no treatment changes (attention,
// norms, the head) is in all the times alike, and so comes out right in every mix.
// A cache is timed by what steps take longer when it is full.
//
// Values do not matter to time, so weights are random bytes, and treatments go without
// their methods: nothing is calibrated, rounded or packed.
//
//===----------------------------------------------------------------------===//

#include "codegen/driver/Calibrator.h"
#include "ir/Failure.h"

#include <chrono>
#include <cstdlib>
#include <cstring>
#include <mlir/Pass/PassManager.h>
#include <random>

using namespace mlir;
using namespace qplan;

namespace {

constexpr int64_t decodeTokens = 128; ///< of one measurement, as `qplan bench` has
constexpr int64_t deepTokens = 32;    ///< of one where the depth counts, which grows meanwhile
constexpr int rounds = 3;             ///< of which the fastest counts

/// A compiled model whose weights are noise.
class TimedModel {
public:
  ~TimedModel() {
    qplan_session_free(session);
    qplan_model_close(model);
    std::free(bytes);
  }

  llvm::Error open(ModuleOp plan, unsigned threads) {
    auto target = parseTarget("cpu");
    if (!target)
      return target.takeError();
    EmitOptions emitting;
    emitting.threads = threads;
    auto made = jitModel(plan, *target, emitting);
    if (!made)
      return made.takeError();
    code = std::move(*made);
    const uint64_t size = code->model()->weight_bytes;
    bytes = static_cast<uint8_t *>(std::aligned_alloc(64, (size + 63) / 64 * 64));
    if (!bytes)
      return machineError("timing decode steps needs {} bytes of memory for weights", size);
    fill(size);
    qplan_options options = QPLAN_OPTIONS_INIT;
    options.threads = int32_t(threads);
    if (qplan_model_open_memory(code->model(), bytes, size, &options, &model, message,
                                sizeof message) != QPLAN_OK ||
        qplan_session_create(model, &session, message, sizeof message) != QPLAN_OK)
      return defectError("timing decode steps: the compiled model does not open: {}", message);
    return llvm::Error::success();
  }

  /// Milliseconds of one step, over `decodeTokens` steps from an empty cache.
  llvm::Expected<double> decode() {
    const int64_t tokens = std::min<int64_t>(decodeTokens, code->model()->context);
    qplan_session_reset(session);
    if (auto warm = timeSteps(tokens); !warm)
      return warm.takeError();
    return fastest([&]() -> llvm::Expected<double> {
      qplan_session_reset(session);
      return timeSteps(tokens);
    });
  }

  /// How many milliseconds a step takes longer when the cache is full.
  llvm::Expected<double> growth() {
    const int64_t context = code->model()->context;
    const int64_t tokens = std::clamp<int64_t>(context / (4 * rounds), 1, deepTokens);
    auto empty = fastest([&]() -> llvm::Expected<double> {
      qplan_session_reset(session);
      return timeSteps(std::min(tokens, context));
    });
    if (!empty)
      return empty.takeError();
    qplan_session_reset(session);
    for (int64_t left = std::max<int64_t>(context - rounds * tokens, 0); left > 0;) {
      const int64_t count = std::min(left, code->model()->max_tokens);
      if (auto error = step(count))
        return std::move(error);
      left -= count;
    }
    auto full = fastest([&] { return timeSteps(tokens); });
    if (!full)
      return full.takeError();
    return std::max(0.0, *full - *empty);
  }

private:
  /// The least of some measurements.
  template <typename Measure> static llvm::Expected<double> fastest(Measure measure) {
    double least = 0;
    for (int i = 0; i < rounds; ++i) {
      auto taken = measure();
      if (!taken)
        return taken.takeError();
      least = i ? std::min(least, *taken) : *taken;
    }
    return least;
  }

  /// One pass of `count` tokens.
  llvm::Error step(int64_t count) {
    const uint64_t vocabulary = uint64_t(code->model()->vocabulary);
    tokens.resize(size_t(count));
    for (int32_t &token : tokens)
      token = int32_t(random() % vocabulary);
    logits.resize(vocabulary);
    qplan_work work = {session, tokens.data(), count, QPLAN_LOGITS_LAST, 0, logits.data(), nullptr};
    if (int status = qplan_step(model, 1, &work, message, sizeof message))
      return llvm::make_error<Failure>(ExitStatus(status),
                                       fmt::format("timing decode steps: {}", message));
    return llvm::Error::success();
  }

  /// Milliseconds of each of `count` decode steps from where the cache is.
  llvm::Expected<double> timeSteps(int64_t count) {
    auto start = std::chrono::steady_clock::now();
    for (int64_t i = 0; i < count; ++i)
      if (auto error = step(1))
        return std::move(error);
    std::chrono::duration<double, std::milli> taken = std::chrono::steady_clock::now() - start;
    return taken.count() / double(count);
  }

  /// Codes at random; every second byte is one that makes 16- and 32-bit scales ordinary
  /// numbers, because denormals and infinities could be slower.
  void fill(uint64_t size) {
    std::mt19937_64 random(1);
    for (uint64_t i = 0; i + 8 <= size; i += 8) {
      uint64_t word = (random() & 0x8fff8fff8fff8fff) | 0x3000300030003000;
      std::memcpy(bytes + i, &word, 8);
    }
    std::memset(bytes, 0, 64);
    std::memcpy(bytes, "QPLANW1", 8);
    uint64_t dataOffset = 64;
    std::memcpy(bytes + 8, &size, 8);
    std::memcpy(bytes + 16, &dataOffset, 8);
  }

  std::unique_ptr<JitModel> code;
  uint8_t *bytes = nullptr;
  qplan_model *model = nullptr;
  qplan_session *session = nullptr;
  std::mt19937 random{1};
  std::vector<int32_t> tokens;
  std::vector<float> logits;
  char message[512] = "";
};

} // namespace

llvm::Expected<OwningOpRef<ModuleOp>> Compiler::planForTiming(const Treatment &treatment,
                                                               llvm::StringRef cache) {
  auto module = import(cache);
  if (!module)
    return module.takeError();
  Treatment plain{treatment.weight, treatment.activation, Method::Max, {}};
  PassInputs inputs{weights.get(), statistics ? &*statistics : nullptr, nullptr};
  AssignTreatmentsOptions assigning;
  assigning.quant = printTreatment(plain);
  assigning.sites = options.sites;
  assigning.fallback = "bf16"; // sites that cannot take it are not given it by the search either
  if (auto error = runPasses(**module, "time", [&](OpPassManager &manager) {
        manager.addPass(createAssignTreatments(inputs, assigning));
        manager.addPass(createInsertQdq(inputs));
        manager.addPass(createFuse());
        addPlanPasses(manager, options.maxTokens);
      }))
    return std::move(error);
  return module;
}

llvm::Error Compiler::addDecodeTimes(llvm::ArrayRef<Treatment> candidates) {
  if (chosenTarget.name != hostTargetName())
    return usageError("--decode-ms: times are measured on this machine ({}), but the plan is for "
                      "{}; search on the target, or leave the budget out",
                      hostTargetName(), chosenTarget.name);
  double elements = 0;
  for (const FrontGroup &group : front->groups)
    elements += double(group.elements);
  const size_t all = candidates.size() + front->caches.size();
  auto time = [&](size_t done, const Treatment &treatment, llvm::StringRef cache,
                  auto measure) -> llvm::Expected<double> {
    progress.update("time decoding", done, all);
    auto plan = planForTiming(treatment, cache);
    if (!plan)
      return plan.takeError();
    TimedModel timed;
    if (auto error = timed.open(**plan, options.threads))
      return std::move(error);
    return (timed.*measure)();
  };
  for (auto [c, treatment] : llvm::enumerate(candidates)) {
    auto taken = time(c, treatment, formatName(kvFormat), &TimedModel::decode);
    if (!taken)
      return taken.takeError();
    for (FrontGroup &group : front->groups)
      group.cells[c].decodeMs = *taken * double(group.elements) / elements;
  }
  const Treatment any = {FormatId::BF16, std::nullopt, Method::Max, {}};
  for (auto [i, cache] : llvm::enumerate(front->caches)) {
    auto taken = time(candidates.size() + i, any, cache.format, &TimedModel::growth);
    if (!taken)
      return taken.takeError();
    cache.decodeMs = *taken;
  }
  progress.update("time decoding", all, all);
  front->baseDecodeMs = 0.0; // each group carries its share of the rest
  return llvm::Error::success();
}

//===- DecodeTimes.cpp - how long a decode step takes ---------------------===//
//
// The kernels that a plan would hold are emitted and run: the model with one treatment at
// all sites in scope, decoding from an empty cache as `qplan bench` does. A mixed plan then
// takes, at each site, the site's share of the uniform plans' times; shares are those of
// the weights, as decoding is bound by reading them. What no treatment changes (attention,
// norms, the head) is in all the times alike, and so comes out right in every mix.
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
    auto made = jitModel(plan, *target, EmitOptions());
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
    const int64_t vocabulary = code->model()->vocabulary;
    const int64_t tokens = std::min<int64_t>(decodeTokens, code->model()->context);
    std::vector<float> logits(static_cast<size_t>(vocabulary));
    std::mt19937 random(1);
    qplan_session_reset(session);
    auto start = std::chrono::steady_clock::now();
    for (int64_t i = 0; i < tokens; ++i) {
      int32_t token = int32_t(random() % uint64_t(vocabulary));
      qplan_work work = {session, &token, 1, QPLAN_LOGITS_LAST, 0, logits.data(), nullptr};
      if (int status = qplan_step(model, 1, &work, message, sizeof message))
        return llvm::make_error<Failure>(ExitStatus(status),
                                         fmt::format("timing decode steps: {}", message));
    }
    std::chrono::duration<double, std::milli> taken = std::chrono::steady_clock::now() - start;
    return taken.count() / double(tokens);
  }

private:
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
  char message[512] = "";
};

} // namespace

llvm::Expected<double> Compiler::decodeTime(const Treatment &treatment) {
  auto module = import(formatName(kvFormat));
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
  TimedModel timed;
  if (auto error = timed.open(**module, options.threads))
    return std::move(error);
  double least = 0;
  for (int i = 0; i <= rounds; ++i) { // the first warms up
    auto taken = timed.decode();
    if (!taken)
      return taken.takeError();
    if (i == 1 || (i > 1 && *taken < least))
      least = *taken;
  }
  return least;
}

llvm::Error Compiler::addDecodeTimes(llvm::ArrayRef<Treatment> candidates) {
  if (chosenTarget.name != hostTargetName())
    return usageError("--decode-ms: times are measured on this machine ({}), but the plan is for "
                      "{}; search on the target, or leave the budget out",
                      hostTargetName(), chosenTarget.name);
  double elements = 0;
  for (const FrontGroup &group : front->groups)
    elements += double(group.elements);
  for (auto [c, treatment] : llvm::enumerate(candidates)) {
    progress.update("time decoding", c, candidates.size());
    auto taken = decodeTime(treatment);
    if (!taken)
      return taken.takeError();
    for (FrontGroup &group : front->groups)
      group.cells[c].decodeMs = *taken * double(group.elements) / elements;
  }
  progress.update("time decoding", candidates.size(), candidates.size());
  front->baseDecodeMs = 0.0; // each group carries its share of the rest
  return llvm::Error::success();
}

//===- DecodeTimes.cpp - how long a decode step takes ---------------------===//
//
// The kernels that a plan would hold are emitted and run: the model with one treatment at
// all sites in scope, decoding from an empty cache as `qplan bench` does. A mixed plan then
// takes, at each site, the site's share of the uniform plans' times; shares are those of
// the weights, as decoding is bound by reading them. What no treatment changes (attention,
// norms, the head) is in all the times alike, and so comes out right in every mix.
// Sites that read the same input are one launch where they are stored alike: what a further
// one takes is found from mixes, which take longer than such sums.
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
#include <sys/mman.h>
#include <unistd.h>

using namespace mlir;
using namespace qplan;

namespace {

constexpr int64_t decodeTokens = 128; ///< of one measurement, as `qplan bench` has
constexpr int64_t deepTokens = 32;    ///< of one where the depth counts, which grows meanwhile
constexpr int rounds = 9;             ///< of which the median counts, as in `qplan bench`
constexpr size_t mixes = 3;           ///< at most, from which the time of a launch is found

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
    const uint64_t page = uint64_t(getpagesize());
    bytes = static_cast<uint8_t *>(std::aligned_alloc(page, (size + page - 1) / page * page));
    if (!bytes)
      return machineError("timing decode steps needs {} bytes of memory for weights", size);
    // Plans map a file, whose pages are small; memory on large ones is read faster.
    madvise(bytes, size, MADV_NOHUGEPAGE);
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
    return typical([&]() -> llvm::Expected<double> {
      qplan_session_reset(session);
      return timeSteps(tokens);
    });
  }

  /// How many milliseconds a step takes longer when the cache is full.
  llvm::Expected<double> growth() {
    const int64_t context = code->model()->context;
    const int64_t tokens = std::clamp<int64_t>(context / (4 * rounds), 1, deepTokens);
    auto empty = typical([&]() -> llvm::Expected<double> {
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
    auto full = typical([&] { return timeSteps(tokens); });
    if (!full)
      return full.takeError();
    return std::max(0.0, *full - *empty);
  }

private:
  /// The median of some measurements.
  template <typename Measure>
  static llvm::Expected<double> typical(Measure measure) {
    std::vector<double> found;
    for (int i = 0; i < rounds; ++i) {
      auto taken = measure();
      if (!taken)
        return taken.takeError();
      found.push_back(*taken);
    }
    llvm::sort(found);
    return found[found.size() / 2];
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

llvm::Expected<OwningOpRef<ModuleOp>>
Compiler::planForTiming(llvm::StringRef quant, const Recipe *recipe, llvm::StringRef cache) {
  auto module = import(cache);
  if (!module)
    return module.takeError();
  PassInputs inputs{weights.get(), statistics ? &*statistics : nullptr, recipe};
  AssignTreatmentsOptions assigning;
  assigning.quant = quant.str();
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

/// `treatment` without its method, which kernels do not know of.
static std::string plainName(const Treatment &treatment) {
  return printTreatment({treatment.weight, treatment.activation, Method::Max, {}});
}

llvm::Error Compiler::addSplitTime(
    llvm::ArrayRef<Treatment> candidates,
    llvm::function_ref<llvm::Expected<double>(llvm::StringRef, const Recipe *)> decode) {
  SearchFront plain = *front;
  for (auto [name, candidate] : llvm::zip(plain.candidates, candidates))
    name = plainName(candidate);
  std::vector<double> found;
  for (size_t mix = 0; mix < mixes && mix + 1 < candidates.size(); ++mix) {
    // Every other group of a list has the next candidate.
    const uint32_t pair = uint32_t(mix * (candidates.size() - 1) / mixes);
    std::vector<uint32_t> choice(plain.groups.size(), pair);
    for (const std::vector<uint32_t> &list : plain.fused)
      for (size_t i = 1; i < list.size(); i += 2)
        choice[list[i]] = pair + 1;
    bool allowed = true;
    for (auto [group, candidate] : llvm::zip(plain.groups, choice))
      allowed &= group.cells[candidate].allowed;
    const int64_t splits = plain.splitsOf(choice);
    if (!allowed || splits == 0)
      continue;
    const FrontPoint point = plain.pointOf(std::move(choice));
    auto recipe = searchRecipe(plain, point, {});
    if (!recipe)
      return recipe.takeError();
    auto taken = decode("", &*recipe);
    if (!taken)
      return taken.takeError();
    found.push_back(std::max(0.0, *taken - *point.decodeMs) / double(splits));
  }
  // What else the machine does only adds to it.
  front->splitMs = found.empty() ? 0 : *llvm::min_element(found);
  return llvm::Error::success();
}

llvm::Error Compiler::addDecodeTimes(llvm::ArrayRef<Treatment> candidates) {
  if (chosenTarget.name != hostTargetName())
    return usageError("--decode-ms: times are measured on this machine ({}), but the plan is for "
                      "{}; search on the target, or leave the budget out",
                      hostTargetName(), chosenTarget.name);
  double elements = 0;
  for (const FrontGroup &group : front->groups)
    elements += double(group.elements);
  const size_t all = candidates.size() + front->caches.size() + mixes;
  size_t done = 0;
  auto time = [&](llvm::StringRef quant, const Recipe *recipe, llvm::StringRef cache,
                  auto measure) -> llvm::Expected<double> {
    progress.update("time decoding", std::min(done++, all), all);
    auto plan = planForTiming(quant, recipe, cache);
    if (!plan)
      return plan.takeError();
    TimedModel timed;
    if (auto error = timed.open(**plan, options.threads))
      return std::move(error);
    return (timed.*measure)();
  };
  auto decode = [&](llvm::StringRef quant, const Recipe *recipe) {
    return time(quant, recipe, formatName(kvFormat), &TimedModel::decode);
  };
  front->baseDecodeMs = 0.0; // each group carries its share of the rest
  for (auto [c, treatment] : llvm::enumerate(candidates)) {
    auto taken = decode(plainName(treatment), nullptr);
    if (!taken)
      return taken.takeError();
    for (FrontGroup &group : front->groups)
      group.cells[c].decodeMs = *taken * double(group.elements) / elements;
  }
  if (auto error = addSplitTime(candidates, decode))
    return error;
  for (FrontCache &cache : front->caches) {
    auto taken = time("bf16", nullptr, cache.format, &TimedModel::growth);
    if (!taken)
      return taken.takeError();
    cache.decodeMs = *taken;
  }
  progress.update("time decoding", all, all);
  return llvm::Error::success();
}

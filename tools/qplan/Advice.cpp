//===- Advice.cpp - which treatment to take -------------------------------===//

#include "tools/qplan/Advice.h"

#include "ir/Failure.h"

#include <algorithm>
#include <llvm/ADT/StringRef.h>

namespace qplan {
namespace {

/// Bounds lie between what formats of a kind reach on models of a hundred million weights and
/// more: 8 bits stay below the first, the better 4-bit types below the second.
constexpr AccuracyClass classes[] = {
    {"lossless", 0.002, "as 8 bits: no benchmark tells it from the original"},
    {"high", 0.02, "as the better 4-bit types"},
    {"medium", 0.1, "as plain 4 bits"},
    {"any", 1e300, "speed alone decides"}};

/// Rates that differ by less are the same: measurements of a second vary by as much.
constexpr double sameSpeed = 1.03;

/// The damage that a class bears, by the guide's words.
Grade bearable(const AccuracyClass &accuracy) {
  return accuracy.mostKl <= classes[0].mostKl   ? Grade::VeryLow
         : accuracy.mostKl <= classes[1].mostKl ? Grade::Low
         : accuracy.mostKl <= classes[2].mostKl ? Grade::Medium
                                                : Grade::High;
}

} // namespace

llvm::Expected<AccuracyClass> accuracyClass(const std::string &name) {
  for (const AccuracyClass &each : classes)
    if (name == each.name)
      return each;
  return usageError("--accuracy {}: expected lossless, high, medium or any", name);
}

double AdviceCandidate::seconds(int64_t batch, int64_t prompt, int64_t answer) const {
  double all = double(batch);
  return all * double(prompt) / prefillRate + all * double(answer) / decodeRate;
}

Advice advise(const std::vector<AdviceCandidate> &candidates, const AccuracyClass &accuracy,
              int64_t batch) {
  auto seconds = [&](const AdviceCandidate &c) {
    return c.seconds(batch, advicePrompt, adviceAnswer);
  };
  Advice advice;
  const AdviceCandidate *fastest = nullptr, *precise = &candidates.front();
  for (const AdviceCandidate &each : candidates) {
    precise = each.kl < precise->kl ? &each : precise;
    if (each.kl <= accuracy.mostKl && (!fastest || seconds(each) < seconds(*fastest)))
      fastest = &each;
  }
  if (!fastest) {
    advice.choice = size_t(precise - candidates.data());
    advice.within = false;
    advice.why = fmt::format("no candidate stays within a KL of {:.4g} nats ({}); {} comes "
                             "nearest with {:.4g}",
                             accuracy.mostKl, accuracy.name, precise->treatment, precise->kl);
    return advice;
  }
  const AdviceCandidate *best = fastest;
  for (const AdviceCandidate &each : candidates)
    if (each.kl <= accuracy.mostKl && seconds(each) <= seconds(*fastest) * sameSpeed &&
        each.kl < best->kl)
      best = &each;
  advice.choice = size_t(best - candidates.data());
  double prompt = double(batch * advicePrompt) / best->prefillRate / seconds(*best);
  advice.why = fmt::format(
      "of what stays within {:.4g} nats it is the fastest for a batch of {} requests of {} + {} "
      "tokens: {:.3g} s, {:.0f} % of them for the prompts",
      accuracy.mostKl, batch, advicePrompt, adviceAnswer, seconds(*best), 100 * prompt);
  if (best != fastest)
    advice.why += fmt::format("; {} takes {:.3g} s, no real difference, and is less accurate",
                              fastest->treatment, seconds(*fastest));
  return advice;
}

// NVIDIA's guide "Best practices to choose the right quantization methods": grades are its own.
const std::vector<Practice> &practices() {
  static const std::vector<Practice> table = {
      {"fp8", "FP8 (W8A8)", Grade::Medium, Grade::Medium, Grade::VeryLow, 89},
      {"int8a8@smoothquant", "INT8 SmoothQuant (W8A8)", Grade::Medium, Grade::Medium,
       Grade::Medium, 75},
      {"int8", "INT8 weight-only (W8A16)", Grade::Medium, Grade::Low, Grade::Low, 70},
      {"int4_g128", "INT4 weight-only (W4A16)", Grade::High, Grade::Low, Grade::High, 70},
      {"int4_g128@awq", "INT4 AWQ (W4A16)", Grade::High, Grade::Low, Grade::Low, 70},
      {"int4_g128@gptq", "INT4 GPTQ (W4A16)", Grade::High, Grade::Low, Grade::Low, 70},
      {"w4a8@awq", "INT4-FP8 AWQ (W4A8)", Grade::High, Grade::Medium, Grade::Low, 89}};
  return table;
}

const char *gradeName(Grade grade) {
  constexpr const char *names[] = {"very low", "low", "medium", "high"};
  return names[int(grade)];
}

std::optional<size_t> practiceFor(int capability, const AccuracyClass &accuracy, int64_t batch) {
  std::optional<size_t> best;
  auto gain = [&](const Practice &practice) {
    // Between the guide's two sizes both matter.
    return batch <= 4    ? 2 * int(practice.smallBatch)
           : batch >= 16 ? 2 * int(practice.largeBatch)
                         : int(practice.smallBatch) + int(practice.largeBatch);
  };
  const std::vector<Practice> &table = practices();
  for (size_t i = 0; i < table.size(); ++i) {
    const Practice &each = table[i];
    if (each.leastCapability > capability || each.damage > bearable(accuracy))
      continue;
    if (!best || gain(each) > gain(table[*best]) ||
        (gain(each) == gain(table[*best]) && each.damage < table[*best].damage))
      best = i;
  }
  return best;
}

llvm::Expected<std::optional<int>> cudaCapability(const std::string &target) {
  llvm::StringRef text = target;
  if (!text.consume_front("cuda"))
    return std::nullopt;
  int capability = 0;
  if (!text.consume_front(":sm_") || text.consumeInteger(10, capability) || capability < 50 ||
      capability > 200 || !(text.empty() || text == "a" || text == "f"))
    return usageError("--target {}: expected cuda:sm_NN, for example cuda:sm_90a", target);
  return std::optional<int>(capability);
}

} // namespace qplan

//===- Advice.h - which treatment to take ------------------------*- C++ -*-===//
//
// The deciding half of `qplan advise`, without a model: classes of accuracy, what a
// candidate costs a request, the choice and its reason; and, for targets that cannot be timed
// here, the best-practice table of TensorRT-LLM's guide.
//
//===----------------------------------------------------------------------===//
#ifndef QPLAN_TOOLS_QPLAN_ADVICE_H
#define QPLAN_TOOLS_QPLAN_ADVICE_H

#include <cstdint>
#include <llvm/Support/Error.h>
#include <optional>
#include <string>
#include <vector>

namespace qplan {

/// How much the logits may move: KL divergence from the unquantized model, nats a token.
struct AccuracyClass {
  const char *name;
  double mostKl;
  const char *meaning;
};

/// "lossless", "high", "medium", "any"; a usage error lists them.
llvm::Expected<AccuracyClass> accuracyClass(const std::string &name);

/// One treatment and what was measured of it. Speeds are of the whole batch.
struct AdviceCandidate {
  std::string treatment;
  double bits = 0;        ///< stored for each weight of the layers
  double kl = 0;          ///< nats, on held-back text
  double decodeRate = 0;  ///< tokens/s
  double prefillRate = 0; ///< tokens/s

  /// Seconds for one request of `prompt` and `answer` tokens in each place of a batch.
  double seconds(int64_t batch, int64_t prompt, int64_t answer) const;
};

/// The tokens of the request that speeds are weighed by.
inline constexpr int64_t advicePrompt = 512, adviceAnswer = 128;

/// Which candidate, and why in a sentence or two.
struct Advice {
  size_t choice = 0;
  bool within = true; ///< false: no candidate is in the class; the most accurate is chosen
  std::string why;
};

/// The fastest candidate of the class at this batch; of those within 3 % of it the most accurate.
/// `candidates` is not empty.
Advice advise(const std::vector<AdviceCandidate> &candidates, const AccuracyClass &accuracy,
              int64_t batch);

/// Rough grades of the best-practice table.
enum class Grade { VeryLow, Low, Medium, High };

/// One line of the table: treatments that GPUs run.
struct Practice {
  const char *treatment, *gpuName;
  Grade smallBatch, largeBatch; ///< gain in speed at batches <= 4 and >= 16
  Grade damage;                 ///< of accuracy
  int leastCapability;          ///< compute capability x 10 with the arithmetic for it
};

/// All lines, in the guide's order.
const std::vector<Practice> &practices();
const char *gradeName(Grade grade);

/// The line for a GPU of compute capability `capability` (89 for 8.9), not measured: the largest
/// gain at the batch among those whose damage the class bears. Nothing when none fits.
std::optional<size_t> practiceFor(int capability, const AccuracyClass &accuracy, int64_t batch);

/// "cuda:sm_90a" -> 90. Nothing when `target` is no CUDA target; a usage error when it is a
/// malformed one.
llvm::Expected<std::optional<int>> cudaCapability(const std::string &target);

} // namespace qplan
#endif // QPLAN_TOOLS_QPLAN_ADVICE_H

//===- SmallPlan.h - a plan small enough to check by hand -------*- C++ -*-===//
//
// logits[i] = (1 + scale * value) * table[token of row logit_row[i]]: an embedding,
// two elementwise kernels, a choice of rows, and a product with the identity.
//
//===----------------------------------------------------------------------===//
#ifndef QPLAN_TESTS_UNIT_CODEGEN_CPU_SMALLPLAN_H
#define QPLAN_TESTS_UNIT_CODEGEN_CPU_SMALLPLAN_H

#include "codegen/plan/Passes.h"
#include "qplan/abi.h"
#include <gtest/gtest.h>
#include <mlir/IR/MLIRContext.h>
#include <mlir/Parser/Parser.h>
#include <mlir/Pass/PassManager.h>
#include <vector>

namespace qplan::test {

constexpr int64_t width = 16, vocabulary = 16;
constexpr float value = 3, scale = 0.5f;

inline const char *smallPlan = R"(
  plan.program @tiny attributes {vocabulary = 16 : i64, hidden = 16 : i64, max_context = 64 : i64,
      max_tokens = 8 : i64, kv_page_tokens = 16 : i64, kv_page_bytes = 4096 : i64,
      kv_format = "f32"} {
    plan.weight @table {source = "table", format = "f32", packing = "panel16", rows = 16 : i64,
        cols = 16 : i64, bytes = 1024 : i64}
    plan.weight @identity {source = "identity", format = "f32", packing = "panel16",
        rows = 16 : i64, cols = 16 : i64, bytes = 1024 : i64}
    plan.buffer @x {per_token = 64 : i64}
    plan.buffer @y {per_token = 64 : i64}
    plan.buffer @z {per_token = 64 : i64}
    plan.buffer @rows {per_token = 64 : i64}
    plan.launch "embed" (@x) weights(@table) params {K = 16 : i64, N = 16 : i64, element = 0 : i64,
        group = 16 : i64, scale = 0 : i64, hasMin = 0 : i64, offset = 0 : i64,
        multiplier = 1.0 : f64} reads [] writes [0]
    plan.launch "unary" (@x, @y) weights() params {K = 16 : i64, kind = 5 : i64, value = 3.0 : f64,
        rows = 0 : i64, toLogits = 0 : i64} reads [0] writes [1]
    plan.launch "binary" (@x, @y, @z) weights() params {K = 16 : i64, kind = 0 : i64,
        scale = 0.5 : f64, rows = 0 : i64} reads [0, 1] writes [2]
    plan.launch "select_rows" (@z, @rows) weights() params {K = 16 : i64} reads [0] writes [1]
    plan.launch "linear_f32" (@rows) weights(@identity) params {N = 16 : i64, K = 16 : i64,
        element = 0 : i64, group = 16 : i64, scale = 0 : i64, hasMin = 0 : i64, offset = 0 : i64,
        ldi = 16 : i64, ldo = 16 : i64, outColumn = 0 : i64, hasBias = 0 : i64,
        hasResidual = 0 : i64, alpha = 1.0 : f64, rows = 1 : i64, toLogits = 1 : i64}
        reads [0] writes []
  }
)";

/// The table's entry for token v in column k.
inline float tableEntry(int64_t v, int64_t k) { return 100.0f * v + k; }

/// weights.bin of the plan: a header line, then both matrices in panel16 (f32:
/// column after column, 16 rows each).
inline std::vector<uint8_t> smallWeights() {
  std::vector<float> floats(16 + 2 * 256);
  for (int64_t k = 0; k < 16; ++k)
    for (int64_t r = 0; r < 16; ++r) {
      floats[16 + 16 * k + r] = tableEntry(r, k);
      floats[16 + 256 + 16 * k + r] = r == k;
    }
  std::vector<uint8_t> bytes(floats.size() * 4);
  memcpy(bytes.data(), floats.data(), bytes.size());
  return bytes;
}

/// Parses `text` and gives memory and weights their places.
inline mlir::OwningOpRef<mlir::ModuleOp> preparePlan(mlir::MLIRContext &context,
                                                     const std::string &text) {
  context.loadDialect<plan::PlanDialect>();
  auto module = mlir::parseSourceString<mlir::ModuleOp>(text, &context);
  if (!module)
    return module;
  mlir::PassManager passes(&context);
  passes.addNestedPass<plan::ProgramOp>(plan::createPlanAssignMemory());
  passes.addNestedPass<plan::ProgramOp>(plan::createPlanAssignWeights());
  if (mlir::failed(passes.run(*module)))
    return nullptr;
  return module;
}

/// 64-byte aligned memory.
class Aligned {
public:
  explicit Aligned(size_t bytes) : storage(bytes + 64) {}
  uint8_t *data() {
    auto address = reinterpret_cast<uintptr_t>(storage.data());
    return storage.data() + (64 - address % 64) % 64;
  }

private:
  std::vector<uint8_t> storage;
};

/// Runs the tasks from the last to the first, and counts them in `user`.
inline void runBackwards(void *user, int64_t count, void (*task)(void *, int64_t), void *arg) {
  *static_cast<int64_t *>(user) += count;
  for (int64_t i = count; i-- > 0;)
    task(arg, i);
}

/// One forward pass of a small plan over `tokens`, logits of `wanted` rows.
inline std::vector<float> runSmallPlan(const qplan_model_v1 &model, std::vector<int32_t> tokens,
                                       std::vector<int32_t> wanted, qplan_env_v1 env,
                                       int32_t *status) {
  std::vector<uint8_t> file = smallWeights();
  Aligned weights(file.size()), arena(model.arena_bytes_fixed +
                                      tokens.size() * model.arena_bytes_per_token);
  memcpy(weights.data(), file.data(), file.size());
  std::vector<int32_t> positions(tokens.size()), rowSequence(tokens.size());
  for (size_t t = 0; t < tokens.size(); ++t)
    positions[t] = t;
  Aligned page(model.kv_page_bytes);
  void *pages[] = {page.data()};
  qplan_sequence_v1 sequence = {0, int64_t(tokens.size()), 0, pages};
  std::vector<float> logits(wanted.size() * vocabulary, -1);
  qplan_args_v1 args = {sizeof(args),        weights.data(),     arena.data(),
                        int64_t(tokens.size()), 1,               int64_t(wanted.size()),
                        tokens.data(),       positions.data(),   rowSequence.data(),
                        wanted.data(),       &sequence,          logits.data(),
                        nullptr};
  *status = model.forward(&env, &args);
  return logits;
}

} // namespace qplan::test
#endif // QPLAN_TESTS_UNIT_CODEGEN_CPU_SMALLPLAN_H

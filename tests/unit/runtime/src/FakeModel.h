//===- FakeModel.h - the linked fake model and its expected logits --------===//
//
// See FakeModel.c. The expectation is computed here a second time, from the whole
// sequence at once.
//===----------------------------------------------------------------------===//
#ifndef QPLAN_TESTS_UNIT_RUNTIME_SRC_FAKEMODEL_H
#define QPLAN_TESTS_UNIT_RUNTIME_SRC_FAKEMODEL_H

#include "qplan/runtime.h"
#include "runtime/src/Hash.h"

#include <cstring>
#include <string>
#include <vector>

extern "C" const qplan_model_v1 *fake_query(uint32_t maxVersion);
extern "C" const qplan_model_v1 *
fake_other_query(uint32_t maxVersion); ///< needs a feature none has

namespace fake {

constexpr int64_t vocabulary = 31, context = 40, maxTokens = 8, pageTokens = 4;
constexpr int32_t poison = 30;

/// Contents of a valid weights.bin of 128 bytes whose data bytes count up from `seed`.
struct alignas(64) Weights {
  uint8_t bytes[128] = {};

  explicit Weights(uint8_t seed = 7) {
    for (int i = 64; i < 128; ++i)
      bytes[i] = static_cast<uint8_t>(seed + i);
    uint64_t fields[] = {sizeof(bytes), 64, qplan::xxh64(bytes + 64, 64)};
    std::memcpy(bytes, "QPLANW1", 8);
    std::memcpy(bytes + 8, fields, sizeof(fields));
  }
};

/// Logits of the last of `tokens`.
inline std::vector<float> expectedLogits(const std::vector<int32_t> &tokens,
                                         const Weights &weights) {
  uint32_t hash = 0;
  for (int32_t token : tokens)
    hash = hash * 31 + static_cast<uint32_t>(token) + 1;
  std::vector<float> logits(vocabulary);
  for (uint32_t j = 0; j < vocabulary; ++j)
    logits[j] = static_cast<float>((hash * (j + 1) + weights.bytes[64 + j % 16]) % 1009u);
  return logits;
}

/// `count` valid tokens that depend on `seed`.
inline std::vector<int32_t> someTokens(int64_t count, uint32_t seed = 1) {
  std::vector<int32_t> tokens;
  for (int64_t i = 0; i < count; ++i)
    tokens.push_back(static_cast<int32_t>((seed = seed * 1664525 + 1013904223) >> 8) % 30);
  return tokens;
}

} // namespace fake

#endif // QPLAN_TESTS_UNIT_RUNTIME_SRC_FAKEMODEL_H

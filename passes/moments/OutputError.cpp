//===- OutputError.cpp - what rounding weights does to outputs ------------===//
//
// See OutputError.h.
//
//===----------------------------------------------------------------------===//

#include "passes/moments/OutputError.h"

#include "ir/ParallelFor.h"
#include "passes/gptq/Wide.h"

#include <algorithm>
#include <mutex>

using namespace qplan;
using namespace qplan::gptq;

namespace {

constexpr int64_t lanes = errorTileRows;

/// out[c] -= sum over p < terms of a[p] * b[p * 64 + c], for c < 64.
QPLAN_VECTOR_CLONES void subtractRows(float *out, const float *a, int64_t terms, const float *b) {
  subtractProductInline<float>(out, a, terms, b, lanes, lanes);
}

} // namespace

OutputError::OutputError(const InputMoments &moments)
    : size(moments.columns), moments(size_t(size * size)) {
  const double scale = 1.0 / double(moments.count ? moments.count : 1);
  for (int64_t i = 0; i < size * size; ++i)
    this->moments[i] = float(moments.gram[i] * scale);
}

double OutputError::of(const float *change) const {
  double total = 0;
  for (int64_t j = 0; j < size; ++j) {
    // dw[j] * (H[j][j] dw[j] + 2 sum over i < j of H[j][i] dw[i])
    float sums[lanes] = {};
    subtractRows(sums, &moments[j * size], j, change);
    const float *own = change + j * lanes;
    const float diagonal = moments[j * size + j];
    float terms[lanes];
    for (int64_t r = 0; r < lanes; ++r)
      terms[r] = own[r] * (diagonal * own[r] - 2.0f * sums[r]);
    for (int64_t half = lanes / 2; half > 0; half /= 2)
      for (int64_t r = 0; r < half; ++r)
        terms[r] += terms[r + half];
    total += terms[0];
  }
  return total;
}

void OutputError::addBlock(const float *change, int64_t first, int64_t count, float *sums) const {
  for (int64_t j = first; j < first + count; ++j) {
    float inner[lanes] = {};
    subtractRows(inner, &moments[j * size + first], j - first, change + first * lanes);
    const float *own = change + j * lanes;
    const float diagonal = moments[j * size + j];
    for (int64_t r = 0; r < lanes; ++r)
      sums[r] += own[r] * (diagonal * own[r] - 2.0f * inner[r]);
  }
}

void qplan::transposeTile(const float *rows, int64_t count, int64_t columns, float *out) {
  for (int64_t j = 0; j < columns; ++j)
    for (int64_t r = 0; r < lanes; ++r)
      out[j * lanes + r] = r < count ? rows[r * columns + j] : 0.0f;
}

llvm::Error
qplan::forEachTile(int64_t rows, unsigned threads,
                   const std::function<llvm::Error(int64_t, int64_t, int64_t)> &tile) {
  const int64_t tiles = (rows + lanes - 1) / lanes;
  std::mutex mutex;
  llvm::Error failure = llvm::Error::success();
  int64_t failed = tiles;
  parallelFor(tiles, threads, [&](int64_t i) {
    llvm::Error error = tile(i, i * lanes, std::min(lanes, rows - i * lanes));
    if (!error)
      return;
    std::lock_guard<std::mutex> lock(mutex);
    if (i >= failed)
      return llvm::consumeError(std::move(error));
    llvm::consumeError(std::move(failure));
    failure = std::move(error);
    failed = i;
  });
  return failure;
}

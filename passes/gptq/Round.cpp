//===- Round.cpp - codes, column by column --------------------------------===//
//
// 64 rows at a time, transposed, so that a column of them is a few vectors. Inside a
// block of 128 columns each column gathers the errors of those before it; the columns
// after the block get the block's errors at once, while they are in the cache.
//
//===----------------------------------------------------------------------===//

#include "ir/Failure.h"
#include "ir/codecs/Codec.h"
#include "passes/gptq/Gptq.h"
#include "passes/gptq/Wide.h"

#include <algorithm>
#include <bit>
#include <mutex>

using namespace qplan;
using namespace qplan::gptq;

namespace {

constexpr int64_t tileRows = 64, block = 128;

QPLAN_GPTQ_WIDE void subtractProduct(float *out, const float *a, int64_t terms, const float *b,
                                     int64_t stride, int64_t n) {
  subtractProductInline<float>(out, a, terms, b, stride, n);
}

/// The grids of one group of columns, for each row of the tile: value = scale * (code - zero).
struct Grids {
  float scale[tileRows], zero[tileRows];
};

/// Rounds one column of the tile as the encoder does: codes, and what was lost.
QPLAN_GPTQ_WIDE void roundColumn(const float *weight, const Grids &grids, float highest,
                                 uint8_t *codes, float *lost) {
  constexpr float magic = 12582912.0f; // 1.5 * 2^23: adding it rounds to even
  for (int64_t r = 0; r < tileRows; ++r) {
    const float scale = grids.scale[r], zero = grids.zero[r];
    const float low = -zero, high = highest - zero;
    float v = weight[r] / (scale == 0 ? 1.0f : scale);
    v = v > low ? v : low;
    v = v < high ? v : high;
    v = scale == 0 ? 0.0f : v;
    const int32_t q = std::bit_cast<int32_t>(v + magic) - std::bit_cast<int32_t>(magic);
    codes[r] = static_cast<uint8_t>(q + static_cast<int32_t>(zero));
    lost[r] = weight[r] - scale * static_cast<float>(q);
  }
}

/// One tile of rows at a time; the memory is reused.
class TileRounder {
public:
  TileRounder(const GptqFactor &factor, FormatId format, const GptqOptions &options,
              llvm::StringRef subject)
      : factor(factor), codec(codecFor(format)), options(options), subject(subject),
        columns(factor.columns()), bytes(int64_t(codec.bytesPerRow(columns))),
        values(size_t(tileRows * columns)), steps(size_t(tileRows * columns)),
        codes(size_t(tileRows * columns)), rowCodes(size_t(columns)),
        lost(size_t(tileRows * block)) {}

  llvm::Error round(int64_t first, int64_t count, GptqRows read, uint8_t *out) {
    if (auto error = read(first, count, values.data()))
      return error;
    if (auto error = chooseGrids(first, count, out))
      return error;
    chooseCodes(count);
    for (int64_t r = 0; r < count; ++r) {
      for (int64_t step = 0; step < columns; ++step)
        rowCodes[factor.columnAt(step)] = codes[step * tileRows + r];
      codec.storeCodes(rowCodes.data(), columns, out + r * bytes);
    }
    return llvm::Error::success();
  }

private:
  /// Encodes the rows by themselves, for the scales and zero points.
  llvm::Error chooseGrids(int64_t first, int64_t count, uint8_t *out) {
    EncodeOptions encoding;
    encoding.rule = options.mse ? ScaleRule::Mse : ScaleRule::Max;
    encoding.importance = options.mse ? factor.meanSquare().data() : nullptr;
    encoding.subject = subject;
    for (int64_t r = 0; r < count; ++r) {
      encoding.row = first + r;
      if (auto error =
              codec.encodeRow(values.data() + r * columns, columns, encoding, out + r * bytes))
        return error;
      codec.affineRow(out + r * bytes, columns, affine);
      grids.resize(affine.scale.size());
      for (size_t g = 0; g < affine.scale.size(); ++g) {
        const float scale = affine.scale[g];
        grids[g].scale[r] = scale;
        // The minimum is -scale * zero exactly, so the quotient is the zero point.
        grids[g].zero[r] = !affine.hasMin ? float(affine.offset)
                           : scale == 0   ? 0.0f
                                          : 0.0f - affine.min[g] / scale;
      }
    }
    return llvm::Error::success();
  }

  void chooseCodes(int64_t count) {
    for (int64_t step = 0; step < columns; ++step)
      for (int64_t r = 0; r < tileRows; ++r)
        steps[step * tileRows + r] = r < count ? values[r * columns + factor.columnAt(step)] : 0.0f;
    for (Grids &grid : grids)
      for (int64_t r = count; r < tileRows; ++r)
        grid.scale[r] = grid.zero[r] = 0;
    const float highest = float((1 << codec.format().elementBits) - 1);
    for (int64_t begin = 0; begin < columns; begin += block) {
      const int64_t end = std::min(begin + block, columns);
      for (int64_t j = begin; j < end; ++j) {
        float *column = &steps[j * tileRows];
        subtractProduct(column, factor.shares(j) + begin, j - begin, lost.data(), tileRows,
                        tileRows);
        roundColumn(column, grids[size_t(factor.columnAt(j) / affine.group)], highest,
                    &codes[j * tileRows], &lost[(j - begin) * tileRows]);
      }
      for (int64_t j = end; j < columns; ++j)
        subtractProduct(&steps[j * tileRows], factor.shares(j) + begin, end - begin, lost.data(),
                        tileRows, tileRows);
    }
  }

  const GptqFactor &factor;
  const Codec &codec;
  const GptqOptions &options;
  llvm::StringRef subject;
  int64_t columns, bytes;
  std::vector<float> values, steps; ///< [rows, columns]; [steps, rows], errors fed so far
  std::vector<uint8_t> codes;       ///< [steps, rows]
  std::vector<uint8_t> rowCodes;    ///< [columns]
  std::vector<float> lost;          ///< [steps of the block, rows]
  std::vector<Grids> grids;         ///< [groups]
  AffineRow affine;
};

} // namespace

bool qplan::canRoundGptq(FormatId format) {
  const FormatInfo &info = formatInfo(format);
  return info.family == CodecFamily::Affine && info.isWeight && info.toleranceE5 != 0;
}

llvm::Expected<std::vector<uint8_t>> qplan::roundGptq(const GptqFactor &factor, FormatId format,
                                                      int64_t rows, GptqRows read,
                                                      const GptqOptions &options, unsigned threads,
                                                      llvm::StringRef subject) {
  if (!canRoundGptq(format))
    return defectError("gptq: {} has no codes to choose", formatName(format).str());
  auto size = bytesFor(format, rows, factor.columns());
  if (!size)
    return size.takeError();
  std::vector<uint8_t> out(static_cast<size_t>(*size));
  const uint64_t rowSize = *size / uint64_t(rows);
  std::mutex mutex;
  llvm::Error failure = llvm::Error::success();
  int64_t failed = -1; // the first tile at fault, whatever the order of threads
  const int64_t tiles = (rows + tileRows - 1) / tileRows;
  std::atomic<int64_t> next{0};
  parallelFor(std::min<int64_t>(tiles, std::max(threads, 1u)), threads, [&](int64_t) {
    TileRounder rounder(factor, format, options, subject);
    for (int64_t tile; (tile = next++) < tiles;) {
      const int64_t first = tile * tileRows;
      auto error = rounder.round(first, std::min(tileRows, rows - first), read,
                                 out.data() + uint64_t(first) * rowSize);
      if (!error)
        continue;
      std::lock_guard<std::mutex> lock(mutex);
      if (failed < 0 || tile < failed) {
        llvm::consumeError(std::move(failure));
        failure = std::move(error);
        failed = tile;
      } else {
        llvm::consumeError(std::move(error));
      }
      next = tiles;
    }
  });
  if (failure)
    return std::move(failure);
  return out;
}

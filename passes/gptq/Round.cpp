//===- Round.cpp - codes, column by column --------------------------------===//
//
// 64 rows at a time, transposed, so that a column of them is a few vectors. Inside a
// block of 128 columns each column gathers the errors of those before it; the columns
// after the block get the block's errors at once, while they are in the cache.
//
//===----------------------------------------------------------------------===//

#include "ir/Failure.h"
#include "ir/ParallelFor.h"
#include "ir/codecs/Codec.h"
#include "ir/codecs/Elements.h"
#include "ir/codecs/Numbers.h"
#include "passes/gptq/RowRounder.h"
#include "passes/gptq/Wide.h"

#include <algorithm>
#include <bit>
#include <mutex>

using namespace qplan;
using namespace qplan::gptq;

namespace {

constexpr int64_t tileRows = 64, block = 128;

QPLAN_VECTOR_CLONES void subtractProduct(float *out, const float *a, int64_t terms, const float *b,
                                         int64_t stride, int64_t n) {
  subtractProductInline<float>(out, a, terms, b, stride, n);
}

/// The grids of one group of columns, for each row of the tile: value = scale * (code - zero),
/// or scale * number of the code.
struct Grids {
  float scale[tileRows], zero[tileRows];
};

/// Rounds one column of the tile as the encoder does: codes, and what was lost.
QPLAN_VECTOR_CLONES void roundColumn(const float *weight, const Grids &grids, float lowest,
                                     float highest, uint8_t *codes, float *lost) {
  constexpr float magic = 12582912.0f; // 1.5 * 2^23: adding it rounds to even
  for (int64_t r = 0; r < tileRows; ++r) {
    const float scale = grids.scale[r], zero = grids.zero[r];
    const float low = lowest - zero, high = highest - zero;
    float v = weight[r] / (scale == 0 ? 1.0f : scale);
    v = v > low ? v : low;
    v = v < high ? v : high;
    v = scale == 0 ? 0.0f : v;
    const int32_t q = std::bit_cast<int32_t>(v + magic) - std::bit_cast<int32_t>(magic);
    codes[r] = static_cast<uint8_t>(q + static_cast<int32_t>(zero));
    lost[r] = weight[r] - scale * static_cast<float>(q);
  }
}

/// The same for minifloats and tables, without zero points.
void roundElements(const FormatInfo &info, const float *weight, const Grids &grids, uint8_t *codes,
                   float *lost) {
  const float *values = elementValues(info.id).data();
  float v[tileRows];
  for (int64_t r = 0; r < tileRows; ++r)
    v[r] = grids.scale[r] == 0 ? 0.0f : weight[r] / grids.scale[r];
  roundToElement(info.kind, v, tileRows, codes);
  for (int64_t r = 0; r < tileRows; ++r)
    lost[r] = weight[r] - grids.scale[r] * values[codes[r]];
}

/// Rounding to f16 or bf16.
void roundFloats(FormatId format, const float *weight, float *rounded, float *lost) {
  for (int64_t r = 0; r < tileRows; ++r) {
    rounded[r] = format == FormatId::F16 ? f32FromF16(f16FromF32(weight[r]))
                                         : f32FromBf16(bf16FromF32(weight[r]));
    lost[r] = weight[r] - rounded[r];
  }
}

/// One tile of rows at a time; the memory is reused.
class TileRounder final : public RowRounder {
public:
  TileRounder(const GptqFactor &factor, FormatId format, llvm::ArrayRef<float> side,
              const GptqOptions &options, llvm::StringRef subject)
      : factor(factor), codec(codecFor(format)), side(side), options(options), subject(subject),
        columns(factor.columns()), bytes(int64_t(codec.bytesPerRow(columns))),
        values(size_t(tileRows * columns)), steps(size_t(tileRows * columns)),
        codes(size_t(tileRows * columns)), rowCodes(size_t(columns)),
        lost(size_t(tileRows * block)), chosen(values.size()), error(values.size()) {}

  llvm::Error round(int64_t first, int64_t count, GptqRows read, uint8_t *out) override {
    if (auto error = read(first, count, values.data()))
      return error;
    if (codec.hasGrid())
      if (auto error = chooseGrids(first, count, out))
        return error;
    chooseCodes(count);
    if (options.sweeps > 0 && codec.hasGrid() && codec.format().family != CodecFamily::Sparse)
      improveCodes(count);
    for (int64_t r = 0; r < count; ++r)
      if (auto error = store(first, r, out + r * bytes))
        return error;
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
      encoding.tensor = {side, first + r};
      if (auto error =
              codec.encodeRow(values.data() + r * columns, columns, encoding, out + r * bytes))
        return error;
      codec.gridRow(out + r * bytes, columns, grid, encoding.tensor);
      grids.resize(grid.scale.size());
      for (size_t g = 0; g < grid.scale.size(); ++g) {
        const float scale = grid.scale[g];
        grids[g].scale[r] = scale;
        // The minimum is -scale * zero exactly, so the quotient is the zero point.
        grids[g].zero[r] = !grid.hasMin ? float(codec.format().offset)
                           : scale == 0 ? 0.0f
                                        : 0.0f - grid.min[g] / scale;
      }
    }
    return llvm::Error::success();
  }

  /// Row r of the tile, as it was rounded.
  llvm::Error store(int64_t first, int64_t r, uint8_t *out) {
    if (codec.hasGrid()) {
      for (int64_t step = 0; step < columns; ++step)
        rowCodes[factor.columnAt(step)] = codes[step * tileRows + r];
      codec.storeCodes(rowCodes.data(), columns, out, {side, first + r});
      return llvm::Error::success();
    }
    // Numbers of the format are encoded as they are.
    std::vector<float> row(static_cast<size_t>(columns));
    for (int64_t step = 0; step < columns; ++step)
      row[factor.columnAt(step)] = steps[step * tileRows + r];
    EncodeOptions encoding;
    encoding.subject = subject;
    encoding.row = first + r;
    return codec.encodeRow(row.data(), columns, encoding, out);
  }

  /// Chooses what is lost of steps [j, j + 4), whose errors so far are in `lost` from step
  /// `begin` on: `pruned[step - j][row]`.
  void choosePruned(int64_t begin, int64_t j) {
    for (int64_t c = j; c < j + 4; ++c)
      subtractProduct(&steps[c * tileRows], factor.shares(c) + begin, j - begin, lost.data(),
                      tileRows, tileRows);
    for (int64_t r = 0; r < tileRows; ++r) {
      float worth[4];
      for (int i = 0; i < 4; ++i) {
        const float weight = steps[(j + i) * tileRows + r];
        worth[i] = weight * weight * factor.errorWeights()[j + i];
        pruned[i][r] = false;
      }
      for (int lostSoFar = 0; lostSoFar < 2; ++lostSoFar) {
        int least = -1; // of equals the last, so that the first is kept
        for (int i = 0; i < 4; ++i)
          if (!pruned[i][r] && (least < 0 || worth[i] <= worth[least]))
            least = i;
        pruned[least][r] = true;
      }
    }
  }

  /// What `code` stands for in row `r` of group `g`.
  float valueOf(size_t g, int64_t r, uint8_t code) const {
    const Grids &at = grids[g];
    return at.scale[r] * (codec.format().isInteger() ? float(code) - at.zero[r]
                                                     : elementValues(codec.format().id)[code]);
  }

  /// Rounds one column of group `g`.
  void roundToGrid(size_t g, const float *column, uint8_t *to, float *left) {
    const FormatInfo &info = codec.format();
    if (!info.isInteger())
      return roundElements(info, column, grids[g], to, left);
    const int levels = 1 << (grid.bits.empty() ? info.elementBits : grid.bits[g]);
    const int lowest = grid.bits.empty() ? 0 : info.offset - levels / 2;
    roundColumn(column, grids[g], float(lowest), float(lowest + levels - 1), to, left);
  }

  /// Rounds step j, whose errors so far are taken off.
  void roundStep(int64_t j, float *left) {
    float *column = &steps[j * tileRows];
    uint8_t *to = &codes[j * tileRows];
    const FormatInfo &info = codec.format();
    if (!codec.hasGrid())
      roundFloats(info.inner, column, rounded, left);
    else
      roundToGrid(size_t(factor.columnAt(j) / grid.group), column, to, left);
    if (info.family != CodecFamily::Sparse)
      return;
    for (int64_t r = 0; r < tileRows; ++r) {
      if (pruned[j % 4][r]) {
        left[r] = column[r];
        to[r] = info.offset;
        rounded[r] = 0;
      }
      if (!codec.hasGrid())
        column[r] = rounded[r];
    }
  }

  void chooseCodes(int64_t count) {
    for (int64_t step = 0; step < columns; ++step)
      for (int64_t r = 0; r < tileRows; ++r)
        steps[step * tileRows + r] = r < count ? values[r * columns + factor.columnAt(step)] : 0.0f;
    for (Grids &each : grids)
      for (int64_t r = count; r < tileRows; ++r)
        each.scale[r] = each.zero[r] = 0;
    const bool sparse = codec.format().family == CodecFamily::Sparse;
    for (int64_t begin = 0; begin < columns; begin += block) {
      const int64_t end = std::min(begin + block, columns);
      for (int64_t j = begin; j < end; ++j) {
        if (sparse && j % 4 == 0)
          choosePruned(begin, j);
        const int64_t from = sparse ? j / 4 * 4 : begin; // what was not taken off yet
        subtractProduct(&steps[j * tileRows], factor.shares(j) + from, j - from,
                        &lost[(from - begin) * tileRows], tileRows, tileRows);
        roundStep(j, &lost[(j - begin) * tileRows]);
      }
      for (int64_t j = end; j < columns; ++j)
        subtractProduct(&steps[j * tileRows], factor.shares(j) + begin, end - begin, lost.data(),
                        tileRows, tileRows);
    }
  }

  /// Coordinate descent on (w - q) H (w - q)^T, from the codes that were chosen.
  void improveCodes(int64_t count) {
    std::vector<float> &pull = steps; // H (w - q), by steps
    for (int64_t step = 0; step < columns; ++step) {
      const size_t g = size_t(factor.columnAt(step) / grid.group);
      for (int64_t r = 0; r < tileRows; ++r) {
        const size_t at = size_t(step * tileRows + r);
        chosen[at] = r < count ? valueOf(g, r, codes[at]) : 0.0f;
        error[at] = r < count ? chosen[at] - values[r * columns + factor.columnAt(step)] : 0.0f;
        pull[at] = 0;
      }
    }
    for (int64_t j = 0; j < columns; ++j)
      subtractProduct(&pull[j * tileRows], factor.momentsOf(j), columns, error.data(), tileRows,
                      tileRows);
    for (int sweep = 0; sweep < options.sweeps; ++sweep)
      for (int64_t begin = 0; begin < columns; begin += block)
        improveBlock(begin, std::min(begin + block, columns));
  }

  /// Steps [begin, end) in turn; `lost` holds by how much each has grown.
  void improveBlock(int64_t begin, int64_t end) {
    std::vector<float> &pull = steps;
    for (int64_t j = begin; j < end; ++j) {
      const float *moments = factor.momentsOf(j);
      float *grown = &lost[(j - begin) * tileRows], *value = &chosen[j * tileRows];
      float wanted[tileRows], left[tileRows];
      subtractProduct(&pull[j * tileRows], moments + begin, j - begin, lost.data(), tileRows,
                      tileRows);
      for (int64_t r = 0; r < tileRows; ++r)
        wanted[r] = value[r] + pull[j * tileRows + r] / moments[j];
      roundToGrid(size_t(factor.columnAt(j) / grid.group), wanted, &codes[j * tileRows], left);
      for (int64_t r = 0; r < tileRows; ++r) {
        const float next = wanted[r] - left[r];
        grown[r] = next - value[r];
        value[r] = next;
      }
    }
    for (int64_t j = 0; j < columns; ++j) {
      const int64_t from = j < begin || j >= end ? begin : j;
      subtractProduct(&pull[j * tileRows], factor.momentsOf(j) + from, end - from,
                      &lost[(from - begin) * tileRows], tileRows, tileRows);
    }
  }

  const GptqFactor &factor;
  const Codec &codec;
  llvm::ArrayRef<float> side;
  const GptqOptions &options;
  llvm::StringRef subject;
  int64_t columns, bytes;
  std::vector<float> values, steps; ///< [rows, columns]; [steps, rows], errors fed so far
  std::vector<uint8_t> codes;       ///< [steps, rows]
  std::vector<uint8_t> rowCodes;    ///< [columns]
  std::vector<float> lost;          ///< [steps of the block, rows]
  std::vector<Grids> grids;         ///< [groups]
  std::vector<float> chosen, error; ///< [steps, rows]: what codes stand for, less the weights
  bool pruned[4][tileRows];         ///< of the four columns at hand, in sparse formats
  float rounded[tileRows];          ///< the step at hand, in formats without grid
  GridRow grid;
};

} // namespace

/// The numbers beside the rows, from a pass over the unchanged weights; empty: there are none.
/// What they choose is weighed as the feeding forward will.
static llvm::Expected<std::vector<float>> observeSide(FormatId format, int64_t rows,
                                                      const GptqFactor &factor, GptqRows read,
                                                      llvm::StringRef subject) {
  if (formatInfo(format).side == SideData::None)
    return std::vector<float>();
  const int64_t columns = factor.columns();
  std::vector<float> importance(static_cast<size_t>(columns));
  for (int64_t step = 0; step < columns; ++step)
    importance[factor.columnAt(step)] = factor.errorWeights()[step];
  SideObserver observer(format, rows, columns, importance);
  std::vector<float> values(size_t(tileRows * columns));
  for (int64_t first = 0; first < rows; first += tileRows) {
    const int64_t count = std::min(tileRows, rows - first);
    if (auto error = read(first, count, values.data()))
      return std::move(error);
    for (int64_t r = 0; r < count; ++r)
      if (auto error = observer.observe(first + r, &values[size_t(r * columns)],
                                        fmt::format("{}, row {}", subject.str(), first + r)))
        return std::move(error);
  }
  return observer.values();
}

bool qplan::canRoundGptq(FormatId format) {
  const FormatInfo &info = formatInfo(format);
  const bool isRounded = codecFor(format).storesCodes() || info.family == CodecFamily::Trellis ||
                         info.family == CodecFamily::Sparse;
  return isRounded && info.isWeight && info.toleranceE5 != 0;
}

llvm::Expected<std::vector<uint8_t>> qplan::roundGptq(const GptqFactor &factor, FormatId format,
                                                      int64_t rows, GptqRows read,
                                                      const GptqOptions &options, unsigned threads,
                                                      llvm::StringRef subject) {
  if (!canRoundGptq(format))
    return defectError("gptq: {} has no codes to choose", formatName(format).str());
  const bool isTrellis = formatInfo(format).family == CodecFamily::Trellis;
  const bool isOrdered = isTrellis || formatInfo(format).family == CodecFamily::Sparse;
  for (int64_t c = 0; isOrdered && c < factor.columns(); ++c)
    if (factor.columnAt(c) != c)
      return defectError("gptq: {} needs columns in their order", formatName(format).str());
  auto size = bytesFor(format, rows, factor.columns());
  if (!size)
    return size.takeError();
  std::vector<uint8_t> out(static_cast<size_t>(*size));
  const uint64_t rowSize = codecFor(format).bytesPerRow(factor.columns());
  auto side = observeSide(format, rows, factor, read, subject);
  if (!side)
    return side.takeError();
  if (!side->empty())
    std::memcpy(out.data() + uint64_t(rows) * rowSize, side->data(), side->size() * sizeof(float));
  std::mutex mutex;
  llvm::Error failure = llvm::Error::success();
  int64_t failed = -1; // the first tile at fault, whatever the order of threads
  const int64_t tiles = (rows + tileRows - 1) / tileRows;
  std::atomic<int64_t> next{0};
  parallelFor(std::min<int64_t>(tiles, std::max(threads, 1u)), threads, [&](int64_t) {
    std::unique_ptr<RowRounder> rounder;
    if (isTrellis)
      rounder = makeTrellisRounder(factor, format, options, subject);
    else
      rounder = std::make_unique<TileRounder>(factor, format, *side, options, subject);
    for (int64_t tile; (tile = next++) < tiles;) {
      const int64_t first = tile * tileRows;
      auto error = rounder->round(first, std::min(tileRows, rows - first), read,
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

//===- Trellis.h - the trellis code of the tcq formats ----------*- C++ -*-===//
//
// What the bits of a tcq row mean, and the search for them. A row is one string of
// bits, the most significant bit of each byte first: 16 bits of scale (f16), then
// some bits for each column, as many as the format's size allows. The state of a
// column is the last 16 bits of the string up to and with its own, and its value is
// scale * trellisValue(state). Neighbours share bits, so that a column of 4 bits has
// 65536 values to offer, of which the choice of the columns before it leaves 16.
//
//===----------------------------------------------------------------------===//
#ifndef QPLAN_IR_CODECS_TRELLIS_H
#define QPLAN_IR_CODECS_TRELLIS_H

#include <cstdint>
#include <memory>

namespace qplan {

/// Which bits of a row belong to which column.
struct TrellisRow {
  static constexpr int64_t scaleBits = 16;
  int64_t columns = 0;
  int64_t bytes = 0; ///< of the row
  int64_t step = 0;  ///< bits of a column, times 2^16, rounded down

  /// A row of `columns` >= 32 columns in `bytes` bytes, 1 to 8 bits a column.
  static TrellisRow of(int64_t columns, int64_t bytes) {
    return {columns, bytes, (8 * bytes - scaleBits) * 65536 / columns};
  }
  /// Number of the bit after the last one of column `c`; the first column starts at bit 16.
  int64_t end(int64_t c) const { return scaleBits + ((c + 1) * step >> 16); }
  /// Bits of column `c`, 1 to 8.
  int width(int64_t c) const { return int(end(c) - end(c - 1)); }
};

/// Chosen among random ones by the error of searched rows.
constexpr uint32_t trellisFactor = 2178900867u;

/// The value of `state` before the scale: with the four bytes b of state * trellisFactor mod 2^32,
/// (b0 + b1 + b2 + b3 - 510) / 128, nearly a normal distribution (QTIP, Tseng et al. 2024, has such
/// a code). Exact in f32, and a whole number of 128ths, so that rows of int8 are multiplied in
/// integers: a dot product of bytes is the sum and the multiplication in one.
inline float trellisValue(uint16_t state) {
  const uint32_t product = state * trellisFactor;
  const uint32_t pairs = (product & 0xff00ffu) + (product >> 8 & 0xff00ffu);
  return static_cast<float>(static_cast<int32_t>((pairs & 0xffff) + (pairs >> 16)) - 510) * 0x1p-7f;
}

/// trellisValue of every state, [65536].
const float *trellisValues();

/// Bits [end - 16, end) of a row, for end >= 16.
inline uint16_t trellisState(const uint8_t *row, int64_t end) {
  const int64_t first = end - 16;
  const uint8_t *at = row + first / 8;
  const int shift = int(first % 8);
  uint32_t word = uint32_t(at[0]) << 16 | uint32_t(at[1]) << 8 | (shift ? at[2] : 0);
  return uint16_t(word >> (8 - shift));
}

/// What a search minimises over a row: sum over columns c of weight[c] * lost[c]^2, where
/// lost[c] = target[c] - scale * value, and target[c] = x[c] less what the columns before it
/// feed forward: sum over i < c of shares(c)[i] * lost[i].
struct TrellisGoal {
  const float *x = nullptr;      ///< [columns], finite
  const float *weight = nullptr; ///< [columns] >= 0; null: all 1
  const float *shares = nullptr; ///< [columns, columns]; null: nothing is fed forward
};

/// Searches rows, one after the other; the memory is reused. Keeps about `survivors` candidates
/// from column to column, each with its own errors; what is more than 64 to 80 columns back is
/// decided. The time for a column is proportional to survivors * 2^width, plus
/// survivors * 80 and columns where errors are fed forward. Results do not depend on the width
/// of vectors.
class TrellisSearch {
public:
  TrellisSearch(TrellisRow row, int survivors);
  ~TrellisSearch();
  TrellisSearch(const TrellisSearch &) = delete;

  /// Writes the row. Its scale, an f16, balances the error of values within reach against that of
  /// those beyond; a row whose scale is 0 has no bit set. False: the scale is beyond f16.
  bool run(const TrellisGoal &goal, uint8_t *out);

  struct State;

private:
  std::unique_ptr<State> state;
};

} // namespace qplan
#endif // QPLAN_IR_CODECS_TRELLIS_H

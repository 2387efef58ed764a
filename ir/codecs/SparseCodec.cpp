//===- SparseCodec.cpp - two of four neighbours are kept ------------------===//
//
// 2:4 structured sparsity. A row is [kept values, as a row of columns / 2 in the
// format `inner`][positions]: four bits for each quad of columns, the first quad in
// the low nibble of the first byte; its low two bits are the place of the first kept
// value in the quad, its high two that of the second, which is further on. That is
// the metadata of sparse tensor cores, without their order of words.
//
// Kept are the two of largest magnitude, of equals the first; with rule Mse and
// importance, those whose square times importance is largest.
//
//===----------------------------------------------------------------------===//
#include "ir/Failure.h"
#include "ir/codecs/Codecs.h"

#include <algorithm>
#include <cmath>
#include <cstring>

namespace qplan {
namespace {

/// Places of the values kept of each quad, as they are stored.
class Positions {
public:
  Positions(const uint8_t *row, uint64_t at) : bytes(row + at) {}
  /// The place of kept value `i` among the columns.
  int64_t column(int64_t i) const {
    const int64_t quad = i / 2;
    const int nibble = bytes[quad / 2] >> (quad % 2 * 4) & 15;
    return quad * 4 + (nibble >> (i % 2 * 2) & 3);
  }

private:
  const uint8_t *bytes;
};

/// The two places of quad x[4] that are kept, in order.
std::pair<int, int> keptOf(const float *x, const float *weight) {
  float worth[4];
  for (int i = 0; i < 4; ++i)
    worth[i] = weight ? x[i] * x[i] * weight[i] : std::abs(x[i]);
  int first = 0;
  for (int i = 1; i < 4; ++i)
    if (worth[i] > worth[first])
      first = i;
  int second = first == 0 ? 1 : 0;
  for (int i = second + 1; i < 4; ++i)
    if (i != first && worth[i] > worth[second])
      second = i;
  return std::minmax(first, second);
}

class SparseCodec final : public Codec {
public:
  explicit SparseCodec(const FormatInfo &info)
      : Codec(info), inner(makeCodec(formatInfo(info.inner))) {}

  void decodeRow(const uint8_t *row, int64_t columns, float *x, TensorSide tensor) const override {
    std::vector<float> kept(columns / 2);
    inner->decodeRow(row, columns / 2, kept.data(), tensor);
    const Positions at(row, inner->bytesPerRow(columns / 2));
    std::fill_n(x, columns, 0.0f);
    for (int64_t i = 0; i < columns / 2; ++i)
      x[at.column(i)] = kept[i];
  }

  void gridRow(const uint8_t *row, int64_t columns, GridRow &out,
               TensorSide tensor) const override {
    inner->gridRow(row, columns / 2, out, tensor);
    const Positions at(row, inner->bytesPerRow(columns / 2));
    std::vector<uint8_t> codes(columns, info.offset);
    for (int64_t i = 0; i < columns / 2; ++i)
      codes[at.column(i)] = out.codes[i];
    out.codes = std::move(codes);
    out.group *= 2;
  }

  bool storesCodes() const override { return inner->storesCodes(); }
  /// Codes that mean 0 are left out; more than two others in a quad are a defect: the last go.
  void storeCodes(const uint8_t *codes, int64_t columns, uint8_t *row,
                  TensorSide tensor) const override {
    std::vector<uint8_t> kept(columns / 2);
    uint8_t *positions = row + inner->bytesPerRow(columns / 2);
    std::memset(positions, 0, (columns / 4 + 1) / 2);
    for (int64_t quad = 0; quad < columns / 4; ++quad) {
      int place[4], n = 0;
      for (int i = 0; i < 4; ++i)
        if (codes[quad * 4 + i] != info.offset)
          place[n++] = i;
      for (int i = 0; n < 2; ++i)
        if (n == 0 || place[0] != i)
          place[n++] = i;
      auto [first, second] = std::minmax(place[0], place[1]);
      put(quad, {first, second}, positions);
      kept[quad * 2] = codes[quad * 4 + first];
      kept[quad * 2 + 1] = codes[quad * 4 + second];
    }
    inner->storeCodes(kept.data(), columns / 2, row, tensor);
  }

protected:
  llvm::Error encode(const float *x, int64_t columns, const EncodeOptions &options,
                     uint8_t *out) const override {
    std::vector<float> kept(columns / 2), weights(options.importance ? columns / 2 : 0);
    uint8_t *positions = out + inner->bytesPerRow(columns / 2);
    std::memset(positions, 0, (columns / 4 + 1) / 2);
    const bool weighted = options.importance && options.rule == ScaleRule::Mse;
    for (int64_t quad = 0; quad < columns / 4; ++quad) {
      const float *weight = options.importance ? options.importance + quad * 4 : nullptr;
      auto places = keptOf(x + quad * 4, weighted ? weight : nullptr);
      put(quad, places, positions);
      for (auto [i, place] : {std::pair(0, places.first), std::pair(1, places.second)}) {
        kept[quad * 2 + i] = x[quad * 4 + place];
        if (weight)
          weights[quad * 2 + i] = weight[place];
      }
    }
    EncodeOptions own = options;
    own.importance = options.importance ? weights.data() : nullptr;
    if (llvm::Error error = inner->encodeRow(kept.data(), columns / 2, own, out))
      return error;
    return checkFinite(out, kept, options);
  }

private:
  static void put(int64_t quad, std::pair<int, int> places, uint8_t *positions) {
    positions[quad / 2] |= (places.first | places.second << 2) << (quad % 2 * 4);
  }

  /// Plain floats hold what does not fit as infinity; here it is an error, as in other codes.
  llvm::Error checkFinite(const uint8_t *row, std::vector<float> &kept,
                          const EncodeOptions &options) const {
    if (inner->format().family != CodecFamily::Float)
      return llvm::Error::success();
    std::vector<float> source = kept;
    inner->decodeRow(row, int64_t(kept.size()), kept.data());
    if (int64_t bad = findNonFinite(kept.data(), int64_t(kept.size())); bad >= 0)
      return inputError("{}: {} is too large for {}; keep the tensor in f32 or use another format",
                        subjectOf(options), source[bad], info.name);
    return llvm::Error::success();
  }

  std::unique_ptr<Codec> inner;
};

} // namespace

std::unique_ptr<Codec> makeSparseCodec(const FormatInfo &info) {
  return std::make_unique<SparseCodec>(info);
}

} // namespace qplan

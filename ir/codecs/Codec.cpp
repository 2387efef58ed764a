//===- Codec.cpp - what all codecs share ----------------------------------===//
//
// The registry of codecs, the checks in front of every encoder, and helpers.
//
//===----------------------------------------------------------------------===//
#include "ir/Failure.h"
#include "ir/codecs/Codecs.h"
#include "ir/codecs/Elements.h"
#include "ir/codecs/Numbers.h"
#include <algorithm>
#include <cmath>

namespace qplan {

llvm::Error Codec::checkColumns(int64_t columns) const {
  return rowBytes(info.id, columns).takeError();
}

uint64_t Codec::bytesPerRow(int64_t columns) const {
  llvm::Expected<uint64_t> bytes = rowBytes(info.id, columns);
  if (bytes)
    return *bytes;
  llvm::consumeError(bytes.takeError());
  return 0;
}

std::string Codec::subjectOf(const EncodeOptions &options) {
  if (options.subject.empty())
    return fmt::format("row {}", options.row);
  return fmt::format("{}, row {}", options.subject.str(), options.row);
}

llvm::Error Codec::encodeRow(const float *x, int64_t columns, const EncodeOptions &options,
                             uint8_t *out) const {
  if (llvm::Error error = checkColumns(columns))
    return error;
  if (info.toleranceE5 == 0)
    return usageError("qplan reads {0} but cannot write it yet; choose another format for the "
                      "weights, e.g. q4_0 or int4_g32",
                      info.name);
  if (info.family != CodecFamily::Float)
    if (int64_t at = findNonFinite(x, columns); at >= 0)
      return inputError("{}: column {} is {}; {} stores finite numbers only, repair the checkpoint "
                        "or keep the tensor in f32, f16 or bf16",
                        subjectOf(options), at, x[at], info.name);
  return encode(x, columns, options, out);
}

llvm::Error Codec::encodeRow(const float *x, int64_t columns, const float *importance,
                             uint8_t *out) const {
  EncodeOptions options;
  options.importance = importance;
  if (importance)
    options.rule = ScaleRule::Mse;
  return encodeRow(x, columns, options, out);
}

void Codec::gridRow(const uint8_t *, int64_t, GridRow &out, TensorSide) const {
  out = GridRow();
}

void Codec::storeCodes(const uint8_t *, int64_t, uint8_t *, TensorSide) const {}

void Codec::storeRow(const RowParts &, int64_t, uint8_t *) const {}

std::unique_ptr<Codec> makeCodec(const FormatInfo &info) {
  switch (info.family) {
  case CodecFamily::Float:
    return makeFloatCodec(info);
  case CodecFamily::Affine:
    return makeAffineCodec(info);
  case CodecFamily::Grid:
    return makeGridCodec(info);
  case CodecFamily::Trellis:
    return makeTrellisCodec(info);
  case CodecFamily::Choice:
    return makeChoiceCodec(info);
  case CodecFamily::Sparse:
    return makeSparseCodec(info);
  case CodecFamily::Mixed:
    return makeMixedCodec(info);
  case CodecFamily::Ggml:
    break;
  }
  if (!info.isInteger())
    return makeGgmlTableCodec(info);
  return info.blockColumns == 32 ? makeGgmlBlockCodec(info) : makeGgmlSuperblockCodec(info);
}

const Codec &codecFor(FormatId id) {
  static const std::vector<std::unique_ptr<Codec>> codecs = [] {
    std::vector<std::unique_ptr<Codec>> made;
    for (const FormatInfo &info : allFormats())
      made.push_back(makeCodec(info));
    return made;
  }();
  return *codecs[id];
}

int64_t findNonFinite(const float *x, int64_t count) {
  constexpr int64_t chunk = 4096;
  for (int64_t begin = 0; begin < count; begin += chunk) {
    int64_t end = std::min(count, begin + chunk);
    uint32_t bad = 0;
    for (int64_t i = begin; i < end; ++i)
      bad |= (std::bit_cast<uint32_t>(x[i]) & 0x7f800000u) == 0x7f800000u ? 1u : 0u;
    if (bad)
      for (int64_t i = begin; i < end; ++i)
        if (!std::isfinite(x[i]))
          return i;
  }
  return -1;
}

void expandCodes(const uint8_t *codes, int64_t n, float scale, float min, int32_t offset,
                 bool hasMin, float *x) {
  if (hasMin)
    for (int64_t i = 0; i < n; ++i)
      x[i] = scale * static_cast<float>(codes[i]) + min;
  else
    for (int64_t i = 0; i < n; ++i)
      x[i] = scale * static_cast<float>(static_cast<int32_t>(codes[i]) - offset);
}

float largestMagnitude(const float *x, int64_t n) {
  // Bit patterns of magnitudes order as integers do, and integer maxima vectorise.
  int32_t best = 0;
  for (int64_t i = 0; i < n; ++i)
    best = std::max(best, static_cast<int32_t>(std::bit_cast<uint32_t>(x[i]) & 0x7fffffffu));
  return std::bit_cast<float>(best);
}

Range valueRange(const float *x, int64_t n) {
  constexpr int64_t lanes = 8; // separate lanes: a single chain of minima does not vectorise
  float low[lanes], high[lanes];
  for (int64_t j = 0; j < lanes; ++j)
    low[j] = high[j] = x[0];
  int64_t i = 0;
  for (; i + lanes <= n; i += lanes)
    for (int64_t j = 0; j < lanes; ++j) {
      low[j] = x[i + j] < low[j] ? x[i + j] : low[j];
      high[j] = x[i + j] > high[j] ? x[i + j] : high[j];
    }
  for (; i < n; ++i) {
    low[0] = std::min(low[0], x[i]);
    high[0] = std::max(high[0], x[i]);
  }
  return {*std::min_element(low, low + lanes), *std::max_element(high, high + lanes)};
}

} // namespace qplan

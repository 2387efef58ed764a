//===- SideObserver.cpp - the numbers beside a tensor's rows --------------===//
//
// A first pass over the rows of a tensor finds what its format keeps once: largest
// magnitudes, from which scales come, and for formats that choose, the errors of
// the choices.
//
//===----------------------------------------------------------------------===//
#include "ir/Failure.h"
#include "ir/codecs/Codecs.h"
#include "ir/codecs/Elements.h"
#include "ir/codecs/MixedCodec.h"
#include "ir/codecs/MixedWidths.h"
#include <algorithm>
#include <cmath>

namespace qplan {

/// Rows whose errors say what widths suit a tensor: enough for groups of 32 columns.
static constexpr int64_t sampledRows = 64;

/// Parts of a row whose largest magnitudes SideObserver keeps, and the rows that share them.
static std::pair<int64_t, int64_t> sideBlock(const FormatInfo &info, int64_t columns) {
  switch (info.side) {
  case SideData::None:
  case SideData::Scale:
  case SideData::Element:
  case SideData::Widths:
    return {0, columns};
  case SideData::Block128:
    return {128, 128};
  case SideData::Nested:
    return {1, info.groupColumns};
  }
  return {0, columns};
}

/// Adds the squared error of a row under rule Mse.
static llvm::Error addError(const Codec &codec, const float *x, int64_t columns,
                            llvm::StringRef subject, double &sum) {
  std::vector<uint8_t> row(codec.bytesPerRow(columns));
  std::vector<float> back(columns);
  EncodeOptions options;
  options.rule = ScaleRule::Mse;
  options.subject = subject;
  if (llvm::Error error = codec.encodeRow(x, columns, options, row.data()))
    return error;
  codec.decodeRow(row.data(), columns, back.data());
  for (int64_t i = 0; i < columns; ++i) {
    const double difference = static_cast<double>(back[i]) - x[i];
    sum += difference * difference;
  }
  return llvm::Error::success();
}

SideObserver::SideObserver(FormatId id, int64_t rows, int64_t columns,
                           llvm::ArrayRef<float> importance)
    : id(id), columns(columns), importance(importance) {
  const FormatInfo &info = formatInfo(id);
  if (info.side == SideData::None)
    return;
  if (info.side == SideData::Element) {
    errors.resize(choiceOf().size());
    return;
  }
  if (info.side == SideData::Widths) {
    errors.resize(size_t(columns / mixedColumns) * mixedWidths.size());
    stride = std::max<int64_t>(1, rows / sampledRows);
  }
  auto [height, width] = sideBlock(info, columns);
  int64_t down = height ? (rows + height - 1) / height : 1;
  blocks.resize(size_t(down * ((columns + width - 1) / width)));
}

llvm::Error SideObserver::observe(int64_t row, const float *x, llvm::StringRef subject) {
  if (int64_t at = findNonFinite(x, columns); at >= 0)
    return inputError("{}: column {} is {}; {} stores finite numbers only",
                      subject.empty() ? fmt::format("row {}", row) : subject.str(), at, x[at],
                      formatInfo(id).name);
  if (formatInfo(id).side == SideData::Element) {
    for (size_t i = 0; i < errors.size(); ++i)
      if (llvm::Error error = addError(codecFor(choiceOf()[i]), x, columns, subject, errors[i]))
        return error;
    return llvm::Error::success();
  }
  if (formatInfo(id).side == SideData::Widths && row % stride == 0)
    addWidthErrors(x);
  auto [height, width] = sideBlock(formatInfo(id), columns);
  const int64_t across = (columns + width - 1) / width;
  float *amax = blocks.data() + (height ? row / height * across : 0);
  for (int64_t b = 0; b < across; ++b)
    amax[b] = std::max(amax[b],
                       largestMagnitude(x + b * width, std::min(width, columns - b * width)));
  return llvm::Error::success();
}

void SideObserver::addWidthErrors(const float *x) {
  for (size_t i = 0; i < errors.size(); ++i) {
    const size_t at = i / mixedWidths.size() * mixedColumns;
    const float *weight = importance.empty() ? nullptr : importance.data() + at;
    // Scales have the same digits at any power of two, so the tensor's need not be known.
    const float unit = mixedTensorScale(largestMagnitude(x + at, mixedColumns));
    uint8_t scale;
    errors[i] += chooseMixedScale(x + at, weight, mixedWidths[i % mixedWidths.size()], unit, scale);
  }
}

std::vector<float> SideObserver::values() const {
  const FormatInfo &info = formatInfo(id);
  if (info.side == SideData::Widths)
    return storeMixedWidths(mixedTensorScale(blocks[0]),
                            chooseMixedWidths(errors, mixedWidthSum(columns, info.centiBits)));
  if (info.side == SideData::Scale) {
    float scale = blocks[0] / static_cast<float>(scaleDivisor(id));
    return {scale > 0 ? scale : 1.0f};
  }
  if (info.side == SideData::Element)
    return {float(std::min_element(errors.begin(), errors.end()) - errors.begin())};
  std::vector<float> result = blocks;
  if (info.side == SideData::Block128)
    for (float &amax : result)
      amax /= largestElement(id);
  if (info.side != SideData::Nested)
    return result;
  double sum = 0;
  for (float amax : blocks)
    sum += amax;
  result.assign(1 + (blocks.size() + 255) / 256, 0.0f);
  result[0] = static_cast<float>(sum / static_cast<double>(blocks.size()));
  for (size_t b = 0; b < blocks.size(); ++b) {
    float &largest = result[1 + b / 256];
    largest = std::max(largest, std::abs(blocks[b] - result[0]));
  }
  return result;
}

double scaleDivisor(FormatId id) {
  const FormatInfo &info = formatInfo(id);
  if (info.divisorHalves)
    return info.divisorHalves / 2.0;
  return largestElement(id) * (info.scale == ScaleType::E4M3 ? 448.0 : 1.0);
}

} // namespace qplan

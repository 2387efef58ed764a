//===- Formats.cpp - sizes and names of formats ---------------------------===//
//
// Everything here is arithmetic over the table that Formats.td declares.
//
//===----------------------------------------------------------------------===//
#include "ir/Formats.h"
#include "ir/Failure.h"
#include "ir/codecs/MixedWidths.h"
#include <algorithm>
#include <limits>
#include <vector>

namespace qplan {
namespace {
using llvm::ArrayRef;
#define GET_FormatTable_DECL
#define GET_FormatTable_IMPL
#include "ir/codecs/Formats.inc"

constexpr int64_t maxColumns = int64_t(1) << 40;

/// The names nearest to `name`, best first, at most three.
std::string nearestNames(llvm::StringRef name) {
  std::vector<std::pair<unsigned, llvm::StringRef>> ranked;
  for (const FormatInfo &info : allFormats())
    ranked.emplace_back(name.edit_distance_insensitive(info.name), info.name);
  std::sort(ranked.begin(), ranked.end());
  std::string text;
  for (size_t i = 0; i < 3; ++i)
    text += (i ? ", " : "") + ranked[i].second.str();
  return text;
}
} // namespace

llvm::ArrayRef<FormatInfo> allFormats() { return FormatTable; }

const FormatInfo &formatInfo(FormatId id) { return *lookupFormatByOrdinal(id); }

llvm::Expected<FormatId> parseFormat(llvm::StringRef name) {
  for (const FormatInfo &info : allFormats())
    if (name == info.name)
      return info.id;
  return usageError("unknown format \"{}\"; nearest: {}; `qplan formats` lists all",
                    name.take_front(80).str(), nearestNames(name.take_front(80)));
}

std::optional<FormatId> formatForGgufType(uint32_t type) {
  for (const FormatInfo &info : allFormats())
    if (info.ggufType != 65535 && info.ggufType == type)
      return info.id;
  return std::nullopt;
}

std::optional<FormatId> formatForSafetensorsDtype(llvm::StringRef dtype) {
  for (const FormatInfo &info : allFormats())
    if (info.family == CodecFamily::Float && dtype == info.safetensors)
      return info.id;
  return std::nullopt;
}

unsigned sizeOfScale(ScaleType type) {
  switch (type) {
  case ScaleType::None:
    return 0;
  case ScaleType::F16:
    return 2;
  case ScaleType::F32:
    return 4;
  case ScaleType::E8M0:
  case ScaleType::E4M3:
  case ScaleType::Dynamic8:
    return 1;
  }
  return 0;
}

llvm::Expected<uint64_t> rowBytes(FormatId id, int64_t columns) {
  const FormatInfo &info = formatInfo(id);
  if (columns < 1 || columns > maxColumns)
    return inputError("{}: a row of {} columns; expected 1 to {}", info.name, columns, maxColumns);
  const int64_t block = info.blockColumns ? info.blockColumns : columns;
  if (!info.shortBlock && columns % block != 0)
    return inputError("{} has blocks of {} columns, and {} columns are not a multiple of that; "
                      "choose a format with smaller or short blocks, e.g. int8 or int4_g32",
                      info.name, block, columns);
  if (info.centiBits) {
    // Room for the scale and a bit for each column.
    if (columns < 32)
      return inputError("{}: a row of {} columns is too short for it; expected 32 or more, or a "
                        "format such as int8 or int4_g32",
                        info.name, columns);
    return uint64_t(columns) * info.centiBits / 800;
  }
  if (info.family == CodecFamily::Sparse) {
    llvm::Expected<uint64_t> kept = rowBytes(info.inner, columns / 2);
    if (!kept)
      return kept.takeError();
    return *kept + (uint64_t(columns) / 4 + 1) / 2; // four bits for four columns
  }
  const uint64_t blocks = (columns + block - 1) / block;
  if (info.blockBytes)
    return blocks * info.blockBytes;
  const uint64_t scaleBytes = sizeOfScale(info.scale);
  const uint64_t zeroBits = info.zero == ZeroPoint::Integer ? blocks * info.elementBits : 0;
  return (uint64_t(columns) * info.elementBits + 7) / 8 + blocks * scaleBytes + (zeroBits + 7) / 8;
}

int64_t sideCount(FormatId id, int64_t rows, int64_t columns) {
  const FormatInfo &info = formatInfo(id);
  auto parts = [](int64_t n, int64_t size) { return n / size + (n % size != 0); };
  switch (info.side) {
  case SideData::None:
    return 0;
  case SideData::Scale:
  case SideData::Element:
    return 1;
  case SideData::Block128:
    return parts(rows, 128) * parts(columns, 128);
  case SideData::Widths:
    return mixedSideCount(columns);
  case SideData::Nested:
    return 1 + parts(rows * parts(columns, info.groupColumns), 256);
  }
  return 0;
}

llvm::Expected<uint64_t> bytesFor(FormatId id, int64_t rows, int64_t columns) {
  llvm::Expected<uint64_t> row = rowBytes(id, columns);
  if (!row)
    return row.takeError();
  // Numbers beside the rows are fewer than the rows' bytes: a quarter of the range holds both.
  constexpr uint64_t limit = std::numeric_limits<int64_t>::max() / 8;
  if (rows < 0 || (rows > 0 && *row > limit / uint64_t(rows)))
    return inputError("{}: a tensor of {} rows and {} columns is not possible", formatInfo(id).name,
                      rows, columns);
  return *row * uint64_t(rows) + 4 * uint64_t(sideCount(id, rows, columns));
}

llvm::Expected<double> effectiveBits(FormatId id, int64_t rows, int64_t columns) {
  llvm::Expected<uint64_t> bytes = bytesFor(id, rows, columns);
  if (!bytes)
    return bytes.takeError();
  if (rows < 1)
    return inputError("{}: a tensor of {} rows has no bits for each weight", formatInfo(id).name,
                      rows);
  return 8.0 * static_cast<double>(*bytes) / (static_cast<double>(rows) * columns);
}

llvm::Expected<double> modeloptBits(FormatId id, int64_t rows, int64_t columns) {
  const FormatInfo &info = formatInfo(id);
  llvm::Expected<double> stored = effectiveBits(id, rows, columns);
  if (!stored || !info.modeloptMilliBits)
    return stored;
  return info.modeloptMilliBits / 1000.0;
}

} // namespace qplan

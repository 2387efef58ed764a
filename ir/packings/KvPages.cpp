//===- KvPages.cpp - sizes of cached keys and values ----------------------===//
//
// See KvPages.h; the bytes themselves are written by runtime/kernels/kv_store.c.
//
//===----------------------------------------------------------------------===//
#include "ir/packings/KvPages.h"
#include "ir/Failure.h"
#include <algorithm>

namespace qplan {
namespace {

/// What users write for formats with long names. int4 is the one that lost least: KL 0.0092 on
/// a model of 27 M parameters, int4_g64_asym 0.0138, int4_g32 0.0155, int4_g64 0.0218.
struct Alias {
  const char *name;
  FormatId format;
};
constexpr Alias aliases[] = {{"int4", FormatId::Int4G32Asym},
                             {"fp8", FormatId::Fp8E4M3Tensor},
                             {"fp8_head", FormatId::Fp8E4M3Head}};

/// The numbers of enum qk_kv_element of the kernels.
int64_t elementOf(const FormatInfo &info) {
  switch (info.kind) {
  case ElementKind::F32:
    return 0;
  case ElementKind::F16:
    return 1;
  case ElementKind::BF16:
    return 2;
  case ElementKind::Int:
    return info.elementBits == 4 ? 3 : 4;
  case ElementKind::E2M1:
    return 6;
  default: // E4M3
    return 5;
  }
}

std::string kvNames() {
  std::string text;
  for (const Alias &alias : aliases)
    text += std::string(alias.name) + ", ";
  for (FormatId format : kvFormats())
    text += formatName(format).str() + ", ";
  text.resize(text.size() - 2);
  return text;
}

} // namespace

std::vector<FormatId> kvFormats() {
  std::vector<FormatId> formats;
  for (const FormatInfo &info : allFormats())
    if (info.isKv)
      formats.push_back(info.id);
  return formats;
}

llvm::Expected<FormatId> parseKvFormat(llvm::StringRef name) {
  for (const Alias &alias : aliases)
    if (name == alias.name)
      return alias.format;
  for (FormatId format : kvFormats())
    if (name == formatName(format))
      return format;
  return usageError("keys and values cannot be cached in \"{}\"; choose one of {}",
                    name.take_front(80).str(), kvNames());
}

KvScales kvScalesOf(FormatId format) {
  if (format == FormatId::Fp8E4M3Head)
    return KvScales::Head;
  return formatInfo(format).isPerTensor() ? KvScales::Tensor : KvScales::None;
}

llvm::Expected<KvLayout> kvLayoutFor(FormatId format, int64_t headDim) {
  const FormatInfo &info = formatInfo(format);
  if (!info.isKv)
    return parseKvFormat(info.name).takeError();
  if (auto bytes = rowBytes(format, headDim); !bytes)
    return usageError("keys and values of {} columns a head cannot be cached in {}: {}", headDim,
                      info.name, llvm::toString(bytes.takeError()));
  KvLayout layout;
  layout.element = elementOf(info);
  layout.group = info.groupColumns ? std::min<int64_t>(info.groupColumns, headDim) : headDim;
  layout.scale = info.scale;
  layout.zero = info.zero == ZeroPoint::Integer;
  layout.fixed = kvScalesOf(format);
  const uint64_t groups = (headDim + layout.group - 1) / layout.group;
  // Four-bit codes come 32 columns at a time.
  const uint64_t columns = info.elementBits == 4 ? (headDim + 31) / 32 * 32 : headDim;
  layout.bytes = columns * info.elementBits / 8 + groups * sizeOfScale(info.scale) +
                 (layout.zero ? (groups + 1) / 2 : 0);
  return layout;
}

llvm::Expected<uint64_t> kvTokenBytes(FormatId format, int64_t headDim, int64_t heads) {
  auto layout = kvLayoutFor(format, headDim);
  if (!layout)
    return layout.takeError();
  return 2 * uint64_t(heads) * layout->bytes;
}

} // namespace qplan

//===- KvPages.h - cached keys and values, as kernels hold them -*- C++ -*-===//
//
// A cache stores vectors: head_dim keys, or values, of one head and one token. To a
// codec each vector is a row of its format. Where its bytes lie in a page is stated in
// runtime/kernels/kv.h; this file has the sizes and parameters of that layout, and the
// names under which users choose a format.
//
//===----------------------------------------------------------------------===//
#ifndef QPLAN_IR_PACKINGS_KVPAGES_H
#define QPLAN_IR_PACKINGS_KVPAGES_H

#include "ir/Formats.h"

namespace qplan {

/// Where the scales of vectors come from that are not stored beside their codes.
enum class KvScales : uint8_t {
  None,   ///< every scale is found when the vector is stored
  Tensor, ///< one for the keys and one for the values of a layer, fixed by calibration
  Head    ///< one for each head of either
};

/// Sizes and kernel parameters of one vector.
struct KvLayout {
  int64_t element = 0;              ///< kvElement: enum qk_kv_element
  int64_t group = 0;                ///< kvGroup: columns that share a stored scale
  ScaleType scale = ScaleType::None; ///< kvScale: type of the stored scales
  bool zero = false;                ///< kvZero: a 4-bit zero point for each group
  KvScales fixed = KvScales::None;
  uint64_t bytes = 0;               ///< of a vector: codes, scales and zero points
};

/// The format that `name` means for a cache: a format that caches can have, or one of the
/// short names int4, fp8, fp8_head. The error (usage) lists them.
llvm::Expected<FormatId> parseKvFormat(llvm::StringRef name);

/// All formats that caches can have, in the order of Formats.td.
std::vector<FormatId> kvFormats();

/// Whether, and for what, scales of `format` are fixed before a model runs.
KvScales kvScalesOf(FormatId format);

/// The layout of vectors of `headDim` >= 1. Errors (usage): a format that caches cannot have,
/// blocks that do not divide headDim.
llvm::Expected<KvLayout> kvLayoutFor(FormatId format, int64_t headDim);

/// Bytes of the keys and values of one token in a layer with `heads` key-value heads. Errors are
/// those of kvLayoutFor.
llvm::Expected<uint64_t> kvTokenBytes(FormatId format, int64_t headDim, int64_t heads);

} // namespace qplan
#endif // QPLAN_IR_PACKINGS_KVPAGES_H

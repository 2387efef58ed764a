//===- GgufFp4.h - GGUF's blocks of fp4 as rows of ours ---------*- C++ -*-===//
//
// MXFP4 (u8 exponent, then 16 bytes for 32 values) and NVFP4 (four UE4M3 scales,
// then 32 bytes for 64 values) hold the numbers of our mxfp4 and nvfp4 in another
// order. The scale of an NVFP4 tensor is a tensor of its own, NAME.scale.
//
//===----------------------------------------------------------------------===//
#ifndef QPLAN_IR_IMPORT_GGUFFP4_H
#define QPLAN_IR_IMPORT_GGUFFP4_H

#include "ir/import/StoredRows.h"

#include "ir/Formats.h"

#include <memory>

namespace qplan {

/// Rows of a tensor of `columns` (whole blocks) values at `data`, which outlives the result.
/// `format` is MxFp4 or NvFp4; `scale` is the tensor's scale, of NvFp4.
std::shared_ptr<const StoredRows> makeGgufFp4Rows(FormatId format, const uint8_t *data,
                                                  int64_t columns, float scale);

} // namespace qplan
#endif // QPLAN_IR_IMPORT_GGUFFP4_H

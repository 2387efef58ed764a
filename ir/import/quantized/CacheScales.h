//===- CacheScales.h - scales of keys and values in checkpoints -*- C++ -*-===//
//
// A quantized checkpoint may say that keys and values are cached in fp8, and at which
// scales: code = e4m3(x / scale). Tools name these tensors differently; a checkpoint
// shows them as MODULE.k_scale and MODULE.v_scale beside the weight of the projection
// that makes the rows, and shows none when it does not ask for such a cache.
//
//===----------------------------------------------------------------------===//
#ifndef QPLAN_IR_IMPORT_QUANTIZED_CACHESCALES_H
#define QPLAN_IR_IMPORT_QUANTIZED_CACHESCALES_H

#include "ir/import/quantized/Quantization.h"

namespace qplan {

/// Shows the scales under the names above, or takes them away, with a note. Errors name the tensor: a
/// scale that is not finite and above 0, a shape other than [], [1] and [heads, 1, 1].
llvm::Error readCacheScales(const QuantizationConfig &config, Rewriter &tensors);

/// Whether a checkpoint shows `name` as a scale of keys or values.
bool isCacheScale(llvm::StringRef name);

/// The scales of the rows that projection `module` ("model.layers.0.self_attn.k_proj") makes: one,
/// or one for each head; empty when the checkpoint shows none. Of keys or of values.
std::vector<double> cacheScales(const Checkpoint &checkpoint, llvm::StringRef module, bool isKey);

/// The format that the checkpoint asks to keep keys and values in, if it does: fp8 with a scale for
/// the tensor or, where it has them, for heads.
std::optional<FormatId> cacheFormatOf(const Checkpoint &checkpoint);

} // namespace qplan
#endif // QPLAN_IR_IMPORT_QUANTIZED_CACHESCALES_H

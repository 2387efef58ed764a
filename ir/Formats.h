//===- Formats.h - the table of formats -------------------------*- C++ -*-===//
//
// What stored numbers mean, as data: one FormatInfo for each row of Formats.td,
// and what follows from it (sizes, effective bits, names, reference pages). How
// values become bytes is ir/codecs/Codec.h; how bytes are laid out for kernels is
// ir/packings/Panel16.h.
//
//===----------------------------------------------------------------------===//
#ifndef QPLAN_IR_FORMATS_H
#define QPLAN_IR_FORMATS_H

#include <cstdint>
#include <llvm/ADT/ArrayRef.h>
#include <llvm/ADT/StringRef.h>
#include <llvm/Support/Error.h>
#include <optional>
#include <string>

namespace qplan {

/// Holds the generated enumeration, so that its enumerators stay out of the namespace.
struct FormatIds {
#define GET_FormatId_DECL
#include "ir/codecs/Formats.inc"
};
/// A format: FormatId::F32, FormatId::Int4G64, FormatId::Q4_K, ... one for each row.
using FormatId = FormatIds::FormatId;

/// Which codec reads and writes a format.
enum class CodecFamily : uint8_t { Float, Affine, Grid, Ggml, Trellis, Choice, Sparse, Mixed };
/// What a stored code is: a float, an integer, a float of 8 bits or less (ExMy: x exponent and y
/// mantissa bits), an index into a table of 16 numbers,
/// or a state of the trellis code. ir/codecs/Elements.h has the numbers.
enum class ElementKind : uint8_t {
  F32,
  F16,
  BF16,
  Int,
  E4M3, ///< as f8E4M3FN: no infinities, 0x7f and 0xff are NaN
  E5M2, ///< IEEE: the highest exponent is infinity and NaN
  E3M4, ///< IEEE, bias 3
  E2M5, ///< finite, bias 1
  E3M2, ///< finite, bias 3 (OCP MX)
  E2M3, ///< finite, bias 1 (OCP MX)
  E2M1, ///< finite, bias 1 (OCP MX)
  E1M2, ///< finite, bias 1
  E3M0, ///< finite, bias 3: 0 and powers of two
  NF4,  ///< table of bitsandbytes: quantiles of the normal distribution
  FP4,  ///< table of bitsandbytes: its 4-bit floats, 1 the greatest
  IQ4,  ///< table of GGML's IQ4_NL: integers of -127..113
  Trellis ///< the 16 bits of a state (ir/codecs/Trellis.h)
};
/// Type of a stored scale. The numbers of None, F16 and F32 equal enum qk_scale of the kernels.
enum class ScaleType : uint8_t {
  None = 0,
  F16 = 1,
  F32 = 2,
  E8M0 = 3,    ///< 2^(byte - 127); 255 is NaN
  E4M3 = 4,    ///< f8E4M3FN without sign, times the tensor's scale
  Dynamic8 = 5 ///< index into bitsandbytes' dynamic map of 256 numbers (SideData::Nested)
};
/// f32 numbers of a tensor that belong to no row, kept beside the rows.
enum class SideData : uint8_t {
  None,
  Scale,     ///< [1]: a scale of the tensor
  Block128,  ///< [ceil(rows / 128), ceil(columns / 128)]: scales of square blocks
  Element,   ///< [1]: which element the codes of CodecFamily::Choice are
  Widths,    ///< mixedSideCount(columns): a scale of the tensor, then widths (codecs/MixedWidths.h)
  Nested     ///< [1 + ceil(blocks / 256)]: an offset, then scales of 256 blocks' scales each
};
/// How a format moves its grid: by an integer code, or by a float minimum.
enum class ZeroPoint : uint8_t { None, Integer, Minimum };
/// How codes are rounded. HalfUp is truncation of x/scale + offset + 0.5.
enum class Rounding : uint8_t { NearestEven, HalfAway, HalfUp };
/// How the panel16 packing stores a code. The numbers equal enum qk_element of the kernels.
enum class PanelElement : uint8_t { F32 = 0, F16 = 1, BF16 = 2, U4 = 3, U8 = 4, E4M3 = 5, Trellis = 20 };

/// One row of Formats.td. Columns count along the contiguous dimension of a row (the inputs of
/// a linear layer). All strings are literals.
struct FormatInfo {
  uint16_t ordinal; ///< value of `id`, position in allFormats()
  FormatId id;
  const char *name;    ///< what users write, e.g. "int4_g64"
  const char *summary; ///< one line, no full stop
  CodecFamily family;
  ElementKind kind;
  uint8_t elementBits;     ///< of one code, without scales
  uint16_t centiBits;      ///< everything stored of a row in 1/100 bits a weight, at most; 0: as the
                           ///< other fields say
  uint16_t blockColumns;   ///< columns of a stored block; 0: the whole row
  uint16_t blockBytes;     ///< bytes of a block stored contiguously (GGML); 0: rows are planar
  bool shortBlock;         ///< the last block of a row may be short
  uint16_t groupColumns;   ///< columns that share one effective scale; 0: the whole row
  ScaleType scale;         ///< stored scale
  ZeroPoint zero;          ///< stored zero point
  Rounding rounding;       ///< of the reference encoder
  uint16_t divisorHalves;  ///< rule Max: scale = amax / (divisorHalves / 2); 0: see Formats.td
  SideData side;           ///< numbers kept beside the rows (TensorSide)
  PanelElement panel;      ///< panel16 element
  uint8_t offset;          ///< value = scale * (code - offset) when panelMin is false
  ScaleType panelScale;    ///< smallest type that holds every effective scale and minimum exactly
  bool panelMin;           ///< value = scale * code + minimum
  uint16_t ggufType;       ///< type id in GGUF files; 65535: none
  const char *safetensors; ///< dtype in safetensors files of the codes; "": none
  const char *compressedTensors; ///< compressed-tensors format; "": none
  const char *modelopt;          ///< ModelOpt quant_algo; "": none
  uint16_t modeloptMilliBits;    ///< what ModelOpt's budget charges; 0: the stored size
  FormatId activation;           ///< activations it runs with when none is named; F32: unquantized
  FormatId inner;                ///< of CodecFamily::Sparse: what the kept half of a row is stored in
  bool isWeight, isActivation, isKv; ///< what may be stored in it
  uint32_t toleranceE5; ///< rms error / rms on normal data in 1e-5; 0: there is no encoder

  bool isGrouped() const { return groupColumns > 1; }
  bool isInteger() const { return kind == ElementKind::Int; }
  /// Whether a scale of the whole tensor must be known before its rows are encoded.
  bool isPerTensor() const { return side == SideData::Scale; }
};

/// Every format, in the order of FormatId (allFormats()[int(id)].id == id).
llvm::ArrayRef<FormatInfo> allFormats();

/// The row of `id`.
const FormatInfo &formatInfo(FormatId id);

/// What users write for `id`.
inline llvm::StringRef formatName(FormatId id) { return formatInfo(id).name; }

/// The format called `name` (case matters). The error (usage) lists the nearest names.
llvm::Expected<FormatId> parseFormat(llvm::StringRef name);

/// The format that GGUF calls `type`, if qplan has it.
std::optional<FormatId> formatForGgufType(uint32_t type);

/// The plain float (f32, f16, bf16) that safetensors calls `dtype`, e.g. "BF16".
std::optional<FormatId> formatForSafetensorsDtype(llvm::StringRef dtype);

/// Bytes of one stored scale.
unsigned sizeOfScale(ScaleType type);

/// Bytes of one stored row of `columns` (>= 1) values. Fails (input) when `columns` is not a
/// multiple of a block that must be full, is not positive, or is beyond 2^40.
llvm::Expected<uint64_t> rowBytes(FormatId id, int64_t columns);

/// f32 numbers kept beside the rows of a tensor of `rows` x `columns` (both >= 1).
int64_t sideCount(FormatId id, int64_t rows, int64_t columns);

/// Bytes of a stored tensor: rows * rowBytes, and 4 * sideCount. Fails as rowBytes does, and
/// when the product does not fit 63 bits.
llvm::Expected<uint64_t> bytesFor(FormatId id, int64_t rows, int64_t columns);

/// bytesFor in bits, divided by rows * columns: everything stored, no kernel padding.
llvm::Expected<double> effectiveBits(FormatId id, int64_t rows, int64_t columns);

/// Bits for each weight as ModelOpt's effective_bits counts them (most scales are free).
/// Formats it lacks count as effectiveBits does.
llvm::Expected<double> modeloptBits(FormatId id, int64_t rows, int64_t columns);

/// What `qplan formats` prints: a header and one line for each format.
std::string formatsTable();

/// The same as one JSON object {"formats": [{"name", ...}]}, ended by a newline.
std::string formatsJson();

/// The reference page ir/Formats.md.
std::string formatsMarkdown();

} // namespace qplan
#endif // QPLAN_IR_FORMATS_H

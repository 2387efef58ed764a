//===- Codec.h - values to stored bytes and back ----------------*- C++ -*-===//
//
// A codec states exactly what the bytes of one row of a format are. Codecs are
// scalar, portable and deterministic; encoders choose codes against the scale
// that is really stored (rounded to f16 where it is). Rows are independent, so
// tensors may be coded in any order and by several threads.
//
//===----------------------------------------------------------------------===//
#ifndef QPLAN_IR_CODECS_CODEC_H
#define QPLAN_IR_CODECS_CODEC_H

#include "ir/Formats.h"
#include <vector>

namespace qplan {

/// The scale of a per-tensor format (FormatInfo::perTensor): value = scale * code. Ignored by
/// the others.
struct TensorScale {
  float scale = 1.0f;
};

/// How an encoder chooses scales.
enum class ScaleRule : uint8_t {
  Max, ///< from the largest magnitude (or the range): nothing saturates by more than half a step
  Mse  ///< the candidate with the least (weighted) squared error; never worse than Max
};

/// What encodeRow may be told. GGML's formats are what GGML's reference quantizers write: they
/// take rule Max, and the K-quants rule Mse with importance, which is GGML's with an imatrix.
struct EncodeOptions {
  ScaleRule rule = ScaleRule::Max;
  /// Weights [columns] >= 0 of the squared errors for rule Mse; null: all 1. Not owned.
  const float *importance = nullptr;
  TensorScale tensor;      ///< for per-tensor formats, from TensorScaleObserver
  llvm::StringRef subject; ///< what errors call the row, e.g. the tensor's name
  int64_t row = 0;         ///< row number for errors
};

/// A row of an integer format as unsigned codes and f32 scales. The value of column c, in group
/// g = c / group, is exactly what decodeRow gives:
///   hasMin:  scale[g] * codes[c] + min[g]     (one rounding, with or without fma)
///   else:    scale[g] * (codes[c] - offset)
struct AffineRow {
  std::vector<uint8_t> codes; ///< [columns]
  std::vector<float> scale;   ///< [groups]
  std::vector<float> min;     ///< [groups] if hasMin, else empty
  int64_t group = 0;          ///< columns of a group; the last may be short
  int32_t offset = 0;
  bool hasMin = false;
};

/// What a row is put together from, as other tools keep it; not owned.
struct RowParts {
  const uint8_t *codes = nullptr;  ///< [columns], as the format stores them
  const float *scales = nullptr;   ///< [groups], values that the format's scales hold exactly
  const uint8_t *zeros = nullptr;  ///< [groups], for formats with integer zero points
};

/// Reads and writes rows of one format. Objects live for ever and hold no state.
class Codec {
public:
  explicit Codec(const FormatInfo &info) : info(info) {}
  virtual ~Codec() = default;
  Codec(const Codec &) = delete;
  Codec &operator=(const Codec &) = delete;

  const FormatInfo &format() const { return info; }

  /// Whether a row may have `columns` values; the error (input) says what it must be.
  llvm::Error checkColumns(int64_t columns) const;

  /// Bytes of a row. `columns` must pass checkColumns.
  uint64_t bytesPerRow(int64_t columns) const;

  /// Writes bytesPerRow(columns) bytes for x[columns] to `out`. Fails (input) on columns that the
  /// format does not take, on NaN and infinity (naming the column), on values whose scale does
  /// not fit, and for formats without an encoder; `out` is then unspecified. f32, f16 and bf16
  /// keep NaN and infinity.
  llvm::Error encodeRow(const float *x, int64_t columns, const EncodeOptions &options,
                        uint8_t *out) const;
  /// The same with rule Max, or Mse where `importance` [columns] is given.
  llvm::Error encodeRow(const float *x, int64_t columns, const float *importance,
                        uint8_t *out) const;

  /// Writes the values of a stored row to x[columns]. `row` needs no alignment; any bytes decode.
  virtual void decodeRow(const uint8_t *row, int64_t columns, float *x,
                         TensorScale tensor = {}) const = 0;

  /// Whether affineRow works (the integer formats).
  bool isAffine() const { return info.isInteger(); }
  /// Splits a stored row into codes and scales; `out`'s storage is reused. Only if isAffine().
  virtual void affineRow(const uint8_t *row, int64_t columns, AffineRow &out,
                         TensorScale tensor = {}) const;
  /// Replaces the codes [columns] of a stored row and keeps its scales and zero points. Only for
  /// CodecFamily::Affine, where codes are below 2^elementBits.
  virtual void storeCodes(const uint8_t *codes, int64_t columns, uint8_t *row) const;
  /// Puts a row together from `parts`. Only for CodecFamily::Affine and Fp8.
  virtual void storeRow(const RowParts &parts, int64_t columns, uint8_t *row) const;

protected:
  /// Encodes finite values (any, for plain floats) and a valid number of columns.
  virtual llvm::Error encode(const float *x, int64_t columns, const EncodeOptions &options,
                             uint8_t *out) const = 0;
  /// Error text: what the options call the row, and its number.
  static std::string subjectOf(const EncodeOptions &options);

  const FormatInfo &info;
};

/// The codec of `id`.
const Codec &codecFor(FormatId id);

/// First pass over the rows of a per-tensor format: finds the tensor's scale.
class TensorScaleObserver {
public:
  explicit TensorScaleObserver(FormatId id) : id(id) {}
  /// Takes notice of x[count]; fails (input) on NaN and infinity, naming `subject` and the index.
  llvm::Error observe(const float *x, int64_t count, llvm::StringRef subject = {});
  /// The scale for rule Max: amax / divisor; 1 when every value was 0.
  TensorScale scale() const;

private:
  FormatId id;
  float amax = 0;
};

/// Index of the first NaN or infinity of x[count], or -1.
int64_t findNonFinite(const float *x, int64_t count);

} // namespace qplan
#endif // QPLAN_IR_CODECS_CODEC_H

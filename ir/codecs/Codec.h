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

/// What a row needs of the numbers beside its tensor (FormatInfo::side; sideCount of them), and
/// which row it is. Formats without such numbers ignore it. Missing numbers count as 1.
struct TensorSide {
  llvm::ArrayRef<float> values; ///< owned by the caller
  int64_t row = 0;              ///< number of the row in its tensor

  float at(size_t i) const { return i < values.size() ? values[i] : 1.0f; }
  /// The one number of SideData::Scale.
  float scale() const { return at(0); }
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
  TensorSide tensor;       ///< for formats with SideData, from SideObserver
  llvm::StringRef subject; ///< what errors call the row, e.g. the tensor's name
  int64_t row = 0;         ///< row number for errors
};

/// A row as codes of up to 8 bits and f32 scales. The value of column c, in group g = c / group,
/// is exactly what decodeRow gives:
///   hasMin:  scale[g] * values[codes[c]] + min[g]     (one rounding, with or without fma)
///   else:    scale[g] * values[codes[c]]
struct GridRow {
  std::vector<uint8_t> codes;   ///< [columns]
  std::vector<float> scale;     ///< [groups]
  std::vector<float> min;       ///< [groups] if hasMin, else empty
  std::vector<uint8_t> bits;    ///< [groups] where groups differ in the bits b of their codes, which
                                ///< then are the 2^b about the code of 0; else empty
  llvm::ArrayRef<float> values; ///< elementValues of the format
  int64_t group = 0;            ///< columns of a group; the last may be short
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
                         TensorSide tensor = {}) const = 0;

  /// Whether gridRow works: every format with codes of up to 8 bits.
  bool hasGrid() const { return info.elementBits <= 8; }
  /// Splits a stored row into codes and scales; `out`'s storage is reused. Only if hasGrid().
  virtual void gridRow(const uint8_t *row, int64_t columns, GridRow &out,
                       TensorSide tensor = {}) const;
  /// Whether storeCodes works: formats whose scales do not depend on their codes.
  virtual bool storesCodes() const { return false; }
  /// Replaces the codes [columns], each below 2^elementBits, of a stored row and keeps its scales
  /// and zero points. Only if storesCodes().
  virtual void storeCodes(const uint8_t *codes, int64_t columns, uint8_t *row,
                          TensorSide tensor = {}) const;
  /// Puts a row together from `parts`. Only for CodecFamily::Affine and Grid.
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

/// First pass over the rows of a tensor: finds the numbers beside them, by rule Max.
///   Scale      amax of the tensor / scaleDivisor; 1 when every value was 0
///   Block128   amax of the square block / largestElement; 0 when every value was 0
///   Element    the one of the formats that CodecFamily::Choice chooses from (choiceOf), by its
///              number, whose rule Mse has the least sum of squared errors over the tensor
///   Widths     the tensor's scale; then the widths of least error, weighed by `importance`, which
///              a sample of the rows tells
///   Nested     offset: mean of the blocks' amax; then the largest |amax - offset| of 256 blocks
class SideObserver {
public:
  /// `importance`: weights [columns] >= 0 of squared errors; empty: all 1. Not owned.
  SideObserver(FormatId id, int64_t rows, int64_t columns,
               llvm::ArrayRef<float> importance = {});
  /// Whether the format keeps anything beside its rows; else there is nothing to observe.
  bool isNeeded() const { return !blocks.empty() || !errors.empty(); }
  /// Takes notice of row `row`, x[columns]; fails (input) on NaN and infinity, naming `subject`
  /// and the column. Rows may come in any order, each once.
  llvm::Error observe(int64_t row, const float *x, llvm::StringRef subject = {});
  /// The numbers for the rows seen, [sideCount].
  std::vector<float> values() const;

private:
  void addWidthErrors(const float *x);

  FormatId id;
  int64_t columns;
  llvm::ArrayRef<float> importance;
  int64_t stride = 1;         ///< of the rows that errors are measured on
  std::vector<float> blocks;  ///< amax of each part of the tensor that has one
  std::vector<double> errors; ///< of each choice: of SideData::Element; Widths: of each group
};

/// The scale of the tensor under rule Max is amax / scaleDivisor (SideData::Scale): what the
/// element and the scales of blocks reach, e.g. 448 of fp8_e4m3_tensor and 6 * 448 of nvfp4.
double scaleDivisor(FormatId id);

/// Index of the first NaN or infinity of x[count], or -1.
int64_t findNonFinite(const float *x, int64_t count);

} // namespace qplan
#endif // QPLAN_IR_CODECS_CODEC_H

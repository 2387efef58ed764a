//===- WeightNode.cpp - steps of a resolved weight ------------------------===//

#include "ir/weights/WeightNode.h"
#include "ir/Rotation.h"
#include "ir/codecs/Codec.h"

#include <algorithm>
#include <cstring>

namespace qplan {

WeightNode::WeightNode(std::vector<int64_t> shape) : dimensions(std::move(shape)), rowCount(1) {
  columnCount = dimensions.empty() ? 1 : dimensions.back();
  for (size_t i = 0; i + 1 < dimensions.size(); ++i)
    rowCount *= dimensions[i];
}

WeightNode::~WeightNode() = default;

namespace {

//===----------------------------------------------------------------------===//
// Stored rows
//===----------------------------------------------------------------------===//

/// Columns after which a row of `info` can be cut, leaving rows of the same format; 0
/// when a row is one piece.
int64_t cutColumns(const FormatInfo &info) {
  if (info.family == CodecFamily::Float)
    return 1;
  return info.blockBytes != 0 ? info.blockColumns : 0;
}

class Leaf : public WeightNode {
public:
  Leaf(std::vector<int64_t> shape, FormatId format, const uint8_t *data,
       std::shared_ptr<const StoredRows> made)
      : WeightNode(std::move(shape)), format(format), codec(codecFor(format)), data(data),
        made(std::move(made)) {
    rowSize = columns() == 0 ? 0 : codec.bytesPerRow(columns());
    cut = cutColumns(codec.format());
    if (this->made) {
      side = this->made->side();
    } else if (codec.format().side != SideData::None && elements() != 0) {
      side.resize(size_t(sideCount(format, rows(), columns())));
      std::memcpy(side.data(), data + uint64_t(rows()) * rowSize, side.size() * sizeof(float));
    }
  }
  void readTile(int64_t r0, int64_t nr, int64_t c0, int64_t nc, float *out,
                int64_t stride) const override;
  std::optional<FormatId> nativeFormat() const override { return format; }
  llvm::ArrayRef<uint8_t> nativeRow(int64_t row, std::vector<uint8_t> &scratch) const override {
    if (!made)
      return {data + static_cast<uint64_t>(row) * rowSize, static_cast<size_t>(rowSize)};
    scratch.resize(rowSize);
    made->read(row, scratch.data());
    return scratch;
  }
  TensorSide nativeSide(int64_t row) const override { return {side, row}; }
  FormatId storedFormat() const override { return format; }

private:
  FormatId format;
  const Codec &codec;
  const uint8_t *data;
  std::shared_ptr<const StoredRows> made;
  std::vector<float> side; ///< numbers beside the rows
  uint64_t rowSize;
  int64_t cut;
};

void Leaf::readTile(int64_t r0, int64_t nr, int64_t c0, int64_t nc, float *out,
                    int64_t stride) const {
  // The stored piece of a row that covers the columns: whole blocks, or the whole row.
  int64_t begin = cut ? c0 / cut * cut : 0;
  int64_t end = cut ? std::min((c0 + nc + cut - 1) / cut * cut, columns()) : columns();
  uint64_t skip = begin == 0 ? 0 : codec.bytesPerRow(begin);
  bool isExact = begin == c0 && end == c0 + nc;
  std::vector<float> piece(isExact ? 0 : end - begin);
  std::vector<uint8_t> scratch;
  for (int64_t r = 0; r < nr; ++r, out += stride) {
    const uint8_t *row = nativeRow(r0 + r, scratch).data() + skip;
    if (isExact) {
      codec.decodeRow(row, nc, out, nativeSide(r0 + r));
      continue;
    }
    codec.decodeRow(row, end - begin, piece.data(), nativeSide(r0 + r));
    std::copy_n(piece.data() + (c0 - begin), nc, out);
  }
}

//===----------------------------------------------------------------------===//
// Views
//===----------------------------------------------------------------------===//

/// A node over one input, which says in which format that is stored.
class Unary : public WeightNode {
public:
  Unary(Ptr input, std::vector<int64_t> shape)
      : WeightNode(std::move(shape)), input(std::move(input)) {}
  FormatId storedFormat() const override { return input->storedFormat(); }

protected:
  Ptr input;
};

class Slice : public Unary {
public:
  Slice(Ptr input, std::vector<int64_t> shape, int64_t row, int64_t column)
      : Unary(std::move(input), std::move(shape)), row(row), column(column) {}
  void readTile(int64_t r0, int64_t nr, int64_t c0, int64_t nc, float *out,
                int64_t stride) const override {
    input->readTile(row + r0, nr, column + c0, nc, out, stride);
  }
  std::optional<FormatId> nativeFormat() const override;
  llvm::ArrayRef<uint8_t> nativeRow(int64_t r, std::vector<uint8_t> &scratch) const override;
  TensorSide nativeSide(int64_t r) const override { return input->nativeSide(row + r); }

private:
  int64_t row, column;
};

std::optional<FormatId> Slice::nativeFormat() const {
  std::optional<FormatId> format = input->nativeFormat();
  if (!format || columns() == input->columns())
    return format;
  int64_t cut = cutColumns(formatInfo(*format));
  bool isWhole = cut != 0 && column % cut == 0 && columns() % cut == 0;
  return isWhole ? format : std::nullopt;
}

llvm::ArrayRef<uint8_t> Slice::nativeRow(int64_t r, std::vector<uint8_t> &scratch) const {
  llvm::ArrayRef<uint8_t> whole = input->nativeRow(row + r, scratch);
  if (columns() == input->columns())
    return whole;
  const Codec &codec = codecFor(*input->nativeFormat());
  return whole.slice(column == 0 ? 0 : codec.bytesPerRow(column), codec.bytesPerRow(columns()));
}

class Transpose : public Unary {
public:
  explicit Transpose(Ptr input) : Unary(input, {input->columns(), input->rows()}) {}
  void readTile(int64_t r0, int64_t nr, int64_t c0, int64_t nc, float *out,
                int64_t stride) const override;
};

void Transpose::readTile(int64_t r0, int64_t nr, int64_t c0, int64_t nc, float *out,
                         int64_t stride) const {
  // Blocks of 128 input rows x 256 input columns: stored blocks are decoded once each,
  // and the scattered writes stay within the cache.
  constexpr int64_t blockRows = 128, blockColumns = 256;
  std::vector<float> block(std::min(nc, blockRows) * std::min(nr, blockColumns));
  for (int64_t r = 0; r < nr; r += blockColumns) {
    int64_t width = std::min(blockColumns, nr - r);
    for (int64_t c = 0; c < nc; c += blockRows) {
      int64_t height = std::min(blockRows, nc - c);
      input->readTile(c0 + c, height, r0 + r, width, block.data(), width);
      for (int64_t i = 0; i < width; ++i)
        for (int64_t j = 0; j < height; ++j)
          out[(r + i) * stride + c + j] = block[j * width + i];
    }
  }
}

class UnpermuteRope : public Unary {
public:
  UnpermuteRope(Ptr input, int64_t heads) : Unary(input, input->shape()) {
    headSize = (isVector() ? columns() : rows()) / heads;
  }
  void readTile(int64_t r0, int64_t nr, int64_t c0, int64_t nc, float *out,
                int64_t stride) const override;
  std::optional<FormatId> nativeFormat() const override {
    return isVector() ? std::nullopt : input->nativeFormat();
  }
  llvm::ArrayRef<uint8_t> nativeRow(int64_t row, std::vector<uint8_t> &scratch) const override {
    return input->nativeRow(source(row), scratch);
  }
  TensorSide nativeSide(int64_t row) const override { return input->nativeSide(source(row)); }

private:
  /// Where GGUF keeps row `row`: half s, pair i of a head lies at 2i + s.
  int64_t source(int64_t row) const {
    int64_t half = headSize / 2, within = row % headSize;
    return row - within + 2 * (within % half) + within / half;
  }
  int64_t headSize;
};

void UnpermuteRope::readTile(int64_t r0, int64_t nr, int64_t c0, int64_t nc, float *out,
                             int64_t stride) const {
  if (isVector()) {
    for (int64_t c = 0; c < nc; ++c)
      input->readTile(0, 1, source(c0 + c), 1, out + c, 1);
    return;
  }
  for (int64_t r = 0; r < nr; ++r)
    input->readTile(source(r0 + r), 1, c0, nc, out + r * stride, stride);
}

class Reshape : public Unary {
public:
  using Unary::Unary;
  void readTile(int64_t r0, int64_t nr, int64_t c0, int64_t nc, float *out,
                int64_t stride) const override;
  std::optional<FormatId> nativeFormat() const override {
    return columns() == input->columns() ? input->nativeFormat() : std::nullopt;
  }
  llvm::ArrayRef<uint8_t> nativeRow(int64_t row, std::vector<uint8_t> &scratch) const override {
    return input->nativeRow(row, scratch);
  }
  TensorSide nativeSide(int64_t row) const override { return input->nativeSide(row); }
};

void Reshape::readTile(int64_t r0, int64_t nr, int64_t c0, int64_t nc, float *out,
                       int64_t stride) const {
  if (columns() == input->columns())
    return input->readTile(r0, nr, c0, nc, out, stride);
  for (int64_t r = 0; r < nr; ++r) {
    // A run of this row covers pieces of consecutive input rows.
    int64_t element = (r0 + r) * columns() + c0;
    for (int64_t done = 0; done < nc;) {
      int64_t row = (element + done) / input->columns(),
              column = (element + done) % input->columns();
      int64_t run = std::min(nc - done, input->columns() - column);
      input->readTile(row, 1, column, run, out + r * stride + done, run);
      done += run;
    }
  }
}

//===----------------------------------------------------------------------===//
// Arithmetic
//===----------------------------------------------------------------------===//

class AddConstant : public Unary {
public:
  AddConstant(Ptr input, float summand) : Unary(input, input->shape()), summand(summand) {}
  void readTile(int64_t r0, int64_t nr, int64_t c0, int64_t nc, float *out,
                int64_t stride) const override {
    input->readTile(r0, nr, c0, nc, out, stride);
    for (int64_t r = 0; r < nr; ++r)
      for (int64_t c = 0; c < nc; ++c)
        out[r * stride + c] += summand;
  }

private:
  float summand;
};

class MultiplyConstant : public Unary {
public:
  MultiplyConstant(Ptr input, float factor) : Unary(input, input->shape()), factor(factor) {}
  void readTile(int64_t r0, int64_t nr, int64_t c0, int64_t nc, float *out,
                int64_t stride) const override {
    input->readTile(r0, nr, c0, nc, out, stride);
    for (int64_t r = 0; r < nr; ++r)
      for (int64_t c = 0; c < nc; ++c)
        out[r * stride + c] *= factor;
  }

private:
  float factor;
};

class Scale : public Unary {
public:
  Scale(Ptr input, std::vector<float> factors, bool isByRow)
      : Unary(input, input->shape()), factors(std::move(factors)), isByRow(isByRow) {}
  void readTile(int64_t r0, int64_t nr, int64_t c0, int64_t nc, float *out,
                int64_t stride) const override {
    input->readTile(r0, nr, c0, nc, out, stride);
    for (int64_t r = 0; r < nr; ++r)
      for (int64_t c = 0; c < nc; ++c)
        out[r * stride + c] *= isByRow ? factors[r0 + r] : factors[c0 + c];
  }

private:
  std::vector<float> factors;
  bool isByRow;
};

//===----------------------------------------------------------------------===//
// Rotations
//===----------------------------------------------------------------------===//

class Rotate : public Unary {
public:
  Rotate(Ptr input, int64_t block, bool isByRow)
      : Unary(input, input->shape()), block(block), isByRow(isByRow) {}
  void readTile(int64_t r0, int64_t nr, int64_t c0, int64_t nc, float *out,
                int64_t stride) const override {
    if (isByRow)
      readRotatedRows(r0, nr, c0, nc, out, stride);
    else
      readRotatedColumns(r0, nr, c0, nc, out, stride);
  }

private:
  void readRotatedColumns(int64_t r0, int64_t nr, int64_t c0, int64_t nc, float *out,
                          int64_t stride) const;
  void readRotatedRows(int64_t r0, int64_t nr, int64_t c0, int64_t nc, float *out,
                       int64_t stride) const;
  int64_t block;
  bool isByRow;
};

void Rotate::readRotatedColumns(int64_t r0, int64_t nr, int64_t c0, int64_t nc, float *out,
                                int64_t stride) const {
  const int64_t begin = c0 / block * block, end = (c0 + nc + block - 1) / block * block;
  std::vector<float> row(size_t(end - begin));
  for (int64_t r = 0; r < nr; ++r) {
    input->readTile(r0 + r, 1, begin, end - begin, row.data(), end - begin);
    rotateRow(row.data(), end - begin, block);
    std::copy_n(row.data() + (c0 - begin), nc, out + r * stride);
  }
}

/// Every tile reads all rows of its blocks: as much as is wanted for tiles of whole blocks.
void Rotate::readRotatedRows(int64_t r0, int64_t nr, int64_t c0, int64_t nc, float *out,
                             int64_t stride) const {
  const int64_t width = std::max<int64_t>(16, (int64_t(1) << 16) / block);
  std::vector<float> rows(size_t(block * std::min(width, nc)));
  for (int64_t first = r0 / block * block; first < r0 + nr; first += block) {
    const int64_t begin = std::max(first, r0), end = std::min(first + block, r0 + nr);
    for (int64_t c = 0; c < nc; c += width) {
      const int64_t count = std::min(width, nc - c);
      input->readTile(first, block, c0 + c, count, rows.data(), count);
      rotateColumn(rows.data(), block, count);
      for (int64_t r = begin; r < end; ++r)
        std::copy_n(rows.data() + (r - first) * count, count, out + (r - r0) * stride + c);
    }
  }
}

//===----------------------------------------------------------------------===//
// Concatenation
//===----------------------------------------------------------------------===//

std::vector<int64_t> concatShape(llvm::ArrayRef<WeightNode::Ptr> parts) {
  std::vector<int64_t> shape = parts.front()->shape();
  shape.front() = 0;
  for (const WeightNode::Ptr &part : parts)
    shape.front() += part->shape().front();
  return shape;
}

class Concat : public WeightNode {
public:
  explicit Concat(std::vector<Ptr> parts)
      : WeightNode(concatShape(parts)), parts(std::move(parts)) {
    int64_t end = 0;
    for (const Ptr &part : this->parts)
      ends.push_back(end += lengthOf(*part));
  }
  void readTile(int64_t r0, int64_t nr, int64_t c0, int64_t nc, float *out,
                int64_t stride) const override;
  std::optional<FormatId> nativeFormat() const override;
  llvm::ArrayRef<uint8_t> nativeRow(int64_t row, std::vector<uint8_t> &scratch) const override {
    size_t index = partOf(row);
    return parts[index]->nativeRow(row - beginOf(index), scratch);
  }
  TensorSide nativeSide(int64_t row) const override {
    size_t index = partOf(row);
    return parts[index]->nativeSide(row - beginOf(index));
  }
  FormatId storedFormat() const override { return parts.front()->storedFormat(); }

private:
  /// Extent along the concatenated axis: rows, of vectors elements.
  int64_t lengthOf(const WeightNode &part) const {
    return isVector() ? part.columns() : part.rows();
  }
  size_t partOf(int64_t position) const {
    return std::upper_bound(ends.begin(), ends.end(), position) - ends.begin();
  }
  int64_t beginOf(size_t index) const { return index == 0 ? 0 : ends[index - 1]; }
  std::vector<Ptr> parts;
  std::vector<int64_t> ends;
};

void Concat::readTile(int64_t r0, int64_t nr, int64_t c0, int64_t nc, float *out,
                      int64_t stride) const {
  int64_t first = isVector() ? c0 : r0, count = isVector() ? nc : nr;
  for (int64_t done = 0; done < count;) {
    size_t index = partOf(first + done);
    int64_t begin = first + done - beginOf(index);
    int64_t run = std::min(count - done, ends[index] - first - done);
    if (isVector())
      parts[index]->readTile(0, 1, begin, run, out + done, stride);
    else
      parts[index]->readTile(begin, run, c0, nc, out + done * stride, stride);
    done += run;
  }
}

std::optional<FormatId> Concat::nativeFormat() const {
  std::optional<FormatId> format = parts.front()->nativeFormat();
  for (const Ptr &part : parts)
    if (part->nativeFormat() != format)
      return std::nullopt;
  return isVector() ? std::nullopt : format;
}

} // namespace

WeightNode::Ptr makeLeaf(std::vector<int64_t> shape, FormatId format, const uint8_t *data,
                         std::shared_ptr<const StoredRows> rows) {
  return std::make_shared<Leaf>(std::move(shape), format, data, std::move(rows));
}
WeightNode::Ptr makeSlice(WeightNode::Ptr input, std::vector<int64_t> shape, int64_t row,
                          int64_t column) {
  return std::make_shared<Slice>(std::move(input), std::move(shape), row, column);
}
WeightNode::Ptr makeTranspose(WeightNode::Ptr input) {
  return std::make_shared<Transpose>(std::move(input));
}
WeightNode::Ptr makeUnpermuteRope(WeightNode::Ptr input, int64_t heads) {
  return std::make_shared<UnpermuteRope>(std::move(input), heads);
}
WeightNode::Ptr makeAddConstant(WeightNode::Ptr input, float summand) {
  return std::make_shared<AddConstant>(std::move(input), summand);
}
WeightNode::Ptr makeMultiplyConstant(WeightNode::Ptr input, float factor) {
  return std::make_shared<MultiplyConstant>(std::move(input), factor);
}
WeightNode::Ptr makeScale(WeightNode::Ptr input, std::vector<float> factors, bool isByRow) {
  return std::make_shared<Scale>(std::move(input), std::move(factors), isByRow);
}
WeightNode::Ptr makeRotate(WeightNode::Ptr input, int64_t block, bool isByRow) {
  return std::make_shared<Rotate>(std::move(input), block, isByRow);
}
WeightNode::Ptr makeReshape(WeightNode::Ptr input, std::vector<int64_t> shape) {
  return std::make_shared<Reshape>(std::move(input), std::move(shape));
}
WeightNode::Ptr makeConcat(std::vector<WeightNode::Ptr> parts) {
  return std::make_shared<Concat>(std::move(parts));
}

} // namespace qplan

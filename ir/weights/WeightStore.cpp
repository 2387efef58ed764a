//===- WeightStore.cpp - reads weights through their transforms -----------===//

#include "ir/weights/WeightStore.h"
#include "ir/Failure.h"
#include "ir/Rotation.h"
#include "ir/codecs/Codec.h"
#include "ir/weights/WeightNode.h"

#include <algorithm>

namespace qplan {

using Kind = WeightTransform::Kind;
using NodePtr = WeightNode::Ptr;

/// Floats of a tile when the store itself reads a whole weight.
static constexpr int64_t tileFloats = 65536;

//===----------------------------------------------------------------------===//
// Applying transforms
//===----------------------------------------------------------------------===//

namespace {

/// Checks one transform against the node it is applied to, and applies it. Errors quote
/// the reference up to and including the transform.
class Applier {
public:
  Applier(BlobStore &blobs, const WeightTransform &transform, NodePtr input, std::string subject)
      : blobs(blobs), transform(transform), input(std::move(input)), subject(std::move(subject)) {}
  llvm::Expected<NodePtr> apply();

private:
  llvm::Error wrong(const std::string &needed) const {
    return inputError("weight '{}': the last transform is applied to shape [{}]; {}", subject,
                      fmt::join(input->shape(), ", "), needed);
  }
  llvm::Expected<NodePtr> slice(bool isByRow);
  llvm::Expected<NodePtr> unpermute();
  llvm::Expected<NodePtr> scale(bool isByRow);
  llvm::Expected<NodePtr> rotate(bool isByRow);
  llvm::Expected<NodePtr> selectExpert();
  llvm::Expected<NodePtr> reshape();
  BlobStore &blobs;
  const WeightTransform &transform;
  NodePtr input;
  std::string subject;
};

llvm::Expected<NodePtr> Applier::slice(bool isByRow) {
  if (input->shape().empty() || input->shape().size() > 2)
    return wrong("a matrix or a vector is expected (select_expert or reshape first)");
  bool isFirst = isByRow || input->isVector(); // along the first dimension?
  int64_t extent = isFirst ? input->shape().front() : input->columns();
  int64_t begin = transform.integers[0], end = transform.integers[1];
  if (begin < 0 || begin >= end || end > extent)
    return wrong(fmt::format("0 <= begin < end <= {} is expected", extent));
  std::vector<int64_t> shape = input->shape();
  (isFirst ? shape.front() : shape.back()) = end - begin;
  bool cutsRows = isByRow && !input->isVector();
  return makeSlice(input, shape, cutsRows ? begin : 0, cutsRows ? 0 : begin);
}

llvm::Expected<NodePtr> Applier::unpermute() {
  int64_t heads = transform.integers[0];
  if (input->shape().empty() || input->shape().size() > 2)
    return wrong("a matrix or a vector is expected");
  int64_t extent = input->shape().front();
  if (heads <= 0 || extent % heads != 0 || extent / heads % 2 != 0)
    return wrong(fmt::format("{} rows must be heads of an even size", extent));
  return makeUnpermuteRope(input, heads);
}

llvm::Expected<NodePtr> Applier::scale(bool isByRow) {
  auto factors = blobs.floats(transform.blob);
  if (!factors)
    return factors.takeError();
  bool isRows = isByRow && !input->isVector();
  int64_t needed = isRows ? input->rows() : input->columns();
  if (static_cast<int64_t>(factors->size()) != needed)
    return wrong(fmt::format("{} factors are needed, the blob has {}", needed, factors->size()));
  return makeScale(input, std::move(*factors), isRows);
}

llvm::Expected<NodePtr> Applier::rotate(bool isByRow) {
  const int64_t block = transform.integers[0];
  const bool isRows = isByRow && !input->isVector();
  const int64_t extent = isRows ? input->rows() : input->columns();
  if (!isRotationBlock(block) || extent % block != 0)
    return wrong(fmt::format("a power of two that divides {} is expected", extent));
  return makeRotate(input, block, isRows);
}

llvm::Expected<NodePtr> Applier::selectExpert() {
  if (input->shape().size() < 2)
    return wrong("a stack of matrices or vectors is expected");
  int64_t experts = input->shape().front(), index = transform.integers[0];
  if (index < 0 || index >= experts)
    return wrong(fmt::format("an index below {} is expected", experts));
  std::vector<int64_t> shape(input->shape().begin() + 1, input->shape().end());
  return makeSlice(input, shape, input->rows() / experts * index, 0);
}

llvm::Expected<NodePtr> Applier::reshape() {
  int64_t elements = 1;
  for (int64_t dimension : transform.integers)
    if (dimension <= 0 || __builtin_mul_overflow(elements, dimension, &elements))
      return wrong("positive dimensions with as many elements are expected");
  if (elements != input->elements())
    return wrong(fmt::format("a shape of {} elements is expected", input->elements()));
  return makeReshape(input, transform.integers);
}

llvm::Expected<NodePtr> Applier::apply() {
  switch (transform.kind) {
  case Kind::SliceRows:
    return slice(true);
  case Kind::SliceColumns:
    return slice(false);
  case Kind::Transpose:
    if (input->shape().size() != 2)
      return wrong("a matrix is expected");
    return makeTranspose(input);
  case Kind::UnpermuteRope:
    return unpermute();
  case Kind::AddConstant:
    return makeAddConstant(input, static_cast<float>(transform.constant));
  case Kind::MultiplyConstant:
    return makeMultiplyConstant(input, static_cast<float>(transform.constant));
  case Kind::ScaleColumns:
    return scale(false);
  case Kind::ScaleRows:
    return scale(true);
  case Kind::RotateColumns:
    return rotate(false);
  case Kind::RotateRows:
    return rotate(true);
  case Kind::SelectExpert:
    return selectExpert();
  case Kind::Reshape:
    return reshape();
  }
  return defectError("weight '{}': unknown transform", subject);
}

} // namespace

//===----------------------------------------------------------------------===//
// Resolving
//===----------------------------------------------------------------------===//

llvm::Expected<NodePtr> WeightStore::leaf(const WeightRef &ref) {
  llvm::StringRef name(ref.tensor);
  if (name.consume_front("blob:")) {
    auto blob = blobStore.get(name);
    if (!blob)
      return blob.takeError();
    return makeLeaf((*blob)->shape, (*blob)->format, (*blob)->bytes.data());
  }
  auto tensor = checkpoint.get(name);
  if (!tensor)
    return tensor.takeError();
  const TensorInfo &info = **tensor;
  if (!info.format)
    return inputError(
        "{}: tensor '{}' is stored as {}, which holds no weights that qplan can read; "
        "F32, F16, BF16 or a GGUF block type is expected",
        info.file, info.name, info.storage);
  if (info.elements() == 0)
    return inputError("{}: tensor '{}' of shape {} is empty", info.file, info.name,
                      info.shapeText());
  return makeLeaf(info.shape, *info.format, info.data, info.rows);
}

static llvm::Expected<NodePtr> concatenate(std::vector<NodePtr> parts, const WeightRef &ref) {
  for (const NodePtr &part : parts) {
    bool fits = part->shape().size() == parts.front()->shape().size() &&
                (part->shape().size() == 1 ||
                 (part->shape().size() == 2 && part->columns() == parts.front()->columns()));
    if (!fits)
      return inputError(
          "weight '{}': parts of shapes [{}] and [{}] cannot be put below each other; "
          "matrices with as many columns, or vectors, are expected",
          ref.text(), fmt::join(parts.front()->shape(), ", "), fmt::join(part->shape(), ", "));
  }
  return makeConcat(std::move(parts));
}

llvm::Expected<NodePtr> WeightStore::resolve(const WeightRef &ref) {
  auto resolveSource = [&]() -> llvm::Expected<NodePtr> {
    if (ref.parts.empty())
      return leaf(ref);
    std::vector<NodePtr> parts;
    for (const WeightRef &part : ref.parts) {
      auto node = resolve(part);
      if (!node)
        return node.takeError();
      parts.push_back(std::move(*node));
    }
    return concatenate(std::move(parts), ref);
  };
  auto node = resolveSource();
  if (!node)
    return node.takeError();
  WeightRef soFar = ref;
  soFar.transforms.clear();
  for (const WeightTransform &transform : ref.transforms) {
    soFar.transforms.push_back(transform);
    auto next = Applier(blobStore, transform, *node, soFar.text()).apply();
    if (!next)
      return next.takeError();
    *node = std::move(*next);
  }
  return std::move(*node);
}

llvm::Error WeightStore::listParts(const WeightRef &ref, int64_t &row,
                                   std::vector<WeightView::Part> &parts) {
  // Transforms of a whole concatenation may move rows: then it is named as one.
  if (!ref.parts.empty() && ref.transforms.empty()) {
    for (const WeightRef &part : ref.parts)
      if (llvm::Error error = listParts(part, row, parts))
        return error;
    return llvm::Error::success();
  }
  auto node = resolve(ref);
  if (!node)
    return node.takeError();
  const TensorInfo *tensor = ref.parts.empty() ? checkpoint.find(ref.tensor) : nullptr;
  std::string subject = tensor ? fmt::format("{}: tensor '{}'", tensor->file, tensor->name)
                               : fmt::format("weight '{}'", ref.text());
  if (tensor && !ref.transforms.empty())
    subject += fmt::format(" (read as '{}')", ref.text());
  parts.push_back({row, std::move(subject)});
  row += (*node)->isVector() ? (*node)->columns() : (*node)->rows();
  return llvm::Error::success();
}

llvm::Expected<WeightView> WeightStore::open(const WeightRef &ref) {
  auto node = resolve(ref);
  if (!node)
    return node.takeError();
  WeightView view;
  view.node = std::move(*node);
  view.name = ref.text();
  int64_t rows = 0;
  if (llvm::Error error = listParts(ref, rows, view.parts))
    return std::move(error);
  return view;
}

llvm::Expected<WeightView> WeightStore::open(llvm::StringRef text) {
  auto ref = WeightRef::parse(text);
  if (!ref)
    return ref.takeError();
  return open(*ref);
}

//===----------------------------------------------------------------------===//
// Reading
//===----------------------------------------------------------------------===//

llvm::ArrayRef<int64_t> WeightView::shape() const { return node->shape(); }
int64_t WeightView::rows() const { return node->rows(); }
int64_t WeightView::columns() const { return node->columns(); }
WeightView::Place WeightView::placeOf(int64_t row) const {
  auto next = std::upper_bound(parts.begin(), parts.end(), row,
                               [](int64_t r, const Part &part) { return r < part.firstRow; });
  const Part &part = *std::prev(next);
  return {part.subject, row - part.firstRow};
}

std::optional<FormatId> WeightView::nativeFormat() const { return node->nativeFormat(); }
FormatId WeightView::storedFormat() const { return node->storedFormat(); }

llvm::Error WeightView::readTile(int64_t firstRow, int64_t rowCount, int64_t firstColumn,
                                 int64_t columnCount, float *out, int64_t stride) const {
  auto isInside = [](int64_t first, int64_t count, int64_t extent) {
    return first >= 0 && count >= 0 && first <= extent && count <= extent - first;
  };
  if (!isInside(firstRow, rowCount, rows()) || !isInside(firstColumn, columnCount, columns()))
    return defectError("weight '{}': rows {}..{}, columns {}..{} asked of {} x {}", name, firstRow,
                       firstRow + rowCount, firstColumn, firstColumn + columnCount, rows(),
                       columns());
  if (rowCount != 0 && columnCount != 0)
    node->readTile(firstRow, rowCount, firstColumn, columnCount, out, stride);
  return llvm::Error::success();
}

llvm::Error WeightView::readRows(int64_t first, int64_t count, float *out) const {
  return readTile(first, count, 0, columns(), out, columns());
}

llvm::Expected<std::vector<float>> WeightView::readAll() const {
  std::vector<float> values(node->elements());
  if (llvm::Error error = readRows(0, rows(), values.data()))
    return std::move(error);
  return values;
}

llvm::Expected<llvm::ArrayRef<uint8_t>> WeightView::nativeRow(int64_t row,
                                                              std::vector<uint8_t> &scratch) const {
  if (!nativeFormat())
    return defectError("weight '{}': its values are computed, it has no stored rows", name);
  if (row < 0 || row >= rows())
    return defectError("weight '{}': row {} asked of {}", name, row, rows());
  return node->nativeRow(row, scratch);
}

TensorSide WeightView::nativeSide(int64_t row) const { return node->nativeSide(row); }

std::vector<int64_t> WeightView::partRows() const {
  std::vector<int64_t> rows;
  for (const Part &part : parts)
    rows.push_back(part.firstRow);
  return rows;
}

llvm::Error WeightView::checkFinite() const {
  int64_t width = std::min(columns(), tileFloats),
          height = std::max<int64_t>(1, tileFloats / width);
  std::vector<float> tile(width * std::min(height, rows()));
  for (int64_t r = 0; r < rows(); r += height)
    for (int64_t c = 0; c < columns(); c += width) {
      int64_t nr = std::min(height, rows() - r), nc = std::min(width, columns() - c);
      node->readTile(r, nr, c, nc, tile.data(), nc);
      int64_t bad = findNonFinite(tile.data(), nr * nc);
      if (bad >= 0)
        return inputError("weight '{}': the value at row {}, column {} is {}; finite values are "
                          "expected",
                          name, r + bad / nc, c + bad % nc, tile[bad]);
    }
  return llvm::Error::success();
}

llvm::Expected<std::vector<int64_t>> WeightStore::shapeOf(const WeightRef &ref) {
  auto view = open(ref);
  if (!view)
    return view.takeError();
  return view->shape().vec();
}

llvm::Expected<std::optional<FormatId>> WeightStore::formatOf(const WeightRef &ref) {
  auto view = open(ref);
  if (!view)
    return view.takeError();
  return view->nativeFormat();
}

llvm::Error WeightStore::readRows(const WeightRef &ref, int64_t first, int64_t count, float *out) {
  auto view = open(ref);
  return view ? view->readRows(first, count, out) : view.takeError();
}

llvm::Expected<std::vector<float>> WeightStore::readAll(const WeightRef &ref) {
  auto view = open(ref);
  if (!view)
    return view.takeError();
  return view->readAll();
}

llvm::Expected<std::vector<uint8_t>> WeightStore::readNativeRow(const WeightRef &ref, int64_t row) {
  auto view = open(ref);
  if (!view)
    return view.takeError();
  std::vector<uint8_t> scratch;
  auto bytes = view->nativeRow(row, scratch);
  if (!bytes)
    return bytes.takeError();
  return bytes->vec();
}

} // namespace qplan

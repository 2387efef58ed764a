//===- InputFold.cpp - divide an input, multiply its readers --------------===//
//
// See InputFold.h.
//
//===----------------------------------------------------------------------===//

#include "passes/InputFold.h"

#include "ir/Failure.h"
#include "passes/search/Treatment.h"

#include <mlir/IR/Builders.h>

using namespace mlir;
using namespace qplan;

namespace {

/// The linear that gives `value` to one user alone.
bool ownLinear(Value value) { return value.hasOneUse() && value.getDefiningOp<qp::LinearOp>(); }

/// Whether `op` is a linear whose weight is to stay in a plain float.
bool isPlainLinear(Operation *op) {
  auto linear = dyn_cast<qp::LinearOp>(op);
  if (!linear)
    return false;
  auto isFloat = [](FormatId id) { return formatInfo(id).family == CodecFamily::Float; };
  qp::WeightOp weight = weightUnder(linear.getWeight());
  auto stored = parseFormat(weight ? qp::formatNameOf(weight.getType()) : "");
  if (!stored || !isFloat(*stored)) {
    llvm::consumeError(stored.takeError());
    return false;
  }
  auto text = op->getAttrOfType<StringAttr>(treatmentAttr);
  if (!text)
    return true;
  auto treatment = parseTreatment(text.getValue());
  if (treatment)
    return isFloat(treatment->weight) && !treatment->activation;
  llvm::consumeError(treatment.takeError());
  return false;
}

} // namespace

InputFold::InputFold(std::vector<Site> folded, bool free) : sites(std::move(folded)) {
  Value input = sites[0].input();
  for (OpOperand &use : input.getUses()) {
    Operation *user = use.getOwner();
    bool own = llvm::any_of(sites, [&](const Site &site) { return site.op == user; });
    if (own || isa<qp::ObserveOp>(user))
      continue;
    // A reader that is not multiplied would see divided rows.
    if (!isPlainLinear(user))
      return;
    others.push_back(&user->getOpOperand(1));
  }
  takesFactors(input, free);
}

bool InputFold::takesFactors(Value input, bool free) {
  Operation *op = input.getDefiningOp();
  if (auto norm = dyn_cast_or_null<qp::RmsNormOp>(op))
    place = norm.getGroups() == 1 ? Place::RmsNorm : Place::Op;
  else if (isa_and_nonnull<qp::LayerNormOp>(op))
    place = Place::LayerNorm;
  else if (auto gated = dyn_cast_or_null<qp::GatedOp>(op))
    place = ownLinear(gated.getUp()) ? Place::Up : Place::Op;
  else if (auto attention = dyn_cast_or_null<qp::AttentionOp>(op))
    place =
        ownLinear(attention.getValue()) && !(free && attention.getHeads() != attention.getKvHeads())
            ? Place::Value
            : Place::Op;
  return folds();
}

void InputFold::legalize(std::vector<float> &factors) const {
  if (place != Place::Value)
    return;
  auto attention = sites[0].input().getDefiningOp<qp::AttentionOp>();
  int64_t dim = attention.getHeadDim();
  int64_t sharing = attention.getHeads() / attention.getKvHeads();
  for (int64_t kv = 0; kv < int64_t(attention.getKvHeads()); ++kv)
    for (int64_t i = 0; i < dim; ++i) {
      float largest = 0;
      for (int64_t h = 0; h < sharing; ++h)
        largest = std::max(largest, factors[(kv * sharing + h) * dim + i]);
      for (int64_t h = 0; h < sharing; ++h)
        factors[(kv * sharing + h) * dim + i] = largest;
    }
}

llvm::Error InputFold::apply(llvm::ArrayRef<float> factors, BlobStore &blobs) {
  std::vector<float> inverse(factors.size());
  for (size_t j = 0; j < factors.size(); ++j)
    inverse[j] = 1.0f / factors[j];
  auto up = blobs.putFloats({int64_t(factors.size())}, factors);
  if (!up)
    return up.takeError();
  std::string multiply = "|scale_columns(" + *up + ")";
  for (const Site &site : sites) {
    transformWeights(site, multiply);
    site.op->setAttr(factorsAttr, StringAttr::get(site.op->getContext(), *up));
  }
  if (folds()) {
    for (OpOperand *weight : others)
      weight->set(transformedWeight(weight->get(), multiply));
    return divideProducer(inverse, blobs);
  }
  auto down = blobs.putFloats({int64_t(inverse.size())}, inverse);
  if (!down)
    return down.takeError();
  insertOp(*down);
  return llvm::Error::success();
}

llvm::Error InputFold::divideProducer(llvm::ArrayRef<float> inverse, BlobStore &blobs) {
  if (place == Place::RmsNorm || place == Place::LayerNorm)
    return divideNorm(inverse, blobs);
  Operation *op = sites[0].input().getDefiningOp();
  std::vector<float> rows = inverse.vec();
  Value producer;
  if (auto gated = dyn_cast<qp::GatedOp>(op)) {
    producer = gated.getUp();
  } else {
    auto attention = cast<qp::AttentionOp>(op);
    int64_t dim = attention.getHeadDim();
    int64_t sharing = attention.getHeads() / attention.getKvHeads();
    rows.resize(attention.getKvHeads() * dim);
    for (int64_t kv = 0; kv < int64_t(attention.getKvHeads()); ++kv)
      for (int64_t i = 0; i < dim; ++i)
        rows[kv * dim + i] = inverse[kv * sharing * dim + i];
    producer = attention.getValue();
  }
  auto linear = producer.getDefiningOp<qp::LinearOp>();
  auto blob = blobs.putFloats({int64_t(rows.size())}, rows);
  if (!blob)
    return blob.takeError();
  transformRows(linear, "|scale_rows(" + *blob + ")");
  return llvm::Error::success();
}

llvm::Error InputFold::divideNorm(llvm::ArrayRef<float> inverse, BlobStore &blobs) {
  auto blob = blobs.putFloats({int64_t(inverse.size())}, inverse);
  if (!blob)
    return blob.takeError();
  std::string divide = "|scale_rows(" + *blob + ")";
  auto divided = [&](auto norm) { // (gamma + offset) / factors
    double offset = norm.getGammaOffset().convertToDouble();
    std::string shift = offset == 0 ? "" : fmt::format("|add_constant({})", offset);
    norm.getGammaMutable().assign(transformedWeight(norm.getGamma(), shift + divide));
    norm.setGammaOffset(llvm::APFloat(0.0));
  };
  Operation *op = sites[0].input().getDefiningOp();
  if (auto norm = dyn_cast<qp::RmsNormOp>(op)) {
    divided(norm);
    return llvm::Error::success();
  }
  auto norm = cast<qp::LayerNormOp>(op);
  divided(norm);
  if (norm.getBeta())
    norm.getBetaMutable().assign(transformedWeight(norm.getBeta(), divide));
  return llvm::Error::success();
}

void InputFold::insertOp(llvm::StringRef blob) {
  OpBuilder builder(sites[0].op);
  Value input = sites[0].input();
  auto type = RankedTensorType::get({qp::widthOf(input.getType())}, builder.getF32Type());
  Value factors = qp::WeightOp::create(builder, input.getLoc(), type, ("blob:" + blob).str());
  Value scaled =
      qp::ScaleColumnsOp::create(builder, input.getLoc(), input.getType(), input, factors);
  for (const Site &site : sites)
    site.op->setOperand(0, scaled);
}

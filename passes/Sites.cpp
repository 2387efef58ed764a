//===- Sites.cpp - the places of a module that can be quantized -----------===//

#include "passes/Sites.h"

#include "ir/Failure.h"

#include <llvm/ADT/StringExtras.h>
#include <llvm/ADT/TypeSwitch.h>
#include <mlir/IR/Builders.h>

using namespace mlir;
using namespace qplan;

qp::WeightOp qplan::weightUnder(Value operand) {
  if (auto dequantize = operand.getDefiningOp<qp::DequantizeOp>())
    operand = dequantize.getInput();
  if (auto quantize = operand.getDefiningOp<qp::QuantizeOp>())
    return weightUnder(quantize.getInput());
  return operand.getDefiningOp<qp::WeightOp>();
}

Value qplan::transformedWeight(Value operand, const std::string &transform) {
  qp::WeightOp weight = weightUnder(operand);
  OpBuilder builder(weight);
  auto type = RankedTensorType::get(qp::shapeOf(operand.getType()), builder.getF32Type());
  return qp::WeightOp::create(builder, weight.getLoc(), type, weight.getSource().str() + transform);
}

void qplan::transformWeights(const Site &site, const std::string &transform) {
  for (unsigned i = 0; i < site.weightCount; ++i)
    site.op->setOperand(site.firstWeight + i, transformedWeight(site.weight(i), transform));
}

void qplan::transformRows(qp::LinearOp linear, const std::string &transform) {
  linear.getWeightMutable().assign(transformedWeight(linear.getWeight(), transform));
  if (linear.getBias())
    linear.getBiasMutable().assign(transformedWeight(linear.getBias(), transform));
}

std::string qplan::keyCacheName(qp::AttentionOp op) {
  return fmt::format("layers.{}.attn.k_cache", int64_t(op.getLayer()));
}

std::string qplan::valueCacheName(qp::AttentionOp op) {
  return fmt::format("layers.{}.attn.v_cache", int64_t(op.getLayer()));
}

Value Site::input() const { return isa<qp::EmbeddingOp>(op) ? Value() : op->getOperand(0); }

bool Site::isLayer() const {
  llvm::StringRef text = name;
  return text.starts_with("layers.") && !text.ends_with(".router");
}

std::vector<Site> qplan::collectSites(ModuleOp module) {
  std::vector<Site> sites;
  auto add = [&](Operation *op, llvm::StringRef name, unsigned first, unsigned count) {
    Site site{name.str(), op, first, count, 0, 0, FormatId::F32};
    llvm::ArrayRef<int64_t> shape = qp::shapeOf(site.weight().getType());
    site.rows = shape[0];
    site.columns = shape[1];
    if (qp::WeightOp weight = weightUnder(site.weight()))
      site.stored = llvm::cantFail(parseFormat(qp::formatNameOf(weight.getType())));
    sites.push_back(std::move(site));
  };
  module.walk([&](Operation *op) {
    llvm::TypeSwitch<Operation *>(op)
        .Case([&](qp::LinearOp linear) { add(op, linear.getSite(), 1, 1); })
        .Case([&](qp::ExpertLinearOp linear) {
          // What was fused has several, as fused linears do.
          if (linear.getSites().size() == 1)
            add(op, cast<StringAttr>(linear.getSites()[0]).getValue(), 2,
                linear.getExperts().size());
        })
        .Case([&](qp::EmbeddingOp) { add(op, "embedding", 1, 1); });
  });
  return sites;
}

std::vector<std::string> qplan::inputNames(llvm::ArrayRef<Site> sites) {
  llvm::DenseMap<Value, std::string> first;
  std::vector<std::string> names;
  for (const Site &site : sites) {
    Value input = site.input();
    names.push_back(input ? first.try_emplace(input, site.name).first->second : "");
  }
  return names;
}

bool SiteScope::contains(const Site &site) const {
  if (site.name == "lm_head")
    return head;
  if (site.name == "embedding")
    return embedding;
  return layers && site.isLayer();
}

llvm::Expected<SiteScope> qplan::parseScope(llvm::StringRef text) {
  SiteScope scope{false, false, false};
  llvm::SmallVector<llvm::StringRef> parts;
  text.split(parts, '+');
  for (llvm::StringRef part : parts) {
    bool *flag = part == "layers"      ? &scope.layers
                 : part == "lm_head"   ? &scope.head
                 : part == "embedding" ? &scope.embedding
                                       : nullptr;
    if (!flag)
      return usageError("--sites {}: `{}` is none of layers, lm_head, embedding (joined with +)",
                        text.str(), part.str());
    *flag = true;
  }
  return scope;
}

//===- FoldSmoothQuant.cpp - move activation outliers into weights --------===//
//
// Computes one factor for each input column of the sites that share an input, and
// puts the division where it costs nothing. Only names of weights change: factors
// are blobs that transforms refer to.
//
//===----------------------------------------------------------------------===//

#include "ir/Failure.h"
#include "passes/PassInputs.h"
#include "passes/Sites.h"

#include <cmath>
#include <llvm/ADT/MapVector.h>
#include <mlir/IR/Builders.h>

using namespace mlir;

namespace qplan {
#define GEN_PASS_DEF_FOLDSMOOTHQUANT
#include "passes/Passes.h.inc"
} // namespace qplan

using namespace qplan;

namespace {

/// Sites that read one value and are smoothed together.
struct Group {
  SmallVector<Site> sites;
  double alpha = 0.5;
};

struct FoldSmoothQuantPass : qplan::impl::FoldSmoothQuantBase<FoldSmoothQuantPass> {
  using FoldSmoothQuantBase::FoldSmoothQuantBase;

  PassInputs inputs;
  OpenedInputs opened;

  void runOnOperation() override {
    llvm::Error error = openStatistics(statisticsFile, inputs, opened);
    if (!error)
      error = openWeights(checkpointPath, blobFolder, inputs, opened);
    if (error) {
      getOperation().emitError() << llvm::toString(std::move(error));
      return signalPassFailure();
    }
    llvm::MapVector<Value, Group> groups;
    for (const Site &site : collectSites(getOperation())) {
      auto text = site.op->getAttrOfType<StringAttr>(treatmentAttr);
      if (!text || !site.input())
        continue;
      auto treatment = parseTreatment(text.getValue());
      if (!treatment) {
        site.op->emitError() << llvm::toString(treatment.takeError());
        return signalPassFailure();
      }
      if (treatment->method != Method::SmoothQuant)
        continue;
      Group &group = groups[site.input()];
      group.alpha = treatment->parameter("alpha");
      group.sites.push_back(site);
    }
    for (auto &[input, group] : groups) {
      // A linear that is not smoothed would see divided rows.
      unsigned readers = llvm::count_if(input.getUsers(), [](Operation *user) {
        return !isa<qp::ObserveOp>(user);
      });
      if (auto error = smooth(input, group, readers == group.sites.size())) {
        group.sites[0].op->emitError() << llvm::toString(std::move(error));
        return signalPassFailure();
      }
    }
  }

  llvm::Error smooth(Value input, Group &group, bool aloneOnInput) {
    if (!inputs.weights || !inputs.statistics)
      return usageError("site {}: smoothquant needs the ranges of its input; give a calibration "
                        "text (--calib) or statistics (--statistics)",
                        group.sites[0].name);
    auto factors = computeFactors(group);
    if (!factors)
      return factors.takeError();
    std::vector<float> &s = *factors;
    bool folds = aloneOnInput && foldable(input, s);
    std::vector<float> inverse(s.size());
    for (size_t j = 0; j < s.size(); ++j)
      inverse[j] = 1.0f / s[j];
    auto up = inputs.weights->blobs().putFloats({int64_t(s.size())}, s);
    if (!up)
      return up.takeError();
    for (const Site &site : group.sites)
      for (unsigned i = 0; i < site.weightCount; ++i)
        site.op->setOperand(site.firstWeight + i,
                            transformed(site.weight(i), "|scale_columns(" + *up + ")"));
    if (folds)
      return foldInto(input, inverse);
    auto down = inputs.weights->blobs().putFloats({int64_t(s.size())}, inverse);
    if (!down)
      return down.takeError();
    insertOp(input, group, *down);
    return llvm::Error::success();
  }

  /// s[j] = a[j]^alpha / w[j]^(1 - alpha).
  llvm::Expected<std::vector<float>> computeFactors(const Group &group) {
    const std::string &name = group.sites[0].name;
    auto found = inputs.statistics->sites.find(name);
    if (found == inputs.statistics->sites.end())
      return inputError("site {}: the statistics do not hold it; make them again", name);
    const std::vector<float> &a = found->second.absMax;
    std::vector<float> w(a.size(), 0.0f), s(a.size(), 1.0f);
    for (const Site &site : group.sites) {
      if (size_t(site.columns) != a.size())
        return inputError("site {}: the statistics are of {} columns, the site has {}", site.name,
                          a.size(), site.columns);
      for (unsigned i = 0; i < site.weightCount; ++i)
        if (auto error = columnMaxima(site.weight(i), w))
          return std::move(error);
    }
    for (size_t j = 0; j < s.size(); ++j)
      if (a[j] > 0 && w[j] > 0)
        s[j] = float(std::clamp(std::pow(double(a[j]), group.alpha) /
                                    std::pow(double(w[j]), 1 - group.alpha),
                                1e-4, 1e4));
    return s;
  }

  llvm::Error columnMaxima(Value weight, std::vector<float> &w) {
    auto view = inputs.weights->open(weightUnder(weight).getSource());
    if (!view)
      return view.takeError();
    constexpr int64_t rowsAtOnce = 16;
    std::vector<float> rows(rowsAtOnce * w.size());
    for (int64_t first = 0; first < view->rows(); first += rowsAtOnce) {
      int64_t count = std::min(rowsAtOnce, view->rows() - first);
      if (auto error = view->readRows(first, count, rows.data()))
        return error;
      for (int64_t r = 0; r < count; ++r)
        for (size_t j = 0; j < w.size(); ++j)
          w[j] = std::max(w[j], std::fabs(rows[r * w.size() + j]));
    }
    return llvm::Error::success();
  }

  /// The same weight after one more transform. Blocks of the checkpoint do not
  /// survive scaling: the result is f32.
  Value transformed(Value operand, const std::string &transform) {
    qp::WeightOp weight = weightUnder(operand);
    OpBuilder builder(weight);
    auto type = RankedTensorType::get(qp::shapeOf(operand.getType()), builder.getF32Type());
    return qp::WeightOp::create(builder, weight.getLoc(), type,
                                weight.getSource().str() + transform);
  }

  /// Whether the producer of `input` can take a factor for each column. Value
  /// heads that several query heads read get one common factor: `s` is changed.
  bool foldable(Value input, std::vector<float> &s) {
    Operation *op = input.getDefiningOp();
    if (auto norm = dyn_cast_or_null<qp::RmsNormOp>(op))
      return norm.getGroups() == 1;
    if (isa_and_nonnull<qp::LayerNormOp>(op))
      return true;
    if (auto gated = dyn_cast_or_null<qp::GatedOp>(op))
      return ownLinear(gated.getUp());
    auto attention = dyn_cast_or_null<qp::AttentionOp>(op);
    if (!attention || !ownLinear(attention.getValue()))
      return false;
    int64_t dim = attention.getHeadDim();
    int64_t sharing = attention.getHeads() / attention.getKvHeads();
    for (int64_t kv = 0; kv < int64_t(attention.getKvHeads()); ++kv) {
      for (int64_t i = 0; i < dim; ++i) {
        float largest = 0;
        for (int64_t h = 0; h < sharing; ++h)
          largest = std::max(largest, s[(kv * sharing + h) * dim + i]);
        for (int64_t h = 0; h < sharing; ++h)
          s[(kv * sharing + h) * dim + i] = largest;
      }
    }
    return true;
  }

  static bool ownLinear(Value value) {
    return value.hasOneUse() && value.getDefiningOp<qp::LinearOp>();
  }

  llvm::Error foldInto(Value input, const std::vector<float> &inverse) {
    ++folded;
    Operation *op = input.getDefiningOp();
    if (auto norm = dyn_cast<qp::RmsNormOp>(op)) {
      double offset = norm.getGammaOffset().convertToDouble();
      auto value = rescaled(norm.getGamma(), inverse, offset);
      if (!value)
        return value.takeError();
      norm.getGammaMutable().assign(*value);
      norm.setGammaOffset(llvm::APFloat(0.0));
      return llvm::Error::success();
    }
    if (auto norm = dyn_cast<qp::LayerNormOp>(op)) {
      auto gamma = rescaled(norm.getGamma(), inverse, norm.getGammaOffset().convertToDouble());
      if (!gamma)
        return gamma.takeError();
      norm.getGammaMutable().assign(*gamma);
      norm.setGammaOffset(llvm::APFloat(0.0));
      if (!norm.getBeta())
        return llvm::Error::success();
      auto beta = rescaled(norm.getBeta(), inverse, 0.0);
      if (!beta)
        return beta.takeError();
      norm.getBetaMutable().assign(*beta);
      return llvm::Error::success();
    }
    std::vector<float> rows = inverse;
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
    auto blob = inputs.weights->blobs().putFloats({int64_t(rows.size())}, rows);
    if (!blob)
      return blob.takeError();
    std::string transform = "|scale_rows(" + *blob + ")";
    linear.getWeightMutable().assign(transformed(linear.getWeight(), transform));
    if (linear.getBias())
      linear.getBiasMutable().assign(transformed(linear.getBias(), transform));
    return llvm::Error::success();
  }

  /// (vector + offset) * factors, as a weight.
  llvm::Expected<Value> rescaled(Value vector, const std::vector<float> &factors, double offset) {
    auto blob = inputs.weights->blobs().putFloats({int64_t(factors.size())}, factors);
    if (!blob)
      return blob.takeError();
    std::string shift = offset == 0 ? "" : fmt::format("|add_constant({})", offset);
    return transformed(vector, shift + "|scale_rows(" + *blob + ")");
  }

  void insertOp(Value input, Group &group, const std::string &blob) {
    ++explicitOps;
    OpBuilder builder(group.sites[0].op);
    auto type = RankedTensorType::get({qp::widthOf(input.getType())}, builder.getF32Type());
    Value factors = qp::WeightOp::create(builder, input.getLoc(), type, "blob:" + blob);
    Value scaled = qp::ScaleColumnsOp::create(builder, input.getLoc(), input.getType(), input,
                                              factors);
    for (const Site &site : group.sites)
      site.op->setOperand(0, scaled);
  }
};

} // namespace

std::unique_ptr<Pass> qplan::createFoldSmoothQuant(const PassInputs &inputs) {
  auto pass = std::make_unique<FoldSmoothQuantPass>();
  pass->inputs = inputs;
  return pass;
}

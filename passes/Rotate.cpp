//===- Rotate.cpp - Hadamard rotations of values --------------------------===//
//
// Passes.td says what is rotated. The residual stream is all that additions, scalings
// and the choice of rows connect with the embedding; whatever touches it is a linear
// whose weight can be rotated, or sees it through a qp.rotate.
//
//===----------------------------------------------------------------------===//

#include "ir/Failure.h"
#include "passes/PassInputs.h"
#include "passes/Sites.h"
#include "passes/search/Rotations.h"

#include <llvm/ADT/MapVector.h>
#include <llvm/ADT/SetVector.h>
#include <mlir/IR/Builders.h>

using namespace mlir;

namespace qplan {
#define GEN_PASS_DEF_ROTATE
#include "passes/Passes.h.inc"
} // namespace qplan

using namespace qplan;

namespace {

/// Smaller blocks spread too little to be worth an op.
constexpr int64_t smallestBlock = 16;
/// A row of a weight with rotated rows is made from as many rows as a block has.
constexpr int64_t largestRowBlock = 256;

/// Ops with which the residual stream is made: they work row by row and column by column alike.
bool isStreamOp(Operation *op) {
  return isa_and_nonnull<qp::AddOp, qp::ScaleOp, qp::SelectRowsOp>(op);
}

/// The value is an operand of `use` that the stream flows through.
bool flowsOn(OpOperand &use) { return isStreamOp(use.getOwner()); }

struct RotatePass : qplan::impl::RotateBase<RotatePass> {
  using RotateBase::RotateBase;

  PassInputs inputs;
  OpenedInputs opened;
  llvm::DenseMap<Operation *, Site> sites; ///< linears of layers, experts and routers among them

  void runOnOperation() override {
    if (auto error = run()) {
      getOperation().emitError() << llvm::toString(std::move(error));
      signalPassFailure();
    }
  }

  llvm::Error run() {
    auto wanted = parseRotations(what);
    if (!wanted)
      return wanted.takeError();
    if (auto error = openWeights(checkpointPath, blobFolder, inputs, opened))
      return error;
    for (const Site &site : collectSites(getOperation())) {
      if (!llvm::StringRef(site.name).starts_with("layers."))
        continue;
      if (site.isLayer() && formatInfo(site.stored).family != CodecFamily::Float)
        return usageError("--rotate: site {} is stored in {}, which would be rounded again once it "
                          "is rotated; rotate a checkpoint in f32, f16 or bf16",
                          site.name, formatName(site.stored).str());
      sites[site.op] = site;
    }
    if (wanted->residual)
      if (auto error = rotateResidual())
        return error;
    if (wanted->values)
      if (auto error = rotateValues())
        return error;
    return wanted->down ? rotateDown() : llvm::Error::success();
  }

  //===--------------------------------------------------------------------===//
  // What every rotation does
  //===--------------------------------------------------------------------===//

  /// The block for `columns` columns, at most `limit`. Error (usage): there is none.
  static llvm::Expected<int64_t> blockFor(llvm::StringRef what, int64_t columns, int64_t limit) {
    const int64_t block = std::min(columns & -columns, limit);
    if (block < smallestBlock)
      return usageError(
          "--rotate {}: {} columns have no power of two from {} on that divides them; "
          "leave `{}` out",
          what.str(), columns, smallestBlock, what.str());
    return block;
  }

  /// Whether columns of the weights of `op` can be rotated with its input.
  bool readsRotated(Operation *op) const { return sites.contains(op); }

  void transform(Operation *op, const std::string &transform) {
    transformWeights(sites[op], transform);
    rotated += sites[op].weightCount;
  }
  void rotateColumns(Operation *op, int64_t block) {
    transform(op, fmt::format("|rotate_columns({})", block));
  }
  void rotateRows(qp::LinearOp linear, int64_t block) {
    transformRows(linear, fmt::format("|rotate_rows({})", block));
    ++rotated;
  }

  /// `value`, rotated, behind the op that makes it.
  qp::RotateOp insertRotate(Value value, int64_t block) {
    OpBuilder builder(&getContext());
    builder.setInsertionPointAfterValue(value);
    ++explicitOps;
    return qp::RotateOp::create(builder, value.getLoc(), value.getType(), value, uint64_t(block));
  }

  //===--------------------------------------------------------------------===//
  // The residual stream
  //===--------------------------------------------------------------------===//

  /// The stream that the embedding enters.
  llvm::SetVector<Value> residualStream() {
    llvm::SetVector<Value> stream;
    getOperation().walk([&](qp::EmbeddingOp op) { stream.insert(op.getResult()); });
    for (size_t i = 0; i < stream.size(); ++i) {
      const Value value = stream[i];
      if (Operation *op = value.getDefiningOp(); isStreamOp(op))
        stream.insert_range(op->getOperands());
      for (OpOperand &use : value.getUses())
        if (flowsOn(use))
          stream.insert(use.getOwner()->getResult(0));
    }
    return stream;
  }

  /// A norm whose gamma can go into the columns of all that reads it.
  bool isFoldedNorm(Operation *op) const {
    auto norm = dyn_cast<qp::RmsNormOp>(op);
    return norm && norm.getGroups() == 1 && !norm.getResult().use_empty() &&
           llvm::all_of(norm.getResult().getUses(), [&](OpOperand &use) {
             return use.getOperandNumber() == 0 && readsRotated(use.getOwner());
           });
  }

  llvm::Error rotateResidual() {
    const llvm::SetVector<Value> stream = residualStream();
    if (stream.empty())
      return usageError("--rotate residual: the model has no embedding to begin the stream with");
    auto block = blockFor("residual", qp::widthOf(stream[0].getType()), largestRowBlock);
    if (!block)
      return block.takeError();
    llvm::SetVector<Operation *> norms, readers;
    llvm::MapVector<Value, std::vector<OpOperand *>> outside; // what sees the stream as it was
    for (Value value : stream)
      for (OpOperand &use : value.getUses()) {
        Operation *user = use.getOwner();
        if (flowsOn(use))
          continue;
        if (isFoldedNorm(user))
          norms.insert(user);
        else if (readsRotated(user) && use.getOperandNumber() == 0)
          readers.insert(user);
        else
          outside[value].push_back(&use);
      }
    if (norms.empty() && readers.empty())
      return usageError(
          "--rotate residual: no layer reads the residual stream through an RMS norm, "
          "which alone does not mind a rotation; leave `residual` out");
    for (auto &[value, uses] : outside) {
      Value back = insertRotate(value, *block);
      for (OpOperand *use : uses)
        use->set(back);
    }
    for (Value value : stream)
      if (!isStreamOp(value.getDefiningOp()))
        enter(value, *block);
    for (Operation *norm : norms)
      if (auto error = foldNorm(cast<qp::RmsNormOp>(norm), *block))
        return error;
    for (Operation *reader : readers)
      rotateColumns(reader, *block);
    return llvm::Error::success();
  }

  /// What makes `value` is to make it rotated.
  void enter(Value value, int64_t block) {
    auto linear = value.getDefiningOp<qp::LinearOp>();
    if (linear && sites.contains(linear))
      return rotateRows(linear, block);
    qp::RotateOp turned = insertRotate(value, block);
    value.replaceAllUsesExcept(turned, turned);
  }

  /// (gamma + offset) * x, rotated, is the rotated x once gamma is in the columns of its readers.
  llvm::Error foldNorm(qp::RmsNormOp norm, int64_t block) {
    if (!inputs.weights)
      return usageError("--rotate residual needs the checkpoint, to read the gamma of norms from");
    BlobStore &blobs = inputs.weights->blobs();
    auto view = inputs.weights->open(weightUnder(norm.getGamma()).getSource());
    if (!view)
      return view.takeError();
    auto gamma = view->readAll();
    if (!gamma)
      return gamma.takeError();
    for (float &value : *gamma)
      value = float(value + norm.getGammaOffset().convertToDouble());
    const int64_t columns = int64_t(gamma->size());
    auto factors = blobs.putFloats({columns}, *gamma);
    if (!factors)
      return factors.takeError();
    auto ones = blobs.putFloats({columns}, std::vector<float>(gamma->size(), 1.0f));
    if (!ones)
      return ones.takeError();
    for (Operation *reader : llvm::SetVector<Operation *>(norm->user_begin(), norm->user_end()))
      transform(reader, fmt::format("|scale_columns({})|rotate_columns({})", *factors, block));
    OpBuilder builder(norm);
    auto type = RankedTensorType::get({columns}, builder.getF32Type());
    norm.getGammaMutable().assign(
        qp::WeightOp::create(builder, norm.getGamma().getLoc(), type, "blob:" + *ones));
    norm.setGammaOffset(llvm::APFloat(0.0));
    return llvm::Error::success();
  }

  //===--------------------------------------------------------------------===//
  // Inside layers
  //===--------------------------------------------------------------------===//

  llvm::Error rotateValues() {
    llvm::SmallVector<qp::AttentionOp> ops;
    getOperation().walk([&](qp::AttentionOp op) {
      auto value = op.getValue().getDefiningOp<qp::LinearOp>();
      if (value && sites.contains(value) && op.getValue().hasOneUse() &&
          llvm::all_of(op->getUsers(), [&](Operation *user) { return readsRotated(user); }))
        ops.push_back(op);
    });
    for (qp::AttentionOp op : ops) {
      auto block = blockFor("values", int64_t(op.getHeadDim()), largestRowBlock);
      if (!block)
        return block.takeError();
      rotateRows(op.getValue().getDefiningOp<qp::LinearOp>(), *block);
      for (Operation *user : llvm::SetVector<Operation *>(op->user_begin(), op->user_end()))
        rotateColumns(user, *block);
    }
    return ops.empty()
               ? usageError("--rotate values: no attention has values from a linear of their "
                            "own; leave `values` out")
               : llvm::Error::success();
  }

  llvm::Error rotateDown() {
    llvm::MapVector<Value, std::vector<Operation *>> readers;
    getOperation().walk([&](Operation *op) {
      if (readsRotated(op) &&
          isa_and_nonnull<qp::GatedOp, qp::PointwiseOp>(op->getOperand(0).getDefiningOp()))
        readers[op->getOperand(0)].push_back(op);
    });
    for (auto &[value, ops] : readers) {
      auto block =
          blockFor("down", qp::widthOf(value.getType()), std::numeric_limits<int64_t>::max());
      if (!block)
        return block.takeError();
      Value turned = insertRotate(value, *block);
      for (Operation *op : ops) {
        op->setOperand(0, turned);
        rotateColumns(op, *block);
      }
    }
    return readers.empty() ? usageError("--rotate down: no linear reads what an activation gives; "
                                        "leave `down` out")
                           : llvm::Error::success();
  }
};

} // namespace

std::unique_ptr<Pass> qplan::createRotate(const PassInputs &inputs, RotateOptions options) {
  auto pass = std::make_unique<RotatePass>(std::move(options));
  pass->inputs = inputs;
  return pass;
}

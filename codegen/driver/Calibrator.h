//===- Calibrator.h - runs a model inside the compiler -----------*- C++ -*-===//
//
// Calibration and scoring run the model itself: the f32 plan, compiled into this
// process for this machine, whatever the target. Sums have a fixed order, so
// statistics do not depend on the number of threads.
//
//===----------------------------------------------------------------------===//
#ifndef QPLAN_CODEGEN_DRIVER_CALIBRATOR_H
#define QPLAN_CODEGEN_DRIVER_CALIBRATOR_H

#include "codegen/driver/Compiler.h"
#include "codegen/driver/ScratchFile.h"
#include "codegen/package/HeaderWriter.h"
#include "qplan/runtime.h"

namespace qplan {

/// Sites of a plan for reports, and sums over those in layers.
struct SiteSummary {
  nlohmann::ordered_json sites = nlohmann::ordered_json::array();
  double elements = 0, bits = 0, modeloptBits = 0;
};

llvm::Expected<SiteSummary> summarizeSites(plan::ProgramOp program,
                                           const llvm::StringMap<std::string> &treatments);
ModelHeader headerOf(plan::ProgramOp program, const EmittedModel &emitted,
                     llvm::StringRef producer);
llvm::Expected<nlohmann::ordered_json> manifestOf(mlir::ModuleOp module, plan::ProgramOp program,
                                                  const EmittedModel &emitted,
                                                  const Checkpoint &source,
                                                  const CompileOptions &options);
llvm::Expected<Recipe> recipeOf(mlir::ModuleOp module, const Checkpoint &source,
                                const CompileOptions &options, const Recipe *chosen);

/// From qp ops to a plan whose memory and weights have places; `maxTokens` is the most
/// rows of a pass, if not the usual.
void addPlanPasses(mlir::OpPassManager &manager, std::optional<int64_t> maxTokens = {});

/// Token ids of a text file: windows [samples][length], not overlapping.
llvm::Expected<std::vector<std::vector<int32_t>>>
calibrationWindows(const Checkpoint &source, const std::string &path, int64_t samples,
                   int64_t length, std::string *textHash);

/// Reads the memory of an observer of `columns` columns that is no Gram matrix.
SiteStatistics readObserver(const uint8_t *memory, int64_t columns);

/// A plan of the model in f32, in memory, whose weights may be changed between runs.
class LiveModel {
public:
  /// `module` holds a planned program. Borrows nothing after creation.
  static llvm::Expected<std::unique_ptr<LiveModel>> create(mlir::OwningOpRef<mlir::ModuleOp> module,
                                                           WeightStore &store, unsigned threads,
                                                           const ProgressSink &progress);
  ~LiveModel();

  /// Runs one window from an empty cache. `logits`, if any, gets [tokens, vocabulary].
  llvm::Error run(llvm::ArrayRef<int32_t> tokens, std::vector<float> *logits);

  /// Mean over rows of KL(softmax(reference) || softmax(other)) in nats; both are
  /// [rows, vocabulary].
  double divergence(llvm::ArrayRef<float> reference, llvm::ArrayRef<float> other);

  /// Runs the launches [first, end) of the program, first < end, on what `args` says of tokens
  /// and memory; weights and observers are the model's.
  void runLaunches(qplan_args_v1 args, int64_t first, int64_t end);

  const qplan_model_v1 &description() const;
  plan::ProgramOp program() { return *module->getOps<plan::ProgramOp>().begin(); }
  int64_t vocabulary() const;
  /// Memory of the observers, [statistics_bytes].
  uint8_t *statistics() { return observed; }
  size_t statisticsBytes() const;
  /// The weight of each site.
  llvm::StringMap<plan::WeightOp> weightsBySite();
  /// The packed bytes of weight.
  llvm::MutableArrayRef<uint8_t> bytesOf(plan::WeightOp weight);

private:
  LiveModel() = default;
  mlir::OwningOpRef<mlir::ModuleOp> module;
  std::unique_ptr<JitModel> code;
  qplan_model *model = nullptr;
  qplan_session *session = nullptr;
  ScratchFile weightFile; ///< as weights.bin
  unsigned threads = 1;
  uint8_t *observed = nullptr;
};

} // namespace qplan

#endif // QPLAN_CODEGEN_DRIVER_CALIBRATOR_H

//===- Compiler.h - from a checkpoint to a plan package ----------*- C++ -*-===//
//
// The compiler as a library: the stages of design.md in their order, each of
// which can be dumped and replayed in qplan-opt. `qplan compile` is a thin shell
// around it.
//
//===----------------------------------------------------------------------===//
#ifndef QPLAN_CODEGEN_DRIVER_COMPILER_H
#define QPLAN_CODEGEN_DRIVER_COMPILER_H

#include "codegen/cpu/Cpu.h"
#include "codegen/driver/RoundedSites.h"
#include "codegen/driver/ScoreTable.h"
#include "codegen/plan/PlanOps.h"
#include "ir/models/Architecture.h"
#include "ir/weights/WeightStore.h"
#include "passes/Passes.h"
#include "passes/search/Budgets.h"
#include "passes/search/Front.h"

#include <functional>
#include <limits>
#include <mlir/IR/MLIRContext.h>

namespace qplan {

/// What to compile and how: the options of the command line, by their names there.
struct CompileOptions {
  std::string model;          ///< path of the checkpoint
  std::string output;         ///< m.qplan
  std::string name = "model"; ///< symbol prefix
  std::string target = "cpu";
  std::string quant;                ///< one treatment for all sites in scope
  std::string automatic;            ///< treatments to choose among, or "all", "fast"
  Budgets budgets;                  ///< of the choice
  std::string activations = "any";  ///< "16", "8", "any": what the choice may do
  std::string groups;               ///< "qkv,gate_up": sites tied together
  bool singleExperts = false;       ///< every expert of a mixture is a site, not every bank
  std::string rotate;               ///< what is rotated: Rotations::text(), or "all"
  std::string exportKind;           ///< --for-export: choose only what this engine can hold
  std::optional<unsigned> exchange; ///< rounds that improve the choice; absent: it is not measured
  std::string score = "trace";      ///< or "kl": every candidate is measured at every group
  bool timeDecode = false;          ///< time the candidates even where no budget asks for it
  std::string sites = "layers";
  std::string recipe, saveRecipe;
  std::string fallback;
  bool untie = false;
  std::string statistics;  ///< statistics file: read if it fits, else made
  std::string calibration; ///< text file
  int64_t samples = 128, length = 512;
  std::string kvCache; ///< format of cached keys and values; "auto": the search's
                       ///< choice; empty: as fits
  int64_t context = 0;
  unsigned threads = 0;
  std::string dumpDirectory;
  bool qdq = false; ///< compile the QDQ form in f32 instead of fused kernels
  int64_t maxTokens = 512;
};

/// Where to stop: design.md's --emit.
enum class EmitStage { Package, Qp, Recipe, Plan, Llvm, Assembly, Object };

/// Told about long work: a title, and how much of it is done.
struct ProgressSink {
  std::function<void(llvm::StringRef title, uint64_t done, uint64_t total)> update =
      [](llvm::StringRef, uint64_t, uint64_t) {};
  std::function<void(llvm::StringRef line)> note = [](llvm::StringRef) {};
};

class ChoiceJudge;
struct FormComparison;
class LiveModel;
class MomentStore;
class PartialSums;
struct InputMoments;
struct MomentInput;
struct SiteGroup;
struct Measurement;

/// Takes what was seen of input number `index`: its moments, and rows of it [n, columns].
using MomentVisitor = std::function<llvm::Error(size_t index, const InputMoments &moments,
                                                llvm::ArrayRef<float> rows)>;

/// One compilation. Members are filled stage by stage; each stage needs those before it.
class Compiler {
public:
  static llvm::Expected<std::unique_ptr<Compiler>> create(CompileOptions options,
                                                          ProgressSink progress);
  ~Compiler();

  /// Runs all stages and writes the package, or stops at `stage` and returns its text
  /// or bytes.
  llvm::Expected<std::string> run(EmitStage stage);

  /// Scores `automatic` and weighs it: `qplan search`. In place of run(). The front's choice
  /// is set where there are budgets.
  llvm::Expected<SearchFront> search();
  /// Runs the QDQ form and the emitted code of the plan that run() would write, both on this
  /// machine, on the first `samples` windows of a text file. In place of run().
  llvm::Expected<FormComparison> compareForms(const std::string &text, int64_t samples);

  const Checkpoint &checkpoint() const { return *source; }
  const Target &target() const { return chosenTarget; }

private:
  Compiler() = default;

  llvm::Expected<mlir::OwningOpRef<mlir::ModuleOp>> import(llvm::StringRef kvFormat);
  /// What comes before the import: recipe, cache format, statistics, the search.
  llvm::Error prepare();
  llvm::Error calibrate();
  /// The first `samples` windows of the calibration text, of --calib-length tokens or `most`.
  llvm::Expected<std::vector<std::vector<int32_t>>>
  calibrationText(int64_t samples, int64_t most = std::numeric_limits<int64_t>::max()) const;
  /// Fills `front`, and takes the recipe that is best within the budgets (Search.cpp).
  llvm::Error choose();
  /// Sizes and predicted divergences of `candidates` at each group of sites (Score.cpp).
  llvm::Expected<ScoreTable> scoreTable(llvm::ArrayRef<Treatment> candidates);
  /// Gives an imported module weights in f32, which take any rounded values, and its cache the
  /// scales that a plan's would have; with `toPlan` lowers it on to a plan.
  llvm::Error lowerExact(mlir::ModuleOp module, bool toPlan);
  /// The model whose weights and cache are in f32.
  llvm::Expected<std::unique_ptr<LiveModel>> exactModel();
  /// A model that takes the candidates of `table`, made by scoreTable() (AssembledModel.cpp).
  llvm::Expected<std::unique_ptr<ChoiceJudge>> assemble(const ScoreTable &table);
  /// Measures the choice of `front` and improves it within the budgets (Search.cpp).
  llvm::Error exchangeChoice(const ScoreTable &table);
  /// Fills in the traces of `treatments` that the statistics lack at sites of the imported
  /// `module`, and the scores that `missing` names; `keep` is called whenever some are known.
  llvm::Error measureTraces(mlir::ModuleOp module, llvm::ArrayRef<Treatment> treatments,
                            const std::function<llvm::Error()> &keep);
  llvm::Error measureScores(llvm::ArrayRef<SiteGroup> groups, llvm::ArrayRef<Measurement> missing,
                            const std::function<llvm::Error()> &keep);
  /// Fills in the scores of all cells of `table` that the statistics lack.
  llvm::Error measureCells(const ScoreTable &table, const std::function<llvm::Error()> &keep);
  /// Fills in the caches of `front` where their size counts (CacheScores.cpp).
  llvm::Error weighCaches();
  /// Adds what caches in `formats` cost to the statistics.
  llvm::Error measureCaches(llvm::ArrayRef<std::string> formats);
  /// Times decode steps with each of `candidates`, and gives every cell of `front` its part; and
  /// those with each cache (DecodeTimes.cpp). The error (usage): the target is not this machine.
  llvm::Error addDecodeTimes(llvm::ArrayRef<Treatment> candidates);
  /// Adds to `front` what a step takes longer for each launch beyond those of uniform plans.
  /// `decode` times a plan.
  llvm::Error addSplitTime(
      llvm::ArrayRef<Treatment> candidates,
      llvm::function_ref<llvm::Expected<double>(llvm::StringRef quant, const Recipe *recipe)>
          decode);
  /// The plan of a model with the treatment `quant`, or those of a recipe, at all sites in scope.
  llvm::Expected<mlir::OwningOpRef<mlir::ModuleOp>>
  planForTiming(llvm::StringRef quant, const Recipe *recipe, llvm::StringRef cache);
  llvm::Error transform(mlir::ModuleOp module);
  /// Runs the model in f32 on `windows` with observers of x x^T and shows each input to `visit`,
  /// with `sampledRows` of its rows (MomentPass.cpp). The moments go away after `visit`.
  llvm::Error visitMoments(llvm::ArrayRef<MomentInput> inputs,
                           llvm::ArrayRef<std::vector<int32_t>> windows, int64_t sampledRows,
                           const MomentVisitor &visit);
  /// Runs the methods over second moments (passes/moments) on the sites that have one: folds
  /// their factors and replaces the weights they round by blobs.
  llvm::Error roundSites(mlir::ModuleOp module);
  /// Finds the alpha of treatments smoothquantplus that have none (SmoothPlus.cpp).
  llvm::Error searchSmoothPlus(mlir::ModuleOp module);
  /// Gives static activations whose treatment asks for it a range from a histogram.
  llvm::Error chooseRanges(mlir::ModuleOp module);
  /// Runs `windows` through observers, from where `partial` was left.
  llvm::Error observeWindows(LiveModel &live, llvm::ArrayRef<std::vector<int32_t>> windows,
                             const PartialSums &partial);
  /// From an imported module with observers to the plan that a LiveModel runs.
  llvm::Error lowerForCalibration(mlir::ModuleOp module);
  llvm::Error lower(mlir::ModuleOp module);
  llvm::Error writePackage(mlir::ModuleOp module);
  /// Runs passes; `errors` gets what they say.
  mlir::LogicalResult runQuietly(mlir::ModuleOp module, std::string &errors,
                                 llvm::function_ref<void(mlir::OpPassManager &)> build);
  llvm::Error runPasses(mlir::ModuleOp module, llvm::StringRef stage,
                        llvm::function_ref<void(mlir::OpPassManager &)> build);
  llvm::Error dump(mlir::ModuleOp module, llvm::StringRef stage);
  /// Whether any wanted treatment needs to know what enters sites.
  bool needsStatistics() const;
  /// Resolves --kv-cache, or what the recipe says or fits the plan without it; where the search is
  /// to choose, what it begins with. The error (usage) names the option.
  llvm::Error chooseKvFormat();

  CompileOptions options;
  ProgressSink progress;
  mlir::DialectRegistry registry;
  std::unique_ptr<mlir::MLIRContext> context;
  std::unique_ptr<Checkpoint> source;
  std::unique_ptr<BlobStore> blobs;
  std::unique_ptr<WeightStore> weights;
  Target chosenTarget;
  std::optional<Statistics> statistics;
  std::optional<Recipe> recipe;
  std::optional<SearchFront> front;         ///< of the search that made the recipe
  std::unique_ptr<MomentStore> momentStore; ///< what an exchange asks for again
  RoundedSites rounded;                     ///< what methods made for choices that were measured
  FormatId kvFormat = FormatId::F32;
  unsigned stageNumber = 0;
  bool importNoted = false; ///< what the import had to say was said
};

/// Text of tokenizer.json for a checkpoint: its own file, or made from a GGUF
/// vocabulary. Empty when the checkpoint has none.
llvm::Expected<std::string> tokenizerOf(const Checkpoint &checkpoint);

/// "chat_template", "bos_token", "eos_token", ... of a checkpoint as the text of a
/// tokenizer_config.json; empty when it has none.
std::string tokenizerConfigOf(const Checkpoint &checkpoint);

} // namespace qplan

#endif // QPLAN_CODEGEN_DRIVER_COMPILER_H

//===- Compiler.cpp - the stages of a compilation -------------------------===//
//
// The only file that decides the order of stages.
//
//===----------------------------------------------------------------------===//

#include "codegen/driver/Compiler.h"

#include "codegen/driver/Calibrator.h"
#include "codegen/driver/MomentPass.h"
#include "codegen/lower/Passes.h"
#include "codegen/package/HeaderWriter.h"
#include "codegen/package/PackageWriter.h"
#include "codegen/plan/Passes.h"
#include "codegen/weights/PackWeights.h"
#include "ir/Failure.h"
#include "ir/import/quantized/CacheScales.h"
#include "ir/packings/KvPages.h"
#include "passes/search/Rotations.h"
#include "qplan/runtime.h"

#include <llvm/Support/FileSystem.h>
#include <llvm/Support/raw_ostream.h>
#include <mlir/Dialect/Func/IR/FuncOps.h>
#include <mlir/Dialect/LLVMIR/LLVMDialect.h>
#include <mlir/IR/Diagnostics.h>
#include <mlir/Pass/PassManager.h>

using namespace mlir;
using namespace qplan;

/// Rounds of exchanges of a compilation. The first brings most.
static constexpr unsigned usualExchange = 1;

Compiler::~Compiler() = default;

llvm::Expected<std::unique_ptr<Compiler>> Compiler::create(CompileOptions options,
                                                           ProgressSink progress) {
  if (auto error = checkModelName(options.name))
    return std::move(error);
  int chosen = !options.quant.empty() + !options.automatic.empty() + !options.recipe.empty();
  if (chosen > 1)
    return usageError("--quant, --auto and --recipe exclude each other; give one of them");
  auto target = parseTarget(options.target);
  if (!target)
    return target.takeError();
  auto rotations = parseRotations(options.rotate);
  if (!rotations)
    return rotations.takeError();
  auto checkpoint = openCheckpoint(options.model);
  if (!checkpoint)
    return checkpoint.takeError();

  std::unique_ptr<Compiler> compiler(new Compiler);
  compiler->options = std::move(options);
  compiler->progress = std::move(progress);
  compiler->chosenTarget = std::move(*target);
  compiler->source = std::move(*checkpoint);
  for (const std::string &warning : compiler->source->warnings())
    compiler->progress.note("note: " + warning);
  CompileOptions &own = compiler->options;
  own.rotate = rotations->text();
  if (!own.threads)
    own.threads = unsigned(qplan_cpu_count());
  compiler->blobs = own.dumpDirectory.empty()
                        ? std::make_unique<BlobStore>()
                        : std::make_unique<BlobStore>(own.dumpDirectory + "/blobs");
  compiler->weights = std::make_unique<WeightStore>(*compiler->source, *compiler->blobs);
  compiler->momentStore = std::make_unique<MomentStore>();
  compiler->registry
      .insert<qp::QpDialect, plan::PlanDialect, func::FuncDialect, LLVM::LLVMDialect>();
  compiler->context =
      std::make_unique<MLIRContext>(compiler->registry, MLIRContext::Threading::DISABLED);
  compiler->context->loadAllAvailableDialects();
  return compiler;
}

llvm::Expected<OwningOpRef<ModuleOp>> Compiler::import(llvm::StringRef kvFormat) {
  ImportOptions importing;
  importing.context = options.context;
  importing.name = options.name;
  importing.kvFormat = kvFormat.str();
  importing.singleExperts = options.singleExperts;
  if (!std::exchange(importNoted, true))
    importing.note = progress.note;
  auto module = importModel(*context, *source, importing);
  if (module && options.singleExperts &&
      !(**module)
           ->walk([](qp::ExpertLinearOp) { return WalkResult::interrupt(); })
           .wasInterrupted()) {
    progress.note("note: this model has no experts to treat singly");
    options.singleExperts = false;
  }
  if (!module || options.rotate.empty())
    return module;
  std::string errors;
  auto rotated = runQuietly(**module, errors, [&](OpPassManager &manager) {
    manager.addPass(createRotate({weights.get()}, {.what = options.rotate}));
  });
  if (failed(rotated))
    return usageError("{}", errors);
  return module;
}

llvm::Error Compiler::dump(ModuleOp module, llvm::StringRef stage) {
  if (options.dumpDirectory.empty())
    return llvm::Error::success();
  if (auto code = llvm::sys::fs::create_directories(options.dumpDirectory))
    return machineError("--dump-ir {}: cannot make the folder: {}", options.dumpDirectory,
                        code.message());
  std::string path =
      fmt::format("{}/{:02}-{}.mlir", options.dumpDirectory, ++stageNumber, stage.str());
  std::error_code code;
  llvm::raw_fd_ostream out(path, code);
  if (code)
    return machineError("--dump-ir: cannot write {}: {}", path, code.message());
  OpPrintingFlags flags;
  flags.enableDebugInfo(true, /*prettyForm=*/false);
  module->print(out, flags);
  out.close();
  if (out.has_error())
    return machineError("--dump-ir: cannot write {}: {}", path, out.error().message());
  return llvm::Error::success();
}

LogicalResult Compiler::runQuietly(ModuleOp module, std::string &errors,
                                   llvm::function_ref<void(OpPassManager &)> build) {
  ScopedDiagnosticHandler handler(context.get(), [&](Diagnostic &diagnostic) {
    std::string text = diagnostic.str();
    if (diagnostic.getSeverity() == DiagnosticSeverity::Error)
      errors += (errors.empty() ? "" : "; ") + text;
    else
      progress.note(text);
    return success();
  });
  PassManager manager(context.get());
  build(manager);
  return manager.run(module);
}

llvm::Error Compiler::runPasses(ModuleOp module, llvm::StringRef stage,
                                llvm::function_ref<void(OpPassManager &)> build) {
  std::string errors;
  if (failed(runQuietly(module, errors, build))) {
    // What a recipe asks for is in a file; what options ask for is wrong usage.
    bool fileAtFault = stage == "assign" && !options.recipe.empty();
    return fileAtFault ? inputError("{}: {}", stage.str(), errors)
                       : usageError("{}: {}", stage.str(), errors);
  }
  return dump(module, stage);
}

llvm::Error Compiler::chooseKvFormat() {
  // Keys and values are kept exact in plans that are exact otherwise.
  bool given = !options.quant.empty() || !options.recipe.empty() || !options.automatic.empty();
  bool exact = options.quant == "f32" || (!given && !source->gguf());
  kvFormat = exact ? FormatId::F32 : FormatId::F16;
  if (options.kvCache == "auto") {
    if (options.automatic.empty())
      return usageError("--kv-cache auto: a search chooses the cache with the treatments; add "
                        "--auto T,T,... and a budget, for example --memory-bytes 2G");
    return options.budgets.any() ? options.budgets.checkCountCache() : llvm::Error::success();
  }
  const std::string ofRecipe = recipe ? recipe->header.kvCache : "";
  if (options.kvCache.empty() && !ofRecipe.empty()) {
    kvFormat = llvm::cantFail(parseKvFormat(ofRecipe)); // parseRecipe() looked at it
    return llvm::Error::success();
  }
  if (options.kvCache.empty()) {
    if (auto stored = cacheFormatOf(*source); stored && options.quant != "f32")
      kvFormat = *stored;
    return llvm::Error::success();
  }
  auto format = parseKvFormat(options.kvCache);
  if (!format)
    return usageError("--kv-cache: {}", llvm::toString(format.takeError()));
  kvFormat = *format;
  if (!ofRecipe.empty()) {
    if (llvm::cantFail(parseKvFormat(ofRecipe)) != kvFormat)
      progress.note(fmt::format("note: --kv-cache {} is taken; {} has kv-cache: {}",
                                options.kvCache, options.recipe, ofRecipe));
    recipe->header.kvCache = formatName(kvFormat).str();
  }
  return llvm::Error::success();
}

bool Compiler::needsStatistics() const {
  // A cache without ranges has scales of 1, but heads have none to share.
  bool given = !options.calibration.empty() || !options.statistics.empty();
  // A checkpoint may bring those of fp8.
  bool hasCacheScales =
      formatInfo(kvFormat).kind == ElementKind::E4M3 && cacheFormatOf(*source).has_value();
  if (KvScales fixed = kvScalesOf(kvFormat);
      !hasCacheScales && (fixed == KvScales::Head || (fixed == KvScales::Tensor && given)))
    return true;
  if (!options.automatic.empty())
    return true;
  // A quantized checkpoint may have static scales; then a text is only read when one is given.
  bool hasScales = options.calibration.empty() && options.statistics.empty() &&
                   llvm::any_of(source->tensors(),
                                [](const TensorInfo &tensor) { return tensor.input.scale > 0; });
  auto needs = [&](const Treatment &treatment) {
    return treatment.method == Method::SmoothQuant || treatment.method == Method::Imatrix ||
           treatment.method == Method::SmoothQuantPlus ||
           (treatment.activation && formatInfo(*treatment.activation).isPerTensor() && !hasScales);
  };
  if (recipe)
    return llvm::any_of(recipe->rules, [&](const RecipeRule &r) { return needs(r.treatment); });
  if (options.quant.empty())
    return false;
  auto treatment = parseTreatment(options.quant);
  if (!treatment) {
    llvm::consumeError(treatment.takeError()); // reported where it is assigned
    return false;
  }
  return needs(*treatment);
}

llvm::Error Compiler::transform(ModuleOp module) {
  PassInputs inputs{weights.get(), statistics ? &*statistics : nullptr,
                    recipe ? &*recipe : nullptr};
  AssignTreatmentsOptions assigning;
  assigning.quant = options.quant;
  assigning.sites = options.sites;
  assigning.fallback = options.fallback;
  assigning.untie = options.untie;
  auto stage = [&](llvm::StringRef name, std::unique_ptr<Pass> pass) {
    return runPasses(module, name,
                     [&](OpPassManager &manager) { manager.addPass(std::move(pass)); });
  };
  if (auto error = stage("assign", createAssignTreatments(inputs, assigning)))
    return error;
  if (auto error = searchSmoothPlus(module))
    return error;
  if (auto error = stage("transform", createFoldSmoothQuant(inputs)))
    return error;
  if (auto error = roundSites(module))
    return error;
  if (auto error = chooseRanges(module))
    return error;
  if (auto error = stage("quantize", createInsertQdq(inputs)))
    return error;
  if (options.qdq)
    return llvm::Error::success();
  return stage("fuse", createFuse());
}

void qplan::addPlanPasses(OpPassManager &manager, std::optional<int64_t> maxTokens) {
  LowerToPlanOptions lowering;
  lowering.maxTokens = maxTokens.value_or(lowering.maxTokens);
  manager.addPass(createLowerToPlan(lowering));
  manager.addNestedPass<plan::ProgramOp>(plan::createPlanAssignMemory());
  manager.addNestedPass<plan::ProgramOp>(plan::createPlanAssignWeights());
}

llvm::Error Compiler::lower(ModuleOp module) {
  return runPasses(module, "plan",
                   [&](OpPassManager &manager) { addPlanPasses(manager, options.maxTokens); });
}

llvm::Error Compiler::prepare() {
  if (!options.recipe.empty()) {
    auto read = readRecipe(options.recipe);
    if (!read)
      return read.takeError();
    if (auto error = read->checkModel(source->contentHash()))
      return error;
    recipe = std::move(*read);
    options.singleExperts |= recipe->header.singleExperts;
    if (!options.rotate.empty() && options.rotate != recipe->header.rotate)
      return usageError(
          "--rotate {}: {} is for {}; leave --rotate out, and what the recipe says is "
          "done",
          options.rotate, options.recipe,
          recipe->header.rotate.empty() ? "a model as it is" : "rotate: " + recipe->header.rotate);
    options.rotate = recipe->header.rotate;
  }
  if (auto error = chooseKvFormat())
    return error;
  if (needsStatistics())
    if (auto error = calibrate())
      return error;
  return options.automatic.empty() ? llvm::Error::success() : choose();
}

llvm::Expected<std::string> Compiler::run(EmitStage stage) {
  if (!options.automatic.empty() && !options.budgets.any())
    return usageError("--auto needs a budget: --effective-bits B, for example 4.8");
  // Most of what measuring takes is rounding that the plan needs anyhow.
  if (!options.exchange && !options.calibration.empty())
    options.exchange = usualExchange;
  if (auto error = prepare())
    return std::move(error);
  auto module = import(formatName(kvFormat));
  if (!module)
    return module.takeError();
  auto print = [&](ModuleOp op) {
    std::string text;
    llvm::raw_string_ostream(text) << op;
    return text;
  };
  if (auto error = dump(**module, "import"))
    return std::move(error);
  if (auto error = transform(**module))
    return std::move(error);
  if (!options.saveRecipe.empty() || stage == EmitStage::Recipe) {
    auto text = recipeOf(**module, *source, options, recipe ? &*recipe : nullptr);
    if (!text)
      return text.takeError();
    if (!options.saveRecipe.empty())
      if (auto error = writeRecipe(*text, options.saveRecipe))
        return std::move(error);
    if (stage == EmitStage::Recipe)
      return printRecipe(*text);
  }
  if (stage == EmitStage::Qp)
    return print(**module);
  if (auto error = lower(**module))
    return std::move(error);
  if (stage == EmitStage::Plan)
    return print(**module);
  if (stage == EmitStage::Package) {
    if (auto error = writePackage(**module))
      return std::move(error);
    return std::string();
  }
  EmitOptions emitting;
  emitting.threads = options.threads;
  emitting.object = stage == EmitStage::Object;
  emitting.sharedObject = false;
  emitting.llvmText = stage == EmitStage::Llvm;
  emitting.assembly = stage == EmitStage::Assembly;
  auto emitted = emitModel(**module, chosenTarget, emitting);
  if (!emitted)
    return emitted.takeError();
  if (stage == EmitStage::Object)
    return std::string(emitted->object.begin(), emitted->object.end());
  return stage == EmitStage::Llvm ? emitted->llvmText : emitted->assembly;
}

llvm::Error Compiler::writePackage(ModuleOp module) {
  plan::ProgramOp program = *module.getOps<plan::ProgramOp>().begin();
  auto package = PackageWriter::create(options.output);
  if (!package)
    return package.takeError();
  // What the tokenizer lacks is better known before the long work.
  auto tokenizer = tokenizerOf(*source);
  if (!tokenizer)
    return tokenizer.takeError();

  progress.update("code", 0, 1);
  EmitOptions emitting;
  emitting.threads = options.threads;
  auto emitted = emitModel(module, chosenTarget, emitting);
  if (!emitted)
    return emitted.takeError();
  progress.update("code", 1, 1);

  uint64_t total = *program.getWeightBytes();
  if (auto error = (*package)->beginWeights(total))
    return error;
  PackOptions packing;
  packing.threads = options.threads;
  packing.progress = [&](uint64_t done, uint64_t all) { progress.update("weights", done, all); };
  auto sink = [&](uint64_t offset, llvm::ArrayRef<uint8_t> bytes) {
    return (*package)->writeWeights(offset, bytes);
  };
  if (auto error = packWeights(program, *weights, packing, sink))
    return error;
  if (auto error = (*package)->finishWeights())
    return error;
  auto add = [&](llvm::StringRef name, llvm::StringRef contents) {
    return contents.empty() ? llvm::Error::success() : (*package)->addFile(name, contents);
  };
  auto text = [](const llvm::SmallVector<char, 0> &bytes) {
    return llvm::StringRef(bytes.data(), bytes.size());
  };
  auto header = writeModelHeader(headerOf(program, *emitted, emitting.producer));
  if (!header)
    return header.takeError();
  auto assigned = recipeOf(module, *source, options, recipe ? &*recipe : nullptr);
  if (!assigned)
    return assigned.takeError();
  const std::string recipeText = printRecipe(*assigned);
  const std::string searchText = front ? printFront(*front) : std::string();
  auto manifest = manifestOf(module, program, *emitted, *source, options);
  if (!manifest)
    return manifest.takeError();
  for (auto &[name, contents] :
       {std::pair<llvm::StringRef, llvm::StringRef>{"model.o", text(emitted->object)},
        {"model.so", text(emitted->sharedObject)},
        {"model.h", *header},
        {"tokenizer.json", *tokenizer},
        {"recipe.txt", recipeText},
        {"search.json", searchText}})
    if (auto error = add(name, contents))
      return error;
  return (*package)->commit(*manifest);
}

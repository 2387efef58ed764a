//===- CompileCommand.cpp - qplan compile ---------------------------------===//
//
// A thin shell around the Compiler: options, progress, a summary.
//
//===----------------------------------------------------------------------===//

#include "codegen/driver/Compiler.h"
#include "ir/Failure.h"
#include "tools/qplan/CommandLine.h"
#include "tools/qplan/LoadedPlan.h"
#include "tools/qplan/Output.h"
#include "tools/qplan/SearchOptions.h"
#include "tools/qplan/StageProgress.h"

#include <llvm/Support/FileSystem.h>

namespace qplan {
namespace {

struct CompileArguments {
  CompileOptions options;
  std::string emit; ///< --emit; empty: the package
  BudgetArguments budgets;
  bool json = false;
};

llvm::Expected<EmitStage> stageFor(const std::string &name) {
  constexpr std::pair<const char *, EmitStage> stages[] = {
      {"", EmitStage::Package},  {"qp", EmitStage::Qp},     {"recipe", EmitStage::Recipe},
      {"plan", EmitStage::Plan}, {"llvm", EmitStage::Llvm}, {"asm", EmitStage::Assembly},
      {"obj", EmitStage::Object}};
  for (auto &[known, stage] : stages)
    if (name == known)
      return stage;
  return usageError("--emit={}: expected qp, recipe, plan, llvm, asm or obj", name);
}

/// Site counts by treatment, in the order in which they appear.
nlohmann::ordered_json treatmentCounts(const nlohmann::ordered_json &manifest) {
  nlohmann::ordered_json counts = nlohmann::ordered_json::object();
  if (manifest.contains("sites") && manifest["sites"].is_array())
    for (const auto &site : manifest["sites"]) {
      std::string treatment = textOr(site, "treatment");
      counts[treatment] = int64_t(numberOr(counts, treatment.c_str(), 0)) + 1;
    }
  return counts;
}

llvm::Error summarize(const CompileArguments &arguments, const std::string &target,
                      double seconds) {
  const std::string &output = arguments.options.output;
  auto manifest = readManifest(output);
  if (!manifest)
    return manifest.takeError();
  uint64_t weights = 0, code = 0;
  if (llvm::sys::fs::file_size(output + "/weights.bin", weights))
    weights = 0;
  if (llvm::sys::fs::file_size(output + "/model.so", code))
    code = 0;
  auto counts = treatmentCounts(*manifest);
  double bits = numberOr(*manifest, "effective_bits", 0);
  double modelopt = numberOr(*manifest, "effective_bits_modelopt", 0);
  if (arguments.json) {
    printJson({{"output", output},
               {"architecture", textOr(*manifest, "architecture")},
               {"parameters", uint64_t(numberOr(*manifest, "parameters", 0))},
               {"target", target},
               {"effective_bits", bits},
               {"effective_bits_modelopt", modelopt},
               {"kv_cache", textOr(*manifest, "kv_cache")},
               {"treatments", counts},
               {"weight_bytes", weights},
               {"code_bytes", code},
               {"seconds", seconds}});
    return llvm::Error::success();
  }
  print(fmt::format("{}: {}, {:.1f} M parameters, for {}\n", output,
                    textOr(*manifest, "architecture"), numberOr(*manifest, "parameters", 0) / 1e6,
                    target));
  for (auto &[treatment, count] : counts.items())
    print(fmt::format("  {:>5} sites  {}\n", count.get<int64_t>(), treatment));
  print(fmt::format("  {:.3f} effective bits in the layers, keys and values in {}\n", bits,
                    textOr(*manifest, "kv_cache")));
  print(
      fmt::format("  weights {}, code {}, {:.1f} s\n", sizeText(weights), sizeText(code), seconds));
  return llvm::Error::success();
}

/// Text or bytes of a stage: to -o, else to stdout.
llvm::Error deliver(const CompileArguments &arguments, EmitStage stage, const std::string &bytes) {
  const std::string &output = arguments.options.output;
  if (output.empty() || output == "-") {
    print(bytes);
    return llvm::Error::success();
  }
  if (auto error = writeFileWhole(output, bytes))
    return error;
  if (arguments.json)
    printJson({{"output", output}, {"bytes", bytes.size()}});
  return llvm::Error::success();
}

llvm::Error compile(CompileArguments arguments) {
  Stopwatch watch;
  auto stage = stageFor(arguments.emit);
  if (!stage)
    return stage.takeError();
  CompileOptions &options = arguments.options;
  if (*stage == EmitStage::Package && options.output.empty())
    return usageError("-o is missing: name the plan to write, for example -o m.qplan");
  if (*stage == EmitStage::Object && (options.output.empty() || options.output == "-"))
    return usageError("--emit=obj needs -o FILE: an object is no text for a terminal");
  if (*stage != EmitStage::Package && arguments.json && options.output.empty())
    return usageError("--json with --emit={} needs -o FILE: stdout holds one JSON object",
                      arguments.emit);
  auto budgets = arguments.budgets.resolve();
  if (!budgets)
    return budgets.takeError();
  options.budgets = *budgets;
  if (budgets->any() && options.automatic.empty() && options.recipe.empty())
    return usageError("--{} is a budget of the search; add --auto T,T,... to search",
                      budgets->facts()[0].first);
  StageProgress progress(arguments.json);
  auto compiler = Compiler::create(options, progress.sink());
  if (!compiler)
    return compiler.takeError();
  auto bytes = (*compiler)->run(*stage);
  progress.finish();
  if (!bytes)
    return bytes.takeError();
  if (*stage == EmitStage::Package)
    return summarize(arguments, (*compiler)->target().name, watch.seconds());
  return deliver(arguments, *stage, *bytes);
}

void addTreatmentOptions(CLI::App &command, CompileArguments &arguments) {
  CompileOptions &o = arguments.options;
  const char *group = "Treatments";
  command
      .add_option("--quant", o.quant,
                  "One treatment for all sites: int4_g64, w4a8@awq, fp8, f32, ...; "
                  "without it the checkpoint's formats are kept")
      ->type_name("T")
      ->group(group);
  addSearchOptions(command, o, group);
  addBudgetOptions(command, arguments.budgets);
  command.add_option("--recipe", o.recipe, "Read the treatments from FILE")
      ->type_name("FILE")
      ->group(group);
  command.add_option("--save-recipe", o.saveRecipe, "Write the chosen treatments to FILE")
      ->type_name("FILE")
      ->group(group);
  command.add_option("--fallback", o.fallback, "Treatment for sites that cannot take theirs")
      ->type_name("T")
      ->group(group);
  command.add_flag("--untie", o.untie, "Let a tied lm_head differ from the embedding")
      ->group(group);
}

void addPlanOptions(CLI::App &command, CompileArguments &arguments) {
  CompileOptions &o = arguments.options;
  const char *group = "Plan";
  command
      .add_option("--target", o.target,
                  "Processor: cpu[:CPU][+feature], aarch64-linux:neoverse-v1, ...; "
                  "`qplan targets` lists them (default: this machine)")
      ->type_name("TARGET")
      ->group(group);
  addCacheOptions(command, o, group);
  command.add_option("--name", o.name, "Prefix of the emitted symbols (default: model)")
      ->type_name("NAME")
      ->group(group);
  command
      .add_flag("--qdq", o.qdq,
                "Compile the quantize-dequantize form in f32: the reference of the plan")
      ->group(group);
  const char *work = "Work";
  command
      .add_option("--threads", o.threads, "Threads to compile with (default: the cores allowed)")
      ->type_name("N")
      ->check(CLI::Range(1u, 4096u))
      ->group(work);
  command.add_option("--dump-ir", o.dumpDirectory, "Write the IR after each stage to DIR")
      ->type_name("DIR")
      ->group(work);
  command
      .add_option("--emit", arguments.emit,
                  "Stop at a stage and print it: qp, recipe, plan, llvm, asm, obj")
      ->type_name("STAGE")
      ->check(CLI::IsMember({"qp", "recipe", "plan", "llvm", "asm", "obj"}))
      ->group(work);
  command.add_flag("--json", arguments.json, "Print the summary as one JSON object")->group(work);
}

} // namespace

void addCompileCommand(CLI::App &app, Action &action) {
  CLI::App *command = app.add_subcommand("compile", "Compile a checkpoint into a plan");
  command->footer(
      "Examples:\n"
      "  qplan compile ./model -o m.qplan                       keep the stored formats\n"
      "  qplan compile ./model -o m.qplan --quant int8a8        one treatment everywhere\n"
      "  qplan compile model.gguf -o m.qplan --auto int4_g64@mse,int8a8 \\\n"
      "        --effective-bits 4.8 --calib text.txt            search a mix\n"
      "A treatment is weights[aACTIVATIONS][@METHOD][{option=value}]; `qplan formats` "
      "lists the weights.");
  auto arguments = std::make_shared<CompileArguments>();
  command
      ->add_option("MODEL", arguments->options.model,
                   "Checkpoint: a Hugging Face folder or a GGUF file")
      ->required();
  command->add_option("-o,--output", arguments->options.output, "Plan to write, or FILE of --emit")
      ->type_name("FILE");
  addTreatmentOptions(*command, *arguments);
  addCalibrationOptions(*command, arguments->options);
  addPlanOptions(*command, *arguments);
  command->callback([&action, arguments] { action = [arguments] { return compile(*arguments); }; });
}

} // namespace qplan

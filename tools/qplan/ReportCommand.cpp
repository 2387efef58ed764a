//===- ReportCommand.cpp - qplan report -----------------------------------===//
//
// Gathers what is known of a plan, measures what was asked for, and writes the page. What a
// plan carries (its manifest, its search) costs nothing; text, timing and the checkpoint are
// read only where an option names them.
//
//===----------------------------------------------------------------------===//

#include "codegen/driver/Compiler.h"
#include "ir/Failure.h"
#include "tools/qplan/CommandLine.h"
#include "tools/qplan/LoadedPlan.h"
#include "tools/qplan/Measure.h"
#include "tools/qplan/Output.h"
#include "tools/qplan/StageProgress.h"
#include "tools/qplan/report/ReportData.h"

#include <llvm/ADT/StringExtras.h>
#include <llvm/Support/FileSystem.h>
#include <llvm/Support/Path.h>

namespace qplan {
namespace {

/// Windows that both forms are run on: errors of sums are the same everywhere.
constexpr int64_t comparedWindows = 2;

struct ReportArguments {
  std::string plan, output, front;
  EvalArguments eval;
  BenchArguments bench;
  CompileOptions compile; ///< of the comparison of forms; its model may be empty
  bool timed = false;
};

/// "m.qplan" of "runs/m.qplan/": pages hold no paths of the machine that made them.
std::string baseName(llvm::StringRef path) {
  while (path.size() > 1 && path.ends_with("/"))
    path = path.drop_back();
  llvm::StringRef name = llvm::sys::path::filename(path);
  return name.empty() ? path.str() : name.str();
}

llvm::Error readSearch(const ReportArguments &arguments, ReportData &data) {
  std::string path = arguments.front.empty() ? arguments.plan + "/search.json" : arguments.front;
  if (arguments.front.empty() && !llvm::sys::fs::exists(path))
    return llvm::Error::success();
  auto front = readFront(path);
  if (!front)
    return front.takeError();
  if (auto error = front->checkModel(textOr(data.manifest, "checkpoint"), path))
    return error;
  data.chosen = chosenPoint(*front, data.sites, textOr(data.manifest, "kv_cache"));
  data.front = std::move(*front);
  return llvm::Error::success();
}

llvm::Error score(EvalArguments arguments, ReportData &data) {
  data.textName = baseName(arguments.text);
  auto scored = evaluatePlan(arguments);
  if (!scored)
    return scored.takeError();
  data.eval = std::move(*scored);
  if (arguments.reference.empty())
    return llvm::Error::success();
  data.referenceName = baseName(arguments.reference);
  arguments.plan = std::exchange(arguments.reference, "");
  auto reference = evaluatePlan(arguments);
  if (!reference)
    return reference.takeError();
  data.referenceEval = std::move(*reference);
  return llvm::Error::success();
}

/// Compiles the plan's recipe again, in both forms, and runs them.
llvm::Error compareForms(const ReportArguments &arguments, ReportData &data) {
  CompileOptions options = arguments.compile;
  options.recipe = arguments.plan + "/recipe.txt";
  options.kvCache = textOr(data.manifest, "kv_cache");
  auto recipe = readRecipe(options.recipe);
  if (!recipe)
    return recipe.takeError();
  if (!recipe->header.scopes.empty())
    options.sites = llvm::join(recipe->header.scopes, "+");
  StageProgress progress(/*json=*/false);
  auto compiler = Compiler::create(options, progress.sink());
  if (!compiler)
    return compiler.takeError();
  auto forms = (*compiler)->compareForms(
      arguments.eval.text.empty() ? options.calibration : arguments.eval.text, comparedWindows);
  progress.finish();
  if (!forms)
    return forms.takeError();
  data.forms = std::move(*forms);
  return llvm::Error::success();
}

llvm::Error checkArguments(const ReportArguments &a) {
  if (!a.eval.reference.empty() && a.eval.text.empty())
    return usageError("--reference needs --text FILE: the text to compare on");
  if (!a.compile.model.empty() && a.eval.text.empty() && a.compile.calibration.empty())
    return usageError("--model needs --text FILE or --calib FILE: the text to run both forms on");
  if (a.compile.model.empty() && !a.compile.calibration.empty())
    return usageError("--calib is for --model MODEL: the checkpoint to compile again");
  return llvm::Error::success();
}

llvm::Error report(const ReportArguments &arguments) {
  if (auto error = checkArguments(arguments))
    return error;
  ReportData data;
  data.name = baseName(arguments.plan);
  auto manifest = readManifest(arguments.plan);
  if (!manifest)
    return manifest.takeError();
  data.manifest = std::move(*manifest);
  auto sites = reportSites(data.manifest, arguments.plan);
  if (!sites)
    return sites.takeError();
  data.sites = std::move(*sites);
  uint64_t bytes = 0;
  if (auto code = llvm::sys::fs::file_size(arguments.plan + "/weights.bin", bytes))
    return machineError("{}/weights.bin: {}", arguments.plan, code.message());
  data.weightBytes = double(bytes);
  if (auto error = readSearch(arguments, data))
    return error;
  if (!arguments.compile.model.empty())
    if (auto error = compareForms(arguments, data))
      return error;
  if (!arguments.eval.text.empty())
    if (auto error = score(arguments.eval, data))
      return error;
  if (arguments.timed) {
    auto timed = benchPlan(arguments.bench);
    if (!timed)
      return timed.takeError();
    data.bench = std::move(*timed);
  }
  auto page = writeReportPage(data);
  if (!page)
    return page.takeError();
  if (auto error = writeFileWhole(arguments.output, *page))
    return error;
  print(fmt::format("{}: {}\n", arguments.output, sizeText(page->size())));
  return llvm::Error::success();
}

void addMeasurementOptions(CLI::App &command, ReportArguments &a) {
  const char *group = "Measure";
  command.add_option("--text", a.eval.text, "Score the plan on this text")
      ->type_name("FILE")
      ->group(group);
  command
      .add_option("--reference", a.eval.reference,
                  "Plan to compare with on the text, usually compiled with --quant f32")
      ->type_name("PLAN")
      ->group(group);
  command.add_option("--windows", a.eval.windows, "Windows of 512 tokens to score (default 32)")
      ->type_name("N")
      ->check(CLI::Range(int64_t(1), int64_t(1) << 40))
      ->group(group);
  command.add_flag("--bench", a.timed, "Time prefill of 512 and decode of 128 tokens")
      ->group(group);
  command.add_option("-b,--batch", a.bench.batch, "Sequences at once when timing (default 1)")
      ->type_name("N")
      ->check(CLI::Range(int64_t(1), int64_t(4096)))
      ->group(group);
  command.add_option("--threads", a.bench.threads, "Threads (default: the cores allowed)")
      ->type_name("N")
      ->check(CLI::Range(1, 4096))
      ->group(group);
}

void addModelOptions(CLI::App &command, CompileOptions &o) {
  const char *group = "Layer errors";
  command
      .add_option("--model", o.model,
                  "The plan's checkpoint: run its recipe in both forms and compare each layer")
      ->type_name("MODEL")
      ->group(group);
  command.add_option("--calib", o.calibration, "Text that the plan was calibrated with")
      ->type_name("FILE")
      ->group(group);
  command.add_option("--calib-samples", o.samples, "Samples of that text")
      ->type_name("N")
      ->check(CLI::Range(int64_t(1), int64_t(1) << 24))
      ->group(group);
  command.add_option("--calib-length", o.length, "Tokens of a sample")
      ->type_name("N")
      ->check(CLI::Range(int64_t(2), int64_t(1) << 20))
      ->group(group);
  command.add_option("--statistics", o.statistics, "Statistics file of the plan's compilation")
      ->type_name("FILE")
      ->group(group);
}

} // namespace

void addReportCommand(CLI::App &app, Action &action) {
  CLI::App *command =
      app.add_subcommand("report", "Write a page that shows a plan and how it was chosen");
  command->footer(
      "Examples:\n"
      "  qplan report m.qplan -o report.html                    what the plan knows of itself\n"
      "  qplan report m.qplan -o report.html --text wiki.txt --reference f32.qplan --bench\n"
      "  qplan report m.qplan -o report.html --model ./model --text wiki.txt --calib calib.txt\n"
      "The page is one file with its pictures inside; it opens without network and prints.");
  auto a = std::make_shared<ReportArguments>();
  a->eval.windows = 32;
  command->add_option("PLAN", a->plan, "The plan (m.qplan)")->required();
  command->add_option("-o,--output", a->output, "Page to write (report.html)")
      ->type_name("FILE")
      ->required();
  command
      ->add_option("--front", a->front,
                   "Front of a search (default: the one that the plan carries)")
      ->type_name("FILE");
  addMeasurementOptions(*command, *a);
  addModelOptions(*command, a->compile);
  command->callback([&action, a] {
    action = [a] {
      a->eval.plan = a->bench.plan = a->plan;
      a->eval.threads = a->bench.threads;
      a->compile.threads = unsigned(a->bench.threads);
      return report(*a);
    };
  });
}

} // namespace qplan

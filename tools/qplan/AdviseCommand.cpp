//===- AdviseCommand.cpp - qplan advise -----------------------------------===//
//
// Measures a short list of treatments on the model itself: each is compiled into a scratch
// folder, scored against the f32 plan on text that did not calibrate it, and timed at the
// batch. Targets that are not this machine are answered from the best-practice table, which
// the answer says.
//
//===----------------------------------------------------------------------===//

#include "codegen/driver/Compiler.h"
#include "codegen/package/InterruptCleanup.h"
#include "ir/Failure.h"
#include "passes/search/Treatment.h"
#include "tools/qplan/Advice.h"
#include "tools/qplan/CommandLine.h"
#include "tools/qplan/LoadedPlan.h"
#include "tools/qplan/Measure.h"
#include "tools/qplan/Output.h"
#include "tools/qplan/StageProgress.h"

#include <llvm/Support/FileSystem.h>
#include <llvm/Support/Path.h>

namespace qplan {
namespace {

/// One of each kind of the best-practice table, in formats that CPUs have kernels for.
constexpr const char *usualTreatments =
    "bf16,int8,int8a8,int8a8@smoothquant,int4_g64,int4_g32_asym@awq,int4_g32_asym@gptq,"
    "int4_g32a8@gptq,w4a8@awq";

struct AdviseArguments {
  CompileOptions compile;
  std::string treatments = usualTreatments, accuracy = "high";
  int64_t batch = 1, window = 256, windows = 4;
  bool json = false;
};

/// A folder for plans that goes away with everything in it, also on an interrupt.
class ScratchFolder {
public:
  static llvm::Expected<std::unique_ptr<ScratchFolder>> create() {
    llvm::SmallString<128> prefix;
    llvm::sys::path::system_temp_directory(/*ErasedOnReboot=*/true, prefix);
    llvm::sys::path::append(prefix, "qplan-advise");
    auto folder = std::make_unique<ScratchFolder>();
    if (auto code = llvm::sys::fs::createUniqueDirectory(prefix, folder->root))
      return machineError("cannot make a folder {}: {}; set TMPDIR to one with room",
                          prefix.str().str(), code.message());
    folder->tokens.push_back(registerCleanup(folder->root, /*directory=*/true));
    return folder;
  }

  ~ScratchFolder() {
    if (!root.empty())
      llvm::sys::fs::remove_directories(root, /*IgnoreErrors=*/true);
    for (int token : tokens)
      unregisterCleanup(token);
  }

  std::string path(llvm::StringRef name) const { return (root + "/" + name).str(); }

  void keepTrackOfFile(const std::string &file) {
    tokens.push_back(registerCleanup(file, /*directory=*/false));
  }

  /// Registers what a finished plan consists of.
  void keepTrackOf(const std::string &plan) {
    std::error_code code;
    tokens.push_back(registerCleanup(plan, /*directory=*/true));
    for (llvm::sys::fs::directory_iterator i(plan, code), end; !code && i != end; i.increment(code))
      keepTrackOfFile(i->path());
  }

private:
  llvm::SmallString<128> root;
  std::vector<int> tokens;
};

/// Compiles and measures candidates of one model.
class Measurement {
public:
  Measurement(const AdviseArguments &arguments, ScratchFolder &folder)
      : arguments(arguments), folder(folder) {}

  /// Halves the text, at the start of a line where there is one: the first half calibrates,
  /// the second scores.
  llvm::Error splitText() {
    auto text = readTextFile(arguments.compile.calibration);
    if (!text)
      return text.takeError();
    size_t middle = text->find('\n', text->size() / 2);
    middle = middle == std::string::npos ? text->size() / 2 : middle + 1;
    if (auto error = writeFileWhole(calibration(), llvm::StringRef(*text).take_front(middle)))
      return error;
    folder.keepTrackOfFile(calibration());
    if (auto error = writeFileWhole(heldBack(), llvm::StringRef(*text).drop_front(middle)))
      return error;
    folder.keepTrackOfFile(heldBack());
    return llvm::Error::success();
  }

  llvm::Error compileReference() { return compile("f32", reference()); }

  llvm::Expected<AdviceCandidate> measure(const std::string &treatment) {
    const std::string plan = folder.path("candidate.qplan");
    if (auto error = compile(treatment, plan))
      return std::move(error);
    EvalArguments eval;
    eval.plan = plan;
    eval.reference = reference();
    eval.text = heldBack();
    eval.window = arguments.window;
    eval.windows = arguments.windows;
    eval.threads = int(arguments.compile.threads);
    eval.json = true;
    auto scored = evaluatePlan(eval);
    if (!scored)
      return scored.takeError();
    BenchArguments bench;
    bench.plan = plan;
    bench.prefill = 256;
    bench.decode = 32;
    bench.batch = arguments.batch;
    bench.repetitions = 2;
    bench.threads = eval.threads;
    bench.json = true;
    auto timed = benchPlan(bench);
    if (!timed)
      return timed.takeError();
    auto manifest = readManifest(plan);
    if (!manifest)
      return manifest.takeError();
    return AdviceCandidate{treatment, numberOr(*manifest, "effective_bits", 0),
                           numberOr(*scored, "kl_mean", 0),
                           numberOr(*timed, "decode_tokens_per_s", 0),
                           numberOr(*timed, "prefill_tokens_per_s", 0)};
  }

private:
  std::string reference() const { return folder.path("reference.qplan"); }
  std::string calibration() const { return folder.path("calibration.txt"); }
  std::string heldBack() const { return folder.path("held-back.txt"); }

  llvm::Error compile(const std::string &treatment, const std::string &output) {
    CompileOptions options = arguments.compile;
    options.quant = treatment;
    options.calibration = calibration();
    options.output = output;
    StageProgress progress(arguments.json);
    auto compiler = Compiler::create(options, progress.sink());
    if (!compiler)
      return compiler.takeError();
    auto done = (*compiler)->run(EmitStage::Package);
    progress.finish();
    if (!done)
      return done.takeError();
    folder.keepTrackOf(output);
    return llvm::Error::success();
  }

  const AdviseArguments &arguments;
  ScratchFolder &folder;
};

std::string compileCommand(const AdviseArguments &arguments, const std::string &treatment) {
  bool plain = llvm::StringRef(treatment).find_first_of("@a") == llvm::StringRef::npos;
  return fmt::format("qplan compile {} -o m.qplan --quant {}{}", arguments.compile.model, treatment,
                     plain ? "" : " --calib " + arguments.compile.calibration);
}

void printMeasured(const AdviseArguments &arguments, const std::vector<AdviceCandidate> &all,
                   const Advice &advice) {
  print(fmt::format("{:<24} {:>6} {:>10} {:>12} {:>13} {:>9}\n", "treatment", "bits", "KL, nats",
                    "decode tok/s", "prefill tok/s", "request s"));
  for (size_t i = 0; i < all.size(); ++i)
    print(fmt::format("{:<24} {:>6.2f} {:>10.3g} {:>12.1f} {:>13.1f} {:>9.3g}{}\n",
                      all[i].treatment, all[i].bits, all[i].kl, all[i].decodeRate,
                      all[i].prefillRate,
                      all[i].seconds(arguments.batch, advicePrompt, adviceAnswer),
                      i == advice.choice ? "  <" : ""));
  print(fmt::format("\nTake {}: {}.\n  {}\n", all[advice.choice].treatment, advice.why,
                    compileCommand(arguments, all[advice.choice].treatment)));
}

nlohmann::ordered_json measuredJson(const AdviseArguments &arguments,
                                    const std::vector<AdviceCandidate> &all,
                                    const Advice &advice) {
  nlohmann::ordered_json out = {{"recommended", all[advice.choice].treatment},
                                {"measured", true},
                                {"within_accuracy", advice.within},
                                {"accuracy", arguments.accuracy},
                                {"batch", arguments.batch},
                                {"why", advice.why},
                                {"command", compileCommand(arguments,
                                                           all[advice.choice].treatment)},
                                {"candidates", nlohmann::ordered_json::array()}};
  for (const AdviceCandidate &each : all)
    out["candidates"].push_back(
        {{"treatment", each.treatment},
         {"effective_bits", each.bits},
         {"kl_mean", each.kl},
         {"decode_tokens_per_s", each.decodeRate},
         {"prefill_tokens_per_s", each.prefillRate},
         {"request_seconds", each.seconds(arguments.batch, advicePrompt, adviceAnswer)}});
  return out;
}

llvm::Error adviseMeasured(const AdviseArguments &arguments, const AccuracyClass &accuracy) {
  if (arguments.compile.calibration.empty())
    return usageError("--calib is missing: give a text to calibrate and to score candidates with");
  auto list = parseTreatmentList(arguments.treatments);
  if (!list)
    return list.takeError();
  auto folder = ScratchFolder::create();
  if (!folder)
    return folder.takeError();
  Measurement measurement(arguments, **folder);
  if (auto error = measurement.splitText())
    return error;
  if (auto error = measurement.compileReference())
    return error;
  std::vector<AdviceCandidate> all;
  for (const Treatment &treatment : *list) {
    auto candidate = measurement.measure(printTreatment(treatment));
    if (!candidate)
      return candidate.takeError();
    all.push_back(std::move(*candidate));
  }
  Advice advice = advise(all, accuracy, arguments.batch);
  if (arguments.json)
    printJson(measuredJson(arguments, all, advice));
  else
    printMeasured(arguments, all, advice);
  return llvm::Error::success();
}

/// For a GPU: nothing is measured, and the answer says so first.
llvm::Error adviseFromTable(const AdviseArguments &arguments, const AccuracyClass &accuracy,
                            int capability) {
  auto choice = practiceFor(capability, accuracy, arguments.batch);
  if (!choice)
    return usageError("--accuracy {}: no treatment of the best-practice table is that accurate on "
                      "{}; FP8 needs sm_89. Take --accuracy high",
                      accuracy.name, arguments.compile.target);
  const Practice &best = practices()[*choice];
  Grade gain = arguments.batch <= 4 ? best.smallBatch : best.largeBatch;
  std::string why = fmt::format("{}: {} gain in speed at batch {}, {} damage of accuracy",
                                best.gpuName, gradeName(gain), arguments.batch,
                                gradeName(best.damage));
  if (arguments.json) {
    nlohmann::ordered_json out = {{"recommended", best.treatment},
                                  {"measured", false},
                                  {"accuracy", arguments.accuracy},
                                  {"batch", arguments.batch},
                                  {"why", why},
                                  {"candidates", nlohmann::ordered_json::array()}};
    for (const Practice &each : practices())
      out["candidates"].push_back({{"treatment", each.treatment},
                                   {"name", each.gpuName},
                                   {"gain_small_batch", gradeName(each.smallBatch)},
                                   {"gain_large_batch", gradeName(each.largeBatch)},
                                   {"damage", gradeName(each.damage)},
                                   {"runs_here", each.leastCapability <= capability}});
    printJson(out);
    return llvm::Error::success();
  }
  print(fmt::format("Not measured: {} is not this machine. From TensorRT-LLM's best-practice "
                    "table:\n\n{:<20} {:<25} {:>10} {:>10} {:>10}\n",
                    arguments.compile.target, "treatment", "known as", "batch <= 4", "batch >= 16",
                    "damage"));
  for (size_t i = 0; i < practices().size(); ++i) {
    const Practice &each = practices()[i];
    print(fmt::format("{:<20} {:<25} {:>10} {:>10} {:>10}{}\n", each.treatment, each.gpuName,
                      gradeName(each.smallBatch), gradeName(each.largeBatch),
                      gradeName(each.damage),
                      i == *choice                         ? "  <"
                      : each.leastCapability > capability ? "  (not on this GPU)"
                                                          : ""));
  }
  print(fmt::format("\nTake {}: {}.\n", best.treatment, why));
  return llvm::Error::success();
}

llvm::Error advise(const AdviseArguments &arguments) {
  auto accuracy = accuracyClass(arguments.accuracy);
  if (!accuracy)
    return accuracy.takeError();
  auto capability = cudaCapability(arguments.compile.target);
  if (!capability)
    return capability.takeError();
  if (*capability)
    return adviseFromTable(arguments, *accuracy, **capability);
  if (arguments.compile.target != "cpu")
    return usageError("--target {}: speed is measured on this machine; give cpu, or cuda:sm_NN for "
                      "what is known without measuring",
                      arguments.compile.target);
  return adviseMeasured(arguments, *accuracy);
}

} // namespace

void addAdviseCommand(CLI::App &app, Action &action) {
  CLI::App *command =
      app.add_subcommand("advise", "Recommend a treatment for a model, a batch and a target");
  command->footer(
      "Examples:\n"
      "  qplan advise ./model --calib text.txt                        one request at a time\n"
      "  qplan advise ./model --calib text.txt --batch 8 --accuracy lossless\n"
      "  qplan advise ./model --batch 64 --target cuda:sm_90a         from a table\n"
      "Accuracy is the most KL divergence from the f32 plan: lossless 0.002, high 0.02,\n"
      "medium 0.1 nats, any. Speed is the time of requests of 512 + 128 tokens at the batch.");
  auto a = std::make_shared<AdviseArguments>();
  CompileOptions &o = a->compile;
  o.samples = 32;
  o.length = 256;
  command->add_option("MODEL", o.model, "Checkpoint: a Hugging Face folder or a GGUF file")
      ->required();
  command->add_option("-b,--batch", a->batch, "Sequences at once (default 1)")
      ->type_name("N")
      ->check(CLI::Range(int64_t(1), int64_t(4096)));
  command->add_option("--target", o.target, "cpu: this machine (default), or cuda:sm_NN")
      ->type_name("TARGET");
  command->add_option("--accuracy", a->accuracy, "lossless, high (default), medium or any")
      ->type_name("CLASS");
  command->add_option("--treatments", a->treatments, "Treatments to measure (default: one a kind)")
      ->type_name("T,T,...");
  command->add_option("--calib", o.calibration, "Text to calibrate and to score with")
      ->type_name("FILE");
  command->add_option("--windows", a->windows, "Windows of 256 tokens to score (default 4)")
      ->type_name("N")
      ->check(CLI::Range(int64_t(1), int64_t(1) << 20));
  command->add_option("--threads", o.threads, "Threads (default: the cores allowed)")
      ->type_name("N")
      ->check(CLI::Range(1u, 4096u));
  command->add_flag("--json", a->json, "Print one JSON object");
  command->callback([&action, a] { action = [a] { return advise(*a); }; });
}

} // namespace qplan

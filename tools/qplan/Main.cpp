//===- Main.cpp - the driver `qplan` --------------------------------------===//
//
// Puts the commands together, runs the one that was asked for and turns its error
// into the exit status that the command line promises.
//
//===----------------------------------------------------------------------===//

#include "codegen/package/InterruptCleanup.h"
#include "ir/Failure.h"
#include "tools/qplan/CommandLine.h"
#include "tools/qplan/Output.h"

#include <csignal>
#include <exception>
#include <new>

namespace {

constexpr const char *about =
    "qplan compiles checkpoints of language models into plans: packed quantized weights with\n"
    "native code, which it also runs, scores and times.";

constexpr const char *examples = R"(Examples:
  qplan compile ./SmolLM2-135M -o smol.qplan --quant int4_g64
  qplan compile ./SmolLM2-135M -o smol.qplan --auto w4a8@awq,fp8 --effective-bits 4.8 --calib text.txt
  qplan search  ./SmolLM2-135M -o front.json --calib text.txt
  qplan run     smol.qplan --prompt "The capital of France is" -n 64
  qplan eval    smol.qplan --text wiki.txt
  qplan bench   smol.qplan -p 512 -n 128
  qplan inspect smol.qplan
  qplan report  smol.qplan -o report.html

`qplan COMMAND --help` explains a command. Exit status: 0 done, 1 the input is at fault,
2 wrong usage, 3 a defect of qplan, 4 the machine failed, 130 interrupted.)";

int runTool(int argc, char **argv) {
  CLI::App app(about, "qplan");
  app.footer(examples);
  app.set_version_flag("--version", "qplan " QPLAN_VERSION, "Print the version and exit");
  app.set_help_flag("-h,--help", "Print this help and exit");
  app.require_subcommand(1);
  auto formatter = std::make_shared<qplan::PlainFormatter>();
  formatter->column_width(32);
  app.formatter(formatter);
  qplan::Action action;
  qplan::addCompileCommand(app, action);
  qplan::addSearchCommand(app, action);
  qplan::addRunCommand(app, action);
  qplan::addEvalCommand(app, action);
  qplan::addLogitsCommand(app, action);
  qplan::addBenchCommand(app, action);
  qplan::addInspectCommand(app, action);
  qplan::addAdviseCommand(app, action);
  qplan::addReportCommand(app, action);
  qplan::addListCommands(app, action);
  if (auto status = qplan::parseCommandLine(app, argc, argv))
    return *status;
  if (auto error = action())
    return int(qplan::reportError(std::move(error)));
  if (auto error = qplan::flushOutput())
    return int(qplan::reportError(std::move(error)));
  return 0;
}

} // namespace

int main(int argc, char **argv) {
  qplan::installInterruptHandler();
  // A reader that went away (`| head`) is reported as a failed write, not as a signal.
  std::signal(SIGPIPE, SIG_IGN);
  try {
    return runTool(argc, argv);
  } catch (const std::bad_alloc &) {
    return int(qplan::reportError(qplan::machineError("out of memory")));
  } catch (const std::exception &error) {
    return int(qplan::reportError(qplan::defectError("unexpected exception: {}", error.what())));
  }
}

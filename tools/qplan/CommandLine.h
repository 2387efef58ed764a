//===- CommandLine.h - how commands register themselves ---------*- C++ -*-===//
//
// Each command is one file with one `addX` function: it declares its options and, when it
// was chosen, hands its work to main as an Action. Only this folder includes
// CLI11, whose exceptions end in parseCommandLine.
//
//===----------------------------------------------------------------------===//
#ifndef QPLAN_TOOLS_QPLAN_COMMANDLINE_H
#define QPLAN_TOOLS_QPLAN_COMMANDLINE_H

#include <CLI/CLI.hpp>
#include <functional>
#include <llvm/Support/Error.h>
#include <optional>

namespace qplan {

/// The work of the command that was chosen; set while parsing, run afterwards.
using Action = std::function<llvm::Error()>;

/// Adds one command to `app`; `action` must outlive it.
void addCompileCommand(CLI::App &app, Action &action);
void addSearchCommand(CLI::App &app, Action &action);
void addRunCommand(CLI::App &app, Action &action);
void addEvalCommand(CLI::App &app, Action &action);
void addLogitsCommand(CLI::App &app, Action &action);
void addBenchCommand(CLI::App &app, Action &action);
void addInspectCommand(CLI::App &app, Action &action);
void addAdviseCommand(CLI::App &app, Action &action);
void addReportCommand(CLI::App &app, Action &action);
/// formats, targets, models
void addListCommands(CLI::App &app, Action &action);

/// Help that names values by what they are (FILE, N), without types and ranges.
class PlainFormatter : public CLI::Formatter {
public:
  std::string make_option_opts(const CLI::Option *option) const override;
};

/// Parses the arguments. Returns an exit status when there is nothing to run: 0 after
/// --help and --version, 2 for wrong usage, which it explains on stderr with the nearest
/// name that exists. Throws nothing.
std::optional<int> parseCommandLine(CLI::App &app, int argc, char **argv);

} // namespace qplan
#endif // QPLAN_TOOLS_QPLAN_COMMANDLINE_H

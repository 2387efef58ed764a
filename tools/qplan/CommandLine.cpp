//===- CommandLine.cpp - parsing, and what to say of wrong usage ----------===//

#include "tools/qplan/CommandLine.h"

#include <fmt/format.h>
#include <llvm/ADT/StringRef.h>

#include <cstdio>

namespace qplan {
namespace {

int wrongUsage(const std::string &message) {
  fmt::print(stderr, "qplan: error: {}\n", message);
  return 2;
}

/// The name nearest to `wrong`, if one is near enough to be what was meant.
std::string nearestName(llvm::StringRef wrong, const std::vector<std::string> &names) {
  std::string best;
  unsigned bestDistance = std::max<unsigned>(2, unsigned(wrong.size()) / 2) + 1;
  for (const std::string &name : names) {
    // An option cut short is meant more often than one that is a letter away.
    bool begins = wrong.size() >= 4 && llvm::StringRef(name).starts_with(wrong);
    unsigned distance = begins ? 1 : wrong.edit_distance(name, /*AllowReplacements=*/true);
    if (distance < bestDistance) {
      best = name;
      bestDistance = distance;
    }
  }
  return best;
}

std::vector<std::string> optionNames(const CLI::App &command) {
  std::vector<std::string> names;
  for (const CLI::Option *option : command.get_options()) {
    for (const std::string &name : option->get_lnames())
      names.push_back("--" + name);
    for (const std::string &name : option->get_snames())
      names.push_back("-" + name);
  }
  return names;
}

std::vector<std::string> commandNames(const CLI::App &app) {
  std::vector<std::string> names;
  for (const CLI::App *command : app.get_subcommands({}))
    names.push_back(command->get_name());
  return names;
}

/// The command that was chosen, or the program.
const CLI::App &chosen(const CLI::App &app) {
  auto parsed = app.get_subcommands();
  return parsed.empty() ? app : *parsed.front();
}

int explainExtras(const CLI::App &app) {
  const CLI::App &command = chosen(app);
  std::string name = &command == &app ? "qplan" : "qplan " + command.get_name();
  std::vector<std::string> left = app.remaining(/*recurse=*/true);
  for (const std::string &argument : left) {
    if (!llvm::StringRef(argument).starts_with("-"))
      continue;
    std::string option = argument.substr(0, argument.find('='));
    std::string near = nearestName(option, optionNames(command));
    return wrongUsage(fmt::format("{}: unknown option {}{}; `{} --help` lists the options", name,
                                  option, near.empty() ? "" : "; did you mean " + near + "?",
                                  name));
  }
  return wrongUsage(fmt::format("{}: unexpected argument `{}`; `{} --help` shows the usage", name,
                                left.empty() ? "" : left.front(), name));
}

} // namespace

std::string PlainFormatter::make_option_opts(const CLI::Option *option) const {
  if (option->get_items_expected_max() == 0)
    return {};
  std::string type = option->get_type_name();
  // Behind a colon CLI11 puts what is checked; the description says it in words.
  type = type.substr(0, type.find(':'));
  if (option->get_positional())
    return {};
  return " " + (type.empty() ? "VALUE" : type);
}

std::optional<int> parseCommandLine(CLI::App &app, int argc, char **argv) {
  if (argc < 2) {
    fmt::print(stderr, "{}", app.help());
    return 2;
  }
  llvm::StringRef first = argv[1];
  std::vector<std::string> commands = commandNames(app);
  if (!first.starts_with("-") &&
      std::find(commands.begin(), commands.end(), first) == commands.end()) {
    std::string near = nearestName(first, commands);
    return wrongUsage(fmt::format("there is no command `{}`{}; `qplan --help` lists the commands",
                                  first.str(),
                                  near.empty() ? "" : "; did you mean `" + near + "`?"));
  }
  try {
    app.parse(argc, argv);
    return std::nullopt;
  } catch (const CLI::Success &success) {
    // --help and --version: CLI11 knows what to print.
    return app.exit(success);
  } catch (const CLI::ExtrasError &) {
    return explainExtras(app);
  } catch (const CLI::ParseError &error) {
    const CLI::App &command = chosen(app);
    // An argument that nothing takes explains a missing one better than its absence.
    for (const std::string &argument : app.remaining(/*recurse=*/true))
      if (argument.size() > 1 && argument[0] == '-')
        return explainExtras(app);
    std::string name = &command == &app ? "qplan" : "qplan " + command.get_name();
    return wrongUsage(fmt::format("{}: {}; `{} --help` shows the usage", name, error.what(), name));
  } catch (const std::exception &error) {
    fmt::print(stderr, "qplan: error: the command line cannot be read: {}\n", error.what());
    return 3;
  }
}

} // namespace qplan

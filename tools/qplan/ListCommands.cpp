//===- ListCommands.cpp - qplan formats, targets, models ------------------===//
//
// What this build knows, read off the same tables that the compiler uses.
//
//===----------------------------------------------------------------------===//

#include "codegen/cpu/Target.h"
#include "ir/Formats.h"
#include "ir/models/Architecture.h"
#include "tools/qplan/CommandLine.h"
#include "tools/qplan/Output.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

namespace qplan {
namespace {

llvm::Error listFormats(bool json) {
  print(json ? formatsJson() : formatsTable());
  return llvm::Error::success();
}

llvm::Error listAllTargets(bool json) {
  std::vector<TargetListing> targets = listTargets();
  if (json) {
    nlohmann::ordered_json rows = nlohmann::ordered_json::array();
    for (const TargetListing &target : targets)
      rows.push_back({{"name", target.name}, {"kernels", target.kernelLevel}});
    printJson({{"host", targets.empty() ? "" : targets.front().name}, {"targets", rows}});
    return llvm::Error::success();
  }
  print(fmt::format("{:<40} {}\n", "target", "kernels"));
  for (size_t i = 0; i < targets.size(); ++i)
    print(fmt::format("{:<40} {}{}\n", targets[i].name, targets[i].kernelLevel,
                      i == 0 ? "   (this machine)" : ""));
  return llvm::Error::success();
}

llvm::Error listModels(bool json) {
  nlohmann::ordered_json rows = nlohmann::ordered_json::array();
  if (!json)
    print(fmt::format("{:<12} {:<34} {}\n", "model", "model_type", ""));
  for (const Architecture *architecture : architectures()) {
    std::vector<std::string> types, gguf;
    for (llvm::StringRef type : architecture->modelTypes)
      types.push_back(type.str());
    for (llvm::StringRef type : architecture->ggufNames)
      gguf.push_back(type.str());
    if (!json)
      print(fmt::format("{:<12} {:<34} {}\n", architecture->name.str(),
                        fmt::format("{}", fmt::join(types, ", ")), architecture->summary.str()));
    rows.push_back({{"name", architecture->name.str()},
                    {"model_types", types},
                    {"gguf", gguf},
                    {"summary", architecture->summary.str()}});
  }
  if (json)
    printJson({{"models", rows}});
  return llvm::Error::success();
}

void addList(CLI::App &app, Action &action, const char *name, const char *about,
             llvm::Error (*list)(bool)) {
  CLI::App *command = app.add_subcommand(name, about);
  auto json = std::make_shared<bool>(false);
  command->add_flag("--json", *json, "Print one JSON object");
  command->callback([&action, list, json] { action = [list, json] { return list(*json); }; });
}

} // namespace

void addListCommands(CLI::App &app, Action &action) {
  addList(app, action, "formats", "List the formats that weights, activations and caches can have",
          listFormats);
  addList(app, action, "targets", "List the processors that plans can be compiled for",
          listAllTargets);
  addList(app, action, "models", "List the architectures that can be imported", listModels);
}

} // namespace qplan

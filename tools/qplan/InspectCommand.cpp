//===- InspectCommand.cpp - qplan inspect ---------------------------------===//
//
// What a plan or a checkpoint consists of: its sites with formats and sizes. A plan
// is read from its manifest, without loading its code; a checkpoint is imported.
//
//===----------------------------------------------------------------------===//

#include "ir/Failure.h"
#include "ir/QpDialect.h"
#include "ir/models/Architecture.h"
#include "passes/Sites.h"
#include "tools/qplan/CommandLine.h"
#include "tools/qplan/LoadedPlan.h"
#include "tools/qplan/Output.h"

#include <algorithm>
#include <mlir/Dialect/Func/IR/FuncOps.h>
#include <mlir/IR/MLIRContext.h>

namespace qplan {
namespace {

/// "x86_64-linux:znver5"
std::string targetText(const nlohmann::ordered_json &manifest) {
  if (!manifest.contains("target"))
    return {};
  const auto &target = manifest["target"];
  if (target.is_string())
    return target.get<std::string>();
  std::string cpu = textOr(target, "cpu");
  return textOr(target, "triple") + (cpu.empty() ? "" : ":" + cpu);
}

/// The promised fields of a plan.
llvm::Expected<nlohmann::ordered_json> inspectPlan(const std::string &path) {
  auto manifest = readManifest(path);
  if (!manifest)
    return manifest.takeError();
  nlohmann::ordered_json out;
  out["kind"] = "plan";
  for (const char *key : {"name", "architecture", "parameters", "effective_bits",
                          "effective_bits_modelopt", "effective_bits_scope"})
    if (manifest->contains(key))
      out[key] = (*manifest)[key];
  out["target"] = targetText(*manifest);
  for (const char *key : {"kv_cache", "rotate", "qplan_version", "vocabulary", "context", "layers",
                          "hidden", "form", "memory", "checkpoint", "license", "files", "sites"})
    if (manifest->contains(key))
      out[key] = (*manifest)[key];
  if (manifest->contains("target") && (*manifest)["target"].is_object())
    out["target_features"] =
        (*manifest)["target"].value("features", nlohmann::ordered_json::array());
  out["has_tokenizer"] =
      manifest->contains("files") && (*manifest)["files"].contains("tokenizer.json");
  return out;
}

/// One site of a checkpoint and its bits in both ways of counting.
struct StoredSite {
  nlohmann::ordered_json row;
  double elements = 0, bits = 0, modeloptBits = 0;
};

llvm::Expected<StoredSite> describeSite(const Site &site) {
  auto bytes = bytesFor(site.stored, site.rows, site.columns);
  if (!bytes)
    return bytes.takeError();
  auto bits = effectiveBits(site.stored, site.rows, site.columns);
  if (!bits)
    return bits.takeError();
  auto modelopt = modeloptBits(site.stored, site.rows, site.columns);
  if (!modelopt)
    return modelopt.takeError();
  StoredSite result;
  std::vector<int64_t> shape = {site.rows, site.columns};
  if (site.weightCount > 1)
    shape.insert(shape.begin(), int64_t(site.weightCount));
  result.row = {{"name", site.name},
                {"treatment", formatName(site.stored).str()},
                {"shape", shape},
                {"bits", *bits},
                {"bytes", *bytes * site.weightCount}};
  result.elements = double(site.elements());
  result.bits = *bits * result.elements;
  result.modeloptBits = *modelopt * result.elements;
  return result;
}

llvm::Expected<nlohmann::ordered_json> inspectCheckpoint(const std::string &path) {
  auto checkpoint = openCheckpoint(path);
  if (!checkpoint)
    return checkpoint.takeError();
  for (const std::string &warning : (*checkpoint)->warnings())
    fmt::print(stderr, "qplan: note: {}\n", warning);
  mlir::MLIRContext context(mlir::MLIRContext::Threading::DISABLED);
  context.loadDialect<qp::QpDialect, mlir::func::FuncDialect>();
  auto module = importModel(context, **checkpoint, ImportOptions());
  if (!module)
    return module.takeError();
  auto model = (**module)->getAttrOfType<mlir::DictionaryAttr>("qp.model");
  nlohmann::ordered_json out, sites = nlohmann::ordered_json::array();
  double elements = 0, bits = 0, modelopt = 0;
  for (const Site &site : collectSites(**module)) {
    auto stored = describeSite(site);
    if (!stored)
      return stored.takeError();
    sites.push_back(stored->row);
    if (!site.isLayer())
      continue;
    elements += stored->elements;
    bits += stored->bits;
    modelopt += stored->modeloptBits;
  }
  out["kind"] = "checkpoint";
  auto text = [&](const char *key) {
    auto attr = model ? model.getAs<mlir::StringAttr>(key) : mlir::StringAttr();
    return attr ? attr.getValue().str() : std::string();
  };
  auto number = [&](const char *key) {
    auto attr = model ? model.getAs<mlir::IntegerAttr>(key) : mlir::IntegerAttr();
    return attr ? attr.getInt() : int64_t(0);
  };
  out["architecture"] = text("architecture");
  out["parameters"] = number("parameters");
  out["effective_bits"] = elements > 0 ? bits / elements : 0.0;
  out["effective_bits_modelopt"] = elements > 0 ? modelopt / elements : 0.0;
  out["effective_bits_scope"] = "layers";
  // A checkpoint is for no machine and has no cache; the fields exist all the same.
  out["target"] = nullptr;
  out["kv_cache"] = nullptr;
  out["qplan_version"] = qplan_version();
  for (const char *key : {"vocabulary", "context", "layers", "hidden"})
    out[key] = number(key);
  out["checkpoint"] = (*checkpoint)->contentHash();
  out["sites"] = sites;
  out["has_tokenizer"] = (*checkpoint)->gguf() || !(*checkpoint)->tokenizerJsonPath().empty();
  return out;
}

std::string shapeText(const nlohmann::ordered_json &shape) {
  std::string text;
  for (const auto &extent : shape)
    text += (text.empty() ? "" : " x ") + std::to_string(extent.get<int64_t>());
  return text;
}

void printTable(const std::string &path, const nlohmann::ordered_json &facts) {
  auto line = [](const char *key, const std::string &value) {
    if (!value.empty())
      print(fmt::format("{:<16} {}\n", key, value));
  };
  line(textOr(facts, "kind").c_str(), path);
  line("architecture", textOr(facts, "architecture"));
  line("parameters", fmt::format("{:.2f} M", numberOr(facts, "parameters", 0) / 1e6));
  line("layers", fmt::format("{} of width {}", int64_t(numberOr(facts, "layers", 0)),
                             int64_t(numberOr(facts, "hidden", 0))));
  line("vocabulary", std::to_string(int64_t(numberOr(facts, "vocabulary", 0))));
  line("context", std::to_string(int64_t(numberOr(facts, "context", 0))));
  line("effective bits", fmt::format("{:.3f} in the layers ({:.3f} as ModelOpt counts)",
                                     numberOr(facts, "effective_bits", 0),
                                     numberOr(facts, "effective_bits_modelopt", 0)));
  line("target", textOr(facts, "target"));
  const auto &memory = facts.contains("memory") ? facts["memory"] : facts;
  line("kv cache", fmt::format("{}, {} bytes a token", textOr(facts, "kv_cache"),
                               int64_t(numberOr(memory, "kv_page_bytes", 0) /
                                       std::max(1.0, numberOr(memory, "kv_page_tokens", 0)))));
  line("rotated", textOr(facts, "rotate"));
  line("form", textOr(facts, "form"));
  line("qplan version", textOr(facts, "qplan_version"));
  std::string license = textOr(facts, "license");
  line("license", license.substr(0, license.find('\n')));
  print(fmt::format("\n{:<34} {:<24} {:>18} {:>8} {:>12}\n", "site", "treatment", "shape", "bits",
                    "bytes"));
  for (const auto &site : facts["sites"])
    print(fmt::format("{:<34} {:<24} {:>18} {:>8.3f} {:>12}\n", textOr(site, "name"),
                      textOr(site, "treatment"), shapeText(site["shape"]),
                      numberOr(site, "bits", 0), uint64_t(numberOr(site, "bytes", 0))));
}

llvm::Error inspect(const std::string &path, bool json) {
  auto facts = isPackage(path) ? inspectPlan(path) : inspectCheckpoint(path);
  if (!facts)
    return facts.takeError();
  if (!facts->contains("sites") || !(*facts)["sites"].is_array())
    return inputError("{}/manifest.json: has no list `sites`; compile the plan again", path);
  if (json)
    printJson(*facts);
  else
    printTable(path, *facts);
  return llvm::Error::success();
}

} // namespace

void addInspectCommand(CLI::App &app, Action &action) {
  CLI::App *command = app.add_subcommand("inspect", "Show what a plan or a checkpoint consists of");
  struct Arguments {
    std::string path;
    bool json = false;
  };
  auto arguments = std::make_shared<Arguments>();
  command
      ->add_option("MODEL", arguments->path,
                   "A plan (m.qplan), a Hugging Face folder or a GGUF file")
      ->required();
  command->add_flag("--json", arguments->json, "Print one JSON object");
  command->callback([&action, arguments] {
    action = [arguments] { return inspect(arguments->path, arguments->json); };
  });
}

} // namespace qplan

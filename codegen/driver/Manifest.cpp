//===- Manifest.cpp - what a package says of itself -----------------------===//
//
// manifest.json, model.h's facts and recipes, all read off the module.
//
//===----------------------------------------------------------------------===//

#include "codegen/driver/Calibrator.h"
#include "codegen/driver/Compiler.h"
#include "codegen/package/HeaderWriter.h"
#include "ir/Failure.h"
#include "ir/import/Gguf.h"
#include "passes/Sites.h"
#include "runtime/text/GgufVocabulary.h"

#include <llvm/ADT/StringExtras.h>
#include <llvm/Support/MemoryBuffer.h>

using namespace mlir;
using namespace qplan;

namespace {

int64_t detailInt(plan::WeightOp op, llvm::StringRef name, int64_t fallback) {
  auto details = op.getDetails();
  auto attr = details ? details->getAs<IntegerAttr>(name) : IntegerAttr();
  return attr ? attr.getInt() : fallback;
}

llvm::StringRef detailText(plan::WeightOp op, llvm::StringRef name) {
  auto details = op.getDetails();
  auto attr = details ? details->getAs<StringAttr>(name) : StringAttr();
  return attr ? attr.getValue() : llvm::StringRef();
}

} // namespace

ModelHeader qplan::headerOf(plan::ProgramOp program, const EmittedModel &emitted,
                            llvm::StringRef producer) {
  ModelHeader header;
  header.name = emitted.name;
  header.producer = producer.str();
  header.target = emitted.target;
  header.cpuFeatures = emitted.features;
  header.kvFormat = program.getKvFormat().str();
  header.vocabulary = program.getVocabulary();
  header.context = program.getMaxContext();
  header.maxTokens = program.getMaxTokens();
  header.kvPageTokens = program.getKvPageTokens();
  header.kvPageBytes = program.getKvPageBytes();
  header.weightBytes = *program.getWeightBytes();
  header.arenaBytesFixed = *program.getArenaFixed();
  header.arenaBytesPerToken = *program.getArenaPerToken();
  return header;
}

llvm::Expected<SiteSummary> qplan::summarizeSites(plan::ProgramOp program,
                                                  const llvm::StringMap<std::string> &treatments) {
  SiteSummary summary;
  llvm::StringMap<bool> counted;
  for (plan::WeightOp weight : program.getWeights()) {
    if (!weight.getSites())
      continue;
    llvm::StringRef emulated = detailText(weight, "emulate");
    auto format = parseFormat(emulated.empty() ? weight.getFormat() : emulated);
    if (!format)
      return format.takeError();
    int64_t experts = detailInt(weight, "experts", 1);
    llvm::SmallVector<int64_t> rows;
    if (auto details = weight.getDetails())
      if (auto list = details->getAs<DenseI64ArrayAttr>("site_rows"))
        rows.assign(list.asArrayRef().begin(), list.asArrayRef().end());
    bool first = true;
    for (auto [i, attr] : llvm::enumerate(*weight.getSites())) {
      std::string site = cast<StringAttr>(attr).getValue().str();
      int64_t siteRows = i < rows.size() ? rows[i] : int64_t(weight.getRows());
      auto bytes = bytesFor(*format, siteRows, weight.getCols());
      auto bits = effectiveBits(*format, siteRows, weight.getCols());
      auto modelopt = modeloptBits(*format, siteRows, weight.getCols());
      if (!bytes || !bits || !modelopt) {
        llvm::Error error = llvm::joinErrors(bytes.takeError(), bits.takeError());
        return llvm::joinErrors(std::move(error), modelopt.takeError());
      }
      auto treatment = treatments.find(site);
      nlohmann::ordered_json shape =
          experts > 1 && rows.empty() // else each has a site
              ? nlohmann::ordered_json{experts, siteRows / experts, int64_t(weight.getCols())}
              : nlohmann::ordered_json{siteRows, int64_t(weight.getCols())};
      summary.sites.push_back(
          {{"name", site},
           {"treatment",
            treatment == treatments.end() ? std::string(formatName(*format)) : treatment->second},
           {"shape", shape},
           {"bits", *bits},
           {"bytes", *bytes}});
      // A tensor used twice counts once: later names of one weight cover the same rows.
      bool layer = llvm::StringRef(site).starts_with("layers.");
      bool stacked = i < rows.size();
      if (layer && (first || stacked)) {
        double elements = double(siteRows) * weight.getCols();
        summary.elements += elements;
        summary.bits += *bits * elements;
        summary.modeloptBits += *modelopt * elements;
      }
      first = false;
    }
  }
  return summary;
}

llvm::Expected<nlohmann::ordered_json> qplan::manifestOf(ModuleOp module, plan::ProgramOp program,
                                                         const EmittedModel &emitted,
                                                         const Checkpoint &source,
                                                         const CompileOptions &options) {
  auto model = module->getAttrOfType<DictionaryAttr>("qp.model");
  auto number = [&](llvm::StringRef key) { return model.getAs<IntegerAttr>(key).getInt(); };
  llvm::StringMap<std::string> treatments;
  if (auto list = module->getAttrOfType<DictionaryAttr>("qp.treatments"))
    for (NamedAttribute entry : list)
      treatments[entry.getName()] = cast<StringAttr>(entry.getValue()).getValue().str();
  auto summary = summarizeSites(program, treatments);
  if (!summary)
    return summary.takeError();
  nlohmann::ordered_json manifest;
  manifest["qplan_manifest"] = 1;
  manifest["qplan_version"] = "0.1.0";
  manifest["name"] = emitted.name;
  manifest["architecture"] = model.getAs<StringAttr>("architecture").getValue().str();
  manifest["parameters"] = number("parameters");
  manifest["target"] = {{"triple", emitted.target.substr(0, emitted.target.find(':'))},
                        {"cpu", emitted.target.substr(emitted.target.find(':') + 1)},
                        {"features", nlohmann::ordered_json::array()},
                        {"kernels", emitted.kernelLevel}};
  llvm::SmallVector<llvm::StringRef> features;
  llvm::StringRef(emitted.features).split(features, ',', -1, /*KeepEmpty=*/false);
  for (llvm::StringRef feature : features)
    manifest["target"]["features"].push_back(feature.str());
  manifest["vocabulary"] = number("vocabulary");
  manifest["context"] = number("context");
  manifest["layers"] = number("layers");
  manifest["hidden"] = number("hidden");
  manifest["kv_cache"] = program.getKvFormat().str();
  if (!options.rotate.empty())
    manifest["rotate"] = options.rotate;
  manifest["form"] = options.qdq ? "qdq" : "fused";
  double elements = std::max(summary->elements, 1.0);
  manifest["effective_bits"] = summary->bits / elements;
  manifest["effective_bits_modelopt"] = summary->modeloptBits / elements;
  manifest["effective_bits_scope"] = "layers";
  manifest["sites"] = summary->sites;
  manifest["memory"] = {{"weight_bytes", *program.getWeightBytes()},
                        {"arena_bytes_fixed", *program.getArenaFixed()},
                        {"arena_bytes_per_token", *program.getArenaPerToken()},
                        {"kv_page_bytes", int64_t(program.getKvPageBytes())},
                        {"kv_page_tokens", int64_t(program.getKvPageTokens())},
                        {"max_tokens", int64_t(program.getMaxTokens())}};
  manifest["checkpoint"] = source.contentHash();
  std::string config = tokenizerConfigOf(source);
  if (!config.empty())
    manifest["tokenizer"] = nlohmann::ordered_json::parse(config, nullptr, false);
  if (!source.license().empty())
    manifest["license"] = source.license();
  return manifest;
}

llvm::Expected<Recipe> qplan::recipeOf(ModuleOp module, const Checkpoint &source,
                                       const CompileOptions &options, const Recipe *chosen) {
  RecipeHeader header;
  if (chosen)
    header = chosen->header;
  header.modelHash = source.contentHash();
  header.singleExperts = options.singleExperts;
  header.rotate = options.rotate;
  auto scope = parseScope(options.sites);
  if (!scope)
    return scope.takeError();
  if (header.scopes.empty()) {
    llvm::SmallVector<llvm::StringRef> parts;
    llvm::StringRef(options.sites).split(parts, '+');
    for (llvm::StringRef part : parts)
      header.scopes.push_back(part.str());
  }
  std::vector<SiteTreatment> assignment;
  auto list = module->getAttrOfType<DictionaryAttr>("qp.treatments");
  auto order = module->getAttrOfType<ArrayAttr>("qp.sites");
  for (Attribute attr : order) {
    llvm::StringRef name = cast<StringAttr>(attr).getValue();
    bool layer = name.starts_with("layers.") && !name.ends_with(".router");
    bool inScope = name == "lm_head"     ? scope->head
                   : name == "embedding" ? scope->embedding
                                         : scope->layers && layer;
    if (!inScope)
      continue;
    auto treatment = parseTreatment(list.getAs<StringAttr>(name).getValue());
    if (!treatment)
      return treatment.takeError();
    assignment.push_back({name.str(), *treatment});
  }
  return recipeFor(std::move(header), assignment);
}

//===----------------------------------------------------------------------===//
// Tokenizer
//===----------------------------------------------------------------------===//

namespace {

llvm::Expected<std::string> readFile(const std::string &path) {
  auto buffer = llvm::MemoryBuffer::getFile(path);
  if (!buffer)
    return machineError("{}: cannot read: {}", path, buffer.getError().message());
  return (*buffer)->getBuffer().str();
}

} // namespace

/// The vocabulary of a GGUF file as tokenizer.json; empty when it holds none.
static llvm::Expected<std::string> ggufTokenizer(const Gguf &gguf) {
  if (!gguf.contains("tokenizer.ggml.tokens"))
    return std::string();
  text::GgufVocabulary vocabulary;
  auto tokens = gguf.strings("tokenizer.ggml.tokens");
  auto model = gguf.stringValue("tokenizer.ggml.model", "");
  auto pre = gguf.stringValue("tokenizer.ggml.pre", "");
  if (!tokens || !model || !pre)
    return llvm::joinErrors(llvm::joinErrors(tokens.takeError(), model.takeError()),
                            pre.takeError());
  vocabulary.model = model->str();
  vocabulary.pre = pre->str();
  for (llvm::StringRef token : *tokens)
    vocabulary.tokens.push_back(token.str());
  if (gguf.contains("tokenizer.ggml.scores")) {
    auto scores = gguf.floats("tokenizer.ggml.scores");
    if (!scores)
      return scores.takeError();
    vocabulary.scores.assign(scores->begin(), scores->end());
  }
  if (gguf.contains("tokenizer.ggml.token_type")) {
    auto types = gguf.integers("tokenizer.ggml.token_type");
    if (!types)
      return types.takeError();
    vocabulary.types.assign(types->begin(), types->end());
  }
  if (gguf.contains("tokenizer.ggml.merges")) {
    auto merges = gguf.strings("tokenizer.ggml.merges");
    if (!merges)
      return merges.takeError();
    for (llvm::StringRef merge : *merges)
      vocabulary.merges.push_back(merge.str());
  }
  for (auto [key, slot] : {std::pair{"bos", &vocabulary.bosId}, std::pair{"eos", &vocabulary.eosId},
                           std::pair{"unknown", &vocabulary.unknownId}}) {
    auto id = gguf.signedValue(std::string("tokenizer.ggml.") + key + "_token_id", -1);
    if (!id)
      return id.takeError();
    if (*id >= 0 && size_t(*id) < tokens->size())
      *slot = int32_t(*id);
  }
  for (auto [key, slot] : {std::pair{"add_bos_token", &vocabulary.addBos},
                           std::pair{"add_eos_token", &vocabulary.addEos},
                           std::pair{"add_space_prefix", &vocabulary.addSpacePrefix}}) {
    std::string name = std::string("tokenizer.ggml.") + key;
    if (!gguf.contains(name))
      continue;
    auto value = gguf.boolValue(name);
    if (!value)
      return value.takeError();
    *slot = *value;
  }
  std::string json, error;
  if (!text::ggufTokenizerJson(vocabulary, json, error))
    return inputError("{}: {}", gguf.path(), error);
  return json;
}

llvm::Expected<std::string> qplan::tokenizerOf(const Checkpoint &checkpoint) {
  if (const Gguf *gguf = checkpoint.gguf())
    return ggufTokenizer(*gguf);
  std::string path = checkpoint.tokenizerJsonPath();
  return path.empty() ? std::string() : readFile(path);
}

std::string qplan::tokenizerConfigOf(const Checkpoint &checkpoint) {
  nlohmann::ordered_json out;
  if (const Gguf *gguf = checkpoint.gguf()) {
    auto text = [&](llvm::StringRef key) {
      auto value = gguf->stringValue(key, "");
      if (!value) {
        llvm::consumeError(value.takeError());
        return std::string();
      }
      return value->str();
    };
    std::string chat = text("tokenizer.chat_template");
    if (!chat.empty())
      out["chat_template"] = chat;
    auto tokens = gguf->contains("tokenizer.ggml.tokens") ? gguf->strings("tokenizer.ggml.tokens")
                                                          : llvm::ArrayRef<llvm::StringRef>();
    if (!tokens) {
      llvm::consumeError(tokens.takeError());
      return {};
    }
    for (auto [key, name] :
         {std::pair<const char *, const char *>{"bos", "bos_token"}, {"eos", "eos_token"}}) {
      auto id = gguf->signedValue(std::string("tokenizer.ggml.") + key + "_token_id", -1);
      if (!id)
        llvm::consumeError(id.takeError());
      else if (*id >= 0 && size_t(*id) < tokens->size())
        out[name] = (*tokens)[*id].str();
    }
    return out.is_null() ? std::string() : out.dump();
  }
  std::string path = checkpoint.companionFile("tokenizer_config.json");
  if (path.empty())
    return {};
  auto text = readFile(path);
  if (!text) {
    llvm::consumeError(text.takeError());
    return {};
  }
  auto config = nlohmann::json::parse(*text, nullptr, false);
  if (!config.is_object())
    return {};
  for (const char *key : {"chat_template", "bos_token", "eos_token"})
    if (config.contains(key) && !config[key].is_null())
      out[key] = config[key];
  return out.is_null() ? std::string() : out.dump();
}

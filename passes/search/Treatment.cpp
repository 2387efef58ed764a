//===- Treatment.cpp - names of formats and methods -----------------------===//
//
// Two small tables (methods, activation suffixes) and a hand-written parser. A
// weight name is the longest known prefix, because names themselves contain the
// letter that introduces activations (int4_g64_asym, int4_g64a8).
//
//===----------------------------------------------------------------------===//
#include "passes/search/Treatment.h"

#include "ir/Failure.h"

#include <cmath>
#include <fmt/ranges.h>
#include <llvm/ADT/STLExtras.h>
#include <llvm/ADT/StringExtras.h>
#include <tuple>

namespace qplan {
namespace {

/// A parameter of a method and the closed range of its values.
struct ParameterRow {
  const char *name;
  double preset, least, most;
  bool isSwitch = false;                  ///< 0 or 1, nothing between
  std::vector<const char *> choices = {}; ///< names of the values 0, 1, ...; empty: numbers
};

/// Parameters of every treatment whose activations have one static scale.
const std::vector<ParameterRow> &rangeParameters() {
  static const std::vector<ParameterRow> rows = {
      {"range", 0, 0, 3, false, {"max", "percentile", "entropy", "mse"}},
      {"percentile", 99.99, 50, 100}};
  return rows;
}

struct MethodRow {
  Method method;
  const char *name;
  std::vector<ParameterRow> parameters;
};

/// Every method; its position is its number.
const std::vector<MethodRow> &methods() {
  static const std::vector<MethodRow> rows = {
      {Method::Max, "max", {}},
      {Method::Mse, "mse", {}},
      {Method::Imatrix, "imatrix", {}},
      {Method::SmoothQuant, "smoothquant", {{"alpha", 0.5, 0.0, 1.0}, {"search", 0, 0, 1, true}}},
      {Method::SmoothQuantPlus, "smoothquantplus", {{"alpha", -1, 0.0, 1.0}}},
      {Method::Gptq,
       "gptq",
       {{"damp", 0.1, 1e-6, 1.0},
        {"actorder", 1, 0, 1, true},
        {"mse", 1, 0, 1, true},
        {"sweeps", 3, 0, 100},
        {"beam", 128, 1, 512},
        {"awq", 0, 0, 1, true},
        {"smooth", 0, 0, 1, true},
        {"each", 0, 0, 1, true}}},
      {Method::SparseGpt, "sparsegpt", {{"damp", 0.01, 1e-6, 1.0}, {"mse", 1, 0, 1, true}}},
      {Method::Awq, "awq", {{"clip", 0, 0, 1, true}, {"each", 0, 0, 1, true}}},
      {Method::AwqClip, "awq_clip", {}},
      {Method::LlmInt8, "llm_int8", {{"threshold", 6.0, 1e-3, 1e6}}},
      {Method::Preshift, "preshift", {}},
  };
  return rows;
}

/// What follows the `a` of an activation suffix. No format: not quantized.
struct ActivationRow {
  const char *suffix;
  const char *format;
};
constexpr ActivationRow activations[] = {
    {"8", "int8_token"},
    {"8b32", "int8_b32"},
    {"8b256", "int8_b256"},
    {"8s", "int8_tensor"},
    {"fp8", "fp8_e4m3_token"},
    {"fp8s", "fp8_e4m3_tensor"},
    {"fp8e5m2", "fp8_e5m2_token"},
    {"fp8e3m4", "fp8_e3m4_token"},
    {"fp8e2m5", "fp8_e2m5_token"},
    {"fp8b128", "fp8_e4m3_g128"},
    {"mxfp8", "mxfp8"},
    {"mxfp8e5m2", "mxfp8_e5m2"},
    {"mxfp6", "mxfp6"},
    {"mxfp6e2m3", "mxfp6_e2m3"},
    {"mxfp4", "mxfp4"},
    {"mxint8", "mxint8"},
    {"nvfp4", "nvfp4"},
    {"fp4", "fp4_e2m1"},
    {"16", nullptr},
};

struct AliasRow {
  const char *alias;
  const char *format;
};
constexpr AliasRow aliases[] = {{"w4", "int4_g128"}, {"w8", "int8"}, {"fp8", "fp8_e4m3"}};

/// A weight, its activations and a method under one name.
constexpr AliasRow wholeAliases[] = {{"llm_int8", "int8a8@llm_int8"}};

const MethodRow &methodRow(Method method) { return methods()[static_cast<size_t>(method)]; }

const ParameterRow *findParameter(const MethodRow &row, llvm::StringRef name) {
  for (const auto *parameters : {&row.parameters, &rangeParameters()})
    for (const ParameterRow &parameter : *parameters)
      if (name == parameter.name)
        return &parameter;
  return nullptr;
}

/// Formats that weights may have, then the aliases.
std::vector<std::string> weightNames() {
  std::vector<std::string> names;
  for (const FormatInfo &info : allFormats())
    if (info.isWeight)
      names.emplace_back(info.name);
  for (const AliasRow &row : aliases)
    names.emplace_back(row.alias);
  for (const AliasRow &row : wholeAliases)
    names.emplace_back(row.alias);
  return names;
}

std::vector<std::string> activationNames() {
  std::vector<std::string> names;
  for (const ActivationRow &row : activations)
    names.push_back(std::string("a") + row.suffix);
  return names;
}

/// "; did you mean X?" or nothing.
std::string suggestion(llvm::StringRef found, llvm::ArrayRef<std::string> known) {
  llvm::StringRef nearest = nearestName(found, known);
  return nearest.empty() ? std::string() : fmt::format("; did you mean '{}'?", nearest.str());
}

/// Messages quote what was typed; a hostile recipe must not flood the terminal.
std::string shown(llvm::StringRef text) {
  std::string result;
  for (char c : text.take_front(80))
    result += llvm::isPrint(c) ? c : '?';
  return text.size() > 80 ? result + "..." : result;
}

/// What activations get when no suffix is given.
std::optional<FormatId> defaultActivation(FormatId weight) {
  FormatId activation = formatInfo(weight).activation;
  if (!formatInfo(activation).isActivation || activation == FormatId::F32)
    return std::nullopt;
  return activation;
}

/// Resolves a name or alias of the table's own; null when there is none.
std::optional<FormatId> weightNamed(llvm::StringRef name) {
  for (const AliasRow &row : aliases)
    if (name == row.alias)
      name = row.format;
  for (const FormatInfo &info : allFormats())
    if (info.isWeight && name == info.name)
      return info.id;
  return std::nullopt;
}

/// Splits `text` into the longest known weight name and the rest, which must be
/// empty or start with `a`, so that a typo such as int4_g6x is not read as int4_g6.
llvm::Expected<std::pair<FormatId, llvm::StringRef>> splitWeight(llvm::StringRef text,
                                                                 llvm::StringRef whole) {
  std::optional<FormatId> best;
  size_t bestSize = 0;
  for (size_t size = 1; size <= text.size(); ++size) {
    if (size < text.size() && text[size] != 'a')
      continue;
    if (auto id = weightNamed(text.take_front(size))) {
      best = id;
      bestSize = size;
    }
  }
  if (best)
    return std::make_pair(*best, text.drop_front(bestSize));
  std::vector<std::string> known = weightNames();
  std::string hint = suggestion(text, known);
  // The text may be a misspelt name with a good suffix: compare without it too.
  if (hint.empty())
    hint = suggestion(text.take_front(text.rfind('a')), known);
  return usageError("treatment '{}': '{}' is no weight format{} (known: {})", shown(whole),
                    shown(text), hint, fmt::join(known, ", "));
}

llvm::Error parseActivation(llvm::StringRef text, llvm::StringRef whole, Treatment &treatment) {
  treatment.activation = defaultActivation(treatment.weight);
  if (text.empty())
    return llvm::Error::success();
  for (const ActivationRow &row : activations) {
    if (text.drop_front(1) != row.suffix)
      continue;
    treatment.activation.reset();
    if (!row.format)
      return llvm::Error::success();
    auto id = parseFormat(row.format);
    if (!id)
      return id.takeError();
    treatment.activation = *id;
    return llvm::Error::success();
  }
  std::vector<std::string> known = activationNames();
  return usageError("treatment '{}': '{}' is no activation format{} (known: {})", shown(whole),
                    shown(text), suggestion(text, known), fmt::join(known, ", "));
}

llvm::Error parseMethod(llvm::StringRef text, llvm::StringRef whole, Treatment &treatment) {
  std::vector<std::string> known;
  for (const MethodRow &row : methods()) {
    if (text == row.name) {
      treatment.method = row.method;
      return llvm::Error::success();
    }
    known.emplace_back(row.name);
  }
  return usageError("treatment '{}': '{}' is no method of this version{} (known: {})", shown(whole),
                    shown(text), suggestion(text, known), fmt::join(known, ", "));
}

/// Reads one `name=value` of the braces.
llvm::Error parseParameter(llvm::StringRef text, llvm::StringRef whole, Treatment &treatment) {
  auto [name, valueText] = text.split('=');
  name = name.trim();
  valueText = valueText.trim();
  const MethodRow &row = methodRow(treatment.method);
  const ParameterRow *parameter = findParameter(row, name);
  if (!parameter) {
    std::vector<std::string> known;
    for (const ParameterRow &each : row.parameters)
      known.emplace_back(each.name);
    return usageError("treatment '{}': method '{}' has no parameter '{}' (it has: {})",
                      shown(whole), row.name, shown(name),
                      known.empty() ? "none" : fmt::format("{}", fmt::join(known, ", ")));
  }
  double value = 0;
  if (!parameter->choices.empty()) {
    std::vector<std::string> names(parameter->choices.begin(), parameter->choices.end());
    auto found = llvm::find(names, valueText);
    if (found == names.end())
      return usageError("treatment '{}': parameter '{}' is '{}', expected one of {}", shown(whole),
                        parameter->name, shown(valueText), fmt::join(names, ", "));
    value = double(found - names.begin());
  } else if (valueText.empty() || valueText.getAsDouble(value) || !std::isfinite(value))
    return usageError("treatment '{}': parameter '{}' is '{}', expected a number, as in {}={}",
                      shown(whole), parameter->name, shown(valueText), parameter->name,
                      parameter->preset);
  if (value < parameter->least || value > parameter->most)
    return usageError("treatment '{}': parameter '{}' is {}, expected {} to {}", shown(whole),
                      parameter->name, value, parameter->least, parameter->most);
  if (parameter->isSwitch && value != 0 && value != 1)
    return usageError("treatment '{}': parameter '{}' is {}, expected 0 or 1", shown(whole),
                      parameter->name, value);
  // Minus zero would make two texts of one value.
  if (!treatment.parameters.emplace(parameter->name, value + 0.0).second)
    return usageError("treatment '{}': parameter '{}' is given twice", shown(whole),
                      parameter->name);
  return llvm::Error::success();
}

/// Ranges are for static scales, and the percentile is for the range of that name.
llvm::Error checkRange(llvm::StringRef whole, Treatment &treatment) {
  bool given = treatment.parameters.contains("range");
  if (!given && !treatment.parameters.contains("percentile"))
    return llvm::Error::success();
  if (!treatment.activation || !formatInfo(*treatment.activation).isPerTensor())
    return usageError("treatment '{}': '{}' is for activations of one static scale, as in "
                      "int8a8s{{range=entropy}}",
                      shown(whole), given ? "range" : "percentile");
  if (treatment.range() != RangeRule::Percentile && treatment.parameters.contains("percentile"))
    return usageError("treatment '{}': 'percentile' goes with range=percentile", shown(whole));
  for (const ParameterRow &row : rangeParameters())
    if (treatment.parameter(row.name) == row.preset)
      treatment.parameters.erase(row.name);
  return llvm::Error::success();
}

llvm::Error parseParameters(llvm::StringRef text, llvm::StringRef whole, Treatment &treatment) {
  if (!text.consume_back("}"))
    return usageError("treatment '{}': '{{' without a closing '}}' at the end", shown(whole));
  llvm::SmallVector<llvm::StringRef, 4> parts;
  text.split(parts, ',');
  for (llvm::StringRef part : parts)
    if (auto error = parseParameter(part, whole, treatment))
      return error;
  // Defaults are frozen with the method's name, so leaving them out loses nothing.
  const MethodRow &row = methodRow(treatment.method);
  for (const ParameterRow &parameter : row.parameters) {
    auto found = treatment.parameters.find(parameter.name);
    if (found != treatment.parameters.end() && found->second == parameter.preset)
      treatment.parameters.erase(found);
  }
  return checkRange(whole, treatment);
}

/// The suffix that states `activation` for these weights; empty when it is implied.
std::string activationText(FormatId weight, std::optional<FormatId> activation) {
  if (activation == defaultActivation(weight))
    return "";
  for (const ActivationRow &row : activations) {
    bool same = activation ? row.format && formatName(*activation) == row.format : !row.format;
    if (same)
      return std::string("a") + row.suffix;
  }
  return "a?"; // a format without a suffix cannot come from parseTreatment
}

} // namespace

llvm::StringRef nearestName(llvm::StringRef found, llvm::ArrayRef<std::string> known) {
  if (found.size() > 200)
    return {};
  auto sortedLetters = [](llvm::StringRef text) {
    std::string letters = text.lower();
    llvm::sort(letters);
    return letters;
  };
  // A third of the letters wrong is a misspelling; more is another word. Of names equally
  // far away, one of the same letters is likelier: letters are swapped more often than replaced.
  auto limit = static_cast<unsigned>((found.size() + 2) / 3);
  std::string letters = sortedLetters(found);
  std::pair<unsigned, bool> nearest(limit, true);
  llvm::StringRef best;
  for (const std::string &name : known) {
    std::pair<unsigned, bool> distance(found.edit_distance(name, true, limit + 1),
                                       sortedLetters(name) != letters);
    if (distance < nearest || (best.empty() && distance <= nearest)) {
      best = name;
      nearest = distance;
    }
  }
  return best;
}

bool Treatment::hasOwnFactors() const {
  return findParameter(methodRow(method), "each") && parameter("each") != 0;
}

double Treatment::parameter(llvm::StringRef name) const {
  auto given = parameters.find(name.str());
  if (given != parameters.end())
    return given->second;
  const ParameterRow *row = findParameter(methodRow(method), name);
  return row ? row->preset : 0;
}

llvm::StringRef methodName(Method method) { return methodRow(method).name; }

llvm::Expected<Treatment> parseTreatment(llvm::StringRef text) {
  llvm::StringRef whole = text.trim(), rest = whole;
  if (rest.empty())
    return usageError("a treatment is empty; expected weights[aACT][@METHOD][{{name=value,...}}], "
                      "for example int4_g64a8@mse");
  llvm::StringRef parameters, method;
  bool hasParameters = rest.contains('{'), hasMethod;
  std::tie(rest, parameters) = rest.split('{');
  for (const AliasRow &row : wholeAliases)
    if (rest == row.alias)
      rest = row.format;
  hasMethod = rest.contains('@');
  std::tie(rest, method) = rest.split('@');
  auto weight = splitWeight(rest, whole);
  if (!weight)
    return weight.takeError();
  Treatment treatment;
  treatment.weight = weight->first;
  if (auto error = parseActivation(weight->second, whole, treatment))
    return std::move(error);
  if (hasMethod)
    if (auto error = parseMethod(method, whole, treatment))
      return std::move(error);
  if (hasParameters)
    if (auto error = parseParameters(parameters, whole, treatment))
      return std::move(error);
  return treatment;
}

llvm::Expected<std::vector<Treatment>> parseTreatmentList(llvm::StringRef text) {
  std::vector<Treatment> list;
  size_t begin = 0;
  int depth = 0;
  for (size_t at = 0; at <= text.size(); ++at) {
    char c = at < text.size() ? text[at] : ',';
    depth += c == '{' ? 1 : c == '}' ? -1 : 0;
    if (c != ',' || (depth > 0 && at < text.size()))
      continue;
    auto treatment = parseTreatment(text.slice(begin, at));
    if (!treatment)
      return treatment.takeError();
    if (llvm::is_contained(list, *treatment))
      return usageError("treatment '{}' is listed twice in '{}'", printTreatment(*treatment),
                        shown(text));
    list.push_back(std::move(*treatment));
    begin = at + 1;
  }
  return list;
}

std::string printTreatment(const Treatment &treatment) {
  std::string text = formatName(treatment.weight).str();
  text += activationText(treatment.weight, treatment.activation);
  if (treatment.method != Method::Max)
    text += "@" + methodName(treatment.method).str();
  char separator = '{';
  for (const auto &[name, value] : treatment.parameters) {
    const ParameterRow *row = findParameter(methodRow(treatment.method), name);
    text += row && !row->choices.empty()
                ? fmt::format("{}{}={}", separator, name, row->choices[size_t(value)])
                : fmt::format("{}{}={}", separator, name, value);
    separator = ',';
  }
  return separator == '{' ? text : text + "}";
}

} // namespace qplan

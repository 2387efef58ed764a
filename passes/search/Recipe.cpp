//===- Recipe.cpp - recipe text in and out, and its resolution ------------===//
//
// Recipes written by the search and by hand go through the same code. Exact names
// are looked up in a map, only real patterns are tried one by one: a model with many
// experts has tens of thousands of sites, and as many lines.
//
//===----------------------------------------------------------------------===//
#include "passes/search/Recipe.h"

#include "ir/Failure.h"
#include "ir/packings/KvPages.h"
#include "passes/search/Rotations.h"
#include "passes/search/TextFile.h"

#include <llvm/ADT/STLExtras.h>
#include <llvm/ADT/StringExtras.h>
#include <llvm/ADT/StringMap.h>
#include <llvm/ADT/StringSet.h>

namespace qplan {
namespace {

constexpr llvm::StringLiteral magic = "qplan-recipe ";
constexpr uint64_t recipeLimit = uint64_t(256) << 20;

/// Quotes at most 80 printable characters of hostile text.
std::string shown(llvm::StringRef text) {
  std::string result;
  for (char c : text.take_front(80))
    result += llvm::isPrint(c) ? c : '?';
  return text.size() > 80 ? result + "..." : result;
}

/// Puts file and line in front of what a part of a line has to say.
llvm::Error located(llvm::Error error, llvm::StringRef file, unsigned line) {
  return inputError("{}:{}: {}", file.str(), line, llvm::toString(std::move(error)));
}

/// Reads a recipe line by line.
class RecipeParser {
public:
  RecipeParser(llvm::StringRef text, llvm::StringRef file) : rest(text) {
    recipe.file = file.str();
  }
  llvm::Expected<Recipe> parse();

private:
  template <typename... Args>
  llvm::Error failed(fmt::format_string<Args...> format, Args &&...args) {
    return inputError("{}:{}: {}", recipe.file, line,
                      fmt::format(format, std::forward<Args>(args)...));
  }
  bool nextLine(llvm::StringRef &content);
  llvm::Error parseMagic();
  llvm::Error parseHeaderLine(llvm::StringRef key, llvm::StringRef value);
  llvm::Error parseList(llvm::StringRef value, std::vector<std::string> &list);
  llvm::Error parseFacts(llvm::StringRef value, RecipeFacts &facts);
  llvm::Error parseRule(llvm::StringRef pattern, llvm::StringRef treatment);

  Recipe recipe;
  llvm::StringRef rest;
  unsigned line = 0;
  llvm::StringSet<> headerKeys;
  llvm::StringMap<unsigned> patternLines;
};

/// The next line that is not empty, without its comment.
bool RecipeParser::nextLine(llvm::StringRef &content) {
  while (!rest.empty()) {
    std::tie(content, rest) = rest.split('\n');
    ++line;
    content = content.split('#').first.trim(" \t\r");
    if (!content.empty())
      return true;
  }
  return false;
}

llvm::Error RecipeParser::parseMagic() {
  llvm::StringRef content;
  if (!nextLine(content) || !content.consume_front(magic))
    return failed("the first line is '{}', expected 'qplan-recipe 1'", shown(content));
  if (content.trim() != "1")
    return failed("recipe version '{}' is not known to this version of qplan, which reads 1",
                  shown(content));
  return llvm::Error::success();
}

llvm::Error RecipeParser::parseList(llvm::StringRef value, std::vector<std::string> &list) {
  llvm::SmallVector<llvm::StringRef, 8> parts;
  value.split(parts, ',');
  for (llvm::StringRef part : parts) {
    if (part.trim().empty())
      return failed("an element of the list '{}' is empty", shown(value));
    list.push_back(part.trim().str());
  }
  return llvm::Error::success();
}

llvm::Error RecipeParser::parseFacts(llvm::StringRef value, RecipeFacts &facts) {
  std::vector<std::string> parts;
  if (auto error = parseList(value, parts))
    return error;
  for (llvm::StringRef part : parts) {
    auto [name, fact] = part.split('=');
    if (name.trim().empty() || fact.trim().empty())
      return failed("'{}' is no name=value", shown(part));
    facts.emplace_back(name.trim().str(), fact.trim().str());
  }
  return llvm::Error::success();
}

llvm::Error RecipeParser::parseHeaderLine(llvm::StringRef key, llvm::StringRef value) {
  RecipeHeader &header = recipe.header;
  if (!recipe.rules.empty())
    return failed("the header line '{}' comes after site lines; move it before the first",
                  shown(key));
  static const std::vector<std::string> known = {"model",       "sites",      "groups",
                                                 "experts",     "rotate",     "kv-cache",
                                                 "constraints", "statistics", "totals"};
  if (!llvm::is_contained(known, key)) {
    llvm::StringRef nearest = nearestName(key, known);
    return failed("header line '{}' is not known{} (known: {})", shown(key),
                  nearest.empty() ? "" : fmt::format("; did you mean '{}'?", nearest.str()),
                  llvm::join(known, ", "));
  }
  if (!headerKeys.insert(key).second)
    return failed("the header line '{}' occurs twice", key.str());
  if (value.empty())
    return failed("the header line '{}' has no value; leave the line out", key.str());
  if (key == "model" || key == "statistics") {
    if (value.contains(',') || value.contains(' '))
      return failed("the hash of '{}' is '{}', expected one word", key.str(), shown(value));
    (key == "model" ? header.modelHash : header.statisticsHash) = value.str();
    return llvm::Error::success();
  }
  if (key == "experts") {
    if (value != "single")
      return failed("'experts: {}' is not known; write 'experts: single' where every expert has a "
                    "treatment of its own, and nothing where banks have",
                    shown(value));
    header.singleExperts = true;
    return llvm::Error::success();
  }
  if (key == "rotate") {
    auto rotations = parseRotations(value);
    if (!rotations)
      return located(rotations.takeError(), recipe.file, line);
    header.rotate = rotations->text();
    return llvm::Error::success();
  }
  if (key == "kv-cache") {
    if (auto format = parseKvFormat(value); !format)
      return located(format.takeError(), recipe.file, line);
    header.kvCache = value.str();
    return llvm::Error::success();
  }
  if (key == "sites")
    return parseList(value, header.scopes);
  if (key == "groups")
    return parseList(value, header.groups);
  return parseFacts(value, key == "constraints" ? header.constraints : header.totals);
}

llvm::Error RecipeParser::parseRule(llvm::StringRef pattern, llvm::StringRef text) {
  auto glob = SiteGlob::parse(pattern);
  if (!glob)
    return located(glob.takeError(), recipe.file, line);
  auto treatment = parseTreatment(text);
  if (!treatment)
    return located(treatment.takeError(), recipe.file, line);
  auto [previous, isNew] = patternLines.try_emplace(pattern, line);
  if (!isNew)
    return failed("'{}' has a treatment already in line {}", shown(pattern), previous->second);
  recipe.rules.push_back({std::move(*glob), std::move(*treatment), line});
  return llvm::Error::success();
}

llvm::Expected<Recipe> RecipeParser::parse() {
  if (auto error = parseMagic())
    return std::move(error);
  llvm::StringRef content;
  while (nextLine(content)) {
    // Patterns hold no colon and header keys no equals sign: the first of the two decides.
    size_t at = content.find_first_of(":=");
    if (at == llvm::StringRef::npos)
      return failed("'{}' is neither 'key: value' nor 'site = treatment'", shown(content));
    llvm::StringRef left = content.take_front(at).trim(), right = content.drop_front(at + 1).trim();
    if (auto error = content[at] == ':' ? parseHeaderLine(left, right) : parseRule(left, right))
      return std::move(error);
  }
  return std::move(recipe);
}

void printLine(std::string &text, llvm::StringRef key, llvm::StringRef value) {
  if (!value.empty())
    text += fmt::format("{}: {}\n", key.str(), value.str());
}

std::string factsText(const RecipeFacts &facts) {
  std::vector<std::string> parts;
  for (const auto &[name, value] : facts)
    parts.push_back(name + "=" + value);
  return llvm::join(parts, ", ");
}

/// Where a rule was written, for messages.
std::string place(const Recipe &recipe, const RecipeRule &rule) {
  return rule.line ? fmt::format("{}:{}", recipe.file, rule.line) : recipe.file;
}

/// Said where names of experts and of banks may be confused.
constexpr const char *expertsAdvice = "with --single-experts, or 'experts: single' in the header, "
                                      "every expert is a site, else every bank of them";

/// Whether `name` is of an expert or of a bank.
bool isExpert(llvm::StringRef name) { return name.contains(".experts."); }

/// The rules of a recipe, arranged for looking sites up.
class RuleIndex {
public:
  explicit RuleIndex(const Recipe &recipe) : recipe(recipe), used(recipe.rules.size()) {
    for (unsigned i = 0; i < recipe.rules.size(); ++i)
      if (recipe.rules[i].glob.isExact())
        exact.try_emplace(recipe.rules[i].glob.text(), i);
      else
        patterns.push_back(i);
    // The most specific first, so that the first match decides and only its equals follow.
    llvm::sort(patterns, [&](unsigned a, unsigned b) {
      return rank(a) != rank(b) ? rank(a) > rank(b) : a < b;
    });
  }

  llvm::Expected<Treatment> lookUp(llvm::StringRef site) {
    std::optional<unsigned> best;
    for (unsigned i : patterns) {
      if (!recipe.rules[i].glob.matches(site))
        continue;
      used[i] = true;
      if (!best)
        best = i;
      else if (!exact.contains(site) && rank(i) == rank(*best))
        return inputError("{}: site '{}' is matched equally well by '{}' and by '{}' of {}; make "
                          "one of them more specific",
                          place(recipe, recipe.rules[i]), site.str(), recipe.rules[i].glob.text(),
                          recipe.rules[*best].glob.text(), place(recipe, recipe.rules[*best]));
    }
    if (auto found = exact.find(site); found != exact.end()) {
      best = found->second;
      used[*best] = true;
    }
    if (!best)
      return inputError("{}: no line matches the site '{}'; add '{} = TREATMENT', or '* = "
                        "TREATMENT' for all the others{}",
                        recipe.file, site.str(), site.str(),
                        isExpert(site) ? fmt::format(" ({})", expertsAdvice) : "");
    return recipe.rules[*best].treatment;
  }

  /// An error for the first rule that no site asked for.
  llvm::Error checkAllUsed(llvm::ArrayRef<std::string> sites) const {
    for (unsigned i = 0; i < used.size(); ++i) {
      if (used[i])
        continue;
      const RecipeRule &rule = recipe.rules[i];
      llvm::StringRef nearest = nearestName(rule.glob.text(), sites);
      return inputError("{}: '{}' matches no site of this model{}; {}", place(recipe, rule),
                        rule.glob.text(),
                        nearest.empty() ? "" : fmt::format(" (nearest: {})", nearest.str()),
                        isExpert(rule.glob.text()) ? expertsAdvice : "`qplan inspect` lists them");
    }
    return llvm::Error::success();
  }

private:
  GlobSpecificity rank(unsigned i) const { return recipe.rules[i].glob.specificity(); }
  const Recipe &recipe;
  llvm::StringMap<unsigned> exact;
  std::vector<unsigned> patterns;
  std::vector<bool> used;
};

} // namespace

llvm::Expected<std::vector<Treatment>> Recipe::resolve(llvm::ArrayRef<std::string> sites) const {
  RuleIndex index(*this);
  std::vector<Treatment> treatments;
  for (const std::string &site : sites) {
    auto treatment = index.lookUp(site);
    if (!treatment)
      return treatment.takeError();
    treatments.push_back(std::move(*treatment));
  }
  if (auto error = index.checkAllUsed(sites))
    return std::move(error);
  return treatments;
}

llvm::Error Recipe::checkModel(llvm::StringRef hash) const {
  if (header.modelHash.empty() || header.modelHash == hash)
    return llvm::Error::success();
  return inputError("{}: this recipe was made for the model {}, but the checkpoint is {}; search "
                    "again, or remove the line 'model:' to use it anyway",
                    file, header.modelHash, hash.str());
}

llvm::Expected<Recipe> recipeFor(RecipeHeader header, llvm::ArrayRef<SiteTreatment> assignment) {
  Recipe recipe;
  recipe.header = std::move(header);
  llvm::StringSet<> seen;
  for (const SiteTreatment &each : assignment) {
    if (!isSiteName(each.site))
      return defectError("'{}' is no site name", shown(each.site));
    if (!seen.insert(each.site).second)
      return defectError("the site '{}' is assigned twice", each.site);
    auto glob = SiteGlob::parse(each.site);
    if (!glob)
      return glob.takeError();
    recipe.rules.push_back({std::move(*glob), each.treatment, 0});
  }
  return recipe;
}

llvm::Expected<Recipe> parseRecipe(llvm::StringRef text, llvm::StringRef file) {
  return RecipeParser(text, file).parse();
}

std::string printRecipe(const Recipe &recipe) {
  const RecipeHeader &header = recipe.header;
  std::string text = magic.str() + "1\n";
  printLine(text, "model", header.modelHash);
  printLine(text, "sites", llvm::join(header.scopes, ", "));
  printLine(text, "groups", llvm::join(header.groups, ", "));
  printLine(text, "experts", header.singleExperts ? "single" : "");
  printLine(text, "rotate", header.rotate);
  printLine(text, "kv-cache", header.kvCache);
  printLine(text, "constraints", factsText(header.constraints));
  printLine(text, "statistics", header.statisticsHash);
  printLine(text, "totals", factsText(header.totals));
  if (!recipe.rules.empty())
    text += "\n";
  for (const RecipeRule &rule : recipe.rules)
    text += fmt::format("{} = {}\n", rule.glob.text(), printTreatment(rule.treatment));
  return text;
}

llvm::Expected<Recipe> readRecipe(llvm::StringRef path) {
  auto buffer = readTextFile(path, "recipe", recipeLimit);
  if (!buffer)
    return buffer.takeError();
  return parseRecipe((*buffer)->getBuffer(), path);
}

llvm::Error writeRecipe(const Recipe &recipe, llvm::StringRef path) {
  return writeTextFile(path, "recipe", printRecipe(recipe));
}

} // namespace qplan

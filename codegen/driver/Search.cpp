//===- Search.cpp - AutoQuantize: a treatment for each group --------------===//
//
// From the table of scores (ScoreTable.h) to the front and, within budgets, to a recipe: the
// divergences of groups add up well enough to be a knapsack's values.
//
//===----------------------------------------------------------------------===//

#include "codegen/driver/Calibrator.h"
#include "ir/Failure.h"
#include "ir/packings/KvPages.h"
#include "passes/search/Exchange.h"
#include "passes/search/Exports.h"

#include <cmath>

using namespace qplan;

namespace {

constexpr size_t mostPoints = 200; ///< of the front that is kept

/// Named lists of candidates. "all" has the best of ours at every size; "fast" has one size of
/// integer blocks after the other, whose kernels are the quickest.
constexpr std::pair<llvm::StringLiteral, llvm::StringLiteral> lists[] = {
    {"all", "tcq2@gptq,tcq2_5@gptq,tcq3@gptq,tcq3_5@gptq,tcq4@gptq,tcq4_25@gptq,tcq4_5@gptq,"
            "tcq5@gptq,tcq5_5@gptq,tcq6@gptq,int8,bf16"},
    {"fast", "int4_g128@imatrix,int4_g64@imatrix,int4_g32@imatrix,int4_g32_asym@imatrix,"
             "int5_g64@imatrix,int5_g32@imatrix,int8,bf16"}};

/// The text of a named list; empty when `name` is none.
llvm::StringRef listNamed(llvm::StringRef name) {
  for (auto &[known, text] : lists)
    if (known == name)
      return text;
  return {};
}

/// A candidate of a named list, with the activations that were asked for.
Treatment withActivations(Treatment treatment, llvm::StringRef activations) {
  const FormatInfo &info = formatInfo(treatment.weight);
  if (activations == "16")
    treatment.activation.reset();
  else if (activations == "8" && info.family != CodecFamily::Float && !treatment.activation)
    treatment.activation = FormatId::Int8Token;
  return treatment;
}

llvm::Expected<std::vector<Treatment>> candidatesOf(const CompileOptions &options,
                                                    const ExportKind *kind) {
  llvm::StringRef named = listNamed(options.automatic);
  bool ours = !named.empty();
  if (ours && kind)
    named = kind->search;
  std::string text = ours ? named.str() : options.automatic;
  auto list = parseTreatmentList(text);
  if (!list)
    return list.takeError();
  std::vector<Treatment> kept;
  for (Treatment treatment : *list) {
    if (kind && !ours && !kind->canHold(treatment))
      return usageError("--for-export {}: it cannot hold {}; it holds {}", kind->name,
                        printTreatment(treatment), kind->holds);
    if (ours)
      treatment = withActivations(treatment, options.activations);
    if (kind && !kind->canHold(treatment))
      continue;
    bool eight = treatment.activation.has_value();
    if (options.activations == "16" ? !eight : options.activations == "8" ? eight : true)
      kept.push_back(treatment);
  }
  if (kept.empty())
    return usageError("--activations {}: none of the treatments {} fits{}", options.activations,
                      text, kind ? fmt::format(" and can be held by {}", kind->name) : "");
  return kept;
}

/// `groups` with those that `kind` ties. Banks of experts are tied already but where every expert
/// is a site.
std::string withTies(std::string groups, const ExportKind &kind, bool singleExperts) {
  for (llvm::StringRef tie : kind.ties)
    if (!llvm::StringRef(groups).contains(tie) && (singleExperts || tie != "experts"))
      groups += (groups.empty() ? "" : ",") + tie.str();
  return groups;
}

/// What a group's scores say, in the words of the front.
FrontGroup frontGroup(const ScoredGroup &group) {
  FrontGroup entry;
  entry.name = group.name;
  entry.elements = group.elements;
  for (const ScoredSite &site : group.sites)
    entry.sites.push_back(site.name);
  for (const CandidateScore &score : group.scores) {
    FrontCell &cell = entry.cells.emplace_back();
    cell.bits = double(score.bits);
    if (!std::isnan(score.modeloptBits))
      cell.modeloptBits = score.modeloptBits;
    cell.kl = score.kl;
    cell.allowed = score.allowed;
  }
  return entry;
}

/// The groups that share an input, where several do.
std::vector<std::vector<uint32_t>> fusedGroups(const ScoreTable &table) {
  llvm::MapVector<llvm::StringRef, std::vector<uint32_t>> readers;
  for (auto [g, group] : llvm::enumerate(table.groups))
    for (const ScoredSite &site : group.sites) {
      if (site.input.empty())
        continue;
      std::vector<uint32_t> &list = readers[site.input];
      if (!llvm::is_contained(list, uint32_t(g)))
        list.push_back(uint32_t(g));
    }
  std::vector<std::vector<uint32_t>> lists;
  for (auto &[input, list] : readers)
    if (list.size() > 1)
      lists.push_back(std::move(list));
  return lists;
}

std::vector<std::string> listOf(llvm::StringRef text, char separator) {
  llvm::SmallVector<llvm::StringRef> parts;
  text.split(parts, separator, -1, /*KeepEmpty=*/false);
  return {parts.begin(), parts.end()};
}

} // namespace

llvm::Error Compiler::choose() {
  const ExportKind *kind = nullptr;
  if (!options.exportKind.empty()) {
    auto found = exportKind(options.exportKind);
    if (!found)
      return found.takeError();
    kind = *found;
    options.groups = withTies(options.groups, *kind, options.singleExperts);
  }
  auto candidates = candidatesOf(options, kind);
  if (!candidates)
    return candidates.takeError();
  auto table = scoreTable(*candidates);
  if (!table)
    return table.takeError();
  front.emplace();
  front->modelHash = source->contentHash();
  front->target = chosenTarget.name;
  front->scopes = listOf(options.sites, '+');
  front->ties = listOf(options.groups, ',');
  front->singleExperts = options.singleExperts;
  front->rotate = options.rotate;
  for (const Treatment &candidate : *candidates)
    front->candidates.push_back(printTreatment(candidate));
  for (const ScoredGroup &group : table->groups)
    front->groups.push_back(frontGroup(group));
  front->fused = fusedGroups(*table);
  if (auto error = weighCaches())
    return error;
  front->statisticsHash = statisticsHash(*statistics); // all that was measured is in it
  if (options.timeDecode || options.budgets.decodeMs)
    if (auto error = addDecodeTimes(*candidates))
      return error;
  auto points = tradeOffs(*front, mostPoints);
  if (!points)
    return points.takeError();
  front->points = std::move(*points);
  if (!options.budgets.any())
    return llvm::Error::success();

  auto chosen = chooseWithin(*front, options.budgets);
  if (!chosen)
    return chosen.takeError();
  front->chosen = std::move(*chosen);
  if (options.exchange)
    if (auto error = exchangeChoice(*table))
      return error;
  if (auto cache = front->chosen->cache)
    kvFormat = llvm::cantFail(parseKvFormat(front->caches[*cache].format));
  auto made = searchRecipe(*front, *front->chosen, options.budgets);
  if (!made)
    return made.takeError();
  recipe = std::move(*made);
  progress.note(fmt::format(
      "auto: {:.4f} bits a weight, predicted KL {:.5f} nats{}{}", front->chosen->bits,
      front->chosen->kl,
      front->chosen->measuredKl ? fmt::format(", measured {:.5f}", *front->chosen->measuredKl) : "",
      front->chosen->cache ? ", the cache in " + front->caches[*front->chosen->cache].format : ""));
  return llvm::Error::success();
}

llvm::Error Compiler::exchangeChoice(const ScoreTable &table) {
  if (options.calibration.empty())
    return usageError("--exchange {}: choices are measured on text; give --calib TEXT",
                      *options.exchange);
  auto judge = assemble(table);
  if (!judge)
    return judge.takeError();
  auto exchanged = exchange(*front, options.budgets, *front->chosen, *options.exchange, **judge);
  if (!exchanged)
    return exchanged.takeError();
  if (exchanged->tried)
    progress.note(fmt::format("exchange: {} of {} groups moved in {} trials, measured KL {:.5f} "
                              "-> {:.5f} nats",
                              exchanged->moved, front->groups.size(), exchanged->tried,
                              exchanged->before, *exchanged->point.measuredKl));
  front->chosen = std::move(exchanged->point);
  // What was learnt is in the front.
  auto points = tradeOffs(*front, mostPoints);
  if (!points)
    return points.takeError();
  front->points = std::move(*points);
  return llvm::Error::success();
}

llvm::Expected<SearchFront> Compiler::search() {
  if (auto error = prepare())
    return std::move(error);
  if (!options.saveRecipe.empty() && recipe)
    if (auto error = writeRecipe(*recipe, options.saveRecipe))
      return std::move(error);
  return std::move(*front);
}

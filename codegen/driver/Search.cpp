//===- Search.cpp - AutoQuantize: a treatment for each group --------------===//
//
// From the table of scores (ScoreTable.h) to a recipe: the divergences of groups add up
// well enough to be a knapsack's values (anchors: within 10 %).
//
//===----------------------------------------------------------------------===//

#include "codegen/driver/Calibrator.h"
#include "ir/Failure.h"
#include "passes/moments/MomentMethod.h"
#include "passes/search/BudgetSolver.h"

#include <cmath>

using namespace qplan;

namespace {

/// What `--auto all` chooses among: one of ours for each size that CPUs run well.
constexpr llvm::StringLiteral allTreatments =
    "int4_g128@imatrix,int4_g64@imatrix,int4_g32@imatrix,int4_g32_asym@imatrix,int8,bf16";

llvm::Expected<std::vector<Treatment>> candidatesOf(const CompileOptions &options) {
  std::string text = options.automatic == "all" ? allTreatments.str() : options.automatic;
  auto list = parseTreatmentList(text);
  if (!list)
    return list.takeError();
  std::vector<Treatment> kept;
  for (Treatment treatment : *list) {
    if (momentMethod(treatment))
      return usageError("--auto: this version cannot score {}; give {}@imatrix, save the recipe "
                        "(--save-recipe) and write @{} into it",
                        printTreatment(treatment), formatName(treatment.weight).str(),
                        methodName(treatment.method).str());
    bool plainFloat = formatInfo(treatment.weight).family == CodecFamily::Float;
    if (options.activations == "8" && options.automatic == "all" && !plainFloat)
      treatment.activation = FormatId::Int8Token;
    bool eight = treatment.activation.has_value();
    if (options.activations == "16" ? !eight : options.activations == "8" ? eight : true)
      kept.push_back(treatment);
  }
  if (kept.empty())
    return usageError("--activations {}: none of the treatments {} fits", options.activations, text);
  return kept;
}

/// The table as a document; identity, points and choice are left to who knows them.
SearchFront frontOf(const ScoreTable &table) {
  SearchFront front;
  for (const Treatment &candidate : table.candidates)
    front.candidates.push_back(printTreatment(candidate));
  for (const ScoredGroup &group : table.groups) {
    FrontGroup &entry = front.groups.emplace_back();
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
  }
  return front;
}

/// What the budget counts, in bits.
int64_t costOf(const CandidateScore &score, bool modeloptBits) {
  return modeloptBits ? int64_t(score.modeloptBits) : score.bits;
}

} // namespace

llvm::Error Compiler::choose() {
  auto candidates = candidatesOf(options);
  if (!candidates)
    return candidates.takeError();
  auto table = scoreTable(*candidates);
  if (!table)
    return table.takeError();

  BudgetProblem problem;
  const double elements = double(table->elements());
  std::vector<int64_t> totals(candidates->size(), 0);
  for (const ScoredGroup &group : table->groups) {
    problem.groups.emplace_back();
    for (auto [c, score] : llvm::enumerate(group.scores)) {
      if (options.modeloptBits && std::isnan(score.modeloptBits))
        return usageError("site {}: {} has no size by ModelOpt's count; leave out "
                          "--effective-bits-modelopt or the treatment",
                          group.sites[0].name, printTreatment((*candidates)[c]));
      const int64_t cost = costOf(score, options.modeloptBits);
      problem.groups.back().push_back({{cost}, score.kl});
      totals[c] += cost;
    }
  }
  problem.budget[0] = int64_t(options.effectiveBits * elements);
  auto solution = solveBudget(problem);
  if (!solution) {
    llvm::consumeError(solution.takeError());
    const size_t smallest = size_t(llvm::min_element(totals) - totals.begin());
    return usageError("--effective-bits {}: these treatments need at least {:.3f} bits a weight "
                      "({}); raise the budget or add a smaller treatment",
                      options.effectiveBits, double(totals[smallest]) / elements,
                      printTreatment((*candidates)[smallest]));
  }
  std::vector<SiteTreatment> assignment;
  double predicted = 0;
  for (auto [g, group] : llvm::enumerate(table->groups)) {
    for (const ScoredSite &site : group.sites)
      assignment.push_back({site.name, (*candidates)[solution->choice[g]]});
    predicted += group.scores[solution->choice[g]].kl;
  }
  front = frontOf(*table);
  front->modelHash = source->contentHash();
  front->statisticsHash = statisticsHash(*statistics);
  front->chosen = front->pointOf(solution->choice);
  RecipeHeader header;
  header.modelHash = source->contentHash();
  auto split = [](llvm::StringRef list, char separator, std::vector<std::string> &out) {
    llvm::SmallVector<llvm::StringRef> parts;
    list.split(parts, separator, -1, /*KeepEmpty=*/false);
    for (llvm::StringRef part : parts)
      out.push_back(part.str());
  };
  split(options.sites, '+', header.scopes);
  split(options.groups, ',', header.groups);
  header.constraints = {{options.modeloptBits ? "effective-bits-modelopt" : "effective-bits",
                         fmt::format("{}", options.effectiveBits)}};
  header.statisticsHash = front->statisticsHash;
  front->scopes = header.scopes;
  front->ties = header.groups;
  header.totals = {{"effective-bits", fmt::format("{:.4f}", double(solution->cost[0]) / elements)},
                   {"predicted-kl", fmt::format("{:.6f}", predicted)}};
  auto made = recipeFor(std::move(header), assignment);
  if (!made)
    return made.takeError();
  recipe = std::move(*made);
  progress.note(fmt::format("auto: {:.4f} bits a weight, predicted KL {:.5f} nats",
                            double(solution->cost[0]) / elements, predicted));
  return llvm::Error::success();
}

//===- ScoreGroups.cpp - sites that are treated alike ---------------------===//
//
// See ScoreGroups.h.
//
//===----------------------------------------------------------------------===//

#include "codegen/driver/ScoreGroups.h"

#include "ir/Failure.h"
#include "passes/search/SiteGlob.h"

#include <cmath>
#include <limits>
#include <llvm/ADT/MapVector.h>
#include <llvm/ADT/StringSet.h>

using namespace mlir;
using namespace qplan;

/// The name of the group of `name`.
static std::string groupOf(llvm::StringRef name, llvm::ArrayRef<llvm::StringRef> ties) {
  const std::string site = llvm::is_contained(ties, "experts") ? bankOf(name) : name.str();
  auto [prefix, last] = llvm::StringRef(site).rsplit('.');
  if (llvm::is_contained(ties, "qkv") && (last == "q" || last == "k" || last == "v"))
    return (prefix + ".qkv").str();
  if (llvm::is_contained(ties, "gate_up") && (last == "gate" || last == "up"))
    return (prefix + ".gate_up").str();
  return site;
}

llvm::Expected<std::vector<SiteGroup>> qplan::siteGroups(ModuleOp module, llvm::StringRef scope,
                                                         llvm::StringRef tieList) {
  auto parsed = parseScope(scope);
  if (!parsed)
    return parsed.takeError();
  llvm::SmallVector<llvm::StringRef> ties;
  tieList.split(ties, ',', -1, /*KeepEmpty=*/false);
  for (llvm::StringRef tie : ties)
    if (tie != "qkv" && tie != "gate_up" && tie != "experts")
      return usageError("--group {}: `{}` is none of qkv, gate_up, experts", tieList.str(),
                        tie.str());
  llvm::MapVector<llvm::StringRef, SiteGroup> byName;
  llvm::StringMap<std::string> byTensor; ///< group that the tensor is in
  llvm::BumpPtrAllocator names;
  for (const Site &site : collectSites(module)) {
    if (!parsed->contains(site))
      continue;
    std::string &name = byTensor[weightUnder(site.weight()).getSource()];
    if (name.empty())
      name = groupOf(site.name, ties);
    SiteGroup &group = byName[llvm::StringRef(name).copy(names)];
    group.name = name;
    group.sites.push_back(site);
  }
  std::vector<SiteGroup> groups;
  for (auto &[name, group] : byName)
    groups.push_back(std::move(group));
  return groups;
}

static ScoredSite describe(const Site &site, const std::string &input) {
  const bool linear = isa<qp::LinearOp>(site.op), embedding = isa<qp::EmbeddingOp>(site.op);
  const SiteKind kind = linear      ? SiteKind::Linear
                        : embedding ? SiteKind::Embedding
                                    : SiteKind::Experts;
  return {site.name, input, kind, site.rows, site.columns, int64_t(site.weightCount)};
}

/// Whether sites of `group` can be rounded so.
static bool takes(const SiteGroup &group, const Treatment &treatment) {
  const bool looksUp = llvm::any_of(group.sites, [](const Site &site) { return !site.input(); });
  const bool plain = treatment.method == Method::Max || treatment.method == Method::Mse;
  return !looksUp || (plain && !treatment.activation);
}

/// Adds what `site` stores under `treatment`.
static llvm::Error addSize(CandidateScore &score, const ScoredSite &site,
                           const Treatment &treatment) {
  const int64_t rows = site.rows * site.weightCount;
  auto bytes = bytesFor(treatment.weight, rows, site.columns);
  if (!bytes)
    return bytes.takeError();
  score.bytes += int64_t(*bytes);
  score.bits = score.bytes * 8;
  if (auto bits = modeloptBits(treatment.weight, rows, site.columns)) {
    score.modeloptBits += std::floor(*bits * double(site.elements()));
  } else {
    llvm::consumeError(bits.takeError());
    score.modeloptBits = std::numeric_limits<double>::quiet_NaN();
  }
  return llvm::Error::success();
}

llvm::Expected<ScoreTable> qplan::sizedTable(llvm::ArrayRef<SiteGroup> groups,
                                             llvm::ArrayRef<Treatment> candidates) {
  ScoreTable table;
  table.candidates.assign(candidates.begin(), candidates.end());
  std::vector<Site> sites;
  for (const SiteGroup &group : groups)
    llvm::append_range(sites, group.sites);
  const std::vector<std::string> inputs = inputNames(sites);
  auto input = inputs.begin();
  for (const SiteGroup &group : groups) {
    ScoredGroup &scored = table.groups.emplace_back();
    scored.name = group.name;
    scored.scores.resize(candidates.size());
    for (auto [score, treatment] : llvm::zip(scored.scores, candidates))
      score.allowed = takes(group, treatment);
    llvm::StringSet<> tensors;
    for (const Site &site : group.sites) {
      const ScoredSite &described = scored.sites.emplace_back(describe(site, *input++));
      if (!tensors.insert(weightUnder(site.weight()).getSource()).second)
        continue;
      scored.elements += described.elements();
      for (auto [score, treatment] : llvm::zip(scored.scores, candidates))
        if (auto error = addSize(score, described, treatment))
          return usageError("site {}: {}", site.name, llvm::toString(std::move(error)));
    }
  }
  return table;
}

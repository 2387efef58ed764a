//===- ScoreGroups.h - sites that are treated alike --------------*- C++ -*-===//
//
// Which sites a search decides on together, and what each candidate would store there.
//
//===----------------------------------------------------------------------===//
#ifndef QPLAN_CODEGEN_DRIVER_SCOREGROUPS_H
#define QPLAN_CODEGEN_DRIVER_SCOREGROUPS_H

#include "codegen/driver/ScoreTable.h"
#include "passes/Sites.h"

namespace qplan {

/// Text on which divergences are measured: enough to rank sites, as short as that allows,
/// since it is run once for each group.
inline constexpr int64_t scoringWindows = 2, scoringLength = 256;

/// Sites of a module that get one treatment.
struct SiteGroup {
  std::string name;
  std::vector<Site> sites;
};

/// A run of the model with one group rounded, for its score.
struct Measurement {
  const SiteGroup *group;
  Treatment treatment;
};

/// The groups of the sites of `module` that `scope` (`--sites`) names, in program order: every
/// site by itself but for `ties` (`--group`): "qkv" ties q, k and v, "gate_up" gate and up,
/// "experts" the experts of a bank where each is a site. Sites that use one tensor are one group,
/// named after the first. Errors (usage): neither scope nor tie.
llvm::Expected<std::vector<SiteGroup>> siteGroups(mlir::ModuleOp module, llvm::StringRef scope,
                                                  llvm::StringRef ties);

/// The table of `groups` with sizes, without scores; a tensor counts once. Where rows are looked up
/// and not multiplied, candidates that need to know the input are not allowed. Errors (usage): a
/// site that cannot take a candidate by its size.
llvm::Expected<ScoreTable> sizedTable(llvm::ArrayRef<SiteGroup> groups,
                                      llvm::ArrayRef<Treatment> candidates);

} // namespace qplan

#endif // QPLAN_CODEGEN_DRIVER_SCOREGROUPS_H

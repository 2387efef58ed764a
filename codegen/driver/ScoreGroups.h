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

/// Sites of a module that get one treatment.
struct SiteGroup {
  std::string name;
  std::vector<Site> sites;
};

/// The groups of the sites of `module` that `scope` (`--sites`) names, in program order: every
/// site by itself but for `ties` (`--group`): "qkv" ties q, k and v, "gate_up" gate and up.
/// Errors (usage): neither scope nor tie.
llvm::Expected<std::vector<SiteGroup>> siteGroups(mlir::ModuleOp module, llvm::StringRef scope,
                                                  llvm::StringRef ties);

/// The table of `groups` with sizes, without scores. Errors (usage): a site that cannot take a
/// candidate.
llvm::Expected<ScoreTable> sizedTable(llvm::ArrayRef<SiteGroup> groups,
                                      llvm::ArrayRef<Treatment> candidates);

} // namespace qplan

#endif // QPLAN_CODEGEN_DRIVER_SCOREGROUPS_H

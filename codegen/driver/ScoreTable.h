//===- ScoreTable.h - what each choice at each group would cost --*- C++ -*-===//
//
// The border between the two halves of AutoQuantize: measuring (Score*.cpp) fills a
// table of groups of sites against candidate treatments, deciding (Search*.cpp) reads
// it. Plain data, no IR.
//
//===----------------------------------------------------------------------===//
#ifndef QPLAN_CODEGEN_DRIVER_SCORETABLE_H
#define QPLAN_CODEGEN_DRIVER_SCORETABLE_H

#include "passes/search/Treatment.h"

namespace qplan {

enum class SiteKind { Linear, Experts, Embedding };

/// A site without its op.
struct ScoredSite {
  std::string name;
  std::string input; ///< the same of sites that read the same value (inputNames)
  SiteKind kind = SiteKind::Linear;
  int64_t rows = 0, columns = 0; ///< of one weight
  int64_t weightCount = 1;       ///< experts of a bank

  int64_t elements() const { return rows * columns * weightCount; }
};

/// One candidate at one group.
struct CandidateScore {
  int64_t bytes = 0;       ///< stored for the group's weights
  int64_t bits = 0;        ///< the same in bits
  double modeloptBits = 0; ///< bits of the group as ModelOpt counts them; NaN: it has no such format
  double kl = 0;           ///< predicted KL divergence of the whole model, in nats, of this alone
  bool allowed = true;     ///< false: the group cannot take the candidate; nothing else is set
};

/// Sites that get one treatment.
struct ScoredGroup {
  std::string name;
  std::vector<ScoredSite> sites;
  int64_t elements = 0; ///< weights of all sites
  std::vector<CandidateScore> scores; ///< of each candidate
};

/// Groups in the order of the program.
struct ScoreTable {
  std::vector<Treatment> candidates;
  std::vector<ScoredGroup> groups;

  int64_t elements() const {
    int64_t sum = 0;
    for (const ScoredGroup &group : groups)
      sum += group.elements;
    return sum;
  }
};

} // namespace qplan

#endif // QPLAN_CODEGEN_DRIVER_SCORETABLE_H

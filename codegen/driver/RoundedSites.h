//===- RoundedSites.h - what methods made of sites ---------------*- C++ -*-===//
//
// Methods over second moments take most of the time of a compilation. What they made for
// a choice that was measured (AssembledModel.cpp) is kept for the plan (RoundSites.cpp).
//
//===----------------------------------------------------------------------===//
#ifndef QPLAN_CODEGEN_DRIVER_ROUNDEDSITES_H
#define QPLAN_CODEGEN_DRIVER_ROUNDEDSITES_H

#include <map>
#include <string>
#include <vector>

namespace qplan {

struct Site;
struct Treatment;

/// What a method makes of a site, for a model in f32.
struct RoundedSite {
  std::vector<std::string> blobs; ///< rows of each weight; empty: their codec rounds them
  std::string source;             ///< reference of the rounded weights; empty as `blobs` are
  std::vector<float> factors; ///< [columns] that weights are multiplied by before; empty: none
};

/// By roundedName().
using RoundedSites = std::map<std::string, RoundedSite>;

/// What the result depends on, for one model and text: the site, its weights with the
/// transforms they have, the treatment.
std::string roundedName(const Site &site, const Treatment &treatment);

} // namespace qplan

#endif // QPLAN_CODEGEN_DRIVER_ROUNDEDSITES_H

//===- Treatment.h - what is done to one site -------------------*- C++ -*-===//
//
// A treatment is a format for the weights, optionally one for the activations,
// and the method that chooses scales or codes. Its text form is a promise of the
// command line and of recipes:
//
//   weights[aACT][@METHOD][{name=value,...}]     int4_g64a8@smoothquant{alpha=0.6}
//
// This file decides the names, the aliases, and the one canonical spelling.
//
//===----------------------------------------------------------------------===//
#ifndef QPLAN_PASSES_SEARCH_TREATMENT_H
#define QPLAN_PASSES_SEARCH_TREATMENT_H

#include "ir/Formats.h"

#include <llvm/ADT/ArrayRef.h>
#include <llvm/ADT/StringRef.h>
#include <llvm/Support/Error.h>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace qplan {

/// How scales and codes are chosen. A method is one row of the table in
/// Treatment.cpp (name, parameters, defaults, ranges).
enum class Method {
  Max,         ///< scales from the largest magnitude of each group (written as nothing)
  Mse,         ///< scales that minimise the squared error of the weights
  Imatrix,     ///< the same with errors weighted by the mean square of their input columns
  SmoothQuant, ///< column scales moved from activations into weights first; `alpha` in [0, 1],
               ///< or `search`: the best alpha for each input
  SmoothQuantPlus, ///< SmoothQuant with one `alpha` for the whole model, searched where not given
  Gptq,        ///< codes that make up for each other's errors (passes/gptq/Gptq.h): `damp`;
               ///< `actorder` and `mse` are 0 or 1; tcq: `beam`; `awq`, `smooth`:
               ///< with the factors of those methods
  SparseGpt,   ///< the same for 2:4 sparse formats: what is lost of a row, too; `damp`, `mse`
  Awq,         ///< factors for input columns that make the rounding error of the outputs small
               ///< (passes/moments/FactorSearch.h); `clip`: ranges of groups too
  AwqClip,     ///< ranges of groups that make the error of the outputs small
  LlmInt8,     ///< columns in which activations reach `threshold` stay in floating point
  Preshift,    ///< powers of two that make channels of small float activations equally large
};

/// Which magnitude the largest code of a static activation scale stands for
/// (passes/moments/HistogramRange.h).
enum class RangeRule { Max, Percentile, Entropy, Mse };

/// One treatment. Equal treatments have equal canonical text and conversely.
struct Treatment {
  FormatId weight;                    ///< a format with the weight role
  std::optional<FormatId> activation; ///< none: activations are not quantized
  Method method = Method::Max;
  /// Parameters that differ from the method's defaults, by name.
  std::map<std::string, double> parameters;

  /// The value of a parameter of this method: as given, else its default. Asking
  /// for a name the method does not have is a defect; it yields 0.
  double parameter(llvm::StringRef name) const;

  /// The parameter `each`: every site has factors of its own, though others read its input.
  bool hasOwnFactors() const;

  /// The parameter `range`, which every method has where activations have one static scale;
  /// `percentile` goes with it.
  RangeRule range() const { return static_cast<RangeRule>(parameter("range")); }

  bool operator==(const Treatment &other) const = default;
};

/// Parses the text form. Aliases: `w4` = `int4_g128`, `w8` = `int8`, `fp8` =
/// `fp8_e4m3`, so that `w4a8` = `int4_g128a8`; `llm_int8` alone is `int8a8@llm_int8`.
/// Activations: `a8` int8_token, `a8b32` int8_b32, `a8b256` int8_b256, `a8s`
/// int8_tensor, `afp8` fp8_e4m3_token, `afp8s` fp8_e4m3_tensor, `a16` none. Without
/// aACT activations are not quantized, except that GGUF's integer types take the block
/// format that their own engine computes with (`q4_Ka16` refuses it). Errors (wrong
/// usage) say what was found, the known names, and the nearest one.
llvm::Expected<Treatment> parseTreatment(llvm::StringRef text);

/// Parses a comma-separated list; commas inside braces belong to a treatment. An
/// empty list, an empty element and a treatment that occurs twice are errors.
llvm::Expected<std::vector<Treatment>> parseTreatmentList(llvm::StringRef text);

/// The canonical text; parseTreatment reads it back to an equal treatment.
std::string printTreatment(const Treatment &treatment);

/// The canonical name of a method ("max", "mse", ...).
llvm::StringRef methodName(Method method);

/// The element of `known` with the least edit distance to `found`, when that is
/// near enough to be a likely misspelling; else an empty string.
llvm::StringRef nearestName(llvm::StringRef found, llvm::ArrayRef<std::string> known);

} // namespace qplan
#endif // QPLAN_PASSES_SEARCH_TREATMENT_H

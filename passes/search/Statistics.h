//===- Statistics.h - what calibration and scoring found --------*- C++ -*-===//
//
// The statistics file keeps what is cheap to keep: per input column ranges and second
// moments of every site, scores of treatments, trace terms. It never holds a Hessian.
// JSON, versioned; vectors are base64 of little-endian f32, so that values are
// exact and a file of a thousand sites stays small. It names the model, the text and
// the sampling that made it, and is refused where any of those differs.
//
//===----------------------------------------------------------------------===//
#ifndef QPLAN_PASSES_SEARCH_STATISTICS_H
#define QPLAN_PASSES_SEARCH_STATISTICS_H

#include <cstdint>
#include <llvm/ADT/StringRef.h>
#include <llvm/Support/Error.h>
#include <map>
#include <string>
#include <vector>

namespace qplan {

/// What the inputs of one site looked like. The three vectors have one entry for
/// each input column (equal lengths, >= 1); entries are finite and >= 0.
struct SiteStatistics {
  uint64_t rows = 0;             ///< activation rows (tokens) seen
  std::vector<float> absMax;     ///< max |x| of each column
  std::vector<float> meanSquare; ///< mean of x^2 of each column
  std::vector<float> meanAbs;    ///< mean of |x| of each column

  bool operator==(const SiteStatistics &) const = default;
};

/// Identity of a calibration run.
struct StatisticsKey {
  std::string modelHash;       ///< Checkpoint::contentHash()
  std::string calibrationHash; ///< calibrationTextHash() of the text
  uint64_t samples = 0;        ///< sequences taken from the text
  uint64_t length = 0;         ///< tokens of each sequence
  std::string rotate;          ///< Rotations::text() of the model that was run

  bool operator==(const StatisticsKey &) const = default;
};

/// The contents of a statistics file. Maps keep the file's order fixed.
struct Statistics {
  StatisticsKey key;
  std::map<std::string, SiteStatistics> sites; ///< by site name; experts under their bank's
  /// Damage of a treatment (canonical text) to a group of sites; finite, lower is better.
  std::map<std::string, std::map<std::string, double>> scores;
  /// Trace terms (named; for example "hessian") of each site; finite.
  std::map<std::string, std::map<std::string, double>> traces;

  bool operator==(const Statistics &) const = default;

  /// What entered `site`: an expert that was not seen by itself has its bank's. Null: unknown.
  const SiteStatistics *inputOf(llvm::StringRef site) const;
  /// The same, where it is needed: an error (invalid input) that names `site` if it is unknown.
  llvm::Expected<const SiteStatistics &> neededInputOf(llvm::StringRef site) const;

  /// Nothing when these statistics were made with `wanted`; else an error (invalid
  /// input) that names `file`, the first field that differs, and what to do.
  llvm::Error checkFits(const StatisticsKey &wanted, llvm::StringRef file) const;
};

/// Hash of a calibration text, 16 hexadecimal digits.
std::string calibrationTextHash(llvm::StringRef text);

/// The file's text; equal statistics give equal bytes.
std::string printStatistics(const Statistics &statistics);

/// Hash of the file's text, 16 hexadecimal digits: what a recipe names.
std::string statisticsHash(const Statistics &statistics);

/// Parses and validates; `file` is used in messages. Errors (invalid input) name the file,
/// the site and the field, what was found and what was expected.
llvm::Expected<Statistics> parseStatistics(llvm::StringRef text, llvm::StringRef file);

/// Reads a file. A missing or unreadable file is invalid input.
llvm::Expected<Statistics> readStatistics(llvm::StringRef path);

/// Writes aside, fsyncs and renames; a failure is a machine failure, no file is left.
llvm::Error writeStatistics(const Statistics &statistics, llvm::StringRef path);

} // namespace qplan
#endif // QPLAN_PASSES_SEARCH_STATISTICS_H

//===- Front.h - what a search found, kept ----------------------*- C++ -*-===//
//
// A search leaves three things that outlive it: what every candidate would cost and
// damage at every group, the best trade-offs between them, and the one that was chosen.
// They are one JSON document: `qplan search -o front.json` writes it, another budget is
// answered from it without the model, and a plan that came from a search carries it as
// search.json, for `qplan report`.
//
//===----------------------------------------------------------------------===//
#ifndef QPLAN_PASSES_SEARCH_FRONT_H
#define QPLAN_PASSES_SEARCH_FRONT_H

#include <cstdint>
#include <llvm/ADT/ArrayRef.h>
#include <llvm/ADT/StringRef.h>
#include <llvm/Support/Error.h>
#include <optional>
#include <string>
#include <vector>

namespace qplan {

/// One candidate at one group. All numbers are finite and >= 0.
struct FrontCell {
  double bits = 0;                    ///< stored bits of the group (not for each weight)
  std::optional<double> modeloptBits; ///< as ModelOpt counts; absent: it has none
  double kl = 0;                      ///< predicted divergence on the logits, nats
  std::optional<double> decodeMs;     ///< predicted time of the group in one decode step
  bool allowed = true;                ///< false: no kernel or export takes it; never chosen

  bool operator==(const FrontCell &) const = default;
};

/// Sites that get one treatment together.
struct FrontGroup {
  std::string name;
  std::vector<std::string> sites; ///< names, at least one; a site is in one group only
  int64_t elements = 0;           ///< weights of all its sites, >= 1
  std::vector<FrontCell> cells;   ///< one for each of SearchFront::candidates

  bool operator==(const FrontGroup &) const = default;
};

/// One assignment of candidates to groups, and of a format to the cache where the search weighed
/// several, and what it sums to.
struct FrontPoint {
  double bits = 0;                    ///< stored bits for each weight in scope
  std::optional<double> modeloptBits; ///< as ModelOpt counts; absent: one group has none
  double kl = 0;                      ///< predicted divergence, nats
  std::optional<double> decodeMs;     ///< predicted time of one decode step, the rest included
  std::optional<double> measuredKl;   ///< of the assembled model on held-back text, where run
  std::vector<uint32_t> choice;       ///< candidate of each group; empty where it is not kept
  std::optional<uint32_t> cache;      ///< of SearchFront::caches; absent where none were weighed

  bool operator==(const FrontPoint &) const = default;
};

/// One format of keys and values that the search weighed.
struct FrontCache {
  std::string format;             ///< name of its row in Formats.td; caches can have it
  double kl = 0;                  ///< measured divergence with only the cache changed, nats
  double bytesPerToken = 0;       ///< of one sequence, all layers
  std::optional<double> decodeMs; ///< time that a full cache adds to one decode step

  bool operator==(const FrontCache &) const = default;
};

/// The document. Lists are in the order of the search: groups as the model has them.
struct SearchFront {
  std::string modelHash;               ///< Checkpoint::contentHash()
  std::string statisticsHash;          ///< statisticsHash() of the scores; may be empty
  std::string target;                  ///< what decodeMs was timed for; empty: nothing was
  std::vector<std::string> scopes;     ///< "layers", "lm_head", "embedding"
  std::vector<std::string> ties;       ///< "qkv", "gate_up", "experts"
  bool singleExperts = false;          ///< every expert of a mixture is a site, not every bank
  std::string rotate;                  ///< Rotations::text() of the model that was searched
  std::vector<std::string> candidates; ///< canonical treatments, at least one
  std::vector<FrontGroup> groups;      ///< at least one
  std::vector<FrontPoint> points;      ///< best trade-offs by rising bits; may be empty
  std::optional<FrontPoint> chosen;    ///< what the plan or recipe took
  std::vector<FrontCache> caches;      ///< what keys and values could be kept in; may be empty
  int64_t context = 0;                 ///< tokens of the cache that counts; 0 without caches
  std::optional<double> baseDecodeMs;  ///< of one step, without the groups
  /// Lists of at least two places in `groups` whose sites read the same input, so that one launch
  /// does those which are stored alike; no group twice in a list.
  std::vector<std::vector<uint32_t>> fused;
  double splitMs = 0; ///< what each further launch that such a list needs adds to a step

  bool operator==(const SearchFront &) const = default;

  /// The sums of `choice`, one candidate for each group, and of the cache's format, if any.
  FrontPoint pointOf(std::vector<uint32_t> choice, std::optional<uint32_t> cache = {}) const;
  /// The launches that `choice` needs beyond one for each list of `fused`.
  int64_t splitsOf(llvm::ArrayRef<uint32_t> choice) const;
  /// What they add to the sum of the groups' decode times.
  double splitTime(llvm::ArrayRef<uint32_t> choice) const {
    return splitMs * double(splitsOf(choice));
  }
  /// Bytes of `cache` of one sequence of `context` tokens.
  double bytesOf(const FrontCache &cache) const { return cache.bytesPerToken * double(context); }
  /// Bytes of the weights in scope and of the point's cache of one sequence of `context` tokens.
  double memoryBytes(const FrontPoint &point) const;
  /// The place of the format `name` in `caches`, if it is there.
  std::optional<uint32_t> cacheNamed(llvm::StringRef name) const;
  /// An error (invalid input) naming `file` unless the front is of the model `hash`.
  llvm::Error checkModel(llvm::StringRef hash, llvm::StringRef file) const;
};

/// The document's text; equal fronts give equal bytes.
std::string printFront(const SearchFront &front);

/// Parses and validates; `file` is used in messages. Errors (invalid input) name the file
/// and the field: another version, a missing field, a number out of range, a choice that is no
/// candidate, treatments or site names that cannot be.
llvm::Expected<SearchFront> parseFront(llvm::StringRef text, llvm::StringRef file);

/// Reads a file of at most 1 GiB. A missing file is invalid input.
llvm::Expected<SearchFront> readFront(llvm::StringRef path);

/// Writes aside and renames; a failure is a machine failure and leaves no file.
llvm::Error writeFront(const SearchFront &front, llvm::StringRef path);

} // namespace qplan
#endif // QPLAN_PASSES_SEARCH_FRONT_H

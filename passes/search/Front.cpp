//===- Front.cpp - what a search found, in and out ------------------------===//
//
// Cells are written as columns of one matrix for each kind of number, one row a group:
// a front of a thousand groups stays readable and a tenth of the size of objects.
//
//===----------------------------------------------------------------------===//

#include "passes/search/Front.h"

#include "ir/Failure.h"
#include "ir/Formats.h"
#include "passes/search/JsonText.h"
#include "passes/search/Rotations.h"
#include "passes/search/SiteGlob.h"
#include "passes/search/TextFile.h"
#include "passes/search/Treatment.h"

#include <cmath>
#include <llvm/ADT/STLExtras.h>
#include <llvm/ADT/StringSet.h>
#include <set>

namespace qplan {
namespace {

using Json = nlohmann::json; // sorted keys: equal fronts, equal bytes
constexpr int fileVersion = 1;
constexpr uint64_t frontLimit = uint64_t(1) << 30;

//===----------------------------------------------------------------------===//
// Out
//===----------------------------------------------------------------------===//

Json number(const std::optional<double> &value) { return value ? Json(*value) : Json(nullptr); }

Json printPoint(const FrontPoint &point, const SearchFront &front) {
  Json json = {{"bits", point.bits},
               {"modelopt_bits", number(point.modeloptBits)},
               {"kl", point.kl},
               {"decode_ms", number(point.decodeMs)},
               {"measured_kl", number(point.measuredKl)},
               {"choice", point.choice}};
  if (point.cache)
    json["cache"] = front.caches[*point.cache].format;
  return json;
}

Json printGroup(const FrontGroup &group) {
  Json json = {{"name", group.name}, {"sites", group.sites}, {"elements", group.elements}};
  for (const char *key : {"bits", "modelopt_bits", "kl", "decode_ms", "allowed"})
    json[key] = Json::array();
  for (const FrontCell &cell : group.cells) {
    json["bits"].push_back(cell.bits);
    json["modelopt_bits"].push_back(number(cell.modeloptBits));
    json["kl"].push_back(cell.kl);
    json["decode_ms"].push_back(number(cell.decodeMs));
    json["allowed"].push_back(cell.allowed);
  }
  return json;
}

//===----------------------------------------------------------------------===//
// In
//===----------------------------------------------------------------------===//

/// Turns parsed JSON into a SearchFront, field by field. Reading stops at the first fault,
/// which `fault` then holds.
class FrontReader {
public:
  explicit FrontReader(llvm::StringRef file) : file(file.str()) {}
  llvm::Expected<SearchFront> read(const Json &json);

private:
  template <typename... Args>
  bool failed(fmt::format_string<Args...> format, Args &&...args) {
    if (fault.empty())
      fault = fmt::format(format, std::forward<Args>(args)...);
    return false;
  }

  /// The field `key`, or null after a fault.
  const Json *field(const Json &json, const std::string &where, const char *key) {
    if (!json.is_object() || !json.contains(key)) {
      failed("{} has no '{}'", where, key);
      return nullptr;
    }
    return &json[key];
  }

  const Json *list(const Json &json, const std::string &where, const char *key) {
    const Json *found = field(json, where, key);
    if (found && found->is_array())
      return found;
    failed("'{}' of {} is no list", key, where);
    return nullptr;
  }

  bool readNumber(const Json &value, const std::string &where, const char *key, double &out) {
    if (!value.is_number() || !std::isfinite(value.get<double>()) || value.get<double>() < 0)
      return failed("'{}' of {} is no finite number >= 0", key, where);
    out = value.get<double>();
    return true;
  }

  bool readOptional(const Json &value, const std::string &where, const char *key,
                    std::optional<double> &out) {
    double found = 0;
    if (value.is_null())
      return true;
    if (!readNumber(value, where, key, found))
      return false;
    out = found;
    return true;
  }

  bool readText(const Json &json, const char *key, std::string &out) {
    const Json *found = field(json, "the file", key);
    if (!found || !found->is_string())
      return failed("'{}' is no text", key);
    out = found->get<std::string>();
    return true;
  }

  bool readTexts(const Json &json, const std::string &where, const char *key,
                 std::vector<std::string> &out) {
    const Json *found = list(json, where, key);
    for (size_t i = 0; found && i < found->size(); ++i) {
      if (!(*found)[i].is_string())
        return failed("entry {} of '{}' of {} is no text", i, key, where);
      out.push_back((*found)[i].get<std::string>());
    }
    return found;
  }

  bool readCandidates(const Json &json, SearchFront &front);
  bool readGroup(const Json &json, size_t index, SearchFront &front);
  bool readCells(const Json &json, const std::string &where, FrontGroup &group, size_t count);
  bool readPoint(const Json &json, const std::string &where, const SearchFront &front,
                 FrontPoint &point);
  bool readCaches(const Json &json, SearchFront &front);
  bool readFused(const Json &json, SearchFront &front);
  bool readAll(const Json &json, SearchFront &front);

  std::string file, fault;
  llvm::StringSet<> seen; ///< sites that groups have
};

bool FrontReader::readCandidates(const Json &json, SearchFront &front) {
  if (!readTexts(json, "the file", "candidates", front.candidates))
    return false;
  for (const std::string &candidate : front.candidates)
    if (auto treatment = parseTreatment(candidate); !treatment)
      return failed("candidate '{}': {}", shownText(candidate),
                    llvm::toString(treatment.takeError()));
  return !front.candidates.empty() || failed("'candidates' is empty");
}

bool FrontReader::readCells(const Json &json, const std::string &where, FrontGroup &group,
                            size_t count) {
  group.cells.resize(count);
  const Json *columns[5] = {};
  const char *keys[5] = {"bits", "modelopt_bits", "kl", "decode_ms", "allowed"};
  for (int k = 0; k < 5; ++k) {
    columns[k] = list(json, where, keys[k]);
    if (!columns[k] || columns[k]->size() != count)
      return failed("'{}' of {} has {} entries for {} candidates", keys[k], where,
                    columns[k] ? columns[k]->size() : 0, count);
  }
  for (size_t c = 0; c < count; ++c) {
    FrontCell &cell = group.cells[c];
    const Json &allowed = (*columns[4])[c];
    if (!readNumber((*columns[0])[c], where, keys[0], cell.bits) ||
        !readOptional((*columns[1])[c], where, keys[1], cell.modeloptBits) ||
        !readNumber((*columns[2])[c], where, keys[2], cell.kl) ||
        !readOptional((*columns[3])[c], where, keys[3], cell.decodeMs))
      return false;
    if (!allowed.is_boolean())
      return failed("'allowed' of {} holds more than true and false", where);
    cell.allowed = allowed.get<bool>();
  }
  return true;
}

bool FrontReader::readGroup(const Json &json, size_t index, SearchFront &front) {
  std::string where = fmt::format("group {}", index);
  FrontGroup group;
  const Json *name = field(json, where, "name");
  const Json *elements = field(json, where, "elements");
  if (!name || !name->is_string() || !elements || !elements->is_number_unsigned() ||
      elements->get<uint64_t>() == 0 || elements->get<uint64_t>() >> 53)
    return failed("{} has no name, or no count of weights from 1 to 2^53", where);
  group.name = name->get<std::string>();
  group.elements = elements->get<int64_t>();
  where = "group '" + shownText(group.name) + "'";
  if (!readTexts(json, where, "sites", group.sites))
    return false;
  for (const std::string &site : group.sites)
    if (!isSiteName(site) || !seen.insert(site).second)
      return failed("{} has '{}', which is no site name or in another group too", where,
                    shownText(site));
  if (group.sites.empty())
    return failed("{} has no sites", where);
  if (!readCells(json, where, group, front.candidates.size()))
    return false;
  front.groups.push_back(std::move(group));
  return true;
}

bool FrontReader::readPoint(const Json &json, const std::string &where, const SearchFront &front,
                            FrontPoint &point) {
  auto need = [&](const char *key, double &out) {
    const Json *value = field(json, where, key);
    return value && readNumber(*value, where, key, out);
  };
  auto may = [&](const char *key, std::optional<double> &out) {
    const Json *value = field(json, where, key);
    return value && readOptional(*value, where, key, out);
  };
  if (!need("bits", point.bits) || !need("kl", point.kl) ||
      !may("modelopt_bits", point.modeloptBits) || !may("decode_ms", point.decodeMs) ||
      !may("measured_kl", point.measuredKl))
    return false;
  if (const auto cache = json.find("cache"); cache != json.end()) {
    point.cache =
        cache->is_string() ? front.cacheNamed(cache->get_ref<const std::string &>()) : std::nullopt;
    if (!point.cache)
      return failed("'cache' of {} is none of 'caches'", where);
  }
  const Json *choice = list(json, where, "choice");
  if (!choice || (!choice->empty() && choice->size() != front.groups.size()))
    return failed("'choice' of {} has {} entries for {} groups", where, choice ? choice->size() : 0,
                  front.groups.size());
  for (const Json &entry : *choice) {
    if (!entry.is_number_unsigned() || entry.get<uint64_t>() >= front.candidates.size())
      return failed("'choice' of {} names a candidate that does not exist", where);
    point.choice.push_back(entry.get<uint32_t>());
  }
  return true;
}

bool FrontReader::readCaches(const Json &json, SearchFront &front) {
  const Json *caches = list(json, "the file", "caches");
  if (caches && !caches->empty()) {
    const Json *context = field(json, "the file", "context");
    if (!context || !context->is_number_unsigned() || context->get<uint64_t>() == 0 ||
        context->get<uint64_t>() >> 31)
      return failed("'context' is no count of tokens from 1 to 2^31");
    front.context = context->get<int64_t>();
  }
  for (size_t i = 0; caches && i < caches->size(); ++i) {
    const Json &entry = (*caches)[i];
    std::string where = fmt::format("cache {}", i);
    FrontCache cache;
    const Json *format = field(entry, where, "format"), *kl = field(entry, where, "kl"),
               *bytes = field(entry, where, "bytes_per_token"),
               *time = field(entry, where, "decode_ms");
    if (!format || !format->is_string() || !kl || !bytes || !time)
      return failed("{} is incomplete", where);
    cache.format = format->get<std::string>();
    auto known = parseFormat(cache.format);
    if (!known)
      llvm::consumeError(known.takeError());
    if (!known || !formatInfo(*known).isKv || front.cacheNamed(cache.format))
      return failed("{} is of '{}', which caches cannot have or which occurs twice", where,
                    shownText(cache.format));
    if (!readNumber(*kl, where, "kl", cache.kl) ||
        !readNumber(*bytes, where, "bytes_per_token", cache.bytesPerToken) ||
        !readOptional(*time, where, "decode_ms", cache.decodeMs))
      return false;
    front.caches.push_back(std::move(cache));
  }
  return caches;
}

bool FrontReader::readFused(const Json &json, SearchFront &front) {
  if (!json.contains("fused"))
    return true;
  const Json *lists = list(json, "the file", "fused");
  const Json *split = field(json, "the file", "split_ms");
  if (!lists || !split || !readNumber(*split, "the file", "split_ms", front.splitMs))
    return false;
  for (const Json &places : *lists) {
    std::vector<uint32_t> &fused = front.fused.emplace_back();
    for (const Json &place : places) {
      if (!place.is_number_unsigned() || place.get<uint64_t>() >= front.groups.size() ||
          llvm::is_contained(fused, place.get<uint32_t>()))
        return failed("a list of 'fused' has more than places of groups, each once");
      fused.push_back(place.get<uint32_t>());
    }
    if (fused.size() < 2)
      return failed("a list of 'fused' has less than two groups");
  }
  return true;
}

bool FrontReader::readAll(const Json &json, SearchFront &front) {
  if (!readText(json, "model", front.modelHash) ||
      !readText(json, "statistics", front.statisticsHash) ||
      !readText(json, "target", front.target) ||
      !readTexts(json, "the file", "sites", front.scopes) ||
      !readTexts(json, "the file", "ties", front.ties) || !readCandidates(json, front))
    return false;
  if (const auto experts = json.find("experts"); experts != json.end()) {
    if (*experts != "single")
      return failed("'experts' is not 'single'");
    front.singleExperts = true;
  }
  if (json.contains("rotate")) {
    if (!readText(json, "rotate", front.rotate))
      return false;
    if (auto known = parseRotations(front.rotate); !known || known->text() != front.rotate) {
      llvm::consumeError(known.takeError());
      return failed("'rotate' is not residual, values, down, joined with +");
    }
  }
  const Json *groups = list(json, "the file", "groups");
  for (size_t g = 0; groups && g < groups->size(); ++g)
    if (!readGroup((*groups)[g], g, front))
      return false;
  const Json *points = list(json, "the file", "points");
  const Json *chosen = field(json, "the file", "chosen");
  const Json *base = field(json, "the file", "base_decode_ms");
  if (!groups || !points || !chosen || !base)
    return false;
  if (groups->empty())
    return failed("'groups' is empty");
  if (!readCaches(json, front) || // points name them
      !readFused(json, front))
    return false;
  for (size_t p = 0; p < points->size(); ++p)
    if (!readPoint((*points)[p], fmt::format("point {}", p), front, front.points.emplace_back()))
      return false;
  if (!chosen->is_null() && !readPoint(*chosen, "'chosen'", front, front.chosen.emplace()))
    return false;
  return readOptional(*base, "the file", "base_decode_ms", front.baseDecodeMs);
}

llvm::Expected<SearchFront> FrontReader::read(const Json &json) {
  if (!json.is_object() || !json.contains("qplan_front"))
    return inputError("{}: this is no front of a search: it has no 'qplan_front'; `qplan search` "
                      "writes one",
                      file);
  if (json["qplan_front"] != fileVersion)
    return inputError("{}: this is a front of another version; expected {}; search again", file,
                      fileVersion);
  SearchFront front;
  if (readAll(json, front))
    return front;
  return inputError("{}: {}; search again to make the file anew", file, fault);
}

} // namespace

FrontPoint SearchFront::pointOf(std::vector<uint32_t> choice, std::optional<uint32_t> cache) const {
  FrontPoint point;
  double elements = 0;
  // One unknown term leaves a sum unknown.
  auto add = [](std::optional<double> &sum, const std::optional<double> &term) {
    sum = sum && term ? std::optional<double>(*sum + *term) : std::nullopt;
  };
  point.decodeMs = baseDecodeMs;
  if (point.decodeMs)
    *point.decodeMs += splitTime(choice);
  point.modeloptBits = 0;
  for (size_t g = 0; g < groups.size(); ++g) {
    const FrontCell &cell = groups[g].cells[choice[g]];
    elements += double(groups[g].elements);
    point.bits += cell.bits;
    point.kl += cell.kl;
    add(point.modeloptBits, cell.modeloptBits);
    add(point.decodeMs, cell.decodeMs);
  }
  point.bits /= elements;
  if (point.modeloptBits)
    *point.modeloptBits /= elements;
  if (cache) {
    point.kl += caches[*cache].kl;
    add(point.decodeMs, caches[*cache].decodeMs);
  }
  point.choice = std::move(choice);
  point.cache = cache;
  return point;
}

int64_t SearchFront::splitsOf(llvm::ArrayRef<uint32_t> choice) const {
  int64_t splits = 0;
  for (const std::vector<uint32_t> &list : fused) {
    std::set<llvm::StringRef> formats; // methods do not matter to kernels
    for (uint32_t group : list)
      formats.insert(llvm::StringRef(candidates[choice[group]]).split('@').first);
    splits += int64_t(formats.size()) - 1;
  }
  return splits;
}

double SearchFront::memoryBytes(const FrontPoint &point) const {
  double elements = 0;
  for (const FrontGroup &group : groups)
    elements += double(group.elements);
  return point.bits * elements / 8 + (point.cache ? bytesOf(caches[*point.cache]) : 0.0);
}

std::optional<uint32_t> SearchFront::cacheNamed(llvm::StringRef name) const {
  for (auto [i, cache] : llvm::enumerate(caches))
    if (cache.format == name)
      return uint32_t(i);
  return std::nullopt;
}

llvm::Error SearchFront::checkModel(llvm::StringRef hash, llvm::StringRef file) const {
  if (modelHash == hash)
    return llvm::Error::success();
  return inputError("{}: this search was of the model {}, but this one is {}; search again, or "
                    "name the front of this model",
                    file.str(), shownText(modelHash), hash.str());
}

std::string printFront(const SearchFront &front) {
  Json json = {{"qplan_front", fileVersion},
               {"model", front.modelHash},
               {"statistics", front.statisticsHash},
               {"target", front.target},
               {"sites", front.scopes},
               {"ties", front.ties},
               {"candidates", front.candidates},
               {"base_decode_ms", number(front.baseDecodeMs)},
               {"chosen", front.chosen ? printPoint(*front.chosen, front) : Json(nullptr)}};
  if (front.singleExperts)
    json["experts"] = "single";
  if (!front.rotate.empty())
    json["rotate"] = front.rotate;
  if (!front.fused.empty()) {
    json["fused"] = front.fused;
    json["split_ms"] = front.splitMs;
  }
  if (!front.caches.empty())
    json["context"] = front.context;
  for (const char *key : {"groups", "points", "caches"})
    json[key] = Json::array();
  for (const FrontGroup &group : front.groups)
    json["groups"].push_back(printGroup(group));
  for (const FrontPoint &point : front.points)
    json["points"].push_back(printPoint(point, front));
  for (const FrontCache &cache : front.caches)
    json["caches"].push_back({{"format", cache.format},
                              {"kl", cache.kl},
                              {"bytes_per_token", cache.bytesPerToken},
                              {"decode_ms", number(cache.decodeMs)}});
  return json.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n";
}

llvm::Expected<SearchFront> parseFront(llvm::StringRef text, llvm::StringRef file) {
  auto json = parseJsonText(text, file, "front of a search");
  if (!json)
    return json.takeError();
  return FrontReader(file).read(*json);
}

llvm::Expected<SearchFront> readFront(llvm::StringRef path) {
  auto buffer = readTextFile(path, "front", frontLimit);
  if (!buffer)
    return buffer.takeError();
  return parseFront((*buffer)->getBuffer(), path);
}

llvm::Error writeFront(const SearchFront &front, llvm::StringRef path) {
  return writeTextFile(path, "front", printFront(front));
}

} // namespace qplan

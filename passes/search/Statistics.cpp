//===- Statistics.cpp - statistics files in and out -----------------------===//
//
// One reader that names the field at fault; JsonText.h decides how far text is trusted.
//
//===----------------------------------------------------------------------===//
#include "passes/search/Statistics.h"

#include "ir/Failure.h"
#include "passes/search/JsonText.h"
#include "passes/search/SiteGlob.h"
#include "passes/search/TextFile.h"

#include <cmath>
#include <cstring>
#include <llvm/Support/Base64.h>
#include <llvm/Support/Endian.h>
#include <llvm/Support/xxhash.h>

namespace qplan {
namespace {

using Json = nlohmann::json; // sorted keys: a site is found in logarithmic time
constexpr int fileVersion = 3;
constexpr uint64_t statisticsLimit = uint64_t(4) << 30;
constexpr uint64_t countLimit = uint64_t(1) << 53; // what JSON readers keep exactly

std::string encodeVector(const std::vector<float> &values) {
  std::string bytes(values.size() * 4, '\0');
  for (size_t i = 0; i < values.size(); ++i) {
    uint32_t bits;
    std::memcpy(&bits, &values[i], 4);
    llvm::support::endian::write32le(&bytes[i * 4], bits);
  }
  return llvm::encodeBase64(bytes);
}

std::string hashOf(llvm::StringRef text) { return fmt::format("{:016x}", llvm::xxHash64(text)); }

Json printSite(const SiteStatistics &site) {
  Json json;
  json["rows"] = site.rows;
  json["columns"] = site.absMax.size();
  json["abs_max"] = encodeVector(site.absMax);
  json["mean_square"] = encodeVector(site.meanSquare);
  json["mean_abs"] = encodeVector(site.meanAbs);
  return json;
}

Json printTable(const std::map<std::string, std::map<std::string, double>> &table) {
  Json json = Json::object();
  for (const auto &[name, row] : table) {
    Json &line = json[name] = Json::object();
    for (const auto &[key, value] : row)
      line[key] = value;
  }
  return json;
}

/// Turns parsed JSON into Statistics, field by field.
class StatisticsReader {
public:
  explicit StatisticsReader(llvm::StringRef file) : file(file.str()) {}
  llvm::Expected<Statistics> read(const Json &json);

private:
  template <typename... Args>
  llvm::Error failed(fmt::format_string<Args...> format, Args &&...args) {
    return inputError("{}: {}; delete the file to make it anew", file,
                      fmt::format(format, std::forward<Args>(args)...));
  }
  llvm::Error checkKeys(const Json &json, llvm::StringRef where,
                        llvm::ArrayRef<llvm::StringRef> keys);
  llvm::Error readCount(const Json &json, llvm::StringRef where, llvm::StringRef key,
                        uint64_t &value);
  llvm::Error readText(const Json &json, llvm::StringRef key, std::string &value);
  llvm::Error readVector(const Json &json, llvm::StringRef site, llvm::StringRef key,
                         uint64_t columns, std::vector<float> &values);
  llvm::Error readSite(const std::string &name, const Json &json, SiteStatistics &site);
  llvm::Error readTable(const Json &json, llvm::StringRef what,
                        std::map<std::string, std::map<std::string, double>> &table);
  std::string file;
};

/// `json` must be an object with exactly `keys`.
llvm::Error StatisticsReader::checkKeys(const Json &json, llvm::StringRef where,
                                        llvm::ArrayRef<llvm::StringRef> keys) {
  if (!json.is_object())
    return failed("{} is {}, expected an object", shownText(where), json.type_name());
  for (llvm::StringRef key : keys)
    if (!json.contains(key.str()))
      return failed("{} has no '{}'", shownText(where), key.str());
  for (const auto &[key, value] : json.items())
    if (!llvm::is_contained(keys, key))
      return failed("{} has the unknown field '{}'", shownText(where), shownText(key));
  return llvm::Error::success();
}

llvm::Error StatisticsReader::readCount(const Json &json, llvm::StringRef where,
                                        llvm::StringRef key, uint64_t &value) {
  const Json &field = json[key.str()];
  if (!field.is_number_unsigned() || field.get<uint64_t>() > countLimit)
    return failed("'{}' of {} is {}, expected a whole number up to 2^53", key.str(),
                  shownText(where), field.is_number() ? "another number" : field.type_name());
  value = field.get<uint64_t>();
  return llvm::Error::success();
}

llvm::Error StatisticsReader::readText(const Json &json, llvm::StringRef key, std::string &value) {
  const Json &field = json[key.str()];
  if (!field.is_string())
    return failed("'{}' is {}, expected a text", key.str(), field.type_name());
  value = field.get<std::string>();
  return llvm::Error::success();
}

llvm::Error StatisticsReader::readVector(const Json &json, llvm::StringRef site,
                                         llvm::StringRef key, uint64_t columns,
                                         std::vector<float> &values) {
  const Json &field = json[key.str()];
  if (!field.is_string())
    return failed("'{}' of site '{}' is {}, expected base64 text", key.str(), shownText(site),
                  field.type_name());
  std::vector<char> bytes;
  if (auto error = llvm::decodeBase64(field.get_ref<const std::string &>(), bytes))
    return failed("'{}' of site '{}' is not base64: {}", key.str(), shownText(site),
                  llvm::toString(std::move(error)));
  if (bytes.size() % 4 != 0 || bytes.size() / 4 != columns)
    return failed("'{}' of site '{}' has {} bytes, expected {} columns of 4", key.str(),
                  shownText(site), bytes.size(), columns);
  values.resize(columns);
  for (size_t i = 0; i < columns; ++i) {
    uint32_t bits = llvm::support::endian::read32le(&bytes[i * 4]);
    std::memcpy(&values[i], &bits, 4);
    if (!std::isfinite(values[i]) || values[i] < 0)
      return failed("'{}' of site '{}' is {} in column {}, expected a finite number >= 0",
                    key.str(), shownText(site), values[i], i);
  }
  return llvm::Error::success();
}

llvm::Error StatisticsReader::readSite(const std::string &name, const Json &json,
                                       SiteStatistics &site) {
  if (!isSiteName(name))
    return failed("'{}' is no site name", shownText(name));
  std::string where = "site '" + name + "'";
  if (auto error =
          checkKeys(json, where, {"rows", "columns", "abs_max", "mean_square", "mean_abs"}))
    return error;
  uint64_t columns = 0;
  if (auto error = readCount(json, where, "rows", site.rows))
    return error;
  if (auto error = readCount(json, where, "columns", columns))
    return error;
  if (columns == 0)
    return failed("{} has no columns", where);
  if (auto error = readVector(json, name, "abs_max", columns, site.absMax))
    return error;
  if (auto error = readVector(json, name, "mean_square", columns, site.meanSquare))
    return error;
  return readVector(json, name, "mean_abs", columns, site.meanAbs);
}

llvm::Error
StatisticsReader::readTable(const Json &json, llvm::StringRef what,
                            std::map<std::string, std::map<std::string, double>> &table) {
  if (!json.is_object())
    return failed("'{}' is {}, expected an object", what.str(), json.type_name());
  for (const auto &[name, row] : json.items()) {
    if (!row.is_object())
      return failed("'{}' of '{}' is {}, expected an object", what.str(), shownText(name),
                    row.type_name());
    auto &line = table[name];
    for (const auto &[key, value] : row.items()) {
      if (!value.is_number() || !std::isfinite(value.get<double>()))
        return failed("'{}' of '{}' for '{}' is no finite number", what.str(), shownText(name),
                      shownText(key));
      line[key] = value.get<double>();
    }
  }
  return llvm::Error::success();
}

llvm::Expected<Statistics> StatisticsReader::read(const Json &json) {
  if (!json.is_object() || !json.contains("qplan_statistics"))
    return failed("this is no statistics file: it has no 'qplan_statistics'");
  if (json["qplan_statistics"] != fileVersion)
    return failed("this is a statistics file of another version; expected {}", fileVersion);
  if (auto error = checkKeys(json, "the file",
                             {"qplan_statistics", "model", "calibration", "samples", "length",
                              "rotate", "sites", "scores", "traces"}))
    return std::move(error);
  Statistics result;
  if (auto error = readText(json, "model", result.key.modelHash))
    return std::move(error);
  if (auto error = readText(json, "calibration", result.key.calibrationHash))
    return std::move(error);
  if (auto error = readCount(json, "the file", "samples", result.key.samples))
    return std::move(error);
  if (auto error = readCount(json, "the file", "length", result.key.length))
    return std::move(error);
  if (auto error = readText(json, "rotate", result.key.rotate))
    return std::move(error);
  if (!json["sites"].is_object())
    return failed("'sites' is {}, expected an object", json["sites"].type_name());
  for (const auto &[name, site] : json["sites"].items())
    if (auto error = readSite(name, site, result.sites[name]))
      return std::move(error);
  if (auto error = readTable(json["scores"], "scores", result.scores))
    return std::move(error);
  if (auto error = readTable(json["traces"], "traces", result.traces))
    return std::move(error);
  return result;
}

} // namespace

static std::string textOr(const std::string &text, const char *nothing) {
  return text.empty() ? nothing : text;
}

llvm::Error Statistics::checkFits(const StatisticsKey &wanted, llvm::StringRef file) const {
  auto differs = [&](llvm::StringRef what, const auto &found, const auto &expected) {
    return inputError(
        "{}: these statistics were made with {} {}, but this run has {}; name another "
        "file with --statistics, or delete this one",
        file.str(), what.str(), found, expected);
  };
  if (key.modelHash != wanted.modelHash)
    return differs("the model", key.modelHash, wanted.modelHash);
  if (key.calibrationHash != wanted.calibrationHash)
    return differs("the calibration text", key.calibrationHash, wanted.calibrationHash);
  if (key.samples != wanted.samples)
    return differs("--calib-samples", key.samples, wanted.samples);
  if (key.length != wanted.length)
    return differs("--calib-length", key.length, wanted.length);
  if (key.rotate != wanted.rotate)
    return differs("--rotate", textOr(key.rotate, "none"), textOr(wanted.rotate, "none"));
  return llvm::Error::success();
}

const SiteStatistics *Statistics::inputOf(llvm::StringRef site) const {
  auto found = sites.find(site.str());
  if (found == sites.end())
    found = sites.find(bankOf(site));
  return found == sites.end() ? nullptr : &found->second;
}

llvm::Expected<const SiteStatistics &> Statistics::neededInputOf(llvm::StringRef site) const {
  if (const SiteStatistics *found = inputOf(site))
    return *found;
  return inputError("site {}: the statistics do not hold it; make them again", site.str());
}

std::string calibrationTextHash(llvm::StringRef text) { return hashOf(text); }

std::string printStatistics(const Statistics &statistics) {
  Json json;
  json["qplan_statistics"] = fileVersion;
  json["model"] = statistics.key.modelHash;
  json["calibration"] = statistics.key.calibrationHash;
  json["samples"] = statistics.key.samples;
  json["length"] = statistics.key.length;
  json["rotate"] = statistics.key.rotate;
  Json &sites = json["sites"] = Json::object();
  for (const auto &[name, site] : statistics.sites)
    sites[name] = printSite(site);
  json["scores"] = printTable(statistics.scores);
  json["traces"] = printTable(statistics.traces);
  return json.dump(1, ' ', false, Json::error_handler_t::replace) + "\n";
}

std::string statisticsHash(const Statistics &statistics) {
  return hashOf(printStatistics(statistics));
}

llvm::Expected<Statistics> parseStatistics(llvm::StringRef text, llvm::StringRef file) {
  auto json = parseJsonText(text, file, "statistics file");
  if (!json)
    return json.takeError();
  return StatisticsReader(file).read(*json);
}

llvm::Expected<Statistics> readStatistics(llvm::StringRef path) {
  auto buffer = readTextFile(path, "statistics", statisticsLimit);
  if (!buffer)
    return buffer.takeError();
  return parseStatistics((*buffer)->getBuffer(), path);
}

llvm::Error writeStatistics(const Statistics &statistics, llvm::StringRef path) {
  return writeTextFile(path, "statistics", printStatistics(statistics));
}

} // namespace qplan

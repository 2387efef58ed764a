//===- Config.cpp - a model's configuration, read with errors -------------===//
//
// Rotation scaling follows transformers' modeling_rope_utils: "llama3" from the
// Llama 3.1 release, "yarn" from arXiv:2309.00071.
//
//===----------------------------------------------------------------------===//

#include "ir/models/Config.h"

#include "ir/Failure.h"

#include <cmath>
#include <limits>
#include <numbers>

using namespace qplan;

const nlohmann::json *Config::find(llvm::StringRef key) const {
  auto it = values.find(key.str());
  return it == values.end() || it->is_null() ? nullptr : &*it;
}

bool Config::has(llvm::StringRef key) const { return find(key) != nullptr; }

void Config::problem(llvm::StringRef key, llvm::StringRef expected) {
  if (!firstProblem.empty())
    return;
  const nlohmann::json *found = find(key);
  std::string shown = found ? found->dump().substr(0, 80) : "nothing";
  firstProblem =
      fmt::format("{}: `{}` must be {}, found {}", origin, key.str(), expected.str(), shown);
}

void Config::refuse(llvm::StringRef key, llvm::StringRef expected) { problem(key, expected); }

void Config::note(llvm::Error error) {
  std::string message = llvm::toString(std::move(error));
  if (firstProblem.empty() && !message.empty())
    firstProblem = message;
}

llvm::Error Config::takeError() {
  if (firstProblem.empty())
    return llvm::Error::success();
  return inputError("{}", std::exchange(firstProblem, {}));
}

int64_t Config::integer(llvm::StringRef key, std::optional<int64_t> fallback) {
  const nlohmann::json *value = find(key);
  if (!value && fallback)
    return *fallback;
  // Stands in for a bad value until the caller sees the error: sizes derived
  // from it must be positive.
  if (!value || !value->is_number_integer() || value->get<double>() < 1 ||
      value->get<double>() >= 2147483648.0) {
    problem(key, "a whole number from 1 to 2147483647");
    return fallback.value_or(1);
  }
  return value->get<int64_t>();
}

double Config::real(llvm::StringRef key, std::optional<double> fallback) {
  const nlohmann::json *value = find(key);
  if (!value && fallback)
    return *fallback;
  // Kernels compute in f32; what it cannot hold would be infinite there.
  constexpr double most = std::numeric_limits<float>::max();
  if (!value || !value->is_number() || !(std::abs(value->get<double>()) <= most)) {
    problem(key, "a finite number");
    return fallback.value_or(1.0);
  }
  return value->get<double>();
}

double Config::positive(llvm::StringRef key, std::optional<double> fallback) {
  double value = real(key, fallback);
  if (value > 0 || !find(key))
    return value;
  problem(key, "a number above 0");
  return fallback.value_or(1.0);
}

double Config::notNegative(llvm::StringRef key, std::optional<double> fallback) {
  double value = real(key, fallback);
  if (value >= 0 || !find(key))
    return value;
  problem(key, "a number that is not below 0");
  return fallback.value_or(1.0);
}

bool Config::flag(llvm::StringRef key, bool fallback) {
  const nlohmann::json *value = find(key);
  if (!value)
    return fallback;
  if (!value->is_boolean()) {
    problem(key, "true or false");
    return fallback;
  }
  return value->get<bool>();
}

std::string Config::text(llvm::StringRef key, std::optional<std::string> fallback) {
  const nlohmann::json *value = find(key);
  if (!value && fallback)
    return *fallback;
  if (!value || !value->is_string()) {
    problem(key, "a string");
    return fallback.value_or("");
  }
  return value->get<std::string>();
}

std::optional<nlohmann::json> Config::entry(llvm::StringRef key, size_t index) const {
  const nlohmann::json *value = find(key);
  if (!value || !value->is_array() || index >= value->size())
    return std::nullopt;
  return (*value)[index];
}

Config Config::object(llvm::StringRef key) const {
  const nlohmann::json *value = find(key);
  std::string where = origin + ": " + key.str();
  return Config(value && value->is_object() ? *value : nlohmann::json::object(), where);
}

namespace {

constexpr double turn = 2 * std::numbers::pi;

void scaleLlama3(Config &scaling, std::vector<double> &frequency) {
  double factor = scaling.positive("factor");
  double low = scaling.positive("low_freq_factor"), high = scaling.positive("high_freq_factor");
  double original = double(scaling.integer("original_max_position_embeddings"));
  if (high <= low)
    return scaling.refuse("high_freq_factor", "larger than low_freq_factor");
  for (double &f : frequency) {
    double wavelength = turn / f;
    if (wavelength > original / low) {
      f /= factor;
    } else if (wavelength >= original / high) {
      double smooth = (original / wavelength - low) / (high - low);
      f = (1 - smooth) * f / factor + smooth * f;
    }
  }
}

/// The factor on attention of YaRN, section 3.4: 0.1 mscale ln(s) + 1.
double yarnMagnitude(double scale, double mscale) {
  return scale <= 1 ? 1.0 : 0.1 * mscale * std::log(scale) + 1.0;
}

void scaleYarn(Config &scaling, double theta, double maxPositions, Rope &rope) {
  double factor = scaling.positive("factor");
  double original = scaling.positive("original_max_position_embeddings", maxPositions);
  double mscale = scaling.real("mscale", 0.0), mscaleAll = scaling.real("mscale_all_dim", 0.0);
  double computed = mscale > 0 && mscaleAll > 0
                        ? yarnMagnitude(factor, mscale) / yarnMagnitude(factor, mscaleAll)
                        : yarnMagnitude(factor, 1.0);
  rope.attentionFactor = scaling.positive("attention_factor", computed);
  double dim = 2.0 * rope.inverseFrequency.size();
  auto correction = [&](double rotations) {
    return dim * std::log(original / (rotations * turn)) / (2 * std::log(theta));
  };
  double low = correction(scaling.positive("beta_fast", 32.0));
  double high = correction(scaling.positive("beta_slow", 1.0));
  if (scaling.flag("truncate", true)) {
    low = std::floor(low);
    high = std::ceil(high);
  }
  low = std::max(low, 0.0);
  high = std::min(high, dim - 1);
  if (low == high)
    high += 0.001;
  for (size_t i = 0; i < rope.inverseFrequency.size(); ++i) {
    double ramp = std::clamp((double(i) - low) / (high - low), 0.0, 1.0);
    double f = rope.inverseFrequency[i];
    rope.inverseFrequency[i] = f / factor * ramp + f * (1 - ramp);
  }
}

} // namespace

Rope qplan::readRope(Config &config, int64_t rotated) {
  // transformers 5 merges both spellings into rope_parameters.
  bool merged = config.has("rope_parameters");
  Config scaling = config.object(merged ? "rope_parameters" : "rope_scaling");
  double theta = merged ? scaling.real("rope_theta", 10000.0) : config.real("rope_theta", 10000.0);
  if (theta <= 1)
    (merged ? scaling : config).refuse("rope_theta", "a number above 1");
  std::string type = scaling.text("rope_type", scaling.text("type", "default"));

  Rope rope;
  for (int64_t i = 0; i < rotated / 2; ++i)
    rope.inverseFrequency.push_back(std::pow(theta, -2.0 * double(i) / double(rotated)));
  if (type == "linear") {
    double factor = scaling.positive("factor");
    for (double &f : rope.inverseFrequency)
      f /= factor;
  } else if (type == "llama3") {
    scaleLlama3(scaling, rope.inverseFrequency);
  } else if (type == "yarn") {
    scaleYarn(scaling, theta, config.real("max_position_embeddings", 0.0), rope);
  } else if (type != "default") {
    scaling.refuse("rope_type", "one of default, linear, llama3, yarn");
  }
  // GGUF keeps llama3's scaling as one divisor for each frequency.
  for (size_t i = 0; i < rope.inverseFrequency.size(); ++i)
    if (auto divisor = config.entry("rope_freq_factors", i); divisor && divisor->is_number())
      rope.inverseFrequency[i] /= divisor->get<double>();
  if (auto error = scaling.takeError())
    config.note(std::move(error));
  for (double f : rope.inverseFrequency)
    if (config.isGood() && !(f > 0 && f <= std::numeric_limits<float>::max()))
      config.note(inputError("{}: the rotation's settings give a position the angle {}; finite "
                             "angles above 0 are expected",
                             config.file(), f));
  return rope;
}

//===- Sampler.cpp - choose the next token from logits --------------------===//
//
// Greedy, temperature, top-k, top-p and repeat penalty. A seed gives the same tokens
// on every machine: the generator (xoshiro256**) and the exponential are our own,
// sums run in a fixed order in double, and this file is compiled without
// contraction to fused multiply-adds.
//===----------------------------------------------------------------------===//
#include "qplan/runtime.h"
#include "runtime/src/Status.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <deque>
#include <limits>
#include <vector>

using namespace qplan;

namespace {
/// xoshiro256** seeded by splitmix64.
class Random {
public:
  explicit Random(uint64_t seed) {
    for (uint64_t &word : state) {
      seed += 0x9E3779B97F4A7C15u;
      uint64_t z = seed;
      z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
      z = (z ^ z >> 27) * 0x94D049BB133111EBu;
      word = z ^ z >> 31;
    }
  }

  /// Uniform in [0, 1), 53 bits.
  double uniform() {
    uint64_t result = std::rotl(state[1] * 5, 7) * 9, shifted = state[1] << 17;
    state[2] ^= state[0];
    state[3] ^= state[1];
    state[1] ^= state[2];
    state[0] ^= state[3];
    state[2] ^= shifted;
    state[3] = std::rotl(state[3], 45);
    return static_cast<double>(result >> 11) * 0x1p-53;
  }

private:
  uint64_t state[4];
};

/// A token that may be drawn, with exp((logit - largest) / temperature).
struct Candidate {
  float logit;
  int32_t token;
  double weight;
};
} // namespace

struct qplan_sampler {
  explicit qplan_sampler(const qplan_sampling &settings)
      : settings(settings), random(settings.seed) {}

  const qplan_sampling settings;
  Random random;
  std::deque<int32_t> recent;        ///< the last repeat_window tokens
  std::vector<float> penalized;      ///< scratch: logits after the penalty
  std::vector<Candidate> candidates; ///< scratch
};

/// exp(x) for x <= 0 within 1e-15 relative, from additions and multiplications alone.
static double expNonPositive(double x) {
  if (x < -700.0)
    return 0.0;
  double k = std::floor(x * 1.4426950408889634 + 0.5);
  double r = (x - k * 0.693145751953125) - k * 1.4286068203094173e-6; // ln 2 in two parts
  double sum = 1.0;
  for (int i = 13; i >= 1; --i)
    sum = 1.0 + sum * r / i;
  return std::ldexp(sum, static_cast<int>(k));
}

/// Greater logit first; equal logits by lower id.
static bool likelier(const Candidate &a, const Candidate &b) {
  return a.logit != b.logit ? a.logit > b.logit : a.token < b.token;
}

static Status checkSettings(const qplan_sampling &s) {
  auto refuse = [](const char *field, double value, const char *expected) {
    return fail(QPLAN_INVALID_USAGE, "qplan_sampling.%s is %g, expected %s", field, value,
                expected);
  };
  if (!(s.temperature >= 0.0f) || !std::isfinite(s.temperature))
    return refuse("temperature", s.temperature, "a finite number >= 0");
  if (!(s.top_p > 0.0f && s.top_p <= 1.0f))
    return refuse("top_p", s.top_p, "more than 0, at most 1");
  if (!(s.repeat_penalty > 0.0f) || !std::isfinite(s.repeat_penalty))
    return refuse("repeat_penalty", s.repeat_penalty, "a finite number > 0");
  if (s.top_k < 0)
    return refuse("top_k", s.top_k, ">= 0");
  if (s.repeat_window < 0)
    return refuse("repeat_window", s.repeat_window, ">= 0");
  return {};
}

/// First index of the largest logit; -1 when there is a NaN or nothing above -infinity.
static int64_t largest(const float *logits, int64_t count) {
  float most = -std::numeric_limits<float>::infinity();
  int64_t at = -1;
  bool nan = false;
  for (int64_t i = 0; i < count; ++i) {
    nan |= logits[i] != logits[i];
    if (logits[i] > most) {
      most = logits[i];
      at = i;
    }
  }
  return nan ? -1 : at;
}

/// The logits after the repeat penalty: the caller's own when there is none.
static const float *penalize(qplan_sampler &sampler, const float *logits, int64_t count) {
  float penalty = sampler.settings.repeat_penalty;
  if (penalty == 1.0f || sampler.recent.empty())
    return logits;
  sampler.penalized.assign(logits, logits + count);
  std::vector<int32_t> tokens(sampler.recent.begin(), sampler.recent.end());
  std::sort(tokens.begin(), tokens.end());
  tokens.erase(std::unique(tokens.begin(), tokens.end()), tokens.end());
  for (int32_t token : tokens)
    if (token >= 0 && token < count) {
      float &logit = sampler.penalized[token];
      logit = logit > 0 ? logit / penalty : logit * penalty;
    }
  return sampler.penalized.data();
}

/// All tokens that can matter, with their weights; what has a chance below e^-40 is left out.
static void collect(qplan_sampler &sampler, const float *logits, int64_t count, float most) {
  double scale = 1.0 / sampler.settings.temperature;
  sampler.candidates.clear();
  for (int64_t i = 0; i < count; ++i) {
    double exponent = (static_cast<double>(logits[i]) - most) * scale;
    if (exponent > -40.0)
      sampler.candidates.push_back({logits[i], static_cast<int32_t>(i), 0.0});
  }
  auto &list = sampler.candidates;
  auto k = static_cast<size_t>(sampler.settings.top_k);
  if (k > 0 && k < list.size()) {
    std::nth_element(list.begin(), list.begin() + k - 1, list.end(), likelier);
    list.resize(k);
    std::sort(list.begin(), list.end(), likelier); // nth_element's order is the library's affair
  }
  for (Candidate &c : list)
    c.weight = expNonPositive((static_cast<double>(c.logit) - most) * scale);
}

static double totalWeight(const std::vector<Candidate> &list) {
  double total = 0.0;
  for (const Candidate &c : list)
    total += c.weight;
  return total;
}

/// Keeps the likeliest candidates whose weights reach the share `p` of the total.
static void keepTopP(std::vector<Candidate> &list, double p) {
  double wanted = p * totalWeight(list), sum = 0.0;
  size_t sorted = 0;
  for (size_t i = 0; i < list.size(); ++i) {
    if (i == sorted) { // sort only as far as needed: mostly a few dozen of the vocabulary
      sorted = std::min(list.size(), std::max<size_t>(128, sorted * 4));
      std::partial_sort(list.begin() + i, list.begin() + sorted, list.end(), likelier);
    }
    sum += list[i].weight;
    if (sum >= wanted) {
      list.resize(i + 1);
      return;
    }
  }
}

static int32_t draw(const std::vector<Candidate> &list, double uniform) {
  double target = uniform * totalWeight(list), sum = 0.0;
  for (const Candidate &c : list) {
    sum += c.weight;
    if (sum > target)
      return c.token;
  }
  return list.back().token;
}

static Status sample(qplan_sampler &sampler, const float *logits, int64_t count, int32_t &token) {
  const float *values = penalize(sampler, logits, count);
  int64_t best = largest(values, count);
  if (best < 0)
    return fail(QPLAN_INVALID_INPUT,
                "the logits hold NaN or nothing above -infinity; no token can be chosen");
  token = static_cast<int32_t>(best);
  if (sampler.settings.temperature == 0.0f || std::isinf(values[best]))
    return {};
  collect(sampler, values, count, values[best]);
  if (sampler.settings.top_p < 1.0f)
    keepTopP(sampler.candidates, sampler.settings.top_p);
  token = draw(sampler.candidates, sampler.random.uniform());
  return {};
}

extern "C" {

int qplan_sampler_create(const qplan_sampling *settings, qplan_sampler **out, char *error,
                         size_t errorSize) {
  if (!settings || !out || settings->size < sizeof(qplan_sampling))
    return fail(QPLAN_INVALID_USAGE,
                "qplan_sampler_create: settings or out is NULL, or settings->size is not set")
        .report(error, errorSize);
  *out = nullptr;
  if (Status status = checkSettings(*settings); status.failed())
    return status.report(error, errorSize);
  *out = new qplan_sampler(*settings);
  return QPLAN_OK;
}

int qplan_sampler_sample(qplan_sampler *sampler, const float *logits, int64_t vocabulary,
                         int32_t *token, char *error, size_t errorSize) {
  if (!sampler || !logits || !token || vocabulary < 1 || vocabulary > INT32_MAX)
    return fail(QPLAN_INVALID_USAGE,
                "qplan_sampler_sample: an argument is NULL or the vocabulary out of range")
        .report(error, errorSize);
  Status status = sample(*sampler, logits, vocabulary, *token);
  if (!status.failed())
    qplan_sampler_accept(sampler, token, 1);
  return status.report(error, errorSize);
}

void qplan_sampler_accept(qplan_sampler *sampler, const int32_t *tokens, int64_t count) {
  int64_t window = sampler->settings.repeat_window;
  for (int64_t i = std::max<int64_t>(0, count - window); i < count; ++i)
    sampler->recent.push_back(tokens[i]);
  while (static_cast<int64_t>(sampler->recent.size()) > window)
    sampler->recent.pop_front();
}

void qplan_sampler_free(qplan_sampler *sampler) { delete sampler; }

} // extern "C"

//===- AwqMethod.cpp - @awq and @awq_clip ---------------------------------===//
//
// AWQ (arXiv:2306.00978). FactorSearch.h says which factors: the same for all sites that read
// an input, so that the division costs nothing, or with each=1 those of each site, whose input is
// then divided by itself, as ModelOpt does: chosen by the weights' error alone, whatever the
// activations. `awq` alone leaves rounding to
// the codec, from the largest magnitude of each group. With clip=1, and for awq_clip, the
// range of each group of a row is shrunk to the share of 1, 0.95, ... 0.5 (to 0.3 below four
// bits) that makes tr(dW H dW^T) of the group's columns alone least.
//
//===----------------------------------------------------------------------===//

#include "ir/Failure.h"
#include "passes/moments/FactorSearch.h"
#include "passes/moments/Methods.h"

#include <algorithm>
#include <cmath>

using namespace qplan;

namespace {

/// One tile of rows, clipped at each share of its groups' ranges in turn.
class ClipTile {
public:
  ClipTile(const OutputError &output, const MomentWeight &weight)
      : output(output), weight(weight), codec(codecFor(weight.treatment.weight)),
        columns(output.columns()),
        group(codec.format().groupColumns ? codec.format().groupColumns : columns),
        groups((columns + group - 1) / group), values(size_t(errorTileRows * columns)),
        trial(values.size()), change(values.size()), clipped(size_t(columns)),
        best(size_t(groups * errorTileRows)), share(best.size(), 1.0f) {}

  llvm::Error round(int64_t first, int64_t count, uint8_t *out) {
    if (auto error = weight.read(first, count, values.data()))
      return error;
    const int64_t bytes = int64_t(codec.bytesPerRow(columns));
    const int steps = codec.format().elementBits < 4 ? 14 : 10;
    for (int step = 0; step <= steps; ++step) {
      const float factor = 1.0f - 0.05f * float(step);
      for (int64_t r = 0; r < count; ++r)
        if (auto error = encode(first, r, [&](int64_t) { return factor; }, out + r * bytes))
          return error;
      compare(count, factor, step == 0, out);
    }
    for (int64_t r = 0; r < count; ++r) {
      auto chosen = [&](int64_t g) { return share[g * errorTileRows + r]; };
      if (auto error = encode(first, r, chosen, out + r * bytes))
        return error;
    }
    return llvm::Error::success();
  }

private:
  /// Encodes row `r` of the tile with the range of group g shrunk to factor(g).
  template <typename Factor>
  llvm::Error encode(int64_t first, int64_t r, const Factor &factor, uint8_t *out) {
    const float *row = values.data() + r * columns;
    for (int64_t g = 0; g < groups; ++g) {
      const int64_t begin = g * group, end = std::min(begin + group, columns);
      float low = 0, high = 0;
      for (int64_t j = begin; j < end; ++j) {
        low = std::min(low, row[j]);
        high = std::max(high, row[j]);
      }
      if (codec.format().zero == ZeroPoint::None) {
        high = std::max(-low, high);
        low = -high;
      }
      low *= factor(g);
      high *= factor(g);
      for (int64_t j = begin; j < end; ++j)
        clipped[j] = std::clamp(row[j], low, high);
    }
    EncodeOptions options;
    options.subject = weight.subject;
    options.row = first + r;
    return codec.encodeRow(clipped.data(), columns, options, out);
  }

  /// Takes `factor` for the groups where it is better than what was tried.
  void compare(int64_t count, float factor, bool isFirst, const uint8_t *encoded) {
    const int64_t bytes = int64_t(codec.bytesPerRow(columns));
    for (int64_t r = 0; r < count; ++r) {
      float *back = trial.data() + r * columns;
      codec.decodeRow(encoded + r * bytes, columns, back);
      for (int64_t j = 0; j < columns; ++j)
        back[j] -= values[r * columns + j];
    }
    transposeTile(trial.data(), count, columns, change.data());
    for (int64_t g = 0; g < groups; ++g) {
      float sums[errorTileRows] = {};
      output.addBlock(change.data(), g * group, std::min(group, columns - g * group), sums);
      for (int64_t r = 0; r < count; ++r)
        if (const size_t at = size_t(g * errorTileRows + r); isFirst || sums[r] < best[at]) {
          best[at] = sums[r];
          share[at] = factor;
        }
    }
  }

  const OutputError &output;
  const MomentWeight &weight;
  const Codec &codec;
  int64_t columns, group, groups;
  std::vector<float> values, trial, change, clipped;
  std::vector<float> best, share; ///< [groups, rows of a tile]
};

class ClipRounder final : public MomentRounder {
public:
  ClipRounder(const InputMoments &moments, unsigned threads) : output(moments), threads(threads) {}

  llvm::Expected<std::vector<uint8_t>> round(const MomentWeight &weight) const override {
    auto bytes = bytesFor(weight.treatment.weight, weight.rows, output.columns());
    if (!bytes)
      return bytes.takeError();
    std::vector<uint8_t> out(static_cast<size_t>(*bytes));
    const uint64_t rowBytes = *bytes / uint64_t(weight.rows);
    auto error =
        forEachTile(weight.rows, threads, [&](int64_t, int64_t first, int64_t count) {
          return ClipTile(output, weight).round(first, count, out.data() + rowBytes * first);
        });
    if (error)
      return std::move(error);
    return out;
  }

private:
  OutputError output;
  unsigned threads;
};

class AwqMethod final : public MomentMethod {
public:
  explicit AwqMethod(bool scales) : scales(scales) {}

  llvm::Error check(const Treatment &treatment) const override {
    const FormatInfo &info = formatInfo(treatment.weight);
    llvm::StringRef name = methodName(treatment.method);
    if (info.family == CodecFamily::Float)
      return usageError("{} is for formats with scales, and {} has none; leave out @{}", name.str(),
                        info.name, name.str());
    if ((info.isPerTensor() && !info.isGrouped()) || info.toleranceE5 == 0)
      return usageError("{} needs scales for rows or groups, and {} has one for the tensor; choose "
                        "int4_g128 or another format with groups",
                        name.str(), info.name);
    if (rounds(treatment) && info.family == CodecFamily::Ggml)
      return usageError("{} is written by GGML's own rule, which takes no ranges; write @awq, "
                        "@imatrix, or choose int4_g32 or another format of ours",
                        info.name);
    if (rounds(treatment) && info.side != SideData::None)
      return usageError("{} keeps numbers for the whole tensor, which ranges of groups would change; "
                        "write @awq or @gptq{{awq=1}}",
                        info.name);
    return llvm::Error::success();
  }

  llvm::Expected<std::vector<float>> factors(const InputMoments &moments,
                                             llvm::ArrayRef<MomentWeight> weights,
                                             const FactorRule &legal,
                                             unsigned threads) const override {
    if (!scales)
      return std::vector<float>();
    return awqFactors({moments, weights, legal, ScaleRule::Max, threads});
  }

  bool rounds(const Treatment &treatment) const override {
    return !scales || treatment.parameter("clip") != 0;
  }

  llvm::Expected<std::unique_ptr<MomentRounder>>
  rounder(const InputMoments &moments, const Treatment &, unsigned threads) const override {
    return makeClipRounder(moments, threads);
  }

private:
  bool scales;
};

} // namespace

std::unique_ptr<MomentRounder> qplan::makeClipRounder(const InputMoments &moments,
                                                      unsigned threads) {
  return std::make_unique<ClipRounder>(moments, threads);
}

std::unique_ptr<MomentMethod> qplan::makeAwqMethod(bool scales) {
  return std::make_unique<AwqMethod>(scales);
}

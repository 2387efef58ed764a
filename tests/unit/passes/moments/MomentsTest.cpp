//===- MomentsTest.cpp - methods over what enters a site ------------------===//
//
// Against sums over the rows themselves: what moments say of the outputs' error must be
// what the rows show, and factors and ranges must make that error smaller.
//
//===----------------------------------------------------------------------===//

#include "ir/codecs/Codec.h"
#include "passes/moments/FactorSearch.h"
#include "passes/moments/HistogramRange.h"

#include <cmath>
#include <gtest/gtest.h>
#include <random>

using namespace qplan;

namespace {

/// A weight [rows, columns] and `count` rows that enter it; every 16th column is large.
struct Problem {
  int64_t rows = 100, columns = 192, count = 300;
  std::vector<float> weight, inputs;
  std::vector<double> gram;
  InputMoments moments;

  explicit Problem(unsigned seed, float outlier = 20) {
    std::mt19937 random(seed);
    std::normal_distribution<float> normal;
    for (int64_t i = 0; i < rows * columns; ++i)
      weight.push_back(0.05f * normal(random));
    for (int64_t t = 0; t < count; ++t) {
      const float common = normal(random);
      for (int64_t j = 0; j < columns; ++j)
        inputs.push_back((j % 16 == 5 ? outlier : 1.0f) * (normal(random) + 0.5f * common));
    }
    gram.assign(size_t(columns * columns), 0.0);
    moments.absMax.assign(size_t(columns), 0.0f);
    moments.meanAbs.assign(size_t(columns), 0.0f);
    for (int64_t t = 0; t < count; ++t) {
      const float *x = &inputs[t * columns];
      for (int64_t i = 0; i < columns; ++i) {
        moments.absMax[i] = std::max(moments.absMax[i], std::fabs(x[i]));
        moments.meanAbs[i] += std::fabs(x[i]) / float(count);
        for (int64_t j = 0; j < columns; ++j)
          gram[i * columns + j] += double(x[i]) * x[j];
      }
    }
    moments.subject = "site s";
    moments.columns = columns;
    moments.count = uint64_t(count);
    moments.gram = gram;
  }

  MomentWeight reader(llvm::StringRef treatment) const {
    MomentWeight made;
    made.treatment = llvm::cantFail(parseTreatment(treatment));
    made.rows = rows;
    made.subject = "w";
    made.read = [this](int64_t first, int64_t n, float *out) {
      std::copy_n(weight.begin() + first * columns, n * columns, out);
      return llvm::Error::success();
    };
    return made;
  }

  /// What rounding weights at factors `s` changes of them; [rows, columns].
  std::vector<float> change(FormatId format, llvm::ArrayRef<float> s) const {
    const Codec &codec = codecFor(format);
    std::vector<float> out(weight.size()), row(static_cast<size_t>(columns));
    std::vector<uint8_t> bytes(codec.bytesPerRow(columns));
    for (int64_t r = 0; r < rows; ++r) {
      for (int64_t j = 0; j < columns; ++j)
        row[j] = weight[r * columns + j] * (s.empty() ? 1.0f : s[j]);
      llvm::cantFail(codec.encodeRow(row.data(), columns, nullptr, bytes.data()));
      codec.decodeRow(bytes.data(), columns, row.data());
      for (int64_t j = 0; j < columns; ++j)
        out[r * columns + j] = row[j] / (s.empty() ? 1.0f : s[j]) - weight[r * columns + j];
    }
    return out;
  }

  /// Mean over the rows x of |dW x|^2.
  double outputError(llvm::ArrayRef<float> dw) const {
    double sum = 0;
    for (int64_t t = 0; t < count; ++t)
      for (int64_t r = 0; r < rows; ++r) {
        double y = 0;
        for (int64_t j = 0; j < columns; ++j)
          y += double(dw[r * columns + j]) * inputs[t * columns + j];
        sum += y * y;
      }
    return sum / double(count);
  }

  /// Mean square of what rounding inputs / s to `format` does to the outputs.
  double inputError(FormatId format, llvm::ArrayRef<float> s) const {
    const Codec &codec = codecFor(format);
    std::vector<float> row(static_cast<size_t>(columns));
    std::vector<uint8_t> bytes(codec.bytesPerRow(columns));
    double sum = 0;
    for (int64_t t = 0; t < count; ++t) {
      for (int64_t j = 0; j < columns; ++j)
        row[j] = inputs[t * columns + j] / s[j];
      llvm::cantFail(codec.encodeRow(row.data(), columns, nullptr, bytes.data()));
      codec.decodeRow(bytes.data(), columns, row.data());
      for (int64_t r = 0; r < rows; ++r) {
        double y = 0;
        for (int64_t j = 0; j < columns; ++j)
          y += (row[j] * s[j] - inputs[t * columns + j]) * weight[r * columns + j];
        sum += y * y;
      }
    }
    return sum / double(count);
  }

  /// Mean square of what rounding inputs / s to int8 at one scale does to the outputs.
  double staticError(llvm::ArrayRef<float> s) const {
    float top = 0;
    for (int64_t j = 0; j < columns; ++j)
      top = std::max(top, moments.absMax[j] / (s.empty() ? 1.0f : s[j]));
    double sum = 0;
    for (int64_t t = 0; t < count; ++t)
      for (int64_t r = 0; r < rows; ++r) {
        double y = 0;
        for (int64_t j = 0; j < columns; ++j) {
          const float factor = s.empty() ? 1.0f : s[j], step = top / 127;
          const float x = inputs[t * columns + j];
          y += (std::nearbyint(x / factor / step) * step * factor - x) * weight[r * columns + j];
        }
        sum += y * y;
      }
    return sum / double(count);
  }
};

void anything(std::vector<float> &) {}

} // namespace

TEST(OutputError, IsThatOfTheRows) {
  Problem problem(1);
  OutputError output(problem.moments);
  std::vector<float> dw = problem.change(FormatId::Int4G32, {});
  double sum = 0;
  std::vector<float> blocks(errorTileRows, 0.0f), tile(size_t(errorTileRows * problem.columns));
  for (int64_t first = 0; first < problem.rows; first += errorTileRows) {
    const int64_t count = std::min(errorTileRows, problem.rows - first);
    transposeTile(&dw[first * problem.columns], count, problem.columns, tile.data());
    sum += output.of(tile.data());
    output.addBlock(tile.data(), 0, problem.columns, blocks.data());
  }
  const double expected = problem.outputError(dw);
  EXPECT_NEAR(sum / expected, 1.0, 1e-4);
  double again = 0;
  for (float block : blocks)
    again += block;
  EXPECT_NEAR(again / expected, 1.0, 1e-4);
}

TEST(AwqFactors, MakeTheOutputsErrorSmaller) {
  for (unsigned seed : {1u, 2u}) {
    Problem problem(seed);
    std::vector<MomentWeight> weights = {problem.reader("int4_g64@awq")};
    auto factors = awqFactors({problem.moments, weights, anything, ScaleRule::Max, 1});
    ASSERT_TRUE(bool(factors));
    ASSERT_EQ(int64_t(factors->size()), problem.columns);
    EXPECT_LT(problem.outputError(problem.change(FormatId::Int4G64, *factors)),
              0.8 * problem.outputError(problem.change(FormatId::Int4G64, {})));
    EXPECT_GT((*factors)[5], (*factors)[6]);
  }
}

TEST(AwqFactors, MindTheActivationsRounding) {
  Problem problem(8, 30);
  auto totalFor = [&](const char *treatment) {
    std::vector<MomentWeight> weights = {problem.reader(treatment)};
    auto factors = awqFactors({problem.moments, weights, anything, ScaleRule::Max, 1});
    EXPECT_TRUE(bool(factors));
    std::vector<float> s = *factors;
    s.resize(size_t(problem.columns), 1.0f);
    return problem.outputError(problem.change(FormatId::Int8, s)) +
           problem.inputError(FormatId::MxFp4, s);
  };
  EXPECT_LT(totalFor("int8amxfp4@awq"), 0.9 * totalFor("int8@awq"));
}

TEST(AwqFactors, KeepToWhatTheModelTakes) {
  Problem problem(3);
  std::vector<MomentWeight> weights = {problem.reader("int4_g64@awq")};
  FactorRule halves = [](std::vector<float> &factors) {
    const size_t half = factors.size() / 2;
    for (size_t j = 0; j < half; ++j)
      factors[j] = factors[j + half] = std::max(factors[j], factors[j + half]);
  };
  auto factors = awqFactors({problem.moments, weights, halves, ScaleRule::Max, 1});
  ASSERT_TRUE(bool(factors));
  for (int64_t j = 0; j < int64_t(factors->size()) / 2; ++j)
    EXPECT_EQ((*factors)[j], (*factors)[j + problem.columns / 2]);
}

TEST(AwqFactors, DoNotDependOnThreads) {
  Problem problem(4);
  std::vector<MomentWeight> weights = {problem.reader("int4_g64@awq"),
                                       problem.reader("int4_g64@awq")};
  auto one = awqFactors({problem.moments, weights, anything, ScaleRule::Mse, 1});
  auto three = awqFactors({problem.moments, weights, anything, ScaleRule::Mse, 3});
  ASSERT_TRUE(bool(one));
  ASSERT_TRUE(bool(three));
  EXPECT_EQ(*one, *three);
}

TEST(AwqFactors, AreOneWhereNothingEnters) {
  Problem problem(5);
  problem.moments.absMax[7] = problem.moments.meanAbs[7] = 0;
  for (int64_t j = 0; j < problem.columns; ++j)
    problem.gram[7 * problem.columns + j] = problem.gram[j * problem.columns + 7] = 0;
  std::vector<MomentWeight> weights = {problem.reader("int4_g64@awq")};
  auto factors = awqFactors({problem.moments, weights, anything, ScaleRule::Max, 1});
  ASSERT_TRUE(bool(factors));
  ASSERT_FALSE(factors->empty());
  EXPECT_EQ((*factors)[7], 1.0f);
}

TEST(SmoothFactors, MakeStaticActivationsBetter) {
  Problem problem(6, 100);
  std::vector<MomentWeight> weights = {problem.reader("int8a8s@smoothquant{search=1}")};
  auto factors = smoothFactors({problem.moments, weights, anything, ScaleRule::Max, 1});
  ASSERT_TRUE(bool(factors));
  ASSERT_FALSE(factors->empty());
  auto total = [&](llvm::ArrayRef<float> s) {
    return problem.staticError(s) + problem.outputError(problem.change(FormatId::Int8, s));
  };
  EXPECT_LT(total(*factors), 0.3 * total({}));
}

TEST(Preshift, LevelsAsManyBinadesAsPay) {
  Problem problem(3, 100);
  const MomentWeight weight = problem.reader("llm_fp4afp4@preshift");
  const MomentMethod &method = *momentMethod(weight.treatment);
  auto keep = [](std::vector<float> &) {};
  auto found = llvm::cantFail(method.factors(problem.moments, weight, keep, 1));
  ASSERT_EQ(found.size(), 192u);
  const float greatest = *std::max_element(found.begin(), found.end());
  EXPECT_TRUE(greatest == 2 || greatest == 4 || greatest == 8);
  const std::vector<float> &sizes = problem.moments.absMax;
  const float largest = *std::max_element(sizes.begin(), sizes.end());
  for (size_t j = 0; j < found.size(); ++j)
    EXPECT_EQ(found[j], std::max(1.0f, greatest * std::exp2(std::round(std::log2(sizes[j] / largest)))));
  auto total = [&](llvm::ArrayRef<float> s) {
    return problem.inputError(*weight.treatment.activation, s) +
           problem.outputError(problem.change(weight.treatment.weight, s));
  };
  EXPECT_LT(total(found), total(std::vector<float>(192, 1.0f)));

  // Columns of one size gain nothing; nor do those into which nothing enters.
  problem.moments.absMax.assign(192, 4.0f);
  EXPECT_TRUE(llvm::cantFail(method.factors(problem.moments, weight, keep, 1)).empty());
  problem.moments.absMax.assign(192, 0.0f);
  EXPECT_TRUE(llvm::cantFail(method.factors(problem.moments, weight, keep, 1)).empty());
  EXPECT_FALSE(method.check(llvm::cantFail(parseTreatment("llm_fp4afp4@preshift"))));
  for (const char *text : {"llm_fp4@preshift", "int8a8@preshift", "f16@preshift"}) {
    auto error = method.check(llvm::cantFail(parseTreatment(text)));
    EXPECT_NE(llvm::toString(std::move(error)).find("leave out @preshift"), std::string::npos);
  }
}

TEST(AwqClip, IsNoWorseThanWholeRanges) {
  Problem problem(7);
  for (const char *text : {"int4_g64@awq_clip", "int3_g32_asym@awq_clip", "int4@awq_clip"}) {
    MomentWeight weight = problem.reader(text);
    const MomentMethod *method = momentMethod(weight.treatment);
    ASSERT_NE(method, nullptr);
    ASSERT_TRUE(method->rounds(weight.treatment));
    auto rounder = method->rounder(problem.moments, weight.treatment, 2);
    ASSERT_TRUE(bool(rounder));
    auto bytes = (*rounder)->round(weight);
    ASSERT_TRUE(bool(bytes));
    const Codec &codec = codecFor(weight.treatment.weight);
    std::vector<float> dw(problem.weight.size());
    for (int64_t r = 0; r < problem.rows; ++r)
      codec.decodeRow(bytes->data() + r * codec.bytesPerRow(problem.columns), problem.columns,
                      &dw[r * problem.columns]);
    for (size_t i = 0; i < dw.size(); ++i)
      dw[i] -= problem.weight[i];
    EXPECT_LT(problem.outputError(dw),
              0.95 * problem.outputError(problem.change(weight.treatment.weight, {})))
        << text;
  }
}

TEST(MomentMethods, TakeScalesOfBlocksUnderOneOfTheTensor) {
  Treatment treatment = llvm::cantFail(parseTreatment("nvfp4@awq"));
  EXPECT_FALSE(bool(momentMethod(treatment)->check(treatment)));
}

TEST(MomentMethods, RefuseFormatsWithoutScales) {
  for (const char *text : {"bf16@awq", "fp8_e4m3_tensor@awq", "q4_K@awq{clip=1}", "q4_0@gptq",
                           "f16@smoothquant{search=1}", "int4_g32@gptq{awq=1,smooth=1}"}) {
    Treatment treatment = llvm::cantFail(parseTreatment(text));
    const MomentMethod *method = momentMethod(treatment);
    ASSERT_NE(method, nullptr) << text;
    llvm::Error error = method->check(treatment);
    EXPECT_TRUE(bool(error)) << text;
    llvm::consumeError(std::move(error));
  }
  EXPECT_EQ(momentMethod(llvm::cantFail(parseTreatment("int8a8@smoothquant"))), nullptr);
  EXPECT_EQ(momentMethod(llvm::cantFail(parseTreatment("int4_g32@mse"))), nullptr);
}

namespace {

/// Half a normal distribution of 100000 values, and a few far beyond.
Histogram manyAndFew() {
  Histogram histogram{40.0, std::vector<uint64_t>(histogramBins, 0)};
  for (int64_t i = 0; i < histogramBins; ++i) {
    const double x = 40.0 * (double(i) + 0.5) / double(histogramBins);
    histogram.counts[i] = uint64_t(100000 * std::exp(-x * x / 2) * 0.0156 + 0.5);
  }
  histogram.counts[histogramBins - 1] = 3;
  return histogram;
}

} // namespace

/// The numbers are those of ModelOpt's histogram calibrator.
TEST(HistogramRange, IsThatOfTheReference) {
  Histogram histogram = manyAndFew();
  EXPECT_DOUBLE_EQ(percentileRange(histogram, 99), 2.55859375);
  EXPECT_DOUBLE_EQ(percentileRange(histogram, 99.9), 3.28125);
  EXPECT_DOUBLE_EQ(percentileRange(histogram, 99.99), 3.84765625);
  EXPECT_DOUBLE_EQ(percentileRange(histogram, 100), 40.0 * 2047 / 2048);
  EXPECT_DOUBLE_EQ(entropyRange(histogram), 4.00390625);
  EXPECT_NEAR(mseRange(histogram, FormatId::Int8Tensor), 34.697265625, 1e-5);
}

TEST(HistogramRange, KeepsTheWholeRangeOfEvenValues) {
  Histogram histogram{1.0, std::vector<uint64_t>(histogramBins, 5)};
  EXPECT_EQ(entropyRange(histogram), 1.0);
  EXPECT_GT(mseRange(histogram, FormatId::Int8Tensor), 0.98);
}

TEST(HistogramRange, IsWhatTheTreatmentAsksFor) {
  Histogram histogram = manyAndFew();
  auto range = [&](llvm::StringRef text) {
    return rangeOf(histogram, llvm::cantFail(parseTreatment(text)));
  };
  EXPECT_EQ(range("int8a8s"), 40.0);
  EXPECT_EQ(range("int8a8s{range=percentile}"), percentileRange(histogram, 99.99));
  EXPECT_EQ(range("int8a8s{range=percentile,percentile=99.9}"), percentileRange(histogram, 99.9));
  EXPECT_EQ(range("int8a8s{range=entropy}"), entropyRange(histogram));
  EXPECT_EQ(range("int8afp8s{range=mse}"), mseRange(histogram, FormatId::Fp8E4M3Tensor));
}

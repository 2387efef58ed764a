//===- CpuFeaturesTest.cpp - names and lists of CPU features --------------===//
#include "runtime/src/CpuFeatures.h"

#include "qplan/runtime.h"

#include <gtest/gtest.h>

using namespace qplan;

TEST(CpuFeatures, HasTheBaselineOfItsArchitecture) {
  EXPECT_TRUE(hasCpuFeature(hostArchitecture() == "x86_64" ? "sse2" : "neon"));
}

#if defined(__x86_64__)
TEST(CpuFeatures, AgreesWithTheCompilersOwnDetection) {
  __builtin_cpu_init();
  EXPECT_EQ(hasCpuFeature("avx2"), !!__builtin_cpu_supports("avx2"));
  EXPECT_EQ(hasCpuFeature("fma"), !!__builtin_cpu_supports("fma"));
  EXPECT_EQ(hasCpuFeature("bmi2"), !!__builtin_cpu_supports("bmi2"));
  EXPECT_EQ(hasCpuFeature("avx512f"), !!__builtin_cpu_supports("avx512f"));
  EXPECT_EQ(hasCpuFeature("avx512bw"), !!__builtin_cpu_supports("avx512bw"));
  EXPECT_EQ(hasCpuFeature("avx512vl"), !!__builtin_cpu_supports("avx512vl"));
  EXPECT_EQ(hasCpuFeature("avx512vnni"), !!__builtin_cpu_supports("avx512vnni"));
  EXPECT_EQ(hasCpuFeature("avx512bf16"), !!__builtin_cpu_supports("avx512bf16"));
}
#endif

TEST(CpuFeatures, TreatsUnknownNamesAsMissing) {
  EXPECT_EQ(missingCpuFeatures("avx9000"), std::vector<std::string>{"avx9000"});
}

TEST(CpuFeatures, ReadsListsAsLlvmWritesThem) {
  EXPECT_TRUE(missingCpuFeatures("").empty());
  EXPECT_TRUE(missingCpuFeatures(" , ,").empty());
  EXPECT_EQ(missingCpuFeatures("+nope, also-not"), (std::vector<std::string>{"nope", "also-not"}));
}

TEST(CpuFeatures, TellsTheMissingOnesThroughTheCApi) {
  char text[8];
  EXPECT_EQ(qplan_cpu_missing("nope,also-not", text, sizeof(text)), 2);
  EXPECT_STREQ(text, "nope,al");
  EXPECT_EQ(qplan_cpu_missing("nope", nullptr, 0), 1);
  EXPECT_EQ(qplan_cpu_missing(nullptr, text, sizeof(text)), 0);
  EXPECT_STREQ(text, "");
}

TEST(CpuFeatures, CountsAtLeastOneCore) {
  EXPECT_FALSE(allowedCores().empty());
  EXPECT_GE(qplan_cpu_count(), 1);
  EXPECT_LE(qplan_cpu_count(), static_cast<int>(allowedCores().size()));
}

//===- TargetTest.cpp - target names mean what they say -------------------===//
#include "codegen/cpu/Target.h"
#include <gtest/gtest.h>
#include <llvm/ADT/STLExtras.h>

using namespace qplan;

namespace {

std::string errorOf(const char *name) {
  auto target = parseTarget(name);
  return target ? "no error" : llvm::toString(target.takeError());
}

TEST(Target, HostNameReadsBackAsItself) {
  Target host = llvm::cantFail(parseTarget("cpu"));
  EXPECT_EQ(host.name, hostTargetName());
  Target again = llvm::cantFail(parseTarget(host.name));
  EXPECT_EQ(again.name, host.name);
  EXPECT_EQ(again.features, host.features);
}

TEST(Target, NamedProcessorHasItsFeatures) {
  Target target = llvm::cantFail(parseTarget("x86_64-linux:znver5"));
  EXPECT_EQ(target.name, "x86_64-linux:znver5");
  EXPECT_EQ(target.triple, "x86_64-unknown-linux-gnu");
  for (const char *feature : {"avx2", "fma", "avx512vnni", "avx512bf16", "avxvnni"})
    EXPECT_TRUE(llvm::is_contained(target.features, feature)) << feature;
  EXPECT_FALSE(target.hasFeature("amx-int8"));
}

TEST(Target, LevelsAreProcessors) {
  Target target = llvm::cantFail(parseTarget("x86_64-linux:x86-64-v3"));
  EXPECT_TRUE(target.hasFeature("avx2"));
  EXPECT_FALSE(target.hasFeature("avx512f"));
}

TEST(Target, CrossTargetDefaultsToTheOldestProcessor) {
  EXPECT_EQ(llvm::cantFail(parseTarget("x86_64-linux")).name, "x86_64-linux:x86-64");
  EXPECT_EQ(llvm::cantFail(parseTarget("aarch64-linux")).name, "aarch64-linux:generic");
  Target arm = llvm::cantFail(parseTarget("aarch64-linux:neoverse-v1"));
  EXPECT_EQ(arm.triple, "aarch64-unknown-linux-gnu");
  EXPECT_TRUE(arm.hasFeature("dotprod"));
}

TEST(Target, FeaturesAreAddedAndTakenAway) {
  Target target = llvm::cantFail(parseTarget("x86_64-linux:x86-64-v4+avx512vnni"));
  EXPECT_TRUE(target.hasFeature("avx512vnni"));
  EXPECT_EQ(target.name, "x86_64-linux:x86-64-v4+avx512vnni");
  Target less = llvm::cantFail(parseTarget("x86_64-linux:znver5+noavx512f"));
  EXPECT_FALSE(less.hasFeature("avx512vnni"));
  EXPECT_TRUE(less.hasFeature("avx2"));
  // What changes nothing is not part of the name.
  EXPECT_EQ(llvm::cantFail(parseTarget("x86_64-linux:znver5+avx2")).name, "x86_64-linux:znver5");
}

TEST(Target, UnknownNamesAreErrorsWithASuggestion) {
  EXPECT_NE(errorOf("x86_64-linux:znver55").find("nearest known: 'znver5'"), std::string::npos);
  EXPECT_NE(errorOf("x86_64-linux:znver5+avx3").find("nearest known: 'avx"), std::string::npos);
  EXPECT_NE(errorOf("x86_64-linux:i486").find("does not run 64-bit code"), std::string::npos);
  for (const char *name : {"", "gpu", "cuda:sm_90a", "riscv64-linux:x", "x86_64-windows:znver5"})
    EXPECT_NE(errorOf(name).find("is not a CPU target"), std::string::npos) << name;
}

TEST(Target, BestKernelsAreChosen) {
  auto levelOf = [](const char *name) {
    Target target = llvm::cantFail(parseTarget(name));
    return std::string(llvm::cantFail(chooseKernels(target))->level);
  };
  EXPECT_EQ(levelOf("x86_64-linux:znver5"), "avx512vnni");
  for (const char *cpu : {"sapphirerapids", "emeraldrapids", "graniterapids"})
    EXPECT_EQ(levelOf((std::string("x86_64-linux:") + cpu).c_str()), "amx");
  EXPECT_EQ(levelOf("x86_64-linux:sapphirerapids+noamx-int8"), "avx512vnni");
  EXPECT_EQ(levelOf("x86_64-linux:x86-64-v4"), "avx512");
  EXPECT_EQ(levelOf("x86_64-linux:x86-64-v3"), "avx2");
  EXPECT_EQ(levelOf("x86_64-linux"), "portable");
  EXPECT_EQ(levelOf("aarch64-linux"), "portable");
  EXPECT_EQ(levelOf("aarch64-linux:neoverse-v1"), "neon");
}

TEST(Target, RequiredFeaturesIncludeThoseOfTheKernels) {
  Target target = llvm::cantFail(parseTarget("x86_64-linux:x86-64-v3"));
  const KernelBitcode *kernels = llvm::cantFail(chooseKernels(target));
  std::string features = "," + requiredFeatures(target, *kernels) + ",";
  for (const char *feature : {",avx2,", ",fma,"})
    EXPECT_NE(features.find(feature), std::string::npos) << features;
  EXPECT_EQ(features.find("avx512"), std::string::npos);
}

TEST(Target, TilesAreRequiredByKernelsThatUseThem) {
  auto featuresOf = [](const char *name) {
    Target target = llvm::cantFail(parseTarget(name));
    return "," + requiredFeatures(target, *llvm::cantFail(chooseKernels(target))) + ",";
  };
  std::string with = featuresOf("x86_64-linux:sapphirerapids");
  EXPECT_NE(with.find(",amx-tile,"), std::string::npos) << with;
  EXPECT_NE(with.find(",amx-int8,"), std::string::npos) << with;
  std::string without = featuresOf("x86_64-linux:sapphirerapids+noamx-int8");
  EXPECT_EQ(without.find("amx"), std::string::npos) << without;
}

TEST(Target, ListStartsWithThisMachine) {
  std::vector<TargetListing> targets = listTargets();
  ASSERT_GT(targets.size(), 50u);
  EXPECT_EQ(targets.front().name, hostTargetName());
}

} // namespace

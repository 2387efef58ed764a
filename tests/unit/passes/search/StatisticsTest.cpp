//===- StatisticsTest.cpp - statistics files in and out -------------------===//

#include "passes/search/Statistics.h"

#include <cmath>
#include <gtest/gtest.h>
#include <limits>
#include <llvm/Support/FileSystem.h>
#include <nlohmann/json.hpp>

using namespace qplan;

namespace {

std::string messageOf(llvm::Error error) { return llvm::toString(std::move(error)); }

Statistics sample() {
  Statistics statistics;
  statistics.key = {"0123456789abcdef", calibrationTextHash("some text"), 128, 512};
  SiteStatistics &site = statistics.sites["layers.0.attn.q"];
  site.rows = 65536;
  site.absMax = {0.0f, 1.5f, std::numeric_limits<float>::max()};
  site.meanSquare = {0.0f, std::numeric_limits<float>::denorm_min(), 1.0f / 3};
  site.meanAbs = {0.0f, 0.1f, 3.0f};
  statistics.scores["layers.0.attn.qkv"] = {{"int4_g64@mse", 0.1}, {"int8a8", 1e-300}};
  statistics.traces["layers.0.attn.q"] = {{"hessian", -2.5}};
  return statistics;
}

/// The error for the sample's text after `change`.
template <typename Change>
std::string messageAfter(Change change) {
  auto json = nlohmann::json::parse(printStatistics(sample()), nullptr, false);
  change(json);
  auto result = parseStatistics(json.dump(), "s.json");
  return result ? "no error" : messageOf(result.takeError());
}

void expectPart(const std::string &message, const char *part) {
  EXPECT_NE(message.find(part), std::string::npos) << message;
}

} // namespace

TEST(Statistics, RoundTripIsExact) {
  Statistics statistics = sample();
  std::string text = printStatistics(statistics);
  auto again = parseStatistics(text, "s.json");
  ASSERT_TRUE(bool(again)) << messageOf(again.takeError());
  EXPECT_EQ(*again, statistics);
  EXPECT_EQ(printStatistics(*again), text);
  EXPECT_EQ(statisticsHash(*again), statisticsHash(statistics));
  EXPECT_EQ(statisticsHash(statistics).size(), 16u);
  statistics.sites["layers.0.attn.q"].rows++;
  EXPECT_NE(statisticsHash(*again), statisticsHash(statistics));
}

TEST(Statistics, AnExpertHasItsBanksInput) {
  Statistics statistics = sample();
  statistics.sites["layers.0.mlp.experts.down"].rows = 7;
  statistics.sites["layers.0.mlp.experts.2.down"].rows = 3;
  EXPECT_EQ(statistics.inputOf("layers.0.mlp.experts.1.down")->rows, 7u);
  EXPECT_EQ(statistics.inputOf("layers.0.mlp.experts.2.down")->rows, 3u);
  EXPECT_EQ(statistics.inputOf("layers.0.mlp.experts.1.up"), nullptr);
  EXPECT_EQ(statistics.inputOf("layers.0.attn.q")->rows, 65536u);
}

TEST(Statistics, SaysWhyTheyDoNotFit) {
  Statistics statistics = sample();
  StatisticsKey wanted = statistics.key;
  EXPECT_FALSE(bool(statistics.checkFits(wanted, "s.json")));
  wanted.length = 256;
  expectPart(messageOf(statistics.checkFits(wanted, "s.json")),
             "s.json: these statistics were made with --calib-length 512, but this run has 256");
  wanted = statistics.key;
  wanted.rotate = "down";
  expectPart(messageOf(statistics.checkFits(wanted, "s.json")),
             "made with --rotate none, but this run has down");
  wanted.modelHash = "other";
  expectPart(messageOf(statistics.checkFits(wanted, "s.json")), "the model 0123456789abcdef");
}

TEST(Statistics, RefusesOtherFiles) {
  auto messageFor = [](llvm::StringRef text) {
    return messageOf(parseStatistics(text, "s.json").takeError());
  };
  expectPart(messageFor(""), "s.json: this is no JSON, or it is cut off");
  expectPart(messageFor(printStatistics(sample()).substr(0, 300)), "cut off");
  expectPart(messageFor("[]"), "no 'qplan_statistics'");
  expectPart(messageFor("{\"qplan_statistics\": 2}"), "another version");
  expectPart(messageFor(std::string(100000, '[')), "nests deeper");
  expectPart(messageFor("{\"qplan_statistics\": 3}"), "has no 'model'");
}

TEST(Statistics, RefusesBadFields) {
  const char *site = "layers.0.attn.q";
  expectPart(messageAfter([](auto &json) { json["samples"] = -1; }), "'samples' of the file");
  expectPart(messageAfter([](auto &json) { json["model"] = 1; }), "'model' is number");
  expectPart(messageAfter([](auto &json) { json["extra"] = 1; }), "unknown field 'extra'");
  expectPart(messageAfter([](auto &json) { json["sites"] = 1; }), "'sites' is number");
  expectPart(messageAfter([&](auto &json) { json["sites"]["a b"] = json["sites"][site]; }),
             "'a b' is no site name");
  expectPart(messageAfter([&](auto &json) { json["sites"][site].erase("rows"); }), "has no 'rows'");
  expectPart(messageAfter([&](auto &json) { json["sites"][site]["columns"] = 4; }),
             "has 12 bytes, expected 4 columns of 4");
  expectPart(messageAfter([&](auto &json) { json["sites"][site]["columns"] = 1ull << 52; }),
             "has 12 bytes");
  expectPart(messageAfter([&](auto &json) { json["sites"][site]["columns"] = 0; }), "no columns");
  expectPart(messageAfter([&](auto &json) { json["sites"][site]["mean_abs"] = "%%%%"; }),
             "is not base64");
  expectPart(messageAfter([&](auto &json) { json["sites"][site]["abs_max"] = "AADAfwAAwH8AAMB/"; }),
             "in column 0, expected a finite number >= 0");
  expectPart(messageAfter([](auto &json) { json["scores"]["g"]["int8"] = "x"; }),
             "'scores' of 'g' for 'int8' is no finite number");
  expectPart(messageAfter([](auto &json) { json["traces"]["g"] = 1; }), "'traces' of 'g'");
}

TEST(Statistics, FilesAreReadBack) {
  llvm::SmallString<128> folder;
  ASSERT_FALSE(llvm::sys::fs::createUniqueDirectory("qplan-statistics", folder));
  std::string path = (folder + "/s.json").str();
  ASSERT_FALSE(bool(writeStatistics(sample(), path)));
  auto again = readStatistics(path);
  ASSERT_TRUE(bool(again)) << messageOf(again.takeError());
  EXPECT_EQ(*again, sample());
  expectPart(messageOf(readStatistics((folder + "/none").str()).takeError()), "cannot read");
  (void)llvm::sys::fs::remove_directories(folder);
}

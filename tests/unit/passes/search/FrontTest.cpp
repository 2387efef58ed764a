//===- FrontTest.cpp - fronts of searches in and out ----------------------===//

#include "passes/search/Front.h"

#include <cmath>
#include <functional>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

using namespace qplan;

namespace {

SearchFront sample() {
  SearchFront front;
  front.modelHash = "0123456789abcdef";
  front.target = "x86_64-linux:znver5";
  front.scopes = {"layers"};
  front.ties = {"qkv"};
  front.candidates = {"int4_g64@imatrix", "int8a8"};
  front.baseDecodeMs = 0.5;
  front.groups = {{"layers.0.attn.qkv",
                   {"layers.0.attn.q", "layers.0.attn.k", "layers.0.attn.v"},
                   100,
                   {{425, 400, 0.25, 1.0, true}, {800, 800, 0.125, 2.0, true}}},
                  {"layers.0.mlp.down",
                   {"layers.0.mlp.down"},
                   300,
                   {{1275, 1200, 0.5, 3.0, true}, {2400, 2400, 0.0625, std::nullopt, false}}}};
  front.points = {front.pointOf({0, 0}), front.pointOf({1, 1})};
  front.points[1].choice.clear();
  front.chosen = front.pointOf({1, 0});
  front.chosen->measuredKl = 0.6;
  front.caches = {{"int8", 0.001, 640, 0.25}, {"nvfp4", 0.0625, 350, std::nullopt}};
  front.context = 1000;
  front.chosen->cache = 1;
  return front;
}

/// The error for the sample's text after `change`.
std::string messageAfter(const std::function<void(nlohmann::json &)> &change) {
  auto json = nlohmann::json::parse(printFront(sample()), nullptr, false);
  change(json);
  auto result = parseFront(json.dump(), "f.json");
  return result ? "no error" : llvm::toString(result.takeError());
}

void expectPart(const std::string &message, const char *part) {
  EXPECT_NE(message.find(part), std::string::npos) << message;
}

} // namespace

TEST(Front, RoundTripIsExact) {
  SearchFront front = sample();
  std::string text = printFront(front);
  auto again = parseFront(text, "f.json");
  ASSERT_TRUE(bool(again)) << llvm::toString(again.takeError());
  EXPECT_EQ(*again, front);
  EXPECT_EQ(printFront(*again), text);
}

TEST(Front, HoldsNoCachesWhereNoneWereWeighed) {
  SearchFront front = sample();
  front.caches.clear();
  front.chosen->cache.reset();
  front.context = 0;
  std::string text = printFront(front);
  EXPECT_EQ(text.find("context"), std::string::npos);
  auto again = parseFront(text, "f.json");
  ASSERT_TRUE(bool(again)) << llvm::toString(again.takeError());
  EXPECT_EQ(*again, front);
}

TEST(Front, TellsWhetherExpertsAreSites) {
  SearchFront front = sample();
  EXPECT_EQ(printFront(front).find("experts"), std::string::npos);
  front.singleExperts = true;
  auto again = parseFront(printFront(front), "f.json");
  ASSERT_TRUE(bool(again)) << llvm::toString(again.takeError());
  EXPECT_EQ(*again, front);
  expectPart(messageAfter([](auto &json) { json["experts"] = 1; }), "'experts' is not 'single'");
}

TEST(Front, TellsWhatIsRotated) {
  SearchFront front = sample();
  EXPECT_EQ(printFront(front).find("rotate"), std::string::npos);
  front.rotate = "values+down";
  auto again = parseFront(printFront(front), "f.json");
  ASSERT_TRUE(bool(again)) << llvm::toString(again.takeError());
  EXPECT_EQ(*again, front);
  for (const char *wrong : {"up", "down+values", "all"})
    expectPart(messageAfter([&](auto &json) { json["rotate"] = wrong; }),
               "'rotate' is not residual, values, down");
}

TEST(Front, CountsTheLaunchesThatAMixNeeds) {
  SearchFront front = sample();
  EXPECT_EQ(printFront(front).find("fused"), std::string::npos);
  front.fused = {{0, 1}};
  front.splitMs = 0.25;
  front.candidates.push_back("int4_g64@mse");
  for (FrontGroup &group : front.groups)
    group.cells.push_back(group.cells[0]);
  auto again = parseFront(printFront(front), "f.json");
  ASSERT_TRUE(bool(again)) << llvm::toString(again.takeError());
  EXPECT_EQ(*again, front);
  EXPECT_EQ(front.splitsOf({1, 0}), 1);
  EXPECT_DOUBLE_EQ(*front.pointOf({1, 0}).decodeMs, 5.75);
  // Methods are no matter to kernels.
  EXPECT_EQ(front.splitsOf({0, 2}), 0);
  EXPECT_DOUBLE_EQ(*front.pointOf({0, 2}).decodeMs, 4.5);
  for (auto broken : {nlohmann::json::array({0, 2}), nlohmann::json::array({0, 0}),
                      nlohmann::json::array({0, "a"}), nlohmann::json(1)})
    expectPart(messageAfter([&](auto &json) {
                 json["fused"] = nlohmann::json::array({broken});
                 json["split_ms"] = 0.25;
               }),
               "a list of 'fused'");
  expectPart(messageAfter([](auto &json) { json["fused"] = nlohmann::json::array({}); }),
             "no 'split_ms'");
}

TEST(Front, SumsAChoice) {
  FrontPoint point = sample().pointOf({1, 0});
  EXPECT_DOUBLE_EQ(point.bits, (800 + 1275) / 400.0);
  EXPECT_DOUBLE_EQ(*point.modeloptBits, (800 + 1200) / 400.0);
  EXPECT_DOUBLE_EQ(point.kl, 0.625);
  ASSERT_TRUE(point.decodeMs.has_value());
  EXPECT_DOUBLE_EQ(*point.decodeMs, 5.5);
  // The cache is one more term of the divergence and the time, and of memory.
  FrontPoint cached = sample().pointOf({1, 0}, 0);
  EXPECT_DOUBLE_EQ(cached.bits, point.bits);
  EXPECT_DOUBLE_EQ(cached.kl, 0.626);
  EXPECT_DOUBLE_EQ(*cached.decodeMs, 5.75);
  EXPECT_DOUBLE_EQ(sample().memoryBytes(point), 2075 / 8.0);
  EXPECT_DOUBLE_EQ(sample().memoryBytes(cached), 2075 / 8.0 + 640000);
  EXPECT_FALSE(sample().pointOf({1, 0}, 1).decodeMs.has_value());
  // A time that one group lacks is not known of the sum.
  EXPECT_FALSE(sample().pointOf({1, 1}).decodeMs.has_value());
}

TEST(Front, RefusesAnotherModel) {
  EXPECT_FALSE(bool(sample().checkModel("0123456789abcdef", "f.json")));
  std::string message = llvm::toString(sample().checkModel("ff", "f.json"));
  expectPart(message, "f.json: this search was of the model 0123456789abcdef");
}

TEST(Front, NamesWhatIsWrong) {
  using Json = nlohmann::json;
  expectPart(messageAfter([](Json &j) { j.erase("qplan_front"); }), "this is no front of a search");
  expectPart(messageAfter([](Json &j) { j["qplan_front"] = 9; }), "another version; expected 1");
  expectPart(messageAfter([](Json &j) { j.erase("points"); }), "the file has no 'points'");
  expectPart(messageAfter([](Json &j) { j["candidates"][0] = "int99"; }), "candidate 'int99'");
  expectPart(messageAfter([](Json &j) { j["candidates"] = Json::array(); }),
             "'candidates' is empty");
  expectPart(messageAfter([](Json &j) { j["groups"] = Json::array(); }), "'groups' is empty");
  expectPart(messageAfter([](Json &j) { j["groups"][1]["kl"][0] = -1; }),
             "'kl' of group 'layers.0.mlp.down' is no finite number >= 0");
  expectPart(messageAfter([](Json &j) { j["groups"][1]["kl"].push_back(1); }),
             "has 3 entries for 2 candidates");
  expectPart(messageAfter([](Json &j) { j["groups"][1]["sites"][0] = "layers.0.attn.q"; }),
             "no site name or in another group too");
  expectPart(messageAfter([](Json &j) { j["groups"][0]["elements"] = 0; }), "no count of weights");
  expectPart(messageAfter([](Json &j) { j["chosen"]["choice"][0] = 2; }),
             "'choice' of 'chosen' names a candidate that does not exist");
  expectPart(messageAfter([](Json &j) { j["points"][0]["choice"].push_back(0); }),
             "3 entries for 2 groups");
  expectPart(messageAfter([](Json &j) { j["caches"][0].erase("kl"); }), "cache 0 has no 'kl'");
  expectPart(messageAfter([](Json &j) { j["caches"][0]["format"] = "tcq2"; }),
             "cache 0 is of 'tcq2', which caches cannot have");
  expectPart(messageAfter([](Json &j) { j["caches"][1]["format"] = "int8"; }), "occurs twice");
  expectPart(messageAfter([](Json &j) { j["chosen"]["cache"] = "f16"; }),
             "'cache' of 'chosen' is none of 'caches'");
  expectPart(messageAfter([](Json &j) { j["chosen"]["cache"] = 1; }), "is none of 'caches'");
  expectPart(messageAfter([](Json &j) { j.erase("context"); }), "the file has no 'context'");
  expectPart(messageAfter([](Json &j) { j["context"] = 0; }), "no count of tokens");
  expectPart(messageAfter([](Json &j) { j = Json::array(); }), "this is no front of a search");
  auto cut = parseFront(printFront(sample()).substr(0, 200), "f.json");
  ASSERT_FALSE(bool(cut));
  expectPart(llvm::toString(cut.takeError()), "f.json: this is no JSON, or it is cut off");
  auto deep = parseFront(std::string(100, '['), "f.json");
  ASSERT_FALSE(bool(deep));
  expectPart(llvm::toString(deep.takeError()), "nests deeper than 16");
}

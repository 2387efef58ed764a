//===- ReportPageTest.cpp - the page of a plan ----------------------------===//

#include "tools/qplan/report/ReportData.h"

#include <gtest/gtest.h>

using namespace qplan;
using Json = nlohmann::ordered_json;

namespace {

Json manifest() {
  Json json = {{"qplan_version", "0.1.0"}, {"architecture", "llama"}, {"parameters", 4000000},
               {"layers", 2},              {"effective_bits", 4.5},   {"kv_cache", "f16"}};
  json["target"] = {{"triple", "x86_64-linux"}, {"cpu", "znver5"}};
  json["sites"] = Json::array();
  for (int layer = 0; layer < 2; ++layer)
    for (const char *kind : {"attn.q", "mlp.down"})
      json["sites"].push_back({{"name", "layers." + std::to_string(layer) + "." + kind},
                               {"treatment", layer ? "int8" : "int4_g64@imatrix"},
                               {"shape", {64, 64}},
                               {"bits", layer ? 8.25 : 4.25},
                               {"bytes", 3000}});
  return json;
}

SearchFront front() {
  SearchFront front;
  front.candidates = {"int4_g64@imatrix", "int8"};
  for (const char *name : {"layers.0.attn.q", "layers.0.mlp.down", "layers.1.attn.q",
                           "layers.1.mlp.down"})
    front.groups.push_back(
        {name, {name}, 4096, {{17408, {}, 0.01, {}, true}, {33792, {}, 0.0001, {}, true}}});
  return front;
}

ReportData data() {
  ReportData data;
  data.name = "m<b>.qplan";
  data.manifest = manifest();
  auto sites = reportSites(data.manifest, "m.qplan");
  EXPECT_TRUE(bool(sites));
  data.sites = std::move(*sites);
  data.weightBytes = 2.3e6;
  return data;
}

std::string pageOf(const ReportData &data) {
  auto page = writeReportPage(data);
  EXPECT_TRUE(bool(page));
  return *page;
}

void expectPart(const std::string &page, const char *part) {
  EXPECT_NE(page.find(part), std::string::npos) << "missing: " << part;
}

} // namespace

TEST(ReportPage, IsSelfContainedAndEscaped) {
  std::string page = pageOf(data());
  expectPart(page, "<h1>m&lt;b&gt;.qplan</h1>");
  expectPart(page, "default-src 'none'");
  EXPECT_EQ(page.find("<b>.qplan"), std::string::npos);
  for (const char *link : {"http://", "https://", "<script", "<link", "src="})
    EXPECT_EQ(page.find(link), std::string::npos) << link;
}

TEST(ReportPage, SaysWhatToRunForWhatIsNotKnown) {
  std::string page = pageOf(data());
  expectPart(page, "This plan carries no search.");
  expectPart(page, "qplan search MODEL");
  expectPart(page, "--model MODEL --text text.txt");
  expectPart(page, "--reference f32.qplan");
  expectPart(page, "--bench");
}

TEST(ReportPage, ShowsTheSearch) {
  ReportData known = data();
  known.front = front();
  known.chosen = chosenPoint(*known.front, known.sites, "f16");
  ASSERT_TRUE(known.chosen.has_value());
  EXPECT_EQ(known.chosen->choice, (std::vector<uint32_t>{0, 0, 1, 1}));
  EXPECT_DOUBLE_EQ(known.chosen->bits, 6.25);
  std::string page = pageOf(known);
  expectPart(page, "predicted divergence by kind of site and layer");
  expectPart(page, "predicted divergence by treatment and layer");
  expectPart(page, "bits against predicted divergence");
  expectPart(page, "At 6.25 bits this plan is expected to have 50 % of the divergence");
  EXPECT_EQ(page.find("This plan carries no search."), std::string::npos);
}

TEST(ReportPage, ShowsCaches) {
  ReportData known = data();
  EXPECT_EQ(pageOf(known).find("Keys and values"), std::string::npos);
  known.front = front();
  known.front->context = 1000;
  known.front->caches = {{"f16", 0.0, 640, {}}, {"int8", 0.00125, 330, {}}};
  known.chosen = chosenPoint(*known.front, known.sites, "int8");
  ASSERT_TRUE(known.chosen && known.chosen->cache);
  EXPECT_EQ(*known.chosen->cache, 1u);
  std::string page = pageOf(known);
  expectPart(page, "Keys and values");
  expectPart(page, "330.0 kB");
  expectPart(page, "this plan");
  // The search's own choice had another cache: what it measured is not this plan's.
  known.front->chosen = known.front->pointOf(known.chosen->choice, 0);
  known.front->chosen->measuredKl = 0.5;
  EXPECT_FALSE(chosenPoint(*known.front, known.sites, "int8")->measuredKl.has_value());
}

TEST(ReportPage, ShowsMeasurements) {
  ReportData known = data();
  known.eval = Json{{"kl_mean", 0.0123}, {"perplexity", 20.5}, {"top1_agreement", 0.97}};
  known.referenceEval = Json{{"perplexity", 20.0}};
  known.referenceName = "f32.qplan";
  known.bench = Json{{"decode_tokens_per_s", 321.5}, {"batch", 1}, {"threads", 2}};
  known.forms = FormComparison{{{"layers.0", 1e-6, 1.0}, {"layers.1", 4e-4, 2.0}},
                               {"logits", 1e-4, 1.0}, 1e-9, 512};
  std::string page = pageOf(known);
  expectPart(page, "0.0123 nats (KL) away from those of f32.qplan");
  expectPart(page, "+2.50 %");
  expectPart(page, "321.5");
  expectPart(page, "Worst: layers.1, 0.0002.");
  expectPart(page, "allowed: 0.001");
}

TEST(ReportPage, TakesTheSearchsOwnChoiceForAnEditedRecipe) {
  ReportData known = data();
  known.sites[0].treatment = "fp8_e4m3";
  SearchFront searched = front();
  EXPECT_FALSE(chosenPoint(searched, known.sites, "f16").has_value());
  searched.chosen = searched.pointOf({1, 1, 1, 1});
  EXPECT_EQ(*chosenPoint(searched, known.sites, "f16"), *searched.chosen);
}

TEST(ReportPage, RefusesADamagedManifest) {
  Json damaged = manifest();
  damaged["sites"][1].erase("bits");
  auto sites = reportSites(damaged, "m.qplan");
  ASSERT_FALSE(bool(sites));
  EXPECT_EQ(llvm::toString(sites.takeError()),
            "m.qplan/manifest.json: site 1 is incomplete; compile the plan again");
  damaged.erase("sites");
  auto none = reportSites(damaged, "m.qplan");
  ASSERT_FALSE(bool(none));
  llvm::consumeError(none.takeError());
}

TEST(TradeOffs, AreTheHullOfTheCells) {
  auto points = tradeOffs(front());
  ASSERT_TRUE(bool(points));
  ASSERT_EQ(points->size(), 5u);
  EXPECT_DOUBLE_EQ(points->front().bits, 4.25);
  EXPECT_DOUBLE_EQ(points->back().bits, 8.25);
  EXPECT_NEAR(points->back().kl, 0.0004, 1e-12);
}

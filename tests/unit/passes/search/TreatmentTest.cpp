//===- TreatmentTest.cpp - the text form of treatments --------------------===//

#include "passes/search/Treatment.h"

#include "ir/Failure.h"

#include <gtest/gtest.h>

using namespace qplan;

namespace {

std::string messageOf(llvm::Error error) { return llvm::toString(std::move(error)); }

/// The canonical form of `text`, or its error.
std::string canonical(llvm::StringRef text) {
  auto treatment = parseTreatment(text);
  return treatment ? printTreatment(*treatment) : "error: " + messageOf(treatment.takeError());
}

FormatId format(llvm::StringRef name) {
  auto id = parseFormat(name);
  EXPECT_TRUE(bool(id)) << messageOf(id.takeError());
  return *id;
}

void expectMessage(llvm::StringRef text, llvm::StringRef part) {
  std::string message = canonical(text);
  EXPECT_EQ(message.rfind("error: ", 0), 0u) << text.str();
  EXPECT_NE(message.find(part.str()), std::string::npos) << message;
}

} // namespace

TEST(Treatment, ReadsFormatActivationAndMethod) {
  auto treatment = parseTreatment("int4_g64a8@smoothquant{alpha=0.6}");
  ASSERT_TRUE(bool(treatment)) << messageOf(treatment.takeError());
  EXPECT_EQ(treatment->weight, format("int4_g64"));
  ASSERT_TRUE(treatment->activation.has_value());
  EXPECT_EQ(*treatment->activation, format("int8_token"));
  EXPECT_EQ(treatment->method, Method::SmoothQuant);
  EXPECT_EQ(treatment->parameter("alpha"), 0.6);
}

TEST(Treatment, ResolvesAliases) {
  EXPECT_EQ(canonical("w4"), "int4_g128");
  EXPECT_EQ(canonical("w4a8"), "int4_g128a8");
  EXPECT_EQ(canonical("w4a16"), "int4_g128");
  EXPECT_EQ(canonical("w8a8@smoothquant"), "int8a8@smoothquant");
  EXPECT_EQ(canonical("fp8"), "fp8_e4m3");
  EXPECT_EQ(canonical("llm_int8"), "int8a8@llm_int8");
  EXPECT_EQ(canonical("llm_int8{threshold=6}"), "int8a8@llm_int8");
  EXPECT_EQ(canonical("llm_int8{threshold=4}"), "int8a8@llm_int8{threshold=4}");
  EXPECT_EQ(canonical("fp8afp8"), "fp8_e4m3afp8");
}

TEST(Treatment, ReadsEverySuffix) {
  for (auto [text, name] : {std::pair("int8a8", "int8_token"),
                            {"int8a8b32", "int8_b32"},
                            {"int8a8b256", "int8_b256"},
                            {"int8a8s", "int8_tensor"},
                            {"int8afp8", "fp8_e4m3_token"},
                            {"int8afp8s", "fp8_e4m3_tensor"}}) {
    auto treatment = parseTreatment(text);
    ASSERT_TRUE(bool(treatment)) << messageOf(treatment.takeError());
    EXPECT_EQ(treatment->activation, format(name));
    EXPECT_EQ(printTreatment(*treatment), text);
  }
}

TEST(Treatment, DoesNotTakeTheAOfAsymForActivations) {
  auto treatment = parseTreatment("int4_g64_asym");
  ASSERT_TRUE(bool(treatment)) << messageOf(treatment.takeError());
  EXPECT_EQ(treatment->weight, format("int4_g64_asym"));
  EXPECT_FALSE(treatment->activation.has_value());
  EXPECT_EQ(canonical("int4_g64_asyma8"), "int4_g64_asyma8");
}

TEST(Treatment, GgufFormatsQuantizeActivationsUnlessRefused) {
  auto plain = parseTreatment("q4_K");
  ASSERT_TRUE(bool(plain)) << messageOf(plain.takeError());
  EXPECT_EQ(plain->activation, format("int8_b256"));
  EXPECT_EQ(printTreatment(*plain), "q4_K");
  EXPECT_EQ(canonical("q4_Ka8b256"), "q4_K");
  auto refused = parseTreatment("q4_Ka16");
  ASSERT_TRUE(bool(refused));
  EXPECT_FALSE(refused->activation.has_value());
  EXPECT_EQ(printTreatment(*refused), "q4_Ka16");
}

TEST(Treatment, CanonicalTextIsReadBackForEveryWeightFormat) {
  for (const FormatInfo &info : allFormats()) {
    if (!info.isWeight)
      continue;
    for (const char *suffix : {"", "a8", "a16", "a8b32", "afp8s", "@mse",
                               "a8@smoothquant{alpha=0.25}", "@gptq{actorder=0,damp=0.05}"}) {
      auto treatment = parseTreatment(std::string(info.name) + suffix);
      ASSERT_TRUE(bool(treatment)) << messageOf(treatment.takeError());
      auto again = parseTreatment(printTreatment(*treatment));
      ASSERT_TRUE(bool(again)) << messageOf(again.takeError());
      EXPECT_EQ(*again, *treatment);
      EXPECT_EQ(printTreatment(*again), printTreatment(*treatment));
    }
  }
}

TEST(Treatment, LeavesDefaultsOut) {
  EXPECT_EQ(canonical(" int8@max "), "int8");
  EXPECT_EQ(canonical("int8a8@smoothquant{alpha=0.5}"), "int8a8@smoothquant");
  EXPECT_EQ(canonical("int8a8@smoothquant{ alpha = 0 }"), "int8a8@smoothquant{alpha=0}");
  EXPECT_EQ(canonical("int8a8@smoothquant{alpha=-0}"), "int8a8@smoothquant{alpha=0}");
  EXPECT_EQ(canonical("w4@gptq{damp=0.1,actorder=1,mse=1}"), "int4_g128@gptq");
  EXPECT_EQ(canonical("int8a8s{range=max}"), "int8a8s");
  EXPECT_EQ(canonical("int8a8s@smoothquant{search=1,range=percentile,percentile=99.9}"),
            "int8a8s@smoothquant{percentile=99.9,range=percentile,search=1}");
  EXPECT_EQ(canonical("int4_g64a8@gptq{mse=0,damp=0.01}"), "int4_g64a8@gptq{damp=0.01,mse=0}");
  EXPECT_EQ(parseTreatment("int8@smoothquant")->parameter("alpha"), 0.5);
}

TEST(Treatment, ErrorsNameWhatIsWrongAndWhatIsNear) {
  expectMessage("", "a treatment is empty");
  expectMessage("int4_g46", "did you mean 'int4_g64'?");
  expectMessage("int4_g46", "known: ");
  expectMessage("Int8", "did you mean 'int8'?");
  expectMessage("int8a9", "'a9' is no activation format");
  expectMessage("int8a", "'a' is no activation format");
  expectMessage("int8@smothquant", "did you mean 'smoothquant'?");
  expectMessage("int8@", "'' is no method");
  expectMessage(
      "int8@sorcery",
      "known: max, mse, imatrix, smoothquant, smoothquantplus, gptq, sparsegpt, awq, awq_clip, "
      "llm_int8");
  expectMessage("int4_g64@gtpq", "did you mean 'gptq'?");
  expectMessage("int4_g64@gptq{mse=0.5}", "is 0.5, expected 0 or 1");
  expectMessage("int4_g64@gptq{damp=0}", "expected 1e-06 to 1");
  expectMessage("int4_g64@gptq{sym=1}",
                "(it has: damp, actorder, mse, sweeps, beam, awq, smooth, each)");
  expectMessage("int8{alpha=1}", "method 'max' has no parameter 'alpha' (it has: none)");
  expectMessage("int8@smoothquant{beta=1}", "(it has: alpha, search)");
  expectMessage("int8a8{range=mse}", "is for activations of one static scale");
  expectMessage("int8a8s{range=best}", "expected one of max, percentile, entropy, mse");
  expectMessage("int8a8s{range=mse,percentile=99}", "goes with range=percentile");
  expectMessage("int8@smoothquant{alpha=2}", "is 2, expected 0 to 1");
  expectMessage("int8@smoothquant{alpha=nan}", "expected a number");
  expectMessage("int8@smoothquant{alpha}", "expected a number");
  expectMessage("int8@smoothquant{alpha=0.1,alpha=0.2}", "given twice");
  expectMessage("int8@smoothquant{alpha=0.1", "without a closing '}'");
  expectMessage("int8@smoothquant{}", "no parameter ''");
  expectMessage("int8_token", "is no weight format");
  expectMessage(std::string(100000, 'a'), "...");
}

TEST(Treatment, ErrorsAreWrongUsage) {
  auto treatment = parseTreatment("nonsense");
  llvm::handleAllErrors(treatment.takeError(), [](const Failure &failure) {
    EXPECT_EQ(failure.exitStatus(), ExitStatus::InvalidUsage);
  });
}

TEST(TreatmentList, SplitsAtCommasOutsideBraces) {
  auto list = parseTreatmentList("int4_g64@mse, int8a8@smoothquant{alpha=0.6},fp8");
  ASSERT_TRUE(bool(list)) << messageOf(list.takeError());
  ASSERT_EQ(list->size(), 3u);
  EXPECT_EQ(printTreatment((*list)[1]), "int8a8@smoothquant{alpha=0.6}");
}

TEST(TreatmentList, RefusesEmptyAndRepeatedElements) {
  EXPECT_NE(messageOf(parseTreatmentList("").takeError()).find("empty"), std::string::npos);
  EXPECT_NE(messageOf(parseTreatmentList("int8,,fp8").takeError()).find("empty"),
            std::string::npos);
  EXPECT_NE(messageOf(parseTreatmentList("w4a8,int4_g128a8").takeError()).find("listed twice"),
            std::string::npos);
  EXPECT_NE(messageOf(parseTreatmentList("int8{alpha=1,").takeError()), "");
}

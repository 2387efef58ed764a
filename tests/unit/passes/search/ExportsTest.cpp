//===- ExportsTest.cpp - every row of the table of engines ----------------===//

#include "passes/search/Exports.h"

#include <gtest/gtest.h>
#include <llvm/ADT/STLExtras.h>

using namespace qplan;

TEST(Exports, NamesTreatmentsThatExist) {
  for (const ExportKind &kind : exportKinds()) {
    auto holds = parseTreatmentList(kind.holds);
    ASSERT_TRUE(bool(holds)) << kind.name << ": " << llvm::toString(holds.takeError());
    auto search = parseTreatmentList(kind.search);
    ASSERT_TRUE(bool(search)) << kind.name << ": " << llvm::toString(search.takeError());
    for (const Treatment &treatment : *search)
      EXPECT_TRUE(kind.canHold(treatment)) << kind.name << " " << printTreatment(treatment);
  }
}

TEST(Exports, TellsWhatAnEngineHolds) {
  auto holds = [](llvm::StringRef kind, llvm::StringRef treatment) {
    return llvm::cantFail(exportKind(kind))->canHold(llvm::cantFail(parseTreatment(treatment)));
  };
  EXPECT_TRUE(holds("gguf", "q4_K@imatrix"));
  EXPECT_TRUE(holds("gguf", "q4_Ka16"));
  EXPECT_FALSE(holds("gguf", "int4_g64"));
  EXPECT_TRUE(holds("vllm", "int8a8@smoothquant"));
  EXPECT_FALSE(holds("vllm", "int4_g128a8"));
  EXPECT_FALSE(holds("modelopt", "tcq4@gptq"));
  EXPECT_TRUE(holds("tensorrt-llm", "nvfp4"));
}

TEST(Exports, TiesExpertsThatEnginesFuse) {
  for (const ExportKind &kind : exportKinds())
    EXPECT_TRUE(llvm::is_contained(kind.ties, llvm::StringRef("experts"))) << kind.name;
}

TEST(Exports, NamesTheNearest) {
  auto kind = exportKind("vlm");
  ASSERT_FALSE(bool(kind));
  std::string message = llvm::toString(kind.takeError());
  EXPECT_NE(message.find("did you mean vllm?"), std::string::npos) << message;
}

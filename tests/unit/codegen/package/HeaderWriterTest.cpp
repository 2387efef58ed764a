//===- HeaderWriterTest.cpp - model.h compiles as C and C++ ---------------===//

#include "codegen/package/HeaderWriter.h"

#include <cstdlib>
#include <fstream>
#include <gtest/gtest.h>
#include <llvm/Support/FileSystem.h>

using namespace qplan;

namespace {

std::string messageOf(llvm::Error error) { return llvm::toString(std::move(error)); }

ModelHeader sample() {
  ModelHeader model;
  model.name = "Tiny_1";
  model.producer = "qplan 0.1.0";
  model.target = "x86_64-linux:znver5";
  model.cpuFeatures = "avx2,fma";
  model.kvFormat = "f16";
  model.vocabulary = 49152;
  model.context = 4096;
  model.maxTokens = 512;
  model.kvPageTokens = 64;
  model.kvPageBytes = 1u << 20;
  model.weightBytes = 0xffffffffffffff00u;
  model.arenaBytesFixed = 64;
  model.arenaBytesPerToken = 128;
  return model;
}

/// Compiles `program` beside `header`; the compiler's exit status.
int compile(const std::string &header, const std::string &program, const std::string &command) {
  llvm::SmallString<128> folder;
  EXPECT_FALSE(llvm::sys::fs::createUniqueDirectory("qplan-header", folder));
  std::string base = folder.str().str();
  std::ofstream(base + "/model.h") << header;
  std::ofstream(base + "/user.c") << program;
  int status = std::system((command + " -Wall -Wextra -Werror -pedantic -fsyntax-only -I" + base +
                            " -I" QPLAN_TEST_RUNTIME_INCLUDE " " + base + "/user.c")
                               .c_str());
  (void)llvm::sys::fs::remove_directories(folder);
  return status;
}

const char *program = "#include \"model.h\"\n#include \"model.h\"\n"
                      "uint64_t sizes(void);\n"
                      "uint64_t sizes(void) {\n"
                      "  const char *text = TINY_1_PRODUCER TINY_1_TARGET TINY_1_CPU_FEATURES "
                      "TINY_1_KV_FORMAT;\n"
                      "  const qplan_model_v1 *model = Tiny_1_query(QPLAN_ABI_VERSION);\n"
                      "  return TINY_1_WEIGHT_BYTES + TINY_1_ARENA_BYTES_FIXED + "
                      "TINY_1_ARENA_BYTES_PER_TOKEN * (uint64_t)TINY_1_MAX_TOKENS + "
                      "TINY_1_KV_PAGE_BYTES + (uint64_t)(text != 0 && model != 0) + "
                      "(uint64_t)(TINY_1_VOCABULARY + TINY_1_CONTEXT + TINY_1_KV_PAGE_TOKENS);\n"
                      "}\n";

} // namespace

TEST(HeaderWriter, CompilesAsC11) {
  auto header = writeModelHeader(sample());
  ASSERT_TRUE(bool(header)) << messageOf(header.takeError());
  EXPECT_EQ(compile(*header, program, QPLAN_TEST_C_COMPILER " -x c -std=c11"), 0);
}

TEST(HeaderWriter, CompilesAsCxx17) {
  auto header = writeModelHeader(sample());
  ASSERT_TRUE(bool(header)) << messageOf(header.takeError());
  EXPECT_EQ(compile(*header, program, QPLAN_TEST_CXX_COMPILER " -x c++ -std=c++17"), 0);
}

TEST(HeaderWriter, EscapesTexts) {
  ModelHeader model = sample();
  model.target = "a\"b\\c\?\?/\n1";
  auto header = writeModelHeader(model);
  ASSERT_TRUE(bool(header));
  EXPECT_NE(header->find("\"a\\042b\\134c\\077\\077/\\0121\""), std::string::npos);
  EXPECT_EQ(compile(*header, program, QPLAN_TEST_C_COMPILER " -x c -std=c11"), 0);
}

TEST(HeaderWriter, RefusesNamesThatAreNoIdentifiers) {
  for (const char *name : {"", "1a", "_a", "a-b", "a b", "qplan", "caf\xc3\xa9"}) {
    ModelHeader model = sample();
    model.name = name;
    auto header = writeModelHeader(model);
    ASSERT_FALSE(bool(header)) << name;
    EXPECT_NE(messageOf(header.takeError()).find("--name"), std::string::npos);
  }
  EXPECT_NE(messageOf(checkModelName(std::string(65, 'a'))), "");
  EXPECT_FALSE(bool(checkModelName(std::string(64, 'a'))));
}

//===- ManifestTest.cpp - what a manifest may and may not say -------------===//
#include "runtime/src/Manifest.h"

#include <gtest/gtest.h>

using namespace qplan;

static const char valid[] = R"({"qplan_manifest": 1, "qplan_version": "0.1.0", "name": "m",
  "architecture": "llama", "vocabulary": 31, "context": 40, "sites": [{"name": "a"}],
  "target": {"triple": "x86_64-linux", "cpu": "znver5", "features": ["avx2", "fma"]},
  "files": {"weights.bin": {"bytes": 128, "xxh64": "0123456789abcdef"}}})";

/// `valid` with the first `from` replaced by `to`.
static std::string with(const std::string &from, const std::string &to) {
  std::string text = valid;
  return text.replace(text.find(from), from.size(), to);
}

static std::string errorOf(const std::string &text) {
  Manifest manifest;
  Status status = parseManifest(text, "m.qplan/manifest.json", manifest);
  EXPECT_EQ(status.code, QPLAN_INVALID_INPUT) << text;
  EXPECT_EQ(status.message.rfind("m.qplan/manifest.json", 0), 0u) << status.message;
  return status.message;
}

TEST(Manifest, ReadsTheFieldsThatLoadingNeeds) {
  Manifest manifest;
  ASSERT_FALSE(parseManifest(valid, "f", manifest).failed());
  EXPECT_EQ(manifest.name, "m");
  EXPECT_EQ(manifest.architecture, "llama");
  EXPECT_EQ(manifest.features, "avx2,fma");
  EXPECT_EQ(manifest.vocabulary, 31);
  ASSERT_TRUE(manifest.find("weights.bin"));
  EXPECT_EQ(manifest.find("weights.bin")->bytes, 128u);
  EXPECT_EQ(manifest.find("weights.bin")->hash, 0x0123456789abcdefu);
  EXPECT_FALSE(manifest.find("model.so"));
  EXPECT_EQ(manifest.text, valid);
}

TEST(Manifest, NamesTheFieldAtFault) {
  EXPECT_NE(errorOf(with("\"name\": \"m\",", "")).find("\"name\" is missing"), std::string::npos);
  EXPECT_NE(errorOf(with("31", "\"31\"")).find("\"vocabulary\""), std::string::npos);
  EXPECT_NE(errorOf(with("31", "-31")).find("\"vocabulary\""), std::string::npos);
  EXPECT_NE(errorOf(with("31", "1e3")).find("\"vocabulary\""), std::string::npos);
  EXPECT_NE(errorOf(with("40", "99999999999")).find("\"context\" is 99999999999"),
            std::string::npos);
  EXPECT_NE(errorOf(with("128", "72057594037927937")).find("\"bytes\""), std::string::npos);
  EXPECT_NE(errorOf(with("0123456789abcdef", "zz")).find("\"xxh64\""), std::string::npos);
  EXPECT_NE(errorOf(with("\"avx2\"", "2")).find("\"features\""), std::string::npos);
  EXPECT_NE(errorOf(with("\"avx2\"", "\"avx2,fma\"")).find("\"features\""), std::string::npos);
}

TEST(Manifest, RefusesAnotherVersion) {
  EXPECT_NE(errorOf(with("\"qplan_manifest\": 1", "\"qplan_manifest\": 2")).find("version 2"),
            std::string::npos);
}

TEST(Manifest, RefusesFileNamesThatLeaveThePackage) {
  for (const char *name : {"../weights.bin", "/etc/passwd", "a/b", "..", ".", ""})
    EXPECT_NE(errorOf(with("weights.bin", name)).find("\"files\""), std::string::npos) << name;
  EXPECT_NE(errorOf(with("weights.bin", "a\\u0000b")).find("\"files\""), std::string::npos);
}

TEST(Manifest, RefusesWhatIsNoJsonObject) {
  for (const char *text : {"", "[]", "{", "3", "null", "{\"a\": 1,}", "\xff\xfe{}"})
    errorOf(text);
  errorOf(std::string("{}\0", 3));
}

TEST(Manifest, RefusesDeepNestingBeforeParsing) {
  std::string deep(100000, '[');
  EXPECT_NE(errorOf(deep).find("nested"), std::string::npos);
  EXPECT_EQ(errorOf("{\"a\": \"" + deep + "\"}").find("nested"), std::string::npos);
}

//===- PackageTest.cpp - packages on disk, whole and damaged --------------===//
#include "FakeModel.h"
#include "runtime/src/CpuFeatures.h"

#include <filesystem>
#include <fstream>
#include <functional>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

using fake::expectedLogits;
namespace fs = std::filesystem;

static std::string contents(const fs::path &path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

static void write(const fs::path &path, const std::string &text) {
  std::ofstream(path, std::ios::binary) << text;
}

namespace {
/// A package in a folder of its own, made of the fake model's shared library.
class Package : public testing::Test {
protected:
  void SetUp() override {
    std::string pattern = (fs::temp_directory_path() / "qplan-package-XXXXXX").string();
    ASSERT_TRUE(mkdtemp(pattern.data()));
    root = pattern;
    folder = root / "m.qplan";
    make();
  }
  void TearDown() override { fs::remove_all(root); }

  /// Writes the package anew; `code` is a shared library.
  void make(const char *code = FAKE_MODEL_SO) {
    fs::remove_all(folder);
    fs::create_directory(folder);
    write(folder / "weights.bin", std::string(std::begin(weights.bytes), std::end(weights.bytes)));
    write(folder / "model.so", contents(code));
    write(folder / "tokenizer.json", "{}");
    writeManifest();
  }

  /// Describes the files as they are now.
  void writeManifest(const std::string &features = "", const std::string &architecture = "") {
    std::string arch = architecture.empty() ? std::string(qplan::hostArchitecture()) : architecture;
    std::string files;
    for (const char *name : {"weights.bin", "model.so", "tokenizer.json"}) {
      std::string text = contents(folder / name);
      bool isWeights = std::string(name) == "weights.bin";
      uint64_t hash = isWeights ? qplan::xxh64(text.data() + 64, text.size() - 64)
                                : qplan::xxh64(text.data(), text.size());
      files += (files.empty() ? "\"" : ", \"") + std::string(name) +
               "\": {\"bytes\": " + std::to_string(text.size()) + ", \"xxh64\": \"" +
               qplan::hashText(hash) + "\"}";
    }
    write(folder / "manifest.json",
          "{\"qplan_manifest\": 1, \"qplan_version\": \"0.1.0\", \"name\": \"fake_shared\","
          "\"architecture\": \"fake\", \"vocabulary\": 31, \"context\": 40,"
          "\"target\": {\"triple\": \"" +
              arch + "-unknown-linux-gnu\", \"features\": [" + features + "]}, \"files\": {" +
              files + "}}");
  }

  int open(uint32_t flags = 0) {
    qplan_options options = QPLAN_OPTIONS_INIT;
    options.flags = flags;
    options.threads = 1;
    qplan_model_close(model);
    int status = qplan_model_open(folder.c_str(), &options, &model, error, sizeof(error));
    EXPECT_EQ(model == nullptr, status != QPLAN_OK);
    return status;
  }

  void close() {
    qplan_model_close(model);
    model = nullptr;
  }

  /// Opening must fail with this status and words in the message.
  void expectFailure(int status, std::initializer_list<const char *> words, uint32_t flags = 0) {
    EXPECT_EQ(open(flags), status) << error;
    for (const char *word : words)
      EXPECT_NE(std::string(error).find(word), std::string::npos) << word << " not in: " << error;
    close();
  }

  std::vector<float> firstLogits(int32_t token) {
    qplan_session *session = nullptr;
    const float *logits = nullptr;
    EXPECT_EQ(qplan_session_create(model, &session, error, sizeof(error)), QPLAN_OK);
    EXPECT_EQ(qplan_decode(session, token, &logits, error, sizeof(error)), QPLAN_OK) << error;
    std::vector<float> result(logits, logits + fake::vocabulary);
    qplan_session_free(session);
    return result;
  }

  fake::Weights weights;
  fs::path root, folder;
  qplan_model *model = nullptr;
  char error[1024] = "";
};
} // namespace

TEST_F(Package, RunsAndDescribesItself) {
  ASSERT_EQ(open(QPLAN_VERIFY | QPLAN_PREFAULT), QPLAN_OK) << error;
  EXPECT_EQ(firstLogits(3), expectedLogits({3}, weights));
  qplan_info info{};
  info.size = sizeof(info);
  qplan_model_info(model, &info);
  EXPECT_STREQ(info.name, "fake_shared");
  EXPECT_STREQ(info.architecture, "fake");
  EXPECT_EQ(info.manifest, contents(folder / "manifest.json"));
  close();
}

TEST_F(Package, RefusesNativeCodeWhenUntrusted) {
  expectFailure(QPLAN_INVALID_INPUT, {"native code", "m.qplan"}, QPLAN_UNTRUSTED);
  EXPECT_EQ(qplan_package_check(folder.c_str(), QPLAN_VERIFY, error, sizeof(error)), QPLAN_OK);
}

TEST_F(Package, NamesTheMissingFile) {
  for (const char *name : {"manifest.json", "weights.bin", "model.so", "tokenizer.json"}) {
    make();
    fs::remove(folder / name);
    expectFailure(QPLAN_INVALID_INPUT, {name});
  }
  fs::remove_all(folder);
  expectFailure(QPLAN_INVALID_INPUT, {"manifest.json", "No such file"});
}

TEST_F(Package, FindsFilesOfAnotherSize) {
  for (const char *name : {"weights.bin", "model.so", "tokenizer.json"}) {
    make();
    write(folder / name, contents(folder / name) + "x");
    expectFailure(QPLAN_INVALID_INPUT, {name, "the manifest says"});
  }
}

TEST_F(Package, FindsDamagedCodeBeforeLoadingIt) {
  std::string code = contents(folder / "model.so");
  code[code.size() / 2] ^= 1;
  write(folder / "model.so", code);
  expectFailure(QPLAN_INVALID_INPUT, {"model.so", "checksum"});
}

TEST_F(Package, FindsDamagedWeightsOnDemand) {
  std::string bytes = contents(folder / "weights.bin");
  bytes[127] ^= 1;
  write(folder / "weights.bin", bytes);
  EXPECT_EQ(open(), QPLAN_OK) << error;
  expectFailure(QPLAN_INVALID_INPUT, {"weights.bin", "checksum"}, QPLAN_VERIFY);
}

TEST_F(Package, FindsWeightsOfAnotherPlanUnread) {
  fake::Weights other(99);
  write(folder / "weights.bin", std::string(std::begin(other.bytes), std::end(other.bytes)));
  expectFailure(QPLAN_INVALID_INPUT, {"weights.bin", "checksum"});
}

TEST_F(Package, NamesTheMissingCpuFeatures) {
  writeManifest("\"avx9000\", \"amx-dream\"");
  expectFailure(QPLAN_MACHINE_FAILURE, {"avx9000, amx-dream", "--target"});
  EXPECT_EQ(qplan_package_check(folder.c_str(), 0, error, sizeof(error)), QPLAN_OK) << error;
}

TEST_F(Package, RefusesAnotherArchitecture) {
  writeManifest("", "riscv64");
  expectFailure(QPLAN_MACHINE_FAILURE, {"riscv64", "this machine is"});
}

TEST_F(Package, RefusesCodeThatIsNone) {
  write(folder / "model.so", "not an ELF file");
  writeManifest();
  expectFailure(QPLAN_INVALID_INPUT, {"model.so", "cannot be loaded"});
}

TEST_F(Package, RefusesCodeOfAnotherAbiVersion) {
  make(FAKE_MODEL_V2_SO);
  expectFailure(QPLAN_INVALID_INPUT, {"model.so", "ABI version 2"});
}

TEST_F(Package, RefusesAManifestOfAnotherModel) {
  std::string text = contents(folder / "manifest.json");
  write(folder / "manifest.json", text.replace(text.find("fake_shared"), 11, "fake_shares"));
  expectFailure(QPLAN_INVALID_INPUT, {"\"name\"", "model.so"});
}

TEST_F(Package, LoadsNewCodeAfterItWasReplacedUnderAnOpenModel) {
  ASSERT_EQ(open(), QPLAN_OK) << error;
  qplan_model *old = model;
  model = nullptr;
  make(FAKE_MODEL_V2_SO); // same path, other code
  expectFailure(QPLAN_INVALID_INPUT, {"ABI version 2"});
  model = old;
  EXPECT_EQ(firstLogits(3), expectedLogits({3}, weights));
  close();
}

TEST_F(Package, RefusesOddFilesWithoutHanging) {
  fs::remove(folder / "weights.bin");
  fs::create_directory(folder / "weights.bin");
  expectFailure(QPLAN_INVALID_INPUT, {"weights.bin", "regular file"});
  fs::remove(folder / "weights.bin");
  ASSERT_EQ(mkfifo((folder / "weights.bin").c_str(), 0600), 0);
  expectFailure(QPLAN_INVALID_INPUT, {"weights.bin", "regular file"});
}

TEST_F(Package, ChecksOptions) {
  auto openWith = [&](const std::function<void(qplan_options &)> &change) {
    qplan_options options = QPLAN_OPTIONS_INIT;
    change(options);
    int status = qplan_model_open(folder.c_str(), &options, &model, error, sizeof(error));
    EXPECT_EQ(model, nullptr);
    return status;
  };
  EXPECT_EQ(openWith([](auto &o) { o.size = 8; }), QPLAN_INVALID_USAGE);
  EXPECT_EQ(openWith([](auto &o) { o.flags = 1u << 30; }), QPLAN_INVALID_USAGE);
  EXPECT_EQ(openWith([](auto &o) { o.threads = -1; }), QPLAN_INVALID_USAGE);
  EXPECT_EQ(openWith([](auto &o) { o.kv.allocate = [](void *, uint64_t) -> void * { return 0; }; }),
            QPLAN_INVALID_USAGE);
  EXPECT_EQ(openWith([&](auto &o) { o.statistics = weights.bytes; }), QPLAN_INVALID_USAGE);
  EXPECT_NE(std::string(error).find("calibration"), std::string::npos) << error;
  EXPECT_EQ(qplan_model_open(nullptr, nullptr, &model, error, sizeof(error)), QPLAN_INVALID_USAGE);
}

TEST_F(Package, CutsLongMessagesToTheCallersBuffer) {
  fs::remove(folder / "model.so");
  char small[8];
  EXPECT_EQ(qplan_model_open(folder.c_str(), nullptr, &model, small, sizeof(small)),
            QPLAN_INVALID_INPUT);
  EXPECT_EQ(std::string(small), folder.string().substr(0, 7));
  EXPECT_EQ(qplan_model_open(folder.c_str(), nullptr, &model, nullptr, 0), QPLAN_INVALID_INPUT);
}

TEST_F(Package, OpensLinkedCodeOverItsWeightsFile) {
  std::string path = folder / "weights.bin";
  ASSERT_EQ(
      qplan_model_open_static(fake_query(1), path.c_str(), nullptr, &model, error, sizeof(error)),
      QPLAN_OK)
      << error;
  EXPECT_EQ(firstLogits(5), expectedLogits({5}, weights));
  close();
}

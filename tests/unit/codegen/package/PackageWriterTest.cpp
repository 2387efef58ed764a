//===- PackageWriterTest.cpp - a package is whole or absent ---------------===//

#include "codegen/package/PackageWriter.h"

#include "codegen/package/InterruptCleanup.h"
#include "ir/Failure.h"

#include <csignal>
#include <fcntl.h>
#include <fstream>
#include <gtest/gtest.h>
#include <llvm/Support/Endian.h>
#include <llvm/Support/FileSystem.h>
#include <llvm/Support/MemoryBuffer.h>
#include <llvm/Support/xxhash.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

using namespace qplan;
namespace fs = llvm::sys::fs;

namespace {

/// A temporary folder of each test.
class PackageWriterTest : public testing::Test {
protected:
  void SetUp() override { ASSERT_FALSE(fs::createUniqueDirectory("qplan-package", folder)); }
  void TearDown() override { (void)fs::remove_directories(folder); }

  std::string at(const std::string &name) const { return folder.str().str() + "/" + name; }

  /// Names in `path`, sorted.
  static std::vector<std::string> list(const std::string &path) {
    std::vector<std::string> names;
    std::error_code code;
    for (fs::directory_iterator entry(path, code), end; !code && entry != end;
         entry.increment(code))
      names.push_back(entry->path().substr(path.size() + 1));
    std::sort(names.begin(), names.end());
    return names;
  }

  static std::string read(const std::string &path) {
    auto buffer = llvm::MemoryBuffer::getFile(path);
    return buffer ? (*buffer)->getBuffer().str() : "<missing>";
  }

  static nlohmann::ordered_json manifest() { return {{"qplan_manifest", 1}, {"name", "tiny"}}; }

  /// Writes a small package; `mark` tells packages apart.
  static llvm::Error writePackage(const std::string &target, const std::string &mark) {
    auto writer = PackageWriter::create(target);
    if (!writer)
      return writer.takeError();
    std::vector<uint8_t> data(100, 7);
    if (auto error = (*writer)->beginWeights(512))
      return error;
    if (auto error = (*writer)->writeWeights(64, data))
      return error;
    if (auto error = (*writer)->writeWeights(256, data))
      return error;
    if (auto error = (*writer)->finishWeights())
      return error;
    if (auto error = (*writer)->addFile("recipe.txt", mark))
      return error;
    return (*writer)->commit(manifest());
  }

  llvm::SmallString<128> folder;
};

struct Outcome {
  ExitStatus status = ExitStatus::Done;
  std::string message;
};

Outcome outcomeOf(llvm::Error error) {
  Outcome outcome;
  llvm::handleAllErrors(std::move(error), [&](const Failure &failure) {
    outcome = {failure.exitStatus(), failure.messageText()};
  });
  return outcome;
}

} // namespace

TEST_F(PackageWriterTest, WritesFilesWithChecksums) {
  std::string target = at("m.qplan");
  ASSERT_EQ(outcomeOf(writePackage(target + "/", "recipe")).message, "");
  EXPECT_EQ(list(target), (std::vector<std::string>{"manifest.json", "recipe.txt", "weights.bin"}));
  EXPECT_EQ(list(folder.str().str()), std::vector<std::string>{"m.qplan"});

  std::string weights = read(target + "/weights.bin");
  ASSERT_EQ(weights.size(), 512u);
  EXPECT_EQ(weights.substr(0, 8), std::string("QPLANW1\0", 8));
  EXPECT_EQ(llvm::support::endian::read64le(weights.data() + 8), 512u);
  EXPECT_EQ(llvm::support::endian::read64le(weights.data() + 16), 64u);
  uint64_t hash = llvm::xxHash64(llvm::StringRef(weights).drop_front(64));
  EXPECT_EQ(llvm::support::endian::read64le(weights.data() + 24), hash);
  EXPECT_EQ(weights.substr(32, 32), std::string(32, '\0'));
  EXPECT_EQ(weights.substr(64, 100), std::string(100, 7));
  EXPECT_EQ(weights.substr(164, 92), std::string(92, '\0'));
  EXPECT_EQ(weights.substr(256, 100), std::string(100, 7));

  auto json = nlohmann::json::parse(read(target + "/manifest.json"), nullptr, false);
  ASSERT_FALSE(json.is_discarded());
  EXPECT_EQ(json["files"]["weights.bin"]["bytes"], 512);
  EXPECT_EQ(json["files"]["weights.bin"]["xxh64"], fmt::format("{:016x}", hash));
  EXPECT_EQ(json["files"]["recipe.txt"]["xxh64"], fmt::format("{:016x}", llvm::xxHash64("recipe")));
  EXPECT_FALSE(json["files"].contains("manifest.json"));
}

TEST_F(PackageWriterTest, SameInputsGiveTheSameBytes) {
  ASSERT_EQ(outcomeOf(writePackage(at("a"), "x")).message, "");
  ASSERT_EQ(outcomeOf(writePackage(at("b"), "x")).message, "");
  for (const std::string &name : list(at("a")))
    EXPECT_EQ(read(at("a/" + name)), read(at("b/" + name))) << name;
}

TEST_F(PackageWriterTest, ReplacesAnExistingPlanAndAnEmptyDirectory) {
  ASSERT_FALSE(fs::create_directory(at("m")));
  ASSERT_EQ(outcomeOf(writePackage(at("m"), "one")).message, "");
  std::ofstream(at("m/extra.html")) << "report";
  ASSERT_EQ(outcomeOf(writePackage(at("m"), "two")).message, "");
  EXPECT_EQ(read(at("m/recipe.txt")), "two");
  EXPECT_EQ(list(at("m")).size(), 3u);
  EXPECT_EQ(list(folder.str().str()), std::vector<std::string>{"m"});
}

TEST_F(PackageWriterTest, ReplacesThePlanThatALinkLeadsTo) {
  ASSERT_EQ(outcomeOf(writePackage(at("real"), "one")).message, "");
  ASSERT_EQ(::symlink("real", at("link").c_str()), 0);
  ASSERT_EQ(outcomeOf(writePackage(at("link"), "two")).message, "");
  EXPECT_EQ(read(at("real/recipe.txt")), "two");
  EXPECT_TRUE(fs::is_symlink_file(at("link")));
}

TEST_F(PackageWriterTest, RefusesWhatIsNoPlan) {
  ASSERT_FALSE(fs::create_directory(at("home")));
  std::ofstream(at("home/thesis.txt")) << "years of work";
  Outcome outcome = outcomeOf(writePackage(at("home"), "x"));
  EXPECT_EQ(outcome.status, ExitStatus::InvalidUsage);
  EXPECT_NE(outcome.message.find("home: this directory is no plan"), std::string::npos);
  EXPECT_EQ(read(at("home/thesis.txt")), "years of work");
  outcome = outcomeOf(writePackage(at("home/thesis.txt"), "x"));
  EXPECT_EQ(outcome.status, ExitStatus::InvalidUsage);
  EXPECT_NE(outcome.message.find("a file is in the way"), std::string::npos);
  EXPECT_EQ(outcomeOf(PackageWriter::create("").takeError()).status, ExitStatus::InvalidUsage);
}

TEST_F(PackageWriterTest, NamesTheFolderItCannotWriteIn) {
  Outcome outcome = outcomeOf(writePackage(at("missing/m"), "x"));
  EXPECT_EQ(outcome.status, ExitStatus::MachineFailure);
  EXPECT_NE(outcome.message.find("missing/m: cannot make a plan in"), std::string::npos);
}

TEST_F(PackageWriterTest, LeavesNothingWhenItIsDropped) {
  {
    auto writer = PackageWriter::create(at("m"));
    ASSERT_TRUE(bool(writer));
    ASSERT_EQ(outcomeOf((*writer)->beginWeights(1024)).message, "");
    ASSERT_EQ(outcomeOf((*writer)->addFile("model.o", "code")).message, "");
    EXPECT_EQ(list(folder.str().str()).size(), 1u);
  }
  EXPECT_TRUE(list(folder.str().str()).empty());
}

TEST_F(PackageWriterTest, KeepsTheOldPlanWhenTheNewOneFails) {
  ASSERT_EQ(outcomeOf(writePackage(at("m"), "one")).message, "");
  {
    auto writer = PackageWriter::create(at("m"));
    ASSERT_TRUE(bool(writer));
    Outcome outcome = outcomeOf((*writer)->beginWeights(uint64_t(1) << 59));
    EXPECT_EQ(outcome.status, ExitStatus::MachineFailure);
    EXPECT_NE(outcome.message.find("m/weights.bin"), std::string::npos);
    EXPECT_NE(outcome.message.find("576460752303423488 bytes"), std::string::npos);
  }
  EXPECT_EQ(read(at("m/recipe.txt")), "one");
  EXPECT_EQ(list(folder.str().str()), std::vector<std::string>{"m"});
}

TEST_F(PackageWriterTest, ReportsAFileThatCannotGrow) {
  ::signal(SIGXFSZ, SIG_IGN);
  rlimit old, small = {1 << 16, RLIM_INFINITY};
  ::getrlimit(RLIMIT_FSIZE, &old);
  small.rlim_max = old.rlim_max;
  ::setrlimit(RLIMIT_FSIZE, &small);
  Outcome outcome;
  {
    auto writer = PackageWriter::create(at("m"));
    ASSERT_TRUE(bool(writer));
    outcome = outcomeOf((*writer)->addFile("model.o", std::string(1 << 17, 'x')));
  }
  ::setrlimit(RLIMIT_FSIZE, &old);
  EXPECT_EQ(outcome.status, ExitStatus::MachineFailure);
  EXPECT_NE(outcome.message.find("m/model.o: cannot write this file (131072 bytes)"),
            std::string::npos);
  EXPECT_TRUE(list(folder.str().str()).empty());
}

TEST_F(PackageWriterTest, RefusesCallsOutOfOrder) {
  auto writer = PackageWriter::create(at("m"));
  ASSERT_TRUE(bool(writer));
  std::vector<uint8_t> data(64);
  EXPECT_EQ(outcomeOf((*writer)->writeWeights(64, data)).status, ExitStatus::Defect);
  EXPECT_EQ(outcomeOf((*writer)->beginWeights(63)).status, ExitStatus::Defect);
  ASSERT_EQ(outcomeOf((*writer)->beginWeights(192)).message, "");
  EXPECT_EQ(outcomeOf((*writer)->writeWeights(0, data)).status, ExitStatus::Defect);
  ASSERT_EQ(outcomeOf((*writer)->writeWeights(64, data)).message, "");
  EXPECT_EQ(outcomeOf((*writer)->writeWeights(64, data)).status, ExitStatus::Defect);
  EXPECT_EQ(outcomeOf((*writer)->writeWeights(129, data)).status, ExitStatus::Defect);
  EXPECT_EQ(outcomeOf((*writer)->commit(manifest())).status, ExitStatus::Defect);
  ASSERT_EQ(outcomeOf((*writer)->finishWeights()).message, "");
  EXPECT_EQ(outcomeOf((*writer)->addFile("../escape", "x")).status, ExitStatus::Defect);
  EXPECT_EQ(outcomeOf((*writer)->addFile("weights.bin", "x")).status, ExitStatus::Defect);
  EXPECT_EQ(outcomeOf((*writer)->commit({{"name", "x"}})).status, ExitStatus::Defect);
}

TEST_F(PackageWriterTest, AnInterruptRemovesWhatWasWritten) {
  pid_t child = ::fork();
  if (child == 0) {
    ::signal(SIGINT, SIG_DFL);
    installInterruptHandler();
    auto writer = PackageWriter::create(at("m"));
    if (!writer)
      _exit(1);
    llvm::consumeError((*writer)->beginWeights(1024));
    llvm::consumeError((*writer)->addFile("model.o", "code"));
    ::raise(SIGINT);
    _exit(2);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  ASSERT_TRUE(WIFEXITED(status));
  EXPECT_EQ(WEXITSTATUS(status), 130);
  EXPECT_TRUE(list(folder.str().str()).empty());
}

TEST_F(PackageWriterTest, RemovesLeftoversOfKilledWriters) {
  std::string old = at(".m.unfinished-abcdef"), other = at(".n.unfinished-abcdef");
  ASSERT_FALSE(fs::create_directory(old));
  ASSERT_FALSE(fs::create_directory(other));
  std::ofstream(old + "/weights.bin") << "x";
  timespec times[2] = {{1, 0}, {1, 0}};
  ASSERT_EQ(::utimensat(AT_FDCWD, old.c_str(), times, 0), 0);
  ASSERT_EQ(outcomeOf(writePackage(at("m"), "x")).message, "");
  EXPECT_FALSE(fs::exists(old));
  EXPECT_TRUE(fs::exists(other));
}

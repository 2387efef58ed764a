//===- ProgressTest.cpp - what progress writes ----------------------------===//

#include "tools/qplan/Progress.h"

#include <algorithm>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <thread>
#include <unistd.h>
#include <vector>

using namespace qplan;

namespace {

/// A temporary file that stands in for stderr.
class Sink {
public:
  Sink() : descriptor(::mkstemp(path)) { ::unlink(path); }
  ~Sink() { ::close(descriptor); }
  std::string text() const {
    std::string result;
    char piece[4096];
    ::lseek(descriptor, 0, SEEK_SET);
    for (ssize_t count; (count = ::read(descriptor, piece, sizeof piece)) > 0;)
      result.append(piece, static_cast<size_t>(count));
    return result;
  }

private:
  char path[32] = "/tmp/qplan-progress-XXXXXX";

public:
  const int descriptor;
};

} // namespace

TEST(Progress, SilentWritesNothing) {
  Sink sink;
  {
    Progress progress(ProgressStyle::Silent, "pack", 10, sink.descriptor);
    progress.advance(5);
    progress.note("hello");
    progress.finish();
  }
  EXPECT_EQ(sink.text(), "");
}

TEST(Progress, LogEndsWithOneLineAndNoControlCharacters) {
  Sink sink;
  {
    Progress progress(ProgressStyle::Lines, "pack", 1000, sink.descriptor);
    for (int i = 0; i < 1000; ++i)
      progress.advance();
    progress.finish();
    progress.finish();
  }
  std::string text = sink.text();
  EXPECT_EQ(text.find('\r'), std::string::npos);
  EXPECT_EQ(text.find('\033'), std::string::npos);
  EXPECT_EQ(text.find("pack: 1000/1000 in "), text.rfind("pack: 1000/1000 in "));
  EXPECT_EQ(text.back(), '\n');
}

TEST(Progress, BarIsRateLimitedAndEndsWithANewline) {
  Sink sink;
  {
    Progress progress(ProgressStyle::Bar, "pack", 100000, sink.descriptor);
    for (int i = 0; i < 100000; ++i)
      progress.advance(1, "layers.0");
    progress.note("a note");
  }
  std::string text = sink.text();
  EXPECT_LT(text.size(), 20000u);
  EXPECT_NE(text.find("a note\n"), std::string::npos);
  EXPECT_NE(text.find("pack: 100000/100000 in "), std::string::npos);
  EXPECT_EQ(text.back(), '\n');
}

TEST(Progress, CountsUnitsOfSeveralThreads) {
  Sink sink;
  {
    Progress progress(ProgressStyle::Lines, "pack", 0, sink.descriptor);
    std::vector<std::thread> threads;
    for (int t = 0; t < 4; ++t)
      threads.emplace_back([&] {
        for (int i = 0; i < 1000; ++i)
          progress.advance(1, "x");
      });
    for (std::thread &thread : threads)
      thread.join();
  }
  EXPECT_NE(sink.text().find("pack: 4000 in "), std::string::npos);
}

TEST(Progress, JsonIsSilent) { EXPECT_EQ(progressStyleFor(true), ProgressStyle::Silent); }

//===- MappedFileTest.cpp -------------------------------------------------===//

#include "ir/import/MappedFile.h"
#include "TestFiles.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

using namespace qplan;
using namespace qplan::test;

TEST(MappedFile, HoldsTheBytesOfTheFile) {
  TempFolder folder;
  auto file = MappedFile::open(folder.write("a", "hello"));
  ASSERT_TRUE(!!file);
  EXPECT_EQ((*file)->size(), 5u);
  EXPECT_EQ(std::string((*file)->bytes().begin(), (*file)->bytes().end()), "hello");
}

TEST(MappedFile, AcceptsAnEmptyFile) {
  TempFolder folder;
  auto file = MappedFile::open(folder.write("a", ""));
  ASSERT_TRUE(!!file);
  EXPECT_TRUE((*file)->bytes().empty());
}

TEST(MappedFile, NamesAMissingFile) {
  EXPECT_EQ(messageOf(MappedFile::open("/nonexistent/x")), "/nonexistent/x: no such file");
}

TEST(MappedFile, RefusesFoldersAndPipesWithoutWaiting) {
  TempFolder folder;
  EXPECT_NE(messageOf(MappedFile::open(folder.path())).find("is not a regular file"),
            std::string::npos);
  ASSERT_EQ(mkfifo(folder.path("pipe").c_str(), 0600), 0);
  EXPECT_NE(messageOf(MappedFile::open(folder.path("pipe"))).find("is not a regular file"),
            std::string::npos);
}

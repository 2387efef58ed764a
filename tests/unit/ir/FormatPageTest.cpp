//===- FormatPageTest.cpp - the committed page of formats is current ------===//
//
// ir/Formats.md is committed so that it is read without a build. With
// QPLAN_WRITE_PAGES set in the environment (`tools/dev docs` sets it), the page is
// written instead of compared.
//
//===----------------------------------------------------------------------===//
#include "ir/Formats.h"

#include <cstdlib>
#include <fstream>
#include <gtest/gtest.h>
#include <iterator>
#include <string>

TEST(FormatPage, SaysWhatTheTableSays) {
  std::string page = qplan::formatsMarkdown();
  if (std::getenv("QPLAN_WRITE_PAGES")) {
    std::ofstream out(QPLAN_FORMAT_PAGE, std::ios::binary | std::ios::trunc);
    out << page;
    ASSERT_TRUE(out.flush().good()) << QPLAN_FORMAT_PAGE;
    return;
  }
  std::ifstream in(QPLAN_FORMAT_PAGE, std::ios::binary);
  ASSERT_TRUE(in.good()) << QPLAN_FORMAT_PAGE << " is missing; `tools/dev docs` writes it";
  std::string found((std::istreambuf_iterator<char>(in)), {});
  EXPECT_EQ(found, page) << "`tools/dev docs` writes the page anew";
}

//===- MarkupTest.cpp - HTML from names of others -------------------------===//

#include "tools/qplan/report/Markup.h"

#include <gtest/gtest.h>

using namespace qplan;

TEST(Markup, EscapesWhatCouldLeaveItsPlace) {
  EXPECT_EQ(escapeMarkup("a<script>\"'&b"), "a&lt;script&gt;&quot;&#39;&amp;b");
  EXPECT_EQ(escapeMarkup("\xC3\xA9\n\t"), "\xC3\xA9\n\t");
  // Controls and bytes that are no UTF-8 are replaced, one for one.
  EXPECT_EQ(escapeMarkup(std::string_view("\0\x1b\xFF\xC3", 4)),
            "\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD");
  // Overlong and surrogate encodings are no UTF-8 either.
  EXPECT_EQ(escapeMarkup("\xC0\xBC").find('<'), std::string::npos);
}

TEST(Markup, ClosesWhatItOpened) {
  Markup page;
  page.open("p", {{"class", "a\"b"}}).text("1 < 2").open("b").text("x");
  EXPECT_EQ(page.take(), "<p class=\"a&quot;b\">1 &lt; 2<b>x</b></p>\n");
}

TEST(Markup, WritesLeaves) {
  Markup page;
  page.leaf("td", {}, "&").close();
  EXPECT_EQ(page.take(), "<td>&amp;</td>");
}

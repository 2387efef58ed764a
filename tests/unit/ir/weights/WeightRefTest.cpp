//===- WeightRefTest.cpp --------------------------------------------------===//

#include "ir/weights/WeightRef.h"
#include "../import/TestFiles.h"

#include <gtest/gtest.h>

using namespace qplan;
using namespace qplan::test;
using T = WeightTransform;

TEST(WeightRef, PrintsOneCanonicalText) {
  WeightRef q = WeightRef("model.layers.0.self_attn.q_proj.weight")
                    .with(T::unpermuteRope(9))
                    .with(T::sliceRows(0, 64));
  EXPECT_EQ(q.text(), "model.layers.0.self_attn.q_proj.weight|unpermute_rope(9)|slice_rows(0,64)");
  WeightRef joined = WeightRef::concatRows({q, WeightRef("b").with(T::transpose())})
                         .with(T::multiplyConstant(0.125));
  EXPECT_EQ(joined.text(), "concat_rows(" + q.text() + ";b|transpose)|multiply_constant(0.125)");
  EXPECT_EQ(WeightRef::fromBlob("17ab").with(T::scaleColumns("9f")).text(),
            "blob:17ab|scale_columns(9f)");
  EXPECT_EQ(WeightRef("w").with(T::rotateRows(64)).with(T::rotateColumns(512)).text(),
            "w|rotate_rows(64)|rotate_columns(512)");
}

TEST(WeightRef, ReadsWhatItPrints) {
  WeightRef ref = WeightRef::concatRows(
      {WeightRef("a|b(;)%, \"\\\n\xc3\xa9").with(T::sliceColumns(1, 2)).with(T::addConstant(-1)),
       WeightRef::concatRows({WeightRef("c"), WeightRef("d").with(T::selectExpert(3))})});
  ref = ref.with(T::scaleRows("00ff")).with(T::reshape({2, 3, 4})).with(T::addConstant(1.0 / 3));
  auto parsed = WeightRef::parse(ref.text());
  ASSERT_TRUE(!!parsed) << messageOf(parsed.takeError());
  EXPECT_EQ(*parsed, ref);
  EXPECT_EQ(parsed->text(), ref.text());
}

TEST(WeightRef, SaysWhereATextIsWrong) {
  const std::pair<const char *, const char *> wrong[] = {
      {"", "at character 1: a tensor name is expected"},
      {"a|", "at character 3: unknown transform ''; known: slice_rows, slice_columns"},
      {"a|slice_rows(1)", "slice_rows takes 2 integers, found 1"},
      {"a|slice_rows 1", "'(' is expected after slice_rows"},
      {"a|slice_rows(1,x)", "an integer is expected"},
      {"a|slice_rows(1,99999999999999999999)", "an integer is expected"},
      {"a|select_expert(1", "')' is expected to close select_expert"},
      {"a|add_constant(nan)", "a finite number is expected"},
      {"a|add_constant(1e999)", "a finite number is expected"},
      {"a|scale_rows()", "the name of a blob is expected"},
      {"a|transposed", "unknown transform 'transposed'"},
      {"a b", "at character 2: the end or '|' is expected"},
      {"a%4", "two hexadecimal digits"},
      {"concat_rows(a;b", "';' or ')' is expected"},
      {"concat_rows()", "a tensor name is expected"},
  };
  for (auto [text, part] : wrong) {
    std::string message = messageOf(WeightRef::parse(text));
    EXPECT_NE(message.find(part), std::string::npos) << text << ": " << message;
  }
  std::string deep;
  for (int i = 0; i < 100000; ++i)
    deep += "concat_rows(";
  EXPECT_NE(messageOf(WeightRef::parse(deep)).find("nested deeper than 8 levels"),
            std::string::npos);
}

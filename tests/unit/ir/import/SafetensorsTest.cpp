//===- SafetensorsTest.cpp ------------------------------------------------===//

#include "ir/import/Safetensors.h"
#include "TestFiles.h"

#include <gtest/gtest.h>

using namespace qplan;
using namespace qplan::test;

static std::string parseError(const std::string &header, const std::string &data) {
  std::string image = safetensorsImage(header, data);
  return messageOf(Safetensors::parse(bytesOf(image), "f"));
}

TEST(Safetensors, ReadsNamesShapesAndPlaces) {
  std::string image = safetensorsImage(
      R"({"__metadata__":{"format":"pt"},"b":{"dtype":"BF16","shape":[2,3],"data_offsets":[4,16]},)"
      R"("a":{"dtype":"F32","shape":[],"data_offsets":[0,4]}}  )"
      "\n",
      std::string(16, 'x'));
  auto parsed = Safetensors::parse(bytesOf(image), "f");
  ASSERT_TRUE(!!parsed) << messageOf(parsed.takeError());
  ASSERT_EQ(parsed->tensors.size(), 2u);
  EXPECT_EQ(parsed->tensors[0].name, "a");
  EXPECT_TRUE(parsed->tensors[0].shape.empty());
  EXPECT_EQ(parsed->tensors[1].shape, (std::vector<int64_t>{2, 3}));
  EXPECT_EQ(parsed->tensors[1].offset, image.size() - 12);
  EXPECT_EQ(parsed->tensors[1].bytes, 12u);
  EXPECT_EQ(parsed->metadata.at("format"), "pt");
}

TEST(Safetensors, AcceptsWhatTheReferenceAccepts) {
  // Null metadata, unknown fields of any depth, empty tensors between others, odd placement.
  EXPECT_EQ(
      parseError(R"({"__metadata__":null,"a":{"x":[{"y":[1,"z"]}],"dtype":"U8","shape":[1],)"
                 R"("data_offsets":[0,1],"w":{}},"e":{"dtype":"F32","shape":[0,7],)"
                 R"("data_offsets":[1,1]},"b":{"dtype":"F32","shape":[1],"data_offsets":[1,5]}})",
                 "12345"),
      "");
  EXPECT_EQ(parseError("{}", ""), "");
}

struct BadHeader {
  const char *name, *header;
  int dataBytes;
  const char *message;
};
// clang-format off: one line per header
static const BadHeader badHeaders[] = {
    {"Duplicate",
     R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}})",
     1, "tensor 'a' appears twice"},
    {"UnknownDtype", R"({"a":{"dtype":"Q9","shape":[1],"data_offsets":[0,1]}})", 1,
     "tensor 'a': unknown dtype 'Q9'"},
    {"NegativeDimension", R"({"a":{"dtype":"U8","shape":[-1],"data_offsets":[0,1]}})", 1,
     "tensor 'a': shape holds -1"},
    {"FractionalDimension", R"({"a":{"dtype":"U8","shape":[1.0],"data_offsets":[0,1]}})", 1,
     "tensor 'a': shape holds 1.0"},
    {"HugeDimension", R"({"a":{"dtype":"U8","shape":[18446744073709551615],"data_offsets":[0,1]}})",
     1, "cannot be true"},
    {"Overflow", R"({"a":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,1]}})", 1,
     "no size in whole bytes below 2^64"},
    {"SplitByte", R"({"a":{"dtype":"F4","shape":[3],"data_offsets":[0,1]}})", 1,
     "no size in whole bytes"},
    {"WrongSize", R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,3]}})", 3,
     "needs 4 bytes, but data_offsets [0, 3] span 3"},
    {"Backwards", R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[1,0]}})", 1,
     "begin <= end is expected"},
    {"OneOffset", R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0]}})", 1,
     "[begin, end] with begin <= end"},
    {"Hole", R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}})", 2,
     "begins at byte 1 of the data, but the tensors before it end at 0"},
    {"Aliasing",
     R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"b":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}})",
     1, "tensor 'b' begins at byte 0"},
    {"Truncated", R"({"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]}})", 1,
     "the file was cut off or its header is wrong"},
    {"TrailingBytes", R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}})", 2,
     "the file has bytes that belong to no tensor"},
    {"MetadataNumber", R"({"__metadata__":{"a":1}})", 0,
     "__metadata__ holds 1; only strings are allowed"},
    {"MetadataList", R"({"__metadata__":[]})", 0, "__metadata__ holds a list"},
    {"LeadingSpace", R"( {})", 0, "does not begin with '{'"},
    {"NotAnObject", R"([])", 0, "does not begin with '{'"},
    {"BrokenJson", R"({"a":)", 0, "is not valid JSON at byte"},
    {"NotUtf8", "{\"\xff\":{}}", 0, "is not valid JSON"},
    {"TensorIsNumber", R"({"a":1})", 0, "tensor 'a': 1 where an object"},
    {"MissingField", R"({"a":{"dtype":"U8","shape":[1]}})", 0, "tensor 'a': has no data_offsets"},
    {"FieldTwice", R"({"a":{"dtype":"U8","dtype":"I8","shape":[1],"data_offsets":[0,1]}})", 1,
     "tensor 'a': dtype appears twice"},
    {"NestedShape", R"({"a":{"dtype":"U8","shape":[[1]],"data_offsets":[0,1]}})", 1,
     "shape holds a list"},
    {"DtypeNumber", R"({"a":{"dtype":7,"shape":[1],"data_offsets":[0,1]}})", 1,
     "dtype is 7; a string is expected"},
};
// clang-format on

class SafetensorsBadHeader : public testing::TestWithParam<BadHeader> {};
TEST_P(SafetensorsBadHeader, IsRefusedByName) {
  std::string message = parseError(GetParam().header, std::string(GetParam().dataBytes, 'x'));
  EXPECT_NE(message.find(GetParam().message), std::string::npos) << message;
  EXPECT_EQ(message.find("f: "), 0u) << "the message names the file";
}
INSTANTIATE_TEST_SUITE_P(Safetensors, SafetensorsBadHeader, testing::ValuesIn(badHeaders),
                         [](const auto &info) { return info.param.name; });

TEST(Safetensors, RefusesNulPadding) {
  EXPECT_NE(parseError(std::string("{}\0\0", 4), "").find("NUL bytes"), std::string::npos);
}

TEST(Safetensors, ChecksTheHeaderLengthBeforeUsingIt) {
  for (uint64_t length : {uint64_t(3), uint64_t(100'000'001), ~uint64_t(0)}) {
    std::string image = raw(length) + "{}";
    std::string message = messageOf(Safetensors::parse(bytesOf(image), "f"));
    EXPECT_NE(message.find("the header claims"), std::string::npos) << message;
  }
  EXPECT_NE(messageOf(Safetensors::parse(bytesOf("short"), "f")).find("too short"),
            std::string::npos);
}

TEST(Safetensors, EndsOnDeepNesting) {
  EXPECT_NE(parseError(R"({"a":{"x":)" + std::string(200000, '['), ""), "");
}

//===- GgufTest.cpp -------------------------------------------------------===//

#include "ir/import/Gguf.h"
#include "TestFiles.h"

#include <gtest/gtest.h>

using namespace qplan;
using namespace qplan::test;

static std::string errorOf(const std::string &image) {
  return messageOf(Gguf::parse(bytesOf(image), "f"));
}
#define EXPECT_ERROR(image, part)                                                                  \
  do {                                                                                             \
    std::string message = errorOf(image);                                                          \
    EXPECT_NE(message.find(part), std::string::npos) << message;                                   \
    EXPECT_EQ(message.find("f: "), 0u) << message;                                                 \
  } while (false)

TEST(Gguf, ReadsEveryValueType) {
  GgufImage image;
  image.value("u8", 0, raw<uint8_t>(200)).value("i8", 1, raw<int8_t>(-3));
  image.u16("u16", 60000).value("i16", 3, raw<int16_t>(-300));
  image.u32("u32", 4000000000u).value("i32", 5, raw<int32_t>(-70000));
  image.value("f32", 6, raw(1.5f)).value("bool", 7, raw<uint8_t>(1)).string("string", "text");
  image.value("u64", 10, raw<uint64_t>(1)).value("big", 10, raw(~uint64_t(0)));
  image.value("i64", 11, raw<int64_t>(-5)).value("f64", 12, raw(0.1));
  image.value("strings", 9,
              raw<uint32_t>(8) + raw<uint64_t>(2) + GgufImage::text("a") + GgufImage::text(""));
  image.value("ints", 9, raw<uint32_t>(5) + raw<uint64_t>(2) + raw<int32_t>(-1) + raw<int32_t>(7));
  image.value("floats", 9, raw<uint32_t>(6) + raw<uint64_t>(1) + raw(2.5f));
  std::string bytes = image.bytes();
  auto parsed = Gguf::parse(bytesOf(bytes), "f");
  ASSERT_TRUE(!!parsed) << messageOf(parsed.takeError());
  const Gguf &gguf = **parsed;
  EXPECT_EQ(*gguf.unsignedValue("u8"), 200u);
  EXPECT_EQ(*gguf.signedValue("i8"), -3);
  EXPECT_EQ(*gguf.unsignedValue("u16"), 60000u);
  EXPECT_EQ(*gguf.signedValue("i16"), -300);
  EXPECT_EQ(*gguf.unsignedValue("u32"), 4000000000u);
  EXPECT_EQ(*gguf.signedValue("i32"), -70000);
  EXPECT_EQ(*gguf.floatValue("f32"), 1.5);
  EXPECT_EQ(*gguf.boolValue("bool"), true);
  EXPECT_EQ(*gguf.stringValue("string"), "text");
  EXPECT_EQ(*gguf.unsignedValue("u64"), 1u);
  EXPECT_EQ(*gguf.signedValue("i64"), -5);
  EXPECT_EQ(*gguf.floatValue("f64"), 0.1);
  EXPECT_EQ(gguf.strings("strings")->vec(), (std::vector<llvm::StringRef>{"a", ""}));
  EXPECT_EQ(*gguf.integers("ints"), (std::vector<int64_t>{-1, 7}));
  EXPECT_EQ(*gguf.floats("floats"), std::vector<double>{2.5});
  EXPECT_EQ(gguf.keys().size(), 16u);
  // Wrong types, values that do not fit, missing keys with and without a fallback.
  EXPECT_EQ(messageOf(gguf.boolValue("u8")), "f: metadata key 'u8' is u8; a boolean is expected");
  EXPECT_EQ(messageOf(gguf.stringValue("ints")),
            "f: metadata key 'ints' is array of i32; a string is expected");
  EXPECT_NE(messageOf(gguf.unsignedValue("i8")).find("cannot be negative"), std::string::npos);
  EXPECT_NE(messageOf(gguf.signedValue("big")).find("an integer is expected"), std::string::npos);
  EXPECT_NE(messageOf(gguf.floatValue("u32")).find("a float is expected"), std::string::npos);
  EXPECT_NE(messageOf(gguf.integers("strings")).find("an array of integers"), std::string::npos);
  EXPECT_NE(messageOf(gguf.strings("string")).find("an array of strings"), std::string::npos);
  EXPECT_EQ(messageOf(gguf.floatValue("none")), "f: has no metadata key 'none'");
  EXPECT_EQ(*gguf.floatValue("none", 3.0), 3.0);
  EXPECT_NE(messageOf(gguf.floatValue("u32", 3.0)), "");
}

TEST(Gguf, ReversesDimensionsAndPlacesTensors) {
  GgufImage image;
  image.alignment = 64;
  image.u32("general.alignment", 64);
  image.tensor("a", {3, 2}, 0, std::string(24, 'a'))
      .tensor("b", {32, 5, 2}, 2, std::string(180, 'b'));
  std::string bytes = image.bytes();
  auto parsed = Gguf::parse(bytesOf(bytes), "f");
  ASSERT_TRUE(!!parsed) << messageOf(parsed.takeError());
  auto tensors = (*parsed)->tensors();
  EXPECT_EQ(tensors[0].shape, (std::vector<int64_t>{2, 3}));
  EXPECT_EQ(tensors[1].shape, (std::vector<int64_t>{2, 5, 32}));
  EXPECT_EQ(tensors[1].bytes, 180u);
  EXPECT_EQ(bytes.substr(tensors[0].offset, 24), std::string(24, 'a'));
  EXPECT_EQ(bytes.substr(tensors[1].offset, 180), std::string(180, 'b'));
  EXPECT_EQ((*parsed)->header().size(), tensors[0].offset);
  // The padding after the last tensor may be absent, its data may not.
  bytes.resize(tensors[1].offset + 180);
  EXPECT_EQ(errorOf(bytes), "");
  bytes.pop_back();
  EXPECT_ERROR(bytes,
               "tensor 'b' needs 180 bytes from byte 64 of the data, but the file holds 243");
}

TEST(Gguf, RefusesOtherVersionsAndByteOrders) {
  GgufImage image;
  image.version = 1;
  EXPECT_ERROR(image.bytes(), "is GGUF version 1; versions 2 and 3 can be read");
  image.version = 0x03000000;
  EXPECT_ERROR(image.bytes(), "big-endian");
  image.version = 2;
  EXPECT_EQ(errorOf(image.bytes()), "");
  EXPECT_ERROR(std::string("GGML1234"), "does not begin with GGUF");
  EXPECT_ERROR(std::string("GG"), "does not begin with GGUF");
}

TEST(Gguf, ChecksEveryCountBeforeUsingIt) {
  std::string head = "GGUF" + raw<uint32_t>(3);
  EXPECT_ERROR(head + raw(~uint64_t(0)) + raw<uint64_t>(0), "claims 18446744073709551615 tensors");
  EXPECT_ERROR(head + raw<uint64_t>(0) + raw<uint64_t>(1000),
               "claims 1000 metadata keys in 0 bytes");
  EXPECT_ERROR(GgufImage().value("k", 8, raw(~uint64_t(0))).bytes(),
               "key 'k': a metadata string claims");
  EXPECT_ERROR(GgufImage().value("k", 9, raw<uint32_t>(8) + raw<uint64_t>(1u << 20)).bytes(),
               "key 'k': claims 1048576 strings");
  EXPECT_ERROR(GgufImage().value("k", 9, raw<uint32_t>(10) + raw<uint64_t>(1u << 30)).bytes(),
               "key 'k': claims 1073741824 values of 8 bytes");
  EXPECT_ERROR(GgufImage().value("k", 9, raw<uint32_t>(0) + raw<uint64_t>((1u << 30) + 1)).bytes(),
               "at most 1073741824 are allowed");
}

TEST(Gguf, RefusesBadKeysAndValues) {
  EXPECT_ERROR(GgufImage().u32("", 1).bytes(), "metadata key 0 is empty");
  EXPECT_ERROR(GgufImage().u32("k", 1).u32("k", 1).bytes(), "key 'k' appears twice");
  EXPECT_ERROR(GgufImage().value("k", 13, raw<uint64_t>(0)).bytes(),
               "key 'k': unknown value type 13");
  EXPECT_ERROR(GgufImage().value("k", 9, raw<uint32_t>(9) + raw<uint64_t>(1)).bytes(),
               "arrays of arrays");
  EXPECT_ERROR(GgufImage().u32("general.alignment", 48).bytes(),
               "general.alignment is 48; a power of two");
  EXPECT_ERROR(GgufImage().u32("general.alignment", 0).bytes(), "a power of two");
  EXPECT_ERROR(GgufImage().u16("general.alignment", 32).bytes(), "is of type u16; u32 is expected");
}

TEST(Gguf, RefusesBadTensors) {
  std::string four(4, 'x');
  auto one = [&](std::vector<int64_t> ne, uint32_t type) {
    return GgufImage().tensor("t", ne, type, four).bytes();
  };
  EXPECT_ERROR(GgufImage().tensor("t", {1}, 0, four).tensor("t", {1}, 0, four).bytes(),
               "tensor 't' appears twice");
  EXPECT_ERROR(GgufImage().tensor("", {1}, 0, four).bytes(), "a tensor name has 0 bytes");
  EXPECT_ERROR(GgufImage().tensor(std::string(64, 'n'), {1}, 0, four).bytes(),
               "a tensor name has 64 bytes");
  EXPECT_ERROR(one({}, 0), "has 0 dimensions");
  EXPECT_ERROR(one({1, 1, 1, 1, 1}, 0), "has 5 dimensions");
  EXPECT_ERROR(one({-1}, 0), "has a dimension of -1");
  EXPECT_ERROR(one({1}, 4), "has type id 4, which is unknown or was retired");
  EXPECT_ERROR(one({1}, 1000), "has type id 1000");
  EXPECT_ERROR(one({128}, 41), "tensor 't' is stored as Q1_0, which this build cannot read");
  EXPECT_ERROR(one({33}, 2),
               "rows of 33 elements are no multiple of the 32 elements of a Q4_0 block");
  EXPECT_ERROR(one({int64_t(1) << 40, int64_t(1) << 40}, 0), "is too large to be true");
  EXPECT_ERROR(one({int64_t(1) << 62, 1}, 0), "is too large to be true");
  EXPECT_ERROR(one({1000}, 0), "it was cut off");
}

TEST(Gguf, RefusesGapsBetweenTensors) {
  GgufImage image;
  image.tensor("a", {1}, 0, std::string(40, 'x')).tensor("b", {1}, 0, std::string(4, 'y'));
  EXPECT_ERROR(image.bytes(), "tensor 'b' lies at byte 64 of the data; 32 is expected");
}

TEST(Gguf, RefusesEveryTruncation) {
  std::string bytes = GgufImage()
                          .u32("a.b", 1)
                          .string("s", "text")
                          .tensor("t", {2, 2}, 0, std::string(16, 'x'))
                          .bytes();
  bytes.resize(bytes.size() - 16); // the padding of the last tensor
  ASSERT_EQ(errorOf(bytes), "");
  for (size_t size = 0; size < bytes.size(); ++size) {
    // A copy of exactly that size: the sanitizers see every byte read beyond it.
    std::vector<uint8_t> part(bytes.begin(), bytes.begin() + size);
    EXPECT_NE(messageOf(Gguf::parse(part, "f")), "") << size;
  }
}

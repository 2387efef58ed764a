//===- BlobStoreTest.cpp --------------------------------------------------===//

#include "ir/weights/BlobStore.h"
#include "../import/TestFiles.h"

#include <gtest/gtest.h>

using namespace qplan;
using namespace qplan::test;

static const std::vector<float> values = {1, 2, 3, 4, 5, 6};

TEST(BlobStore, NamesByContent) {
  BlobStore blobs;
  std::string a = *blobs.putFloats({2, 3}, values);
  EXPECT_EQ(a.size(), 32u);
  EXPECT_EQ(*blobs.putFloats({2, 3}, values), a);
  EXPECT_NE(*blobs.putFloats({3, 2}, values), a) << "the shape is part of the content";
  auto blob = blobs.get(a);
  ASSERT_TRUE(!!blob);
  EXPECT_EQ((*blob)->shape, (std::vector<int64_t>{2, 3}));
  EXPECT_EQ((*blob)->format, FormatId::F32);
  EXPECT_EQ(*blobs.floats(a), values);
}

TEST(BlobStore, OutlivesTheProcessInAFolder) {
  TempFolder folder;
  std::string name;
  {
    BlobStore blobs(folder.path("blobs"));
    name = *blobs.putFloats({6}, values);
    EXPECT_EQ(*blobs.floats(name), values);
  }
  BlobStore memory;
  EXPECT_EQ(*memory.putFloats({6}, values), name) << "one name wherever it is kept";
  BlobStore again(folder.path("blobs"));
  EXPECT_EQ(*again.floats(name), values);
  EXPECT_EQ(*again.putFloats({6}, values), name);
  size_t files = std::distance(std::filesystem::directory_iterator(folder.path("blobs")), {});
  EXPECT_EQ(files, 1u) << "nothing is left aside";
}

TEST(BlobStore, RefusesUnknownNamesAndDamage) {
  TempFolder folder;
  BlobStore blobs(folder.path());
  EXPECT_EQ(messageOf(blobs.get("../../etc/passwd")), "no blob is called '../../etc/passwd'");
  EXPECT_NE(messageOf(blobs.get(std::string(32, '0'))).find("no such file"), std::string::npos);
  std::string name = *blobs.putFloats({6}, values);
  std::string file = folder.path(name + ".blob");
  std::filesystem::resize_file(file, std::filesystem::file_size(file) - 1);
  EXPECT_NE(messageOf(blobs.get(name)).find("do not hash to its name"), std::string::npos);
}

TEST(BlobStore, RefusesWhatDoesNotFillTheShape) {
  BlobStore blobs;
  EXPECT_NE(messageOf(blobs.putFloats({7}, values)).find("needs 28 bytes, given 24"),
            std::string::npos);
  EXPECT_NE(messageOf(blobs.putFloats({}, values)).find("1 to 4 positive dimensions"),
            std::string::npos);
  EXPECT_NE(messageOf(blobs.putFloats({-2, -3}, values)).find("1 to 4 positive dimensions"),
            std::string::npos);
  EXPECT_NE(messageOf(blobs.put({33}, FormatId::Q4_0, {})), "");
  EXPECT_NE(messageOf(blobs.put({1, 4}, FormatId::Fp8E4M3Tensor, {})).find("needs 8 bytes"),
            std::string::npos);
}

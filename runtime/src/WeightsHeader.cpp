//===- WeightsHeader.cpp - the first 64 bytes of weights.bin --------------===//
//
// The checks that every load makes; they cost one page of the file.
//===----------------------------------------------------------------------===//
#include "runtime/src/WeightsHeader.h"

#include <algorithm>
#include <cstring>

using namespace qplan;

static uint64_t loadU64(const uint8_t *data) {
  uint64_t value;
  std::memcpy(&value, data, sizeof(value));
  return value;
}

Status qplan::readWeightsHeader(const uint8_t *data, uint64_t available, uint64_t fileBytes,
                                const std::string &file, WeightsHeader &out) {
  static constexpr char magic[8] = "QPLANW1";
  const char *name = file.c_str();
  if (std::min(available, fileBytes) < WeightsHeader::bytes)
    return fail(QPLAN_INVALID_INPUT, "%s: %llu bytes, expected a header of 64; the file is cut",
                name, static_cast<unsigned long long>(std::min(available, fileBytes)));
  if (std::memcmp(data, magic, sizeof(magic)) != 0)
    return fail(QPLAN_INVALID_INPUT,
                "%s: does not begin with \"QPLANW1\"; not the weights of a plan", name);
  WeightsHeader header{loadU64(data + 8), loadU64(data + 16), loadU64(data + 24)};
  if (header.totalBytes != fileBytes)
    return fail(QPLAN_INVALID_INPUT,
                "%s: the file has %llu bytes, its header says %llu; the file is cut or damaged",
                name, static_cast<unsigned long long>(fileBytes),
                static_cast<unsigned long long>(header.totalBytes));
  if (header.dataOffset != WeightsHeader::bytes)
    return fail(QPLAN_INVALID_INPUT,
                "%s: the header says that data begin at byte %llu, expected 64", name,
                static_cast<unsigned long long>(header.dataOffset));
  const uint8_t *rest = data + 32;
  if (std::any_of(rest, data + WeightsHeader::bytes, [](uint8_t byte) { return byte != 0; }))
    return fail(QPLAN_INVALID_INPUT,
                "%s: bytes 32 to 63 of the header must be zero; written by a newer qplan?", name);
  out = header;
  return {};
}

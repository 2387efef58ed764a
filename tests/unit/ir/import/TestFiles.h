//===- TestFiles.h - files made for one test --------------------*- C++ -*-===//
//
// A folder that goes away with the test, safetensors and GGUF images built in
// memory, and the text of an error.
//
//===----------------------------------------------------------------------===//
#ifndef QPLAN_TESTS_UNIT_IR_IMPORT_TESTFILES_H
#define QPLAN_TESTS_UNIT_IR_IMPORT_TESTFILES_H

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <llvm/Support/Error.h>
#include <string>
#include <vector>

namespace qplan::test {

/// A fresh folder below the system's temporary folder.
class TempFolder {
public:
  TempFolder() {
    std::string pattern = (std::filesystem::temp_directory_path() / "qplan-test-XXXXXX").string();
    root = mkdtemp(pattern.data());
  }
  ~TempFolder() { std::filesystem::remove_all(root); }
  /// Writes a file and returns its path.
  std::string write(const std::string &name, const std::string &contents) const {
    std::ofstream(root / name, std::ios::binary) << contents;
    return path(name);
  }
  std::string path(const std::string &name = "") const {
    return name.empty() ? root.string() : (root / name).string();
  }

private:
  std::filesystem::path root;
};

/// Message of a failed Expected; "" when it holds a value.
template <typename T>
std::string messageOf(llvm::Expected<T> value) {
  return value ? std::string() : llvm::toString(value.takeError());
}
inline std::string messageOf(llvm::Error error) { return llvm::toString(std::move(error)); }

/// The bytes of a plain value, little-endian.
template <typename T>
std::string raw(T value) {
  std::string bytes(sizeof(T), 0);
  std::memcpy(bytes.data(), &value, sizeof(T));
  return bytes;
}

inline llvm::ArrayRef<uint8_t> bytesOf(const std::string &text) {
  return {reinterpret_cast<const uint8_t *>(text.data()), text.size()};
}

/// A safetensors image of this header text and data.
inline std::string safetensorsImage(const std::string &header, const std::string &data) {
  return raw<uint64_t>(header.size()) + header + data;
}

/// A GGUF image, record by record.
class GgufImage {
public:
  uint32_t version = 3;
  uint64_t alignment = 32;

  GgufImage &value(const std::string &key, uint32_t type, const std::string &bytes) {
    values += text(key) + raw(type) + bytes;
    ++valueCount;
    return *this;
  }
  GgufImage &u32(const std::string &key, uint32_t number) { return value(key, 4, raw(number)); }
  GgufImage &u16(const std::string &key, uint16_t number) { return value(key, 2, raw(number)); }
  GgufImage &string(const std::string &key, const std::string &contents) {
    return value(key, 8, text(contents));
  }
  /// ne: fastest dimension first, as in the file.
  GgufImage &tensor(const std::string &name, std::vector<int64_t> ne, uint32_t type,
                    const std::string &bytes) {
    infos += text(name) + raw<uint32_t>(ne.size());
    for (int64_t dimension : ne)
      infos += raw(dimension);
    infos += raw(type) + raw<uint64_t>(data.size());
    data += bytes;
    data.resize((data.size() + alignment - 1) / alignment * alignment);
    ++tensorCount;
    return *this;
  }
  std::string bytes() const {
    std::string image = "GGUF" + raw(version) + raw(tensorCount) + raw(valueCount) + values + infos;
    image.resize((image.size() + alignment - 1) / alignment * alignment);
    return image + data;
  }
  static std::string text(const std::string &contents) {
    return raw<uint64_t>(contents.size()) + contents;
  }

private:
  std::string values, infos, data;
  uint64_t tensorCount = 0, valueCount = 0;
};

} // namespace qplan::test
#endif // QPLAN_TESTS_UNIT_IR_IMPORT_TESTFILES_H

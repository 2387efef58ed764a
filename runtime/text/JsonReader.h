//===- JsonReader.h - checked access to JSON --------------------*- C++ -*-===//
//
// A Field is one value of a JSON file together with its path, so that a message
// can name it. The first mistake is kept in the Reader and every later access
// returns an empty value; a parser reads straight through and asks once, at its
// end, whether all was well. Keys that nobody knows are mistakes too.
//
//===----------------------------------------------------------------------===//
#ifndef QPLAN_TEXT_JSONREADER_H
#define QPLAN_TEXT_JSONREADER_H

#include "runtime/text/Result.h"
#include <initializer_list>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

namespace qplan::text {

class Field;

/// One JSON document and the first mistake found in it.
class JsonReader {
public:
  /// Parses `text`; `name` is the file's name for messages. A syntax error is the
  /// first mistake.
  JsonReader(std::string_view text, std::string name);
  Field root() const;
  /// The first mistake, if any.
  Status status() const;
  void fail(const std::string &path, const std::string &message) const;
  bool failed() const { return !message.empty(); }

private:
  nlohmann::json document;
  std::string name;
  mutable std::string message;
};

/// One value; borrows its reader.
class Field {
public:
  Field(const JsonReader &reader, const nlohmann::json *value, std::string path)
      : reader(&reader), value(value), fieldPath(std::move(path)) {}

  const std::string &path() const { return fieldPath; }
  /// False for a key that is not there or is null.
  bool present() const { return value && !value->is_null(); }
  bool isString() const { return value && value->is_string(); }
  bool isArray() const { return value && value->is_array(); }
  bool isObject() const { return value && value->is_object(); }

  /// The value of a key of this object; not present if the key is missing. A
  /// value that is no object is a mistake.
  Field at(std::string_view key) const;
  /// Element of this array; within bounds.
  Field at(size_t index) const;
  /// Elements of an array; a mistake and 0 for anything else.
  size_t size() const;

  // Values; a mistake and an empty value for anything of another type.
  std::string string() const;
  bool boolean() const;
  /// A whole number in [0, limit].
  int64_t number(int64_t limit) const;
  /// A string of exactly one character.
  char32_t character() const;

  // Values that a file may leave out.
  std::string string(const std::string &otherwise) const {
    return present() ? string() : otherwise;
  }
  bool boolean(bool otherwise) const { return present() ? boolean() : otherwise; }

  /// The "type" of an object.
  std::string type() const { return at("type").string(); }
  /// Calls f(key, field) for every member of an object.
  template <typename F>
  void eachMember(F &&f) const;
  /// A mistake if the object has a key that is not listed.
  void onlyKeys(std::initializer_list<std::string_view> keys) const;
  void fail(const std::string &message) const { reader->fail(fieldPath, message); }
  const nlohmann::json *json() const { return value; }

private:
  bool expect(bool holds, const char *expected) const;
  const JsonReader *reader;
  const nlohmann::json *value;
  std::string fieldPath;
};

template <typename F>
void Field::eachMember(F &&f) const {
  if (!expect(isObject(), "an object"))
    return;
  for (auto it = value->begin(); it != value->end() && !reader->failed(); ++it)
    f(it.key(), Field(*reader, &it.value(), fieldPath));
}

} // namespace qplan::text
#endif // QPLAN_TEXT_JSONREADER_H

//===- JsonReader.cpp - checked access to JSON ----------------------------===//
//
// nlohmann's parser is used without its exceptions; where a syntax error lies is
// found by a second pass over the text with a handler that only listens.
//
//===----------------------------------------------------------------------===//
#include "runtime/text/JsonReader.h"
#include "runtime/text/Unicode.h"
#include <algorithm>

namespace qplan::text {

namespace {

/// Listens to a parse for the place of its error.
struct ErrorListener : nlohmann::json_sax<nlohmann::json> {
  size_t place = 0;
  bool null() override { return true; }
  bool boolean(bool) override { return true; }
  bool number_integer(number_integer_t) override { return true; }
  bool number_unsigned(number_unsigned_t) override { return true; }
  bool number_float(number_float_t, const string_t &) override { return true; }
  bool string(string_t &) override { return true; }
  bool binary(binary_t &) override { return true; }
  bool start_object(size_t) override { return true; }
  bool key(string_t &) override { return true; }
  bool end_object() override { return true; }
  bool start_array(size_t) override { return true; }
  bool end_array() override { return true; }
  bool parse_error(size_t position, const std::string &,
                   const nlohmann::json::exception &) override {
    place = position;
    return false;
  }
};

/// Characters of the longest path that is followed.
constexpr size_t longestPath = 1000;

const char *typeName(const nlohmann::json *value) {
  return value ? value->type_name() : "nothing";
}

} // namespace

JsonReader::JsonReader(std::string_view text, std::string name)
    : document(nlohmann::json::parse(text.begin(), text.end(), nullptr, false)),
      name(std::move(name)) {
  if (!document.is_discarded())
    return;
  ErrorListener listener;
  nlohmann::json::sax_parse(text.begin(), text.end(), &listener);
  fail("", "not valid JSON: syntax error at byte " + std::to_string(listener.place));
}

Field JsonReader::root() const { return Field(*this, failed() ? nullptr : &document, ""); }

void JsonReader::fail(const std::string &path, const std::string &text) const {
  if (failed())
    return;
  message = name + ": " + (path.empty() ? "" : path + ": ") + text;
}

Status JsonReader::status() const {
  if (failed())
    return inputFailure(message);
  return std::nullopt;
}

bool Field::expect(bool holds, const char *expected) const {
  if (!holds)
    fail(std::string("expected ") + expected + ", found " + typeName(value));
  return holds;
}

Field Field::at(std::string_view key) const {
  std::string path = fieldPath.empty() ? std::string(key) : fieldPath + "." + std::string(key);
  if (!expect(isObject(), "an object"))
    return Field(*reader, nullptr, std::move(path));
  auto it = value->find(key);
  return Field(*reader, it == value->end() ? nullptr : &*it, std::move(path));
}

Field Field::at(size_t index) const {
  // Parsers recurse along the path; a hostile file must not exhaust the stack.
  if (fieldPath.size() > longestPath) {
    fail("nested too deeply");
    return Field(*reader, nullptr, "");
  }
  return Field(*reader, &(*value)[index], fieldPath + "[" + std::to_string(index) + "]");
}

size_t Field::size() const { return expect(isArray(), "an array") ? value->size() : 0; }

std::string Field::string() const {
  return expect(isString(), "a string") ? *value->get_ptr<const std::string *>() : std::string();
}

bool Field::boolean() const {
  return expect(value && value->is_boolean(), "true or false") && value->get<bool>();
}

int64_t Field::number(int64_t limit) const {
  bool whole = value && value->is_number_unsigned();
  uint64_t found = whole ? value->get<uint64_t>() : 0;
  if (!expect(whole, "a whole number"))
    return 0;
  if (found > uint64_t(limit)) {
    fail("expected a number of at most " + std::to_string(limit) + ", found " +
         std::to_string(found));
    return 0;
  }
  return int64_t(found);
}

char32_t Field::character() const {
  std::string text = string();
  if (!expect(countCharacters(text) == 1, "a string of one character"))
    return U' ';
  size_t position = 0;
  return nextCharacter(text, position);
}

void Field::onlyKeys(std::initializer_list<std::string_view> keys) const {
  if (!expect(isObject(), "an object"))
    return;
  for (auto it = value->begin(); it != value->end(); ++it) {
    if (std::find(keys.begin(), keys.end(), it.key()) != keys.end())
      continue;
    std::string known;
    for (std::string_view key : keys)
      known += (known.empty() ? "" : ", ") + std::string(key);
    fail("the key '" + it.key() + "' is not supported here (known: " + known + ")");
    return;
  }
}

} // namespace qplan::text

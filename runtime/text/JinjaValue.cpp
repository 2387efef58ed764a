//===- JinjaValue.cpp - values of chat templates --------------------------===//
//
// Truth, equality, order and text of values follow Python, for templates were
// written for a Python library and rely on it.
//
//===----------------------------------------------------------------------===//
#include "runtime/text/JinjaValue.h"
#include <algorithm>
#include <charconv>
#include <cstdio>

namespace qplan::text::jinja {

namespace {

std::string realText(double value) {
  char buffer[40];
  auto end = std::to_chars(buffer, buffer + sizeof buffer, value).ptr;
  std::string text(buffer, end);
  return text.find_first_of(".en") == std::string::npos ? text + ".0" : text;
}

std::string jsonString(const std::string &text) {
  std::string out = "\"";
  for (char c : text) {
    static constexpr std::string_view plain = "\"\\\n\r\t\b\f", letters = "\"\\nrtbf";
    size_t at = plain.find(c);
    if (at != std::string_view::npos) {
      out += '\\';
      out += letters[at];
    } else if (static_cast<unsigned char>(c) < 0x20) {
      char buffer[8];
      std::snprintf(buffer, sizeof buffer, "\\u%04x", c);
      out += buffer;
    } else {
      out += c;
    }
  }
  return out + '"';
}

/// Python's repr, which lists and dictionaries show of their members.
std::string representation(const Value &value) {
  if (!value.isString())
    return toText(value);
  bool doubled = value.string.find('\'') != std::string::npos &&
                 value.string.find('"') == std::string::npos;
  char quote = doubled ? '"' : '\'';
  std::string out(1, quote);
  for (char c : value.string) {
    if (c == '\n')
      out += "\\n";
    else if (c == '\t')
      out += "\\t";
    else if (c == '\r')
      out += "\\r";
    else if (c == '\\' || c == quote)
      (out += '\\') += c;
    else
      out += c;
  }
  return out + quote;
}

std::string lineBreak(int indent, int level) {
  return indent < 0 ? std::string() : "\n" + std::string(size_t(indent) * level, ' ');
}

} // namespace

const Value *Dict::find(std::string_view key) const {
  for (const auto &[name, value] : items)
    if (name == key)
      return &value;
  return nullptr;
}

void Dict::set(std::string_view key, Value value) {
  for (auto &[name, old] : items)
    if (name == key) {
      old = std::move(value);
      return;
    }
  items.emplace_back(std::string(key), std::move(value));
}

Value Value::none() {
  Value v;
  v.kind = Kind::None;
  return v;
}
Value Value::of(bool value) {
  Value v;
  v.kind = Kind::Bool;
  v.boolean = value;
  return v;
}
Value Value::of(int64_t value) {
  Value v;
  v.kind = Kind::Int;
  v.integer = value;
  return v;
}
Value Value::of(double value) {
  Value v;
  v.kind = Kind::Float;
  v.real = value;
  return v;
}
Value Value::of(std::string value) {
  Value v;
  v.kind = Kind::String;
  v.string = std::move(value);
  return v;
}
Value Value::of(List value) {
  Value v;
  v.kind = Kind::List;
  for (const Value &item : value)
    v.nesting = std::max(v.nesting, item.nesting + 1);
  v.list = std::make_shared<List>(std::move(value));
  return v;
}
Value Value::of(Dict value) {
  Value v;
  v.kind = Kind::Dict;
  for (const auto &[key, item] : value.items)
    v.nesting = std::max(v.nesting, item.nesting + 1);
  v.dict = std::make_shared<Dict>(std::move(value));
  return v;
}

double Value::asReal() const {
  return kind == Kind::Float ? real : double(asInteger());
}
int64_t Value::asInteger() const { return kind == Kind::Bool ? boolean : integer; }

bool isTrue(const Value &value) {
  switch (value.kind) {
  case Value::Kind::Undefined:
  case Value::Kind::None:
    return false;
  case Value::Kind::Bool:
    return value.boolean;
  case Value::Kind::Int:
    return value.integer != 0;
  case Value::Kind::Float:
    return value.real != 0;
  case Value::Kind::String:
    return !value.string.empty();
  case Value::Kind::List:
    return !value.list->empty();
  case Value::Kind::Dict:
    return !value.dict->items.empty();
  default:
    return true;
  }
}

bool equals(const Value &left, const Value &right) {
  if (left.isNumber() && right.isNumber())
    return left.asReal() == right.asReal();
  if (left.kind != right.kind)
    return false;
  switch (left.kind) {
  case Value::Kind::Undefined:
  case Value::Kind::None:
    return true;
  case Value::Kind::String:
    return left.string == right.string;
  case Value::Kind::List: {
    if (left.list->size() != right.list->size())
      return false;
    for (size_t i = 0; i < left.list->size(); ++i)
      if (!equals((*left.list)[i], (*right.list)[i]))
        return false;
    return true;
  }
  case Value::Kind::Dict: {
    if (left.dict->items.size() != right.dict->items.size())
      return false;
    for (const auto &[key, value] : left.dict->items) {
      const Value *other = right.dict->find(key);
      if (!other || !equals(value, *other))
        return false;
    }
    return true;
  }
  default:
    return left.dict == right.dict && left.macro == right.macro && left.string == right.string;
  }
}

int order(const Value &left, const Value &right) {
  if (left.isNumber() && right.isNumber()) {
    double a = left.asReal(), b = right.asReal();
    return a < b ? -1 : a > b;
  }
  if (left.isString() && right.isString()) {
    int compared = left.string.compare(right.string);
    return compared < 0 ? -1 : compared > 0;
  }
  return 2;
}

std::string toText(const Value &value) {
  switch (value.kind) {
  case Value::Kind::Undefined:
    return "";
  case Value::Kind::None:
    return "None";
  case Value::Kind::Bool:
    return value.boolean ? "True" : "False";
  case Value::Kind::Int:
    return std::to_string(value.integer);
  case Value::Kind::Float:
    return realText(value.real);
  case Value::Kind::String:
    return value.string;
  case Value::Kind::List: {
    std::string out = "[";
    for (const Value &item : *value.list)
      out += (out.size() > 1 ? ", " : "") + representation(item);
    return out + "]";
  }
  case Value::Kind::Dict: {
    std::string out = "{";
    for (const auto &[key, item] : value.dict->items)
      out += (out.size() > 1 ? ", " : "") + representation(Value::of(key)) + ": " +
             representation(item);
    return out + "}";
  }
  default:
    return std::string("<") + typeName(value) + ">";
  }
}

std::string toJson(const Value &value, int indent, int level) {
  switch (value.kind) {
  case Value::Kind::Bool:
    return value.boolean ? "true" : "false";
  case Value::Kind::String:
    return jsonString(value.string);
  case Value::Kind::List: {
    std::string out;
    for (const Value &item : *value.list)
      out += (out.empty() ? "" : indent < 0 ? ", " : ",") + lineBreak(indent, level + 1) +
             toJson(item, indent, level + 1);
    return out.empty() ? "[]" : "[" + out + lineBreak(indent, level) + "]";
  }
  case Value::Kind::Dict: {
    std::string out;
    for (const auto &[key, item] : value.dict->items)
      out += (out.empty() ? "" : indent < 0 ? ", " : ",") + lineBreak(indent, level + 1) +
             jsonString(key) + ": " + toJson(item, indent, level + 1);
    return out.empty() ? "{}" : "{" + out + lineBreak(indent, level) + "}";
  }
  case Value::Kind::Int:
  case Value::Kind::Float:
    return toText(value);
  default:
    return "null";
  }
}

const char *typeName(const Value &value) {
  static constexpr const char *names[] = {"undefined", "None", "bool",      "int",
                                          "float",     "str",  "list",      "dict",
                                          "namespace", "function", "method", "macro"};
  return names[int(value.kind)];
}

} // namespace qplan::text::jinja

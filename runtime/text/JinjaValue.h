//===- JinjaValue.h - values of chat templates ------------------*- C++ -*-===//
//
// What an expression of a chat template can be. Lists and dictionaries are shared
// by reference as in Python; only namespaces are ever written to.
//
//===----------------------------------------------------------------------===//
#ifndef QPLAN_TEXT_JINJAVALUE_H
#define QPLAN_TEXT_JINJAVALUE_H

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace qplan::text::jinja {

struct Node;
struct Value;
using List = std::vector<Value>;

/// A dictionary with text keys, in the order of insertion.
struct Dict {
  std::vector<std::pair<std::string, Value>> items;
  const Value *find(std::string_view key) const;
  void set(std::string_view key, Value value);
};

struct Value {
  enum class Kind {
    Undefined,
    None,
    Bool,
    Int,
    Float,
    String,
    List,
    Dict,
    Namespace, ///< a dictionary that `set` may change
    Function,  ///< a global function, by name
    Method,    ///< a function of `*self`, by name
    Macro      ///< a macro of the template
  };

  Kind kind = Kind::Undefined;
  bool boolean = false;
  int64_t integer = 0;
  double real = 0;
  std::string string; ///< text; for functions and methods their name
  std::shared_ptr<List> list;
  std::shared_ptr<Dict> dict;
  std::shared_ptr<Value> self;  ///< what a method belongs to
  const Node *macro = nullptr;  ///< borrowed from the program
  int nesting = 0;              ///< levels of lists and dictionaries inside; bounded

  static Value undefined() { return {}; }
  static Value none();
  static Value of(bool value);
  static Value of(int64_t value);
  static Value of(double value);
  static Value of(std::string value);
  static Value of(const char *) = delete; // would become a bool
  static Value of(List value);
  static Value of(Dict value);

  bool isUndefined() const { return kind == Kind::Undefined; }
  bool isNone() const { return kind == Kind::None; }
  bool isString() const { return kind == Kind::String; }
  bool isList() const { return kind == Kind::List; }
  bool isMapping() const { return kind == Kind::Dict || kind == Kind::Namespace; }
  bool isNumber() const { return kind == Kind::Int || kind == Kind::Float || kind == Kind::Bool; }
  /// Bool, Int and Float as one number.
  double asReal() const;
  int64_t asInteger() const;
};

/// Python's bool(value).
bool isTrue(const Value &value);
/// Python's ==.
bool equals(const Value &left, const Value &right);
/// -1, 0, 1, or 2 when the two cannot be ordered.
int order(const Value &left, const Value &right);
/// What `{{ value }}` writes: Python's str(value).
std::string toText(const Value &value);
/// JSON as json.dumps(value, ensure_ascii=False, indent=indent) writes it; indent
/// below 0 means one line.
std::string toJson(const Value &value, int indent, int level = 0);
/// Python's name of the value's type, for messages.
const char *typeName(const Value &value);

} // namespace qplan::text::jinja
#endif // QPLAN_TEXT_JINJAVALUE_H

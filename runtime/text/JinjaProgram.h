//===- JinjaProgram.h - chat templates as programs --------------*- C++ -*-===//
//
// The part of the Jinja language that chat templates use: text, output, if, for
// (with filter, else, loop, break and continue), set (also of namespaces and as a
// block), macros; expressions with filters, tests, methods, slices and calls.
// Anything else is refused with its line. White space is handled as with
// trim_blocks and lstrip_blocks.
//
//===----------------------------------------------------------------------===//
#ifndef QPLAN_TEXT_JINJAPROGRAM_H
#define QPLAN_TEXT_JINJAPROGRAM_H

#include "runtime/text/JinjaValue.h"
#include "runtime/text/Result.h"
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace qplan::text::jinja {

/// A lexical token of a template.
struct Token {
  enum class Kind { Text, OutputBegin, OutputEnd, BlockBegin, BlockEnd, Name, String, Int, Float,
                    Operator, End };
  Kind kind = Kind::End;
  std::string text; ///< text, name, operator; of strings the value
  int line = 1;
};

/// Cuts a template into tokens.
Result<std::vector<Token>> tokenize(std::string_view source);

/// A statement or an expression. What `text`, `names` and `children` hold is said
/// beside each kind; a child may be null where the source may leave it out.
struct Node {
  enum class Kind {
    // Statements.
    Text,     ///< text
    Output,   ///< [expression]
    Block,    ///< statements
    If,       ///< [condition, then, else or null]
    For,      ///< names: targets; [iterable, filter or null, body, else or null]
    Set,      ///< names: one variable, or a namespace and its member; [expression]
    SetBlock, ///< names: one variable; [body]
    Macro,    ///< text: name; names: parameters; [body, default or null for each]
    Break,
    Continue,
    // Expressions.
    Constant,    ///< constant
    Name,        ///< text
    List,        ///< elements
    Dict,        ///< keys and values in turn
    Attribute,   ///< text: name; [object]
    Subscript,   ///< [object, index]
    Slice,       ///< [object, start, stop, step], the last three may be null
    Call,        ///< [function, arguments...]; names: of the last arguments
    Filter,      ///< text: name; [value, arguments...]; names as in Call
    Test,        ///< text: name; [value, arguments...]
    Unary,       ///< text: operator; [operand]
    Binary,      ///< text: operator; [left, right]
    Conditional, ///< [condition, then, else or null]
  };
  Kind kind;
  int line = 1;
  int depth = 1; ///< of the tree below; bounded, for evaluation recurses
  std::string text;
  std::vector<std::string> names;
  std::vector<std::unique_ptr<Node>> children;
  Value constant;
};

/// A template that was read. Immutable; thread-safe.
class Program {
public:
  static Result<Program> parse(std::string_view source);
  /// Runs the template with `globals` as its variables. Bounded in time and
  /// memory, whatever the template says.
  Result<std::string> render(const Dict &globals) const;

private:
  std::unique_ptr<Node> root;
};

/// Positional and named arguments of a call.
struct Arguments {
  List positional;
  Dict named;
  /// The argument at `position` or called `name`; null if there is none.
  const Value *get(size_t position, std::string_view name) const;
};

// The functions below fail with a message that has no line yet.

/// value|name(arguments).
Result<Value> applyFilter(const std::string &name, const Value &value, const Arguments &arguments);
/// value is name(arguments).
Result<Value> applyTest(const std::string &name, const Value &value, const Arguments &arguments);
/// value.name(arguments), for strings, dictionaries and lists.
Result<Value> callMethod(const std::string &name, const Value &self, const Arguments &arguments);
/// Whether values of this kind have such a method.
bool hasMethod(const Value &self, std::string_view name);
/// left op right, for arithmetic, comparison and membership.
Result<Value> applyBinary(const std::string &op, const Value &left, const Value &right);
/// value[start:stop:step]; undefined bounds are left out.
Result<Value> applySlice(const Value &value, const Value &start, const Value &stop,
                         const Value &step);
/// The elements that a loop over `value` sees.
Result<List> iterate(const Value &value);

/// Most bytes of a text, and elements of a list, that a template may make.
inline constexpr size_t largestText = 64 << 20;
inline constexpr int64_t longestRange = 1 << 16;

} // namespace qplan::text::jinja
#endif // QPLAN_TEXT_JINJAPROGRAM_H

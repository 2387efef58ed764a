//===- WeightRef.cpp - text form of weight references ---------------------===//

#include "ir/weights/WeightRef.h"
#include "ir/Failure.h"

#include <charconv>
#include <cmath>
#include <llvm/ADT/StringExtras.h>

namespace qplan {

using Kind = WeightTransform::Kind;

namespace {

/// How a transform is spelt, and what its arguments are.
struct Spelling {
  enum Arguments { None, OneInteger, TwoIntegers, Integers, Constant, Blob };
  Kind kind;
  const char *name;
  Arguments arguments;
};
constexpr Spelling spellings[] = {{Kind::SliceRows, "slice_rows", Spelling::TwoIntegers},
                                  {Kind::SliceColumns, "slice_columns", Spelling::TwoIntegers},
                                  {Kind::Transpose, "transpose", Spelling::None},
                                  {Kind::UnpermuteRope, "unpermute_rope", Spelling::OneInteger},
                                  {Kind::AddConstant, "add_constant", Spelling::Constant},
                                  {Kind::MultiplyConstant, "multiply_constant", Spelling::Constant},
                                  {Kind::ScaleColumns, "scale_columns", Spelling::Blob},
                                  {Kind::ScaleRows, "scale_rows", Spelling::Blob},
                                  {Kind::RotateColumns, "rotate_columns", Spelling::OneInteger},
                                  {Kind::RotateRows, "rotate_rows", Spelling::OneInteger},
                                  {Kind::SelectExpert, "select_expert", Spelling::OneInteger},
                                  {Kind::Reshape, "reshape", Spelling::Integers}};

const Spelling &spellingOf(Kind kind) {
  for (const Spelling &spelling : spellings)
    if (spelling.kind == kind)
      return spelling;
  return spellings[0]; // unreachable: the table has every kind
}

bool isSyntax(unsigned char c) {
  return c <= ' ' || c == 0x7f || llvm::StringRef("|();,%\"\\").contains(static_cast<char>(c));
}

std::string escape(llvm::StringRef name) {
  std::string result;
  for (unsigned char c : name)
    if (isSyntax(c))
      result += fmt::format("%{:02X}", c);
    else
      result += static_cast<char>(c);
  return result;
}

std::string textOf(const WeightTransform &transform) {
  const Spelling &spelling = spellingOf(transform.kind);
  switch (spelling.arguments) {
  case Spelling::None:
    return spelling.name;
  case Spelling::Constant:
    return fmt::format("{}({})", spelling.name, transform.constant);
  case Spelling::Blob:
    return fmt::format("{}({})", spelling.name, escape(transform.blob));
  default:
    return fmt::format("{}({})", spelling.name, fmt::join(transform.integers, ","));
  }
}

/// Recursive descent over the text; every member returns false with `problem` set when
/// the text is wrong.
class Parser {
public:
  explicit Parser(llvm::StringRef text) : whole(text), rest(text) {}
  llvm::Expected<WeightRef> parse() {
    WeightRef result;
    if (reference(result, 0) && (rest.empty() || fail("the end or '|' is expected")))
      return result;
    return inputError("weight reference '{}': at character {}: {}", whole.str(),
                      whole.size() - rest.size() + 1, problem);
  }

private:
  static constexpr int maxNesting = 8;
  bool fail(std::string message) {
    problem = std::move(message);
    return false;
  }
  bool reference(WeightRef &result, int nesting);
  bool concatenation(WeightRef &result, int nesting);
  bool name(std::string &result, const char *what);
  bool transform(WeightTransform &result);
  bool arguments(const Spelling &spelling, WeightTransform &result);
  bool integers(WeightTransform &result);
  bool constant(double &result);
  llvm::StringRef whole, rest;
  std::string problem;
};

bool Parser::reference(WeightRef &result, int nesting) {
  if (rest.consume_front("concat_rows(")) {
    if (nesting == maxNesting)
      return fail(fmt::format("concat_rows is nested deeper than {} levels", maxNesting));
    if (!concatenation(result, nesting + 1))
      return false;
  } else if (!name(result.tensor, "a tensor name")) {
    return false;
  }
  while (rest.consume_front("|")) {
    result.transforms.emplace_back();
    if (!transform(result.transforms.back()))
      return false;
  }
  return true;
}

bool Parser::concatenation(WeightRef &result, int nesting) {
  do {
    result.parts.emplace_back();
    if (!reference(result.parts.back(), nesting))
      return false;
  } while (rest.consume_front(";"));
  return rest.consume_front(")") || fail("';' or ')' is expected");
}

bool Parser::name(std::string &result, const char *what) {
  while (!rest.empty()) {
    auto c = static_cast<unsigned char>(rest.front());
    if (c == '%') {
      unsigned value;
      if (rest.size() < 3 || rest.substr(1, 2).getAsInteger(16, value))
        return fail("'%' must be followed by two hexadecimal digits");
      result += static_cast<char>(value);
      rest = rest.drop_front(3);
    } else if (isSyntax(c)) {
      break;
    } else {
      result += static_cast<char>(c);
      rest = rest.drop_front();
    }
  }
  return !result.empty() || fail(fmt::format("{} is expected", what));
}

bool Parser::transform(WeightTransform &result) {
  llvm::StringRef word = rest.take_while([](char c) { return llvm::isAlpha(c) || c == '_'; });
  for (const Spelling &spelling : spellings) {
    if (word != spelling.name)
      continue;
    rest = rest.drop_front(word.size());
    result.kind = spelling.kind;
    if (spelling.arguments == Spelling::None)
      return true;
    if (!rest.consume_front("("))
      return fail(fmt::format("'(' is expected after {}", spelling.name));
    return arguments(spelling, result) &&
           (rest.consume_front(")") ||
            fail(fmt::format("')' is expected to close {}", spelling.name)));
  }
  std::string known;
  for (const Spelling &spelling : spellings)
    known += (known.empty() ? "" : ", ") + std::string(spelling.name);
  return fail(fmt::format("unknown transform '{}'; known: {}", word.str(), known));
}

bool Parser::arguments(const Spelling &spelling, WeightTransform &result) {
  if (spelling.arguments == Spelling::Constant)
    return constant(result.constant);
  if (spelling.arguments == Spelling::Blob)
    return name(result.blob, "the name of a blob");
  if (!integers(result))
    return false;
  size_t needed = spelling.arguments == Spelling::OneInteger    ? 1
                  : spelling.arguments == Spelling::TwoIntegers ? 2
                                                                : result.integers.size();
  return result.integers.size() == needed ||
         fail(fmt::format("{} takes {} integers, found {}", spelling.name, needed,
                          result.integers.size()));
}

bool Parser::integers(WeightTransform &result) {
  do {
    int64_t value;
    if (rest.consumeInteger(10, value))
      return fail("an integer is expected");
    result.integers.push_back(value);
  } while (rest.consume_front(","));
  return true;
}

bool Parser::constant(double &result) {
  auto [end, error] = std::from_chars(rest.begin(), rest.end(), result);
  if (error != std::errc() || !std::isfinite(result))
    return fail("a finite number is expected");
  rest = rest.drop_front(end - rest.begin());
  return true;
}

WeightTransform make(Kind kind, std::vector<int64_t> integers) {
  WeightTransform result;
  result.kind = kind;
  result.integers = std::move(integers);
  return result;
}

WeightTransform makeConstant(Kind kind, double constant) {
  WeightTransform result;
  result.kind = kind;
  result.constant = constant;
  return result;
}

WeightTransform makeScale(Kind kind, std::string blob) {
  WeightTransform result;
  result.kind = kind;
  result.blob = std::move(blob);
  return result;
}

} // namespace

WeightTransform WeightTransform::sliceRows(int64_t begin, int64_t end) {
  return make(Kind::SliceRows, {begin, end});
}
WeightTransform WeightTransform::sliceColumns(int64_t begin, int64_t end) {
  return make(Kind::SliceColumns, {begin, end});
}
WeightTransform WeightTransform::transpose() { return make(Kind::Transpose, {}); }
WeightTransform WeightTransform::unpermuteRope(int64_t heads) {
  return make(Kind::UnpermuteRope, {heads});
}
WeightTransform WeightTransform::addConstant(double value) {
  return makeConstant(Kind::AddConstant, value);
}
WeightTransform WeightTransform::multiplyConstant(double value) {
  return makeConstant(Kind::MultiplyConstant, value);
}
WeightTransform WeightTransform::scaleColumns(std::string blob) {
  return makeScale(Kind::ScaleColumns, std::move(blob));
}
WeightTransform WeightTransform::scaleRows(std::string blob) {
  return makeScale(Kind::ScaleRows, std::move(blob));
}
WeightTransform WeightTransform::rotateColumns(int64_t block) {
  return make(Kind::RotateColumns, {block});
}
WeightTransform WeightTransform::rotateRows(int64_t block) {
  return make(Kind::RotateRows, {block});
}
WeightTransform WeightTransform::selectExpert(int64_t index) {
  return make(Kind::SelectExpert, {index});
}
WeightTransform WeightTransform::reshape(std::vector<int64_t> dimensions) {
  return make(Kind::Reshape, std::move(dimensions));
}

WeightRef WeightRef::concatRows(std::vector<WeightRef> parts) {
  WeightRef result;
  result.parts = std::move(parts);
  return result;
}

WeightRef WeightRef::fromBlob(llvm::StringRef blobName) {
  return WeightRef("blob:" + blobName.str());
}

WeightRef WeightRef::with(WeightTransform transform) const {
  WeightRef result = *this;
  result.transforms.push_back(std::move(transform));
  return result;
}

std::string WeightRef::text() const {
  std::string result;
  if (parts.empty()) {
    result = escape(tensor);
  } else {
    for (const WeightRef &part : parts)
      result += (result.empty() ? "concat_rows(" : ";") + part.text();
    result += ")";
  }
  for (const WeightTransform &transform : transforms)
    result += "|" + textOf(transform);
  return result;
}

llvm::Expected<WeightRef> WeightRef::parse(llvm::StringRef text) { return Parser(text).parse(); }

} // namespace qplan

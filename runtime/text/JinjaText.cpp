//===- JinjaText.cpp - methods of texts in chat templates -----------------===//
//
// Python's str methods on valid UTF-8. Case is changed character by character,
// which suits role names and labels.
//
//===----------------------------------------------------------------------===//
#include "runtime/text/JinjaText.h"
#include "runtime/text/Unicode.h"
#include <algorithm>
#include <cstdlib>
#include <unicode/uchar.h>

namespace qplan::text::jinja {

namespace {

constexpr std::string_view methods[] = {"strip",   "lstrip",     "rstrip",   "upper",
                                        "lower",   "title",      "capitalize", "replace",
                                        "split",   "startswith", "endswith", "find",
                                        "join",    "splitlines"};

/// White space, or the characters that an argument lists.
bool isStripped(char32_t c, const Value *set) {
  if (!set)
    return isWhiteSpace(c) || (c >= 0x1C && c <= 0x1F);
  for (size_t i = 0; i < set->string.size();)
    if (nextCharacter(set->string, i) == c)
      return true;
  return false;
}

std::string strip(std::string text, bool left, bool right, const Value *set) {
  set = set && set->isString() ? set : nullptr;
  size_t begin = 0;
  for (size_t next = 0; left && next < text.size(); begin = next)
    if (!isStripped(nextCharacter(text, next), set))
      break;
  size_t end = text.size();
  while (right && end > begin) {
    size_t last = end - 1;
    while (last > begin && (static_cast<unsigned char>(text[last]) & 0xC0) == 0x80)
      --last;
    size_t next = last;
    if (!isStripped(nextCharacter(text, next), set))
      break;
    end = last;
  }
  return text.substr(begin, end - begin);
}

std::string changeCase(const std::string &text, std::string_view name) {
  std::string out;
  bool start = true;
  for (size_t i = 0; i < text.size();) {
    char32_t c = nextCharacter(text, i);
    bool up = name == "upper" || (start && name != "lower");
    if (up)
      appendCharacter(out, char32_t(u_toupper(UChar32(c))));
    else
      appendLowerCase(out, c);
    start = name == "title" && !u_isalpha(UChar32(c));
  }
  return out;
}

Result<Value> replace(const std::string &text, const Arguments &arguments) {
  const Value *from = arguments.get(0, "old"), *to = arguments.get(1, "new");
  const Value *most = arguments.get(2, "count");
  if (!from || !to || from->string.empty())
    return inputFailure("replace needs two texts, the first not empty");
  int64_t left = most && most->kind == Value::Kind::Int ? most->integer : -1;
  std::string out;
  size_t begin = 0;
  for (size_t at; left != 0 && (at = text.find(from->string, begin)) != std::string::npos; --left) {
    out.append(text, begin, at - begin);
    out += toText(*to);
    begin = at + from->string.size();
    if (out.size() > largestText)
      return inputFailure("a text grows beyond 64 MiB");
  }
  return Value::of(out + text.substr(begin));
}

Result<Value> split(const std::string &text, const Arguments &arguments) {
  const Value *separator = arguments.get(0, "sep"), *most = arguments.get(1, "maxsplit");
  int64_t left = most && most->kind == Value::Kind::Int ? most->integer : -1;
  List parts;
  if (separator && separator->isString()) {
    if (separator->string.empty())
      return inputFailure("split needs a separator that is not empty");
    size_t begin = 0;
    for (size_t at;
         left != 0 && (at = text.find(separator->string, begin)) != std::string::npos; --left) {
      parts.push_back(Value::of(text.substr(begin, at - begin)));
      begin = at + separator->string.size();
    }
    parts.push_back(Value::of(text.substr(begin)));
    return Value::of(std::move(parts));
  }
  std::string rest = strip(text, true, false, nullptr);
  while (!rest.empty()) {
    size_t end = 0;
    for (size_t next = 0; left != 0 && next < rest.size(); end = next)
      if (isStripped(nextCharacter(rest, next), nullptr))
        break;
    if (left == 0)
      end = rest.size();
    parts.push_back(Value::of(rest.substr(0, end)));
    rest = strip(rest.substr(end), true, false, nullptr);
    --left;
  }
  return Value::of(std::move(parts));
}

Result<Value> splitLines(const std::string &text) {
  List lines;
  for (size_t begin = 0; begin < text.size();) {
    size_t end = std::min(text.find('\n', begin), text.size());
    lines.push_back(Value::of(text.substr(begin, end - begin)));
    begin = end + 1;
  }
  return Value::of(std::move(lines));
}

/// startswith and endswith; the argument may be several texts.
Result<Value> hasAffix(const std::string &text, bool atStart, const Arguments &arguments) {
  const Value *affix = arguments.get(0, "prefix");
  List candidates;
  if (affix && affix->isList())
    candidates = *affix->list;
  else if (affix && affix->isString())
    candidates = {*affix};
  else
    return inputFailure("startswith and endswith need a text");
  for (const Value &candidate : candidates)
    if (atStart ? text.starts_with(candidate.string) : text.ends_with(candidate.string))
      return Value::of(true);
  return Value::of(false);
}

/// Jinja's filter: `width` blanks before every line but the first.
Result<Value> indent(const std::string &text, const Arguments &arguments) {
  const Value *width = arguments.get(0, "width"), *first = arguments.get(1, "first");
  int64_t count = width && width->kind == Value::Kind::Int ? width->integer : 4;
  std::string blanks(size_t(std::clamp<int64_t>(count, 0, 64)), ' ');
  std::string out = first && isTrue(*first) ? blanks : "";
  for (size_t i = 0; i < text.size(); ++i) {
    out += text[i];
    if (text[i] == '\n' && i + 1 < text.size() && text[i + 1] != '\n')
      out += blanks;
    if (out.size() > largestText)
      return inputFailure("a text grows beyond 64 MiB");
  }
  return Value::of(std::move(out));
}

} // namespace

bool isTextMethod(std::string_view name) {
  return std::find(std::begin(methods), std::end(methods), name) != std::end(methods);
}

size_t characterCount(const std::string &text) { return countCharacters(text); }

std::vector<std::string> splitCharacters(const std::string &text) {
  std::vector<std::string> out;
  for (size_t i = 0; i < text.size();) {
    size_t begin = i;
    nextCharacter(text, i);
    out.push_back(text.substr(begin, i - begin));
  }
  return out;
}

double parseReal(const std::string &text) { return std::strtod(text.c_str(), nullptr); }

Result<Value> callTextMethod(std::string_view name, const std::string &text,
                             const Arguments &arguments) {
  if (name == "strip" || name == "lstrip" || name == "rstrip")
    return Value::of(
        strip(text, name != "rstrip", name != "lstrip", arguments.get(0, "chars")));
  if (name == "upper" || name == "lower" || name == "title" || name == "capitalize")
    return Value::of(changeCase(text, name));
  if (name == "replace")
    return replace(text, arguments);
  if (name == "split")
    return split(text, arguments);
  if (name == "splitlines")
    return splitLines(text);
  if (name == "startswith" || name == "endswith")
    return hasAffix(text, name == "startswith", arguments);
  if (name == "indent")
    return indent(text, arguments);
  if (name == "join" && !arguments.positional.empty()) {
    Arguments separator;
    separator.positional = {Value::of(text)};
    return applyFilter("join", arguments.positional[0], separator);
  }
  if (name == "find" && !arguments.positional.empty()) {
    size_t at = text.find(arguments.positional[0].string);
    return Value::of(at == std::string::npos ? int64_t(-1)
                                             : int64_t(countCharacters(text.substr(0, at))));
  }
  return inputFailure("the method '" + std::string(name) + "' of texts needs an argument");
}

} // namespace qplan::text::jinja

//===- JinjaBuiltins.cpp - filters, tests and operators of templates ------===//
//
// What chat templates use of Jinja's built-in library and of Python's methods.
// Names that are not here are errors, so that no template runs on a guess.
//
//===----------------------------------------------------------------------===//
#include "runtime/text/JinjaProgram.h"
#include "runtime/text/JinjaText.h"
#include <algorithm>
#include <cmath>

namespace qplan::text::jinja {

namespace {

Failure unsupported(const char *what, const std::string &name, const Value &value) {
  return inputFailure(std::string("the ") + what + " '" + name + "' is not supported for a " +
                      typeName(value));
}

/// The member that selectattr and map(attribute=...) look at: "a" or "a.b".
Value attributeOf(const Value &value, const std::string &path) {
  Value current = value;
  size_t begin = 0;
  while (begin <= path.size()) {
    size_t end = std::min(path.find('.', begin), path.size());
    const Value *next =
        current.isMapping() ? current.dict->find(path.substr(begin, end - begin)) : nullptr;
    if (!next)
      return {};
    current = Value(*next);
    begin = end + 1;
  }
  return current;
}

Arguments behind(const Arguments &arguments, size_t count) {
  Arguments rest;
  for (size_t i = count; i < arguments.positional.size(); ++i)
    rest.positional.push_back(arguments.positional[i]);
  return rest;
}

/// select, reject, selectattr and rejectattr.
Result<Value> selectFilter(const std::string &name, const Value &value,
                           const Arguments &arguments) {
  Result<List> items = iterate(value);
  if (!items)
    return items.failure();
  bool byAttribute = name.ends_with("attr"), rejects = name.starts_with("reject");
  size_t used = byAttribute ? 1 : 0;
  const Value *attribute = byAttribute ? arguments.get(0, "attribute") : nullptr;
  if (byAttribute && !attribute)
    return inputFailure("the filter '" + name + "' needs the name of an attribute");
  const Value *test = arguments.get(used, "test");
  List out;
  for (const Value &item : *items) {
    Value subject = byAttribute ? attributeOf(item, attribute->string) : item;
    bool holds = isTrue(subject);
    if (test) {
      Result<Value> tested = applyTest(test->string, subject, behind(arguments, used + 1));
      if (!tested)
        return tested;
      holds = isTrue(*tested);
    }
    if (holds != rejects)
      out.push_back(item);
  }
  return Value::of(std::move(out));
}

Result<Value> mapFilter(const Value &value, const Arguments &arguments) {
  Result<List> items = iterate(value);
  if (!items)
    return items.failure();
  const Value *attribute = arguments.named.find("attribute");
  if (!attribute && arguments.positional.empty())
    return inputFailure("the filter 'map' needs an attribute or a filter");
  List out;
  for (const Value &item : *items) {
    if (attribute) {
      out.push_back(attributeOf(item, attribute->string));
      continue;
    }
    Result<Value> mapped = applyFilter(arguments.positional[0].string, item, behind(arguments, 1));
    if (!mapped)
      return mapped;
    out.push_back(std::move(*mapped));
  }
  return Value::of(std::move(out));
}

Result<Value> joinFilter(const Value &value, const Arguments &arguments) {
  Result<List> items = iterate(value);
  if (!items)
    return items.failure();
  const Value *separator = arguments.get(0, "d");
  const Value *attribute = arguments.named.find("attribute");
  std::string out;
  for (size_t i = 0; i < items->size(); ++i) {
    if (i > 0 && separator)
      out += toText(*separator);
    out += toText(attribute ? attributeOf((*items)[i], attribute->string) : (*items)[i]);
    if (out.size() > largestText)
      return inputFailure("a text grows beyond 64 MiB");
  }
  return Value::of(std::move(out));
}

Value itemsOf(const Value &value, bool sorted) {
  auto items = value.dict->items;
  if (sorted)
    std::sort(items.begin(), items.end(),
              [](const auto &a, const auto &b) { return a.first < b.first; });
  List list;
  for (auto &[key, item] : items)
    list.push_back(Value::of(List{Value::of(key), item}));
  return Value::of(std::move(list));
}

Result<Value> lengthOf(const Value &value) {
  if (value.isString())
    return Value::of(int64_t(characterCount(value.string)));
  if (value.isList())
    return Value::of(int64_t(value.list->size()));
  if (value.isMapping())
    return Value::of(int64_t(value.dict->items.size()));
  if (value.isUndefined())
    return Value::of(int64_t(0));
  return unsupported("filter", "length", value);
}

Result<Value> numberFilter(const std::string &name, const Value &value) {
  if (name == "abs")
    return value.kind == Value::Kind::Float ? Value::of(std::fabs(value.real))
           : value.asInteger() < 0          ? Value::of(int64_t(0 - uint64_t(value.asInteger())))
                                            : value;
  double real = value.isNumber() ? value.asReal() : parseReal(value.string);
  if (name == "float")
    return Value::of(real);
  // Beyond this, a double does not convert.
  return Value::of(std::fabs(real) < 9e18 ? int64_t(real) : int64_t(0));
}

Result<Value> sequenceFilter(const std::string &name, const Value &value) {
  Result<List> items = iterate(value);
  if (!items)
    return items.failure();
  if (name == "first" || name == "last")
    return items->empty() ? Value() : name == "first" ? items->front() : items->back();
  if (name == "reverse")
    std::reverse(items->begin(), items->end());
  if (name == "unique") {
    List out;
    for (const Value &item : *items)
      if (std::none_of(out.begin(), out.end(), [&](const Value &v) { return equals(v, item); }))
        out.push_back(item);
    *items = std::move(out);
  }
  if (name == "reverse" && value.isString())
    return joinFilter(Value::of(std::move(*items)), {});
  return Value::of(std::move(*items));
}

bool isOneOf(std::string_view name, std::initializer_list<std::string_view> names) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

Result<Value> arithmetic(const std::string &op, const Value &left, const Value &right) {
  bool whole = left.kind != Value::Kind::Float && right.kind != Value::Kind::Float && op != "/";
  if (op != "+" && op != "-" && op != "*" && right.asReal() == 0)
    return inputFailure("division by zero");
  if (!whole) {
    double a = left.asReal(), b = right.asReal();
    if (op == "%")
      return Value::of(a - b * std::floor(a / b));
    return Value::of(op == "+"   ? a + b
                     : op == "-" ? a - b
                     : op == "*" ? a * b
                     : op == "/" ? a / b
                                 : std::floor(a / b));
  }
  int64_t a = left.asInteger(), b = right.asInteger(), result = 0;
  bool overflow = op == "+"   ? __builtin_add_overflow(a, b, &result)
                  : op == "-" ? __builtin_sub_overflow(a, b, &result)
                  : op == "*" ? __builtin_mul_overflow(a, b, &result)
                              : a == INT64_MIN && b == -1;
  if (overflow)
    return inputFailure("a number grows too large");
  if (op == "//" || op == "%") { // Python rounds down
    int64_t quotient = a / b, rest = a % b;
    bool adjust = rest != 0 && (rest < 0) != (b < 0);
    result = op == "//" ? quotient - adjust : rest + (adjust ? b : 0);
  }
  return Value::of(result);
}

Result<Value> contains(const Value &item, const Value &container) {
  if (container.isString() && item.isString())
    return Value::of(container.string.find(item.string) != std::string::npos);
  if (container.isMapping())
    return Value::of(container.dict->find(toText(item)) != nullptr);
  if (container.isList()) {
    for (const Value &member : *container.list)
      if (equals(member, item))
        return Value::of(true);
    return Value::of(false);
  }
  if (container.isUndefined())
    return Value::of(false);
  return inputFailure(std::string("'in' cannot look for a ") + typeName(item) + " in a " +
                      typeName(container));
}

Result<Value> concatenate(const Value &left, const Value &right) {
  if (left.string.size() + right.string.size() > largestText)
    return inputFailure("a text grows beyond 64 MiB");
  return Value::of(left.string + right.string);
}

Result<Value> repeat(const Value &text, int64_t times) {
  times = std::max<int64_t>(times, 0);
  if (times > 0 && text.string.size() > largestText / size_t(times))
    return inputFailure("a text grows beyond 64 MiB");
  std::string out;
  for (int64_t i = 0; i < times && !text.string.empty(); ++i)
    out += text.string;
  return Value::of(std::move(out));
}

} // namespace

Result<List> iterate(const Value &value) {
  if (value.isList())
    return *value.list;
  List list;
  if (value.isMapping())
    for (const auto &[key, item] : value.dict->items)
      list.push_back(Value::of(key));
  else if (value.isString())
    for (std::string &character : splitCharacters(value.string))
      list.push_back(Value::of(std::move(character)));
  else if (!value.isUndefined())
    return inputFailure(std::string("a ") + typeName(value) + " has no elements");
  return list;
}

Result<Value> applyFilter(const std::string &name, const Value &value, const Arguments &arguments) {
  if (name == "default" || name == "d") {
    const Value *otherwise = arguments.get(0, "default_value");
    const Value *falsy = arguments.get(1, "boolean");
    bool replace = value.isUndefined() || (falsy && isTrue(*falsy) && !isTrue(value));
    return replace ? (otherwise ? *otherwise : Value::of(std::string())) : value;
  }
  if (name == "length" || name == "count")
    return lengthOf(value);
  if (name == "tojson") {
    const Value *indent = arguments.get(0, "indent");
    bool pretty = indent && indent->kind == Value::Kind::Int;
    return Value::of(toJson(value, pretty ? int(std::clamp<int64_t>(indent->integer, 0, 16)) : -1));
  }
  if (name == "string")
    return Value::of(toText(value));
  if (name == "safe" || name == "escape" || name == "e") // nothing is escaped for HTML
    return value;
  if (name == "join")
    return joinFilter(value, arguments);
  if (name == "map")
    return mapFilter(value, arguments);
  if (isOneOf(name, {"select", "reject", "selectattr", "rejectattr"}))
    return selectFilter(name, value, arguments);
  if (isOneOf(name, {"first", "last", "reverse", "list", "unique"}))
    return sequenceFilter(name, value);
  if (isOneOf(name, {"items", "dictsort"}) && value.isMapping())
    return itemsOf(value, name == "dictsort");
  if (isOneOf(name, {"int", "float", "abs"}))
    return numberFilter(name, value);
  static constexpr std::pair<const char *, const char *> asMethods[] = {
      {"trim", "strip"},   {"upper", "upper"},           {"lower", "lower"},
      {"title", "title"},  {"capitalize", "capitalize"}, {"replace", "replace"},
      {"indent", "indent"}};
  for (const auto &[filter, method] : asMethods)
    if (name == filter)
      return callTextMethod(method, toText(value), arguments);
  return unsupported("filter", name, value);
}

Result<Value> applyTest(const std::string &name, const Value &value, const Arguments &arguments) {
  using Kind = Value::Kind;
  auto answer = [](bool holds) { return Value::of(holds); };
  if (name == "defined")
    return answer(!value.isUndefined());
  if (name == "undefined")
    return answer(value.isUndefined());
  if (name == "none")
    return answer(value.isNone());
  if (name == "string")
    return answer(value.isString());
  if (name == "mapping")
    return answer(value.isMapping());
  if (name == "sequence" || name == "iterable")
    return answer(value.isString() || value.isList() || value.isMapping());
  if (name == "number")
    return answer(value.isNumber());
  if (name == "integer")
    return answer(value.kind == Kind::Int);
  if (name == "float")
    return answer(value.kind == Kind::Float);
  if (name == "boolean")
    return answer(value.kind == Kind::Bool);
  if (name == "true" || name == "false")
    return answer(value.kind == Kind::Bool && value.boolean == (name == "true"));
  if (name == "callable")
    return answer(value.kind >= Kind::Function);
  if ((name == "odd" || name == "even") && value.isNumber())
    return answer((value.asInteger() % 2 != 0) == (name == "odd"));
  const Value *other = arguments.get(0, "other");
  if (other && isOneOf(name, {"equalto", "eq", "ne", "in", "lt", "gt", "le", "ge", "sameas"})) {
    static constexpr std::pair<const char *, const char *> operators[] = {
        {"equalto", "=="}, {"eq", "=="}, {"ne", "!="}, {"in", "in"},    {"lt", "<"},
        {"gt", ">"},       {"le", "<="}, {"ge", ">="}, {"sameas", "=="}};
    for (const auto &[test, op] : operators)
      if (name == test)
        return applyBinary(op, value, *other);
  }
  return unsupported("test", name, value);
}

Result<Value> applyBinary(const std::string &op, const Value &left, const Value &right) {
  if (op == "==" || op == "!=")
    return Value::of(equals(left, right) == (op == "=="));
  if (op == "in" || op == "not in") {
    Result<Value> found = contains(left, right);
    return found && op == "not in" ? Value::of(!found->boolean) : found;
  }
  if (op == "~")
    return concatenate(Value::of(toText(left)), Value::of(toText(right)));
  if (op[0] == '<' || op[0] == '>') {
    int compared = order(left, right);
    if (compared != 2) {
      bool holds = (compared < 0 && op[0] == '<') || (compared > 0 && op[0] == '>') ||
                   (compared == 0 && op.size() == 2);
      return Value::of(holds);
    }
  } else if (left.isNumber() && right.isNumber()) {
    return arithmetic(op, left, right);
  } else if (op == "+" && left.isString() && right.isString()) {
    return concatenate(left, right);
  } else if (op == "+" && left.isList() && right.isList()) {
    List list = *left.list;
    list.insert(list.end(), right.list->begin(), right.list->end());
    if (int64_t(list.size()) > longestRange)
      return inputFailure("a list grows beyond 65536 elements");
    return Value::of(std::move(list));
  } else if (op == "*" && left.isString() && right.kind == Value::Kind::Int) {
    return repeat(left, right.integer);
  }
  return inputFailure("'" + op + "' cannot be applied to a " + typeName(left) + " and a " +
                      typeName(right));
}

Result<Value> applySlice(const Value &value, const Value &start, const Value &stop,
                         const Value &step) {
  if (!value.isString() && !value.isList())
    return inputFailure(std::string("a ") + typeName(value) + " cannot be sliced");
  Result<List> items = iterate(value);
  int64_t size = int64_t(items->size());
  int64_t stride = step.kind == Value::Kind::Int ? step.integer : 1;
  if (stride == 0)
    return inputFailure("a slice has step 0");
  auto bound = [&](const Value &given, int64_t otherwise) {
    if (given.kind != Value::Kind::Int)
      return otherwise;
    int64_t at = given.integer < 0 ? given.integer + size : given.integer;
    return stride > 0 ? std::clamp<int64_t>(at, 0, size) : std::clamp<int64_t>(at, -1, size - 1);
  };
  int64_t begin = bound(start, stride > 0 ? 0 : size - 1);
  int64_t end = bound(stop, stride > 0 ? size : -1);
  stride = std::clamp<int64_t>(stride, -size - 1, size + 1);
  List out;
  for (int64_t i = begin; stride > 0 ? i < end : i > end; i += stride)
    out.push_back((*items)[size_t(i)]);
  if (value.isString())
    return joinFilter(Value::of(std::move(out)), {});
  return Value::of(std::move(out));
}

bool hasMethod(const Value &self, std::string_view name) {
  if (self.isString())
    return isTextMethod(name);
  return self.isMapping() && isOneOf(name, {"items", "keys", "values", "get"});
}

Result<Value> callMethod(const std::string &name, const Value &self, const Arguments &arguments) {
  if (self.isString())
    return callTextMethod(name, self.string, arguments);
  if (name == "items")
    return itemsOf(self, false);
  if (name == "get") {
    const Value *key = arguments.get(0, "key");
    const Value *found = key ? self.dict->find(toText(*key)) : nullptr;
    const Value *otherwise = arguments.get(1, "default");
    return found ? *found : otherwise ? *otherwise : Value::none();
  }
  List list;
  for (const auto &[key, value] : self.dict->items)
    list.push_back(name == "keys" ? Value::of(key) : value);
  return Value::of(std::move(list));
}

} // namespace qplan::text::jinja

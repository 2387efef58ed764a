//===- JinjaProgram.cpp - running chat templates --------------------------===//
//
// A tree walker. Variables live in frames: a loop's body and a macro have one of
// their own, so that what they set does not outlive them; namespaces are the way
// out. Steps, depth and output are counted, for a template is a stranger's program.
//
//===----------------------------------------------------------------------===//
#include "runtime/text/JinjaProgram.h"
#include "runtime/text/JinjaParser.h"

namespace qplan::text::jinja {

namespace {

constexpr int64_t mostSteps = 5'000'000;
constexpr int deepestCall = 20;
/// Deepest nesting of values: they are destroyed and shown recursively.
constexpr int deepestValue = 50;
using Kind = Node::Kind;

class Interpreter {
public:
  explicit Interpreter(const Dict &globals) : frames(1, globals) {}

  Result<std::string> run(const Node &root) {
    execute(root);
    if (failure)
      return *failure;
    return std::move(output);
  }

private:
  enum class Flow { Normal, Break, Continue };

  void fail(const Node &node, const std::string &message) {
    if (!failure)
      failure = inputFailure("line " + std::to_string(node.line) + ": " + message);
  }

  void write(const Node &node, const std::string &text) {
    output += text;
    if (output.size() > largestText)
      fail(node, "the prompt grows beyond 64 MiB");
  }

  bool step(const Node &node) {
    if (++steps > mostSteps)
      fail(node, "the template runs too long");
    return !failure;
  }

  //--- Statements -----------------------------------------------------------

  Flow execute(const Node &node) {
    if (!step(node))
      return Flow::Break;
    switch (node.kind) {
    case Kind::Text:
      write(node, node.text);
      return Flow::Normal;
    case Kind::Output:
      write(node, toText(evaluate(*node.children[0])));
      return Flow::Normal;
    case Kind::Block:
      for (const auto &child : node.children)
        if (Flow flow = execute(*child); flow != Flow::Normal || failure)
          return flow;
      return Flow::Normal;
    case Kind::If: {
      bool holds = isTrue(evaluate(*node.children[0]));
      const Node *chosen = node.children[holds ? 1 : 2].get();
      return chosen && !failure ? execute(*chosen) : Flow::Normal;
    }
    case Kind::For:
      executeFor(node);
      return Flow::Normal;
    case Kind::Set:
      assign(node, evaluate(*node.children[0]));
      return Flow::Normal;
    case Kind::SetBlock:
      assign(node, Value::of(capture(*node.children[0])));
      return Flow::Normal;
    case Kind::Macro: {
      Value macro;
      macro.kind = Value::Kind::Macro;
      macro.macro = &node;
      frames.back().set(node.text, std::move(macro));
      return Flow::Normal;
    }
    case Kind::Break:
      return Flow::Break;
    case Kind::Continue:
      return Flow::Continue;
    default:
      fail(node, "an expression stands where a statement is expected");
      return Flow::Normal;
    }
  }

  /// What a block writes.
  std::string capture(const Node &block) {
    std::string saved = std::move(output);
    output.clear();
    execute(block);
    std::swap(saved, output);
    return saved;
  }

  void assign(const Node &node, Value value) {
    if (failure)
      return;
    if (node.names.size() == 1) {
      frames.back().set(node.names[0], std::move(value));
      return;
    }
    const Value *space = lookup(node.names[0]);
    if (!space || space->kind != Value::Kind::Namespace)
      return fail(node, "'" + node.names[0] + "' is not a namespace, so its member '" +
                            node.names[1] + "' cannot be set");
    space->dict->set(node.names[1], kept(node, std::move(value)));
  }

  /// Sets the loop's targets to one element.
  void bind(const Node &node, const Value &item) {
    if (node.names.size() == 1)
      return frames.back().set(node.names[0], item);
    if (!item.isList() || item.list->size() != node.names.size())
      return fail(node, "the loop has " + std::to_string(node.names.size()) +
                            " variables, but an element has another number of parts");
    for (size_t i = 0; i < node.names.size(); ++i)
      frames.back().set(node.names[i], (*item.list)[i]);
  }

  void executeFor(const Node &node) {
    Result<List> all = iterate(evaluate(*node.children[0]));
    if (!all)
      return fail(node, all.failure().message);
    frames.emplace_back();
    List items;
    for (const Value &item : *all) {
      if (node.children[1]) {
        bind(node, item);
        if (!step(node) || !isTrue(evaluate(*node.children[1])))
          continue;
      }
      items.push_back(item);
    }
    for (size_t i = 0; i < items.size() && !failure; ++i) {
      frames.back().items.clear();
      frames.back().set("loop", loopVariable(items, i));
      bind(node, items[i]);
      if (failure || execute(*node.children[2]) == Flow::Break)
        break;
    }
    frames.pop_back();
    if (items.empty() && node.children[3] && !failure)
      execute(*node.children[3]);
  }

  static Value loopVariable(const List &items, size_t index) {
    int64_t count = int64_t(items.size()), i = int64_t(index);
    Dict loop;
    loop.set("index", Value::of(i + 1));
    loop.set("index0", Value::of(i));
    loop.set("revindex", Value::of(count - i));
    loop.set("revindex0", Value::of(count - i - 1));
    loop.set("first", Value::of(i == 0));
    loop.set("last", Value::of(i + 1 == count));
    loop.set("length", Value::of(count));
    loop.set("previtem", index > 0 ? items[index - 1] : Value());
    loop.set("nextitem", index + 1 < items.size() ? items[index + 1] : Value());
    return Value::of(std::move(loop));
  }

  //--- Expressions ----------------------------------------------------------

  const Value *lookup(std::string_view name) const {
    for (auto frame = frames.rbegin(); frame != frames.rend(); ++frame)
      if (const Value *value = frame->find(name))
        return value;
    return nullptr;
  }

  /// A value on its way into a container. Namespaces may not go there: they are the
  /// one kind that changes, and could come to contain themselves.
  Value kept(const Node &node, Value value) {
    if (value.kind == Value::Kind::Namespace)
      fail(node, "a namespace cannot be kept in another value");
    return value;
  }

  Value take(const Node &node, Result<Value> result) {
    if (result)
      return std::move(*result);
    fail(node, result.failure().message);
    return {};
  }

  Value evaluate(const Node &node) {
    Value value = evaluateNode(node);
    if (value.nesting > deepestValue)
      fail(node, "lists and dictionaries are nested too deeply");
    return value;
  }

  Value evaluateNode(const Node &node) {
    if (!step(node))
      return {};
    switch (node.kind) {
    case Kind::Constant:
      return node.constant;
    case Kind::Name:
      return evaluateName(node);
    case Kind::List: {
      List list;
      for (const auto &child : node.children)
        list.push_back(kept(node, evaluate(*child)));
      return Value::of(std::move(list));
    }
    case Kind::Dict: {
      Dict dict;
      for (size_t i = 0; i + 1 < node.children.size(); i += 2) {
        Value key = evaluate(*node.children[i]);
        dict.set(toText(key), kept(node, evaluate(*node.children[i + 1])));
      }
      return Value::of(std::move(dict));
    }
    case Kind::Attribute:
      return member(node, evaluate(*node.children[0]), Value::of(node.text), true);
    case Kind::Subscript: {
      Value object = evaluate(*node.children[0]);
      return member(node, object, evaluate(*node.children[1]), false);
    }
    case Kind::Slice: {
      Value parts[4];
      for (int i = 0; i < 4; ++i)
        if (node.children[i])
          parts[i] = evaluate(*node.children[i]);
      return failure ? Value() : take(node, applySlice(parts[0], parts[1], parts[2], parts[3]));
    }
    case Kind::Call:
      return evaluateCall(node);
    case Kind::Filter: {
      Value value = evaluate(*node.children[0]);
      Arguments arguments = evaluateArguments(node);
      return failure ? Value() : take(node, applyFilter(node.text, value, arguments));
    }
    case Kind::Test: {
      Value value = evaluate(*node.children[0]);
      Arguments arguments = evaluateArguments(node);
      return failure ? Value() : take(node, applyTest(node.text, value, arguments));
    }
    case Kind::Unary:
      return evaluateUnary(node);
    case Kind::Binary:
      return evaluateBinary(node);
    case Kind::Conditional: {
      const Node *chosen =
          node.children[isTrue(evaluate(*node.children[0])) ? 1 : 2].get();
      return chosen ? evaluate(*chosen) : Value();
    }
    default:
      fail(node, "a statement stands where an expression is expected");
      return {};
    }
  }

  Value evaluateName(const Node &node) {
    if (const Value *value = lookup(node.text))
      return *value;
    Value value;
    if (node.text == "raise_exception" || node.text == "namespace" || node.text == "range" ||
        node.text == "dict") {
      value.kind = Value::Kind::Function;
      value.string = node.text;
    }
    return value;
  }

  Value evaluateUnary(const Node &node) {
    Value value = evaluate(*node.children[0]);
    if (node.text == "not")
      return Value::of(!isTrue(value));
    if (!value.isNumber()) {
      fail(node, std::string("the sign of a ") + typeName(value) + " is asked for");
      return {};
    }
    if (value.kind == Value::Kind::Float)
      return Value::of(node.text == "-" ? -value.real : value.real);
    // Through unsigned, where the one number without a counterpart wraps.
    int64_t number = value.asInteger();
    return Value::of(node.text == "-" ? int64_t(0 - uint64_t(number)) : number);
  }

  Value evaluateBinary(const Node &node) {
    Value left = evaluate(*node.children[0]);
    if (node.text == "and" || node.text == "or")
      return isTrue(left) == (node.text == "and") ? evaluate(*node.children[1]) : left;
    Value right = evaluate(*node.children[1]);
    return failure ? Value() : take(node, applyBinary(node.text, left, right));
  }

  /// object.name or object[key].
  Value member(const Node &node, const Value &object, const Value &key, bool attribute) {
    if (failure)
      return {};
    if (object.isUndefined()) {
      fail(node, "'" + toText(key) + "' is asked of something undefined");
      return {};
    }
    if (attribute && hasMethod(object, key.string) &&
        !(object.isMapping() && object.dict->find(key.string))) {
      Value method;
      method.kind = Value::Kind::Method;
      method.string = key.string;
      method.nesting = object.nesting + 1;
      method.self = std::make_shared<Value>(object);
      return method;
    }
    if (object.isMapping()) {
      const Value *value = object.dict->find(toText(key));
      return value ? *value : Value();
    }
    if ((object.isList() || object.isString()) && key.kind == Value::Kind::Int)
      return element(object, key.integer);
    return {};
  }

  static Value element(const Value &object, int64_t index) {
    if (object.isString()) {
      Value one = Value::of(index == -1 ? index : index + 1);
      Result<Value> part = applySlice(object, Value::of(index), index == -1 ? Value() : one, {});
      return part && !part->string.empty() ? *part : Value();
    }
    int64_t size = int64_t(object.list->size());
    index += index < 0 ? size : 0;
    return index >= 0 && index < size ? (*object.list)[size_t(index)] : Value();
  }

  Arguments evaluateArguments(const Node &node) {
    Arguments arguments;
    size_t count = node.children.size() - 1, unnamed = count - node.names.size();
    for (size_t i = 0; i < count && !failure; ++i) {
      Value value = evaluate(*node.children[i + 1]);
      if (i < unnamed)
        arguments.positional.push_back(std::move(value));
      else
        arguments.named.set(node.names[i - unnamed], std::move(value));
    }
    return arguments;
  }

  Value evaluateCall(const Node &node) {
    Value callee = evaluate(*node.children[0]);
    Arguments arguments = evaluateArguments(node);
    if (failure)
      return {};
    switch (callee.kind) {
    case Value::Kind::Method:
      return take(node, callMethod(callee.string, *callee.self, arguments));
    case Value::Kind::Function:
      return callFunction(node, callee.string, arguments);
    case Value::Kind::Macro:
      return callMacro(node, *callee.macro, arguments);
    default: {
      const Node &name = *node.children[0];
      fail(node, "'" + name.text + "' is not a function that templates can call here");
      return {};
    }
    }
  }

  Value callFunction(const Node &node, const std::string &name, const Arguments &arguments) {
    if (name == "raise_exception") {
      const Value *message = arguments.get(0, "message");
      fail(node, "the template refuses this conversation: " +
                     (message ? toText(*message) : std::string("(no reason given)")));
      return {};
    }
    if (name == "range")
      return callRange(node, arguments);
    for (const auto &[key, value] : arguments.named.items)
      kept(node, value);
    Value dict = Value::of(arguments.named);
    if (name == "namespace")
      dict.kind = Value::Kind::Namespace;
    return dict;
  }

  Value callRange(const Node &node, const Arguments &arguments) {
    int64_t bounds[3] = {0, 0, 1};
    size_t count = arguments.positional.size();
    bool valid = count >= 1 && count <= 3;
    for (size_t i = 0; i < count && valid; ++i) {
      valid = arguments.positional[i].kind == Value::Kind::Int;
      bounds[count == 1 ? 1 : i] = arguments.positional[i].integer;
    }
    auto inside = [](int64_t x) { return x >= -(int64_t(1) << 40) && x <= (int64_t(1) << 40); };
    valid = valid && bounds[2] != 0 && inside(bounds[0]) && inside(bounds[1]) && inside(bounds[2]);
    List list;
    for (int64_t i = bounds[0]; valid && (bounds[2] > 0 ? i < bounds[1] : i > bounds[1]);
         i += bounds[2]) {
      list.push_back(Value::of(i));
      valid = int64_t(list.size()) <= longestRange && step(node);
    }
    if (!valid)
      fail(node, "range() needs one to three whole numbers and at most 65536 elements");
    return Value::of(std::move(list));
  }

  Value callMacro(const Node &node, const Node &macro, const Arguments &arguments) {
    if (++calls > deepestCall) {
      fail(node, "macros call one another too deeply");
      return {};
    }
    // A macro sees the template's variables, not those of its caller.
    std::vector<Dict> saved(std::make_move_iterator(frames.begin() + 1),
                            std::make_move_iterator(frames.end()));
    frames.resize(1);
    Dict frame;
    for (size_t i = 0; i < macro.names.size(); ++i) {
      const Value *given = arguments.get(i, macro.names[i]);
      const Node *otherwise = macro.children[i + 1].get();
      frame.set(macro.names[i], given ? *given : otherwise ? evaluate(*otherwise) : Value());
    }
    frames.push_back(std::move(frame));
    std::string text = capture(*macro.children[0]);
    frames.resize(1);
    frames.insert(frames.end(), std::make_move_iterator(saved.begin()),
                  std::make_move_iterator(saved.end()));
    --calls;
    return Value::of(std::move(text));
  }

  std::vector<Dict> frames;
  std::string output;
  int64_t steps = 0;
  int calls = 0;
  std::optional<Failure> failure;
};

} // namespace

const Value *Arguments::get(size_t position, std::string_view name) const {
  return position < positional.size() ? &positional[position] : named.find(name);
}

Result<Program> Program::parse(std::string_view source) {
  Result<std::vector<Token>> tokens = tokenize(source);
  if (!tokens)
    return tokens.failure();
  Result<std::unique_ptr<Node>> root = parseTemplate(*tokens);
  if (!root)
    return root.failure();
  Program program;
  program.root = std::move(*root);
  return program;
}

Result<std::string> Program::render(const Dict &globals) const {
  return Interpreter(globals).run(*root);
}

} // namespace qplan::text::jinja

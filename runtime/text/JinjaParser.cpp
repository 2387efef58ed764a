//===- JinjaParser.cpp - tokens of a chat template to a tree --------------===//
//
// Recursive descent, one function for each level of precedence. The depth of the
// source's nesting and of the tree is bounded, so that neither parsing nor
// evaluation can exhaust the stack.
//
//===----------------------------------------------------------------------===//
#include "runtime/text/JinjaParser.h"
#include <algorithm>
#include <charconv>
#include <cstdlib>

namespace qplan::text::jinja {

namespace {

constexpr int deepestTree = 150;
using NodePtr = std::unique_ptr<Node>;
using Kind = Node::Kind;

class Parser {
public:
  explicit Parser(const std::vector<Token> &tokens) : tokens(tokens) {}

  Result<NodePtr> run() {
    NodePtr root = body({});
    if (!error.empty())
      return inputFailure(error);
    return root;
  }

private:
  const Token &current() const { return tokens[position]; }

  bool failed() const { return !error.empty(); }
  void fail(const std::string &message) {
    if (!failed())
      error = "line " + std::to_string(current().line) + ": " + message;
    position = tokens.size() - 1;
  }

  std::string found() const {
    const Token &token = current();
    switch (token.kind) {
    case Token::Kind::End:
      return "the end of the template";
    case Token::Kind::BlockEnd:
      return "'%}'";
    case Token::Kind::OutputEnd:
      return "'}}'";
    default:
      return "'" + token.text + "'";
    }
  }

  bool is(Token::Kind kind) const { return current().kind == kind; }
  bool isOperator(std::string_view text) const {
    return is(Token::Kind::Operator) && current().text == text;
  }
  bool isName(std::string_view text) const {
    return is(Token::Kind::Name) && current().text == text;
  }
  bool skipOperator(std::string_view text) {
    bool here = isOperator(text);
    position += here;
    return here;
  }
  bool skipName(std::string_view text) {
    bool here = isName(text);
    position += here;
    return here;
  }
  void expectOperator(const char *text) {
    if (!skipOperator(text))
      fail(std::string("expected '") + text + "', found " + found());
  }
  void expectName(const char *text) {
    if (!skipName(text))
      fail(std::string("expected '") + text + "', found " + found());
  }
  void expect(Token::Kind kind, const char *text) {
    if (is(kind))
      ++position;
    else
      fail(std::string("expected '") + text + "', found " + found());
  }
  std::string name() {
    if (!is(Token::Kind::Name)) {
      fail("expected a name, found " + found());
      return "";
    }
    return tokens[position++].text;
  }

  NodePtr make(Kind kind, std::string text = "") {
    auto node = std::make_unique<Node>();
    node->kind = kind;
    node->line = current().line;
    node->text = std::move(text);
    return node;
  }
  void adopt(Node &parent, NodePtr child) {
    if (child)
      parent.depth = std::max(parent.depth, child->depth + 1);
    if (parent.depth > deepestTree)
      fail("nested too deeply");
    parent.children.push_back(std::move(child));
  }
  NodePtr make(Kind kind, std::string text, NodePtr first, NodePtr second = nullptr) {
    NodePtr node = make(kind, std::move(text));
    adopt(*node, std::move(first));
    if (second)
      adopt(*node, std::move(second));
    return node;
  }

  //--- Statements -----------------------------------------------------------

  /// Statements up to a block tag whose name is in `ends`, which is not consumed,
  /// but its "{%" is. Without ends: to the end of the template.
  NodePtr body(std::initializer_list<std::string_view> ends) {
    NodePtr block = make(Kind::Block);
    if (++nesting > deepestTree)
      fail("nested too deeply");
    while (!failed()) {
      const Token &token = current();
      if (token.kind == Token::Kind::Text) {
        adopt(*block, make(Kind::Text, token.text));
        ++position;
      } else if (token.kind == Token::Kind::OutputBegin) {
        ++position;
        adopt(*block, make(Kind::Output, "", tuple()));
        expect(Token::Kind::OutputEnd, "}}");
      } else if (token.kind == Token::Kind::BlockBegin) {
        ++position;
        if (is(Token::Kind::Name) &&
            std::find(ends.begin(), ends.end(), current().text) != ends.end())
          break;
        if (NodePtr node = statement())
          adopt(*block, std::move(node));
      } else {
        if (ends.size())
          fail("a block is not closed; expected '" + std::string(*(ends.end() - 1)) + "'");
        break;
      }
    }
    --nesting;
    return block;
  }

  void endBlock() { expect(Token::Kind::BlockEnd, "%}"); }

  NodePtr statement() {
    std::string keyword = name();
    if (keyword == "if")
      return ifStatement();
    if (keyword == "for")
      return forStatement();
    if (keyword == "set")
      return setStatement();
    if (keyword == "macro")
      return macroStatement();
    if (keyword == "break" || keyword == "continue") {
      NodePtr node = make(keyword == "break" ? Kind::Break : Kind::Continue);
      endBlock();
      return node;
    }
    if (keyword == "generation") { // marks the assistant's text for training only
      endBlock();
      NodePtr inner = body({"endgeneration"});
      expectName("endgeneration");
      endBlock();
      return inner;
    }
    fail("the statement '" + keyword +
         "' is not supported (known: if, for, set, macro, break, continue, generation)");
    return nullptr;
  }

  NodePtr ifStatement() {
    NodePtr node = make(Kind::If);
    adopt(*node, expression());
    endBlock();
    adopt(*node, body({"elif", "else", "endif"}));
    if (skipName("elif")) {
      if (++nesting > deepestTree)
        fail("nested too deeply");
      adopt(*node, ifStatement());
      --nesting;
      return node;
    }
    NodePtr otherwise;
    if (skipName("else")) {
      endBlock();
      otherwise = body({"endif"});
    }
    expectName("endif");
    endBlock();
    adopt(*node, std::move(otherwise));
    return node;
  }

  NodePtr forStatement() {
    NodePtr node = make(Kind::For);
    bool bracket = skipOperator("(");
    do
      node->names.push_back(name());
    while (skipOperator(","));
    if (bracket)
      expectOperator(")");
    expectName("in");
    adopt(*node, orExpression());
    adopt(*node, skipName("if") ? expression() : nullptr);
    if (isName("recursive"))
      fail("recursive loops are not supported");
    endBlock();
    adopt(*node, body({"else", "endfor"}));
    NodePtr otherwise;
    if (skipName("else")) {
      endBlock();
      otherwise = body({"endfor"});
    }
    expectName("endfor");
    endBlock();
    adopt(*node, std::move(otherwise));
    return node;
  }

  NodePtr setStatement() {
    NodePtr node = make(Kind::Set);
    node->names.push_back(name());
    if (skipOperator("."))
      node->names.push_back(name());
    if (isOperator(","))
      fail("set of several variables is not supported");
    if (skipOperator("=")) {
      adopt(*node, tuple());
      endBlock();
      return node;
    }
    if (node->names.size() > 1)
      fail("expected '=', found " + found());
    node->kind = Kind::SetBlock;
    endBlock();
    adopt(*node, body({"endset"}));
    expectName("endset");
    endBlock();
    return node;
  }

  NodePtr macroStatement() {
    NodePtr node = make(Kind::Macro, name());
    adopt(*node, nullptr); // the body, once known
    expectOperator("(");
    while (!failed() && !isOperator(")")) {
      node->names.push_back(name());
      adopt(*node, skipOperator("=") ? expression() : nullptr);
      if (!skipOperator(","))
        break;
    }
    expectOperator(")");
    endBlock();
    NodePtr inner = body({"endmacro"});
    node->depth = std::max(node->depth, inner->depth + 1);
    node->children[0] = std::move(inner);
    expectName("endmacro");
    endBlock();
    return node;
  }

  //--- Expressions ----------------------------------------------------------

  /// An expression, or several with commas between, which make a list.
  NodePtr tuple() {
    NodePtr first = expression();
    if (!isOperator(","))
      return first;
    NodePtr list = make(Kind::List, "", std::move(first));
    while (skipOperator(",") && !is(Token::Kind::OutputEnd) && !is(Token::Kind::BlockEnd))
      adopt(*list, expression());
    return list;
  }

  NodePtr expression() {
    if (++nesting > deepestTree) {
      fail("nested too deeply");
      --nesting;
      return make(Kind::Constant);
    }
    NodePtr value = orExpression();
    while (!failed() && skipName("if")) {
      NodePtr node = make(Kind::Conditional, "", orExpression());
      adopt(*node, std::move(value));
      adopt(*node, skipName("else") ? expression() : nullptr);
      value = std::move(node);
    }
    --nesting;
    return value;
  }

  NodePtr orExpression() {
    NodePtr left = andExpression();
    while (!failed() && skipName("or"))
      left = make(Kind::Binary, "or", std::move(left), andExpression());
    return left;
  }
  NodePtr andExpression() {
    NodePtr left = notExpression();
    while (!failed() && skipName("and"))
      left = make(Kind::Binary, "and", std::move(left), notExpression());
    return left;
  }
  NodePtr notExpression() {
    size_t count = 0;
    while (skipName("not"))
      ++count;
    NodePtr value = comparison();
    // Only whether their number is odd matters, and that both make a bool.
    for (size_t i = 0, n = count > 2 ? 2 - count % 2 : count; i < n; ++i)
      value = make(Kind::Unary, "not", std::move(value));
    return value;
  }

  NodePtr comparison() {
    NodePtr left = sum();
    while (!failed()) {
      std::string op;
      for (const char *known : {"==", "!=", "<=", ">=", "<", ">"})
        if (isOperator(known))
          op = known;
      if (isName("in"))
        op = "in";
      if (isName("not") && tokens[position + 1].kind == Token::Kind::Name &&
          tokens[position + 1].text == "in") {
        op = "not in";
        ++position;
      }
      if (op.empty())
        break;
      ++position;
      left = make(Kind::Binary, op, std::move(left), sum());
    }
    return left;
  }

  NodePtr sum() {
    NodePtr left = concatenation();
    while (!failed() && (isOperator("+") || isOperator("-"))) {
      std::string op = tokens[position++].text;
      left = make(Kind::Binary, op, std::move(left), concatenation());
    }
    return left;
  }
  NodePtr concatenation() {
    NodePtr left = product();
    while (!failed() && skipOperator("~"))
      left = make(Kind::Binary, "~", std::move(left), product());
    return left;
  }
  NodePtr product() {
    NodePtr left = unary();
    while (!failed() &&
           (isOperator("*") || isOperator("/") || isOperator("//") || isOperator("%"))) {
      std::string op = tokens[position++].text;
      left = make(Kind::Binary, op, std::move(left), unary());
    }
    return left;
  }
  NodePtr unary() {
    if (isOperator("-") || isOperator("+")) {
      std::string op = tokens[position++].text;
      if (++nesting > deepestTree)
        fail("nested too deeply");
      NodePtr node = make(Kind::Unary, op, unary());
      --nesting;
      return node;
    }
    return testsAndFilters(postfix(primary()));
  }

  NodePtr testsAndFilters(NodePtr value) {
    while (!failed()) {
      if (skipOperator("|")) {
        NodePtr node = make(Kind::Filter, name(), std::move(value));
        if (skipOperator("("))
          arguments(*node);
        value = std::move(node);
      } else if (skipName("is")) {
        bool negated = skipName("not");
        NodePtr node = make(Kind::Test, name(), std::move(value));
        if (skipOperator("("))
          arguments(*node);
        else if (is(Token::Kind::String) || is(Token::Kind::Int))
          adopt(*node, primary());
        value = negated ? make(Kind::Unary, "not", std::move(node)) : std::move(node);
      } else {
        break;
      }
    }
    return value;
  }

  NodePtr postfix(NodePtr value) {
    while (!failed()) {
      if (skipOperator(".")) {
        if (is(Token::Kind::Int)) {
          value = make(Kind::Subscript, "", std::move(value), primary());
          continue;
        }
        value = make(Kind::Attribute, name(), std::move(value));
      } else if (skipOperator("[")) {
        value = subscript(std::move(value));
      } else if (skipOperator("(")) {
        NodePtr call = make(Kind::Call, "", std::move(value));
        arguments(*call);
        value = std::move(call);
      } else {
        break;
      }
    }
    return value;
  }

  NodePtr subscript(NodePtr object) {
    NodePtr parts[3];
    int count = 0;
    bool slice = false;
    while (!failed()) {
      if (!isOperator(":") && !isOperator("]"))
        parts[count] = expression();
      if (!skipOperator(":"))
        break;
      slice = true;
      if (++count == 3) {
        fail("expected ']', found ':'");
        break;
      }
    }
    expectOperator("]");
    if (!slice && !parts[0])
      fail("expected an index, found ']'");
    NodePtr node = make(slice ? Kind::Slice : Kind::Subscript, "", std::move(object));
    for (int i = 0; i < (slice ? 3 : 1); ++i)
      adopt(*node, std::move(parts[i]));
    return node;
  }

  /// Arguments behind an opening parenthesis, and the closing one.
  void arguments(Node &call) {
    while (!failed() && !isOperator(")")) {
      bool named = is(Token::Kind::Name) && tokens[position + 1].kind == Token::Kind::Operator &&
                   tokens[position + 1].text == "=";
      if (named) {
        call.names.push_back(name());
        ++position;
      } else if (!call.names.empty()) {
        fail("a positional argument follows a named one");
      }
      adopt(call, expression());
      if (!skipOperator(","))
        break;
    }
    expectOperator(")");
  }

  NodePtr constant(Value value) {
    NodePtr node = make(Kind::Constant);
    node->constant = std::move(value);
    return node;
  }

  NodePtr primary() {
    const Token &token = current();
    switch (token.kind) {
    case Token::Kind::String: {
      std::string text;
      while (is(Token::Kind::String)) // neighbours are one string
        text += tokens[position++].text;
      return constant(Value::of(std::move(text)));
    }
    case Token::Kind::Int:
      ++position;
      return constant(Value::of(int64_t(std::strtoll(token.text.c_str(), nullptr, 10))));
    case Token::Kind::Float: {
      ++position;
      double value = 0;
      std::from_chars(token.text.data(), token.text.data() + token.text.size(), value);
      return constant(Value::of(value));
    }
    case Token::Kind::Name:
      ++position;
      return nameOrConstant(token.text);
    case Token::Kind::Operator:
      ++position;
      if (token.text == "(") {
        if (skipOperator(")"))
          return make(Kind::List);
        NodePtr inner = tuple();
        expectOperator(")");
        return inner;
      }
      if (token.text == "[")
        return listLiteral();
      if (token.text == "{")
        return dictLiteral();
      --position;
      [[fallthrough]];
    default:
      fail("expected an expression, found " + found());
      return make(Kind::Constant);
    }
  }

  NodePtr nameOrConstant(const std::string &text) {
    if (text == "true" || text == "True" || text == "false" || text == "False")
      return constant(Value::of(text[0] == 't' || text[0] == 'T'));
    if (text == "none" || text == "None")
      return constant(Value::none());
    return make(Kind::Name, text);
  }

  NodePtr listLiteral() {
    NodePtr node = make(Kind::List);
    while (!failed() && !isOperator("]")) {
      adopt(*node, expression());
      if (!skipOperator(","))
        break;
    }
    expectOperator("]");
    return node;
  }

  NodePtr dictLiteral() {
    NodePtr node = make(Kind::Dict);
    while (!failed() && !isOperator("}")) {
      adopt(*node, expression());
      expectOperator(":");
      adopt(*node, expression());
      if (!skipOperator(","))
        break;
    }
    expectOperator("}");
    return node;
  }

  const std::vector<Token> &tokens;
  size_t position = 0;
  int nesting = 0;
  std::string error;
};

} // namespace

Result<NodePtr> parseTemplate(const std::vector<Token> &tokens) { return Parser(tokens).run(); }

} // namespace qplan::text::jinja

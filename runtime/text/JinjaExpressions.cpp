//===- JinjaExpressions.cpp - parsing expressions of templates ------------===//
//
// One function for each level of precedence, from commas down to names.
//
//===----------------------------------------------------------------------===//
#include "runtime/text/JinjaExpressions.h"
#include <charconv>
#include <cstdlib>

namespace qplan::text::jinja {

NodePtr ExpressionParser::tuple() {
  NodePtr first = expression();
  if (!isOperator(","))
    return first;
  NodePtr list = make(Kind::List, "", std::move(first));
  while (skipOperator(",") && !is(Token::Kind::OutputEnd) && !is(Token::Kind::BlockEnd))
    adopt(*list, expression());
  return list;
}

NodePtr ExpressionParser::expression() {
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

NodePtr ExpressionParser::orExpression() {
  NodePtr left = andExpression();
  while (!failed() && skipName("or"))
    left = make(Kind::Binary, "or", std::move(left), andExpression());
  return left;
}

NodePtr ExpressionParser::andExpression() {
  NodePtr left = notExpression();
  while (!failed() && skipName("and"))
    left = make(Kind::Binary, "and", std::move(left), notExpression());
  return left;
}

NodePtr ExpressionParser::notExpression() {
  size_t count = 0;
  while (skipName("not"))
    ++count;
  NodePtr value = comparison();
  // Only whether their number is odd matters, and that both make a bool.
  for (size_t i = 0, n = count > 2 ? 2 - count % 2 : count; i < n; ++i)
    value = make(Kind::Unary, "not", std::move(value));
  return value;
}

NodePtr ExpressionParser::comparison() {
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

NodePtr ExpressionParser::sum() {
  NodePtr left = concatenation();
  while (!failed() && (isOperator("+") || isOperator("-"))) {
    std::string op = tokens[position++].text;
    left = make(Kind::Binary, op, std::move(left), concatenation());
  }
  return left;
}

NodePtr ExpressionParser::concatenation() {
  NodePtr left = product();
  while (!failed() && skipOperator("~"))
    left = make(Kind::Binary, "~", std::move(left), product());
  return left;
}

NodePtr ExpressionParser::product() {
  NodePtr left = unary();
  while (!failed() &&
         (isOperator("*") || isOperator("/") || isOperator("//") || isOperator("%"))) {
    std::string op = tokens[position++].text;
    left = make(Kind::Binary, op, std::move(left), unary());
  }
  return left;
}

NodePtr ExpressionParser::unary() {
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

NodePtr ExpressionParser::testsAndFilters(NodePtr value) {
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

NodePtr ExpressionParser::postfix(NodePtr value) {
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

NodePtr ExpressionParser::subscript(NodePtr object) {
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

void ExpressionParser::arguments(Node &call) {
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

NodePtr ExpressionParser::constant(Value value) {
  NodePtr node = make(Kind::Constant);
  node->constant = std::move(value);
  return node;
}

NodePtr ExpressionParser::primary() {
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

NodePtr ExpressionParser::nameOrConstant(const std::string &text) {
  if (text == "true" || text == "True" || text == "false" || text == "False")
    return constant(Value::of(text[0] == 't' || text[0] == 'T'));
  if (text == "none" || text == "None")
    return constant(Value::none());
  return make(Kind::Name, text);
}

NodePtr ExpressionParser::listLiteral() {
  NodePtr node = make(Kind::List);
  while (!failed() && !isOperator("]")) {
    adopt(*node, expression());
    if (!skipOperator(","))
      break;
  }
  expectOperator("]");
  return node;
}

NodePtr ExpressionParser::dictLiteral() {
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

} // namespace qplan::text::jinja

//===- JinjaExpressions.h - parsing expressions of templates ----*- C++ -*-===//
//
// The cursor over a template's tokens, how nodes are made, and the expressions. The
// depth of the source's nesting and of the tree is bounded, so that neither parsing
// nor evaluation can exhaust the stack. Statements are in JinjaParser.cpp.
//
//===----------------------------------------------------------------------===//
#ifndef QPLAN_TEXT_JINJAEXPRESSIONS_H
#define QPLAN_TEXT_JINJAEXPRESSIONS_H

#include "runtime/text/JinjaProgram.h"
#include <algorithm>

namespace qplan::text::jinja {

using NodePtr = std::unique_ptr<Node>;

/// Parses expressions; the first mistake is kept and moves the cursor to the end.
class ExpressionParser {
protected:
  using Kind = Node::Kind;
  static constexpr int deepestTree = 150;

  /// Borrows the tokens, of which the last is End.
  explicit ExpressionParser(const std::vector<Token> &tokens) : tokens(tokens) {}

  /// The token at the cursor; End when all are consumed.
  const Token &current() const { return tokens[position]; }

  bool failed() const { return !error.empty(); }
  /// Keeps the first mistake, with its line, and ends the parse.
  void fail(const std::string &message) {
    if (!failed())
      error = "line " + std::to_string(current().line) + ": " + message;
    position = tokens.size() - 1;
  }

  /// The token at the cursor, for messages.
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

  // What stands at the cursor; skip... also moves past it.
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
  // Moves past what must stand at the cursor; a mistake if it does not.
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
  /// Consumes a name.
  std::string name() {
    if (!is(Token::Kind::Name)) {
      fail("expected a name, found " + found());
      return "";
    }
    return tokens[position++].text;
  }

  /// A node with the cursor's line.
  NodePtr make(Kind kind, std::string text = "") {
    auto node = std::make_unique<Node>();
    node->kind = kind;
    node->line = current().line;
    node->text = std::move(text);
    return node;
  }
  /// Adds a child, which may be null, and bounds the depth of the tree.
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

  /// An expression, or several with commas between, which make a list.
  NodePtr tuple();
  NodePtr expression();
  NodePtr orExpression();
  NodePtr andExpression();
  NodePtr notExpression();
  NodePtr comparison();
  NodePtr sum();
  NodePtr concatenation();
  NodePtr product();
  NodePtr unary();
  NodePtr testsAndFilters(NodePtr value);
  NodePtr postfix(NodePtr value);
  NodePtr subscript(NodePtr object);
  /// Arguments behind an opening parenthesis, and the closing one.
  void arguments(Node &call);
  NodePtr constant(Value value);
  NodePtr primary();
  NodePtr nameOrConstant(const std::string &text);
  NodePtr listLiteral();
  NodePtr dictLiteral();

  const std::vector<Token> &tokens;
  size_t position = 0;
  int nesting = 0;
  std::string error;
};

} // namespace qplan::text::jinja
#endif // QPLAN_TEXT_JINJAEXPRESSIONS_H

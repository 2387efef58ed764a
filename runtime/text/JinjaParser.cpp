//===- JinjaParser.cpp - tokens of a chat template to a tree --------------===//
//
// The statements, by recursive descent. Expressions and the bounds on nesting are in
// JinjaExpressions.h.
//
//===----------------------------------------------------------------------===//
#include "runtime/text/JinjaParser.h"
#include "runtime/text/JinjaExpressions.h"

namespace qplan::text::jinja {

namespace {

class Parser : ExpressionParser {
public:
  explicit Parser(const std::vector<Token> &tokens) : ExpressionParser(tokens) {}

  Result<NodePtr> run() {
    NodePtr root = body({});
    if (!error.empty())
      return inputFailure(error);
    return root;
  }

private:
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
};

} // namespace

Result<NodePtr> parseTemplate(const std::vector<Token> &tokens) { return Parser(tokens).run(); }

} // namespace qplan::text::jinja

//===- JinjaParser.h - tokens of a chat template to a tree ------*- C++ -*-===//
//
// Only Program::parse calls it.
//
//===----------------------------------------------------------------------===//
#ifndef QPLAN_TEXT_JINJAPARSER_H
#define QPLAN_TEXT_JINJAPARSER_H

#include "runtime/text/JinjaProgram.h"

namespace qplan::text::jinja {

/// The tree of a template; its root is a Block.
Result<std::unique_ptr<Node>> parseTemplate(const std::vector<Token> &tokens);

} // namespace qplan::text::jinja
#endif // QPLAN_TEXT_JINJAPARSER_H

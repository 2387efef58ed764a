//===- Markup.h - writes HTML and SVG ----------------------------*- C++ -*-===//
//
// A page is made of names that come from files of others: sites, paths, licences. All text
// passes through one escape here, and elements are closed by the writer that opened
// them, so that no name can leave its place and no page is left open.
//
//===----------------------------------------------------------------------===//
#ifndef QPLAN_TOOLS_QPLAN_REPORT_MARKUP_H
#define QPLAN_TOOLS_QPLAN_REPORT_MARKUP_H

#include <initializer_list>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace qplan {

/// `text` for element content and quoted attributes: & < > " ' as entities; control
/// characters but line ends, and bytes that are no UTF-8, as U+FFFD.
std::string escapeMarkup(std::string_view text);

/// One attribute; the name is ours, the value is escaped.
using MarkupAttribute = std::pair<std::string_view, std::string>;
using MarkupAttributes = std::initializer_list<MarkupAttribute>;

/// Appends elements to a text. Tags and attribute names are literals of the program.
class Markup {
public:
  /// Opens an element; close() ends it.
  Markup &open(std::string_view tag, MarkupAttributes attributes = {});
  Markup &close();
  /// Escaped text inside the open element.
  Markup &text(std::string_view text);
  /// A whole element with escaped text.
  Markup &leaf(std::string_view tag, MarkupAttributes attributes, std::string_view text = {});
  /// Text that is markup already: constants of the program only.
  Markup &constant(std::string_view markup);
  /// The text; every element that is still open is closed.
  std::string take();

private:
  std::string out;
  std::vector<std::string> path; ///< open elements, outermost first
};

} // namespace qplan
#endif // QPLAN_TOOLS_QPLAN_REPORT_MARKUP_H

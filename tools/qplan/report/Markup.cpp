//===- Markup.cpp - writes HTML and SVG -----------------------------------===//

#include "tools/qplan/report/Markup.h"

#include <llvm/Support/ConvertUTF.h>

namespace qplan {
namespace {

/// Bytes of the UTF-8 sequence at the start of `text`; 0 when it is none.
size_t sequenceLength(std::string_view text) {
  auto *begin = reinterpret_cast<const llvm::UTF8 *>(text.data());
  size_t length = llvm::getNumBytesForUTF8(*begin);
  return length <= text.size() && llvm::isLegalUTF8Sequence(begin, begin + length) ? length : 0;
}

} // namespace

std::string escapeMarkup(std::string_view text) {
  constexpr std::string_view unknown = "\xEF\xBF\xBD";
  std::string out;
  for (size_t i = 0; i < text.size();) {
    unsigned char c = static_cast<unsigned char>(text[i]);
    size_t length = c < 0x80 ? 1 : sequenceLength(text.substr(i));
    if (c == '&')
      out += "&amp;";
    else if (c == '<')
      out += "&lt;";
    else if (c == '>')
      out += "&gt;";
    else if (c == '"')
      out += "&quot;";
    else if (c == '\'')
      out += "&#39;";
    else if (length == 0 || c == 0x7F || (c < 0x20 && c != '\n' && c != '\t'))
      out += unknown;
    else
      out += text.substr(i, length);
    i += length ? length : 1;
  }
  return out;
}

Markup &Markup::open(std::string_view tag, MarkupAttributes attributes) {
  out += '<';
  out += tag;
  for (const auto &[name, value] : attributes) {
    out += ' ';
    out += name;
    out += "=\"" + escapeMarkup(value) + '"';
  }
  out += '>';
  path.emplace_back(tag);
  return *this;
}

Markup &Markup::close() {
  if (path.empty())
    return *this;
  const std::string &tag = path.back();
  out += "</" + tag + '>';
  // One block a line keeps pages readable for people and for diff.
  if (tag != "span" && tag != "b" && tag != "code" && tag != "td" && tag != "th")
    out += '\n';
  path.pop_back();
  return *this;
}

Markup &Markup::text(std::string_view text) {
  out += escapeMarkup(text);
  return *this;
}

Markup &Markup::leaf(std::string_view tag, MarkupAttributes attributes, std::string_view content) {
  return open(tag, attributes).text(content).close();
}

Markup &Markup::constant(std::string_view markup) {
  out += markup;
  return *this;
}

std::string Markup::take() {
  while (!path.empty())
    close();
  return std::move(out);
}

} // namespace qplan

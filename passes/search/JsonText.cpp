//===- JsonText.cpp - JSON files that may be damaged ----------------------===//

#include "passes/search/JsonText.h"

#include "ir/Failure.h"

#include <llvm/ADT/StringExtras.h>

namespace qplan {
namespace {

constexpr int depthLimit = 16;

/// Whether brackets nest too deeply. Strings are skipped.
bool nestsTooDeep(llvm::StringRef text) {
  int depth = 0;
  bool inString = false;
  for (size_t i = 0; i < text.size(); ++i) {
    char c = text[i];
    if (inString) {
      i += c == '\\';
      inString = c != '"';
    } else if (c == '"') {
      inString = true;
    } else if (c == '{' || c == '[') {
      if (++depth > depthLimit)
        return true;
    } else if (c == '}' || c == ']') {
      --depth;
    }
  }
  return false;
}

} // namespace

std::string shownText(llvm::StringRef text) {
  std::string result;
  for (char c : text.take_front(80))
    result += llvm::isPrint(c) ? c : '?';
  return text.size() > 80 ? result + "..." : result;
}

llvm::Expected<nlohmann::json> parseJsonText(llvm::StringRef text, llvm::StringRef file,
                                             llvm::StringRef what) {
  if (nestsTooDeep(text))
    return inputError("{}: this is no {}: it nests deeper than {}", file.str(), what.str(),
                      depthLimit);
  auto json = nlohmann::json::parse(text.begin(), text.end(), nullptr,
                                    /*allow_exceptions=*/false);
  if (json.is_discarded())
    return inputError("{}: this is no JSON, or it is cut off; delete the file to make it anew",
                      file.str());
  return json;
}

} // namespace qplan

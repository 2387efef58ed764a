//===- JsonText.cpp - JSON files from strangers ---------------------------===//

#include "ir/import/JsonText.h"
#include "ir/Failure.h"
#include "ir/import/MappedFile.h"

namespace qplan {

static constexpr size_t maxBytes = size_t(64) << 20;
static constexpr int maxLevels = 64;

/// Line and column (from 1) of a byte, for messages.
static std::string placeOf(llvm::StringRef text, size_t position) {
  llvm::StringRef before = text.take_front(position);
  size_t lineStart = before.rfind('\n');
  size_t column = lineStart == llvm::StringRef::npos ? position + 1 : position - lineStart;
  return fmt::format("line {}, column {}", before.count('\n') + 1, column);
}

/// Offset of the first bracket beyond maxLevels, or npos. Strings are skipped.
static size_t findTooDeep(llvm::StringRef text) {
  int level = 0;
  bool inString = false;
  for (size_t i = 0; i < text.size(); ++i) {
    char c = text[i];
    if (inString) {
      if (c == '\\')
        ++i;
      else if (c == '"')
        inString = false;
    } else if (c == '"') {
      inString = true;
    } else if (c == '{' || c == '[') {
      if (++level > maxLevels)
        return i;
    } else if (c == '}' || c == ']') {
      --level;
    }
  }
  return llvm::StringRef::npos;
}

namespace {
/// Builds the value and keeps the place of a syntax error: with exceptions off,
/// json::parse alone would not tell it.
class Builder : public nlohmann::detail::json_sax_dom_parser<nlohmann::json> {
public:
  explicit Builder(nlohmann::json &root) : json_sax_dom_parser(root, /*allow_exceptions=*/false) {}
  template <class Exception>
  bool parse_error(size_t position, const std::string &token, const Exception &error) {
    errorPosition = position == 0 ? 0 : position - 1; // counts the byte that is wrong
    return json_sax_dom_parser::parse_error(position, token, error);
  }
  size_t errorPosition = 0;
};
} // namespace

llvm::Expected<nlohmann::json> parseJsonObject(llvm::StringRef text, llvm::StringRef file) {
  if (text.size() > maxBytes)
    return inputError("{}: is {} bytes long; a JSON file of at most {} is expected", file.str(),
                      text.size(), maxBytes);
  size_t deep = findTooDeep(text);
  if (deep != llvm::StringRef::npos)
    return inputError("{}: {}: brackets are nested deeper than {} levels", file.str(),
                      placeOf(text, deep), maxLevels);
  nlohmann::json value;
  Builder builder(value);
  if (!nlohmann::json::sax_parse(text.begin(), text.end(), &builder))
    return inputError("{}: {}: is not valid JSON", file.str(),
                      placeOf(text, std::min(text.size(), builder.errorPosition)));
  if (!value.is_object())
    return inputError("{}: holds a JSON {}; an object {{...}} is expected", file.str(),
                      value.type_name());
  return value;
}

llvm::Expected<nlohmann::json> readJsonFile(llvm::StringRef path) {
  auto file = MappedFile::open(path);
  if (!file)
    return file.takeError();
  llvm::ArrayRef<uint8_t> bytes = (*file)->bytes();
  return parseJsonObject({reinterpret_cast<const char *>(bytes.data()), bytes.size()}, path);
}

} // namespace qplan

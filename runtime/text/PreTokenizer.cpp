//===- PreTokenizer.cpp - the "pre_tokenizer" of tokenizer.json -----------===//
//
// Every type cuts a piece into spans that match or do not, and a behaviour says
// which spans stay, go or join their neighbours; these are the definitions of the
// Hugging Face tokenizers library. ByteLevel and Metaspace also rewrite.
//
//===----------------------------------------------------------------------===//
#include "runtime/text/PreTokenizer.h"
#include "runtime/text/Pattern.h"
#include "runtime/text/Unicode.h"
#include <functional>

namespace qplan::text {

namespace {

enum class Behavior { Isolated, Removed, Contiguous, MergedWithPrevious, MergedWithNext };

/// Joins spans as `behavior` demands; afterwards `matched` means "drop it".
void arrange(std::vector<Span> &spans, Behavior behavior) {
  if (behavior == Behavior::Removed)
    return;
  std::vector<Span> out;
  bool previous = false;
  if (behavior == Behavior::MergedWithNext) {
    for (auto it = spans.rbegin(); it != spans.rend(); ++it) {
      if (it->matched && !previous && !out.empty())
        out.back().begin = it->begin;
      else
        out.push_back({it->begin, it->end, false});
      previous = it->matched;
    }
    spans.assign(out.rbegin(), out.rend());
    return;
  }
  for (const Span &span : spans) {
    bool joins = (behavior == Behavior::Contiguous && span.matched == previous) ||
                 (behavior == Behavior::MergedWithPrevious && span.matched && !previous);
    if (joins && !out.empty())
      out.back().end = span.end;
    else
      out.push_back({span.begin, span.end, false});
    previous = span.matched;
  }
  spans = std::move(out);
}

/// Appends the spans of `piece` that stay.
void emit(const Piece &piece, const std::vector<Span> &spans, std::vector<Piece> &out) {
  for (const Span &span : spans)
    if (!span.matched && span.begin != span.end)
      out.push_back({piece.text.substr(span.begin, span.end - span.begin), -1,
                     piece.atStart && span.begin == 0});
}

/// Spans of the characters for which `matches` holds, each alone.
template <typename Predicate>
void cutCharacters(std::string_view text, Predicate matches, std::vector<Span> &spans) {
  spans.clear();
  size_t pending = 0;
  for (size_t i = 0; i < text.size();) {
    size_t begin = i;
    if (!matches(nextCharacter(text, i)))
      continue;
    if (pending < begin)
      spans.push_back({pending, begin, false});
    spans.push_back({begin, i, true});
    pending = i;
  }
  if (pending < text.size())
    spans.push_back({pending, text.size(), false});
}

/// Cuts at single characters.
class CharacterSplit : public PreTokenizer {
public:
  using Predicate = std::function<bool(char32_t)>;
  CharacterSplit(Predicate predicate, Behavior behavior)
      : predicate(std::move(predicate)), behavior(behavior) {}

  Status apply(std::vector<Piece> &pieces) const override {
    std::vector<Piece> out;
    std::vector<Span> spans;
    for (Piece &piece : pieces) {
      if (piece.id >= 0) {
        out.push_back(std::move(piece));
        continue;
      }
      cutCharacters(piece.text, predicate, spans);
      arrange(spans, behavior);
      emit(piece, spans, out);
    }
    pieces = std::move(out);
    return std::nullopt;
  }

private:
  Predicate predicate;
  Behavior behavior;
};

/// Cuts at the matches of a pattern, or between them when inverted.
class RegexSplit : public PreTokenizer {
public:
  RegexSplit(Regex regex, Behavior behavior, bool invert)
      : regex(std::move(regex)), behavior(behavior), invert(invert) {}

  Status apply(std::vector<Piece> &pieces) const override {
    std::vector<Piece> out;
    std::vector<Span> spans;
    Regex::Matcher matcher(regex);
    for (Piece &piece : pieces) {
      if (piece.id >= 0) {
        out.push_back(std::move(piece));
        continue;
      }
      if (Status status = matcher.cut(piece.text, spans))
        return status;
      if (invert)
        for (Span &span : spans)
          span.matched = !span.matched;
      arrange(spans, behavior);
      emit(piece, spans, out);
    }
    pieces = std::move(out);
    return std::nullopt;
  }

private:
  Regex regex;
  Behavior behavior;
  bool invert;
};

class ByteLevel : public PreTokenizer {
public:
  ByteLevel(std::unique_ptr<PreTokenizer> split, bool addPrefixSpace)
      : split(std::move(split)), addPrefixSpace(addPrefixSpace) {}

  Status apply(std::vector<Piece> &pieces) const override {
    for (Piece &piece : pieces)
      if (addPrefixSpace && piece.id < 0 && !piece.text.starts_with(' '))
        piece.text.insert(0, 1, ' ');
    if (split)
      if (Status status = split->apply(pieces))
        return status;
    for (Piece &piece : pieces)
      if (piece.id < 0)
        piece.text = toByteAlphabet(piece.text);
    return std::nullopt;
  }

private:
  std::unique_ptr<PreTokenizer> split;
  bool addPrefixSpace;
};

class Metaspace : public PreTokenizer {
public:
  enum class Scheme { First, Never, Always };
  Metaspace(char32_t mark, Scheme scheme, bool split)
      : scheme(scheme),
        splitter([mark](char32_t c) { return c == mark; }, Behavior::MergedWithNext), split(split) {
    appendCharacter(markText, mark);
  }

  Status apply(std::vector<Piece> &pieces) const override {
    for (Piece &piece : pieces)
      if (piece.id < 0)
        rewrite(piece);
    return split ? splitter.apply(pieces) : std::nullopt;
  }

private:
  void rewrite(Piece &piece) const {
    bool wanted = scheme == Scheme::Always || (scheme == Scheme::First && piece.atStart);
    std::string out;
    for (char c : piece.text)
      if (c == ' ')
        out += markText;
      else
        out += c;
    if (wanted && !out.starts_with(markText))
      out.insert(0, markText);
    piece.text = std::move(out);
  }

  std::string markText;
  Scheme scheme;
  CharacterSplit splitter;
  bool split;
};

class FixedLength : public PreTokenizer {
public:
  explicit FixedLength(int64_t length) : length(length) {}
  Status apply(std::vector<Piece> &pieces) const override {
    std::vector<Piece> out;
    std::vector<Span> spans;
    for (Piece &piece : pieces) {
      if (piece.id >= 0) {
        out.push_back(std::move(piece));
        continue;
      }
      spans.clear();
      for (size_t i = 0; i < piece.text.size();) {
        size_t begin = i;
        for (int64_t n = 0; n < length && i < piece.text.size(); ++n)
          nextCharacter(piece.text, i);
        spans.push_back({begin, i, false});
      }
      emit(piece, spans, out);
    }
    pieces = std::move(out);
    return std::nullopt;
  }

private:
  int64_t length;
};

class Sequence : public PreTokenizer {
public:
  explicit Sequence(std::vector<std::unique_ptr<PreTokenizer>> steps) : steps(std::move(steps)) {}
  Status apply(std::vector<Piece> &pieces) const override {
    for (const auto &step : steps)
      if (Status status = step->apply(pieces))
        return status;
    return std::nullopt;
  }

private:
  std::vector<std::unique_ptr<PreTokenizer>> steps;
};

Behavior parseBehavior(const Field &field) {
  std::string name = field.string();
  static constexpr std::pair<const char *, Behavior> names[] = {
      {"Isolated", Behavior::Isolated},
      {"Removed", Behavior::Removed},
      {"Contiguous", Behavior::Contiguous},
      {"MergedWithPrevious", Behavior::MergedWithPrevious},
      {"MergedWithNext", Behavior::MergedWithNext}};
  for (const auto &[known, behavior] : names)
    if (name == known)
      return behavior;
  field.fail("the behavior '" + name +
             "' is not supported (known: Isolated, Removed, Contiguous, MergedWithPrevious, "
             "MergedWithNext)");
  return Behavior::Isolated;
}

/// The pattern of GPT-2, which ByteLevel uses unless told not to.
constexpr const char *gpt2Pattern =
    "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";

std::unique_ptr<PreTokenizer> makeSplit(const Field &field, std::string_view pattern,
                                        Behavior behavior, bool invert) {
  Result<Regex> regex = Regex::compile(pattern);
  if (!regex) {
    field.fail(regex.failure().message);
    return nullptr;
  }
  return std::make_unique<RegexSplit>(std::move(*regex), behavior, invert);
}

std::unique_ptr<PreTokenizer> parseByteLevel(const Field &field) {
  field.onlyKeys({"type", "add_prefix_space", "trim_offsets", "use_regex"});
  std::unique_ptr<PreTokenizer> split;
  if (field.at("use_regex").boolean(true))
    split = makeSplit(field, gpt2Pattern, Behavior::Isolated, false);
  return std::make_unique<ByteLevel>(std::move(split), field.at("add_prefix_space").boolean());
}

std::unique_ptr<PreTokenizer> parseMetaspace(const Field &field) {
  field.onlyKeys({"type", "replacement", "prepend_scheme", "add_prefix_space", "split", "str_rep"});
  std::string scheme = field.at("prepend_scheme").string("always");
  if (!field.at("add_prefix_space").boolean(true)) {
    if (field.at("prepend_scheme").present() && scheme != "never")
      field.fail("add_prefix_space is false, but prepend_scheme is '" + scheme + "'");
    scheme = "never";
  }
  Metaspace::Scheme parsed = Metaspace::Scheme::Always;
  if (scheme == "first")
    parsed = Metaspace::Scheme::First;
  else if (scheme == "never")
    parsed = Metaspace::Scheme::Never;
  else if (scheme != "always")
    field.at("prepend_scheme").fail("expected first, never or always, found '" + scheme + "'");
  return std::make_unique<Metaspace>(field.at("replacement").character(), parsed,
                                     field.at("split").boolean(true));
}

std::unique_ptr<PreTokenizer> parseSplit(const Field &field) {
  field.onlyKeys({"type", "pattern", "behavior", "invert"});
  std::optional<Regex> regex = parsePattern(field.at("pattern"));
  Behavior behavior = parseBehavior(field.at("behavior"));
  bool invert = field.at("invert").boolean();
  if (!regex)
    return nullptr;
  return std::make_unique<RegexSplit>(std::move(*regex), behavior, invert);
}

std::unique_ptr<PreTokenizer> parseSequence(const Field &field) {
  field.onlyKeys({"type", "pretokenizers"});
  std::vector<std::unique_ptr<PreTokenizer>> steps;
  Field list = field.at("pretokenizers");
  for (size_t i = 0, n = list.size(); i < n; ++i)
    if (std::unique_ptr<PreTokenizer> step = parsePreTokenizer(list.at(i)))
      steps.push_back(std::move(step));
  return std::make_unique<Sequence>(std::move(steps));
}

std::unique_ptr<PreTokenizer> parseDigits(const Field &field) {
  field.onlyKeys({"type", "individual_digits"});
  bool individual = field.at("individual_digits").boolean();
  return std::make_unique<CharacterSplit>(isNumeric,
                                          individual ? Behavior::Isolated : Behavior::Contiguous);
}

std::unique_ptr<PreTokenizer> parseBert(const Field &field) {
  field.onlyKeys({"type"});
  std::vector<std::unique_ptr<PreTokenizer>> steps;
  steps.push_back(std::make_unique<CharacterSplit>(isWhiteSpace, Behavior::Removed));
  steps.push_back(std::make_unique<CharacterSplit>(isPunctuation, Behavior::Isolated));
  return std::make_unique<Sequence>(std::move(steps));
}

std::unique_ptr<PreTokenizer> parseWhitespace(const Field &field) {
  field.onlyKeys({"type"});
  // This one type uses another engine, whose \w includes the two joiners.
  return makeSplit(field, "[\\w\\x{200C}\\x{200D}]+|[^\\w\\s\\x{200C}\\x{200D}]+",
                   Behavior::Removed, true);
}

} // namespace

std::unique_ptr<PreTokenizer> parsePreTokenizer(const Field &field) {
  if (!field.present())
    return nullptr;
  std::string type = field.type();
  using Parser = std::unique_ptr<PreTokenizer> (*)(const Field &);
  static constexpr std::pair<const char *, Parser> parsers[] = {
      {"Sequence", parseSequence},   {"Split", parseSplit},
      {"ByteLevel", parseByteLevel}, {"Metaspace", parseMetaspace},
      {"Digits", parseDigits},       {"BertPreTokenizer", parseBert},
      {"Whitespace", parseWhitespace}};
  for (const auto &[known, parser] : parsers)
    if (type == known)
      return parser(field);
  if (type == "Punctuation") {
    field.onlyKeys({"type", "behavior"});
    Field behavior = field.at("behavior");
    return std::make_unique<CharacterSplit>(
        isPunctuation, behavior.present() ? parseBehavior(behavior) : Behavior::Isolated);
  }
  if (type == "WhitespaceSplit") {
    field.onlyKeys({"type"});
    return std::make_unique<CharacterSplit>(isWhiteSpace, Behavior::Removed);
  }
  if (type == "CharDelimiterSplit") {
    field.onlyKeys({"type", "delimiter"});
    char32_t delimiter = field.at("delimiter").character();
    return std::make_unique<CharacterSplit>([=](char32_t c) { return c == delimiter; },
                                            Behavior::Removed);
  }
  if (type == "FixedLength") {
    field.onlyKeys({"type", "length"});
    int64_t length = field.at("length").present() ? field.at("length").number(1 << 20) : 5;
    if (length == 0)
      field.at("length").fail("expected a length of at least 1, found 0");
    return std::make_unique<FixedLength>(length);
  }
  field.fail("the pre-tokenizer '" + type +
             "' is not supported (known: Sequence, Split, ByteLevel, Metaspace, Digits, "
             "Punctuation, Whitespace, WhitespaceSplit, BertPreTokenizer, CharDelimiterSplit, "
             "FixedLength)");
  return nullptr;
}

} // namespace qplan::text

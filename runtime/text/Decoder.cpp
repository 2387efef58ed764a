//===- Decoder.cpp - the "decoder" of tokenizer.json ----------------------===//
//
// One class for each type, with the edge cases of the Hugging Face tokenizers
// library: a run of byte tokens that is no valid UTF-8 becomes one U+FFFD for each
// byte, while ByteLevel replaces maximal subparts.
//
//===----------------------------------------------------------------------===//
#include "runtime/text/Decoder.h"
#include "runtime/text/Normalizer.h"
#include "runtime/text/Pattern.h"
#include "runtime/text/Unicode.h"

namespace qplan::text {

namespace {

using Tokens = std::vector<std::string>;

class ByteLevel : public Decoder {
public:
  Status apply(Tokens &tokens) const override {
    std::string bytes;
    for (const std::string &token : tokens)
      bytes += byteLevelBytes(token);
    tokens = {repairUtf8(bytes)};
    return std::nullopt;
  }
  bool isByteLevel() const override { return true; }
};

class ByteFallback : public Decoder {
public:
  Status apply(Tokens &tokens) const override {
    Tokens out;
    std::string run;
    auto flush = [&] {
      if (isValidUtf8(run) && !run.empty())
        out.push_back(run);
      else
        out.insert(out.end(), run.size(), std::string(replacementCharacter));
      run.clear();
    };
    for (std::string &token : tokens) {
      int byte = byteFallbackByte(token);
      if (byte >= 0) {
        run += char(byte);
        continue;
      }
      flush();
      out.push_back(std::move(token));
    }
    flush();
    tokens = std::move(out);
    return std::nullopt;
  }
};

class Fuse : public Decoder {
public:
  Status apply(Tokens &tokens) const override {
    std::string all;
    for (const std::string &token : tokens)
      all += token;
    tokens = {std::move(all)};
    return std::nullopt;
  }
};

class Replace : public Decoder {
public:
  Replace(Regex regex, std::string content)
      : regex(std::move(regex)), content(std::move(content)) {}
  Status apply(Tokens &tokens) const override {
    Regex::Matcher matcher(regex);
    std::vector<Span> spans;
    for (std::string &token : tokens) {
      if (token.empty())
        continue;
      if (Status status = matcher.cut(token, spans))
        return status;
      std::string out;
      for (const Span &span : spans)
        out += span.matched ? content : token.substr(span.begin, span.end - span.begin);
      token = std::move(out);
    }
    return std::nullopt;
  }

private:
  Regex regex;
  std::string content;
};

class Strip : public Decoder {
public:
  Strip(char32_t character, int64_t start, int64_t stop) : start(start), stop(stop) {
    appendCharacter(content, character);
  }
  Status apply(Tokens &tokens) const override {
    for (std::string &token : tokens) {
      std::string_view rest = token;
      for (int64_t i = 0; i < start && rest.starts_with(content); ++i)
        rest.remove_prefix(content.size());
      for (int64_t i = 0; i < stop && rest.ends_with(content); ++i)
        rest.remove_suffix(content.size());
      token = std::string(rest);
    }
    return std::nullopt;
  }

private:
  std::string content;
  int64_t start, stop;
};

class Metaspace : public Decoder {
public:
  Metaspace(char32_t mark, bool dropsFirst) : dropsFirst(dropsFirst) {
    appendCharacter(markText, mark);
  }
  Status apply(Tokens &tokens) const override {
    for (size_t i = 0; i < tokens.size(); ++i) {
      std::string out;
      std::string_view rest = tokens[i];
      for (size_t at; (at = rest.find(markText)) != std::string_view::npos;) {
        out += rest.substr(0, at);
        if (i > 0 || !dropsFirst)
          out += ' ';
        rest.remove_prefix(at + markText.size());
      }
      out += rest;
      tokens[i] = std::move(out);
    }
    return std::nullopt;
  }

private:
  std::string markText;
  bool dropsFirst;
};

class WordEnd : public Decoder {
public:
  explicit WordEnd(std::string suffix) : suffix(std::move(suffix)) {}
  Status apply(Tokens &tokens) const override {
    for (size_t i = 0; i < tokens.size(); ++i) {
      std::string &token = tokens[i];
      std::string_view by = i + 1 < tokens.size() ? " " : "";
      for (size_t at = 0; (at = token.find(suffix, at)) != std::string::npos; at += by.size())
        token.replace(at, suffix.size(), by);
    }
    return std::nullopt;
  }

private:
  std::string suffix;
};

class Sequence : public Decoder {
public:
  explicit Sequence(std::vector<std::unique_ptr<Decoder>> steps) : steps(std::move(steps)) {}
  Status apply(Tokens &tokens) const override {
    for (const auto &step : steps)
      if (Status status = step->apply(tokens))
        return status;
    return std::nullopt;
  }
  bool isByteLevel() const override { return steps.size() == 1 && steps[0]->isByteLevel(); }

private:
  std::vector<std::unique_ptr<Decoder>> steps;
};

std::unique_ptr<Decoder> parseSequence(const Field &field) {
  field.onlyKeys({"type", "decoders"});
  std::vector<std::unique_ptr<Decoder>> steps;
  Field list = field.at("decoders");
  for (size_t i = 0, n = list.size(); i < n; ++i)
    if (std::unique_ptr<Decoder> step = parseDecoder(list.at(i)))
      steps.push_back(std::move(step));
  return std::make_unique<Sequence>(std::move(steps));
}

std::unique_ptr<Decoder> parseReplace(const Field &field) {
  field.onlyKeys({"type", "pattern", "content"});
  std::optional<Regex> regex = parsePattern(field.at("pattern"));
  std::string content = field.at("content").string();
  if (!regex)
    return nullptr;
  return std::make_unique<Replace>(std::move(*regex), std::move(content));
}

std::unique_ptr<Decoder> parseStrip(const Field &field) {
  field.onlyKeys({"type", "content", "start", "stop"});
  return std::make_unique<Strip>(field.at("content").character(), field.at("start").number(1 << 20),
                                 field.at("stop").number(1 << 20));
}

std::unique_ptr<Decoder> parseMetaspace(const Field &field) {
  field.onlyKeys({"type", "replacement", "prepend_scheme", "add_prefix_space", "split", "str_rep"});
  bool prepends = field.at("prepend_scheme").string("always") != "never" &&
                  field.at("add_prefix_space").boolean(true);
  return std::make_unique<Metaspace>(field.at("replacement").character(), prepends);
}

std::unique_ptr<Decoder> parseWordEnd(const Field &field) {
  field.onlyKeys({"type", "suffix"});
  std::string suffix = field.at("suffix").string("</w>");
  if (suffix.empty())
    field.at("suffix").fail("expected a text that is not empty");
  return std::make_unique<WordEnd>(std::move(suffix));
}

} // namespace

std::string byteLevelBytes(const std::string &token) {
  std::string bytes;
  for (size_t i = 0; i < token.size();) {
    int byte = fromByteAlphabet(nextCharacter(token, i));
    if (byte < 0)
      return token;
    bytes += char(byte);
  }
  return bytes;
}

int byteFallbackByte(const std::string &token) {
  if (token.size() != 6 || !token.starts_with("<0x") || token[5] != '>')
    return -1;
  auto digit = [](char c) {
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
                                  : -1;
  };
  int high = digit(token[3]), low = digit(token[4]);
  return high < 0 || low < 0 ? -1 : high * 16 + low;
}

std::unique_ptr<Decoder> parseDecoder(const Field &field) {
  if (!field.present())
    return nullptr;
  std::string type = field.type();
  if (type == "Sequence")
    return parseSequence(field);
  if (type == "Replace")
    return parseReplace(field);
  if (type == "Strip")
    return parseStrip(field);
  if (type == "Metaspace")
    return parseMetaspace(field);
  if (type == "BPEDecoder")
    return parseWordEnd(field);
  if (type == "ByteLevel") {
    field.onlyKeys({"type", "add_prefix_space", "trim_offsets", "use_regex"});
    return std::make_unique<ByteLevel>();
  }
  if (type == "ByteFallback" || type == "Fuse") {
    field.onlyKeys({"type"});
    if (type == "Fuse")
      return std::make_unique<Fuse>();
    return std::make_unique<ByteFallback>();
  }
  field.fail("the decoder '" + type +
             "' is not supported (known: Sequence, ByteLevel, ByteFallback, Fuse, Replace, Strip, "
             "Metaspace, BPEDecoder)");
  return nullptr;
}

} // namespace qplan::text

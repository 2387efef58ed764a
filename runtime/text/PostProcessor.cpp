//===- PostProcessor.cpp - the "post_processor" of tokenizer.json ---------===//
//
// Only the template of a single text matters here; the one for pairs is read by
// models that compare two texts. Steps of a Sequence wrap one another.
//
//===----------------------------------------------------------------------===//
#include "runtime/text/PostProcessor.h"
#include "runtime/text/BpeModel.h"

namespace qplan::text {

namespace {

/// ["</s>", 2], as Roberta and Bert processing name a token.
int32_t parseNamedToken(const Field &field) {
  if (field.size() != 2) {
    field.fail("expected a token and its id");
    return 0;
  }
  field.at(size_t(0)).string();
  return int32_t(field.at(size_t(1)).number(largestTokenId));
}

void appendSpecialToken(const Field &table, const Field &piece, std::vector<int32_t> &ids) {
  std::string name = piece.at("id").string();
  Field entry = table.at(name);
  if (!entry.present())
    return piece.fail("the token '" + name + "' is not in special_tokens");
  Field list = entry.at("ids");
  for (size_t i = 0, n = list.size(); i < n; ++i)
    ids.push_back(int32_t(list.at(i).number(largestTokenId)));
}

PostProcessor parseTemplate(const Field &field) {
  field.onlyKeys({"type", "single", "pair", "special_tokens"});
  PostProcessor result;
  Field single = field.at("single");
  int texts = 0;
  for (size_t i = 0, n = single.size(); i < n; ++i) {
    Field piece = single.at(i);
    piece.onlyKeys({"SpecialToken", "Sequence"});
    if (!piece.isObject())
      break;
    if (piece.at("Sequence").present()) {
      ++texts;
      continue;
    }
    appendSpecialToken(field.at("special_tokens"), piece.at("SpecialToken"),
                       texts ? result.behind : result.before);
  }
  if (texts != 1)
    single.fail("expected the text once, found it " + std::to_string(texts) + " times");
  return result;
}

PostProcessor parseSequence(const Field &field) {
  field.onlyKeys({"type", "processors"});
  PostProcessor result;
  Field list = field.at("processors");
  for (size_t i = 0, n = list.size(); i < n; ++i) {
    PostProcessor step = parsePostProcessor(list.at(i));
    result.before.insert(result.before.begin(), step.before.begin(), step.before.end());
    result.behind.insert(result.behind.end(), step.behind.begin(), step.behind.end());
  }
  return result;
}

} // namespace

PostProcessor parsePostProcessor(const Field &field) {
  if (!field.present())
    return {};
  std::string type = field.type();
  if (type == "TemplateProcessing")
    return parseTemplate(field);
  if (type == "Sequence")
    return parseSequence(field);
  if (type == "ByteLevel") { // changes offsets only, which nobody here asks for
    field.onlyKeys({"type", "add_prefix_space", "trim_offsets", "use_regex"});
    return {};
  }
  if (type == "RobertaProcessing" || type == "BertProcessing") {
    field.onlyKeys({"type", "sep", "cls", "trim_offsets", "add_prefix_space"});
    return {{parseNamedToken(field.at("cls"))}, {parseNamedToken(field.at("sep"))}};
  }
  field.fail("the post-processor '" + type +
             "' is not supported (known: TemplateProcessing, ByteLevel, RobertaProcessing, "
             "BertProcessing, Sequence)");
  return {};
}

} // namespace qplan::text

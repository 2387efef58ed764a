//===- TestInputs.h - shared by the tests of the text library ---*- C++ -*-===//
//
// Files of tests/Inputs, and a small tokenizer that tests change one field of.
//
//===----------------------------------------------------------------------===//
#ifndef QPLAN_TESTS_TEXT_TESTINPUTS_H
#define QPLAN_TESTS_TEXT_TESTINPUTS_H

#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <string>

namespace qplan::text {

inline std::string inputPath(const std::string &name) {
  return std::string(QPLAN_TEST_INPUTS) + "/" + name;
}

inline std::string readInput(const std::string &name) {
  std::ifstream file(inputPath(name), std::ios::binary);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

inline nlohmann::json readJson(const std::string &name) {
  return nlohmann::json::parse(readInput(name), nullptr, false);
}

/// A tokenizer of a few tokens: a b c, "ab" merged, a special <s> and a plain <t>.
inline nlohmann::json smallTokenizer() {
  return nlohmann::json::parse(R"({
    "version": "1.0", "truncation": null, "padding": null,
    "added_tokens": [
      {"id": 4, "content": "<s>", "single_word": false, "lstrip": false, "rstrip": false,
       "normalized": false, "special": true},
      {"id": 5, "content": "<t>", "single_word": false, "lstrip": false, "rstrip": false,
       "normalized": false, "special": false}],
    "normalizer": null, "pre_tokenizer": null, "post_processor": null,
    "decoder": {"type": "Fuse"},
    "model": {"type": "BPE", "vocab": {"a": 0, "b": 1, "c": 2, "ab": 3}, "merges": [["a", "b"]]}
  })",
                               nullptr, false);
}

} // namespace qplan::text
#endif // QPLAN_TESTS_TEXT_TESTINPUTS_H

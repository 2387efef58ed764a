//===- PlanText.h - a plan's tokenizer, chat template and ends --*- C++ -*-===//
//
// Text in and out of a plan: what its package says of tokens. A plan without a
// tokenizer works with ids alone, and every function that needs text says so.
//
//===----------------------------------------------------------------------===//
#ifndef QPLAN_TOOLS_QPLAN_PLANTEXT_H
#define QPLAN_TOOLS_QPLAN_PLANTEXT_H

#include "qplan/text.h"
#include "tools/qplan/LoadedPlan.h"

namespace qplan {

/// The text side of one package. Movable.
class PlanText {
public:
  /// Reads tokenizer.json of the package. Input error when it has none (naming the
  /// option for ids) or it is malformed.
  static llvm::Expected<PlanText> open(const LoadedPlan &plan, const char *optionForIds);

  /// Ids of `text`; `flags` are QPLAN_ENCODE_*.
  llvm::Expected<std::vector<int32_t>> encode(llvm::StringRef text, uint32_t flags) const;
  llvm::Expected<std::string> decode(llvm::ArrayRef<int32_t> ids, uint32_t flags) const;
  /// Ids of a conversation as the checkpoint's chat template writes it, up to where the
  /// answer begins. `system` may be empty. Input error when there is no template.
  llvm::Expected<std::vector<int32_t>> encodeChat(const std::string &system,
                                                  const std::string &prompt) const;
  /// Ids after which nothing follows: the checkpoint's end token and the usual marks of
  /// the end of a turn, as far as the tokenizer has them.
  std::vector<int32_t> stopIds() const;
  const qplan_tokenizer *get() const { return tokenizer.get(); }

private:
  struct TokenizerDeleter {
    void operator()(qplan_tokenizer *t) const { qplan_tokenizer_free(t); }
  };
  std::unique_ptr<qplan_tokenizer, TokenizerDeleter> tokenizer;
  nlohmann::ordered_json config; ///< "chat_template", "bos_token", "eos_token"
  std::string location;
};

/// "1,2,3" or "1 2 3". Usage error naming what is no number.
llvm::Expected<std::vector<int32_t>> parseIds(llvm::StringRef text);

} // namespace qplan
#endif // QPLAN_TOOLS_QPLAN_PLANTEXT_H

//===- PlanText.cpp - a plan's tokenizer, chat template and ends ----------===//

#include "tools/qplan/PlanText.h"

#include "ir/Failure.h"

#include <algorithm>
#include <llvm/ADT/StringExtras.h>
#include <llvm/Support/FileSystem.h>

namespace qplan {

llvm::Expected<PlanText> PlanText::open(const LoadedPlan &plan, const char *optionForIds) {
  PlanText text;
  text.location = plan.path();
  if (plan.manifest().contains("tokenizer"))
    text.config = plan.manifest()["tokenizer"];
  std::string path = plan.path() + "/tokenizer.json";
  if (!llvm::sys::fs::exists(path))
    return inputError("{}: has no tokenizer, because its checkpoint had none; give token ids with "
                      "{}, or put tokenizer.json beside the checkpoint and compile again",
                      plan.path(), optionForIds);
  qplan_text_error error = {};
  qplan_tokenizer *loaded = nullptr;
  if (int status = qplan_tokenizer_load(path.c_str(), &loaded, &error))
    return runtimeError(status, error.message);
  text.tokenizer.reset(loaded);
  return text;
}

llvm::Expected<std::vector<int32_t>> PlanText::encode(llvm::StringRef text, uint32_t flags) const {
  qplan_text_error error = {};
  int32_t *ids = nullptr;
  size_t count = 0;
  if (int status = qplan_tokenizer_encode(tokenizer.get(), text.data(), text.size(), flags, &ids,
                                          &count, &error))
    return runtimeError(status, error.message);
  std::vector<int32_t> result(ids, ids + count);
  qplan_text_free(ids);
  return result;
}

llvm::Expected<std::string> PlanText::decode(llvm::ArrayRef<int32_t> ids, uint32_t flags) const {
  qplan_text_error error = {};
  char *text = nullptr;
  size_t size = 0;
  if (int status = qplan_tokenizer_decode(tokenizer.get(), ids.data(), ids.size(), flags, &text,
                                          &size, &error))
    return runtimeError(status, error.message);
  std::string result(text, size);
  qplan_text_free(text);
  return result;
}

llvm::Expected<std::vector<int32_t>> PlanText::encodeChat(const std::string &system,
                                                          const std::string &prompt) const {
  if (!config.is_object() || !config.contains("chat_template"))
    return inputError("{}: --chat: the checkpoint has no chat template; leave --chat out to "
                      "continue the prompt as plain text",
                      location);
  qplan_text_error error = {};
  std::string json = config.dump();
  qplan_chat_template *chat = nullptr;
  std::string name = location + ": chat template";
  if (int status =
          qplan_chat_template_from_config(json.data(), json.size(), name.c_str(), &chat, &error))
    return runtimeError(status, error.message);
  std::vector<qplan_chat_message> messages;
  if (!system.empty())
    messages.push_back({"system", system.c_str()});
  messages.push_back({"user", prompt.c_str()});
  char *text = nullptr;
  size_t size = 0;
  int status = qplan_chat_template_render(chat, messages.data(), messages.size(),
                                          /*generation_prompt=*/1, &text, &size, &error);
  qplan_chat_template_free(chat);
  if (status)
    return runtimeError(status, error.message);
  auto ids = encode(llvm::StringRef(text, size), 0);
  qplan_text_free(text);
  return ids;
}

std::vector<int32_t> PlanText::stopIds() const {
  std::vector<std::string> names = {"<|im_end|>",    "<|eot_id|>",    "<|end_of_text|>",
                                    "<end_of_turn>", "<|endoftext|>", "<|end|>"};
  if (config.is_object() && config.contains("eos_token")) {
    const auto &end = config["eos_token"];
    std::string name = end.is_string() ? end.get<std::string>() : textOr(end, "content");
    if (!name.empty())
      names.push_back(name);
  }
  std::vector<int32_t> ids;
  for (const std::string &name : names) {
    int32_t id = qplan_tokenizer_token_id(tokenizer.get(), name.c_str());
    if (id >= 0 && std::find(ids.begin(), ids.end(), id) == ids.end())
      ids.push_back(id);
  }
  return ids;
}

llvm::Expected<std::vector<int32_t>> parseIds(llvm::StringRef text) {
  std::vector<int32_t> ids;
  llvm::SmallVector<llvm::StringRef> parts;
  llvm::SplitString(text, parts, ", \t\n");
  for (llvm::StringRef part : parts) {
    int32_t id = 0;
    if (part.getAsInteger(10, id) || id < 0)
      return usageError("--ids: `{}` is no token id; expected numbers such as 1,15,7", part.str());
    ids.push_back(id);
  }
  if (ids.empty())
    return usageError("--ids: names no token; expected numbers such as 1,15,7");
  return ids;
}

} // namespace qplan

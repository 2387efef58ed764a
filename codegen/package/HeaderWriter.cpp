//===- HeaderWriter.cpp - writes model.h ----------------------------------===//

#include "codegen/package/HeaderWriter.h"

#include "ir/Failure.h"

#include <llvm/ADT/STLExtras.h>
#include <llvm/ADT/StringExtras.h>

namespace qplan {
namespace {

/// A C string literal. Everything but plain printable characters is written in octal, which
/// (unlike hexadecimal) ends after three digits; `?` too, so that no trigraph arises.
std::string literal(llvm::StringRef text) {
  std::string result = "\"";
  for (unsigned char c : text)
    if (c == '"' || c == '\\' || c == '?' || !llvm::isPrint(c))
      result += fmt::format("\\{:03o}", c);
    else
      result += static_cast<char>(c);
  return result + "\"";
}

} // namespace

llvm::Error checkModelName(llvm::StringRef name) {
  bool fine = !name.empty() && name.size() <= 64 && llvm::isAlpha(name.front()) &&
              llvm::all_of(name, [](char c) { return llvm::isAlnum(c) || c == '_'; });
  if (fine && !name.equals_insensitive("qplan"))
    return llvm::Error::success();
  return usageError(
      "--name is '{}', expected a letter followed by letters, digits and '_', at most "
      "64 in all, and not 'qplan'",
      name.take_front(80).str());
}

llvm::Expected<std::string> writeModelHeader(const ModelHeader &model) {
  if (auto error = checkModelName(model.name))
    return std::move(error);
  std::string prefix = llvm::StringRef(model.name).upper();
  std::string text =
      fmt::format("/* {0}.h - the model '{0}', compiled by qplan; link it with model.o "
                  "and the\n * qplan runtime. Written by the compiler: do not edit. */\n"
                  "#ifndef {1}_MODEL_H\n#define {1}_MODEL_H\n\n"
                  "#include <qplan/abi.h>\n\n",
                  model.name, prefix);
  auto define = [&](llvm::StringRef suffix, const std::string &value, llvm::StringRef comment) {
    text += fmt::format("#define {}_{} {} /* {} */\n", prefix, suffix.str(), value, comment.str());
  };
  auto signedValue = [](int64_t value) { return fmt::format("INT64_C({})", value); };
  auto size = [](uint64_t value) { return fmt::format("UINT64_C({})", value); };
  define("PRODUCER", literal(model.producer), "compiler that made it");
  define("TARGET", literal(model.target), "machine it was made for");
  define("CPU_FEATURES", literal(model.cpuFeatures), "what that machine must have");
  define("KV_FORMAT", literal(model.kvFormat), "format of cached keys and values");
  define("VOCABULARY", signedValue(model.vocabulary), "columns of the logits");
  define("CONTEXT", signedValue(model.context), "most positions of a sequence");
  define("MAX_TOKENS", signedValue(model.maxTokens), "most rows in one forward call");
  define("KV_PAGE_TOKENS", signedValue(model.kvPageTokens), "positions in one KV page");
  define("KV_PAGE_BYTES", size(model.kvPageBytes), "bytes of one KV page, 64-byte aligned");
  define("WEIGHT_BYTES", size(model.weightBytes), "size of weights.bin, 64-byte aligned");
  define("ARENA_BYTES_FIXED", size(model.arenaBytesFixed), "arena, 64-byte aligned: this much");
  define("ARENA_BYTES_PER_TOKEN", size(model.arenaBytesPerToken), "and this much for each row");
  text += fmt::format("\n#ifdef __cplusplus\nextern \"C\" {{\n#endif\n\n"
                      "/* The model's description, static; NULL when max_version is below 1. */\n"
                      "const qplan_model_v1 *{0}_query(uint32_t max_version);\n\n"
                      "#ifdef __cplusplus\n}}\n#endif\n#endif /* {1}_MODEL_H */\n",
                      model.name, prefix);
  return text;
}

} // namespace qplan

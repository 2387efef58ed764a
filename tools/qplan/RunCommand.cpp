//===- RunCommand.cpp - qplan run -----------------------------------------===//
//
// Continues a prompt: text as it appears on stdout, timings on stderr. Stops at an end
// token, a --stop text, -n tokens or the end of the context.
//
//===----------------------------------------------------------------------===//

#include "ir/Failure.h"
#include "tools/qplan/CommandLine.h"
#include "tools/qplan/LoadedPlan.h"
#include "tools/qplan/Output.h"
#include "tools/qplan/PlanText.h"

#include <algorithm>
#include <llvm/Support/FileSystem.h>
#include <optional>
#include <unistd.h>

namespace qplan {
namespace {

struct RunArguments {
  std::string plan;
  std::optional<std::string> prompt;
  std::string promptFile, system, ids;
  int64_t count = 128;
  bool chat = false, untrusted = false, ignoreEnd = false, json = false;
  qplan_sampling sampling = QPLAN_SAMPLING_GREEDY;
  std::vector<std::string> stops;
  int threads = 0;
};

/// What came of a run.
struct Generation {
  std::vector<int32_t> ids;
  std::string text;
  const char *finish = "length"; ///< "length", "stop", "context"
  double loadSeconds = 0, promptSeconds = 0, decodeSeconds = 0;
  size_t promptTokens = 0;
};

/// A sampler with its owner.
using SamplerOwner = std::unique_ptr<qplan_sampler, void (*)(qplan_sampler *)>;

llvm::Expected<SamplerOwner> makeSampler(const qplan_sampling &settings) {
  char message[1024] = "";
  qplan_sampler *sampler = nullptr;
  if (int status = qplan_sampler_create(&settings, &sampler, message, sizeof message))
    return runtimeError(status, message);
  return SamplerOwner(sampler, qplan_sampler_free);
}

/// Shows text as ids arrive. Without a tokenizer it shows ids.
class TextOut {
public:
  static llvm::Expected<TextOut> create(const PlanText *text, const std::vector<std::string> &stops,
                                        bool show) {
    TextOut out;
    out.show = show;
    if (!text)
      return out;
    std::vector<const char *> strings;
    for (const std::string &stop : stops)
      strings.push_back(stop.c_str());
    qplan_stop_v1 stop = {sizeof(qplan_stop_v1), nullptr,        0,
                          strings.data(),        strings.size(), QPLAN_DECODE_SKIP_SPECIAL};
    qplan_text_error error = {};
    qplan_text_stream *stream = nullptr;
    if (int status = qplan_text_stream_create(text->get(), &stop, &stream, &error))
      return runtimeError(status, error.message);
    out.stream.reset(stream);
    return out;
  }

  /// True when a stop text has ended the stream, or nobody reads it any more.
  llvm::Expected<bool> push(int32_t id, std::string &all) {
    if (!stream) {
      emit((all.empty() ? "" : " ") + std::to_string(id), all);
      return abandoned;
    }
    qplan_text_error error = {};
    const char *text = nullptr;
    size_t size = 0;
    int32_t stopped = 0;
    if (int status = qplan_text_stream_push(stream.get(), id, &text, &size, &stopped, &error))
      return runtimeError(status, error.message);
    emit(llvm::StringRef(text, size), all);
    return stopped != 0 || abandoned;
  }

  llvm::Error finish(std::string &all) {
    if (!stream)
      return llvm::Error::success();
    qplan_text_error error = {};
    const char *text = nullptr;
    size_t size = 0;
    if (int status = qplan_text_stream_finish(stream.get(), &text, &size, &error))
      return runtimeError(status, error.message);
    emit(llvm::StringRef(text, size), all);
    return llvm::Error::success();
  }

private:
  struct StreamDeleter {
    void operator()(qplan_text_stream *stream) const { qplan_text_stream_free(stream); }
  };
  void emit(llvm::StringRef text, std::string &all) {
    all += text.str();
    if (show && !text.empty() && !printNow(text))
      abandoned = true;
  }
  std::unique_ptr<qplan_text_stream, StreamDeleter> stream;
  bool show = true;
  bool abandoned = false; ///< nobody reads any more
};

/// The prompt's text: --prompt, --prompt-file, or what stdin holds.
llvm::Expected<std::string> promptText(const RunArguments &arguments) {
  if (arguments.prompt)
    return *arguments.prompt;
  if (!arguments.promptFile.empty())
    return readTextFile(arguments.promptFile);
  if (::isatty(0))
    return usageError(
        "there is no prompt: give --prompt TEXT, --prompt-file FILE, or a text on stdin");
  return readTextFile("-");
}

llvm::Expected<std::vector<int32_t>> promptIds(const RunArguments &arguments,
                                               const PlanText *text) {
  if (!arguments.ids.empty())
    return parseIds(arguments.ids);
  auto prompt = promptText(arguments);
  if (!prompt)
    return prompt.takeError();
  auto ids = arguments.chat ? text->encodeChat(arguments.system, *prompt)
                            : text->encode(*prompt, QPLAN_ENCODE_ADD_SPECIAL);
  if (ids && ids->empty())
    return inputError("the prompt is empty: there is nothing to continue");
  return ids;
}

/// Prefill and the decoding loop. `generation` is filled as far as it went.
llvm::Error generate(const LoadedPlan &plan, const RunArguments &arguments,
                     const std::vector<int32_t> &prompt, const std::vector<int32_t> &ends,
                     TextOut &out, Generation &generation) {
  char message[1024] = "";
  int64_t context = plan.info().context;
  if (int64_t(prompt.size()) > context)
    return inputError("the prompt has {} tokens, but {} was compiled for at most {}; shorten it or "
                      "compile with a larger --context",
                      prompt.size(), plan.path(), context);
  auto session = plan.newSession();
  if (!session)
    return session.takeError();
  auto sampler = makeSampler(arguments.sampling);
  if (!sampler)
    return sampler.takeError();
  qplan_sampler_accept(sampler->get(), prompt.data(), int64_t(prompt.size()));
  Stopwatch watch;
  const float *logits = nullptr;
  if (int status = qplan_prefill(session->get(), prompt.data(), int64_t(prompt.size()), &logits,
                                 message, sizeof message))
    return runtimeError(status, message);
  generation.promptSeconds = watch.seconds();
  generation.promptTokens = prompt.size();
  Stopwatch decoding;
  while (int64_t(generation.ids.size()) < arguments.count) {
    int32_t token = 0;
    if (int status = qplan_sampler_sample(sampler->get(), logits, plan.info().vocabulary, &token,
                                          message, sizeof message))
      return runtimeError(status, message);
    generation.ids.push_back(token);
    if (!arguments.ignoreEnd && std::find(ends.begin(), ends.end(), token) != ends.end()) {
      generation.finish = "stop";
      break;
    }
    auto stopped = out.push(token, generation.text);
    if (!stopped)
      return stopped.takeError();
    if (*stopped) {
      generation.finish = "stop";
      break;
    }
    if (int64_t(generation.ids.size()) == arguments.count)
      break;
    if (qplan_session_length(session->get()) == context) {
      generation.finish = "context";
      break;
    }
    if (int status = qplan_decode(session->get(), token, &logits, message, sizeof message))
      return runtimeError(status, message);
  }
  generation.decodeSeconds = decoding.seconds();
  return out.finish(generation.text);
}

/// Tokens a second of the decoding loop; the first token came with the prompt.
double decodeRate(const Generation &g) {
  return g.ids.size() > 1 && g.decodeSeconds > 0 ? double(g.ids.size() - 1) / g.decodeSeconds : 0;
}

void report(const RunArguments &arguments, const Generation &g, bool hasText) {
  double promptRate = g.promptSeconds > 0 ? double(g.promptTokens) / g.promptSeconds : 0;
  if (arguments.json) {
    nlohmann::ordered_json out;
    out["text"] = hasText ? nlohmann::ordered_json(g.text) : nlohmann::ordered_json(nullptr);
    out["ids"] = g.ids;
    out["finish"] = g.finish;
    out["prompt_tokens"] = g.promptTokens;
    out["load_ms"] = 1e3 * g.loadSeconds;
    out["prompt_ms"] = 1e3 * g.promptSeconds;
    out["prompt_tokens_per_s"] = promptRate;
    out["decode_tokens_per_s"] = decodeRate(g);
    printJson(out);
    return;
  }
  if (g.text.empty() || g.text.back() != '\n')
    print("\n");
  std::fflush(stdout);
  if (llvm::StringRef(g.finish) == "context")
    fmt::print(stderr, "(the context is full; compile with a larger --context)\n");
  fmt::print(stderr, "[prompt {} tokens, {:.1f} tokens/s; {} new tokens, {:.1f} tokens/s]\n",
             g.promptTokens, promptRate, g.ids.size(), decodeRate(g));
}

llvm::Error checkUsage(const RunArguments &a) {
  int sources = a.prompt.has_value() + !a.promptFile.empty() + !a.ids.empty();
  if (sources > 1)
    return usageError("--prompt, --prompt-file and --ids exclude each other; give one of them");
  if (!a.system.empty() && !a.chat)
    return usageError("--system is part of a conversation; add --chat");
  if (a.chat && !a.ids.empty())
    return usageError("--chat needs text, not --ids");
  for (const std::string &stop : a.stops)
    if (stop.empty())
      return usageError("--stop: an empty text would end every answer");
  return llvm::Error::success();
}

llvm::Error run(const RunArguments &arguments) {
  if (auto error = checkUsage(arguments))
    return error;
  Stopwatch loading;
  auto plan = LoadedPlan::open(arguments.plan, arguments.threads,
                               arguments.untrusted ? QPLAN_UNTRUSTED : 0);
  if (!plan)
    return plan.takeError();
  // Ids need no tokenizer; where there is one, they are shown as text.
  std::optional<PlanText> text;
  if (arguments.ids.empty() || llvm::sys::fs::exists(plan->path() + "/tokenizer.json")) {
    auto opened = PlanText::open(*plan, "--ids");
    if (!opened)
      return opened.takeError();
    text = std::move(*opened);
  }
  Generation generation;
  generation.loadSeconds = loading.seconds();
  const PlanText *shown = text ? &*text : nullptr;
  auto prompt = promptIds(arguments, shown);
  if (!prompt)
    return prompt.takeError();
  auto out = TextOut::create(shown, arguments.stops, /*show=*/!arguments.json);
  if (!out)
    return out.takeError();
  std::vector<int32_t> ends = shown ? shown->stopIds() : std::vector<int32_t>();
  if (auto error = generate(*plan, arguments, *prompt, ends, *out, generation)) {
    if (!generation.text.empty() && !arguments.json)
      print("\n");
    return error;
  }
  report(arguments, generation, shown != nullptr);
  return llvm::Error::success();
}

} // namespace

void addRunCommand(CLI::App &app, Action &action) {
  CLI::App *command = app.add_subcommand("run", "Continue a prompt, or answer in a chat");
  command->footer(
      "Examples:\n"
      "  qplan run m.qplan --prompt \"The capital of France is\" -n 64\n"
      "  qplan run m.qplan --chat --prompt \"Why is the sky blue?\" --temperature 0.7 --seed 1\n"
      "  qplan run m.qplan --ids 1,15,7 -n 8        token ids in, for plans without tokenizer\n"
      "A plan holds native code and runs with your rights: run only plans you trust.");
  auto a = std::make_shared<RunArguments>();
  command->add_option("PLAN", a->plan, "The plan (m.qplan)")->required();
  command->add_option("--prompt", a->prompt, "Text to continue (default: stdin)");
  command->add_option("--prompt-file", a->promptFile, "File with the text to continue")
      ->type_name("FILE");
  command->add_option("--ids", a->ids, "Token ids to continue, such as 1,15,7");
  command->add_option("-n,--tokens", a->count, "Most new tokens (default 128)")
      ->type_name("N")
      ->check(CLI::Range(int64_t(1), int64_t(1) << 40));
  command->add_flag("--chat", a->chat, "Put the prompt into the checkpoint's chat template");
  command->add_option("--system", a->system, "System message of the chat");
  command
      ->add_option("--temperature", a->sampling.temperature,
                   "Randomness; 0 (default): the likeliest token")
      ->type_name("T")
      ->check(CLI::Range(0.0f, 100.0f))
      ->group("Sampling");
  command->add_option("--top-k", a->sampling.top_k, "Keep the K likeliest tokens; 0: all")
      ->type_name("K")
      ->check(CLI::NonNegativeNumber)
      ->group("Sampling");
  command->add_option("--top-p", a->sampling.top_p, "Keep the likeliest tokens up to this sum")
      ->type_name("P")
      ->check(CLI::Range(0.0f, 1.0f))
      ->group("Sampling");
  command->add_option("--seed", a->sampling.seed, "Same seed, same answer")
      ->type_name("S")
      ->group("Sampling");
  command->add_option("--stop", a->stops, "End before this text; may be repeated")
      ->expected(1)
      ->take_all();
  command->add_flag("--ignore-eos", a->ignoreEnd, "Go on after an end token");
  command->add_option("--threads", a->threads, "Threads (default: the cores allowed)")
      ->type_name("N")
      ->check(CLI::Range(1, 4096));
  command->add_flag("--untrusted", a->untrusted, "Refuse to load native code");
  command->add_flag("--json", a->json, "Print one JSON object at the end: text, ids, timings");
  command->callback([&action, a] { action = [a] { return run(*a); }; });
}

} // namespace qplan

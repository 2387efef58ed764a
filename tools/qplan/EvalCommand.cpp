//===- EvalCommand.cpp - qplan eval ---------------------------------------===//
//
// Perplexity of a plan on a text, and its distance from a reference plan. The text is
// one stream of tokens without BOS, cut into windows that do not overlap, each from an
// empty cache and scored on positions 1..W-1; the short tail is dropped.
//
//===----------------------------------------------------------------------===//

#include "codegen/driver/LogitMath.h"
#include "ir/Failure.h"
#include "tools/qplan/CommandLine.h"
#include "tools/qplan/LoadedPlan.h"
#include "tools/qplan/Measure.h"
#include "tools/qplan/Output.h"
#include "tools/qplan/PlanText.h"
#include "tools/qplan/Progress.h"
#include "tools/qplan/TensorFile.h"

#include <algorithm>
#include <cmath>

namespace qplan {
namespace {

/// The tokens to score and where they came from.
struct TokenStream {
  std::vector<int32_t> ids;
  uint64_t textBytes = 0; ///< 0 when ids were given
};

/// Sums over scored rows; f64 and in the order of the text.
struct Totals {
  double nll = 0, kl = 0;
  int64_t scored = 0, rows = 0, agreeing = 0;
};

llvm::Expected<TokenStream> readTokens(const EvalArguments &arguments, const LoadedPlan &plan) {
  TokenStream stream;
  if (!arguments.ids.empty()) {
    auto file = TensorFile::open(arguments.ids);
    if (!file)
      return file.takeError();
    auto tensor = file->ids("input_ids");
    if (!tensor)
      return tensor.takeError();
    stream.ids = std::move(tensor->values);
    return stream;
  }
  auto content = readTextFile(arguments.text);
  if (!content)
    return content.takeError();
  auto text = PlanText::open(plan, "--ids FILE");
  if (!text)
    return text.takeError();
  auto ids = text->encode(*content, 0);
  if (!ids)
    return ids.takeError();
  stream.ids = std::move(*ids);
  stream.textBytes = content->size();
  return stream;
}

/// Scores windows of one stream, a few at a time.
class Scorer {
public:
  Scorer(const LoadedPlan &plan, const LoadedPlan *reference, int64_t window)
      : plan(plan), reference(reference), window(window), vocabulary(plan.info().vocabulary) {
    // Short windows share a step; long ones are cut so that logits stay below 256 MB a plan.
    together = std::clamp<int64_t>(plan.info().max_tokens / window, 1, 16);
    int64_t rows = std::max<int64_t>((64ll << 20) / vocabulary, 16);
    chunk = std::min(window, std::max<int64_t>(rows / together, 1));
  }

  int64_t windowsTogether() const { return together; }

  /// Scores windows [0, count) of `ids`, count <= windowsTogether().
  llvm::Error score(llvm::ArrayRef<int32_t> ids, int64_t count, Totals &totals) {
    auto sessions = newSessions(plan, count);
    if (!sessions)
      return sessions.takeError();
    std::vector<SessionOwner> referenceSessions;
    if (reference) {
      auto made = newSessions(*reference, count);
      if (!made)
        return made.takeError();
      referenceSessions = std::move(*made);
    }
    for (int64_t begin = 0; begin < window; begin += chunk) {
      int64_t length = std::min(chunk, window - begin);
      if (auto error = step(plan, *sessions, ids, begin, length, logits))
        return error;
      if (reference)
        if (auto error = step(*reference, referenceSessions, ids, begin, length, referenceLogits))
          return error;
      if (auto error = scoreRows(ids, count, begin, length, totals))
        return error;
    }
    return llvm::Error::success();
  }

private:
  struct RowScore {
    double nll = 0, kl = 0;
    bool agrees = false;
  };

  static llvm::Expected<std::vector<SessionOwner>> newSessions(const LoadedPlan &plan,
                                                               int64_t count) {
    std::vector<SessionOwner> sessions;
    for (int64_t i = 0; i < count; ++i) {
      auto session = plan.newSession();
      if (!session)
        return session.takeError();
      sessions.push_back(std::move(*session));
    }
    return sessions;
  }

  /// Positions [begin, begin + length) of every window; logits [window][length][vocabulary].
  llvm::Error step(const LoadedPlan &model, std::vector<SessionOwner> &sessions,
                   llvm::ArrayRef<int32_t> ids, int64_t begin, int64_t length,
                   std::vector<float> &out) const {
    out.resize(size_t(int64_t(sessions.size()) * length * vocabulary));
    std::vector<qplan_work> items;
    for (size_t i = 0; i < sessions.size(); ++i) {
      qplan_work work = {};
      work.session = sessions[i].get();
      work.tokens = ids.data() + int64_t(i) * window + begin;
      work.token_count = length;
      work.want_logits = QPLAN_LOGITS_ALL;
      work.logits = out.data() + int64_t(i) * length * vocabulary;
      items.push_back(work);
    }
    return model.step(items);
  }

  llvm::Error scoreRows(llvm::ArrayRef<int32_t> ids, int64_t count, int64_t begin, int64_t length,
                        Totals &totals) {
    std::vector<RowScore> scores(static_cast<size_t>(count * length));
    plan.parallel(count * length, [&](int64_t row) {
      int64_t item = row / length, position = begin + row % length;
      const float *values = logits.data() + row * vocabulary;
      RowScore &score = scores[size_t(row)];
      if (position + 1 < window)
        score.nll = logSumExp(values, vocabulary) -
                    double(values[ids[size_t(item * window + position + 1)]]);
      if (!reference)
        return;
      const float *expected = referenceLogits.data() + row * vocabulary;
      score.kl = klDivergence(expected, values, vocabulary);
      score.agrees = largestLogit(expected, vocabulary) == largestLogit(values, vocabulary);
    });
    for (int64_t row = 0; row < count * length; ++row) {
      const RowScore &score = scores[size_t(row)];
      if (!std::isfinite(score.nll) || !std::isfinite(score.kl))
        return inputError("{}: the logits of position {} are not finite; a format of the plan has "
                          "too small a range for this model, compile with another --quant",
                          plan.path(), begin + row % length);
      totals.nll += score.nll;
      totals.kl += score.kl;
      totals.agreeing += score.agrees;
      totals.scored += begin + row % length + 1 < window;
      ++totals.rows;
    }
    return llvm::Error::success();
  }

  const LoadedPlan &plan;
  const LoadedPlan *reference;
  const int64_t window, vocabulary;
  int64_t together, chunk;
  std::vector<float> logits, referenceLogits;
};

llvm::Error checkWindow(const LoadedPlan &plan, int64_t window) {
  if (window <= plan.info().context)
    return llvm::Error::success();
  return usageError("--window {}: {} was compiled for at most {} positions; take a smaller window "
                    "or compile with --context {}",
                    window, plan.path(), plan.info().context, window);
}

llvm::Error checkIds(const LoadedPlan &plan, const TokenStream &stream, int64_t used) {
  for (int64_t i = 0; i < used; ++i)
    if (stream.ids[size_t(i)] < 0 || stream.ids[size_t(i)] >= plan.info().vocabulary)
      return inputError("token {} of the text has id {}, but {} has a vocabulary of {}", i,
                        stream.ids[size_t(i)], plan.path(), plan.info().vocabulary);
  return llvm::Error::success();
}

/// Opens the reference and checks that its logits are over the same tokens.
llvm::Expected<LoadedPlan> openReference(const EvalArguments &arguments, const LoadedPlan &plan) {
  auto reference = LoadedPlan::open(arguments.reference, arguments.threads);
  if (!reference)
    return reference;
  if (reference->info().vocabulary != plan.info().vocabulary)
    return inputError("--reference {}: has a vocabulary of {}, {} has {}; compile both from the "
                      "same checkpoint",
                      arguments.reference, reference->info().vocabulary, plan.path(),
                      plan.info().vocabulary);
  if (auto error = checkWindow(*reference, arguments.window))
    return std::move(error);
  return reference;
}

nlohmann::ordered_json resultOf(const EvalArguments &arguments, const TokenStream &stream,
                                const Totals &totals, int64_t windows, double seconds) {
  double nll = totals.nll / double(totals.scored);
  nlohmann::ordered_json out;
  out["perplexity"] = std::exp(nll);
  out["nll_per_token"] = nll;
  out["tokens"] = stream.ids.size();
  out["scored_tokens"] = totals.scored;
  // Of the whole text: what is dropped costs as much as what was scored.
  if (stream.textBytes)
    out["bits_per_byte"] =
        nll / std::log(2.0) * double(stream.ids.size()) / double(stream.textBytes);
  else
    out["bits_per_byte"] = nullptr;
  if (!arguments.reference.empty()) {
    out["kl_mean"] = std::max(0.0, totals.kl / double(totals.rows));
    out["top1_agreement"] = double(totals.agreeing) / double(totals.rows);
  }
  out["window"] = arguments.window;
  out["windows"] = windows;
  out["seconds"] = seconds;
  return out;
}

void printTable(const nlohmann::ordered_json &out) {
  auto number = [&](const char *key) { return numberOr(out, key, 0); };
  print(fmt::format("perplexity       {:.4f}\n", number("perplexity")));
  print(fmt::format("nll per token    {:.6f} nats\n", number("nll_per_token")));
  if (!out["bits_per_byte"].is_null())
    print(fmt::format("bits per byte    {:.4f}\n", number("bits_per_byte")));
  if (out.contains("kl_mean")) {
    print(fmt::format("KL(ref || plan)  {:.6g} nats\n", number("kl_mean")));
    print(fmt::format("top-1 agreement  {:.3f} %\n", 100 * number("top1_agreement")));
  }
  print(fmt::format("{} tokens scored in {} windows of {}, {:.1f} s\n",
                    int64_t(number("scored_tokens")), int64_t(number("windows")),
                    int64_t(number("window")), number("seconds")));
}

} // namespace

llvm::Expected<nlohmann::ordered_json> evaluatePlan(const EvalArguments &arguments) {
  if (arguments.text.empty() == arguments.ids.empty())
    return usageError(
        "give what to score: --text FILE, or --ids FILE for a plan without tokenizer");
  Stopwatch watch;
  auto plan = LoadedPlan::open(arguments.plan, arguments.threads);
  if (!plan)
    return plan.takeError();
  if (auto error = checkWindow(*plan, arguments.window))
    return std::move(error);
  std::optional<LoadedPlan> reference;
  if (!arguments.reference.empty()) {
    auto opened = openReference(arguments, *plan);
    if (!opened)
      return opened.takeError();
    reference = std::move(*opened);
  }
  auto stream = readTokens(arguments, *plan);
  if (!stream)
    return stream.takeError();
  int64_t windows = int64_t(stream->ids.size()) / arguments.window;
  if (windows == 0)
    return inputError("{}: has {} tokens, fewer than one window of {}; take a longer text or a "
                      "smaller --window",
                      arguments.text.empty() ? arguments.ids : arguments.text, stream->ids.size(),
                      arguments.window);
  if (arguments.windows > 0)
    windows = std::min(windows, arguments.windows);
  if (auto error = checkIds(*plan, *stream, windows * arguments.window))
    return std::move(error);
  Scorer scorer(*plan, reference ? &*reference : nullptr, arguments.window);
  Progress progress(progressStyleFor(arguments.json), "eval", uint64_t(windows));
  Totals totals;
  for (int64_t first = 0; first < windows; first += scorer.windowsTogether()) {
    int64_t count = std::min(scorer.windowsTogether(), windows - first);
    auto ids = llvm::ArrayRef<int32_t>(stream->ids)
                   .slice(size_t(first * arguments.window), size_t(count * arguments.window));
    if (auto error = scorer.score(ids, count, totals))
      return std::move(error);
    progress.advance(uint64_t(count));
  }
  progress.finish();
  return resultOf(arguments, *stream, totals, windows, watch.seconds());
}

static llvm::Error eval(const EvalArguments &arguments) {
  auto result = evaluatePlan(arguments);
  if (!result)
    return result.takeError();
  if (arguments.json)
    printJson(*result);
  else
    printTable(*result);
  return llvm::Error::success();
}

void addEvalCommand(CLI::App &app, Action &action) {
  CLI::App *command =
      app.add_subcommand("eval", "Score a plan on a text: perplexity, distance from a reference");
  command->footer("Examples:\n"
                  "  qplan eval m.qplan --text wiki.txt\n"
                  "  qplan eval m.qplan --text wiki.txt --reference f32.qplan --windows 64 --json\n"
                  "The text is one stream of tokens without BOS, in windows that do not overlap.");
  auto a = std::make_shared<EvalArguments>();
  command->add_option("PLAN", a->plan, "The plan (m.qplan)")->required();
  command->add_option("--text", a->text, "Text file to score")->type_name("FILE");
  command->add_option("--ids", a->ids,
                      "Instead of a text: safetensors file with `input_ids` (I32)");
  command
      ->add_option("--reference", a->reference,
                   "Plan to compare with, usually compiled with --quant f32")
      ->type_name("PLAN");
  command->add_option("--window", a->window, "Tokens of a window (default 512)")
      ->type_name("N")
      ->check(CLI::Range(int64_t(2), int64_t(1) << 24));
  command->add_option("--windows", a->windows, "Score the first N windows only (default: all)")
      ->type_name("N")
      ->check(CLI::Range(int64_t(1), int64_t(1) << 40));
  command->add_option("--threads", a->threads, "Threads (default: the cores allowed)")
      ->type_name("N")
      ->check(CLI::Range(1, 4096));
  command->add_flag("--json", a->json, "Print one JSON object");
  command->callback([&action, a] { action = [a] { return eval(*a); }; });
}

} // namespace qplan

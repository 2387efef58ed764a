//===- BenchCommand.cpp - qplan bench -------------------------------------===//
//
// Speed and memory of a plan. Prefill (logits of the last position only) and decode are
// separate tests, each from an empty cache; medians of several repetitions. What decode
// reaches is put beside the rate at which the same threads read plain memory.
//
//===----------------------------------------------------------------------===//

#include "ir/Failure.h"
#include "tools/qplan/CommandLine.h"
#include "tools/qplan/LoadedPlan.h"
#include "tools/qplan/Measure.h"
#include "tools/qplan/MemoryRate.h"
#include "tools/qplan/Output.h"
#include "tools/qplan/Progress.h"

#include <algorithm>
#include <llvm/Support/FileSystem.h>
#include <random>

namespace qplan {
namespace {

/// What was measured. Seconds are medians; 0 for a test that was left out.
struct Measured {
  double loadSeconds = 0, firstTokenSeconds = 0, prefillSeconds = 0, decodeSeconds = 0;
  double readRate = 0; ///< 1e9 bytes a second
  uint64_t peakRss = 0, peakAnon = 0;
};

/// Sessions of a test and the tokens they get.
class Bench {
public:
  Bench(const LoadedPlan &plan, const BenchArguments &arguments)
      : plan(plan), arguments(arguments), last(size_t(arguments.batch * plan.info().vocabulary)) {}

  /// Seconds to push `tokens` tokens into each of the batch's empty sessions.
  llvm::Expected<double> prefill(int64_t tokens) {
    if (auto error = restart())
      return std::move(error);
    Stopwatch watch;
    if (auto error = push(tokens, QPLAN_LOGITS_LAST))
      return std::move(error);
    return watch.seconds();
  }

  /// Seconds to decode `tokens` tokens for each session, one at a time, from `depth` on.
  llvm::Expected<double> decode(int64_t tokens, int64_t depth) {
    if (auto error = restart())
      return std::move(error);
    if (depth > 0)
      if (auto error = push(depth, QPLAN_LOGITS_NONE))
        return std::move(error);
    Stopwatch watch;
    for (int64_t i = 0; i < tokens; ++i)
      if (auto error = push(1, QPLAN_LOGITS_LAST))
        return std::move(error);
    return watch.seconds();
  }

private:
  llvm::Error restart() {
    for (SessionOwner &session : sessions)
      qplan_session_reset(session.get());
    while (int64_t(sessions.size()) < arguments.batch) {
      auto session = plan.newSession();
      if (!session)
        return session.takeError();
      sessions.push_back(std::move(*session));
    }
    return llvm::Error::success();
  }

  llvm::Error push(int64_t count, int32_t wanted) {
    // Random ids: the same few would keep the embedding in the caches.
    tokens.resize(size_t(count * arguments.batch));
    for (int32_t &token : tokens)
      token = int32_t(random() % uint64_t(plan.info().vocabulary));
    std::vector<qplan_work> items;
    for (int64_t i = 0; i < arguments.batch; ++i) {
      qplan_work work = {};
      work.session = sessions[size_t(i)].get();
      work.tokens = tokens.data() + i * count;
      work.token_count = count;
      work.want_logits = wanted;
      work.logits =
          wanted == QPLAN_LOGITS_NONE ? nullptr : last.data() + i * plan.info().vocabulary;
      items.push_back(work);
    }
    return plan.step(items);
  }

  const LoadedPlan &plan;
  const BenchArguments &arguments;
  std::vector<SessionOwner> sessions;
  std::vector<int32_t> tokens;
  std::vector<float> last;
  std::mt19937_64 random{1};
};

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  size_t middle = values.size() / 2;
  return values.size() % 2 ? values[middle] : (values[middle - 1] + values[middle]) / 2;
}

/// Runs `test` once to warm up and `repetitions` times to measure.
llvm::Expected<double> repeat(int64_t repetitions, Progress &progress, Measured &measured,
                              llvm::function_ref<llvm::Expected<double>()> test) {
  std::vector<double> seconds;
  for (int64_t i = 0; i <= repetitions; ++i) {
    auto once = test();
    if (!once)
      return once.takeError();
    if (i > 0)
      seconds.push_back(*once);
    measured.peakAnon = std::max(measured.peakAnon, processBytes("RssAnon"));
    progress.advance();
  }
  return median(std::move(seconds));
}

/// Bytes of an embedding table that only lookups read, less the rows they read; 0 when the
/// head is the same tensor. A tied table is listed under both names and stored once: the
/// sites then add up to more than the file.
double unreadTable(const LoadedPlan &plan, int64_t rowsRead) {
  const auto &manifest = plan.manifest();
  if (!manifest.contains("sites") || !manifest["sites"].is_array())
    return 0;
  double all = 0, table = 0, rows = 1;
  for (const auto &site : manifest["sites"]) {
    double bytes = numberOr(site, "bytes", 0);
    all += bytes;
    if (textOr(site, "name") != "embedding")
      continue;
    table = bytes;
    auto shape = site.find("shape");
    if (shape != site.end() && shape->is_array() && !shape->empty() && shape->front().is_number())
      rows = std::max(1.0, shape->front().get<double>());
  }
  bool tied = all - double(plan.info().weight_bytes) > table / 2;
  return tied ? 0 : table * std::max(0.0, 1 - double(rowsRead) / rows);
}

/// Bytes that one decode step reads at the mean depth of the test: every weight but an
/// embedding table of its own, and the cached keys and values of each sequence. Of a
/// mixture all experts are counted, so that its effective rate is an upper bound.
uint64_t bytesPerStep(const LoadedPlan &plan, const BenchArguments &arguments) {
  double weights = double(plan.info().weight_bytes) - unreadTable(plan, arguments.batch);
  double positions = double(arguments.depth) + double(arguments.decode + 1) / 2;
  double keyBytes = double(plan.info().kv_page_bytes) / double(plan.info().kv_page_tokens);
  return uint64_t(weights + double(arguments.batch) * positions * keyBytes);
}

nlohmann::ordered_json resultOf(const LoadedPlan &plan, const BenchArguments &a,
                                const Measured &m) {
  nlohmann::ordered_json out;
  auto rate = [&](int64_t tokens, double seconds) {
    return seconds > 0 ? nlohmann::ordered_json(double(tokens * a.batch) / seconds)
                       : nlohmann::ordered_json(nullptr);
  };
  out["prefill_tokens_per_s"] = rate(a.prefill, m.prefillSeconds);
  out["decode_tokens_per_s"] = rate(a.decode, m.decodeSeconds);
  uint64_t read = bytesPerStep(plan, a);
  if (m.decodeSeconds > 0) {
    double step = m.decodeSeconds / double(a.decode);
    out["ms_per_token"] = 1e3 * step;
    out["effective_gb_per_s"] = double(read) / step / 1e9;
  } else {
    out["ms_per_token"] = out["effective_gb_per_s"] = nullptr;
  }
  out["weight_bytes"] = plan.info().weight_bytes;
  out["bytes_per_token"] = read;
  out["dram_gb_per_s"] = m.readRate;
  out["peak_rss_bytes"] = m.peakRss;
  out["peak_anon_bytes"] = m.peakAnon;
  out["threads"] = plan.info().threads;
  out["batch"] = a.batch;
  out["depth"] = a.depth;
  out["prefill_tokens"] = a.prefill;
  out["decode_tokens"] = a.decode;
  out["repetitions"] = a.repetitions;
  out["load_ms"] = 1e3 * m.loadSeconds;
  out["first_token_ms"] = 1e3 * m.firstTokenSeconds;
  out["target"] = plan.info().target;
  return out;
}

void printTable(const BenchArguments &a, const nlohmann::ordered_json &out) {
  auto line = [](const std::string &name, const std::string &value) {
    print(fmt::format("{:<22} {}\n", name, value));
  };
  auto number = [&](const char *key) { return numberOr(out, key, 0); };
  line("plan", fmt::format("{} ({}, {} threads, batch {})", a.plan, textOr(out, "target"),
                           int(number("threads")), a.batch));
  line("load", fmt::format("{:.1f} ms, first token after {:.1f} ms more", number("load_ms"),
                           number("first_token_ms")));
  if (a.prefill > 0)
    line(fmt::format("prefill {}", a.prefill),
         fmt::format("{:.1f} tokens/s", number("prefill_tokens_per_s")));
  if (a.decode > 0) {
    line(fmt::format("decode {} at depth {}", a.decode, a.depth),
         fmt::format("{:.1f} tokens/s, {:.3f} ms a step", number("decode_tokens_per_s"),
                     number("ms_per_token")));
    line("memory read", fmt::format("{} a step: {:.1f} of {:.1f} GB/s",
                                    sizeText(uint64_t(number("bytes_per_token"))),
                                    number("effective_gb_per_s"), number("dram_gb_per_s")));
  }
  line("weights", sizeText(uint64_t(number("weight_bytes"))));
  line("peak memory",
       fmt::format("{}, of which {} anonymous", sizeText(uint64_t(number("peak_rss_bytes"))),
                   sizeText(uint64_t(number("peak_anon_bytes")))));
}

llvm::Error checkContext(const LoadedPlan &plan, const BenchArguments &a) {
  int64_t needed = std::max({a.prefill, a.decode > 0 ? a.depth + a.decode : 0, int64_t(0)});
  if (needed <= plan.info().context)
    return llvm::Error::success();
  return usageError(
      "the tests need {} positions, but {} was compiled for {}; take a smaller -p, -n "
      "or --depth, or compile with --context {}",
      needed, a.plan, plan.info().context, needed);
}

llvm::Error measure(const LoadedPlan &plan, const BenchArguments &a, Measured &measured) {
  Bench bench(plan, a);
  auto firstToken = bench.prefill(std::min<int64_t>(5, plan.info().context));
  if (!firstToken)
    return firstToken.takeError();
  measured.firstTokenSeconds = *firstToken;
  uint64_t tests = uint64_t((a.prefill > 0) + (a.decode > 0));
  Progress progress(progressStyleFor(a.json), "bench", tests * uint64_t(a.repetitions + 1));
  if (a.prefill > 0) {
    auto seconds =
        repeat(a.repetitions, progress, measured, [&] { return bench.prefill(a.prefill); });
    if (!seconds)
      return seconds.takeError();
    measured.prefillSeconds = *seconds;
  }
  if (a.decode > 0) {
    auto seconds =
        repeat(a.repetitions, progress, measured, [&] { return bench.decode(a.decode, a.depth); });
    if (!seconds)
      return seconds.takeError();
    measured.decodeSeconds = *seconds;
  }
  return llvm::Error::success();
}

} // namespace

llvm::Expected<nlohmann::ordered_json> benchPlan(const BenchArguments &arguments) {
  Stopwatch loading;
  auto plan = LoadedPlan::open(arguments.plan, arguments.threads);
  if (!plan)
    return plan.takeError();
  Measured measured;
  measured.loadSeconds = loading.seconds();
  if (auto error = checkContext(*plan, arguments))
    return std::move(error);
  if (auto error = measure(*plan, arguments, measured))
    return std::move(error);
  // The peak is of the plan: the buffer that measures the memory comes afterwards.
  measured.peakRss = processBytes("VmHWM");
  measured.readRate = measureReadRate(*plan);
  return resultOf(*plan, arguments, measured);
}

static llvm::Error bench(const BenchArguments &arguments) {
  auto result = benchPlan(arguments);
  if (!result)
    return result.takeError();
  if (arguments.json)
    printJson(*result);
  else
    printTable(arguments, *result);
  return llvm::Error::success();
}

void addBenchCommand(CLI::App &app, Action &action) {
  CLI::App *command = app.add_subcommand("bench", "Measure speed and memory of a plan");
  command->footer("Examples:\n"
                  "  qplan bench m.qplan -p 512 -n 128\n"
                  "  qplan bench m.qplan -p 0 -n 64 -b 8 --depth 1024 --json\n"
                  "Prefill and decode are separate tests, each from an empty cache; medians.");
  auto a = std::make_shared<BenchArguments>();
  auto tokens = CLI::Range(int64_t(0), int64_t(1) << 24);
  command->add_option("PLAN", a->plan, "The plan (m.qplan)")->required();
  command
      ->add_option("-p,--prefill", a->prefill, "Tokens of the prefill test; 0: none (default 512)")
      ->type_name("N")
      ->check(tokens);
  command->add_option("-n,--decode", a->decode, "Tokens of the decode test; 0: none (default 128)")
      ->type_name("N")
      ->check(tokens);
  command->add_option("-b,--batch", a->batch, "Sequences at once (default 1)")
      ->type_name("N")
      ->check(CLI::Range(int64_t(1), int64_t(4096)));
  command->add_option("--depth", a->depth, "Tokens in the cache before decoding (default 0)")
      ->type_name("D")
      ->check(tokens);
  command->add_option("--repetitions", a->repetitions, "Measured runs of each test (default 3)")
      ->type_name("R")
      ->check(CLI::Range(int64_t(1), int64_t(1000)));
  command->add_option("--threads", a->threads, "Threads (default: the cores allowed)")
      ->type_name("N")
      ->check(CLI::Range(1, 4096));
  command->add_flag("--json", a->json, "Print one JSON object");
  command->callback([&action, a] { action = [a] { return bench(*a); }; });
}

} // namespace qplan

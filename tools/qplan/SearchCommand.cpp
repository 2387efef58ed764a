//===- SearchCommand.cpp - qplan search -----------------------------------===//
//
// Measures a model once and keeps what every budget could be: with MODEL the front is
// made and written; with --front it is read, and any budget is answered without the model.
//
//===----------------------------------------------------------------------===//

#include "ir/Failure.h"
#include "ir/packings/KvPages.h"
#include "passes/search/Rotations.h"
#include "tools/qplan/CommandLine.h"
#include "tools/qplan/Output.h"
#include "tools/qplan/SearchOptions.h"
#include "tools/qplan/StageProgress.h"

#include <map>

namespace qplan {
namespace {

struct SearchArguments {
  CompileOptions options;
  BudgetArguments budgets;
  std::string front; ///< --front: answer from this file
  bool json = false;
};

/// Sites by treatment of a choice, in the order of the candidates.
std::vector<std::pair<std::string, int64_t>> counts(const SearchFront &front,
                                                    const FrontPoint &point) {
  std::vector<std::pair<std::string, int64_t>> result;
  for (uint32_t c = 0; c < front.candidates.size(); ++c) {
    int64_t sites = 0;
    for (size_t g = 0; g < point.choice.size(); ++g)
      if (point.choice[g] == c)
        sites += int64_t(front.groups[g].sites.size());
    if (sites)
      result.emplace_back(front.candidates[c], sites);
  }
  return result;
}

nlohmann::ordered_json describe(const SearchFront &front, const FrontPoint &point) {
  nlohmann::ordered_json json = {{"effective_bits", point.bits}, {"predicted_kl", point.kl}};
  if (point.modeloptBits)
    json["effective_bits_modelopt"] = *point.modeloptBits;
  if (point.decodeMs)
    json["predicted_decode_ms"] = *point.decodeMs;
  if (point.measuredKl)
    json["measured_kl"] = *point.measuredKl;
  if (point.cache) {
    json["kv_cache"] = front.caches[*point.cache].format;
    json["memory_bytes"] = int64_t(front.memoryBytes(point));
  }
  for (auto &[treatment, sites] : counts(front, point))
    json["treatments"][treatment] = sites;
  return json;
}

std::string line(const SearchFront &front, const FrontPoint &point) {
  std::string text = fmt::format("{:>9.4f}  {:>12.6f}", point.bits, point.kl);
  if (point.decodeMs)
    text += fmt::format("  {:>10.3f}", *point.decodeMs);
  if (point.cache)
    text +=
        fmt::format("  {:>12.0f}  {}", front.memoryBytes(point), front.caches[*point.cache].format);
  return text + "\n";
}

void showCaches(const SearchFront &front) {
  if (front.caches.empty())
    return;
  print(fmt::format("\n{:<16}  {:>13}  {:>12}{}\n", "cache", "bytes a token", "KL of it",
                    front.caches[0].decodeMs ? "     ms more" : ""));
  for (const FrontCache &cache : front.caches)
    print(fmt::format("{:<16}  {:>13.0f}  {:>12.6f}{}\n", cache.format, cache.bytesPerToken,
                      cache.kl, cache.decodeMs ? fmt::format("  {:>10.3f}", *cache.decodeMs) : ""));
}

void showPoints(const SearchFront &front) {
  if (front.points.empty())
    return;
  print(fmt::format("{:>9}  {:>12}{}{}\n", "bits", "predicted KL",
                    front.points[0].decodeMs ? "   decode ms" : "",
                    front.points[0].cache ? "  memory bytes  cache" : ""));
  // A page of them; the file holds all.
  constexpr size_t shown = 16;
  size_t count = std::min(shown, front.points.size());
  for (size_t i = 0; i < count; ++i)
    print(line(front, front.points[count > 1 ? i * (front.points.size() - 1) / (count - 1) : 0]));
}

void showChoice(const SearchFront &front, const FrontPoint &point) {
  print(fmt::format("{:.4f} bits a weight, predicted KL {:.6f} nats", point.bits, point.kl));
  if (point.measuredKl)
    print(fmt::format(" (measured {:.6f})", *point.measuredKl));
  if (point.decodeMs)
    print(fmt::format(", {:.3f} ms a decode step", *point.decodeMs));
  if (point.cache)
    print(fmt::format(", keys and values in {}: {:.0f} bytes with {} tokens",
                      front.caches[*point.cache].format, front.memoryBytes(point), front.context));
  print("\n");
  for (auto &[treatment, sites] : counts(front, point))
    print(fmt::format("  {:>5} sites  {}\n", sites, treatment));
}

void summarize(const SearchArguments &arguments, const SearchFront &front, double seconds) {
  if (arguments.json) {
    nlohmann::ordered_json json = {{"groups", front.groups.size()},
                                   {"candidates", front.candidates},
                                   {"points", front.points.size()}};
    if (front.chosen)
      json["chosen"] = describe(front, *front.chosen);
    json["seconds"] = seconds;
    printJson(json);
    return;
  }
  if (front.chosen)
    return showChoice(front, *front.chosen);
  showPoints(front);
  showCaches(front);
}

/// Makes the caches of `front` those that the command line asks for.
llvm::Error adaptCaches(SearchFront &front, const SearchArguments &arguments) {
  const CompileOptions &o = arguments.options;
  if (o.kvCache.empty() && !o.context)
    return llvm::Error::success();
  if (front.caches.empty())
    return usageError("--front {}: that search did not weigh the cache; search again with "
                      "--kv-cache auto, or leave out --kv-cache and --context",
                      arguments.front);
  if (!o.kvCache.empty() && o.kvCache != "auto") {
    auto format = parseKvFormat(o.kvCache);
    if (!format)
      return usageError("--kv-cache: {}", llvm::toString(format.takeError()));
    auto cache = front.cacheNamed(formatName(*format));
    if (!cache)
      return usageError(
          "--kv-cache {}: the search that made {} did not weigh it; search again with "
          "--kv-cache auto",
          o.kvCache, arguments.front);
    front.caches = {FrontCache(front.caches[*cache])};
  }
  if (o.context && o.context != front.context) {
    front.context = o.context;
    for (FrontCache &cache : front.caches) // they were timed at another depth
      cache.decodeMs.reset();
  }
  auto points = tradeOffs(front, front.points.size());
  if (!points)
    return points.takeError();
  front.points = std::move(*points);
  return llvm::Error::success();
}

llvm::Expected<SearchFront> answer(const SearchArguments &arguments, const Budgets &budgets) {
  auto front = readFront(arguments.front);
  if (!front)
    return front.takeError();
  if (!arguments.options.model.empty()) {
    auto source = openCheckpoint(arguments.options.model);
    if (!source)
      return source.takeError();
    if (auto error = front->checkModel((*source)->contentHash(), arguments.front))
      return std::move(error);
  }
  if (arguments.options.singleExperts && !front->singleExperts)
    return usageError("--front {}: that search took banks of experts whole; search the model again "
                      "with --single-experts, or leave it out",
                      arguments.front);
  auto rotations = parseRotations(arguments.options.rotate);
  if (!rotations)
    return rotations.takeError();
  if (rotations->any() && rotations->text() != front->rotate)
    return usageError(
        "--front {}: that search was of {}; search the model again with --rotate {}, or "
        "leave it out",
        arguments.front,
        front->rotate.empty() ? "a model as it is" : "one with rotate: " + front->rotate,
        rotations->text());
  front->chosen.reset();
  if (auto error = adaptCaches(*front, arguments))
    return std::move(error);
  if (!budgets.any())
    return front;
  auto chosen = chooseWithin(*front, budgets);
  if (!chosen)
    return chosen.takeError();
  front->chosen = std::move(*chosen);
  if (arguments.options.saveRecipe.empty())
    return front;
  auto recipe = searchRecipe(*front, *front->chosen, budgets);
  if (!recipe)
    return recipe.takeError();
  if (auto error = writeRecipe(*recipe, arguments.options.saveRecipe))
    return std::move(error);
  return front;
}

llvm::Expected<SearchFront> measure(const SearchArguments &arguments, const Budgets &budgets) {
  CompileOptions options = arguments.options;
  options.budgets = budgets;
  if (options.automatic.empty())
    options.automatic = "all";
  StageProgress progress(arguments.json);
  auto compiler = Compiler::create(options, progress.sink());
  if (!compiler)
    return compiler.takeError();
  auto front = (*compiler)->search();
  progress.finish();
  return front;
}

llvm::Error search(const SearchArguments &arguments) {
  Stopwatch watch;
  const CompileOptions &options = arguments.options;
  auto budgets = arguments.budgets.resolve();
  if (!budgets)
    return budgets.takeError();
  if (options.model.empty() && arguments.front.empty())
    return usageError("search: MODEL is missing; name a checkpoint to search, or --front FILE to "
                      "answer another budget from an earlier search");
  if (arguments.front.empty() && budgets->any() && options.kvCache == "auto")
    if (auto error = budgets->checkCountCache())
      return error;
  if (!arguments.front.empty() && !options.automatic.empty())
    return usageError("--front {}: the candidates are those of that search; leave out --auto",
                      arguments.front);
  if (!options.saveRecipe.empty() && !budgets->any())
    return usageError("--save-recipe {}: a recipe is the answer to a budget; give one, for "
                      "example --effective-bits 4.5",
                      options.saveRecipe);
  if (options.exchange && !arguments.front.empty())
    return usageError("--exchange {}: a front alone cannot be measured; leave out --front",
                      *options.exchange);
  if (options.exchange && !budgets->any())
    return usageError("--exchange {}: a budget decides what is measured; give one, for example "
                      "--effective-bits 4.5",
                      *options.exchange);
  if (arguments.front.empty() && options.output.empty() && options.saveRecipe.empty())
    return usageError("-o is missing: name the front to write, for example -o front.json");
  auto front = arguments.front.empty() ? measure(arguments, *budgets) : answer(arguments, *budgets);
  if (!front)
    return front.takeError();
  if (!options.output.empty())
    if (auto error = writeFront(*front, options.output))
      return error;
  summarize(arguments, *front, watch.seconds());
  return llvm::Error::success();
}

} // namespace

void addSearchCommand(CLI::App &app, Action &action) {
  CLI::App *command = app.add_subcommand("search", "Find the best treatments for every budget");
  command->footer(
      "Examples:\n"
      "  qplan search ./model --calib text.txt -o front.json     measure once: every budget\n"
      "  qplan search --front front.json --effective-bits 4.6 --save-recipe r.recipe\n"
      "  qplan compile ./model -o m.qplan --recipe r.recipe --calib text.txt\n"
      "  qplan search ./model --calib text.txt -o front.json --kv-cache auto --context 8192 \\\n"
      "        --memory-bytes 2G                                 weights and cache together\n"
      "Several budgets hold at once. With --max-kl the smallest plan within it is chosen (or, "
      "with\n"
      "a budget of size too, the fastest one), else the least damage.");
  auto arguments = std::make_shared<SearchArguments>();
  CompileOptions &options = arguments->options;
  command->add_option("MODEL", options.model, "Checkpoint: a Hugging Face folder or a GGUF file");
  command->add_option("-o,--output", options.output, "Front to write (JSON)")->type_name("FILE");
  command->add_option("--front", arguments->front, "Answer from the front of an earlier search")
      ->type_name("FILE");
  command->add_option("--save-recipe", options.saveRecipe, "Write the chosen treatments to FILE")
      ->type_name("FILE");
  addSearchOptions(*command, options, "Treatments");
  addBudgetOptions(*command, arguments->budgets);
  addCacheOptions(*command, options, "Cache");
  addCalibrationOptions(*command, options);
  const char *work = "Work";
  command
      ->add_flag("--time", options.timeDecode,
                 "Time the candidates' kernels, so that the front tells decode times")
      ->group(work);
  command
      ->add_option("--threads", options.threads,
                   "Threads to work with (default: the cores allowed)")
      ->type_name("N")
      ->check(CLI::Range(1u, 4096u))
      ->group(work);
  command->add_flag("--json", arguments->json, "Print the summary as one JSON object")->group(work);
  command->callback([&action, arguments] { action = [arguments] { return search(*arguments); }; });
}

} // namespace qplan

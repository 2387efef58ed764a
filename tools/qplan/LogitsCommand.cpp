//===- LogitsCommand.cpp - qplan logits -----------------------------------===//
//
// Logits of given token ids as a file, for comparing plans with other programs, and
// the comparison itself. Greedy ids come through the cache one by one, so that they check
// decoding as the logits check prefill.
//
//===----------------------------------------------------------------------===//

#include "codegen/driver/LogitMath.h"
#include "ir/Failure.h"
#include "tools/qplan/CommandLine.h"
#include "tools/qplan/LoadedPlan.h"
#include "tools/qplan/Output.h"
#include "tools/qplan/TensorFile.h"

#include <algorithm>
#include <cmath>

namespace qplan {
namespace {

struct LogitsArguments {
  std::string plan, inputIds, output, compare;
  int64_t greedy = 0, chunk = 0;
  double tolerance = 1e-3;
  int threads = 0;
  bool json = false;
};

struct Computed {
  FloatTensor logits;          ///< [batch, positions, vocabulary]
  std::vector<int32_t> greedy; ///< [greedy]
};

llvm::Error checkIds(const LoadedPlan &plan, const std::string &file, const IdTensor &ids,
                     int64_t greedy) {
  if (ids.shape.size() != 2 || ids.values.empty())
    return inputError("{}: tensor `input_ids` has {} dimensions and {} elements; expected "
                      "[batch, positions]",
                      file, ids.shape.size(), ids.values.size());
  if (ids.shape[1] + std::max<int64_t>(greedy - 1, 0) > plan.info().context)
    return inputError("{}: {} positions and {} greedy tokens exceed the {} positions that {} was "
                      "compiled for; compile with a larger --context",
                      file, ids.shape[1], greedy, plan.info().context, plan.path());
  for (size_t i = 0; i < ids.values.size(); ++i)
    if (ids.values[i] < 0 || ids.values[i] >= plan.info().vocabulary)
      return inputError("{}: tensor `input_ids`: element {} is {}, but the vocabulary of {} has {} "
                        "tokens",
                        file, i, ids.values[i], plan.path(), plan.info().vocabulary);
  return llvm::Error::success();
}

/// `chunk`: tokens of each row that a step takes; 0: all.
llvm::Error computeLogits(const LoadedPlan &plan, const IdTensor &ids, int64_t chunk,
                          Computed &computed) {
  int64_t batch = ids.shape[0], positions = ids.shape[1], vocabulary = plan.info().vocabulary;
  computed.logits.shape = {batch, positions, vocabulary};
  computed.logits.values.resize(size_t(batch * positions * vocabulary));
  // A few rows at a time: they share a pass, and the cache stays small.
  int64_t together = std::clamp<int64_t>(plan.info().max_tokens / positions, 1, 64);
  for (int64_t first = 0; first < batch; first += together) {
    std::vector<SessionOwner> sessions;
    std::vector<qplan_work> items;
    for (int64_t row = first; row < std::min(batch, first + together); ++row) {
      auto session = plan.newSession();
      if (!session)
        return session.takeError();
      sessions.push_back(std::move(*session));
      qplan_work work = {};
      work.session = sessions.back().get();
      work.tokens = ids.values.data() + row * positions;
      work.want_logits = QPLAN_LOGITS_ALL;
      work.logits = computed.logits.values.data() + row * positions * vocabulary;
      items.push_back(work);
    }
    for (int64_t done = 0; done < positions;) {
      int64_t count = std::min(chunk ? chunk : positions, positions - done);
      for (qplan_work &work : items)
        work.token_count = count;
      if (auto error = plan.step(items))
        return error;
      for (qplan_work &work : items) {
        work.tokens += count;
        work.logits += count * vocabulary;
      }
      done += count;
    }
  }
  return llvm::Error::success();
}

/// Greedy continuation of row 0, token by token, not stopping at any token.
llvm::Error decodeGreedily(const LoadedPlan &plan, const IdTensor &ids, int64_t count,
                           std::vector<int32_t> &greedy) {
  char message[1024] = "";
  auto session = plan.newSession();
  if (!session)
    return session.takeError();
  const float *logits = nullptr;
  int status = qplan_prefill(session->get(), ids.values.data(), ids.shape[1], &logits, message,
                             sizeof message);
  while (!status) {
    greedy.push_back(int32_t(largestLogit(logits, plan.info().vocabulary)));
    if (int64_t(greedy.size()) == count)
      return llvm::Error::success();
    status = qplan_decode(session->get(), greedy.back(), &logits, message, sizeof message);
  }
  return runtimeError(status, message);
}

/// How far logits are from golden ones, in units of the golden logits' deviation.
struct Distance {
  double largest = 0, rms = 0, kl = 0, top1 = 0;
};

Distance distanceOf(const FloatTensor &golden, const FloatTensor &logits) {
  size_t count = golden.values.size();
  double sum = 0, squares = 0, difference = 0, largest = 0;
  for (size_t i = 0; i < count; ++i) {
    double value = golden.values[i], apart = std::abs(double(logits.values[i]) - value);
    sum += value;
    squares += value * value;
    difference += apart * apart;
    // A NaN must not pass for agreement.
    largest = apart > largest || std::isnan(apart) ? apart : largest;
    if (std::isnan(largest))
      break;
  }
  double mean = sum / double(count);
  double deviation = std::sqrt(std::max(squares / double(count) - mean * mean, 1e-30));
  Distance result;
  result.largest = largest / deviation;
  result.rms = std::sqrt(difference / double(count)) / deviation;
  int64_t vocabulary = golden.shape.back(), rows = int64_t(count) / vocabulary;
  for (int64_t row = 0; row < rows; ++row) {
    const float *expected = golden.values.data() + row * vocabulary;
    const float *found = logits.values.data() + row * vocabulary;
    result.kl += std::max(0.0, klDivergence(expected, found, vocabulary)) / double(rows);
    result.top1 +=
        (largestLogit(expected, vocabulary) == largestLogit(found, vocabulary)) / double(rows);
  }
  return result;
}

std::string shapeText(const std::vector<int64_t> &shape) {
  std::string text;
  for (int64_t extent : shape)
    text += (text.empty() ? "" : ", ") + std::to_string(extent);
  return "[" + text + "]";
}

/// Prints the distance; an input error when it is beyond the tolerance.
llvm::Error compare(const LogitsArguments &arguments, const TensorFile &file,
                    const Computed &computed) {
  auto golden = file.floats("logits");
  if (!golden)
    return golden.takeError();
  if (golden->shape != computed.logits.shape || golden->values.empty())
    return inputError("{}: tensor `logits` is {}, the plan gives {}", arguments.compare,
                      shapeText(golden->shape), shapeText(computed.logits.shape));
  bool greedyEqual = true;
  if (file.has("greedy_ids")) {
    auto ids = file.ids("greedy_ids");
    if (!ids)
      return ids.takeError();
    size_t common = std::min(ids->values.size(), computed.greedy.size());
    greedyEqual = std::equal(ids->values.begin(), ids->values.begin() + ptrdiff_t(common),
                             computed.greedy.begin());
  }
  Distance distance = distanceOf(*golden, computed.logits);
  if (arguments.json)
    printJson({{"max_difference", distance.largest},
               {"rms_difference", distance.rms},
               {"kl_mean", distance.kl},
               {"top1_agreement", distance.top1},
               {"greedy_equal", greedyEqual}});
  else
    print(
        fmt::format("max |difference| {:.3g} std, rms {:.3g} std, KL {:.3g} nats, top-1 {:.2f} %, "
                    "greedy {}\n",
                    distance.largest, distance.rms, distance.kl, 100 * distance.top1,
                    greedyEqual ? "equal" : "different"));
  if (distance.largest <= arguments.tolerance && greedyEqual)
    return llvm::Error::success();
  return inputError(
      "{}: differs from {}: max |difference| {:.3g} std (tolerance {:.3g}), greedy ids {}",
      arguments.plan, arguments.compare, distance.largest, arguments.tolerance,
      greedyEqual ? "equal" : "different");
}

llvm::Error write(const LogitsArguments &arguments, const Computed &computed) {
  std::vector<TensorToWrite> tensors;
  tensors.push_back({"logits", "F32", computed.logits.shape, bytesOf(computed.logits.values)});
  if (arguments.greedy > 0)
    tensors.push_back(
        {"greedy_ids", "I32", {int64_t(computed.greedy.size())}, bytesOf(computed.greedy)});
  if (auto error = writeTensors(arguments.output, std::move(tensors)))
    return error;
  if (arguments.json && arguments.compare.empty())
    printJson({{"output", arguments.output},
               {"shape", computed.logits.shape},
               {"greedy_ids", computed.greedy}});
  return llvm::Error::success();
}

llvm::Error logits(LogitsArguments arguments) {
  if (arguments.output.empty() && arguments.compare.empty())
    return usageError(
        "-o is missing: name the file for the logits, for example -o logits.safetensors");
  if (arguments.inputIds.empty())
    arguments.inputIds = arguments.compare;
  if (arguments.inputIds.empty())
    return usageError("--input-ids is missing: name a safetensors file with `input_ids` (I32)");
  auto file = TensorFile::open(arguments.inputIds);
  if (!file)
    return file.takeError();
  auto ids = file->ids("input_ids");
  if (!ids)
    return ids.takeError();
  std::optional<TensorFile> golden;
  if (!arguments.compare.empty()) {
    auto opened = TensorFile::open(arguments.compare);
    if (!opened)
      return opened.takeError();
    golden = std::move(*opened);
    if (!arguments.greedy && golden->has("greedy_ids")) {
      auto greedy = golden->ids("greedy_ids");
      if (!greedy)
        return greedy.takeError();
      arguments.greedy = int64_t(greedy->values.size());
    }
  }
  auto plan = LoadedPlan::open(arguments.plan, arguments.threads);
  if (!plan)
    return plan.takeError();
  if (auto error = checkIds(*plan, arguments.inputIds, *ids, arguments.greedy))
    return error;
  Computed computed;
  if (auto error = computeLogits(*plan, *ids, arguments.chunk, computed))
    return error;
  if (arguments.greedy > 0)
    if (auto error = decodeGreedily(*plan, *ids, arguments.greedy, computed.greedy))
      return error;
  if (!arguments.output.empty())
    if (auto error = write(arguments, computed))
      return error;
  return golden ? compare(arguments, *golden, computed) : llvm::Error::success();
}

} // namespace

void addLogitsCommand(CLI::App &app, Action &action) {
  CLI::App *command =
      app.add_subcommand("logits", "Write the logits of given token ids, or compare them");
  command->footer(
      "Examples:\n"
      "  qplan logits m.qplan --input-ids ids.safetensors -o out.safetensors --greedy 8\n"
      "  qplan logits m.qplan --compare golden.safetensors      ids are taken from there");
  auto a = std::make_shared<LogitsArguments>();
  command->add_option("PLAN", a->plan, "The plan (m.qplan)")->required();
  command
      ->add_option("--input-ids", a->inputIds,
                   "Safetensors file with `input_ids`, I32 [batch, positions]")
      ->type_name("FILE");
  command
      ->add_option("-o,--output", a->output,
                   "Safetensors file to write: `logits`, F32 [batch, positions, vocabulary]")
      ->type_name("FILE");
  command
      ->add_option("--greedy", a->greedy,
                   "Also decode N tokens from row 0 through the cache: `greedy_ids`")
      ->type_name("N")
      ->check(CLI::Range(int64_t(0), int64_t(1) << 30));
  command
      ->add_option("--chunk", a->chunk,
                   "Push N tokens of each row at a time; what came before is in the cache")
      ->type_name("N")
      ->check(CLI::Range(int64_t(1), int64_t(1) << 30));
  command
      ->add_option("--compare", a->compare,
                   "Compare with the `logits` and `greedy_ids` of FILE; exit 1 if they differ")
      ->type_name("FILE");
  command
      ->add_option(
          "--tolerance", a->tolerance,
          "Largest difference allowed, in standard deviations of the logits (default 1e-3)")
      ->type_name("X")
      ->check(CLI::NonNegativeNumber);
  command->add_option("--threads", a->threads, "Threads (default: the cores allowed)")
      ->type_name("N")
      ->check(CLI::Range(1, 4096));
  command->add_flag("--json", a->json, "Print one JSON object");
  command->callback([&action, a] { action = [a] { return logits(*a); }; });
}

} // namespace qplan

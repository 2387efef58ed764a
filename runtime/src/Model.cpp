//===- Model.cpp - options, life time and description of models -----------===//
//
// Everything about a model but finding its files (Package.cpp) and running it
// (Step.cpp): which options are allowed, what emitted code may say of itself, who
// keeps a model alive.
//===----------------------------------------------------------------------===//
#include "runtime/src/Model.h"

#include "runtime/src/CpuFeatures.h"

#include <algorithm>
#include <cstring>
#include <dlfcn.h>

using namespace qplan;

static constexpr int32_t maxThreads = 1024;
static constexpr int32_t defaultSpin = 50; // microseconds; longer than a serial piece of a step

CodeLibrary::~CodeLibrary() {
  if (handle)
    dlclose(handle);
}

Status qplan::readOptions(const qplan_options *given, qplan_options &out) {
  out = qplan_options QPLAN_OPTIONS_INIT;
  if (given) {
    if (given->size < sizeof(qplan_options))
      return fail(QPLAN_INVALID_USAGE,
                  "qplan_options.size is %llu, expected %zu; start from QPLAN_OPTIONS_INIT",
                  static_cast<unsigned long long>(given->size), sizeof(qplan_options));
    out = *given;
  }
  constexpr uint32_t known = QPLAN_VERIFY | QPLAN_UNTRUSTED | QPLAN_PREFAULT | QPLAN_PIN_THREADS;
  if (out.flags & ~known)
    return fail(QPLAN_INVALID_USAGE, "qplan_options.flags has unknown bits 0x%x",
                out.flags & ~known);
  if (out.threads < 0 || out.threads > maxThreads)
    return fail(QPLAN_INVALID_USAGE, "qplan_options.threads is %d, expected 0 to %d", out.threads,
                maxThreads);
  if (!out.kv.allocate != !out.kv.release)
    return fail(QPLAN_INVALID_USAGE, "qplan_options.kv needs both allocate and release");
  if (reinterpret_cast<uintptr_t>(out.statistics) % 64)
    return fail(QPLAN_INVALID_USAGE, "qplan_options.statistics is not 64-byte aligned");
  if (out.threads == 0)
    out.threads = std::min(usableCoreCount(), maxThreads);
  out.spin_microseconds =
      out.spin_microseconds == 0 ? defaultSpin : std::clamp(out.spin_microseconds, 0, 1000000);
  return {};
}

Status qplan::checkCode(const qplan_model_v1 *code, const std::string &where) {
  if (!code)
    return fail(QPLAN_INVALID_INPUT,
                "%s: the code does not serve ABI version %d; compile the model again",
                where.c_str(), QPLAN_ABI_VERSION);
  if (code->version != QPLAN_ABI_VERSION || code->size < sizeof(qplan_model_v1))
    return fail(QPLAN_INVALID_INPUT,
                "%s: the code has ABI version %u and a description of %u bytes, expected version "
                "%d and %zu bytes; compile the model again",
                where.c_str(), code->version, code->size, QPLAN_ABI_VERSION,
                sizeof(qplan_model_v1));
  if (!code->name || !code->producer || !code->target || !code->cpu_features || !code->kv_format ||
      !code->forward)
    return fail(QPLAN_INVALID_INPUT, "%s: the code's description has a null field", where.c_str());
  struct Range {
    const char *name;
    uint64_t value, low, high;
  };
  // Far above any model; low enough that no product below overflows 64 bits.
  const Range ranges[] = {
      {"vocabulary", static_cast<uint64_t>(code->vocabulary), 1, INT32_MAX},
      {"context", static_cast<uint64_t>(code->context), 1, INT32_MAX},
      {"max_tokens", static_cast<uint64_t>(code->max_tokens), 1, 1 << 20},
      {"kv_page_tokens", static_cast<uint64_t>(code->kv_page_tokens), 1, 1 << 20},
      {"kv_page_bytes", code->kv_page_bytes, 0, 1ull << 36},
      {"weight_bytes", code->weight_bytes, 64, 1ull << 56},
      {"arena_bytes_fixed", code->arena_bytes_fixed, 0, 1ull << 40},
      {"arena_bytes_per_token", code->arena_bytes_per_token, 0, 1ull << 36},
      {"statistics_bytes", code->statistics_bytes, 0, 1ull << 40},
  };
  for (const Range &range : ranges)
    if (range.value < range.low || range.value > range.high)
      return fail(QPLAN_INVALID_INPUT, "%s: the code says %s = %lld, expected %llu to %llu",
                  where.c_str(), range.name, static_cast<long long>(range.value),
                  static_cast<unsigned long long>(range.low),
                  static_cast<unsigned long long>(range.high));
  return {};
}

Status qplan::checkFeatures(const std::string &features, const std::string &where) {
  std::vector<std::string> missing = missingCpuFeatures(features);
  if (missing.empty())
    return {};
  std::string list;
  for (const std::string &name : missing)
    list += (list.empty() ? "" : ", ") + name;
  return fail(QPLAN_MACHINE_FAILURE,
              "%s: this machine lacks CPU features that the plan needs: %s; compile it with "
              "--target for this machine",
              where.c_str(), list.c_str());
}

Status qplan_model::start() {
  if (options.statistics && code.statistics_bytes == 0)
    return fail(QPLAN_INVALID_USAGE,
                "qplan_options.statistics is set, but %s is no calibration plan", code.name);
  if (!options.statistics && code.statistics_bytes > 0)
    return fail(QPLAN_INVALID_USAGE,
                "%s is a calibration plan: qplan_options.statistics must point to %llu bytes",
                code.name, static_cast<unsigned long long>(code.statistics_bytes));
  env.size = sizeof(env);
  env.threads = options.threads;
  if (options.parallel) {
    env.user = options.parallel_user;
    env.parallel = options.parallel;
    return {};
  }
  if (Status status = ThreadPool::create(options.threads, options.spin_microseconds,
                                         options.flags & QPLAN_PIN_THREADS, pool);
      status.failed())
    return status;
  env.user = pool.get();
  env.parallel = [](void *user, int64_t count, void (*task)(void *, int64_t), void *arg) {
    static_cast<ThreadPool *>(user)->run(count, task, arg);
  };
  return {};
}

qplan_model::~qplan_model() {
  pool.reset();
  contexts.clear();
}

std::unique_ptr<StepContext> qplan_model::takeContext() {
  std::lock_guard<std::mutex> lock(contextMutex);
  if (contexts.empty())
    return std::make_unique<StepContext>(arenaBytes);
  std::unique_ptr<StepContext> context = std::move(contexts.back());
  contexts.pop_back();
  return context;
}

void qplan_model::giveBack(std::unique_ptr<StepContext> context) {
  std::lock_guard<std::mutex> lock(contextMutex);
  contexts.push_back(std::move(context));
}

extern "C" {

void qplan_model_close(qplan_model *model) {
  if (!model)
    return;
  if (uint64_t left = model->sessions.load(); left > 0 && model->options.message)
    model->options.message(
        model->options.message_user, QPLAN_MESSAGE_WARNING,
        fail(0, "%s: closed with %llu sessions left; it is freed with the last of them",
             model->code.name, static_cast<unsigned long long>(left))
            .message.c_str());
  model->release();
}

void qplan_model_info(const qplan_model *model, qplan_info *info) {
  const qplan_model_v1 &code = model->code;
  qplan_info full{};
  full.name = code.name;
  full.producer = code.producer;
  full.architecture = model->manifest.architecture.c_str();
  full.target = code.target;
  full.cpu_features = code.cpu_features;
  full.kv_format = code.kv_format;
  full.manifest = model->manifest.text.c_str();
  full.manifest_bytes = model->manifest.text.size();
  full.vocabulary = code.vocabulary;
  full.context = code.context;
  full.max_tokens = code.max_tokens;
  full.kv_page_tokens = code.kv_page_tokens;
  full.kv_page_bytes = code.kv_page_bytes;
  full.weight_bytes = code.weight_bytes;
  full.statistics_bytes = code.statistics_bytes;
  full.threads = static_cast<int32_t>(model->env.threads);
  full.size = std::min<uint64_t>(info->size, sizeof(full));
  std::memcpy(info, &full, full.size);
}

void qplan_model_memory(const qplan_model *model, qplan_memory *memory) {
  auto &pages = const_cast<qplan_model *>(model)->pages; // counting the idle ones takes its lock
  qplan_memory full{};
  full.weight_bytes = model->code.weight_bytes;
  full.arena_bytes = model->arenaBytes.load();
  full.kv_bytes = pages.usedBytes();
  full.kv_idle_bytes = pages.idleBytes();
  full.logit_bytes = model->logitBytes.load();
  full.sessions = model->sessions.load();
  full.size = std::min<uint64_t>(memory->size, sizeof(full));
  std::memcpy(memory, &full, full.size);
}

void qplan_model_parallel(qplan_model *model, int64_t count, void (*task)(void *, int64_t),
                          void *arg) {
  model->env.parallel(model->env.user, count, task, arg);
}

int qplan_cpu_missing(const char *features, char *missing, size_t missingSize) {
  std::vector<std::string> names = missingCpuFeatures(features ? features : "");
  Status list;
  for (const std::string &name : names)
    list.message += (list.message.empty() ? "" : ",") + name;
  list.report(missing, missingSize);
  return static_cast<int>(names.size());
}

int qplan_cpu_count(void) { return usableCoreCount(); }

const char *qplan_version(void) { return QPLAN_VERSION; }

} // extern "C"

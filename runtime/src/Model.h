//===- Model.h - a loaded model and its sessions --------------------------===//
//
// The types behind the opaque pointers of runtime.h. A model owns the code, the
// weights, the threads, the KV pages and a stock of step contexts; it lives until
// its owner and all its sessions have let go of it.
//===----------------------------------------------------------------------===//
#ifndef QPLAN_RUNTIME_SRC_MODEL_H
#define QPLAN_RUNTIME_SRC_MODEL_H

#include "qplan/runtime.h"
#include "runtime/src/FileMap.h"
#include "runtime/src/Manifest.h"
#include "runtime/src/Memory.h"
#include "runtime/src/ThreadPool.h"

#include <atomic>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

namespace qplan {

/// model.so: its file, kept open as long as its code is loaded, and the loader's handle.
struct CodeLibrary {
  FileMap file;
  void *handle = nullptr;

  CodeLibrary() = default;
  CodeLibrary(const CodeLibrary &) = delete;
  CodeLibrary &operator=(const CodeLibrary &) = delete;
  ~CodeLibrary();
};

/// Scratch of one running step: the arena and the arrays that describe a pass. Steps
/// that run at the same time have one each.
struct StepContext {
  explicit StepContext(std::atomic<uint64_t> &arenaBytes) : arena(arenaBytes), logits(arenaBytes) {}

  Buffer arena;
  Buffer logits; ///< of a pass whose rows go to several places
  std::vector<int32_t> tokenIds, positions, rowSequence, logitRow;
  std::vector<qplan_sequence_v1> sequences;
};

/// Options with the caller's fields copied and the rest at their defaults, checked.
Status readOptions(const qplan_options *given, qplan_options &out);

/// Checks what emitted code says of itself; messages begin with `where`.
Status checkCode(const qplan_model_v1 *code, const std::string &where);

/// Fails with the list of `features` (comma separated) that this machine lacks.
Status checkFeatures(const std::string &features, const std::string &where);

} // namespace qplan

struct qplan_model {
  qplan_model(const qplan_model_v1 &code, const qplan_options &options)
      : code(code), options(options), pages(code.kv_page_bytes, options.kv) {}

  /// Starts the threads, or takes the caller's parallel-for.
  qplan::Status start();

  /// A context that no other step uses; give it back with `giveBack`.
  std::unique_ptr<qplan::StepContext> takeContext();
  void giveBack(std::unique_ptr<qplan::StepContext> context);

  void retain() { ++references; }
  void release() {
    if (--references == 0)
      delete this;
  }

  const qplan_model_v1 &code;
  const qplan_options options;
  qplan_env_v1 env{};
  qplan::Manifest manifest; ///< empty without a package
  qplan::FileMap weightsFile;
  const uint8_t *weights = nullptr;
  std::atomic<uint64_t> arenaBytes{0}, logitBytes{0}, sessions{0};
  qplan::PagePool pages;
  std::mutex statisticsMutex; ///< held by steps of calibration plans

  /// The code must stay loaded until everything above is gone; see the destructor.
  std::unique_ptr<qplan::CodeLibrary> library;

  ~qplan_model();

private:
  std::atomic<int64_t> references{1};
  std::mutex contextMutex; ///< guards `contexts`
  std::vector<std::unique_ptr<qplan::StepContext>> contexts;
  std::unique_ptr<qplan::ThreadPool> pool;
};

struct qplan_session {
  explicit qplan_session(qplan_model *model);
  ~qplan_session();

  /// Makes pages for `tokens` positions present; on failure the pages are as before.
  bool reservePages(int64_t tokens);

  /// Gives back pages beyond those that `tokens` positions need.
  void trimPages(int64_t tokens);

  qplan_model *const model;
  int64_t length = 0;
  std::vector<void *> pages;
  qplan::Buffer logits;
  std::atomic<bool> stepping{false}; ///< catches use by two threads and duplicates in a batch
};

#endif // QPLAN_RUNTIME_SRC_MODEL_H

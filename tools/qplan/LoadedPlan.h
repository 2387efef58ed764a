//===- LoadedPlan.h - a plan that runs in this process ----------*- C++ -*-===//
//
// The C interface of the runtime behind owners and llvm::Error: a plan with its
// manifest, and its sessions. What the runtime says of a failure is passed on unchanged with
// the exit status it chose.
//
//===----------------------------------------------------------------------===//
#ifndef QPLAN_TOOLS_QPLAN_LOADEDPLAN_H
#define QPLAN_TOOLS_QPLAN_LOADEDPLAN_H

#include "qplan/runtime.h"

#include <functional>
#include <llvm/ADT/ArrayRef.h>
#include <llvm/Support/Error.h>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace qplan {

/// The error for a status of abi.h that is not QPLAN_OK.
llvm::Error runtimeError(int status, const std::string &message);

struct SessionDeleter {
  void operator()(qplan_session *session) const { qplan_session_free(session); }
};
using SessionOwner = std::unique_ptr<qplan_session, SessionDeleter>;

/// An open plan. Sessions must go before it. Movable.
class LoadedPlan {
public:
  /// Opens `path`; `threads` 0: the cores this process may use. Warnings go to stderr.
  /// `flags` are those of qplan_options.
  static llvm::Expected<LoadedPlan> open(const std::string &path, int threads, uint32_t flags = 0);

  llvm::Expected<SessionOwner> newSession() const;
  /// Runs one step.
  llvm::Error step(std::vector<qplan_work> &items) const;
  /// Runs task(i) for i in [0, count) on the plan's threads.
  void parallel(int64_t count, const std::function<void(int64_t)> &task) const;

  qplan_model *get() const { return model.get(); }
  const qplan_info &info() const { return facts; }
  const std::string &path() const { return location; }
  const nlohmann::ordered_json &manifest() const { return description; }

private:
  struct ModelDeleter {
    void operator()(qplan_model *model) const { qplan_model_close(model); }
  };
  std::unique_ptr<qplan_model, ModelDeleter> model;
  qplan_info facts = {};
  std::string location;
  nlohmann::ordered_json description;
};

/// The manifest of a package whose files were checked, without loading its code.
llvm::Expected<nlohmann::ordered_json> readManifest(const std::string &path);

/// Whether `path` looks like a package: a folder with a manifest.json.
bool isPackage(const std::string &path);

/// A number of a JSON object, or `fallback` when it is absent or no number.
double numberOr(const nlohmann::ordered_json &object, const char *key, double fallback);
/// A text of a JSON object, or "".
std::string textOr(const nlohmann::ordered_json &object, const char *key);

} // namespace qplan
#endif // QPLAN_TOOLS_QPLAN_LOADEDPLAN_H

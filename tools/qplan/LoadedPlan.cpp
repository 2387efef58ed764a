//===- LoadedPlan.cpp - a plan that runs in this process ------------------===//

#include "tools/qplan/LoadedPlan.h"

#include "ir/Failure.h"
#include "tools/qplan/Output.h"

#include <llvm/Support/FileSystem.h>

namespace qplan {

llvm::Error runtimeError(int status, const std::string &message) {
  return llvm::make_error<Failure>(ExitStatus(status), message);
}

namespace {

void showMessage(void *, int level, const char *text) {
  if (level >= QPLAN_MESSAGE_WARNING)
    fmt::print(stderr, "qplan: warning: {}\n", text);
}

} // namespace

llvm::Expected<LoadedPlan> LoadedPlan::open(const std::string &path, int threads, uint32_t flags) {
  char message[1024] = "";
  qplan_options options = QPLAN_OPTIONS_INIT;
  options.flags = flags;
  options.threads = threads;
  options.message = showMessage;
  qplan_model *opened = nullptr;
  if (int status = qplan_model_open(path.c_str(), &options, &opened, message, sizeof message))
    return runtimeError(status, message);
  LoadedPlan plan;
  plan.model.reset(opened);
  plan.location = path;
  plan.facts.size = sizeof plan.facts;
  qplan_model_info(opened, &plan.facts);
  plan.description = nlohmann::ordered_json::parse(
      plan.facts.manifest, plan.facts.manifest + plan.facts.manifest_bytes, nullptr, false);
  if (!plan.description.is_object())
    return inputError("{}/manifest.json: is no JSON object; compile the plan again", path);
  return plan;
}

llvm::Expected<SessionOwner> LoadedPlan::newSession() const {
  char message[1024] = "";
  qplan_session *session = nullptr;
  if (int status = qplan_session_create(model.get(), &session, message, sizeof message))
    return runtimeError(status, message);
  return SessionOwner(session);
}

llvm::Error LoadedPlan::step(std::vector<qplan_work> &items) const {
  char message[1024] = "";
  if (int status =
          qplan_step(model.get(), int64_t(items.size()), items.data(), message, sizeof message))
    return runtimeError(status, message);
  return llvm::Error::success();
}

void LoadedPlan::parallel(int64_t count, const std::function<void(int64_t)> &task) const {
  auto call = [](void *arg, int64_t index) {
    (*static_cast<const std::function<void(int64_t)> *>(arg))(index);
  };
  qplan_model_parallel(model.get(), count, call, const_cast<std::function<void(int64_t)> *>(&task));
}

llvm::Expected<nlohmann::ordered_json> readManifest(const std::string &path) {
  char message[1024] = "";
  if (int status = qplan_package_check(path.c_str(), 0, message, sizeof message))
    return runtimeError(status, message);
  auto text = readTextFile(path + "/manifest.json");
  if (!text)
    return text.takeError();
  auto manifest = nlohmann::ordered_json::parse(*text, nullptr, false);
  if (!manifest.is_object())
    return inputError("{}/manifest.json: is no JSON object; compile the plan again", path);
  return manifest;
}

bool isPackage(const std::string &path) {
  return llvm::sys::fs::exists(path + "/manifest.json") ||
         (llvm::StringRef(path).ends_with(".qplan") &&
          !llvm::sys::fs::exists(path + "/config.json"));
}

double numberOr(const nlohmann::ordered_json &object, const char *key, double fallback) {
  if (!object.is_object())
    return fallback;
  auto found = object.find(key);
  return found != object.end() && found->is_number() ? found->get<double>() : fallback;
}

std::string textOr(const nlohmann::ordered_json &object, const char *key) {
  if (!object.is_object())
    return {};
  auto found = object.find(key);
  return found != object.end() && found->is_string() ? found->get<std::string>() : std::string();
}

} // namespace qplan

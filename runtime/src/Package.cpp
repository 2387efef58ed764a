//===- Package.cpp - from a folder on disk to a loaded model --------------===//
//
// The order of checks matters: everything that can be known without running code
// of the package is checked before the loader sees model.so, so that a damaged or
// foreign plan ends in a message. Checksums find accidents; they are no signature,
// and a plan is a program: open only plans of people you trust.
//===----------------------------------------------------------------------===//
#include "runtime/src/CpuFeatures.h"
#include "runtime/src/Hash.h"
#include "runtime/src/Model.h"
#include "runtime/src/WeightsHeader.h"

#include <cstring>
#include <dlfcn.h>
#include <sys/stat.h>
#include <unistd.h>

using namespace qplan;

namespace {
/// A package whose manifest and headers have been checked.
struct Package {
  Manifest manifest;
  FileMap weights; ///< mapped
  FileMap code;
};
} // namespace

static const char weightsName[] = "weights.bin";
static const char codeName[] = "model.so";

/// Opens a listed file of the package and compares its size with the manifest's.
static Status openListed(const std::string &folder, const Manifest &manifest, const char *name,
                         FileMap &out) {
  std::string path = folder + "/" + name;
  const ManifestFile *entry = manifest.find(name);
  if (!entry)
    return fail(QPLAN_INVALID_INPUT,
                "%s/manifest.json: \"files\" does not list %s; the plan is incomplete, compile it "
                "again",
                folder.c_str(), name);
  if (Status status = out.open(path); status.failed())
    return status;
  if (out.size() != entry->bytes)
    return fail(QPLAN_INVALID_INPUT,
                "%s: the file has %llu bytes, the manifest says %llu; the plan is damaged, compile "
                "it again",
                path.c_str(), static_cast<unsigned long long>(out.size()),
                static_cast<unsigned long long>(entry->bytes));
  return {};
}

static Status checkHash(const std::string &path, uint64_t found, uint64_t expected) {
  if (found == expected)
    return {};
  return fail(QPLAN_INVALID_INPUT,
              "%s: checksum %s, expected %s; the plan is damaged, compile it again", path.c_str(),
              hashText(found).c_str(), hashText(expected).c_str());
}

/// Checks the header of mapped weights; with `verify`, all of them.
static Status checkWeights(const FileMap &file, bool verify, uint64_t &hash) {
  WeightsHeader header;
  if (Status status = readWeightsHeader(file.data(), file.size(), file.size(), file.path(), header);
      status.failed())
    return status;
  hash = header.dataHash;
  if (!verify)
    return {};
  uint64_t found = 0;
  if (Status status = file.checksum(header.dataOffset, found); status.failed())
    return status;
  return checkHash(file.path(), found, header.dataHash);
}

/// Sizes of the files that nothing else opens (tokenizer.json, model.o, ...).
static Status checkOtherFiles(const std::string &folder, const Manifest &manifest) {
  for (const auto &[name, entry] : manifest.files) {
    FileMap file;
    if (name == weightsName || name == codeName)
      continue;
    if (Status status = openListed(folder, manifest, name.c_str(), file); status.failed())
      return status;
  }
  return {};
}

static Status readFiles(const std::string &folder, uint32_t flags, Package &out) {
  FileMap file;
  if (Status status = file.open(folder + "/manifest.json"); status.failed())
    return status;
  std::string text;
  if (Status status = file.read(Manifest::maxBytes, text); status.failed())
    return status;
  if (Status status = parseManifest(std::move(text), file.path(), out.manifest); status.failed())
    return status;
  if (Status status = openListed(folder, out.manifest, weightsName, out.weights); status.failed())
    return status;
  if (Status status = openListed(folder, out.manifest, codeName, out.code); status.failed())
    return status;
  if (Status status = checkOtherFiles(folder, out.manifest); status.failed())
    return status;
  if (Status status = out.weights.map(); status.failed())
    return status;
  uint64_t hash = 0;
  if (Status status = checkWeights(out.weights, flags & QPLAN_VERIFY, hash); status.failed())
    return status;
  // The manifest repeats the header's checksum: weights of another plan are found unread.
  if (Status status = checkHash(out.weights.path(), hash, out.manifest.find(weightsName)->hash);
      status.failed())
    return status;
  if (Status status = out.code.checksum(0, hash); status.failed())
    return status;
  return checkHash(out.code.path(), hash, out.manifest.find(codeName)->hash);
}

/// Whether `folder` is another folder than `before`, the one that had this name.
static bool isReplaced(const std::string &folder, const struct stat &before) {
  struct stat now;
  return stat(folder.c_str(), &now) == 0 &&
         (now.st_dev != before.st_dev || now.st_ino != before.st_ino);
}

/// A compiler exchanges a whole plan for a new one. Files read before and after that do not
/// fit each other, which is no damage: the new plan is read instead.
static Status readPackage(const std::string &folder, uint32_t flags, Package &out) {
  constexpr int attempts = 10;
  for (int i = 1;; ++i) {
    struct stat before;
    bool known = stat(folder.c_str(), &before) == 0;
    Status status = readFiles(folder, flags, out);
    if (!known || !isReplaced(folder, before) || i == attempts)
      return status;
    out = Package();
  }
}

static Status checkMachine(const std::string &folder, const Manifest &manifest) {
  std::string_view triple = manifest.triple;
  std::string_view architecture = triple.substr(0, triple.find('-'));
  if (architecture == "arm64")
    architecture = "aarch64";
  if (architecture != hostArchitecture())
    return fail(QPLAN_MACHINE_FAILURE,
                "%s: the plan is for %s, this machine is %s; compile it with --target for this "
                "machine",
                folder.c_str(), quote(triple).c_str(), std::string(hostArchitecture()).c_str());
  return checkFeatures(manifest.features, folder);
}

/// Loads model.so through its open descriptor. By path, the loader would hand back the old code
/// when another version of the file, since replaced, is still loaded under the same name; the
/// descriptor's number is unique as long as the library holds it.
static Status loadCode(FileMap file, std::unique_ptr<CodeLibrary> &out,
                       const qplan_model_v1 *&code) {
  auto library = std::make_unique<CodeLibrary>();
  library->file = std::move(file);
  const std::string &path = library->file.path();
  std::string link = "/proc/self/fd/" + std::to_string(library->file.descriptor());
  bool haveProc = access(link.c_str(), R_OK) == 0;
  library->handle = dlopen(haveProc ? link.c_str() : path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (!library->handle) {
    const char *reason = dlerror();
    return fail(QPLAN_INVALID_INPUT, "%s: cannot be loaded: %s", path.c_str(),
                reason ? reason : "unknown reason");
  }
  auto query = reinterpret_cast<qplan_model_query_fn>(dlsym(library->handle, "qplan_model_query"));
  if (!query)
    return fail(QPLAN_INVALID_INPUT, "%s: does not export qplan_model_query; not code of a plan",
                path.c_str());
  code = query(QPLAN_ABI_VERSION);
  if (Status status = checkCode(code, path); status.failed())
    return status;
  out = std::move(library);
  return {};
}

/// Manifest and code must speak of the same model.
static Status compareWithManifest(const std::string &folder, const Manifest &manifest,
                                  const qplan_model_v1 &code) {
  const char *field = manifest.name != code.name               ? "name"
                      : manifest.vocabulary != code.vocabulary ? "vocabulary"
                      : manifest.context != code.context       ? "context"
                                                               : nullptr;
  if (!field)
    return {};
  return fail(QPLAN_INVALID_INPUT,
              "%s: \"%s\" in manifest.json differs from what model.so says; the plan is damaged, "
              "compile it again",
              folder.c_str(), field);
}

/// Builds the model once code and weights are known; the rest is common to all ways of opening.
static Status makeModel(const qplan_model_v1 &code, const qplan_options &options,
                        const uint8_t *weights, uint64_t weightBytes, const std::string &where,
                        std::unique_ptr<qplan_model> &out) {
  if (weightBytes != code.weight_bytes)
    return fail(QPLAN_INVALID_INPUT,
                "%s: %llu bytes of weights, the code of %s expects %llu; they belong to different "
                "plans",
                where.c_str(), static_cast<unsigned long long>(weightBytes),
                quote(code.name).c_str(), static_cast<unsigned long long>(code.weight_bytes));
  auto model = std::make_unique<qplan_model>(code, options);
  model->weights = weights;
  if (Status status = model->start(); status.failed())
    return status;
  out = std::move(model);
  return {};
}

static Status openPackage(const std::string &folder, const qplan_options *given,
                          std::unique_ptr<qplan_model> &out) {
  qplan_options options;
  if (Status status = readOptions(given, options); status.failed())
    return status;
  Package package;
  if (Status status = readPackage(folder, options.flags, package); status.failed())
    return status;
  if (options.flags & QPLAN_UNTRUSTED)
    return fail(QPLAN_INVALID_INPUT,
                "%s: the plan holds native code, which is refused for untrusted plans; compile the "
                "checkpoint yourself",
                folder.c_str());
  if (Status status = checkMachine(folder, package.manifest); status.failed())
    return status;
  std::unique_ptr<CodeLibrary> library;
  const qplan_model_v1 *code = nullptr;
  if (Status status = loadCode(std::move(package.code), library, code); status.failed())
    return status;
  if (Status status = compareWithManifest(folder, package.manifest, *code); status.failed())
    return status;
  if (Status status = checkFeatures(code->cpu_features, folder); status.failed())
    return status;
  package.weights.prefetch(options.flags & QPLAN_PREFAULT);
  if (Status status = makeModel(*code, options, package.weights.data(), package.weights.size(),
                                package.weights.path(), out);
      status.failed())
    return status;
  out->weightsFile = std::move(package.weights);
  out->manifest = std::move(package.manifest);
  out->library = std::move(library);
  return {};
}

static Status openStatic(const qplan_model_v1 *code, const std::string &path,
                         const qplan_options *given, std::unique_ptr<qplan_model> &out) {
  qplan_options options;
  if (Status status = readOptions(given, options); status.failed())
    return status;
  if (Status status = checkCode(code, "linked model"); status.failed())
    return status;
  if (Status status = checkFeatures(code->cpu_features, code->name); status.failed())
    return status;
  FileMap weights;
  if (Status status = weights.open(path); status.failed())
    return status;
  if (Status status = weights.map(); status.failed())
    return status;
  uint64_t hash = 0;
  if (Status status = checkWeights(weights, options.flags & QPLAN_VERIFY, hash); status.failed())
    return status;
  weights.prefetch(options.flags & QPLAN_PREFAULT);
  if (Status status = makeModel(*code, options, weights.data(), weights.size(), path, out);
      status.failed())
    return status;
  out->weightsFile = std::move(weights);
  return {};
}

static Status openMemory(const qplan_model_v1 *code, const void *weights, uint64_t bytes,
                         const qplan_options *given, std::unique_ptr<qplan_model> &out) {
  qplan_options options;
  if (Status status = readOptions(given, options); status.failed())
    return status;
  if (Status status = checkCode(code, "linked model"); status.failed())
    return status;
  if (Status status = checkFeatures(code->cpu_features, code->name); status.failed())
    return status;
  std::string where = std::string("weights of ") + code->name;
  if (!weights || reinterpret_cast<uintptr_t>(weights) % 64)
    return fail(QPLAN_INVALID_USAGE, "%s: expected a 64-byte aligned address", where.c_str());
  const auto *data = static_cast<const uint8_t *>(weights);
  WeightsHeader header;
  if (Status status = readWeightsHeader(data, bytes, bytes, where, header); status.failed())
    return status;
  if (options.flags & QPLAN_VERIFY)
    if (Status status = checkHash(where, xxh64(data + header.dataOffset, bytes - header.dataOffset),
                                  header.dataHash);
        status.failed())
      return status;
  return makeModel(*code, options, data, bytes, where, out);
}

/// Ends a C function that makes a model.
static int finish(const Status &status, std::unique_ptr<qplan_model> model, qplan_model **out,
                  char *error, size_t errorSize) {
  *out = status.failed() ? nullptr : model.release();
  return status.report(error, errorSize);
}

static Status nullArgument(const char *function) {
  return fail(QPLAN_INVALID_USAGE, "%s: an argument that must be set is NULL", function);
}

extern "C" {

int qplan_model_open(const char *path, const qplan_options *options, qplan_model **out, char *error,
                     size_t errorSize) {
  if (!out || !path)
    return nullArgument("qplan_model_open").report(error, errorSize);
  std::unique_ptr<qplan_model> model;
  Status status = openPackage(path, options, model);
  return finish(status, std::move(model), out, error, errorSize);
}

int qplan_model_open_static(const qplan_model_v1 *code, const char *path,
                            const qplan_options *options, qplan_model **out, char *error,
                            size_t errorSize) {
  if (!out || !path)
    return nullArgument("qplan_model_open_static").report(error, errorSize);
  std::unique_ptr<qplan_model> model;
  Status status = openStatic(code, path, options, model);
  return finish(status, std::move(model), out, error, errorSize);
}

int qplan_model_open_memory(const qplan_model_v1 *code, const void *weights, uint64_t bytes,
                            const qplan_options *options, qplan_model **out, char *error,
                            size_t errorSize) {
  if (!out)
    return nullArgument("qplan_model_open_memory").report(error, errorSize);
  std::unique_ptr<qplan_model> model;
  Status status = openMemory(code, weights, bytes, options, model);
  return finish(status, std::move(model), out, error, errorSize);
}

int qplan_package_check(const char *path, uint32_t flags, char *error, size_t errorSize) {
  if (!path)
    return nullArgument("qplan_package_check").report(error, errorSize);
  Package package;
  return readPackage(path, flags, package).report(error, errorSize);
}

} // extern "C"

//===- Manifest.cpp - what the runtime reads of manifest.json -------------===//
//
// JSON is parsed with nlohmann_json, its exceptions off: every access looks at the
// type first. Nesting is measured before parsing, so that no recursion over the
// tree can be driven deep by a file.
//===----------------------------------------------------------------------===//
#include "runtime/src/Manifest.h"

#include "runtime/src/Hash.h"

#include <nlohmann/json.hpp>

using namespace qplan;
using nlohmann::json;

/// Greatest depth of brackets outside of strings.
static int nesting(std::string_view text) {
  int depth = 0, most = 0;
  bool inString = false;
  for (size_t i = 0; i < text.size(); ++i) {
    char c = text[i];
    if (inString) {
      if (c == '\\')
        ++i;
      else if (c == '"')
        inString = false;
    } else if (c == '"') {
      inString = true;
    } else if (c == '{' || c == '[') {
      most = std::max(most, ++depth);
    } else if (c == '}' || c == ']') {
      --depth;
    }
  }
  return most;
}

namespace {
/// Reads fields of one object; the first failure is kept and later reads do nothing.
class Fields {
public:
  Fields(const json &object, std::string where) : object(object), where(std::move(where)) {}

  /// A string; absent is allowed when not `required`. Zero bytes are refused: the text is handed
  /// out as a C string.
  void text(const char *key, std::string &out, bool required) {
    const json *value = get(key, required, json::value_t::string, "a string");
    if (!value)
      return;
    out = *value->get_ptr<const std::string *>();
    if (out.size() > 4096 || out.find('\0') != std::string::npos)
      refuse(key, "a string of at most 4096 bytes without zero bytes");
  }

  /// An integer in [low, high].
  template <typename Integer>
  void integer(const char *key, Integer low, Integer high, Integer &out) {
    const json *value = get(key, true, json::value_t::number_unsigned, "a whole number");
    if (!value)
      return;
    uint64_t number = *value->get_ptr<const json::number_unsigned_t *>();
    if (number < static_cast<uint64_t>(low) || number > static_cast<uint64_t>(high))
      status = fail(QPLAN_INVALID_INPUT, "%s: \"%s\" is %llu, expected %llu to %llu", where.c_str(),
                    key, static_cast<unsigned long long>(number),
                    static_cast<unsigned long long>(low), static_cast<unsigned long long>(high));
    out = static_cast<Integer>(number);
  }

  /// An object or array, or null after a failure.
  const json *child(const char *key, json::value_t type, const char *what) {
    return get(key, true, type, what);
  }

  void refuse(const char *key, const char *expected) {
    if (!status.failed())
      status = fail(QPLAN_INVALID_INPUT, "%s: \"%s\" is malformed, expected %s", where.c_str(), key,
                    expected);
  }

  Status status;

private:
  const json *get(const char *key, bool required, json::value_t type, const char *what) {
    if (status.failed())
      return nullptr;
    auto found = object.find(key);
    if (found == object.end()) {
      if (required)
        status = fail(QPLAN_INVALID_INPUT, "%s: \"%s\" is missing, expected %s", where.c_str(), key,
                      what);
      return nullptr;
    }
    if (found->type() != type) {
      refuse(key, what);
      return nullptr;
    }
    return &*found;
  }

  const json &object;
  std::string where;
};
} // namespace

const ManifestFile *Manifest::find(std::string_view file) const {
  auto found = files.find(file);
  return found == files.end() ? nullptr : &found->second;
}

static Status readFeatures(const json &list, const std::string &where, std::string &out) {
  if (list.size() > 1024)
    return fail(QPLAN_INVALID_INPUT, "%s: \"features\" has %zu entries, at most 1024 expected",
                where.c_str(), list.size());
  for (const json &entry : list) {
    const auto *name = entry.get_ptr<const std::string *>();
    if (!name || name->empty() || name->size() > 64 ||
        name->find_first_of(std::string_view(", \0", 3)) != std::string::npos)
      return fail(QPLAN_INVALID_INPUT,
                  "%s: \"features\" must hold names such as \"avx2\", one each", where.c_str());
    out += (out.empty() ? "" : ",") + *name;
  }
  return {};
}

static Status readTarget(const json &target, const std::string &file, Manifest &out) {
  Fields fields(target, file + ": target");
  fields.text("triple", out.triple, true);
  fields.text("cpu", out.cpu, false);
  const json *features = fields.child("features", json::value_t::array, "an array of names");
  if (!features)
    return fields.status;
  return readFeatures(*features, file + ": target", out.features);
}

/// A name that stays inside the package.
static bool isPlainName(const std::string &name) {
  return !name.empty() && name.size() <= 255 && name != "." && name != ".." &&
         name.find_first_of(std::string_view("/\0", 2)) == std::string::npos;
}

static Status readFiles(const json &files, const std::string &file, Manifest &out) {
  if (files.size() > 4096)
    return fail(QPLAN_INVALID_INPUT, "%s: \"files\" has %zu entries, at most 4096 expected",
                file.c_str(), files.size());
  for (const auto &[name, value] : files.items()) {
    if (!isPlainName(name) || !value.is_object())
      return fail(QPLAN_INVALID_INPUT,
                  "%s: \"files\" has %s, expected plain file names with {\"bytes\", \"xxh64\"}",
                  file.c_str(), quote(name).c_str());
    Fields fields(value, file + ": files: " + quote(name));
    ManifestFile entry;
    fields.integer<uint64_t>("bytes", 0, 1ull << 56, entry.bytes);
    std::string hash;
    fields.text("xxh64", hash, true);
    if (!fields.status.failed() && !parseHash(hash, entry.hash))
      fields.refuse("xxh64", "16 hexadecimal digits");
    if (fields.status.failed())
      return fields.status;
    out.files.emplace(name, entry);
  }
  return {};
}

static Status readFields(const json &root, const std::string &file, Manifest &out) {
  Fields fields(root, file);
  int64_t version = 0;
  fields.integer<int64_t>("qplan_manifest", 0, INT64_MAX, version);
  if (!fields.status.failed() && version != Manifest::version)
    return fail(QPLAN_INVALID_INPUT,
                "%s: manifest version %lld, this library reads %lld; compile the model again or "
                "install a matching qplan",
                file.c_str(), static_cast<long long>(version),
                static_cast<long long>(Manifest::version));
  fields.text("qplan_version", out.producer, true);
  fields.text("name", out.name, true);
  fields.text("architecture", out.architecture, true);
  fields.integer<int64_t>("vocabulary", 1, INT32_MAX, out.vocabulary);
  fields.integer<int64_t>("context", 1, INT32_MAX, out.context);
  const json *target = fields.child("target", json::value_t::object, "an object");
  const json *files = fields.child("files", json::value_t::object, "an object");
  if (fields.status.failed())
    return fields.status;
  if (Status status = readTarget(*target, file, out); status.failed())
    return status;
  return readFiles(*files, file, out);
}

Status qplan::parseManifest(std::string text, const std::string &file, Manifest &out) {
  constexpr int maxDepth = 32;
  if (text.size() > Manifest::maxBytes)
    return fail(QPLAN_INVALID_INPUT, "%s: %zu bytes, at most %llu expected", file.c_str(),
                text.size(), static_cast<unsigned long long>(Manifest::maxBytes));
  if (text.find('\0') != std::string::npos)
    return fail(QPLAN_INVALID_INPUT, "%s: holds a zero byte, expected JSON text", file.c_str());
  if (int depth = nesting(text); depth > maxDepth)
    return fail(QPLAN_INVALID_INPUT, "%s: nested %d deep, at most %d expected", file.c_str(), depth,
                maxDepth);
  json root = json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (root.is_discarded() || !root.is_object())
    return fail(QPLAN_INVALID_INPUT, "%s: not a JSON object; the plan is damaged, compile it again",
                file.c_str());
  Manifest result;
  if (Status status = readFields(root, file, result); status.failed())
    return status;
  result.text = std::move(text);
  out = std::move(result);
  return {};
}

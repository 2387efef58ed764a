//===- Target.cpp - processors that plans are compiled for ----------------===//
//
// Code is generated for the oldest processor of the architecture plus an explicit
// list of features, and only tuned for the named one. So the features that a plan
// needs are exactly those it stores, and not whatever else LLVM's table says of
// the processor.
//
//===----------------------------------------------------------------------===//
#include "codegen/cpu/Target.h"
#include "ir/Failure.h"
#include <llvm/ADT/STLExtras.h>
#include <llvm/ADT/SmallVector.h>
#include <llvm/ADT/StringExtras.h>
#include <llvm/MC/MCSubtargetInfo.h>
#include <llvm/MC/TargetRegistry.h>
#include <llvm/Support/TargetSelect.h>
#include <llvm/Target/TargetMachine.h>
#include <llvm/Target/TargetOptions.h>
#include <llvm/TargetParser/Host.h>
#include <llvm/TargetParser/Triple.h>
#include <map>
#include <optional>
#ifdef __linux__
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace qplan {
namespace {

/// What is known of an architecture.
struct Architecture {
  llvm::StringRef name;
  llvm::StringRef triple;
  llvm::StringRef oldest; ///< the CPU that code is generated for
  llvm::ArrayRef<llvm::StringRef> features;
  /// Features that only kernels use: a plan needs them if its kernels do.
  llvm::ArrayRef<llvm::StringRef> kernelFeatures;
};

// Features that LLVM's code generator uses by itself in code such as ours.
constexpr llvm::StringRef x86Features[] = {
    "sse3",         "ssse3",       "sse4.1",          "sse4.2",     "popcnt",     "lzcnt",
    "bmi",          "bmi2",        "movbe",           "avx",        "f16c",       "fma",
    "avx2",         "avxvnni",     "avx512f",         "avx512cd",   "avx512bw",   "avx512dq",
    "avx512vl",     "avx512ifma",  "avx512vbmi",      "avx512vbmi2", "avx512vnni", "avx512bf16",
    "avx512bitalg", "avx512fp16",  "avx512vpopcntdq", "gfni"};
constexpr llvm::StringRef x86KernelFeatures[] = {"amx-tile", "amx-int8"};
constexpr llvm::StringRef armFeatures[] = {"fullfp16", "fp16fml", "dotprod", "rdm", "bf16",
                                           "i8mm"};
const Architecture architectures[] = {
    {"x86_64", "x86_64-unknown-linux-gnu", "x86-64", x86Features,
     x86KernelFeatures},
    {"aarch64", "aarch64-unknown-linux-gnu", "generic", armFeatures, {}}};

/// LLVM's registry has the two architectures from the first use on.
void initializeTargets() {
  static const bool once = [] {
    LLVMInitializeX86TargetInfo(), LLVMInitializeX86Target(), LLVMInitializeX86TargetMC();
    LLVMInitializeX86AsmPrinter(), LLVMInitializeX86AsmParser();
    LLVMInitializeAArch64TargetInfo(), LLVMInitializeAArch64Target();
    LLVMInitializeAArch64TargetMC(), LLVMInitializeAArch64AsmPrinter();
    LLVMInitializeAArch64AsmParser();
    return true;
  }();
  (void)once;
}

llvm::Expected<const llvm::Target *> registryEntry(llvm::StringRef triple) {
  initializeTargets();
  std::string message;
  if (auto *entry = llvm::TargetRegistry::lookupTarget(llvm::Triple(triple), message))
    return entry;
  return defectError("LLVM has no code generator for {}: {}", triple.str(), message);
}

std::unique_ptr<llvm::MCSubtargetInfo> subtarget(const Architecture &arch, llvm::StringRef cpu,
                                                 llvm::StringRef features = "") {
  auto entry = registryEntry(arch.triple);
  if (!entry) {
    llvm::consumeError(entry.takeError());
    return nullptr;
  }
  return std::unique_ptr<llvm::MCSubtargetInfo>(
      (*entry)->createMCSubtargetInfo(llvm::Triple(arch.triple), cpu, features));
}

template <typename Table>
std::string nearest(llvm::StringRef name, const Table &table) {
  std::string best;
  unsigned least = ~0u;
  for (const auto &row : table)
    if (unsigned distance = name.edit_distance(row.Key); distance < least)
      least = distance, best = row.Key;
  return best;
}

bool isAnyCpuOf64Bits(const Architecture &arch, const llvm::MCSubtargetInfo &info) {
  return arch.name != "x86_64" || llvm::any_of(info.getEnabledProcessorFeatures(), [](auto &f) {
           return llvm::StringRef(f.Key) == "64bit";
         });
}

llvm::Error checkCpu(const Architecture &arch, llvm::StringRef cpu) {
  auto info = subtarget(arch, arch.oldest);
  if (!info)
    return defectError("LLVM has no code generator for {}", arch.triple.str());
  if (!info->isCPUStringValid(cpu))
    return usageError("--target: unknown {} processor '{}'; nearest known: '{}' "
                      "(`qplan targets` lists all)",
                      arch.name.str(), cpu.str(),
                      nearest(cpu, info->getAllProcessorDescriptions()));
  if (!isAnyCpuOf64Bits(arch, *subtarget(arch, cpu)))
    return usageError("--target: processor '{}' does not run 64-bit code", cpu.str());
  return llvm::Error::success();
}

/// One `+feature` or `+nofeature` of a target name.
struct Change {
  std::string feature;
  bool on;
};

llvm::Expected<Change> parseChange(const Architecture &arch, llvm::StringRef text) {
  auto info = subtarget(arch, arch.oldest);
  auto isKnown = [&](llvm::StringRef name) {
    return llvm::any_of(info->getAllProcessorFeatures(),
                        [&](const auto &row) { return name == row.Key; });
  };
  if (isKnown(text))
    return Change{text.str(), true};
  llvm::StringRef name = text;
  if (name.consume_front("no") && isKnown(name))
    return Change{name.str(), false};
  return usageError("--target: unknown {} feature '{}'; nearest known: '{}'", arch.name.str(),
                    name.str(), nearest(name, info->getAllProcessorFeatures()));
}

std::string targetName(const Architecture &arch, llvm::StringRef cpu,
                       llvm::ArrayRef<Change> changes) {
  std::string name = fmt::format("{}-linux:{}", arch.name.str(), cpu.str());
  for (const Change &change : changes)
    name += (change.on ? "+" : "+no") + change.feature;
  return name;
}

const Architecture *findArchitecture(llvm::StringRef triple) {
  llvm::Triple parsed(llvm::Triple::normalize(triple));
  // "aarch64-linux" normalises to "aarch64-unknown-linux" or "aarch64-linux".
  if (!triple.contains("linux"))
    return nullptr;
  for (const Architecture &arch : architectures)
    if (parsed.getArch() == llvm::Triple(arch.triple).getArch())
      return &arch;
  return nullptr;
}

const Architecture *hostArchitecture() {
  return findArchitecture(llvm::sys::getProcessTriple());
}

/// Canonical order, each feature once, the last word counts; those that change
/// nothing are dropped.
std::vector<Change> canonical(const Architecture &arch, llvm::StringRef cpu,
                              llvm::ArrayRef<Change> changes) {
  llvm::StringSet<> before;
  for (const auto &feature : subtarget(arch, cpu)->getEnabledProcessorFeatures())
    before.insert(feature.Key);
  std::map<std::string, bool> wanted;
  for (const Change &change : changes)
    wanted[change.feature] = change.on;
  std::vector<Change> result;
  for (const auto &[feature, on] : wanted)
    if (before.contains(feature) != on)
      result.push_back({feature, on});
  return result;
}

llvm::Expected<Target> makeTarget(const Architecture &arch, llvm::StringRef cpu,
                                  llvm::ArrayRef<Change> asked) {
  if (llvm::Error error = checkCpu(arch, cpu))
    return error;
  std::vector<Change> changes = canonical(arch, cpu, asked);
  std::string text;
  for (const Change &change : changes)
    text += (text.empty() ? "" : ",") + std::string(change.on ? "+" : "-") + change.feature;
  Target target;
  target.name = targetName(arch, cpu, changes);
  target.triple = arch.triple.str();
  target.arch = arch.name.str();
  target.cpu = cpu.str();
  for (const auto &feature : subtarget(arch, cpu, text)->getEnabledProcessorFeatures())
    target.allFeatures.insert(feature.Key);
  for (llvm::StringRef feature : arch.features)
    if (target.hasFeature(feature))
      target.features.push_back(feature.str());
  return target;
}

/// Linux saves the tile registers of AMX and lends them to those who ask. Sandboxes
/// often show the processor's features but refuse this.
bool systemGivesTiles() {
#if defined(__x86_64__) && defined(__linux__)
  constexpr long getSupported = 0x1021;
  constexpr uint64_t tileData = uint64_t{1} << 18;
  uint64_t supported = 0;
  return syscall(SYS_arch_prctl, getSupported, &supported) == 0 && (supported & tileData);
#else
  return false;
#endif
}

/// This machine: LLVM's name for the processor, less what a hypervisor hides.
llvm::Expected<Target> makeHostTarget() {
  const Architecture *arch = hostArchitecture();
  if (!arch)
    return machineError("--target cpu: this machine ({}) is neither x86-64 nor AArch64 Linux; "
                        "name a target that is",
                        llvm::sys::getProcessTriple());
  llvm::StringRef cpu = llvm::sys::getHostCPUName();
  auto info = subtarget(*arch, arch->oldest);
  if (!info || !info->isCPUStringValid(cpu))
    cpu = arch->oldest;
  std::vector<Change> changes;
  auto host = llvm::sys::getHostCPUFeatures();
  for (llvm::StringRef feature : arch->features)
    if (auto found = host.find(feature); found != host.end())
      changes.push_back({feature.str(), found->second});
  for (llvm::StringRef feature : arch->kernelFeatures)
    changes.push_back({feature.str(), host.lookup(feature) && systemGivesTiles()});
  return makeTarget(*arch, cpu, changes);
}

/// Features of `kernels` without signs.
std::vector<std::string> featuresOf(const KernelBitcode &kernels) {
  llvm::SmallVector<llvm::StringRef> parts;
  llvm::StringRef(kernels.features).split(parts, ',', -1, /*KeepEmpty=*/false);
  std::vector<std::string> names;
  for (llvm::StringRef part : parts) {
    part = part.trim();
    part.consume_front("+");
    names.push_back(part.str());
  }
  return names;
}

std::vector<std::string> usedFeatures(const Target &target, const KernelBitcode &kernels) {
  std::vector<std::string> used = target.features;
  for (std::string &feature : featuresOf(kernels))
    if (!llvm::is_contained(used, feature))
      used.push_back(std::move(feature));
  return used;
}

} // namespace

llvm::Expected<Target> parseTarget(llvm::StringRef name) {
  auto [where, rest] = name.split(':');
  llvm::SmallVector<llvm::StringRef> parts;
  // `cpu+feature` changes this machine.
  if (!name.contains(':'))
    std::tie(where, rest) = std::pair(name.split('+').first, name.substr(name.find('+')));
  rest.split(parts, '+');
  const Architecture *arch = where == "cpu" ? hostArchitecture() : findArchitecture(where);
  if (where == "cpu" && parts.front().empty() && parts.size() == 1)
    return makeHostTarget();
  if (!arch)
    return usageError("--target: '{}' is not a CPU target; expected `cpu`, `cpu:CPU`, "
                      "`x86_64-linux:CPU` or `aarch64-linux:CPU`, each with `+feature` behind",
                      name.str());
  std::vector<Change> changes;
  std::string cpu = parts.front().str();
  if (cpu.empty() && where == "cpu") {
    auto host = makeHostTarget();
    if (!host)
      return host.takeError();
    cpu = host->cpu;
    for (llvm::StringRef feature : llvm::concat<const llvm::StringRef>(arch->features,
                                                                       arch->kernelFeatures))
      changes.push_back({feature.str(), host->hasFeature(feature)});
  } else if (cpu.empty()) {
    cpu = arch->oldest.str();
  }
  for (llvm::StringRef part : llvm::ArrayRef(parts).drop_front()) {
    auto change = parseChange(*arch, part);
    if (!change)
      return change.takeError();
    changes.push_back(*change);
  }
  return makeTarget(*arch, cpu, changes);
}

std::string hostTargetName() {
  auto host = makeHostTarget();
  if (host)
    return host->name;
  llvm::consumeError(host.takeError());
  return "";
}

std::vector<TargetListing> listTargets() {
  std::vector<TargetListing> listing;
  auto add = [&](llvm::Expected<Target> target) {
    if (!target)
      return llvm::consumeError(target.takeError());
    auto kernels = chooseKernels(*target);
    if (!kernels)
      return llvm::consumeError(kernels.takeError());
    listing.push_back({target->name, (*kernels)->level});
  };
  add(makeHostTarget());
  for (const Architecture &arch : architectures)
    if (auto info = subtarget(arch, arch.oldest))
      for (const auto &row : info->getAllProcessorDescriptions())
        add(makeTarget(arch, row.Key, {}));
  return listing;
}

llvm::Expected<const KernelBitcode *> chooseKernels(const Target &target,
                                                    llvm::ArrayRef<KernelBitcode> levels) {
  if (levels.empty()) {
    size_t count = 0;
    const KernelBitcode *all = qplan_kernel_bitcode(&count);
    levels = llvm::ArrayRef(all, count);
  }
  for (const KernelBitcode &level : levels)
    if (level.arch == target.arch &&
        llvm::all_of(featuresOf(level), [&](auto &name) { return target.hasFeature(name); }))
      return &level;
  return defectError("no kernels for target {}: this build embeds none for {}", target.name,
                     target.arch);
}

std::string requiredFeatures(const Target &target, const KernelBitcode &kernels) {
  return llvm::join(usedFeatures(target, kernels), ",");
}

llvm::Expected<std::unique_ptr<llvm::TargetMachine>>
createTargetMachine(const Target &target, const KernelBitcode &kernels) {
  auto entry = registryEntry(target.triple);
  if (!entry)
    return entry.takeError();
  std::string features = "+" + llvm::join(usedFeatures(target, kernels), ",+");
  llvm::StringRef oldest = findArchitecture(target.triple)->oldest;
  std::unique_ptr<llvm::TargetMachine> machine((*entry)->createTargetMachine(
      llvm::Triple(target.triple), oldest, features.size() > 1 ? features : "",
      llvm::TargetOptions(), llvm::Reloc::PIC_, llvm::CodeModel::Small,
      llvm::CodeGenOptLevel::Aggressive));
  if (!machine)
    return defectError("LLVM cannot generate code for {}", target.name);
  return machine;
}

} // namespace qplan

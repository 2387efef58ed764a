//===- EmitTest.cpp - emitted code computes what the plan says ------------===//
#include "SmallPlan.h"
#include "codegen/cpu/Cpu.h"
#include <dlfcn.h>
#include <fstream>
#include <llvm/Object/ELFObjectFile.h>
#include <set>

using namespace qplan;
using namespace qplan::test;

namespace {

Target host() { return llvm::cantFail(parseTarget("cpu")); }

void expectSmallResult(const qplan_model_v1 &model, qplan_env_v1 env) {
  int32_t status = -1;
  std::vector<float> logits = runSmallPlan(model, {3, 0, 15, 7, 7}, {1, 2, 4}, env, &status);
  ASSERT_EQ(status, QPLAN_OK);
  const int32_t expected[] = {0, 15, 7};
  for (int64_t i = 0; i < 3; ++i)
    for (int64_t k = 0; k < width; ++k)
      EXPECT_FLOAT_EQ(logits[i * vocabulary + k],
                      (1 + scale * value) * tableEntry(expected[i], k))
          << "row " << i << ", column " << k;
}

/// Names of the defined and undefined symbols of an object that others see.
std::set<std::string> visibleSymbols(llvm::ArrayRef<char> bytes, bool defined) {
  auto file = llvm::cantFail(llvm::object::ObjectFile::createObjectFile(
      llvm::MemoryBufferRef({bytes.data(), bytes.size()}, "object")));
  std::set<std::string> names;
  auto *elf = llvm::cast<llvm::object::ELFObjectFileBase>(file.get());
  auto dynamic = elf->getDynamicSymbolIterators();
  bool isShared = elf->getEType() == llvm::ELF::ET_DYN;
  auto add = [&](const llvm::object::SymbolRef &symbol) {
    uint32_t flags = llvm::cantFail(symbol.getFlags());
    bool isDefined = !(flags & llvm::object::SymbolRef::SF_Undefined);
    std::string name = llvm::cantFail(symbol.getName()).str();
    if ((flags & llvm::object::SymbolRef::SF_Global) && isDefined == defined && !name.empty())
      names.insert(name);
  };
  if (isShared)
    llvm::for_each(dynamic, add);
  else
    llvm::for_each(elf->symbols(), add);
  return names;
}

TEST(Emit, JitComputesThePlan) {
  mlir::MLIRContext context;
  auto plan = preparePlan(context, smallPlan);
  ASSERT_TRUE(plan);
  auto jit = jitModel(*plan, host());
  ASSERT_TRUE(bool(jit)) << llvm::toString(jit.takeError());
  const qplan_model_v1 &model = *(*jit)->model();
  EXPECT_STREQ(model.name, "tiny");
  EXPECT_EQ(model.size, sizeof(qplan_model_v1));
  EXPECT_EQ(std::string(model.target), host().name);
  EXPECT_EQ(model.vocabulary, 16);
  EXPECT_EQ(model.context, 64);
  EXPECT_EQ(model.weight_bytes, 64u + 2048u);
  expectSmallResult(model, {sizeof(qplan_env_v1), 1, nullptr, nullptr});
  int64_t tasks = 0;
  expectSmallResult(model, {sizeof(qplan_env_v1), 4, &tasks, runBackwards});
}

TEST(Emit, BuffersThatAreNotAliveTogetherShareMemory) {
  mlir::MLIRContext context;
  auto plan = preparePlan(context, smallPlan);
  ASSERT_TRUE(plan);
  // x, y and z are alive together; `rows` takes the place of a dead one.
  EXPECT_EQ(*(*plan->getOps<plan::ProgramOp>().begin()).getArenaPerToken(), 192u);
}

TEST(Emit, ForwardRefusesSizesBeyondThePlan) {
  mlir::MLIRContext context;
  auto plan = preparePlan(context, smallPlan);
  auto jit = jitModel(*plan, host());
  ASSERT_TRUE(bool(jit)) << llvm::toString(jit.takeError());
  int32_t status = -1;
  qplan_env_v1 env = {sizeof(env), 1, nullptr, nullptr};
  runSmallPlan(*(*jit)->model(), std::vector<int32_t>(9, 1), {}, env, &status);
  EXPECT_EQ(status, QPLAN_INVALID_USAGE);
  runSmallPlan(*(*jit)->model(), {1}, {0, 0}, env, &status);
  EXPECT_EQ(status, QPLAN_INVALID_USAGE);
  env.size = 8;
  runSmallPlan(*(*jit)->model(), {1}, {0}, env, &status);
  EXPECT_EQ(status, QPLAN_INVALID_USAGE);
}

TEST(Emit, SharedObjectExportsOneSymbolAndRuns) {
  mlir::MLIRContext context;
  auto plan = preparePlan(context, smallPlan);
  auto emitted = emitModel(*plan, host());
  ASSERT_TRUE(bool(emitted)) << llvm::toString(emitted.takeError());
  EXPECT_EQ(visibleSymbols(emitted->object, true), std::set<std::string>{"tiny_query"});
  EXPECT_EQ(visibleSymbols(emitted->sharedObject, true),
            std::set<std::string>{"qplan_model_query"});
  for (const std::string &name : visibleSymbols(emitted->object, false))
    EXPECT_TRUE(name == "memcpy" || name == "memset" || name == "_GLOBAL_OFFSET_TABLE_") << name;

  std::string path = testing::TempDir() + "/qplan_emit_test.so";
  std::ofstream(path, std::ios::binary)
      .write(emitted->sharedObject.data(), emitted->sharedObject.size());
  void *library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  ASSERT_TRUE(library) << dlerror();
  auto query = reinterpret_cast<qplan_model_query_fn>(dlsym(library, "qplan_model_query"));
  ASSERT_TRUE(query);
  EXPECT_EQ(query(0), nullptr);
  ASSERT_TRUE(query(QPLAN_ABI_VERSION));
  expectSmallResult(*query(QPLAN_ABI_VERSION), {sizeof(qplan_env_v1), 1, nullptr, nullptr});
  dlclose(library);
  remove(path.c_str());
}

TEST(Emit, SamePlanGivesSameBytes) {
  mlir::MLIRContext context;
  auto plan = preparePlan(context, smallPlan);
  auto first = emitModel(*plan, host()), second = emitModel(*plan, host());
  ASSERT_TRUE(first && second);
  EXPECT_TRUE(first->object == second->object);
  EXPECT_TRUE(first->sharedObject == second->sharedObject);
}

TEST(Emit, EveryEmbeddedLevelCompiles) {
  mlir::MLIRContext context;
  auto plan = preparePlan(context, smallPlan);
  for (const char *name : {"x86_64-linux", "x86_64-linux:x86-64-v3", "x86_64-linux:x86-64-v4",
                           "x86_64-linux:znver5", "x86_64-linux:alderlake", "aarch64-linux",
                           "aarch64-linux:neoverse-v1"}) {
    Target target = llvm::cantFail(parseTarget(name));
    auto emitted = emitModel(*plan, target);
    ASSERT_TRUE(bool(emitted)) << name << ": " << llvm::toString(emitted.takeError());
    EXPECT_EQ(visibleSymbols(emitted->sharedObject, true),
              std::set<std::string>{"qplan_model_query"});
  }
}

TEST(Emit, LevelsThatRunHereAgree) {
  mlir::MLIRContext context;
  auto plan = preparePlan(context, smallPlan);
  for (const char *name : {"x86_64-linux", "x86_64-linux:x86-64-v3", "x86_64-linux:x86-64-v4"}) {
    auto jit = jitModel(*plan, llvm::cantFail(parseTarget(name)));
    if (!jit) { // another machine than the level needs
      llvm::consumeError(jit.takeError());
      continue;
    }
    expectSmallResult(*(*jit)->model(), {sizeof(qplan_env_v1), 1, nullptr, nullptr});
  }
}

TEST(Emit, TextIsMadeOnDemand) {
  mlir::MLIRContext context;
  auto plan = preparePlan(context, smallPlan);
  EmitOptions options;
  options.object = options.sharedObject = false;
  options.llvmText = options.assembly = true;
  auto emitted = emitModel(*plan, host(), options);
  ASSERT_TRUE(bool(emitted)) << llvm::toString(emitted.takeError());
  EXPECT_TRUE(emitted->object.empty() && emitted->sharedObject.empty());
  EXPECT_NE(emitted->llvmText.find("define ptr @tiny_query(i32"), std::string::npos);
  EXPECT_NE(emitted->assembly.find("tiny_query:"), std::string::npos);
}

TEST(Emit, PlanWithoutPlacesIsAnError) {
  mlir::MLIRContext context;
  context.loadDialect<plan::PlanDialect>();
  auto plan = mlir::parseSourceString<mlir::ModuleOp>(smallPlan, &context);
  auto emitted = emitModel(*plan, host());
  ASSERT_FALSE(bool(emitted));
  EXPECT_NE(llvm::toString(emitted.takeError()).find("run plan-assign-memory first"),
            std::string::npos);
}

} // namespace

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

TEST(Emit, SamePlanGivesSameBytesOnAnyThreads) {
  mlir::MLIRContext context;
  auto plan = preparePlan(context, smallPlan);
  EmitOptions options;
  options.threads = 3;
  auto first = emitModel(*plan, host()), second = emitModel(*plan, host(), options);
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

/// Stores columns 0..15 as keys and 16..31 as values, in layer 0 and in layer 1.
const char *layersPlan = R"(
  plan.program @layers attributes {vocabulary = 16 : i64, hidden = 16 : i64, max_context = 64 : i64,
      max_tokens = 8 : i64, kv_page_tokens = 16 : i64, kv_page_bytes = 4096 : i64,
      kv_format = "f32"} {
    plan.weight @table {source = "table", format = "f32", packing = "panel16", rows = 16 : i64,
        cols = 32 : i64, bytes = 2048 : i64}
    plan.buffer @x {per_token = 128 : i64}
    plan.launch "embed" (@x) weights(@table) params {K = 32 : i64, N = 16 : i64, element = 0 : i64,
        group = 32 : i64, scale = 0 : i64, hasMin = 0 : i64, offset = 0 : i64,
        multiplier = 1.0 : f64} reads [] writes [0]
    plan.launch "kv_store" (@x) weights() params {column = 0 : i64, vColumn = 16 : i64,
        ld = 32 : i64, kvHeads = 1 : i64, headDim = 16 : i64, layer = 0 : i64, layers = 2 : i64,
        kvElement = 0 : i64, kvGroup = 16 : i64, kvScale = 0 : i64,
        kvZero = 0 : i64, kvFixed = 0 : i64, pageTokens = 16 : i64} reads [0] writes []
    plan.launch "kv_store" (@x) weights() params {column = 0 : i64, vColumn = 16 : i64,
        ld = 32 : i64, kvHeads = 1 : i64, headDim = 16 : i64, layer = 1 : i64, layers = 2 : i64,
        kvElement = 0 : i64, kvGroup = 16 : i64, kvScale = 0 : i64,
        kvZero = 0 : i64, kvFixed = 0 : i64, pageTokens = 16 : i64} reads [0] writes []
  }
)";

TEST(Emit, LayersShareCodeAndWriteToTheirOwnPlaces) {
  mlir::MLIRContext context;
  auto plan = preparePlan(context, layersPlan);
  ASSERT_TRUE(plan);
  EmitOptions options;
  options.llvmText = true;
  auto emitted = emitModel(*plan, host(), options);
  ASSERT_TRUE(bool(emitted)) << llvm::toString(emitted.takeError());
  EXPECT_EQ(emitted->llvmText.find("@layers.k2"), std::string::npos);
  auto jit = jitModel(*plan, host());
  ASSERT_TRUE(bool(jit)) << llvm::toString(jit.takeError());
  const qplan_model_v1 &model = *(*jit)->model();

  Aligned weights(64 + 2048), arena(3 * model.arena_bytes_per_token), page(4096);
  auto *table = reinterpret_cast<float *>(weights.data() + 64);
  for (int64_t k = 0; k < 32; ++k)
    for (int64_t r = 0; r < 16; ++r)
      table[16 * k + r] = tableEntry(r, k);
  void *pages[] = {page.data()};
  const int32_t tokens[] = {4, 9, 2}, positions[] = {5, 6, 7}, rowSequence[] = {0, 0, 0};
  qplan_sequence_v1 sequence = {0, 3, 5, pages};
  qplan_args_v1 args = {sizeof(args), weights.data(), arena.data(), 3,       1,       0, tokens,
                        positions,    rowSequence,    nullptr,      &sequence, nullptr, nullptr};
  qplan_env_v1 env = {sizeof(env), 1, nullptr, nullptr};
  ASSERT_EQ(model.forward(&env, &args), QPLAN_OK);
  auto *cache = reinterpret_cast<const float *>(page.data());
  for (int64_t layer = 0; layer < 2; ++layer)
    for (int64_t isValue = 0; isValue < 2; ++isValue)
      for (int64_t t = 0; t < 3; ++t)
        for (int64_t k = 0; k < 16; ++k)
          EXPECT_EQ(cache[((layer * 2 + isValue) * 16 + positions[t]) * 16 + k],
                    tableEntry(tokens[t], 16 * isValue + k));
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

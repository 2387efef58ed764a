//===- AssignMemoryTest.cpp - buffers that live together lie apart --------===//
#include "codegen/plan/Passes.h"
#include <gtest/gtest.h>
#include <map>
#include <mlir/Pass/PassManager.h>
#include <random>

using namespace qplan::plan;

namespace {

/// A program whose launch i reads some earlier values and writes a new one.
mlir::OwningOpRef<mlir::ModuleOp> randomProgram(mlir::MLIRContext &context, unsigned seed) {
  std::mt19937 random(seed);
  auto below = [&](int n) { return static_cast<int64_t>(random() % n); };
  mlir::OpBuilder builder(&context);
  auto loc = builder.getUnknownLoc();
  mlir::OwningOpRef<mlir::ModuleOp> module = mlir::ModuleOp::create(loc);
  builder.setInsertionPointToEnd(module->getBody());
  std::vector<mlir::NamedAttribute> attributes;
  for (const char *name : {"vocabulary", "hidden", "max_context", "max_tokens", "kv_page_tokens",
                           "kv_page_bytes"})
    attributes.push_back(builder.getNamedAttr(name, builder.getI64IntegerAttr(16)));
  attributes.push_back(builder.getNamedAttr("kv_format", builder.getStringAttr("f32")));
  auto program = ProgramOp::create(builder, loc, "p", attributes);
  builder.setInsertionPointToEnd(&program.getBlock());
  std::vector<std::string> names;
  int64_t count = 2 + below(40);
  for (int64_t i = 0; i < count; ++i) {
    int64_t kind = below(6), size = 64 * (1 + below(20));
    names.push_back("b" + std::to_string(i));
    BufferOp::create(builder, loc, names.back(), kind != 0 ? size : 0, kind < 2 ? size : 0,
                     mlir::IntegerAttr(), mlir::IntegerAttr());
  }
  auto params = builder.getDictionaryAttr(
      {builder.getNamedAttr("K", builder.getI64IntegerAttr(16)),
       builder.getNamedAttr("kind", builder.getI64IntegerAttr(0)),
       builder.getNamedAttr("rows", builder.getI64IntegerAttr(0)),
       builder.getNamedAttr("scale", builder.getF64FloatAttr(1))});
  for (int64_t i = 0; i < count; ++i) {
    llvm::StringRef a = names[below(i + 1)], b = names[below(i + 1)], out = names[i];
    llvm::SmallVector<int64_t> reads, writes = {2};
    (a == out ? writes : reads).push_back(0);
    (b == out ? writes : reads).push_back(1);
    LaunchOp::create(builder, loc, "binary", {a, b, out}, {}, params, reads, writes);
  }
  return module;
}

struct Life {
  int64_t first, last;
};

/// Checks every pair of buffers for several numbers of tokens.
void expectApart(ProgramOp program) {
  std::map<std::string, Life> lives;
  int64_t time = 0;
  for (LaunchOp launch : program.getLaunches()) {
    for (auto symbol : launch.getBuffers().getAsRange<mlir::FlatSymbolRefAttr>())
      lives.try_emplace(symbol.getValue().str(), Life{time, time}).first->second.last = time;
    ++time;
  }
  std::vector<BufferOp> buffers(program.getBuffers().begin(), program.getBuffers().end());
  for (int64_t tokens : {1, 2, 7, 512})
    for (size_t i = 0; i < buffers.size(); ++i) {
      auto begin = [&](BufferOp b) { return *b.getOffsetFixed() + tokens * *b.getOffsetPerToken(); };
      auto end = [&](BufferOp b) { return begin(b) + b.getFixed() + tokens * b.getPerToken(); };
      EXPECT_LE(end(buffers[i]), *program.getArenaFixed() + tokens * *program.getArenaPerToken());
      for (size_t j = 0; j < i; ++j) {
        Life a = lives[buffers[i].getSymName().str()], b = lives[buffers[j].getSymName().str()];
        bool together = a.first <= b.last && b.first <= a.last;
        bool apart = end(buffers[i]) <= begin(buffers[j]) || end(buffers[j]) <= begin(buffers[i]);
        EXPECT_TRUE(!together || apart)
            << buffers[i].getSymName().str() << " and " << buffers[j].getSymName().str();
      }
    }
}

TEST(AssignMemory, BuffersThatLiveTogetherLieApart) {
  mlir::MLIRContext context;
  context.loadDialect<PlanDialect>();
  for (unsigned seed = 0; seed < 200; ++seed) {
    auto module = randomProgram(context, seed);
    mlir::PassManager passes(&context);
    passes.addNestedPass<ProgramOp>(createPlanAssignMemory());
    ASSERT_TRUE(mlir::succeeded(passes.run(*module))) << "seed " << seed;
    expectApart(*module->getOps<ProgramOp>().begin());
  }
}

TEST(AssignMemory, SamePlacesEveryTime) {
  mlir::MLIRContext context;
  context.loadDialect<PlanDialect>();
  std::string texts[2];
  for (std::string &text : texts) {
    auto module = randomProgram(context, 5);
    mlir::PassManager passes(&context);
    passes.addNestedPass<ProgramOp>(createPlanAssignMemory());
    ASSERT_TRUE(mlir::succeeded(passes.run(*module)));
    llvm::raw_string_ostream(text) << *module;
  }
  EXPECT_EQ(texts[0], texts[1]);
}

} // namespace

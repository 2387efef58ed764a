//===- InlineKernelsTest.cpp - only what parameters choose is inlined -----===//
#include "codegen/cpu/InlineKernels.h"
#include "codegen/cpu/Parts.h"
#include <gtest/gtest.h>
#include <llvm/AsmParser/Parser.h>
#include <llvm/IR/InstIterator.h>
#include <llvm/IR/Instructions.h>
#include <llvm/IR/Module.h>
#include <llvm/IR/Verifier.h>
#include <llvm/Support/SourceMgr.h>

using namespace qplan;

namespace {

// As kernels do: parameters in a struct, which is copied, changed and passed on by its address,
// with calls in between that write elsewhere. @first and @second call each other: inlining them
// would not end.
const char *const kernel = R"(
  %Params = type { i64, i64, ptr }

  define internal void @first(ptr %out) alwaysinline {
    call void @second(ptr %out)
    ret void
  }
  define internal void @second(ptr %out) alwaysinline {
    call void @first(ptr %out)
    ret void
  }
  define internal void @fill(ptr %out) noinline {
    store i64 0, ptr %out
    ret void
  }
  define internal void @deep(ptr %params, ptr %out) alwaysinline {
    %kind = load i64, ptr %params
    %is_seven = icmp eq i64 %kind, 7
    br i1 %is_seven, label %seven, label %other
  seven:
    %size = getelementptr i8, ptr %params, i64 8
    %value = load i64, ptr %size
    store i64 %value, ptr %out
    ret void
  other:
    call void @first(ptr %out)
    ret void
  }
  define internal void @middle(ptr %given, ptr %out) alwaysinline {
    %copy = alloca %Params
    call void @llvm.memcpy.p0.p0.i64(ptr %copy, ptr %given, i64 24, i1 false)
    call void @fill(ptr %out)
    call void @deep(ptr %copy, ptr %out)
    call void @fill(ptr %out)
    call void @deep(ptr %copy, ptr %out)
    ret void
  }
  define void @run(ptr %out) {
    %params = alloca %Params
    store i64 7, ptr %params
    %size = getelementptr i8, ptr %params, i64 8
    store i64 42, ptr %size
    call void @middle(ptr %params, ptr %out)
    ret void
  }
)";

TEST(InlineKernels, DropsWhatParametersDoNotChooseBeforeItIsInlined) {
  llvm::LLVMContext context;
  llvm::SMDiagnostic problem;
  auto module = llvm::parseAssemblyString(kernel, problem, context);
  ASSERT_TRUE(module) << problem.getMessage().str();
  runModulePasses(*module, nullptr, [](auto &, auto &passes) { addKernelInlining(passes); });

  EXPECT_FALSE(llvm::verifyModule(*module, &llvm::errs()));
  std::vector<std::string> names;
  for (const llvm::Function &function : *module)
    if (!function.isDeclaration())
      names.push_back(function.getName().str());
  EXPECT_EQ(names, (std::vector<std::string>{"fill", "run"}));
  int stores = 0;
  for (const llvm::Instruction &instruction : llvm::instructions(*module->getFunction("run")))
    if (auto *store = llvm::dyn_cast<llvm::StoreInst>(&instruction)) {
      auto *value = llvm::dyn_cast<llvm::ConstantInt>(store->getValueOperand());
      EXPECT_TRUE(value && value->getZExtValue() == 42);
      ++stores;
    }
  EXPECT_EQ(stores, 2);
}

} // namespace

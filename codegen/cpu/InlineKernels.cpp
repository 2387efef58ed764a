//===- InlineKernels.cpp - what parameters decide, decided early ----------===//
//
// See InlineKernels.h. What a kernel knows of its parameters it keeps in structs, which its
// functions take by their address. A field is known in a callee as soon as that is inlined
// only if no call in between may have written it, and if it was stored by itself: so the
// attributes of functions are found first, copies of structs become copies of their fields,
// and the folding between two levels looks for stores beyond calls.
//
//===----------------------------------------------------------------------===//
#include "codegen/cpu/InlineKernels.h"
#include <llvm/Analysis/CGSCCPassManager.h>
#include <llvm/IR/IRBuilder.h>
#include <llvm/IR/InstIterator.h>
#include <llvm/IR/IntrinsicInst.h>
#include <llvm/IR/Module.h>
#include <llvm/Transforms/IPO/FunctionAttrs.h>
#include <llvm/Transforms/IPO/GlobalDCE.h>
#include <llvm/Transforms/Scalar/EarlyCSE.h>
#include <llvm/Transforms/Scalar/SCCP.h>
#include <llvm/Transforms/Scalar/SROA.h>
#include <llvm/Transforms/Scalar/SimplifyCFG.h>
#include <llvm/Transforms/Utils/Cloning.h>

namespace qplan {
namespace {

/// Whether all that `type` holds are numbers and addresses, as in what a kernel knows of its
/// parameters; vectors and arrays hold data.
bool holdsScalars(llvm::Type *type) {
  if (auto *fields = llvm::dyn_cast<llvm::StructType>(type))
    return llvm::all_of(fields->elements(), holdsScalars);
  return type->isSingleValueType() && !type->isVectorTy();
}

/// The struct of scalars that `copy` copies whole; null if it copies something else.
llvm::StructType *copiedStruct(const llvm::MemCpyInst &copy) {
  auto *length = llvm::dyn_cast<llvm::ConstantInt>(copy.getLength());
  for (const llvm::Value *side : {copy.getSource(), copy.getDest()})
    if (auto *variable = llvm::dyn_cast<llvm::AllocaInst>(side); variable && length)
      if (auto *type = llvm::dyn_cast<llvm::StructType>(variable->getAllocatedType());
          type && holdsScalars(type) &&
          copy.getDataLayout().getTypeAllocSize(type) == length->getZExtValue())
        return type;
  return nullptr;
}

/// Copies what lies `offset` bytes into the operands of `copy`, a `type`, field by field.
void copyFields(llvm::IRBuilder<> &builder, llvm::MemCpyInst &copy, llvm::Type *type,
                uint64_t offset) {
  if (auto *fields = llvm::dyn_cast<llvm::StructType>(type)) {
    const llvm::StructLayout *layout = copy.getDataLayout().getStructLayout(fields);
    for (unsigned i = 0; i < fields->getNumElements(); ++i)
      copyFields(builder, copy, fields->getElementType(i), offset + layout->getElementOffset(i));
    return;
  }
  auto at = [&](llvm::Value *side) { return builder.CreatePtrAdd(side, builder.getInt64(offset)); };
  auto aligned = [&](llvm::MaybeAlign align) {
    return llvm::commonAlignment(align.valueOrOne(), offset);
  };
  llvm::Value *field =
      builder.CreateAlignedLoad(type, at(copy.getSource()), aligned(copy.getSourceAlign()));
  builder.CreateAlignedStore(field, at(copy.getDest()), aligned(copy.getDestAlign()));
}

struct SplitCopiesPass : llvm::PassInfoMixin<SplitCopiesPass> {
  llvm::PreservedAnalyses run(llvm::Function &function, llvm::FunctionAnalysisManager &) {
    bool changed = false;
    for (llvm::Instruction &instruction : llvm::make_early_inc_range(llvm::instructions(function)))
      if (auto *copy = llvm::dyn_cast<llvm::MemCpyInst>(&instruction); copy && !copy->isVolatile())
        if (llvm::StructType *type = copiedStruct(*copy)) {
          llvm::IRBuilder<> builder(copy);
          copyFields(builder, *copy, type, 0);
          copy->eraseFromParent();
          changed = true;
        }
    return changed ? llvm::PreservedAnalyses::none() : llvm::PreservedAnalyses::all();
  }
  static bool isRequired() { return true; }
};

/// The calls in `caller` that must be inlined.
llvm::SmallVector<llvm::CallBase *> requiredCalls(llvm::Function &caller) {
  llvm::SmallVector<llvm::CallBase *> calls;
  for (llvm::Instruction &instruction : llvm::instructions(caller)) {
    auto *call = llvm::dyn_cast<llvm::CallBase>(&instruction);
    const llvm::Function *callee = call ? call->getCalledFunction() : nullptr;
    if (callee && callee != &caller && !callee->isDeclaration() &&
        callee->hasFnAttribute(llvm::Attribute::AlwaysInline))
      calls.push_back(call);
  }
  return calls;
}

/// Inlines those of `caller`; whether there were any that could be.
bool inlineLevel(llvm::Function &caller) {
  bool changed = false;
  for (llvm::CallBase *call : requiredCalls(caller)) {
    llvm::InlineFunctionInfo info;
    changed |= llvm::InlineFunction(*call, info, /*MergeAttributes=*/true).isSuccess();
  }
  return changed;
}

struct InlineKernelsPass : llvm::PassInfoMixin<InlineKernelsPass> {
  llvm::PreservedAnalyses run(llvm::Module &module, llvm::ModuleAnalysisManager &modules) {
    auto &analyses =
        modules.getResult<llvm::FunctionAnalysisManagerModuleProxy>(module).getManager();
    llvm::FunctionPassManager fold;
    fold.addPass(SplitCopiesPass());
    fold.addPass(llvm::SROAPass(llvm::SROAOptions::ModifyCFG));
    fold.addPass(llvm::EarlyCSEPass(/*UseMemorySSA=*/true));
    fold.addPass(llvm::SCCPPass());
    fold.addPass(llvm::SimplifyCFGPass());
    for (llvm::Function &caller : module) {
      if (caller.isDeclaration() || caller.hasFnAttribute(llvm::Attribute::AlwaysInline))
        continue;
      do {
        analyses.invalidate(caller, llvm::PreservedAnalyses::none());
        analyses.invalidate(caller, fold.run(caller, analyses));
      } while (inlineLevel(caller));
    }
    return llvm::PreservedAnalyses::none();
  }
  static bool isRequired() { return true; }
};

} // namespace

void addKernelInlining(llvm::ModulePassManager &passes) {
  llvm::FunctionPassManager alone;
  alone.addPass(SplitCopiesPass());
  alone.addPass(llvm::SROAPass(llvm::SROAOptions::ModifyCFG));
  alone.addPass(llvm::EarlyCSEPass());
  alone.addPass(llvm::SimplifyCFGPass());
  passes.addPass(llvm::createModuleToFunctionPassAdaptor(std::move(alone)));
  passes.addPass(llvm::createModuleToPostOrderCGSCCPassAdaptor(llvm::PostOrderFunctionAttrsPass()));
  passes.addPass(InlineKernelsPass());
  passes.addPass(llvm::GlobalDCEPass());
}

} // namespace qplan

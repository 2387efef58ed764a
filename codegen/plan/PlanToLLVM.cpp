//===- PlanToLLVM.cpp - launches become calls -----------------------------===//
//
// Decides the shape of emitted code. For each distinct (kernel, parameters):
//   NAME.kI.KERNEL(args, places, index, count)   part of the work, one call of qk_KERNEL
//   NAME.kI.KERNEL.task(context, index)          the same, as `parallel` calls it
//   NAME.kI.KERNEL.run(env, args, places)        splits the work over the threads
// For each launch: a constant array of places (`places`), and in NAME_forward one
// call of `run`. The qk_ functions are bodies in bitcode, linked and inlined later.
// NAME_launches, where it is wanted, runs some of the launches.
//
//===----------------------------------------------------------------------===//
#include "codegen/plan/KernelTable.h"
#include "codegen/plan/Passes.h"
#include "qplan/abi.h"
#include <cstddef>
#include <fmt/format.h>
#include <llvm/ADT/MapVector.h>
#include <llvm/ADT/bit.h>
#include <mlir/Dialect/LLVMIR/LLVMDialect.h>

namespace qplan::plan {
#define GEN_PASS_DEF_PLANTOLLVM
#include "codegen/plan/Passes.h.inc"

using namespace mlir;

namespace {

static_assert(sizeof(qplan_model_v1) == 128, "modelFields() lists every field");

/// One specialised kernel: what its launches have in common.
struct Specialisation {
  const KernelSignature *kernel;
  SmallVector<int64_t> params; ///< in the kernel's order; 0 where passed at run time
  size_t buffers;              ///< operands given; later ones are null
  size_t weights;
  std::string prefix;       ///< "NAME.k3.rms_norm"
  LLVM::LLVMFuncOp run = {}; ///< (env, args, places)
};

/// Emits LLVM dialect code with few words.
class Emitter {
public:
  OpBuilder builder;
  Location loc;
  Type i8, i32, i64, pointer, none;

  explicit Emitter(ModuleOp module)
      : builder(module.getContext()), loc(module.getLoc()), i8(builder.getI8Type()),
        i32(builder.getI32Type()), i64(builder.getI64Type()),
        pointer(LLVM::LLVMPointerType::get(module.getContext())),
        none(LLVM::LLVMVoidType::get(module.getContext())), module(module) {
    builder.setInsertionPointToEnd(module.getBody());
  }

  /// Starts function `name`; the insertion point moves into its entry block.
  LLVM::LLVMFuncOp begin(const Twine &name, Type result, ArrayRef<Type> arguments,
                         LLVM::Linkage linkage = LLVM::Linkage::Internal) {
    builder.setInsertionPointToEnd(module.getBody());
    auto function = LLVM::LLVMFuncOp::create(builder, loc, name.str(),
                                             LLVM::LLVMFunctionType::get(result, arguments), linkage);
    function.setNoUnwind(true);
    builder.setInsertionPointToStart(function.addEntryBlock(builder));
    return function;
  }
  /// Finds or declares the external function `name`.
  LLVM::LLVMFuncOp declare(const Twine &name, Type result, ArrayRef<Type> arguments) {
    std::string text = name.str();
    if (auto known = module.lookupSymbol<LLVM::LLVMFuncOp>(text))
      return known;
    OpBuilder::InsertionGuard guard(builder);
    builder.setInsertionPointToStart(module.getBody());
    return LLVM::LLVMFuncOp::create(builder, loc, text,
                                    LLVM::LLVMFunctionType::get(result, arguments));
  }
  Block *addBlock() {
    Region *region = builder.getInsertionBlock()->getParent();
    return &region->emplaceBlock();
  }
  void ret(ValueRange values = {}) { LLVM::ReturnOp::create(builder, loc, values); }
  Value constant(int64_t value) {
    return LLVM::ConstantOp::create(builder, loc, i64, builder.getI64IntegerAttr(value));
  }
  Value constant32(int32_t value) {
    return LLVM::ConstantOp::create(builder, loc, i32, builder.getI32IntegerAttr(value));
  }
  Value null() { return LLVM::ZeroOp::create(builder, loc, pointer); }
  Value addressOf(LLVM::LLVMFuncOp f) { return LLVM::AddressOfOp::create(builder, loc, f); }
  Value addressOf(LLVM::GlobalOp g) { return LLVM::AddressOfOp::create(builder, loc, g); }
  Value offset(Value base, LLVM::GEPArg bytes) {
    return LLVM::GEPOp::create(builder, loc, pointer, i8, base, bytes);
  }
  Value load(Value base, int64_t bytes, Type type) {
    return LLVM::LoadOp::create(builder, loc, type, offset(base, bytes));
  }
  void store(Value value, Value base, int64_t bytes) {
    LLVM::StoreOp::create(builder, loc, value, offset(base, bytes));
  }
  /// `count` words of 8 bytes on the stack.
  Value stack(size_t count) {
    Value size = constant(std::max<size_t>(count, 1));
    return LLVM::AllocaOp::create(builder, loc, pointer, i64, size, /*alignment=*/8);
  }
  Value compare(LLVM::ICmpPredicate predicate, Value a, Value b) {
    return LLVM::ICmpOp::create(builder, loc, predicate, a, b);
  }
  void branch(Value condition, Block *yes, Block *no) {
    LLVM::CondBrOp::create(builder, loc, condition, yes, no);
  }
  /// Goes to the block of the number that `value` is, or to `otherwise`.
  void dispatch(Value value, Block *otherwise, ArrayRef<int64_t> numbers,
                ArrayRef<Block *> blocks) {
    auto cases = DenseIntElementsAttr::get(
        RankedTensorType::get({int64_t(numbers.size())}, i64), numbers);
    SmallVector<ValueRange> none(blocks.size());
    LLVM::SwitchOp::create(builder, loc, value, otherwise, ValueRange(), cases, blocks, none);
  }
  void enter(Block *block) { builder.setInsertionPointToStart(block); }
  void call(LLVM::LLVMFuncOp callee, ValueRange operands) {
    LLVM::CallOp::create(builder, loc, callee, operands);
  }

  /// A constant array of 8-byte words. Not empty, which the dialect refuses.
  LLVM::GlobalOp words(const Twine &name, SmallVector<int64_t> values) {
    if (values.empty())
      values.push_back(0);
    OpBuilder::InsertionGuard guard(builder);
    builder.setInsertionPointToEnd(module.getBody());
    return LLVM::GlobalOp::create(builder, loc, LLVM::LLVMArrayType::get(i64, values.size()),
                                  /*isConstant=*/true, LLVM::Linkage::Internal, name.str(),
                                  builder.getI64TensorAttr(values), /*alignment=*/8);
  }
  /// A constant string that ends in a zero byte.
  LLVM::GlobalOp text(const Twine &name, StringRef value) {
    std::string bytes = value.str() + '\0';
    OpBuilder::InsertionGuard guard(builder);
    builder.setInsertionPointToEnd(module.getBody());
    return LLVM::GlobalOp::create(builder, loc, LLVM::LLVMArrayType::get(i8, bytes.size()),
                                  /*isConstant=*/true, LLVM::Linkage::Internal, name.str(),
                                  builder.getStringAttr(bytes));
  }

private:
  ModuleOp module;
};

/// Lowers one program. Words of `places` in order: byte offset of each weight;
/// (fixed, per token) offsets of each buffer; the parameters passed at run time.
class ProgramLowering {
public:
  ProgramLowering(ProgramOp program, Emitter &emit, const PlanToLLVMOptions &options)
      : program(program), symbols(program), emit(emit), options(options),
        name(program.getSymName().str()) {}

  LogicalResult lower() {
    if (!program.getArenaFixed() || !program.getArenaPerToken())
      return program.emitOpError() << "has no arena sizes: run plan-assign-memory first";
    if (!program.getWeightBytes())
      return program.emitOpError() << "has no weight_bytes: run plan-assign-weights first";
    SmallVector<std::pair<Specialisation *, LLVM::GlobalOp>> steps;
    for (LaunchOp launch : program.getLaunches()) {
      Specialisation &special = specialisationFor(launch);
      FailureOr<SmallVector<int64_t>> places = placesOf(launch, special);
      if (failed(places))
        return failure();
      steps.emplace_back(&special, emit.words(fmt::format("{}.places.{}", name, steps.size()),
                                              std::move(*places)));
    }
    launches = steps.size();
    emitQuery(emitForward(steps));
    if (options.launchRange)
      emitLaunches(steps);
    return success();
  }

  size_t launches = 0;
  size_t functions() const { return specialisations.size(); }

private:
  ProgramOp program;
  SymbolTable symbols;
  Emitter &emit;
  const PlanToLLVMOptions &options;
  std::string name;
  /// By kernel, parameters and operand counts; in order of first use.
  llvm::MapVector<Attribute, std::unique_ptr<Specialisation>> specialisations;

  /// The value of a parameter as a word: an integer or the bits of a double.
  static int64_t wordOf(Attribute value) {
    if (auto number = dyn_cast<FloatAttr>(value))
      return llvm::bit_cast<int64_t>(number.getValueAsDouble());
    return cast<IntegerAttr>(value).getInt();
  }

  Specialisation &specialisationFor(LaunchOp launch) {
    const KernelSignature *kernel = findKernel(launch.getKernel());
    Specialisation fresh{kernel, {}, launch.getBuffers().size(), launch.getWeights().size(), {}};
    for (const KernelParameter &parameter : kernel->parameters)
      fresh.params.push_back(parameter.atRunTime ? 0
                                                 : wordOf(launch.getParams().get(parameter.name)));
    Builder &builder = emit.builder;
    Attribute key = builder.getArrayAttr(
        {launch.getKernelAttr(), builder.getDenseI64ArrayAttr(fresh.params),
         builder.getDenseI64ArrayAttr({int64_t(fresh.buffers), int64_t(fresh.weights)})});
    std::unique_ptr<Specialisation> &slot = specialisations[key];
    if (!slot) {
      fresh.prefix =
          fmt::format("{}.k{}.{}", name, specialisations.size() - 1, kernel->name.str());
      slot = std::make_unique<Specialisation>(std::move(fresh));
      emitSpecialisation(*slot);
    }
    return *slot;
  }

  FailureOr<SmallVector<int64_t>> placesOf(LaunchOp launch, const Specialisation &special) {
    SmallVector<int64_t> places;
    for (auto symbol : launch.getWeights().getAsRange<FlatSymbolRefAttr>()) {
      auto weight = symbols.lookup<WeightOp>(symbol.getAttr());
      if (!weight.getOffset())
        return weight.emitOpError() << "has no offset: run plan-assign-weights first";
      places.push_back(*weight.getOffset());
    }
    for (auto symbol : launch.getBuffers().getAsRange<FlatSymbolRefAttr>()) {
      auto buffer = symbols.lookup<BufferOp>(symbol.getAttr());
      if (!buffer.getOffsetFixed())
        return buffer.emitOpError() << "has no place: run plan-assign-memory first";
      places.append({int64_t(*buffer.getOffsetFixed()), int64_t(*buffer.getOffsetPerToken())});
    }
    for (const KernelParameter &parameter : special.kernel->parameters)
      if (parameter.atRunTime)
        places.push_back(wordOf(launch.getParams().get(parameter.name)));
    return places;
  }

  //===--------------------------------------------------------------------===//
  // Functions that launches share
  //===--------------------------------------------------------------------===//

  void emitSpecialisation(Specialisation &special) {
    LLVM::GlobalOp params = emit.words(special.prefix + ".params", special.params);
    LLVM::LLVMFuncOp part = emitPart(special, params);
    LLVM::LLVMFuncOp task = emitTask(special, part);
    special.run = emitRun(special, params, part, task);
  }

  /// The parameter array: the constant one, or a copy on the stack with the
  /// parameters of this launch filled in (which folds away after inlining).
  Value paramsOf(const Specialisation &special, LLVM::GlobalOp constants, Value places) {
    ArrayRef<KernelParameter> parameters = special.kernel->parameters;
    if (llvm::none_of(parameters, [](const KernelParameter &p) { return p.atRunTime; }))
      return emit.addressOf(constants);
    Value copy = emit.stack(parameters.size());
    int64_t word = special.weights + 2 * special.buffers;
    for (size_t i = 0; i < parameters.size(); ++i)
      emit.store(parameters[i].atRunTime ? emit.load(places, 8 * word++, emit.i64)
                                         : emit.constant(special.params[i]),
                 copy, 8 * i);
    return copy;
  }

  /// PREFIX(args, places, index, count): makes pointers of places and calls the kernel.
  LLVM::LLVMFuncOp emitPart(const Specialisation &special, LLVM::GlobalOp constants) {
    Type p = emit.pointer, i = emit.i64;
    LLVM::LLVMFuncOp part = emit.begin(special.prefix, emit.none, {p, p, i, i});
    // Kept apart, so that thirty layers share one body and it is found in profiles.
    part.setNoInline(true);
    Value args = part.getArgument(0), places = part.getArgument(1);
    const KernelSignature &kernel = *special.kernel;
    Value buffers = emit.stack(kernel.buffers), weights = emit.stack(kernel.weights);
    Value weightBase = emit.load(args, offsetof(qplan_args_v1, weights), p);
    Value arena = emit.load(args, offsetof(qplan_args_v1, arena), p);
    Value tokens = emit.load(args, offsetof(qplan_args_v1, tokens), i);
    for (size_t w = 0; w < kernel.weights; ++w)
      emit.store(w < special.weights ? emit.offset(weightBase, emit.load(places, 8 * w, i))
                                     : emit.null(),
                 weights, 8 * w);
    for (size_t b = 0; b < kernel.buffers; ++b) {
      int64_t word = special.weights + 2 * b;
      emit.store(b < special.buffers ? bufferAt(arena, tokens, places, word) : emit.null(),
                 buffers, 8 * b);
    }
    Value params = paramsOf(special, constants, places);
    emit.call(emit.declare("qk_" + kernel.name, emit.none, {p, p, p, p, i, i}),
              {args, params, buffers, weights, part.getArgument(2), part.getArgument(3)});
    emit.ret();
    return part;
  }

  Value bufferAt(Value arena, Value tokens, Value places, int64_t word) {
    Value fixed = emit.load(places, 8 * word, emit.i64);
    Value perToken = emit.load(places, 8 * (word + 1), emit.i64);
    Value grown = LLVM::MulOp::create(emit.builder, emit.loc, tokens, perToken);
    return emit.offset(emit.offset(arena, fixed), grown);
  }

  /// PREFIX.task(context {args, places, count}, index).
  LLVM::LLVMFuncOp emitTask(const Specialisation &special, LLVM::LLVMFuncOp part) {
    LLVM::LLVMFuncOp task =
        emit.begin(special.prefix + ".task", emit.none, {emit.pointer, emit.i64});
    Value context = task.getArgument(0);
    emit.call(part, {emit.load(context, 0, emit.pointer), emit.load(context, 8, emit.pointer),
                     task.getArgument(1), emit.load(context, 16, emit.i64)});
    emit.ret();
    return task;
  }

  /// PREFIX.run(env, args, places): one call, or as many as the kernel likes.
  LLVM::LLVMFuncOp emitRun(const Specialisation &special, LLVM::GlobalOp constants,
                           LLVM::LLVMFuncOp part, LLVM::LLVMFuncOp task) {
    Type p = emit.pointer, i = emit.i64;
    LLVM::LLVMFuncOp run = emit.begin(special.prefix + ".run", emit.none, {p, p, p});
    run.setNoInline(true);
    Value env = run.getArgument(0), args = run.getArgument(1), places = run.getArgument(2);
    Value context = emit.stack(3);
    Value params = paramsOf(special, constants, places);
    Value threads = emit.load(env, offsetof(qplan_env_v1, threads), i);
    auto tasksOf = emit.declare("qk_" + special.kernel->name + "_tasks", i, {p, p, i});
    Value count =
        LLVM::CallOp::create(emit.builder, emit.loc, tasksOf, ValueRange{args, params, threads})
            .getResult();
    Value parallel = emit.load(env, offsetof(qplan_env_v1, parallel), p);
    Value many = emit.compare(LLVM::ICmpPredicate::sgt, count, emit.constant(1));
    Value able = emit.compare(LLVM::ICmpPredicate::ne, parallel, emit.null());
    Value split = LLVM::AndOp::create(emit.builder, emit.loc, many, able);
    Block *here = emit.addBlock(), *spread = emit.addBlock();
    emit.branch(split, spread, here);

    // Results do not depend on `count`, so without `parallel` one part is enough.
    emit.enter(here);
    emit.call(part, {args, places, emit.constant(0), emit.constant(1)});
    emit.ret();

    emit.enter(spread);
    emit.store(args, context, 0);
    emit.store(places, context, 8);
    emit.store(count, context, 16);
    Value user = emit.load(env, offsetof(qplan_env_v1, user), p);
    auto type = LLVM::LLVMFunctionType::get(emit.none, {p, i, p, p});
    LLVM::CallOp::create(emit.builder, emit.loc, type,
                         ValueRange{parallel, user, count, emit.addressOf(task), context});
    emit.ret();
    return run;
  }

  //===--------------------------------------------------------------------===//
  // Functions of the program
  //===--------------------------------------------------------------------===//

  /// Returns QPLAN_INVALID_USAGE unless `low` <= value <= `high`.
  void requireRange(Value value, Value low, Value high) {
    Value tooLow = emit.compare(LLVM::ICmpPredicate::slt, value, low);
    Value tooHigh = emit.compare(LLVM::ICmpPredicate::sgt, value, high);
    Value bad = LLVM::OrOp::create(emit.builder, emit.loc, tooLow, tooHigh);
    Block *refuse = emit.addBlock(), *proceed = emit.addBlock();
    emit.branch(bad, refuse, proceed);
    emit.enter(refuse);
    emit.ret(emit.constant32(QPLAN_INVALID_USAGE));
    emit.enter(proceed);
  }

  /// NAME_forward(env, args): checks sizes, then runs the launches in order.
  LLVM::LLVMFuncOp
  emitForward(ArrayRef<std::pair<Specialisation *, LLVM::GlobalOp>> steps) {
    Type p = emit.pointer;
    LLVM::LLVMFuncOp forward = emit.begin(name + "_forward", emit.i32, {p, p});
    Value env = forward.getArgument(0), args = forward.getArgument(1);
    Value most = emit.constant(INT64_MAX);
    requireRange(emit.load(env, offsetof(qplan_env_v1, size), emit.i64),
                 emit.constant(sizeof(qplan_env_v1)), most);
    requireRange(emit.load(args, offsetof(qplan_args_v1, size), emit.i64),
                 emit.constant(sizeof(qplan_args_v1)), most);
    Value tokens = emit.load(args, offsetof(qplan_args_v1, tokens), emit.i64);
    requireRange(tokens, emit.constant(1), emit.constant(program.getMaxTokens()));
    requireRange(emit.load(args, offsetof(qplan_args_v1, logit_rows), emit.i64), emit.constant(0),
                 tokens);
    for (auto &[special, places] : steps)
      emit.call(special->run, {env, args, emit.addressOf(places)});
    emit.ret(emit.constant32(QPLAN_OK));
    return forward;
  }

  /// NAME_launches(env, args, first, end), 0 <= first < end <= launches: a chain of blocks, one
  /// for each launch, that is entered at `first`.
  void emitLaunches(ArrayRef<std::pair<Specialisation *, LLVM::GlobalOp>> steps) {
    Type p = emit.pointer, i = emit.i64;
    LLVM::LLVMFuncOp range =
        emit.begin(name + "_launches", emit.none, {p, p, i, i}, LLVM::Linkage::External);
    Value env = range.getArgument(0), args = range.getArgument(1), end = range.getArgument(3);
    SmallVector<Block *> blocks;
    SmallVector<int64_t> numbers;
    for (size_t n = 0; n < steps.size(); ++n) {
      numbers.push_back(int64_t(n));
      blocks.push_back(emit.addBlock());
    }
    Block *done = emit.addBlock();
    emit.dispatch(range.getArgument(2), done, numbers, blocks);
    for (auto [n, step] : llvm::enumerate(steps)) {
      emit.enter(blocks[n]);
      emit.call(step.first->run, {env, args, emit.addressOf(step.second)});
      Block *next = n + 1 < steps.size() ? blocks[n + 1] : done;
      emit.branch(emit.compare(LLVM::ICmpPredicate::sgt, end, emit.constant(int64_t(n) + 1)), next,
                  done);
    }
    emit.enter(done);
    emit.ret();
  }

  /// The fields of qplan_model_v1 in order, in the initialiser at the insertion point.
  SmallVector<Value> modelFields(ArrayRef<LLVM::GlobalOp> texts, LLVM::LLVMFuncOp forward) {
    SmallVector<Value> fields = {emit.constant32(QPLAN_ABI_VERSION),
                                 emit.constant32(sizeof(qplan_model_v1))};
    for (LLVM::GlobalOp text : texts)
      fields.push_back(emit.addressOf(text));
    for (uint64_t number :
         {program.getVocabulary(), program.getMaxContext(), program.getMaxTokens(),
          program.getKvPageTokens(), program.getKvPageBytes(), *program.getWeightBytes(),
          *program.getArenaFixed(), *program.getArenaPerToken(), program.getStatisticsBytes()})
      fields.push_back(emit.constant(number));
    fields.push_back(emit.addressOf(forward));
    return fields;
  }

  /// NAME_query(version): the constant qplan_model_v1, or null for version 0.
  void emitQuery(LLVM::LLVMFuncOp forward) {
    Type p = emit.pointer;
    LLVM::GlobalOp texts[] = {emit.text(name + ".name", name),
                              emit.text(name + ".producer", options.producer),
                              emit.text(name + ".target", options.target),
                              emit.text(name + ".features", options.features),
                              emit.text(name + ".kv_format", program.getKvFormat())};
    SmallVector<Type> types(2, emit.i32);
    types.append(5, p);
    types.append(9, emit.i64);
    types.push_back(p);
    auto type = LLVM::LLVMStructType::getLiteral(emit.builder.getContext(), types);
    LLVM::LLVMFuncOp query =
        emit.begin(name + "_query", p, {emit.i32}, LLVM::Linkage::External);
    auto model = emitModel(type, texts, forward, query);
    Value known = emit.compare(LLVM::ICmpPredicate::uge, query.getArgument(0),
                               emit.constant32(QPLAN_ABI_VERSION));
    Value answer = LLVM::SelectOp::create(emit.builder, emit.loc, known, emit.addressOf(model),
                                          emit.null());
    emit.ret(answer);
  }

  LLVM::GlobalOp emitModel(Type type, ArrayRef<LLVM::GlobalOp> texts, LLVM::LLVMFuncOp forward,
                           Operation *before) {
    OpBuilder::InsertionGuard guard(emit.builder);
    emit.builder.setInsertionPoint(before);
    auto model = LLVM::GlobalOp::create(emit.builder, emit.loc, type, /*isConstant=*/true,
                                        LLVM::Linkage::Internal, name + ".model", Attribute());
    emit.builder.createBlock(&model.getInitializerRegion());
    Value value = LLVM::UndefOp::create(emit.builder, emit.loc, type);
    for (auto [index, field] : llvm::enumerate(modelFields(texts, forward)))
      value = LLVM::InsertValueOp::create(emit.builder, emit.loc, value, field,
                                          static_cast<int64_t>(index));
    emit.ret(value);
    return model;
  }
};

struct PlanToLLVMPass : impl::PlanToLLVMBase<PlanToLLVMPass> {
  using PlanToLLVMBase::PlanToLLVMBase;
  void runOnOperation() override {
    Emitter emit(getOperation());
    PlanToLLVMOptions names{target, features, producer, launchRange};
    for (ProgramOp program : llvm::make_early_inc_range(getOperation().getOps<ProgramOp>())) {
      ProgramLowering lowering(program, emit, names);
      if (failed(lowering.lower()))
        return signalPassFailure();
      launches += lowering.launches;
      functions += lowering.functions();
      program.erase();
    }
  }
};

} // namespace
} // namespace qplan::plan

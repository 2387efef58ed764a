//===- LivePass.cpp - one forward pass, launch by launch ------------------===//
//
// See LivePass.h. A run can be entered at a launch when all that later launches read is
// in the buffers that are saved: no keys and values were stored before it that are read
// after it. Of those launches the ones with little to save are used, which for decoders
// are the beginnings of norms and linears.
//
//===----------------------------------------------------------------------===//

#include "codegen/driver/LivePass.h"

#include "ir/Failure.h"

#include <cstdlib>
#include <cstring>
#include <numeric>

using namespace mlir;
using namespace qplan;

int64_t LivePass::Step::number(llvm::StringRef name, int64_t otherwise) const {
  auto value = params.getAs<IntegerAttr>(name);
  return value ? value.getInt() : otherwise;
}

LivePass::~LivePass() {
  std::free(arena);
  std::free(cache);
}

void LivePass::readProgram() {
  plan::ProgramOp program = live.program();
  llvm::StringMap<size_t> bufferNumber;
  llvm::StringMap<int64_t> weightOffset;
  for (plan::BufferOp op : program.getBuffers()) {
    bufferNumber[op.getSymName()] = buffers.size();
    buffers.push_back({uint64_t(*op.getOffsetFixed() + length * *op.getOffsetPerToken()),
                       uint64_t(op.getFixed() + length * op.getPerToken()), -1, -1});
  }
  for (plan::WeightOp op : program.getWeights())
    if (op.getOffset())
      weightOffset[op.getSymName()] = *op.getOffset();
  for (plan::LaunchOp op : program.getLaunches()) {
    const int64_t index = int64_t(steps.size());
    Step &step = steps.emplace_back();
    step.kernel = op.getKernel().str();
    step.params = op.getParams();
    for (auto symbol : op.getBuffers().getAsRange<FlatSymbolRefAttr>())
      step.buffers.push_back(bufferNumber.lookup(symbol.getValue()));
    for (auto symbol : op.getWeights().getAsRange<FlatSymbolRefAttr>())
      weightReader.try_emplace(weightOffset.lookup(symbol.getValue()), index);
    for (int64_t i : op.getReads())
      buffers[step.buffers[size_t(i)]].lastRead = index;
    for (int64_t i : op.getWrites()) {
      Buffer &buffer = buffers[step.buffers[size_t(i)]];
      if (buffer.firstWrite < 0)
        buffer.firstWrite = index;
    }
    if (auto sites = op.getSites())
      for (Attribute site : *sites)
        siteLaunch.try_emplace(cast<StringAttr>(site).getValue(), index);
  }
}

void LivePass::findEntries() {
  const int64_t count = launches();
  std::vector<bool> open(size_t(count), true);
  std::map<int64_t, int64_t> stored; // launch that stored the keys and values of a layer
  for (int64_t i = 0; i < count; ++i) {
    const int64_t layer = steps[size_t(i)].number("layer", -1);
    if (layer < 0)
      continue;
    const int64_t since = stored.try_emplace(layer, i).first->second;
    for (int64_t inside = since + 1; inside <= i; ++inside)
      open[size_t(inside)] = false;
  }
  uint64_t least = UINT64_MAX;
  for (int64_t i = 1; i < count; ++i)
    if (uint64_t bytes = stateBytes(i); open[size_t(i)] && bytes > 0)
      least = std::min(least, bytes);
  entries.assign(size_t(count) + 1, 0);
  for (int64_t i = 1; i < count; ++i) {
    const bool cheap = open[size_t(i)] && stateBytes(i) / 3 < least;
    entries[size_t(i)] = cheap ? i : entries[size_t(i) - 1];
  }
}

llvm::Error LivePass::reserve() {
  const qplan_model_v1 &code = live.description();
  if (length > code.max_tokens || length > code.context)
    return inputError("samples of {} tokens exceed the context of {}; give a smaller "
                      "--calib-length",
                      length, std::min(code.context, code.max_tokens));
  auto lined = [](uint64_t bytes) { return (bytes + 63) / 64 * 64; };
  const uint64_t arenaBytes =
      lined(code.arena_bytes_fixed + uint64_t(length) * code.arena_bytes_per_token + 64);
  const uint64_t count = (uint64_t(length) + code.kv_page_tokens - 1) / code.kv_page_tokens;
  const uint64_t pageBytes = lined(code.kv_page_bytes);
  arena = static_cast<uint8_t *>(std::aligned_alloc(64, arenaBytes));
  cache = static_cast<uint8_t *>(std::aligned_alloc(64, count * pageBytes + 64));
  if (!arena || !cache)
    return machineError("scoring needs {} bytes of memory for a window of {} tokens",
                        arenaBytes + count * pageBytes, length);
  for (uint64_t p = 0; p < count && code.kv_page_bytes; ++p)
    pages.push_back(cache + p * pageBytes);
  return llvm::Error::success();
}

llvm::Expected<std::unique_ptr<LivePass>> LivePass::create(LiveModel &live, int64_t tokens) {
  std::unique_ptr<LivePass> pass(new LivePass(live, tokens));
  if (auto error = pass->reserve())
    return std::move(error);
  pass->readProgram();
  pass->findEntries();
  pass->positions.resize(size_t(tokens));
  std::iota(pass->positions.begin(), pass->positions.end(), 0);
  pass->logitRow = pass->positions;
  pass->rowSequence.assign(size_t(tokens), 0);
  return pass;
}

llvm::Error LivePass::begin(llvm::ArrayRef<int32_t> tokens, float *logits) {
  for (int32_t token : tokens)
    if (token < 0 || token >= live.vocabulary())
      return inputError("a token of the calibration text has id {}, expected 0 to {}; is the "
                        "tokenizer that of the model?",
                        token, live.vocabulary() - 1);
  tokenIds = tokens.vec();
  sequence = {0, length, 0, pages.data()};
  args.arena = arena;
  args.tokens = length;
  args.sequences = 1;
  args.logit_rows = logits ? length : 0;
  args.token_ids = tokenIds.data();
  args.positions = positions.data();
  args.row_sequence = rowSequence.data();
  args.logit_row = logitRow.data();
  args.sequence = &sequence;
  args.logits = logits;
  return llvm::Error::success();
}

void LivePass::run(int64_t first, int64_t end) {
  if (first < end)
    live.runLaunches(args, first, end);
}

int64_t LivePass::readerOf(plan::WeightOp weight) const {
  auto found = weightReader.find(*weight.getOffset());
  return found == weightReader.end() ? launches() : found->second;
}

int64_t LivePass::launchOf(llvm::StringRef site) const {
  auto found = siteLaunch.find(site);
  return found == siteLaunch.end() ? launches() : found->second;
}

int64_t LivePass::observerAt(int64_t offset) const {
  for (int64_t i = 0; i < launches(); ++i)
    if (const Step &step = steps[size_t(i)];
        step.kernel == "observe" && step.number("offset", -1) == offset)
      return i;
  return launches();
}

CacheStore LivePass::storeOf(int64_t layer) const {
  for (int64_t i = 0; i < launches(); ++i)
    if (const Step &step = steps[size_t(i)];
        step.kernel == "kv_store" && step.number("layer", -1) == layer)
      return {i, step.number("column", 0), step.number("vColumn", 0)};
  return {launches(), 0, 0};
}

LiveRows LivePass::inputOf(int64_t index) const {
  const Step &step = steps[size_t(index)];
  LiveRows rows;
  rows.first = reinterpret_cast<float *>(arena + buffers[step.buffers[0]].offset);
  if (step.kernel == "observe")
    rows.first += step.number("column", 0);
  rows.columns = step.number("K", step.number("ld", 0)); // keys and values are in whole rows
  rows.stride = step.number("ldi", step.number("ld", rows.columns));
  const int64_t kind = step.number("rows", 0);
  const bool slots = step.number("slotInput", 0) != 0;
  rows.count = slots      ? length * step.number("topk", 1)
               : kind > 1 ? length * kind
               : kind == 1 ? args.logit_rows
                           : length;
  return rows;
}

int64_t LivePass::entryFor(int64_t index) const { return entries[size_t(index)]; }

uint64_t LivePass::stateBytes(int64_t index) const {
  uint64_t sum = 0;
  for (const Buffer &buffer : buffers)
    if (buffer.firstWrite >= 0 && buffer.firstWrite < index && buffer.lastRead >= index)
      sum += buffer.bytes;
  return sum;
}

void LivePass::saveState(int64_t index, uint8_t *to) const {
  for (const Buffer &buffer : buffers)
    if (buffer.firstWrite >= 0 && buffer.firstWrite < index && buffer.lastRead >= index) {
      std::memcpy(to, arena + buffer.offset, buffer.bytes);
      to += buffer.bytes;
    }
}

void LivePass::loadState(int64_t index, const uint8_t *from) {
  for (const Buffer &buffer : buffers)
    if (buffer.firstWrite >= 0 && buffer.firstWrite < index && buffer.lastRead >= index) {
      std::memcpy(arena + buffer.offset, from, buffer.bytes);
      from += buffer.bytes;
    }
}

//===- Step.cpp - push new tokens of many sessions through a model --------===//
//
// A step checks all of its work first, then reserves all memory, then runs passes of
// at most max_tokens rows, each a ragged batch of whole or partial items in order.
// Lengths of sessions change only at the very end, so that a failure anywhere leaves
// every sequence as it was: cache positions beyond a length are never read.
//===----------------------------------------------------------------------===//
#include "runtime/src/Model.h"

#include <algorithm>
#include <cstring>

using namespace qplan;

namespace {
/// The rows of one item in one pass.
struct Slice {
  int64_t item, begin, end; ///< tokens [begin, end) of the item
};

/// One call of qplan_step.
class Step {
public:
  Step(qplan_model &model, int64_t count, qplan_work *items)
      : model(model), count(count), items(items) {}
  ~Step();

  Status run();

private:
  Status claimSessions();
  Status checkItem(int64_t index) const;
  Status checkTokens(int64_t index) const;
  Status reserve();
  Status runPasses();
  Status runPass();
  void describePass();
  Status callForward();
  float *passLogits();
  void scatterLogits(const float *from) const;
  int64_t logitRows(const Slice &slice) const;
  float *destination(const Slice &slice) const;

  int64_t vocabulary() const { return model.code.vocabulary; }

  qplan_model &model;
  const int64_t count;
  qplan_work *const items;
  int64_t claimed = 0;              ///< items whose sessions carry our mark
  std::vector<float *> logits;      ///< per item: where its logits go, or null
  std::vector<Slice> slices;        ///< of the current pass
  int64_t rows = 0, wantedRows = 0; ///< of the current pass
  std::unique_ptr<StepContext> context;
};
} // namespace

Step::~Step() {
  if (context)
    model.giveBack(std::move(context));
  for (int64_t i = 0; i < claimed; ++i) {
    // After a failure this gives back the pages that the step had reserved.
    items[i].session->trimPages(items[i].session->length);
    items[i].session->stepping.store(false, std::memory_order_release);
  }
}

/// Marks the sessions as in use by this step.
Status Step::claimSessions() {
  for (int64_t i = 0; i < count; ++i) {
    qplan_session *session = items[i].session;
    items[i].result = nullptr;
    if (!session || session->model != &model)
      return fail(QPLAN_INVALID_USAGE, "qplan_step: item %lld has %s", static_cast<long long>(i),
                  session ? "a session of another model" : "no session");
    if (session->stepping.exchange(true, std::memory_order_acquire))
      return fail(QPLAN_INVALID_USAGE,
                  "qplan_step: the session of item %lld is already in use, by another item or "
                  "another thread",
                  static_cast<long long>(i));
    claimed = i + 1;
  }
  return {};
}

Status Step::checkItem(int64_t index) const {
  const qplan_work &item = items[index];
  auto number = static_cast<long long>(index);
  if (!item.tokens || item.token_count < 1)
    return fail(QPLAN_INVALID_USAGE, "qplan_step: item %lld has no tokens", number);
  if (item.want_logits < QPLAN_LOGITS_NONE || item.want_logits > QPLAN_LOGITS_ALL)
    return fail(QPLAN_INVALID_USAGE, "qplan_step: item %lld has want_logits %d, expected 0, 1 or 2",
                number, item.want_logits);
  int64_t room = model.code.context - item.session->length;
  if (item.token_count > room)
    return fail(QPLAN_INVALID_INPUT,
                "%s: %lld tokens after %lld exceed the context of %lld; shorten the input or "
                "compile with a larger --context",
                model.code.name, static_cast<long long>(item.token_count),
                static_cast<long long>(item.session->length),
                static_cast<long long>(model.code.context));
  return checkTokens(index);
}

Status Step::checkTokens(int64_t index) const {
  const qplan_work &item = items[index];
  for (int64_t i = 0; i < item.token_count; ++i)
    if (item.tokens[i] < 0 || item.tokens[i] >= vocabulary())
      return fail(
          QPLAN_INVALID_INPUT,
          "%s: token %lld of item %lld has id %d, expected 0 to %lld; is the tokenizer that "
          "of the model?",
          model.code.name, static_cast<long long>(i), static_cast<long long>(index), item.tokens[i],
          static_cast<long long>(vocabulary() - 1));
  return {};
}

static Status noMemory(const qplan_model &model, const char *what, uint64_t bytes) {
  return fail(QPLAN_MACHINE_FAILURE, "%s: no memory for %s (%llu bytes)", model.code.name, what,
              static_cast<unsigned long long>(bytes));
}

/// Makes pages and memory for logits, so that nothing but `forward` can fail later.
Status Step::reserve() {
  logits.assign(count, nullptr);
  for (int64_t i = 0; i < count; ++i) {
    qplan_work &item = items[i];
    int64_t length = item.session->length + item.token_count;
    if (!item.session->reservePages(length))
      return fail(QPLAN_MACHINE_FAILURE,
                  "%s: no memory for the KV pages of %lld tokens (pages of %llu bytes); free other "
                  "sessions",
                  model.code.name, static_cast<long long>(length),
                  static_cast<unsigned long long>(model.code.kv_page_bytes));
    if (item.want_logits == QPLAN_LOGITS_NONE)
      continue;
    uint64_t wanted = item.want_logits == QPLAN_LOGITS_ALL ? item.token_count : 1;
    uint64_t bytes = 0; // token_count is at most the context here, so that only this can overflow
    if (__builtin_mul_overflow(wanted * sizeof(float), static_cast<uint64_t>(vocabulary()), &bytes))
      return noMemory(model, "logits", UINT64_MAX);
    if (!item.logits && !item.session->logits.reserve(bytes))
      return noMemory(model, "logits", bytes);
    logits[i] = item.logits ? item.logits : reinterpret_cast<float *>(item.session->logits.data());
  }
  return {};
}

/// Rows of a slice whose logits are wanted.
int64_t Step::logitRows(const Slice &slice) const {
  const qplan_work &item = items[slice.item];
  if (item.want_logits == QPLAN_LOGITS_ALL)
    return slice.end - slice.begin;
  return item.want_logits == QPLAN_LOGITS_LAST && slice.end == item.token_count;
}

/// Where the first wanted row of a slice goes.
float *Step::destination(const Slice &slice) const {
  bool all = items[slice.item].want_logits == QPLAN_LOGITS_ALL;
  return logits[slice.item] + (all ? slice.begin * vocabulary() : 0);
}

/// Fills the arrays of the context from the slices.
void Step::describePass() {
  StepContext &to = *context;
  to.tokenIds.clear();
  to.positions.clear();
  to.rowSequence.clear();
  to.logitRow.clear();
  to.sequences.clear();
  for (const Slice &slice : slices) {
    const qplan_work &item = items[slice.item];
    auto sequence = static_cast<int32_t>(to.sequences.size());
    auto firstRow = static_cast<int64_t>(to.tokenIds.size());
    int64_t past = item.session->length + slice.begin, added = slice.end - slice.begin;
    to.sequences.push_back({firstRow, added, past, item.session->pages.data()});
    for (int64_t i = 0; i < added; ++i) {
      to.tokenIds.push_back(item.tokens[slice.begin + i]);
      to.positions.push_back(static_cast<int32_t>(past + i));
      to.rowSequence.push_back(sequence);
    }
    for (int64_t left = logitRows(slice); left > 0; --left)
      to.logitRow.push_back(static_cast<int32_t>(firstRow + added - left));
  }
  wantedRows = static_cast<int64_t>(to.logitRow.size());
}

/// Where `forward` writes: straight to its place when all wanted rows have one place.
float *Step::passLogits() {
  if (wantedRows == 0)
    return nullptr;
  for (const Slice &slice : slices)
    if (logitRows(slice) == wantedRows)
      return destination(slice);
  uint64_t bytes = static_cast<uint64_t>(wantedRows) * vocabulary() * sizeof(float);
  return context->logits.reserve(bytes) ? reinterpret_cast<float *>(context->logits.data())
                                        : nullptr;
}

void Step::scatterLogits(const float *from) const {
  for (const Slice &slice : slices) {
    int64_t values = logitRows(slice) * vocabulary();
    if (values && destination(slice) != from)
      std::memcpy(destination(slice), from, values * sizeof(float));
    from += values;
  }
}

Status Step::callForward() {
  qplan_args_v1 args{};
  args.size = sizeof(args);
  args.weights = model.weights;
  args.arena = context->arena.data();
  args.tokens = rows;
  args.sequences = static_cast<int64_t>(slices.size());
  args.logit_rows = wantedRows;
  args.token_ids = context->tokenIds.data();
  args.positions = context->positions.data();
  args.row_sequence = context->rowSequence.data();
  args.logit_row = context->logitRow.data();
  args.sequence = context->sequences.data();
  args.logits = passLogits();
  args.statistics = model.options.statistics;
  if (wantedRows && !args.logits)
    return noMemory(model, "logits", static_cast<uint64_t>(wantedRows) * vocabulary() * 4);
  if (int32_t code = model.code.forward(&model.env, &args))
    return fail(code > 0 && code <= QPLAN_MACHINE_FAILURE ? code : QPLAN_DEFECT,
                "%s: the compiled code returned status %d", model.code.name, code);
  if (wantedRows)
    scatterLogits(args.logits);
  return {};
}

/// Runs the collected slices as one pass.
Status Step::runPass() {
  uint64_t arena = model.code.arena_bytes_fixed + rows * model.code.arena_bytes_per_token;
  if (!context->arena.reserve(arena))
    return noMemory(model, "scratch", arena);
  describePass();
  return callForward();
}

/// Cuts the work into passes and runs them in order.
Status Step::runPasses() {
  for (int64_t i = 0, begin = 0; i < count;) {
    int64_t taken = std::min(items[i].token_count - begin, model.code.max_tokens - rows);
    slices.push_back({i, begin, begin + taken});
    rows += taken;
    begin += taken;
    if (begin == items[i].token_count) {
      ++i;
      begin = 0;
    }
    if (rows < model.code.max_tokens && i < count)
      continue;
    if (Status status = runPass(); status.failed())
      return status;
    slices.clear();
    rows = 0;
  }
  return {};
}

Status Step::run() {
  if (Status status = claimSessions(); status.failed())
    return status;
  for (int64_t i = 0; i < count; ++i)
    if (Status status = checkItem(i); status.failed())
      return status;
  if (Status status = reserve(); status.failed())
    return status;
  context = model.takeContext();
  // Observers add to one memory; passes of several threads would race there.
  std::unique_lock<std::mutex> alone(model.statisticsMutex, std::defer_lock);
  if (model.options.statistics)
    alone.lock();
  if (Status status = runPasses(); status.failed())
    return status;
  for (int64_t i = 0; i < count; ++i) {
    items[i].session->length += items[i].token_count;
    items[i].result = logits[i];
  }
  return {};
}

extern "C" {

int qplan_step(qplan_model *model, int64_t count, qplan_work *items, char *error,
               size_t errorSize) {
  if (!model || count < 0 || (count > 0 && !items))
    return fail(QPLAN_INVALID_USAGE, "qplan_step: model or items is NULL, or count is negative")
        .report(error, errorSize);
  return Step(*model, count, items).run().report(error, errorSize);
}

int qplan_prefill(qplan_session *session, const int32_t *tokens, int64_t count,
                  const float **logits, char *error, size_t errorSize) {
  if (!session)
    return fail(QPLAN_INVALID_USAGE, "qplan_prefill: the session is NULL").report(error, errorSize);
  qplan_work item{};
  item.session = session;
  item.tokens = tokens;
  item.token_count = count;
  item.want_logits = logits ? QPLAN_LOGITS_LAST : QPLAN_LOGITS_NONE;
  int code = qplan_step(session->model, 1, &item, error, errorSize);
  if (logits)
    *logits = item.result;
  return code;
}

int qplan_decode(qplan_session *session, int32_t token, const float **logits, char *error,
                 size_t errorSize) {
  return qplan_prefill(session, &token, 1, logits, error, errorSize);
}

} // extern "C"

//===- Session.cpp - sequences and their cached keys and values -----------===//
//
// A session is a length and a list of pages. Pages are made when tokens arrive and
// given back when they are forgotten; a fork copies them, so that the two sequences
// share nothing that is written.
//===----------------------------------------------------------------------===//
#include "runtime/src/Model.h"

#include <cstring>

using namespace qplan;

qplan_session::qplan_session(qplan_model *model) : model(model), logits(model->logitBytes) {
  model->retain();
  ++model->sessions;
}

qplan_session::~qplan_session() {
  trimPages(0);
  logits.release();
  --model->sessions;
  // The counter that `logits` refers to is the model's: it must not be touched after this.
}

/// Pages that `tokens` positions need. A model without a cache has none.
static size_t pagesFor(const qplan_model_v1 &code, int64_t tokens) {
  if (code.kv_page_bytes == 0)
    return 0;
  return static_cast<size_t>((tokens + code.kv_page_tokens - 1) / code.kv_page_tokens);
}

bool qplan_session::reservePages(int64_t tokens) {
  size_t before = pages.size(), needed = pagesFor(model->code, tokens);
  while (pages.size() < needed) {
    void *page = model->pages.acquire();
    if (!page) {
      while (pages.size() > before) {
        model->pages.release(pages.back());
        pages.pop_back();
      }
      return false;
    }
    pages.push_back(page);
  }
  return true;
}

void qplan_session::trimPages(int64_t tokens) {
  for (size_t needed = pagesFor(model->code, tokens); pages.size() > needed; pages.pop_back())
    model->pages.release(pages.back());
}

static void destroy(qplan_session *session) {
  qplan_model *model = session->model;
  delete session;
  model->release();
}

extern "C" {

int qplan_session_create(qplan_model *model, qplan_session **out, char *error, size_t errorSize) {
  if (!model || !out)
    return fail(QPLAN_INVALID_USAGE, "qplan_session_create: model or out is NULL")
        .report(error, errorSize);
  *out = new qplan_session(model);
  return QPLAN_OK;
}

int qplan_session_fork(const qplan_session *source, qplan_session **out, char *error,
                       size_t errorSize) {
  if (!source || !out)
    return fail(QPLAN_INVALID_USAGE, "qplan_session_fork: source or out is NULL")
        .report(error, errorSize);
  *out = nullptr;
  auto *copy = new qplan_session(source->model);
  if (!copy->reservePages(source->length)) {
    destroy(copy);
    return fail(QPLAN_MACHINE_FAILURE,
                "no memory to copy the KV pages of a session of %lld tokens; free other sessions",
                static_cast<long long>(source->length))
        .report(error, errorSize);
  }
  for (size_t i = 0; i < copy->pages.size(); ++i)
    std::memcpy(copy->pages[i], source->pages[i], source->model->code.kv_page_bytes);
  copy->length = source->length;
  *out = copy;
  return QPLAN_OK;
}

void qplan_session_free(qplan_session *session) {
  if (session)
    destroy(session);
}

void qplan_session_reset(qplan_session *session) {
  session->length = 0;
  session->trimPages(0);
  session->logits.release();
}

int qplan_session_truncate(qplan_session *session, int64_t length, char *error, size_t errorSize) {
  if (!session || length < 0 || length > session->length)
    return fail(QPLAN_INVALID_USAGE,
                "qplan_session_truncate: length %lld, expected 0 to the session's %lld",
                static_cast<long long>(length),
                static_cast<long long>(session ? session->length : 0))
        .report(error, errorSize);
  session->length = length;
  session->trimPages(length);
  return QPLAN_OK;
}

int64_t qplan_session_length(const qplan_session *session) { return session->length; }

qplan_model *qplan_session_model(const qplan_session *session) { return session->model; }

} // extern "C"

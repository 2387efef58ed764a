//===- client.cpp - a C++17 program that batches sessions of a plan -------===//
//
// Usage: client FIRST.qplan. Three sessions stepped together must give what they
// give alone, within the rounding of kernels that work on more rows at a time.
//===----------------------------------------------------------------------===//
#include "check.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <memory>
#include <vector>

namespace {
struct Close {
  void operator()(qplan_model *model) const { qplan_model_close(model); }
  void operator()(qplan_session *session) const { qplan_session_free(session); }
};
using Model = std::unique_ptr<qplan_model, Close>;
using Session = std::unique_ptr<qplan_session, Close>;
} // namespace

static char error[512] = "";

static Session makeSession(const Model &model) {
  qplan_session *session = nullptr;
  CHECK(qplan_session_create(model.get(), &session, error, sizeof error) == QPLAN_OK);
  return Session(session);
}

static std::vector<float> alone(const Model &model, const std::vector<std::int32_t> &tokens,
                                std::int64_t vocabulary) {
  Session session = makeSession(model);
  const float *logits = nullptr;
  CHECK(qplan_prefill(session.get(), tokens.data(), static_cast<std::int64_t>(tokens.size()),
                      &logits, error, sizeof error) == QPLAN_OK);
  return {logits, logits + vocabulary};
}

int main(int argc, char **argv) {
  CHECK(argc == 2);
  Model model(openPlan(argv[1]));
  qplan_info info{};
  info.size = sizeof info;
  qplan_model_info(model.get(), &info);

  const std::vector<std::vector<std::int32_t>> prompts = {{1, 2, 3}, {7}, {4, 4, 9, 2, 11, 6}};
  std::vector<Session> sessions;
  std::vector<qplan_work> items;
  for (const auto &prompt : prompts) {
    sessions.push_back(makeSession(model));
    items.push_back({sessions.back().get(), prompt.data(), static_cast<std::int64_t>(prompt.size()),
                     QPLAN_LOGITS_LAST, 0, nullptr, nullptr});
  }
  CHECK(qplan_step(model.get(), 3, items.data(), error, sizeof error) == QPLAN_OK);
  for (std::size_t i = 0; i < prompts.size(); ++i) {
    std::vector<float> expected = alone(model, prompts[i], info.vocabulary);
    float most = 0;
    for (std::size_t j = 0; j < expected.size(); ++j)
      most = std::max(most, std::fabs(expected[j] - items[i].result[j]));
    CHECK(most < 1e-2f);
  }
  std::puts("client.cpp: done");
  return 0;
}

//===- SessionTest.cpp - steps of sessions on the fake model --------------===//
#include "FakeModel.h"

#include <atomic>
#include <cstdlib>
#include <gtest/gtest.h>
#include <thread>

using fake::expectedLogits;
using fake::someTokens;

namespace {
/// A fake model over weights in memory, closed at the end of the test.
class Session : public testing::Test {
protected:
  void SetUp() override { open(QPLAN_OPTIONS_INIT); }
  void TearDown() override { qplan_model_close(model); }

  void open(const qplan_options &given) {
    qplan_model_close(model);
    qplan_options options = given;
    if (options.threads == 0)
      options.threads = 2;
    ASSERT_EQ(qplan_model_open_memory(fake_query(1), weights.bytes, sizeof(weights.bytes), &options,
                                      &model, error, sizeof(error)),
              QPLAN_OK)
        << error;
  }

  qplan_session *create() {
    qplan_session *session = nullptr;
    EXPECT_EQ(qplan_session_create(model, &session, error, sizeof(error)), QPLAN_OK);
    return session;
  }

  std::vector<float> prefill(qplan_session *session, const std::vector<int32_t> &tokens) {
    const float *logits = nullptr;
    EXPECT_EQ(qplan_prefill(session, tokens.data(), static_cast<int64_t>(tokens.size()), &logits,
                            error, sizeof(error)),
              QPLAN_OK)
        << error;
    return logits ? std::vector<float>(logits, logits + fake::vocabulary) : std::vector<float>();
  }

  qplan_memory memory() const {
    qplan_memory result{};
    result.size = sizeof(result);
    qplan_model_memory(model, &result);
    return result;
  }

  fake::Weights weights;
  qplan_model *model = nullptr;
  char error[512] = "";
};
} // namespace

TEST_F(Session, GivesTheLogitsOfTheLastTokenHoweverThePromptIsCut) {
  auto tokens = someTokens(fake::context);
  for (int64_t length = 1; length <= fake::context; ++length) {
    std::vector<int32_t> prompt(tokens.begin(), tokens.begin() + length);
    qplan_session *session = create();
    EXPECT_EQ(prefill(session, prompt), expectedLogits(prompt, weights)) << length;
    EXPECT_EQ(qplan_session_length(session), length);
    qplan_session_free(session);
  }
}

TEST_F(Session, DecodesTokenByToken) {
  qplan_session *session = create();
  auto tokens = someTokens(fake::context);
  std::vector<int32_t> past;
  for (int32_t token : tokens) {
    past.push_back(token);
    const float *logits = nullptr;
    ASSERT_EQ(qplan_decode(session, token, &logits, error, sizeof(error)), QPLAN_OK) << error;
    EXPECT_EQ(std::vector<float>(logits, logits + fake::vocabulary), expectedLogits(past, weights));
  }
  qplan_session_free(session);
}

TEST_F(Session, WritesAllLogitsToTheCallersMemory) {
  qplan_session *session = create();
  auto tokens = someTokens(21);
  std::vector<float> logits(21 * fake::vocabulary);
  qplan_work item{session, tokens.data(), 21, QPLAN_LOGITS_ALL, 0, logits.data(), nullptr};
  ASSERT_EQ(qplan_step(model, 1, &item, error, sizeof(error)), QPLAN_OK) << error;
  EXPECT_EQ(item.result, logits.data());
  for (int64_t i = 0; i < 21; ++i) {
    std::vector<float> row(&logits[i * fake::vocabulary], &logits[i * fake::vocabulary] + 31);
    EXPECT_EQ(row, expectedLogits({tokens.begin(), tokens.begin() + i + 1}, weights)) << i;
  }
  qplan_session_free(session);
}

TEST_F(Session, BatchesSessionsOfDifferentLengthsAndWishes) {
  std::vector<qplan_session *> sessions;
  std::vector<std::vector<int32_t>> past, added;
  std::vector<qplan_work> items;
  for (int i = 0; i < 9; ++i) {
    sessions.push_back(create());
    past.push_back(someTokens(i, i));
    if (i)
      prefill(sessions[i], past[i]);
    added.push_back(someTokens(1 + i * 5 % 13, 100 + i));
  }
  for (int i = 0; i < 9; ++i)
    items.push_back({sessions[i], added[i].data(), static_cast<int64_t>(added[i].size()), i % 3, 0,
                     nullptr, nullptr});
  ASSERT_EQ(qplan_step(model, 9, items.data(), error, sizeof(error)), QPLAN_OK) << error;
  for (int i = 0; i < 9; ++i) {
    std::vector<int32_t> all = past[i];
    int64_t rows = i % 3 == QPLAN_LOGITS_ALL ? static_cast<int64_t>(added[i].size()) : 1;
    ASSERT_EQ(items[i].result == nullptr, i % 3 == QPLAN_LOGITS_NONE);
    for (size_t t = 0, row = 0; t < added[i].size(); ++t) {
      all.push_back(added[i][t]);
      if (!items[i].result || (rows == 1 && t + 1 < added[i].size()))
        continue;
      const float *at = items[i].result + row++ * fake::vocabulary;
      EXPECT_EQ(std::vector<float>(at, at + fake::vocabulary), expectedLogits(all, weights))
          << "item " << i << " token " << t;
    }
    EXPECT_EQ(qplan_session_length(sessions[i]), static_cast<int64_t>(all.size()));
  }
  for (qplan_session *session : sessions)
    qplan_session_free(session);
}

TEST_F(Session, IsUnchangedAfterAnyFailure) {
  qplan_session *a = create(), *b = create();
  auto tokens = someTokens(6);
  prefill(a, tokens);
  uint64_t before = memory().kv_bytes;
  std::vector<int32_t> good = someTokens(12, 9), bad = someTokens(12, 9);
  bad[10] = fake::poison; // fails in the third pass
  qplan_work items[] = {{a, good.data(), 12, QPLAN_LOGITS_LAST, 0, nullptr, nullptr},
                        {b, bad.data(), 12, QPLAN_LOGITS_LAST, 0, nullptr, nullptr}};
  EXPECT_EQ(qplan_step(model, 2, items, error, sizeof(error)), QPLAN_MACHINE_FAILURE);
  EXPECT_NE(std::string(error).find("status 4"), std::string::npos) << error;
  EXPECT_EQ(items[0].result, nullptr);
  EXPECT_EQ(qplan_session_length(a), 6);
  EXPECT_EQ(qplan_session_length(b), 0);
  EXPECT_EQ(memory().kv_bytes, before);
  tokens.push_back(3);
  EXPECT_EQ(prefill(a, {3}), expectedLogits(tokens, weights));
  qplan_session_free(a);
  qplan_session_free(b);
}

TEST_F(Session, RefusesTokensOutsideTheVocabulary) {
  qplan_session *session = create();
  for (int32_t token : {-1, 31, INT32_MAX, INT32_MIN}) {
    EXPECT_EQ(qplan_decode(session, token, nullptr, error, sizeof(error)), QPLAN_INVALID_INPUT);
    EXPECT_NE(std::string(error).find("expected 0 to 30"), std::string::npos) << error;
  }
  EXPECT_EQ(qplan_session_length(session), 0);
  qplan_session_free(session);
}

TEST_F(Session, RefusesToExceedTheContext) {
  qplan_session *session = create();
  prefill(session, someTokens(fake::context));
  EXPECT_EQ(qplan_decode(session, 1, nullptr, error, sizeof(error)), QPLAN_INVALID_INPUT);
  EXPECT_NE(std::string(error).find("exceed the context of 40"), std::string::npos) << error;
  qplan_session_reset(session);
  int32_t token = 0;
  EXPECT_EQ(qplan_prefill(session, &token, INT64_MAX, nullptr, error, sizeof(error)),
            QPLAN_INVALID_INPUT);
  qplan_session_free(session);
}

TEST_F(Session, RefusesMisuseWithAMessage) {
  qplan_session *session = create();
  int32_t token = 1;
  qplan_work twice[] = {{session, &token, 1, 0, 0, nullptr, nullptr},
                        {session, &token, 1, 0, 0, nullptr, nullptr}};
  EXPECT_EQ(qplan_step(model, 2, twice, error, sizeof(error)), QPLAN_INVALID_USAGE);
  EXPECT_NE(std::string(error).find("already in use"), std::string::npos) << error;
  qplan_work none{nullptr, &token, 1, 0, 0, nullptr, nullptr};
  EXPECT_EQ(qplan_step(model, 1, &none, error, sizeof(error)), QPLAN_INVALID_USAGE);
  qplan_work empty{session, &token, 0, 0, 0, nullptr, nullptr};
  EXPECT_EQ(qplan_step(model, 1, &empty, error, sizeof(error)), QPLAN_INVALID_USAGE);
  qplan_work wish{session, &token, 1, 3, 0, nullptr, nullptr};
  EXPECT_EQ(qplan_step(model, 1, &wish, error, sizeof(error)), QPLAN_INVALID_USAGE);
  EXPECT_EQ(qplan_step(model, 0, nullptr, error, sizeof(error)), QPLAN_OK);
  EXPECT_EQ(qplan_step(model, -1, nullptr, error, sizeof(error)), QPLAN_INVALID_USAGE);
  prefill(session, {1}); // the session still works
  qplan_session_free(session);
}

TEST_F(Session, ForksAreIndependent) {
  qplan_session *session = create(), *fork = nullptr;
  auto tokens = someTokens(10);
  prefill(session, tokens);
  ASSERT_EQ(qplan_session_fork(session, &fork, error, sizeof(error)), QPLAN_OK);
  EXPECT_EQ(qplan_session_length(fork), 10);
  auto left = tokens, right = tokens;
  left.push_back(1);
  right.push_back(2);
  EXPECT_EQ(prefill(session, {1}), expectedLogits(left, weights));
  EXPECT_EQ(prefill(fork, {2}), expectedLogits(right, weights));
  qplan_session_free(session);
  right.push_back(5);
  EXPECT_EQ(prefill(fork, {5}), expectedLogits(right, weights));
  qplan_session_free(fork);
}

TEST_F(Session, TruncateForgetsTheTail) {
  qplan_session *session = create();
  auto tokens = someTokens(14);
  prefill(session, tokens);
  ASSERT_EQ(qplan_session_truncate(session, 9, error, sizeof(error)), QPLAN_OK);
  EXPECT_EQ(memory().kv_bytes, 3 * 64u);
  tokens.resize(9);
  tokens.push_back(2);
  EXPECT_EQ(prefill(session, {2}), expectedLogits(tokens, weights));
  EXPECT_EQ(qplan_session_truncate(session, 11, error, sizeof(error)), QPLAN_INVALID_USAGE);
  EXPECT_EQ(qplan_session_truncate(session, -1, error, sizeof(error)), QPLAN_INVALID_USAGE);
  ASSERT_EQ(qplan_session_truncate(session, 0, error, sizeof(error)), QPLAN_OK);
  EXPECT_EQ(memory().kv_bytes, 0u);
  qplan_session_free(session);
}

TEST_F(Session, CountsItsMemory) {
  qplan_session *session = create();
  EXPECT_EQ(memory().sessions, 1u);
  EXPECT_EQ(memory().kv_bytes, 0u);
  prefill(session, someTokens(5));
  EXPECT_EQ(memory().kv_bytes, 2 * 64u);
  EXPECT_EQ(memory().logit_bytes, 31 * sizeof(float));
  EXPECT_GT(memory().arena_bytes, 0u);
  EXPECT_EQ(memory().weight_bytes, 128u);
  qplan_session_free(session);
  EXPECT_EQ(memory().sessions, 0u);
  EXPECT_EQ(memory().kv_bytes, 0u);
  EXPECT_EQ(memory().logit_bytes, 0u);
}

TEST_F(Session, KeepsAClosedModelAlive) {
  qplan_session *session = create();
  std::string warning;
  qplan_options options = QPLAN_OPTIONS_INIT;
  options.message_user = &warning;
  options.message = [](void *user, int level, const char *text) {
    *static_cast<std::string *>(user) = std::to_string(level) + text;
  };
  qplan_session_free(session);
  open(options);
  session = create();
  qplan_model_close(model);
  model = nullptr;
  EXPECT_NE(warning.find("1 sessions left"), std::string::npos) << warning;
  EXPECT_EQ(prefill(session, {4}), expectedLogits({4}, weights));
  qplan_session_free(session);
}

TEST_F(Session, TakesPagesFromTheCallersAllocator) {
  struct Pages {
    std::atomic<int> live{0};
    int limit = 3;
  } pages;
  qplan_options options = QPLAN_OPTIONS_INIT;
  options.kv.user = &pages;
  options.kv.allocate = [](void *user, uint64_t bytes) -> void * {
    auto *pages = static_cast<Pages *>(user);
    if (pages->live >= pages->limit)
      return nullptr;
    ++pages->live;
    void *page = std::aligned_alloc(64, bytes);
    std::memset(page, 0xFF, bytes);
    return page;
  };
  options.kv.release = [](void *user, void *page, uint64_t bytes) {
    EXPECT_EQ(bytes, 64u);
    --static_cast<Pages *>(user)->live;
    std::free(page);
  };
  open(options);
  qplan_session *session = create(), *fork = nullptr;
  auto tokens = someTokens(8);
  EXPECT_EQ(prefill(session, tokens), expectedLogits(tokens, weights));
  EXPECT_EQ(pages.live, 2);
  auto more = someTokens(5);
  EXPECT_EQ(qplan_prefill(session, more.data(), 5, nullptr, error, sizeof(error)),
            QPLAN_MACHINE_FAILURE);
  EXPECT_NE(std::string(error).find("KV pages"), std::string::npos) << error;
  EXPECT_EQ(pages.live, 2);
  EXPECT_EQ(qplan_session_fork(session, &fork, error, sizeof(error)), QPLAN_MACHINE_FAILURE);
  EXPECT_EQ(pages.live, 2);
  qplan_session_free(session);
  EXPECT_EQ(pages.live, 0);
}

TEST_F(Session, RunsOnTheCallersThreads) {
  std::atomic<int> loops{0};
  qplan_options options = QPLAN_OPTIONS_INIT;
  options.threads = 5;
  options.parallel_user = &loops;
  options.parallel = [](void *user, int64_t count, void (*task)(void *, int64_t), void *arg) {
    ++*static_cast<std::atomic<int> *>(user);
    for (int64_t i = count; i-- > 0;)
      task(arg, i);
  };
  open(options);
  qplan_session *session = create();
  EXPECT_EQ(prefill(session, {1, 2}), expectedLogits({1, 2}, weights));
  EXPECT_EQ(loops, 2);
  qplan_session_free(session);
}

TEST_F(Session, StepsOnManyThreadsAtOnce) {
  std::vector<std::thread> threads;
  std::atomic<int> wrong{0};
  for (uint32_t i = 0; i < 8; ++i)
    threads.emplace_back([&, i] {
      qplan_session *session = nullptr;
      char text[256];
      if (qplan_session_create(model, &session, text, sizeof(text)))
        ++wrong;
      for (uint32_t round = 0; round < 20; ++round) {
        auto tokens = someTokens(1 + (i + round) % 39, i * 100 + round);
        const float *logits = nullptr;
        qplan_session_reset(session);
        if (qplan_prefill(session, tokens.data(), static_cast<int64_t>(tokens.size()), &logits,
                          text, sizeof(text)) ||
            std::vector<float>(logits, logits + 31) != expectedLogits(tokens, weights))
          ++wrong;
      }
      qplan_session_free(session);
    });
  for (std::thread &thread : threads)
    thread.join();
  EXPECT_EQ(wrong, 0);
}

TEST_F(Session, DescribesItsModel) {
  qplan_info info{};
  info.size = sizeof(info);
  qplan_model_info(model, &info);
  EXPECT_STREQ(info.name, "fake");
  EXPECT_EQ(info.vocabulary, 31);
  EXPECT_EQ(info.context, 40);
  EXPECT_EQ(info.threads, 2);
  EXPECT_STREQ(info.manifest, "");
  info = {};
  info.size = offsetof(qplan_info, producer); // an older, shorter struct
  qplan_model_info(model, &info);
  EXPECT_STREQ(info.name, "fake");
  EXPECT_EQ(info.producer, nullptr);
}

/// The fake's forward, which also counts its rows in the observers' memory.
static int32_t observe(const qplan_env_v1 *env, const qplan_args_v1 *args) {
  auto *rows = reinterpret_cast<int64_t *>(args->statistics);
  *rows += args->tokens; // races unless steps run one after another
  return fake_query(1)->forward(env, args);
}

TEST_F(Session, RunsStepsOfCalibrationPlansOneAfterAnother) {
  alignas(64) int64_t rows[8] = {};
  qplan_model_v1 code = *fake_query(1);
  code.statistics_bytes = sizeof(rows);
  code.forward = observe;
  qplan_options options = QPLAN_OPTIONS_INIT;
  auto openObserver = [&] {
    qplan_model_close(model);
    return qplan_model_open_memory(&code, weights.bytes, sizeof(weights.bytes), &options, &model,
                                   error, sizeof(error));
  };
  EXPECT_EQ(openObserver(), QPLAN_INVALID_USAGE);
  EXPECT_NE(std::string(error).find("point to 64 bytes"), std::string::npos) << error;
  options.statistics = reinterpret_cast<uint8_t *>(rows);
  ASSERT_EQ(openObserver(), QPLAN_OK) << error;
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i)
    threads.emplace_back([&] {
      qplan_session *session = nullptr;
      auto tokens = someTokens(20);
      qplan_session_create(model, &session, nullptr, 0);
      qplan_prefill(session, tokens.data(), 20, nullptr, nullptr, 0);
      qplan_session_free(session);
    });
  for (std::thread &thread : threads)
    thread.join();
  EXPECT_EQ(rows[0], 4 * 20);
  qplan_model_close(model); // before `code` goes out of scope
  model = nullptr;
}

TEST(OpenMemory, RefusesWhatDoesNotBelongTogether) {
  fake::Weights weights;
  char error[512];
  auto open = [&](const qplan_model_v1 *code, const void *data, uint64_t bytes,
                  uint32_t flags = 0) {
    qplan_options options = QPLAN_OPTIONS_INIT;
    options.flags = flags;
    qplan_model *model = nullptr;
    int status = qplan_model_open_memory(code, data, bytes, &options, &model, error, sizeof(error));
    EXPECT_EQ(model == nullptr, status != QPLAN_OK);
    qplan_model_close(model);
    return status;
  };
  EXPECT_EQ(open(fake_query(1), weights.bytes, 128), QPLAN_OK);
  EXPECT_EQ(open(fake_query(1), weights.bytes, 127), QPLAN_INVALID_INPUT);
  EXPECT_EQ(open(fake_query(1), weights.bytes + 1, 127), QPLAN_INVALID_USAGE);
  EXPECT_EQ(open(fake_query(1), nullptr, 128), QPLAN_INVALID_USAGE);
  EXPECT_EQ(open(fake_query(0), weights.bytes, 128), QPLAN_INVALID_INPUT);
  EXPECT_EQ(open(fake_other_query(1), weights.bytes, 128), QPLAN_MACHINE_FAILURE);
  EXPECT_NE(std::string(error).find("avx9000"), std::string::npos) << error;
  qplan_model_v1 newer = *fake_query(1);
  newer.version = 2;
  EXPECT_EQ(open(&newer, weights.bytes, 128), QPLAN_INVALID_INPUT);
  qplan_model_v1 absurd = *fake_query(1);
  absurd.kv_page_tokens = 0;
  EXPECT_EQ(open(&absurd, weights.bytes, 128), QPLAN_INVALID_INPUT);
  EXPECT_NE(std::string(error).find("kv_page_tokens = 0"), std::string::npos) << error;
  weights.bytes[100] ^= 1;
  EXPECT_EQ(open(fake_query(1), weights.bytes, 128), QPLAN_OK);
  EXPECT_EQ(open(fake_query(1), weights.bytes, 128, QPLAN_VERIFY), QPLAN_INVALID_INPUT);
  EXPECT_NE(std::string(error).find("checksum"), std::string::npos) << error;
}

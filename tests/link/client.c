/*===- client.c - a C program that loads a plan, and links the same one ---===//
 *
 * Usage: client FIRST.qplan, linked with its model.o. The loaded and the linked
 * code must give the same bits, and a prompt must not depend on how it is cut.
 *===----------------------------------------------------------------------===*/
#include "check.h"

#include MODEL_HEADER

static qplan_model *openLinked(const char *plan) {
  char error[512] = "", path[4096];
  qplan_model *model = NULL;
  snprintf(path, sizeof path, "%s/weights.bin", plan);
  CHECK(qplan_model_open_static(first_query(QPLAN_ABI_VERSION), path, NULL, &model, error,
                                sizeof error) == QPLAN_OK);
  return model;
}

/** The largest difference between one pass over a prompt and one token at a time. */
static float cutDifference(qplan_model *model) {
  char error[512] = "";
  const int32_t tokens[] = {1, 5, 3, 2, 8, 13, 4};
  const float *whole = NULL, *pieces = NULL;
  float most = 0;
  qplan_session *a = NULL, *b = NULL;
  qplan_info info;
  info.size = sizeof info;
  qplan_model_info(model, &info);
  CHECK(qplan_session_create(model, &a, error, sizeof error) == QPLAN_OK);
  CHECK(qplan_session_create(model, &b, error, sizeof error) == QPLAN_OK);
  CHECK(qplan_prefill(a, tokens, 7, &whole, error, sizeof error) == QPLAN_OK);
  for (int i = 0; i < 7; ++i)
    CHECK(qplan_decode(b, tokens[i], &pieces, error, sizeof error) == QPLAN_OK);
  for (int64_t i = 0; i < info.vocabulary; ++i) {
    float difference = whole[i] > pieces[i] ? whole[i] - pieces[i] : pieces[i] - whole[i];
    if (!(difference <= most))
      most = difference;
  }
  qplan_session_free(a);
  qplan_session_free(b);
  return most;
}

int main(int argc, char **argv) {
  char error[512] = "usage: client FIRST.qplan";
  CHECK(argc == 2);
  CHECK(qplan_package_check(argv[1], QPLAN_VERIFY, error, sizeof error) == QPLAN_OK);
  qplan_model *loaded = openPlan(argv[1]), *linked = openLinked(argv[1]);
  for (int32_t seed = 0; seed < 3; ++seed)
    CHECK(generate(loaded, seed) == generate(linked, seed));
  CHECK(cutDifference(loaded) < 1e-2f);
  qplan_model_close(loaded);
  qplan_model_close(linked);
  CHECK(qplan_model_open("no-such.qplan", NULL, &loaded, error, sizeof error) ==
        QPLAN_INVALID_INPUT);
  CHECK(loaded == NULL && strstr(error, "no-such.qplan"));
  printf("client.c: done\n");
  return 0;
}

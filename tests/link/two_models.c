/*===- two_models.c - two model.o in one program --------------------------===//
 *
 * Usage: two_models FIRST.qplan SECOND.qplan, linked with both. Their symbols must
 * not collide, and steps of one must not disturb the other.
 *===----------------------------------------------------------------------===*/
#include "check.h"

#include FIRST_HEADER
#include SECOND_HEADER

static qplan_model *openLinked(const qplan_model_v1 *code, const char *plan) {
  char error[512] = "", path[4096];
  qplan_model *model = NULL;
  snprintf(path, sizeof path, "%s/weights.bin", plan);
  CHECK(qplan_model_open_static(code, path, NULL, &model, error, sizeof error) == QPLAN_OK);
  return model;
}

int main(int argc, char **argv) {
  char error[512] = "usage: two_models FIRST.qplan SECOND.qplan";
  qplan_model *wrong = NULL;
  CHECK(argc == 3);
  CHECK(strcmp(first_query(1)->name, "first") == 0 && strcmp(second_query(1)->name, "second") == 0);
  qplan_model *loaded[] = {openPlan(argv[1]), openPlan(argv[2])};
  qplan_model *linked[] = {openLinked(first_query(1), argv[1]),
                           openLinked(second_query(1), argv[2])};
  for (int32_t seed = 0; seed < 2; ++seed)
    for (int i = 0; i < 2; ++i)
      CHECK(generate(loaded[i], seed) == generate(linked[i], seed));
  CHECK(generate(linked[0], 0) != generate(linked[1], 0));
  for (int i = 0; i < 2; ++i) {
    qplan_model_close(loaded[i]);
    qplan_model_close(linked[i]);
  }
  CHECK(first_query(0) == NULL);
  CHECK(qplan_model_open_static(first_query(0), argv[1], NULL, &wrong, error, sizeof error) ==
        QPLAN_INVALID_INPUT);
  printf("two_models.c: done\n");
  return 0;
}

/*===- eight_threads.c - eight threads, one model -------------------------===//
 *
 * Usage: eight_threads FIRST.qplan. Each thread steps sessions of its own at the
 * same time as the others; the bits must be those of the same work done alone.
 *===----------------------------------------------------------------------===*/
#include "check.h"

#include <pthread.h>

enum { Threads = 8, Rounds = 3 };

struct Job {
  qplan_model *model;
  int32_t seed;
  uint64_t expected;
  int wrong;
};

static void *work(void *argument) {
  struct Job *job = (struct Job *)argument;
  for (int i = 0; i < Rounds; ++i)
    job->wrong += generate(job->model, job->seed) != job->expected;
  return NULL;
}

int main(int argc, char **argv) {
  char error[512] = "usage: eight_threads FIRST.qplan";
  struct Job jobs[Threads];
  pthread_t threads[Threads];
  CHECK(argc == 2);
  qplan_model *model = openPlan(argv[1]);
  for (int32_t i = 0; i < Threads; ++i) {
    struct Job job = {model, i, generate(model, i), 0};
    jobs[i] = job;
  }
  for (int i = 0; i < Threads; ++i)
    CHECK(pthread_create(&threads[i], NULL, work, &jobs[i]) == 0);
  for (int i = 0; i < Threads; ++i) {
    CHECK(pthread_join(threads[i], NULL) == 0);
    CHECK(jobs[i].wrong == 0);
  }
  qplan_model_close(model);
  printf("eight_threads.c: done\n");
  return 0;
}

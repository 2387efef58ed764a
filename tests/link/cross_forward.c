/*===- cross_forward.c - one model on bare abi.h --------------------------===//
 *
 * Usage: cross_forward WEIGHTS.bin IDS OUT, linked with a model.o. Everything that a host
 * must bring is here and nothing else: weights mapped from the file, one arena, KV pages.
 * IDS is raw int32: sequences, positions, then ids [sequences, positions]; OUT is raw f32
 * logits [sequences, positions, vocabulary]. All but the last token of every sequence pass
 * in one ragged batch, the last one as a decode step, so that both read the cache.
 * It is built for another processor and run in an emulator; it uses libc alone.
 *===----------------------------------------------------------------------===*/
#include MODEL_HEADER

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define CHECK(condition)                                                                           \
  do {                                                                                             \
    if (!(condition)) {                                                                            \
      fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition);                              \
      exit(1);                                                                                     \
    }                                                                                              \
  } while (0)

static void *aligned(uint64_t bytes) {
  void *memory = aligned_alloc(64, (size_t)((bytes + 63) / 64 * 64));
  CHECK(memory != NULL);
  return memory;
}

static const uint8_t *mapped(const char *path, uint64_t bytes) {
  struct stat status;
  int file = open(path, O_RDONLY);
  CHECK(file >= 0 && fstat(file, &status) == 0 && (uint64_t)status.st_size == bytes);
  void *memory = mmap(NULL, (size_t)bytes, PROT_READ, MAP_PRIVATE, file, 0);
  CHECK(memory != MAP_FAILED);
  close(file);
  return (const uint8_t *)memory;
}

/** Runs columns [begin, end) of ids [sequences, positions] and writes their logits. */
static void forward(const qplan_model_v1 *model, qplan_args_v1 args, int64_t sequences,
                    int64_t positions, const int32_t *ids, int64_t begin, int64_t end,
                    void *const *pages, int64_t pagesEach, float *logits) {
  const qplan_env_v1 env = {sizeof env, 1, NULL, NULL};
  int64_t each = end - begin, rows = sequences * each;
  qplan_sequence_v1 *sequence = aligned((uint64_t)sequences * sizeof *sequence);
  int32_t *numbers = aligned((uint64_t)rows * 4 * sizeof *numbers);
  float *out = aligned((uint64_t)(rows * model->vocabulary) * sizeof *out);
  for (int64_t s = 0; s < sequences; ++s) {
    sequence[s] = (qplan_sequence_v1){s * each, each, begin, pages + s * pagesEach};
    for (int64_t i = 0; i < each; ++i) {
      int32_t *row = numbers + s * each + i;
      row[0] = ids[s * positions + begin + i];
      row[rows] = (int32_t)(begin + i);
      row[2 * rows] = (int32_t)s;
      row[3 * rows] = (int32_t)(s * each + i);
    }
  }
  args.tokens = args.logit_rows = rows;
  args.sequences = sequences;
  args.token_ids = numbers;
  args.positions = numbers + rows;
  args.row_sequence = numbers + 2 * rows;
  args.logit_row = numbers + 3 * rows;
  args.sequence = sequence;
  args.logits = out;
  CHECK(model->forward(&env, &args) == QPLAN_OK);
  for (int64_t s = 0; s < sequences; ++s)
    for (int64_t i = 0; i < each * model->vocabulary; ++i)
      logits[(s * positions + begin) * model->vocabulary + i] = out[s * each * model->vocabulary + i];
  free(sequence), free(numbers), free(out);
}

int main(int argc, char **argv) {
  CHECK(argc == 4);
  CHECK(MODEL_QUERY(0) == NULL);
  const qplan_model_v1 *model = MODEL_QUERY(QPLAN_ABI_VERSION);
  CHECK(model != NULL && model->size == sizeof *model);

  int32_t shape[2];
  FILE *file = fopen(argv[2], "rb");
  CHECK(file != NULL && fread(shape, sizeof *shape, 2, file) == 2);
  int64_t sequences = shape[0], positions = shape[1], rows = sequences * positions;
  CHECK(sequences > 0 && positions > 1 && positions <= model->context && rows <= model->max_tokens);
  int32_t *ids = aligned((uint64_t)rows * sizeof *ids);
  CHECK(fread(ids, sizeof *ids, (size_t)rows, file) == (size_t)rows);
  fclose(file);

  int64_t pagesEach = (positions + model->kv_page_tokens - 1) / model->kv_page_tokens;
  void **pages = aligned((uint64_t)(sequences * pagesEach) * sizeof *pages);
  for (int64_t i = 0; i < sequences * pagesEach; ++i)
    pages[i] = aligned(model->kv_page_bytes);
  float *logits = aligned((uint64_t)(rows * model->vocabulary) * sizeof *logits);
  qplan_args_v1 args = {.size = sizeof args};
  args.weights = mapped(argv[1], model->weight_bytes);
  args.arena = aligned(model->arena_bytes_fixed + (uint64_t)rows * model->arena_bytes_per_token);

  forward(model, args, sequences, positions, ids, 0, positions - 1, pages, pagesEach, logits);
  forward(model, args, sequences, positions, ids, positions - 1, positions, pages, pagesEach, logits);

  file = fopen(argv[3], "wb");
  size_t count = (size_t)(rows * model->vocabulary);
  CHECK(file != NULL && fwrite(logits, sizeof *logits, count, file) == count && fclose(file) == 0);
  printf("%s for %s, features '%s'\n", model->name, model->target, model->cpu_features);
  return 0;
}

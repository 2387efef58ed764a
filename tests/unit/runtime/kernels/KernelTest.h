//===- KernelTest.h - running kernels in tests ------------------*- C++ -*-===//
//
// A Launch names a kernel, its params by name, its buffers and weights. run()
// executes it on one level in 1, 2 and 7 parts, checks that the results are the
// same bits and that nothing was written outside the buffers, and leaves the
// outputs in place for comparison with a reference in f64.
//
//===----------------------------------------------------------------------===//
#ifndef QPLAN_TESTS_KERNELTEST_H
#define QPLAN_TESTS_KERNELTEST_H

#include "runtime/kernels/kernels.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <cstring>
#include <map>
#include <random>
#include <span>
#include <string>
#include <vector>

using KernelFunction = void(const qplan_args_v1 *, const int64_t *, uint8_t *const *,
                            const uint8_t *const *, int64_t, int64_t);
using TasksFunction = int64_t(const qplan_args_v1 *, const int64_t *, int64_t);

struct Kernel {
  const char *name;
  int numBuffers, numWeights;
  const char *params; ///< names, comma separated, in order
  KernelFunction *run;
  TasksFunction *tasks;
};
struct Level {
  const char *name;
  std::span<const Kernel> kernels;
};

/// The levels that this machine can run, best first.
const std::vector<Level> &kernelLevels();

/// 64-byte aligned memory between guards.
class Memory {
public:
  explicit Memory(size_t size = 0);
  template <typename T>
  explicit Memory(const std::vector<T> &from) : Memory(from.size() * sizeof(T)) {
    std::memcpy(data(), from.data(), from.size() * sizeof(T));
  }
  uint8_t *data() { return storage.data() + start; }
  const uint8_t *data() const { return storage.data() + start; }
  size_t size() const { return bytes; }
  template <typename T>
  T *as() {
    return reinterpret_cast<T *>(data());
  }
  template <typename T>
  std::vector<T> copy() const {
    std::vector<T> out(bytes / sizeof(T));
    std::memcpy(out.data(), data(), out.size() * sizeof(T));
    return out;
  }
  bool guardsIntact() const;
  Memory(const Memory &other) : Memory(other.bytes) { std::memcpy(data(), other.data(), bytes); }
  Memory &operator=(const Memory &other) {
    if (bytes != other.bytes) {
      this->~Memory();
      new (this) Memory(other.bytes);
    }
    std::memcpy(data(), other.data(), bytes);
    return *this;
  }

private:
  std::vector<uint8_t> storage;
  size_t start = 0, bytes = 0;
};

/// The bits of a double, as params carry them.
int64_t doubleBits(double value);

struct Launch {
  std::string kernel;
  std::map<std::string, int64_t> params; ///< those not named are 0
  std::vector<Memory *> buffers;         ///< null: not given
  std::vector<const Memory *> weights;
  qplan_args_v1 args{};

  Launch(std::string name, int64_t tokens) : kernel(std::move(name)) {
    args.size = sizeof(args);
    args.tokens = tokens;
    args.logit_rows = tokens;
  }
  /// Runs on `level`; `extra` is memory outside the buffers that the kernel writes.
  void run(const Level &level, std::vector<Memory *> extra = {});
};

/// Random values that repeat from run to run.
struct Random {
  std::mt19937_64 engine;
  explicit Random(uint64_t seed) : engine(seed) {}
  double normal() { return std::normal_distribution<double>()(engine); }
  int64_t below(int64_t n) { return static_cast<int64_t>(engine() % static_cast<uint64_t>(n)); }
  std::vector<float> floats(int64_t n, double scale = 1.0) {
    std::vector<float> out(static_cast<size_t>(n));
    for (float &x : out)
      x = static_cast<float>(normal() * scale);
    return out;
  }
};

float halfToFloat(uint16_t bits);
uint16_t floatToHalf(float value); ///< nearest even
float e4m3ToFloat(uint8_t bits);

/// A matrix in the panel16 packing, packed here from its description.
struct Matrix {
  int64_t N, K, element, group, scale, hasMin, offset;
  std::vector<double> values; ///< [N][K], what the codes mean
  Memory packed;

  /// Random codes and scales.
  Matrix(Random &random, int64_t N, int64_t K, int64_t element, int64_t group, int64_t scale,
         int64_t hasMin, int64_t offset);
  void describe(Launch &launch) const;

private:
  void fillTrellis(Random &random);
  void fillMixed(Random &random);
};

/// |a - b| <= limit for every element, with the place of the first failure.
void expectClose(std::span<const float> got, std::span<const double> want,
                 std::span<const double> limit, const std::string &what);
void expectClose(std::span<const float> got, std::span<const double> want, double limit,
                 const std::string &what);

/// A test body for every level that runs here.
#define KERNEL_TEST(suite, fact)                                                                   \
  static void body_##suite##_##fact(const Level &level);                                           \
  TEST(suite, fact) {                                                                              \
    for (const Level &level : kernelLevels()) {                                                    \
      SCOPED_TRACE(level.name);                                                                    \
      body_##suite##_##fact(level);                                                                \
    }                                                                                              \
  }                                                                                                \
  static void body_##suite##_##fact(const Level &level)

#endif // QPLAN_TESTS_KERNELTEST_H

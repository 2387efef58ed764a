//===- ParallelFor.h - independent work on several threads -------*- C++ -*-===//
#ifndef QPLAN_IR_PARALLELFOR_H
#define QPLAN_IR_PARALLELFOR_H

#include <atomic>
#include <cstdint>
#include <thread>
#include <vector>

namespace qplan {

/// Calls work(i) for i < count from up to `threads` threads, in any order.
template <typename Work>
void parallelFor(int64_t count, unsigned threads, const Work &work) {
  std::atomic<int64_t> next{0};
  auto loop = [&] {
    for (int64_t i; (i = next++) < count;)
      work(i);
  };
  std::vector<std::thread> helpers;
  for (unsigned t = 1; t < threads && int64_t(t) < count; ++t)
    helpers.emplace_back(loop);
  loop();
  for (std::thread &helper : helpers)
    helper.join();
}

} // namespace qplan

#endif // QPLAN_IR_PARALLELFOR_H

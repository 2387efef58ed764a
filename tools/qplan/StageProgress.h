//===- StageProgress.h - the progress of a compilation -----------*- C++ -*-===//
//
// The compiler tells of its stages one after the other; each is shown as a bar of its own.
//
//===----------------------------------------------------------------------===//
#ifndef QPLAN_TOOLS_QPLAN_STAGEPROGRESS_H
#define QPLAN_TOOLS_QPLAN_STAGEPROGRESS_H

#include "codegen/driver/Compiler.h"
#include "tools/qplan/Progress.h"

#include <fmt/format.h>
#include <mutex>

namespace qplan {

/// Shows the compiler's progress as one bar after another; called from any thread.
class StageProgress {
public:
  explicit StageProgress(bool json) : style(progressStyleFor(json)) {}

  ProgressSink sink() {
    ProgressSink result;
    result.update = [this](llvm::StringRef title, uint64_t done, uint64_t total) {
      update(title.str(), done, total);
    };
    result.note = [this](llvm::StringRef line) { note(line.str()); };
    return result;
  }

  /// Shows the end of what is under way.
  void finish() { bar.reset(); }

private:
  void update(std::string title, uint64_t done, uint64_t total) {
    std::lock_guard<std::mutex> lock(mutex);
    if (title == "weights" && total >= 10'000'000) { // bytes, for people in MB
      title += " (MB)";
      done /= 1'000'000;
      total /= 1'000'000;
    }
    if (!bar || title != current || done < shown) {
      bar.reset();
      bar = std::make_unique<Progress>(style, title, total);
      current = title;
      shown = 0;
    }
    bar->advance(done - shown);
    shown = done;
    if (total && done >= total)
      bar->finish();
  }

  void note(const std::string &line) {
    std::lock_guard<std::mutex> lock(mutex);
    if (bar)
      bar->note(line);
    else if (style != ProgressStyle::Silent)
      fmt::print(stderr, "{}\n", line);
  }

  const ProgressStyle style;
  std::mutex mutex;
  std::unique_ptr<Progress> bar;
  std::string current;
  uint64_t shown = 0;
};

} // namespace qplan
#endif // QPLAN_TOOLS_QPLAN_STAGEPROGRESS_H

//===- Progress.h - how long work is shown ----------------------*- C++ -*-===//
//
// One line that is redrawn on a terminal, plain lines now and then in a log,
// nothing under --json. Everything goes to stderr, so that stdout holds results only.
//
//===----------------------------------------------------------------------===//
#ifndef QPLAN_TOOLS_QPLAN_PROGRESS_H
#define QPLAN_TOOLS_QPLAN_PROGRESS_H

#include <atomic>
#include <chrono>
#include <cstdint>
#include <mutex>
#include <string>

namespace qplan {

/// How progress is shown.
enum class ProgressStyle { Bar, Lines, Silent };

/// Silent under --json; else a bar where stderr is a terminal that can redraw
/// (TERM is not "dumb"), else lines.
ProgressStyle progressStyleFor(bool json);

/// Progress of one stage of work. All methods are thread-safe; advance() is a few nanoseconds when
/// nothing is to be drawn. The destructor finishes.
class Progress {
public:
  /// `stage` names the work ("calibrate"); `total` counts its units, 0 if not known.
  /// `descriptor` is where it is shown (2: stderr).
  Progress(ProgressStyle style, std::string stage, uint64_t total, int descriptor = 2);
  ~Progress();
  Progress(const Progress &) = delete;
  Progress &operator=(const Progress &) = delete;

  /// Adds `units` done.
  void advance(uint64_t units = 1);
  /// Adds `units` done and names what was last worked on ("layers.3").
  void advance(uint64_t units, const std::string &what);
  /// Prints a line of its own without disturbing the bar; nothing when silent.
  void note(const std::string &text);
  /// Shows the final state, once, with the time taken.
  void finish();

private:
  using Clock = std::chrono::steady_clock;
  bool due();
  void draw(bool last);
  void emit(const std::string &text);

  const ProgressStyle style;
  const std::string stage;
  const uint64_t total;
  const int descriptor;
  const Clock::time_point start;
  std::atomic<uint64_t> done{0};
  std::atomic<int64_t> nextDraw; ///< nanoseconds after `start`
  std::mutex mutex;              ///< guards what follows and the output
  std::string what;
  size_t drawn = 0; ///< characters of the bar on the screen
  bool finished = false;
};

} // namespace qplan
#endif // QPLAN_TOOLS_QPLAN_PROGRESS_H

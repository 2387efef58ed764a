//===- Progress.cpp - how long work is shown ------------------------------===//

#include "tools/qplan/Progress.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

namespace qplan {
namespace {

constexpr int64_t second = 1'000'000'000;
constexpr int64_t barInterval = second / 10;
constexpr int64_t lineInterval = 5 * second; ///< a log is read later: few lines do

/// Columns of the terminal behind `descriptor`; 80 when it does not say.
size_t terminalWidth(int descriptor) {
  winsize size = {};
  if (::ioctl(descriptor, TIOCGWINSZ, &size) == 0 && size.ws_col > 0)
    return size.ws_col;
  return 80;
}

/// "1.2s", "3m05s", "2h07m".
std::string durationText(double seconds) {
  if (seconds < 60)
    return fmt::format("{:.1f}s", seconds);
  auto whole = static_cast<long>(seconds);
  if (whole < 3600)
    return fmt::format("{}m{:02}s", whole / 60, whole % 60);
  return fmt::format("{}h{:02}m", whole / 3600, whole / 60 % 60);
}

} // namespace

ProgressStyle progressStyleFor(bool json) {
  if (json)
    return ProgressStyle::Silent;
  const char *terminal = std::getenv("TERM");
  bool redraws = ::isatty(2) && terminal && *terminal && std::strcmp(terminal, "dumb") != 0;
  return redraws ? ProgressStyle::Bar : ProgressStyle::Lines;
}

Progress::Progress(ProgressStyle style, std::string stage, uint64_t total, int descriptor)
    : style(style), stage(std::move(stage)), total(total), descriptor(descriptor),
      start(Clock::now()), nextDraw(style == ProgressStyle::Lines ? lineInterval : 0) {}

Progress::~Progress() { finish(); }

/// Whether it is time to draw; claims the turn, so that of several threads one draws.
bool Progress::due() {
  if (style == ProgressStyle::Silent)
    return false;
  int64_t now = (Clock::now() - start).count();
  int64_t next = nextDraw.load(std::memory_order_relaxed);
  int64_t interval = style == ProgressStyle::Bar ? barInterval : lineInterval;
  return now >= next && nextDraw.compare_exchange_strong(next, now + interval);
}

void Progress::advance(uint64_t units) {
  done.fetch_add(units, std::memory_order_relaxed);
  if (!due())
    return;
  std::lock_guard<std::mutex> lock(mutex);
  draw(/*last=*/false);
}

void Progress::advance(uint64_t units, const std::string &name) {
  done.fetch_add(units, std::memory_order_relaxed);
  if (!due())
    return;
  std::lock_guard<std::mutex> lock(mutex);
  what = name;
  draw(/*last=*/false);
}

void Progress::note(const std::string &text) {
  if (style == ProgressStyle::Silent)
    return;
  std::lock_guard<std::mutex> lock(mutex);
  if (drawn)
    emit("\r\033[K");
  drawn = 0;
  emit(text + "\n");
}

void Progress::finish() {
  std::lock_guard<std::mutex> lock(mutex);
  if (finished || style == ProgressStyle::Silent)
    return;
  finished = true;
  what.clear();
  draw(/*last=*/true);
}

/// Shows the state; the mutex is held.
void Progress::draw(bool last) {
  if (finished && !last)
    return;
  double seconds = std::chrono::duration<double>(Clock::now() - start).count();
  uint64_t count = done.load(std::memory_order_relaxed);
  std::string state = total   ? fmt::format("{}/{}", std::min(count, total), total)
                      : count ? fmt::format("{}", count)
                              : std::string();
  std::string text = fmt::format("{}: {}", stage, state);
  if (total && style == ProgressStyle::Bar && !last) {
    auto filled = static_cast<size_t>(20.0 * std::min(1.0, double(count) / double(total)));
    text = fmt::format("{} [{}{}] {}", stage, std::string(filled, '#'),
                       std::string(20 - filled, '.'), state);
  }
  if (state.empty())
    text = stage;
  text += last ? fmt::format(" in {}", durationText(seconds)) : "";
  if (!last && total && count > 0 && count < total && seconds > 2)
    text += fmt::format(", {} left", durationText(seconds * double(total - count) / double(count)));
  if (!what.empty())
    text += " " + what;
  if (style == ProgressStyle::Lines) {
    emit(text + "\n");
    return;
  }
  // A line that wraps cannot be redrawn.
  size_t width = terminalWidth(descriptor);
  if (text.size() + 1 > width)
    text.resize(width - 1);
  drawn = last ? 0 : text.size();
  emit("\r" + text + "\033[K" + (last ? "\n" : ""));
}

/// One write for each text, so that lines of other programs do not cut it up.
void Progress::emit(const std::string &text) {
  size_t at = 0;
  while (at < text.size()) {
    ssize_t count = ::write(descriptor, text.data() + at, text.size() - at);
    if (count <= 0)
      return; // progress is not worth failing for
    at += static_cast<size_t>(count);
  }
}

} // namespace qplan

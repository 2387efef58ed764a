//===- InterruptCleanup.cpp - removes unfinished files on interrupt -------===//

#include "codegen/package/InterruptCleanup.h"

#include <atomic>
#include <csignal>
#include <deque>
#include <mutex>
#include <string>
#include <unistd.h>

namespace qplan {
namespace {

constexpr int tableSize = 512;
constexpr int interruptedStatus = 130;
constexpr int machineFailedStatus = 4;

/// What the handler reads: pointers to text that is never freed.
struct Slot {
  std::atomic<const char *> path{nullptr};
  std::atomic<bool> directory{false};
};
Slot table[tableSize];

std::mutex tableMutex;

/// Keeps the texts reachable: the handler may read a pointer just as it is unregistered.
std::deque<std::string> &texts() {
  static auto *kept = new std::deque<std::string>;
  return *kept;
}

void removeRegistered() {
  for (bool directories : {false, true})
    for (Slot &slot : table)
      if (const char *path = slot.path.load(); path && slot.directory.load() == directories) {
        if (directories)
          ::rmdir(path);
        else
          ::unlink(path);
      }
}

void onSignal(int) {
  removeRegistered();
  _exit(interruptedStatus);
}

/// Mapped files of a model end earlier than they did: nothing can go on without them.
void onBusError(int) {
  static constexpr char text[] =
      "qplan: error: a file that is being read became shorter, or its disk failed; leave the "
      "model as it is while qplan reads it\n";
  removeRegistered();
  (void)!::write(STDERR_FILENO, text, sizeof text - 1);
  _exit(machineFailedStatus);
}

} // namespace

void installInterruptHandler() {
  for (int signal : {SIGINT, SIGTERM, SIGHUP}) {
    struct sigaction action = {}, previous = {};
    if (::sigaction(signal, nullptr, &previous) == 0 && previous.sa_handler == SIG_IGN)
      continue;
    action.sa_handler = onSignal;
    ::sigfillset(&action.sa_mask);
    ::sigaction(signal, &action, nullptr);
  }
  struct sigaction action = {};
  action.sa_handler = onBusError;
  ::sigfillset(&action.sa_mask);
  ::sigaction(SIGBUS, &action, nullptr);
  // A file beyond the limit of file sizes is a failed write, which is reported.
  std::signal(SIGXFSZ, SIG_IGN);
}

int registerCleanup(llvm::StringRef path, bool directory) {
  std::lock_guard<std::mutex> lock(tableMutex);
  for (int i = 0; i < tableSize; ++i) {
    if (table[i].path.load())
      continue;
    texts().push_back(path.str());
    table[i].directory.store(directory);
    table[i].path.store(texts().back().c_str());
    return i;
  }
  return -1;
}

void unregisterCleanup(int token) {
  std::lock_guard<std::mutex> lock(tableMutex);
  if (token >= 0 && token < tableSize)
    table[token].path.store(nullptr);
}

} // namespace qplan

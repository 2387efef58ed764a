//===- InterruptCleanup.h - removes unfinished files on interrupt -*- C++ -*-=//
//
// Ctrl-C must not leave a half-written plan. Writers register what they have
// created; the handler unlinks those paths and exits with status 130. The registry is
// a fixed table of pointers because a signal handler may not allocate or lock.
//
//===----------------------------------------------------------------------===//
#ifndef QPLAN_CODEGEN_PACKAGE_INTERRUPTCLEANUP_H
#define QPLAN_CODEGEN_PACKAGE_INTERRUPTCLEANUP_H

#include <llvm/ADT/StringRef.h>

namespace qplan {

/// Handles SIGINT, SIGTERM and SIGHUP by removing what is registered and leaving with
/// status 130. A signal that is ignored (nohup) stays ignored. A mapped file that is cut off
/// while it is read (SIGBUS) ends the same way with a message and status 4; a write beyond
/// the limit of file sizes fails instead of ending the process. For mains; call once.
void installInterruptHandler();

/// Registers a file, or a directory that is removed after all files. Returns a token
/// for unregisterCleanup, or -1 when the table (512) is full. Thread-safe. `path` should be
/// absolute if the working directory may change.
int registerCleanup(llvm::StringRef path, bool directory);

/// Forgets a registration; -1 is accepted and ignored. Thread-safe.
void unregisterCleanup(int token);

} // namespace qplan
#endif // QPLAN_CODEGEN_PACKAGE_INTERRUPTCLEANUP_H

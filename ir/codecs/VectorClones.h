//===- VectorClones.h - one loop, several widths of vectors -----*- C++ -*-===//
//
// Marks a function that carries the work of a search. Its arithmetic must be written
// so that vectors of any width give the same bits.
//
//===----------------------------------------------------------------------===//
#ifndef QPLAN_IR_CODECS_VECTORCLONES_H
#define QPLAN_IR_CODECS_VECTORCLONES_H

// One copy for each width of vectors; the loader picks. A sanitizer runs before the loader may.
#if defined(__x86_64__) && defined(__linux__) && !__has_feature(address_sanitizer)
#define QPLAN_VECTOR_CLONES                                                                        \
  __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define QPLAN_VECTOR_CLONES
#endif

#endif // QPLAN_IR_CODECS_VECTORCLONES_H

//===- PostProcessor.h - the "post_processor" of tokenizer.json -*- C++ -*-===//
//
// Which special tokens stand around the ids of a text when the caller asks for
// them. Whatever the file holds is reduced to two lists of ids.
//
//===----------------------------------------------------------------------===//
#ifndef QPLAN_TEXT_POSTPROCESSOR_H
#define QPLAN_TEXT_POSTPROCESSOR_H

#include "runtime/text/JsonReader.h"
#include <cstdint>
#include <vector>

namespace qplan::text {

/// The special tokens around a single text.
struct PostProcessor {
  std::vector<int32_t> before;
  std::vector<int32_t> behind;
};

/// What `field` adds; nothing when it is absent. Mistakes stay with its reader.
PostProcessor parsePostProcessor(const Field &field);

} // namespace qplan::text
#endif // QPLAN_TEXT_POSTPROCESSOR_H

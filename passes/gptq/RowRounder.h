//===- RowRounder.h - what chooses codes for some rows ----------*- C++ -*-===//
//
// Private to passes/gptq: integers on a grid are chosen column by column for many
// rows at once, the bits of tcq rows by a search row by row.
//
//===----------------------------------------------------------------------===//
#ifndef QPLAN_PASSES_GPTQ_ROWROUNDER_H
#define QPLAN_PASSES_GPTQ_ROWROUNDER_H

#include "passes/gptq/Gptq.h"

#include <memory>

namespace qplan::gptq {

/// One for each thread; the memory is reused.
class RowRounder {
public:
  virtual ~RowRounder() = default;
  /// Writes the stored rows [first, first + count), at most 64, to `out`.
  virtual llvm::Error round(int64_t first, int64_t count, GptqRows read, uint8_t *out) = 0;
};

/// For tcq formats. `factor` has its steps in the order of columns.
std::unique_ptr<RowRounder> makeTrellisRounder(const GptqFactor &factor, FormatId format,
                                               const GptqOptions &options,
                                               llvm::StringRef subject);

} // namespace qplan::gptq

#endif // QPLAN_PASSES_GPTQ_ROWROUNDER_H

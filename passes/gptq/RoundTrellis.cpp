//===- RoundTrellis.cpp - the bits of tcq rows ----------------------------===//
//
// The errors that GPTQ feeds forward are part of what the search of a row minimises:
// each of its candidates has its own.
//
//===----------------------------------------------------------------------===//

#include "ir/Failure.h"
#include "ir/codecs/Codec.h"
#include "ir/codecs/Trellis.h"
#include "passes/gptq/RowRounder.h"

using namespace qplan;
using namespace qplan::gptq;

namespace {

class TrellisRounder final : public RowRounder {
public:
  TrellisRounder(const GptqFactor &factor, FormatId format, const GptqOptions &options,
                 llvm::StringRef subject)
      : factor(factor), subject(subject), columns(factor.columns()),
        bytes(int64_t(codecFor(format).bytesPerRow(columns))),
        search(TrellisRow::of(columns, bytes), options.beam) {}

  llvm::Error round(int64_t first, int64_t count, GptqRows read, uint8_t *out) override {
    values.resize(size_t(count * columns));
    if (auto error = read(first, count, values.data()))
      return error;
    TrellisGoal goal{nullptr, factor.errorWeights().data(), factor.shares(0)};
    for (int64_t r = 0; r < count; ++r) {
      goal.x = values.data() + r * columns;
      if (int64_t at = findNonFinite(goal.x, columns); at >= 0)
        return inputError("{}, row {}: column {} is {}; finite weights are expected, repair the "
                          "checkpoint",
                          subject.str(), first + r, at, goal.x[at]);
      if (!search.run(goal, out + r * bytes))
        return inputError("{}, row {}: its values are too large for an f16 scale; keep the tensor in "
                          "f32 or bf16, or use a format with f32 scales, e.g. int8",
                          subject.str(), first + r);
    }
    return llvm::Error::success();
  }

private:
  const GptqFactor &factor;
  llvm::StringRef subject;
  int64_t columns, bytes;
  TrellisSearch search;
  std::vector<float> values; ///< [rows, columns]
};

} // namespace

std::unique_ptr<RowRounder> qplan::gptq::makeTrellisRounder(const GptqFactor &factor,
                                                            FormatId format,
                                                            const GptqOptions &options,
                                                            llvm::StringRef subject) {
  return std::make_unique<TrellisRounder>(factor, format, options, subject);
}

//===- ZooTest.cpp - importers against recorded logits --------------------===//
//
// Each folder of tests/Inputs/zoo, with its configuration in both spellings, must
// give the logits and the greedy continuation that transformers gave.
//
//===----------------------------------------------------------------------===//

#include "EvalTesting.h"

using namespace qplan;
using namespace qplan::test;

namespace {

/// Folder, and whether its configuration is spelled as transformers 4 did.
class Zoo : public testing::TestWithParam<std::tuple<std::string, bool>> {
protected:
  std::string folder() const { return std::get<0>(GetParam()); }
  /// The checkpoint, with config_v4.json in place of config.json when asked for.
  std::string path() {
    std::string stored = inputPath("zoo/" + folder());
    if (!std::get<1>(GetParam()))
      return stored;
    std::filesystem::copy_file(stored + "/config_v4.json", temporary.path("config.json"));
    std::filesystem::copy_file(stored + "/model.safetensors", temporary.path("model.safetensors"));
    return temporary.path();
  }
  TempFolder temporary;
};

int32_t argmax(const EvalRows &logits, int64_t row) {
  const float *begin = logits.row(row);
  return int32_t(std::max_element(begin, begin + logits.columns) - begin);
}

} // namespace

TEST_P(Zoo, LogitsAreThoseOfTransformers) {
  Golden golden(folder());
  Model model(path());
  EXPECT_LE(distance(model.run(golden.ids).values, golden.logits), 1e-4);
}

TEST_P(Zoo, GreedyContinuationIsThatOfTransformers) {
  Golden golden(folder());
  Model model(path());
  Sequences sequence = {golden.ids.at(0)};
  std::vector<int32_t> found;
  for (size_t i = 0; i < golden.greedy.size(); ++i) {
    EvalRows logits = model.run(sequence);
    ASSERT_EQ(logits.rows, int64_t(sequence[0].size()));
    found.push_back(argmax(logits, logits.rows - 1));
    sequence[0].push_back(found.back());
  }
  EXPECT_EQ(found, golden.greedy);
}

INSTANTIATE_TEST_SUITE_P(, Zoo, testing::Combine(testing::ValuesIn(zooFolders()), testing::Bool()),
                         [](const auto &info) {
                           return std::get<0>(info.param) +
                                  (std::get<1>(info.param) ? "_v4" : "_v5");
                         });

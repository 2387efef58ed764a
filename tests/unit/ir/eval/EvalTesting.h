//===- EvalTesting.h - models under the evaluator ---------------*- C++ -*-===//
//
// A checkpoint with its graph and its weights, runs of it, and how far two sets of
// logits are apart.
//
//===----------------------------------------------------------------------===//
#ifndef QPLAN_TESTS_UNIT_IR_EVAL_EVALTESTING_H
#define QPLAN_TESTS_UNIT_IR_EVAL_EVALTESTING_H

#include "../import/TestFiles.h"
#include "ir/eval/Eval.h"
#include "ir/import/MappedFile.h"
#include "ir/import/Safetensors.h"
#include "ir/models/Architecture.h"
#include "passes/Passes.h"

#include <cmath>
#include <gtest/gtest.h>
#include <mlir/Dialect/Func/IR/FuncOps.h>
#include <mlir/Pass/PassManager.h>

namespace qplan::test {

using Sequences = std::vector<std::vector<int32_t>>;

inline std::string inputPath(const std::string &name) { return QPLAN_TEST_INPUTS "/" + name; }

/// Zoo folders, by name.
inline std::vector<std::string> zooFolders() {
  std::vector<std::string> names;
  for (const auto &entry : std::filesystem::directory_iterator(inputPath("zoo")))
    if (entry.is_directory())
      names.push_back(entry.path().filename().string());
  std::sort(names.begin(), names.end());
  return names;
}

/// Loads the dialects that modules consist of.
struct Context : mlir::MLIRContext {
  Context() { loadDialect<qp::QpDialect, mlir::func::FuncDialect>(); }
};

/// An imported checkpoint. Test failures are reported; a model that failed has no module.
class Model {
public:
  explicit Model(const std::string &path, const std::string &kvFormat = "f32",
                 bool singleExperts = false) {
    auto opened = openCheckpoint(path);
    if (!opened) {
      ADD_FAILURE() << path << ": " << llvm::toString(opened.takeError());
      return;
    }
    checkpoint = std::move(*opened);
    store = std::make_unique<WeightStore>(*checkpoint, blobs);
    ImportOptions options;
    options.kvFormat = kvFormat;
    options.singleExperts = singleExperts;
    auto imported = importModel(context, *checkpoint, options);
    if (!imported) {
      ADD_FAILURE() << path << ": " << llvm::toString(imported.takeError());
      return;
    }
    module = std::move(*imported);
  }

  /// Logits of all rows; empty after a failure.
  EvalRows run(const Sequences &sequences, const EvalOptions &options = {}) {
    if (!module)
      return {};
    auto logits = evaluate(*module, *store, sequences, options);
    if (!logits) {
      ADD_FAILURE() << llvm::toString(logits.takeError());
      return {};
    }
    return std::move(*logits);
  }

  /// Runs passes over the module, in order.
  template <typename... Passes>
  void apply(std::unique_ptr<Passes>... passes) {
    mlir::PassManager manager(&context);
    (manager.addPass(std::move(passes)), ...);
    ASSERT_TRUE(module && mlir::succeeded(manager.run(*module)));
  }

  /// Gives every site in `sites` the treatment `quant` and inserts what that means.
  void quantize(const std::string &quant, const std::string &sites = "layers",
                PassInputs inputs = {}) {
    inputs.weights = store.get();
    AssignTreatmentsOptions options;
    options.quant = quant;
    options.sites = sites;
    apply(createAssignTreatments(inputs, options), createFoldSmoothQuant(inputs),
          createInsertQdq(inputs));
  }

  Context context;
  std::unique_ptr<Checkpoint> checkpoint;
  BlobStore blobs;
  std::unique_ptr<WeightStore> store;
  mlir::OwningOpRef<mlir::ModuleOp> module;
};

/// What transformers computed for a zoo folder.
struct Golden {
  Sequences ids;               ///< 2 sequences of 12
  std::vector<float> logits;   ///< [24, vocabulary]
  std::vector<int32_t> greedy; ///< 8 ids that follow the first sequence

  explicit Golden(const std::string &folder) {
    std::string path = inputPath("zoo/" + folder + "/golden.safetensors");
    auto file = MappedFile::open(path);
    auto parsed = file ? Safetensors::parse((*file)->bytes(), path)
                       : llvm::Expected<Safetensors>(file.takeError());
    if (!parsed) {
      ADD_FAILURE() << llvm::toString(parsed.takeError());
      return;
    }
    for (const SafetensorsEntry &entry : parsed->tensors) {
      const uint8_t *data = (*file)->data() + entry.offset;
      auto copy = [&](auto &values) {
        values.resize(entry.bytes / 4);
        std::memcpy(values.data(), data, entry.bytes);
      };
      if (entry.name == "logits")
        copy(logits);
      if (entry.name == "greedy_ids")
        copy(greedy);
      if (entry.name == "input_ids") {
        std::vector<int32_t> all;
        copy(all);
        for (size_t i = 0; i < all.size(); i += entry.shape[1])
          ids.emplace_back(all.begin() + i, all.begin() + i + entry.shape[1]);
      }
    }
  }
};

/// Standard deviation.
inline double deviation(llvm::ArrayRef<float> values) {
  double sum = 0, squares = 0;
  for (float value : values) {
    sum += value;
    squares += double(value) * value;
  }
  double mean = sum / values.size();
  return std::sqrt(squares / values.size() - mean * mean);
}

/// Largest |a - b| in standard deviations of b.
inline double distance(llvm::ArrayRef<float> a, llvm::ArrayRef<float> b) {
  if (a.size() != b.size() || b.empty()) {
    ADD_FAILURE() << a.size() << " and " << b.size() << " values";
    return HUGE_VAL;
  }
  double largest = 0;
  for (size_t i = 0; i < a.size(); ++i)
    largest = std::max(largest, std::isnan(a[i]) ? HUGE_VAL : std::fabs(double(a[i]) - b[i]));
  return largest / deviation(b);
}

} // namespace qplan::test

#endif // QPLAN_TESTS_UNIT_IR_EVAL_EVALTESTING_H

//===- MomentPass.cpp - second moments of inputs, a few at a time ---------===//
//
// See MomentPass.h. Rows are sampled by stepping through the launches of a run
// (LivePass.h) and copying what each observer reads.
//
//===----------------------------------------------------------------------===//

#include "codegen/driver/MomentPass.h"

#include "codegen/driver/LivePass.h"
#include "ir/Failure.h"
#include "passes/Sites.h"

#include <cmath>
#include <mlir/IR/Builders.h>

using namespace mlir;
using namespace qplan;

namespace {

/// Bytes of second moments held at a time; one input may need more by itself.
constexpr int64_t momentBytes = 400 << 20;
/// Bytes of them in files, at most.
constexpr int64_t keptBytes = 1 << 30;

/// Puts a lower triangle, row by row, into both triangles of `gram` [columns, columns].
void unpackTriangle(const double *triangle, int64_t columns, std::vector<double> &gram) {
  gram.resize(size_t(columns * columns));
  for (int64_t i = 0; i < columns; ++i)
    for (int64_t j = 0; j <= i; ++j)
      gram[size_t(i * columns + j)] = gram[size_t(j * columns + i)] = *triangle++;
}

void insertMomentObservers(ModuleOp module, ArrayRef<MomentInput> inputs) {
  llvm::StringSet<> names;
  for (const MomentInput &input : inputs)
    names.insert(input.observer);
  for (const Site &site : collectSites(module))
    if (names.contains(site.name)) {
      OpBuilder builder(site.op);
      for (bool gram : {false, true})
        qp::ObserveOp::create(builder, site.op->getLoc(), site.input(), site.name, gram,
                              /*histogram=*/false);
    }
}

/// What the observers of `program` found of `input`. The moments are kept in `gram`.
llvm::Expected<InputMoments> momentsOf(LiveModel &live, const MomentInput &input,
                                       std::vector<double> &gram) {
  InputMoments moments;
  moments.subject = "site " + input.observer;
  moments.columns = input.columns;
  for (Attribute attr : live.program()->getAttrOfType<ArrayAttr>("observers")) {
    auto entry = cast<DictionaryAttr>(attr);
    if (entry.getAs<StringAttr>("site").getValue() != input.observer)
      continue;
    uint8_t *memory = live.statistics() + entry.getAs<IntegerAttr>("offset").getInt();
    if (entry.getAs<UnitAttr>("gram")) {
      unpackTriangle(reinterpret_cast<const double *>(memory), input.columns, gram);
      moments.gram = gram;
      std::memcpy(&moments.count, memory + input.bytes(), sizeof moments.count);
    } else {
      SiteStatistics ranges = readObserver(memory, input.columns);
      moments.absMax = std::move(ranges.absMax);
      moments.meanAbs = std::move(ranges.meanAbs);
    }
  }
  for (int64_t j = 0; j < input.columns; ++j)
    if (!std::isfinite(moments.gram[size_t(j * input.columns + j)]))
      return inputError("{}: column {} of its input becomes NaN or infinite on the calibration "
                        "text; the weights are broken or overflow f32",
                        moments.subject, j);
  return moments;
}

/// Runs windows, and keeps rows of the inputs.
class SampledRuns {
public:
  SampledRuns(LiveModel &live, ArrayRef<MomentInput> inputs, int64_t wanted)
      : live(live), inputs(inputs), wanted(wanted), samples(inputs.size()) {}

  llvm::Error run(ArrayRef<std::vector<int32_t>> windows, const ProgressSink &progress) {
    for (auto [i, window] : llvm::enumerate(windows)) {
      auto error = wanted > 0 ? step(window, int64_t(windows.size())) : live.run(window, nullptr);
      if (error)
        return error;
      progress.update("calibrate", i + 1, windows.size());
    }
    return llvm::Error::success();
  }

  /// Rows of input `index` [n, columns].
  ArrayRef<float> rowsOf(size_t index) const { return samples[index]; }

private:
  /// The launches that observe the moments of each input, in their order.
  void findObservers() {
    for (Attribute attr : live.program()->getAttrOfType<ArrayAttr>("observers")) {
      auto entry = cast<DictionaryAttr>(attr);
      StringRef site = entry.getAs<StringAttr>("site").getValue();
      for (auto [i, input] : llvm::enumerate(inputs))
        if (entry.getAs<UnitAttr>("gram") && site == input.observer)
          observers[pass->observerAt(entry.getAs<IntegerAttr>("offset").getInt())] = i;
    }
  }

  llvm::Error step(ArrayRef<int32_t> window, int64_t windows) {
    if (!pass) {
      auto made = LivePass::create(live, int64_t(window.size()));
      if (!made)
        return made.takeError();
      pass = std::move(*made);
      findObservers();
    }
    if (auto error = pass->begin(window, nullptr))
      return error;
    int64_t at = 0;
    for (auto [launch, input] : observers) {
      pass->run(at, launch);
      at = launch;
      LiveRows rows = pass->inputOf(launch);
      const int64_t count = std::min(rows.count, (wanted + windows - 1) / windows);
      for (int64_t i = 0; i < count; ++i) {
        const float *row = rows.row((2 * i + 1) * rows.count / (2 * count));
        samples[input].insert(samples[input].end(), row, row + rows.columns);
      }
    }
    pass->run(at, pass->launches());
    return llvm::Error::success();
  }

  LiveModel &live;
  ArrayRef<MomentInput> inputs;
  const int64_t wanted;
  std::vector<std::vector<float>> samples;
  std::unique_ptr<LivePass> pass;
  std::map<int64_t, size_t> observers; ///< launch to input
};

} // namespace

std::optional<InputMoments> MomentStore::find(const std::string &key,
                                              std::vector<double> &gram) const {
  auto found = kept.find(key);
  if (found == kept.end())
    return std::nullopt;
  InputMoments moments = found->second.moments;
  unpackTriangle(reinterpret_cast<const double *>(found->second.triangle.data()), moments.columns,
                 gram);
  moments.gram = gram;
  return moments;
}

llvm::Error MomentStore::keep(const std::string &key, const InputMoments &moments) {
  const int64_t n = moments.columns, size = MomentInput{"", n}.bytes();
  if (contains(key) || bytes + size > keptBytes)
    return llvm::Error::success();
  auto triangle = ScratchFile::create(uint64_t(size), "second moments");
  if (!triangle)
    return triangle.takeError();
  auto *out = reinterpret_cast<double *>(triangle->data());
  for (int64_t i = 0; i < n; ++i)
    out = std::copy_n(&moments.gram[size_t(i * n)], i + 1, out);
  Kept &entry = kept[key];
  entry.moments = moments;
  entry.moments.gram = {};
  entry.triangle = std::move(*triangle);
  bytes += size;
  return llvm::Error::success();
}

InputMoments qplan::dividedMoments(const InputMoments &moments, ArrayRef<float> factors,
                                 std::vector<double> &gram) {
  InputMoments out = moments;
  const int64_t n = moments.columns;
  gram.resize(size_t(n * n));
  for (int64_t i = 0; i < n; ++i)
    for (int64_t j = 0; j < n; ++j)
      gram[i * n + j] = moments.gram[i * n + j] / (double(factors[i]) * double(factors[j]));
  out.gram = gram;
  for (int64_t j = 0; j < n; ++j) {
    out.absMax[j] /= factors[j];
    out.meanAbs[j] /= factors[j];
  }
  return out;
}

llvm::Error Compiler::visitMoments(ArrayRef<MomentInput> inputs,
                                   ArrayRef<std::vector<int32_t>> windows, int64_t sampledRows,
                                   const MomentVisitor &visit) {
  // An exchange rounds more sites for every choice that it tries.
  const bool again = !options.automatic.empty() && options.exchange;
  std::vector<std::string> keys(inputs.size());
  if (again) {
    auto model = import("f32");
    if (!model)
      return model.takeError();
    const std::vector<Site> sites = collectSites(**model);
    llvm::StringMap<std::string> names;
    for (auto [site, name] : llvm::zip(sites, inputNames(sites)))
      names[site.name] = name;
    for (auto [key, input] : llvm::zip(keys, inputs))
      key = fmt::format("{} {} {}", windows.size(), windows[0].size(),
                        names.lookup(input.observer));
  }
  auto isKnown = [&](size_t i) {
    return again && sampledRows == 0 && momentStore->contains(keys[i]);
  };

  for (size_t begin = 0, end; begin < inputs.size(); begin = end) {
    std::vector<MomentInput> batch;
    int64_t bytes = 0;
    for (end = begin; end < inputs.size(); ++end) {
      if (isKnown(end))
        continue;
      if (bytes && bytes + inputs[end].bytes() > momentBytes)
        break;
      bytes += inputs[end].bytes();
      batch.push_back(inputs[end]);
    }
    std::unique_ptr<LiveModel> live;
    std::optional<SampledRuns> runs;
    if (!batch.empty()) {
      auto imported = import("f32");
      if (!imported)
        return imported.takeError();
      insertMomentObservers(**imported, batch);
      if (auto error = lowerForCalibration(**imported))
        return error;
      auto made = LiveModel::create(std::move(*imported), *weights, options.threads, progress);
      if (!made)
        return made.takeError();
      live = std::move(*made);
      runs.emplace(*live, batch, sampledRows);
      if (auto error = runs->run(windows, progress))
        return error;
    }
    std::vector<double> gram; // of one input at a time
    for (size_t i = begin, observed = 0; i < end; ++i) {
      if (isKnown(i)) {
        if (auto error = visit(i, *momentStore->find(keys[i], gram), {}))
          return error;
        continue;
      }
      auto found = momentsOf(*live, inputs[i], gram);
      if (!found)
        return found.takeError();
      if (auto error = again ? momentStore->keep(keys[i], *found) : llvm::Error::success())
        return error;
      if (auto error = visit(i, *found, runs->rowsOf(observed++)))
        return error;
    }
  }
  return llvm::Error::success();
}

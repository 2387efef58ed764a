//===- PartialRuns.cpp - what a changed weight does to the logits ---------===//
//
// See PartialRuns.h.
//
//===----------------------------------------------------------------------===//

#include "codegen/driver/PartialRuns.h"

#include "ir/Failure.h"

#include <cstring>

using namespace qplan;

llvm::Expected<std::unique_ptr<PartialRuns>>
PartialRuns::create(LiveModel &model, std::vector<std::vector<int32_t>> windows,
                    llvm::ArrayRef<plan::WeightOp> entries) {
  std::unique_ptr<PartialRuns> runs(new PartialRuns(model, std::move(windows)));
  auto pass = LivePass::create(model, int64_t(runs->windows[0].size()));
  if (!pass)
    return pass.takeError();
  runs->live = std::move(*pass);
  for (plan::WeightOp weight : entries)
    if (int64_t entry = runs->live->entryFor(runs->live->readerOf(weight)); entry > 0)
      runs->entries[entry] = 0;
  for (auto &[entry, place] : runs->entries) {
    place = runs->windowBytes;
    runs->windowBytes += runs->live->stateBytes(entry);
  }
  auto states = ScratchFile::create(runs->windowBytes * runs->windows.size(),
                                    "what is alive between layers");
  if (!states)
    return states.takeError();
  runs->states = std::move(*states);
  if (auto error = runs->record())
    return std::move(error);
  return runs;
}

llvm::Error PartialRuns::record() {
  const size_t bytes = windows[0].size() * size_t(model.vocabulary()) * sizeof(float);
  auto logits = ScratchFile::create(bytes * windows.size(), "the logits of the exact model");
  if (!logits)
    return logits.takeError();
  baseline = std::move(*logits);
  for (size_t w = 0; w < windows.size(); ++w) {
    if (auto error = runWindow(w, 0, {}, /*keep=*/true))
      return error;
    std::memcpy(baseline.data() + w * bytes, changed.data(), bytes);
  }
  return llvm::Error::success();
}

llvm::Error PartialRuns::runLaunch(const RowChange &change) {
  LiveRows input = live->inputOf(change.launch);
  const size_t width = size_t(input.columns);
  rows.resize(size_t(input.count) * width);
  for (int64_t r = 0; r < input.count; ++r) {
    std::memcpy(rows.data() + size_t(r) * width, input.row(r), width * sizeof(float));
    if (auto error = change.change(input.row(r), input.columns))
      return error;
  }
  live->run(change.launch, change.launch + 1);
  for (int64_t r = 0; r < input.count; ++r)
    std::memcpy(input.row(r), rows.data() + size_t(r) * width, width * sizeof(float));
  return llvm::Error::success();
}

llvm::Error PartialRuns::runWindow(size_t w, int64_t from, llvm::ArrayRef<RowChange> changes,
                                   bool keep) {
  changed.resize(windows[w].size() * size_t(model.vocabulary()));
  if (auto error = live->begin(windows[w], changed.data()))
    return error;
  uint8_t *kept = states.data() + w * windowBytes;
  if (from > 0)
    live->loadState(from, kept + entries.at(from));
  int64_t at = from;
  auto next = keep ? entries.upper_bound(from) : entries.end();
  auto advance = [&](int64_t end) {
    for (; next != entries.end() && next->first <= end; ++next) {
      live->run(at, next->first);
      live->saveState(next->first, kept + next->second);
      at = next->first;
    }
    live->run(at, end);
    at = end;
  };
  for (const RowChange &change : changes) {
    advance(change.launch);
    if (auto error = runLaunch(change))
      return error;
    at = change.launch + 1;
  }
  advance(live->launches());
  return llvm::Error::success();
}

llvm::Expected<double> PartialRuns::divergence(int64_t first,
                                               llvm::ArrayRef<RowChange> changes) {
  const int64_t from = live->entryFor(first);
  if (from > 0 && !entries.contains(from))
    return defectError("launch {} is no place to enter the model", from);
  std::vector<RowChange> ordered;
  llvm::copy_if(changes, std::back_inserter(ordered),
                [&](const RowChange &change) { return change.launch >= from; });
  llvm::sort(ordered, [](auto &a, auto &b) { return a.launch < b.launch; });
  double sum = 0;
  for (size_t w = 0; w < windows.size(); ++w) {
    if (auto error = runWindow(w, from, ordered, /*keep=*/false))
      return std::move(error);
    const auto *exact = reinterpret_cast<const float *>(baseline.data()) + w * changed.size();
    sum += model.divergence({exact, changed.size()}, changed);
  }
  return sum / double(windows.size());
}

//===- PackWeights.cpp - the bytes of a plan's weights --------------------===//

#include "codegen/weights/PackWeights.h"

#include "ir/Failure.h"
#include "ir/packings/Panel16.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <mutex>
#include <thread>

using namespace qplan;

namespace {

/// What one plan.weight asks for.
struct Job {
  plan::WeightOp op;
  WeightView view;
  FormatId format;
  std::optional<FormatId> emulate;
  WeightRounding rounding;
  int64_t experts = 1;
  std::vector<float> factors = {}; ///< as TrialRounding::factors
};

/// The numbers beside the rows of a weight in one format. Tensors that are put below each other
/// keep their own, so that rows mean what they would mean apart.
class Sides {
public:
  /// Observes all rows, if the format keeps anything.
  static llvm::Expected<Sides> observe(const WeightView &view, FormatId format,
                                       const WeightRounding &rounding);
  /// What row `row` of the view needs.
  TensorSide at(int64_t row) const {
    if (values.empty())
      return {{}, row};
    size_t part = size_t(std::upper_bound(starts.begin(), starts.end(), row) - starts.begin()) - 1;
    return {values[part], row - starts[part]};
  }

private:
  std::vector<int64_t> starts;
  std::vector<std::vector<float>> values; ///< of each part; empty: nothing is kept
};

llvm::Expected<Sides> Sides::observe(const WeightView &view, FormatId format,
                                     const WeightRounding &rounding) {
  Sides sides;
  if (formatInfo(format).side == SideData::None)
    return sides;
  sides.starts = view.partRows();
  std::vector<float> row(view.columns());
  for (size_t part = 0; part < sides.starts.size(); ++part) {
    int64_t first = sides.starts[part];
    int64_t end = part + 1 < sides.starts.size() ? sides.starts[part + 1] : view.rows();
    SideObserver observer(format, end - first, view.columns(), rounding.importance);
    for (int64_t r = first; r < end; ++r) {
      if (auto error = view.readRows(r, 1, row.data()))
        return std::move(error);
      WeightView::Place place = view.placeOf(r);
      std::string subject = fmt::format("{}, row {}", place.subject.str(), place.row);
      if (auto error = observer.observe(r - first, row.data(), subject))
        return std::move(error);
    }
    sides.values.push_back(observer.values());
  }
  return sides;
}

llvm::StringRef textDetail(plan::WeightOp op, llvm::StringRef name) {
  auto details = op.getDetails();
  auto attr = details ? details->getAs<mlir::StringAttr>(name) : mlir::StringAttr();
  return attr ? attr.getValue() : llvm::StringRef();
}

/// Whether the rows are the checkpoint's (or a blob's) own.
bool isNative(const Job &job) { return !job.emulate && job.view.nativeFormat() == job.format; }

/// Encoded rows of one panel, with the memory they may need.
class PanelRows {
public:
  /// `sides` are those of the job's format, `emulated` those of the format that it emulates.
  PanelRows(const Job &job, const Sides &sides, const Sides &emulated)
      : job(job), sides(sides), emulated(emulated), columns(job.view.columns()),
        codec(codecFor(job.format)), bytes(codec.bytesPerRow(columns)) {}

  /// Fills `rows` with 16 row pointers and `needs` with what they need; rows past `count` are
  /// padding.
  llvm::Error read(int64_t first, int64_t count, const uint8_t *rows[16], TensorSide needs[16]) {
    std::fill_n(rows, 16, nullptr);
    std::fill_n(needs, 16, TensorSide());
    if (isNative(job)) {
      for (int64_t r = 0; r < count; ++r) {
        auto row = job.view.nativeRow(first + r, scratch[r]);
        if (!row)
          return row.takeError();
        needs[r] = job.view.nativeSide(first + r);
        if (auto error = checkFinite(first + r, row->data(), needs[r], nullptr))
          return error;
        rows[r] = row->data();
      }
      return llvm::Error::success();
    }
    values.resize(count * columns);
    if (auto error = job.view.readRows(first, count, values.data()))
      return error;
    if (job.emulate)
      if (auto error = roundTrip(first, count))
        return error;
    encoded.resize(16 * bytes);
    for (int64_t r = 0; r < count; ++r) {
      rows[r] = encoded.data() + r * bytes;
      needs[r] = sides.at(first + r);
      const WeightRounding &rounding = job.emulate ? exact : job.rounding;
      if (auto error = codec.encodeRow(values.data() + r * columns, columns,
                                       options(first + r, rounding, needs[r]),
                                       encoded.data() + r * bytes))
        return error;
      // The other codecs check what they encode; plain floats can hold anything.
      if (formatInfo(job.format).family == CodecFamily::Float)
        if (auto error = checkFinite(first + r, rows[r], needs[r], values.data() + r * columns))
          return error;
    }
    return llvm::Error::success();
  }

private:
  EncodeOptions options(int64_t row, const WeightRounding &rounding, TensorSide side) const {
    EncodeOptions options = rounding.applied({});
    options.tensor = side;
    std::tie(options.subject, options.row) = placeOf(row);
    return options;
  }

  std::pair<llvm::StringRef, int64_t> placeOf(int64_t row) const {
    WeightView::Place place = job.view.placeOf(row);
    return {place.subject, place.row};
  }

  /// Checks a stored row of the result. `source`: what was encoded; null when the row is
  /// the checkpoint's own.
  llvm::Error checkFinite(int64_t row, const uint8_t *stored, TensorSide side,
                          const float *source) {
    decoded.resize(columns);
    codec.decodeRow(stored, columns, decoded.data(), side);
    int64_t bad = findNonFinite(decoded.data(), columns);
    if (bad < 0)
      return llvm::Error::success();
    auto [subject, local] = placeOf(row);
    if (source && std::isfinite(source[bad]))
      return inputError("{}, row {}: column {} is {}, more than {} can hold; keep the tensor in "
                        "f32 or use another format",
                        subject.str(), local, bad, source[bad], formatInfo(job.format).name);
    return inputError("{}, row {}: column {} is {}; finite weights are expected, repair the "
                      "checkpoint",
                      subject.str(), local, bad, decoded[bad]);
  }

  llvm::Error roundTrip(int64_t first, int64_t count) {
    const Codec &rounding = codecFor(*job.emulate);
    encoded.resize(rounding.bytesPerRow(columns));
    for (int64_t r = 0; r < count; ++r) {
      float *row = values.data() + r * columns;
      TensorSide side = emulated.at(first + r);
      for (size_t j = 0; j < job.factors.size(); ++j)
        row[j] *= job.factors[j];
      if (auto error = rounding.encodeRow(row, columns, options(first + r, job.rounding, side),
                                          encoded.data()))
        return error;
      rounding.decodeRow(encoded.data(), columns, row, side);
      for (size_t j = 0; j < job.factors.size(); ++j)
        row[j] /= job.factors[j];
    }
    return llvm::Error::success();
  }

  const Job &job;
  const Sides &sides, &emulated;
  const WeightRounding exact; ///< what was emulated is stored as it is
  int64_t columns;
  const Codec &codec;
  uint64_t bytes;
  std::vector<float> values, decoded;
  std::vector<uint8_t> encoded;
  std::vector<uint8_t> scratch[PanelLayout::panelRows]; ///< rows that do not lie in a file
};

class Packer {
public:
  Packer(WeightStore &store, const PackOptions &options, const WeightSink &sink)
      : store(store), options(options), sink(sink) {}

  llvm::Error run(plan::ProgramOp program) {
    std::vector<plan::WeightOp> weights;
    for (plan::WeightOp weight : program.getWeights())
      if (weight.getOffset())
        weights.push_back(weight);
    llvm::stable_sort(weights, [](plan::WeightOp a, plan::WeightOp b) {
      return *a.getOffset() < *b.getOffset();
    });
    total = uint64_t(program.getWeightBytes().value_or(0));
    std::optional<int64_t> last;
    for (plan::WeightOp weight : weights) {
      if (last == *weight.getOffset())
        continue; // shares the bytes of the one before
      last = *weight.getOffset();
      if (auto error = pack(weight))
        return error;
      if (options.progress)
        options.progress(*weight.getOffset() + weight.getBytes(), total);
    }
    return llvm::Error::success();
  }

  /// One matrix, rounded as `trial` says, to the sink at its place.
  llvm::Error packOne(plan::WeightOp op, const TrialRounding &trial) {
    const bool asIs = !trial.source.empty();
    auto view = store.open(asIs ? llvm::StringRef(trial.source) : op.getSource());
    if (!view)
      return view.takeError();
    Job job{op, std::move(*view), llvm::cantFail(parseFormat(op.getFormat())), {}, {}, 1};
    if (!asIs) {
      job.emulate = trial.format;
      job.rounding = trial.rounding;
      job.factors = trial.factors;
    }
    return packJob(job);
  }

private:
  llvm::Error pack(plan::WeightOp op) {
    auto details = op.getDetails();
    auto values = details ? details->getAs<mlir::DenseF64ArrayAttr>("values")
                          : mlir::DenseF64ArrayAttr();
    if (values) {
      std::vector<float> floats(values.asArrayRef().begin(), values.asArrayRef().end());
      return writeFloats(*op.getOffset(), floats, nullptr);
    }
    auto view = store.open(op.getSource());
    if (!view)
      return view.takeError();
    if (op.getPacking() == "rows_f32") {
      auto floats = view->readAll();
      if (!floats)
        return floats.takeError();
      if (int64_t(floats->size()) != int64_t(op.getRows() * op.getCols()))
        return defectError("weight {}: {} values where {} were planned", view->text(),
                           floats->size(), op.getRows() * op.getCols());
      return writeFloats(*op.getOffset(), *floats, &*view);
    }
    return packMatrix(op, std::move(*view));
  }

  /// `view`: where the values come from; null when the compiler computed them.
  llvm::Error writeFloats(uint64_t offset, const std::vector<float> &floats,
                          const WeightView *view) {
    if (int64_t bad = findNonFinite(floats.data(), int64_t(floats.size())); bad >= 0) {
      if (!view)
        return inputError("value {} of a table made from the configuration is {}; it asks for "
                          "what f32 cannot hold",
                          bad, floats[bad]);
      bool isVector = view->shape().size() < 2;
      WeightView::Place place = view->placeOf(isVector ? bad : bad / view->columns());
      std::string where = isVector ? fmt::format("element {}", place.row)
                                   : fmt::format("row {}, column {}", place.row,
                                                 bad % view->columns());
      return inputError("{}: {} is {}; finite weights are expected, repair the checkpoint",
                        place.subject.str(), where, floats[bad]);
    }
    return sink(offset, {reinterpret_cast<const uint8_t *>(floats.data()), floats.size() * 4});
  }

  llvm::Error packMatrix(plan::WeightOp op, WeightView view) {
    Job job{op, std::move(view), llvm::cantFail(parseFormat(op.getFormat())), {}, {}, 1};
    if (llvm::StringRef name = textDetail(op, "emulate"); !name.empty())
      job.emulate = llvm::cantFail(parseFormat(name));
    auto rounding = parseRounding(textDetail(op, "method"), job.view.columns(), store.blobs());
    if (!rounding)
      return rounding.takeError();
    job.rounding = std::move(*rounding);
    return packJob(job);
  }

  llvm::Error packJob(Job &job) {
    plan::WeightOp op = job.op;
    if (auto details = op.getDetails())
      if (auto count = details->getAs<mlir::IntegerAttr>("experts"))
        job.experts = count.getInt();
    if (job.view.rows() != int64_t(op.getRows()) || job.view.columns() != int64_t(op.getCols()))
      return defectError("weight {}: {} x {} where {} x {} were planned", job.view.text(),
                         job.view.rows(), job.view.columns(), op.getRows(), op.getCols());
    auto sides = isNative(job) ? Sides() : Sides::observe(job.view, job.format, job.rounding);
    if (!sides)
      return sides.takeError();
    auto emulated = job.emulate ? Sides::observe(job.view, *job.emulate, job.rounding)
                                : Sides();
    if (!emulated)
      return emulated.takeError();
    return packPanels(job, *sides, *emulated);
  }

  llvm::Error packPanels(const Job &job, const Sides &sides, const Sides &emulated) {
    int64_t rows = job.view.rows() / job.experts;
    PanelLayout layout = panelLayoutFor(job.format, rows, job.view.columns());
    int64_t panels = layout.numPanels() * job.experts;
    uint64_t offset = *plan::WeightOp(job.op).getOffset();
    // Enough at a time to keep threads busy, few enough to stay in the caches.
    const int64_t batch = std::max<int64_t>(options.threads, (1 << 20) / layout.panelBytes());
    std::vector<uint8_t> out;
    for (int64_t first = 0; first < panels; first += batch) {
      int64_t count = std::min(batch, panels - first);
      out.assign(size_t(count * layout.panelBytes()), 0);
      std::atomic<int64_t> next{0};
      std::mutex mutex;
      std::optional<llvm::Error> firstError;
      auto work = [&] {
        PanelRows source(job, sides, emulated);
        const uint8_t *pointers[16];
        TensorSide needs[16];
        for (int64_t i; (i = next++) < count;) {
          int64_t expert = (first + i) / layout.numPanels();
          int64_t row = (first + i) % layout.numPanels() * PanelLayout::panelRows;
          int64_t have = std::min<int64_t>(PanelLayout::panelRows, rows - row);
          auto error = source.read(expert * rows + row, have, pointers, needs);
          if (error) {
            std::lock_guard<std::mutex> lock(mutex);
            if (firstError)
              llvm::consumeError(std::move(error));
            else
              firstError = std::move(error);
            next = count;
            return;
          }
          packPanel(layout, job.format, pointers, out.data() + i * layout.panelBytes(), needs);
        }
      };
      std::vector<std::thread> helpers;
      for (unsigned t = 1; t < options.threads; ++t)
        helpers.emplace_back(work);
      work();
      for (std::thread &helper : helpers)
        helper.join();
      if (firstError)
        return std::move(*firstError);
      if (auto error = sink(offset + first * layout.panelBytes(), out))
        return error;
    }
    return llvm::Error::success();
  }

  WeightStore &store;
  const PackOptions &options;
  const WeightSink &sink;
  uint64_t total = 0;
};

} // namespace

llvm::Error qplan::packWeights(plan::ProgramOp program, WeightStore &store,
                               const PackOptions &options, const WeightSink &sink) {
  return Packer(store, options, sink).run(program);
}

llvm::Expected<std::vector<uint8_t>> qplan::packTrial(plan::WeightOp weight, WeightStore &store,
                                                      const TrialRounding &rounding,
                                                      unsigned threads) {
  std::vector<uint8_t> bytes(size_t(weight.getBytes()));
  uint64_t start = *weight.getOffset();
  WeightSink sink = [&](uint64_t offset, llvm::ArrayRef<uint8_t> part) {
    std::copy(part.begin(), part.end(), bytes.begin() + int64_t(offset - start));
    return llvm::Error::success();
  };
  PackOptions options;
  options.threads = threads;
  if (auto error = Packer(store, options, sink).packOne(weight, rounding))
    return std::move(error);
  return bytes;
}

//===- Traces.cpp - what rounding does to the outputs of a site -----------===//
//
// See Traces.h. Treatments whose method is the same up to the format share what the
// method makes of the moments; then every treatment at every site is a task of its own.
//
//===----------------------------------------------------------------------===//

#include "codegen/driver/Traces.h"

#include "codegen/driver/MomentPass.h"
#include "ir/Failure.h"
#include "ir/ParallelFor.h"
#include "passes/InputFold.h"
#include "passes/SmoothFactors.h"
#include "passes/moments/OutputError.h"

#include <llvm/ADT/MapVector.h>
#include <mutex>

using namespace qplan;

namespace {

/// Rows of a matrix that stand for all: a tile of OutputError, fewer of each expert.
int64_t sampledRowsOf(const Site &site) {
  return std::min<int64_t>(site.rows, std::max<int64_t>(4, errorTileRows / site.weightCount));
}

/// Survivors of the search of a tcq row: enough for the ratios of errors.
constexpr double scoringBeam = 32;

bool smooths(const Treatment &t) {
  return t.method == Method::SmoothQuant || t.method == Method::SmoothQuantPlus ||
         (t.method == Method::Gptq && t.parameter("smooth") != 0);
}

bool isTrellis(const Treatment &t) {
  return formatInfo(t.weight).family == CodecFamily::Trellis;
}

/// What treatments that share a preparation agree in.
std::string preparationOf(const Treatment &t) {
  if (hasFactors(t))
    return printTreatment(t);
  Treatment key{FormatId::F32, {}, t.method, t.parameters};
  return printTreatment(key) + (isTrellis(t) ? " trellis" : "");
}

/// A treatment whose traces are wanted.
struct Wanted {
  Treatment treatment;
  std::string weightName, inputName; ///< in the statistics
};

/// Some rows of one weight of a site.
struct SampledWeight {
  WeightView view;
  int64_t count = 0;
  std::vector<float> values = {}; ///< [count, columns]
  std::string subject;
};

/// What the traces of one input are made from.
class InputTraces {
public:
  InputTraces(WeightStore &store, Statistics &statistics, unsigned threads,
              llvm::ArrayRef<Site> sites, const InputMoments &moments,
              llvm::ArrayRef<float> rows)
      : store(store), statistics(statistics), threads(threads), sites(sites), moments(moments),
        rows(rows), columns(moments.columns) {}

  /// Opens the weights, all rows of which are read when they are wanted, or reads rows that stand
  /// for them.
  llvm::Error read(bool all);
  /// `treatments` of the sites have one preparation.
  llvm::Expected<std::vector<RoundedSite>> round(llvm::ArrayRef<Treatment> treatments);
  /// Traces of treatments with one preparation.
  llvm::Error measure(llvm::ArrayRef<Wanted> treatments);

private:
  /// What a method makes of the input for some treatments.
  struct Prepared {
    std::vector<float> factors; ///< empty: none
    std::vector<double> gram;   ///< of the divided moments
    InputMoments moments;
    std::unique_ptr<OutputError> output;
    std::unique_ptr<MomentRounder> rounder; ///< null: the codec rounds
  };
  llvm::Expected<std::vector<float>> factorsOf(const Treatment &treatment);
  llvm::Expected<Prepared> prepare(const Treatment &treatment);
  MomentWeight weightFor(const SampledWeight &weight, const Treatment &treatment,
                         llvm::ArrayRef<float> factors) const;
  llvm::Expected<double> weightTrace(size_t site, const Treatment &treatment,
                                     const Prepared &prepared) const;
  llvm::Expected<std::vector<float>> rounded(const MomentWeight &weight, const Site &site,
                                             const Prepared &prepared) const;
  llvm::Expected<std::vector<double>> inputError(const Site &site, const Treatment &treatment,
                                                 const Prepared &prepared) const;
  double inputTrace(size_t site, llvm::ArrayRef<double> error) const;

  WeightStore &store;
  Statistics &statistics;
  const unsigned threads;
  llvm::ArrayRef<Site> sites;
  const InputMoments &moments;
  llvm::ArrayRef<float> rows;
  const int64_t columns;
  bool readAll = false;
  std::vector<std::vector<SampledWeight>> weights; ///< of each site
};

llvm::Error InputTraces::read(bool all) {
  readAll = all;
  for (const Site &site : sites) {
    auto &list = weights.emplace_back();
    for (unsigned i = 0; i < site.weightCount; ++i) {
      auto view = store.open(weightUnder(site.weight(i)).getSource());
      if (!view)
        return view.takeError();
      SampledWeight weight{*view, all ? site.rows : sampledRowsOf(site), {},
                           fmt::format("site {}: {}", site.name, view->text())};
      weight.values.resize(all ? 0 : size_t(weight.count * columns));
      for (int64_t r = 0; !all && r < weight.count; ++r)
        if (auto error = view->readRows((2 * r + 1) * site.rows / (2 * weight.count), 1,
                                        weight.values.data() + r * columns))
          return error;
      list.push_back(std::move(weight));
    }
  }
  return llvm::Error::success();
}

MomentWeight InputTraces::weightFor(const SampledWeight &weight, const Treatment &treatment,
                                    llvm::ArrayRef<float> factors) const {
  MomentWeight out;
  out.treatment = treatment;
  if (!readAll && treatment.method == Method::Gptq && isTrellis(treatment))
    out.treatment.parameters.try_emplace("beam", scoringBeam);
  out.rows = weight.count;
  out.subject = weight.subject;
  out.read = [&weight, all = readAll, factors, width = columns](
                 int64_t first, int64_t count, float *to) -> llvm::Error {
    if (!all)
      std::copy_n(weight.values.data() + first * width, count * width, to);
    else if (auto error = weight.view.readRows(first, count, to))
      return error;
    for (int64_t i = 0; !factors.empty() && i < count * width; ++i)
      to[i] *= factors[size_t(i % width)];
    return llvm::Error::success();
  };
  return out;
}

llvm::Expected<std::vector<float>> InputTraces::factorsOf(const Treatment &treatment) {
  if (const MomentMethod *method = momentMethod(treatment)) {
    std::vector<MomentWeight> all;
    for (const auto &list : weights)
      for (const SampledWeight &weight : list)
        all.push_back(weightFor(weight, treatment, {}));
    InputFold fold(sites.vec(), treatment.hasOwnFactors());
    auto legal = [&](std::vector<float> &factors) { fold.legalize(factors); };
    return method->factors(moments, all, legal, threads);
  }
  if (!smooths(treatment))
    return std::vector<float>();
  if (treatment.parameter("alpha") < 0)
    return usageError("--auto: {} has no alpha before the model is run with it; give it one",
                      printTreatment(treatment));
  auto ranges = columnRanges(sites, statistics, store);
  if (!ranges)
    return ranges.takeError();
  std::vector<float> factors = ranges->factors(treatment.parameter("alpha"));
  InputFold(sites.vec()).legalize(factors);
  return factors;
}

llvm::Expected<InputTraces::Prepared> InputTraces::prepare(const Treatment &treatment) {
  Prepared prepared;
  auto factors = factorsOf(treatment);
  if (!factors)
    return factors.takeError();
  prepared.factors = std::move(*factors);
  prepared.moments = prepared.factors.empty()
                         ? moments
                         : dividedMoments(moments, prepared.factors, prepared.gram);
  prepared.output = std::make_unique<OutputError>(prepared.moments);
  const MomentMethod *method = momentMethod(treatment);
  if (method && method->rounds(treatment)) {
    auto rounder = method->rounder(prepared.moments, treatment, threads);
    if (!rounder)
      return rounder.takeError();
    prepared.rounder = std::move(*rounder);
  }
  return prepared;
}

/// Values of `rows` rows in storage of `format`, one after the other, and the numbers beside them.
std::vector<float> decodeRows(FormatId format, llvm::ArrayRef<uint8_t> bytes, int64_t rows,
                              int64_t columns) {
  const Codec &codec = codecFor(format);
  const uint64_t rowBytes = codec.bytesPerRow(columns);
  std::vector<float> side((bytes.size() - rowBytes * uint64_t(rows)) / sizeof(float));
  std::memcpy(side.data(), bytes.data() + rowBytes * uint64_t(rows), side.size() * sizeof(float));
  std::vector<float> values(size_t(rows * columns));
  for (int64_t r = 0; r < rows; ++r)
    codec.decodeRow(bytes.data() + rowBytes * uint64_t(r), columns, values.data() + r * columns,
                    {side, r});
  return values;
}

llvm::Expected<std::vector<float>> InputTraces::rounded(const MomentWeight &weight,
                                                        const Site &site,
                                                        const Prepared &prepared) const {
  const FormatId format = weight.treatment.weight;
  if (prepared.rounder) {
    auto bytes = prepared.rounder->round(weight);
    if (!bytes)
      return bytes.takeError();
    return decodeRows(format, *bytes, weight.rows, columns);
  }
  std::vector<float> values(size_t(weight.rows * columns));
  if (auto error = weight.read(0, weight.rows, values.data()))
    return std::move(error);
  const Codec &codec = codecFor(format);
  SideObserver side(format, weight.rows, columns);
  for (int64_t r = 0; side.isNeeded() && r < weight.rows; ++r)
    if (auto error = side.observe(r, values.data() + r * columns, weight.subject))
      return std::move(error);
  const std::vector<float> numbers = side.isNeeded() ? side.values() : std::vector<float>();
  const WeightRounding rounding = codecRounding(site, weight.treatment, statistics);
  EncodeOptions options = rounding.applied({});
  options.subject = weight.subject;
  std::vector<uint8_t> bytes(codec.bytesPerRow(columns));
  for (int64_t r = 0; r < weight.rows; ++r) {
    options.row = r;
    options.tensor = {numbers, r};
    if (auto error = codec.encodeRow(values.data() + r * columns, columns, options, bytes.data()))
      return std::move(error);
    codec.decodeRow(bytes.data(), columns, values.data() + r * columns, options.tensor);
  }
  return values;
}

llvm::Expected<double> InputTraces::weightTrace(size_t s, const Treatment &treatment,
                                                const Prepared &prepared) const {
  const Site &site = sites[s];
  if (treatment.weight == site.stored)
    return 0.0; // kept as it is
  std::vector<float> tile(size_t(errorTileRows * columns));
  double sum = 0;
  for (const SampledWeight &sampled : weights[s]) {
    MomentWeight weight = weightFor(sampled, treatment, prepared.factors);
    auto values = rounded(weight, site, prepared);
    if (!values)
      return values.takeError();
    std::vector<float> exact(values->size());
    llvm::cantFail(weight.read(0, weight.rows, exact.data()));
    for (size_t i = 0; i < exact.size(); ++i)
      (*values)[i] -= exact[i];
    transposeTile(values->data(), weight.rows, columns, tile.data());
    sum += prepared.output->of(tile.data()) * double(site.rows) / double(weight.rows);
  }
  return sum;
}

/// Mean square of what rounding the rows does to each column.
llvm::Expected<std::vector<double>> InputTraces::inputError(const Site &site,
                                                            const Treatment &treatment,
                                                            const Prepared &prepared) const {
  auto round = inputRounding(site, treatment, prepared.factors, statistics);
  if (!round)
    return round.takeError();
  std::vector<double> sums(size_t(columns), 0.0);
  std::vector<float> row(static_cast<size_t>(columns));
  const int64_t count = int64_t(rows.size()) / columns;
  for (int64_t r = 0; r < count; ++r) {
    const float *exact = rows.data() + r * columns;
    std::copy(exact, exact + columns, row.begin());
    if (auto error = (*round)(row.data(), columns))
      return std::move(error);
    for (int64_t j = 0; j < columns; ++j) {
      const double error = double(row[size_t(j)]) - exact[j];
      sums[size_t(j)] += error * error / double(count);
    }
  }
  return sums;
}

double InputTraces::inputTrace(size_t s, llvm::ArrayRef<double> error) const {
  double sum = 0;
  for (const SampledWeight &weight : weights[s]) {
    const double share = double(sites[s].rows) / double(weight.count);
    for (size_t i = 0; i < weight.values.size(); ++i)
      sum += share * error[i % size_t(columns)] * weight.values[i] * weight.values[i];
  }
  return sum;
}

llvm::Error InputTraces::measure(llvm::ArrayRef<Wanted> treatments) {
  auto prepared = prepare(treatments[0].treatment);
  if (!prepared)
    return prepared.takeError();
  std::mutex mutex;
  llvm::Error failure = llvm::Error::success();
  auto fail = [&](llvm::Error error) {
    if (failure)
      llvm::consumeError(std::move(error));
    else
      failure = std::move(error);
  };
  const int64_t tasks = int64_t(treatments.size() * sites.size());
  parallelFor(tasks, threads, [&](int64_t task) {
    const Wanted &wanted = treatments[size_t(task) / sites.size()];
    const size_t s = size_t(task) % sites.size();
    auto weight = weightTrace(s, wanted.treatment, *prepared);
    llvm::Expected<std::vector<double>> error = std::vector<double>();
    if (!wanted.inputName.empty())
      error = inputError(sites[s], wanted.treatment, *prepared);
    std::lock_guard<std::mutex> lock(mutex);
    auto &traces = statistics.traces[sites[s].name];
    if (!weight)
      fail(weight.takeError());
    else
      traces[wanted.weightName] = *weight;
    if (!error)
      fail(error.takeError());
    else if (!wanted.inputName.empty())
      traces[wanted.inputName] = inputTrace(s, *error);
  });
  return failure;
}

llvm::Expected<std::vector<RoundedSite>> InputTraces::round(llvm::ArrayRef<Treatment> treatments) {
  auto prepared = prepare(treatments[0]);
  if (!prepared)
    return prepared.takeError();
  std::vector<RoundedSite> result;
  for (auto [site, list, treatment] : llvm::zip(sites, weights, treatments)) {
    RoundedSite &out = result.emplace_back();
    out.factors = prepared->factors;
    if (!prepared->rounder)
      continue;
    std::vector<WeightRef> parts;
    for (const SampledWeight &sampled : list) {
      auto rows = prepared->rounder->round(weightFor(sampled, treatment, prepared->factors));
      if (!rows)
        return rows.takeError();
      auto blob = store.blobs().put({site.rows, site.columns}, treatment.weight, *rows);
      if (!blob)
        return blob.takeError();
      parts.push_back(WeightRef::fromBlob(*blob));
      out.blobs.push_back(std::move(*blob));
    }
    WeightRef all = parts.size() == 1 ? parts[0] : WeightRef::concatRows(std::move(parts));
    if (!out.factors.empty()) {
      std::vector<float> inverse;
      for (float factor : out.factors)
        inverse.push_back(1.0f / factor);
      auto blob = store.blobs().putFloats({columns}, inverse);
      if (!blob)
        return blob.takeError();
      all = all.with(WeightTransform::scaleColumns(*blob));
    }
    out.source = all.text();
  }
  return result;
}

} // namespace

WeightRounding qplan::codecRounding(const Site &site, const Treatment &treatment,
                                    const Statistics &statistics) {
  WeightRounding rounding;
  const SiteStatistics *seen = statistics.inputOf(site.name);
  if (treatment.method == Method::Mse || treatment.method == Method::Imatrix)
    rounding.rule = ScaleRule::Mse;
  if (treatment.method == Method::Imatrix && seen)
    rounding.importance = seen->meanSquare;
  return rounding;
}

llvm::Expected<RowRounding> qplan::inputRounding(const Site &site, const Treatment &treatment,
                                                 llvm::ArrayRef<float> factors,
                                                 const Statistics &statistics) {
  const FormatId format = *treatment.activation;
  std::vector<float> side;
  if (formatInfo(format).isPerTensor()) {
    auto seen = statistics.neededInputOf(site.name);
    if (!seen)
      return seen.takeError();
    float largest = 0;
    for (auto [j, value] : llvm::enumerate(seen->absMax))
      largest = std::max(largest, factors.empty() ? value : value / factors[j]);
    side.push_back(largest > 0 ? float(largest / scaleDivisor(format)) : 1.0f);
  }
  return [format, side, factors = factors.vec(), name = site.name](float *row,
                                                                   int64_t columns) -> llvm::Error {
    const Codec &codec = codecFor(format);
    std::vector<uint8_t> bytes(codec.bytesPerRow(columns));
    EncodeOptions options;
    options.subject = name;
    options.tensor = {side, 0};
    for (size_t j = 0; j < factors.size(); ++j)
      row[j] /= factors[j];
    if (auto error = codec.encodeRow(row, columns, options, bytes.data()))
      return error;
    codec.decodeRow(bytes.data(), columns, row, options.tensor);
    for (size_t j = 0; j < factors.size(); ++j)
      row[j] *= factors[j];
    return llvm::Error::success();
  };
}

bool qplan::hasFactors(const Treatment &treatment) {
  return smooths(treatment) || treatment.method == Method::Awq ||
         (treatment.method == Method::Gptq && treatment.parameter("awq") != 0);
}

std::string qplan::roundedName(const Site &site, const Treatment &treatment) {
  std::string name = site.name + " " + printTreatment(treatment);
  for (unsigned i = 0; i < site.weightCount; ++i)
    name += " " + weightUnder(site.weight(i)).getSource().str();
  return name;
}

bool qplan::needsPreparation(const Treatment &treatment) {
  return momentMethod(treatment) || smooths(treatment);
}

std::string qplan::weightTraceName(const Treatment &treatment) {
  Treatment weights = treatment;
  if (!smooths(treatment)) {
    weights.activation.reset();
    weights.parameters.erase("range");
    weights.parameters.erase("percentile");
  }
  return printTreatment(weights);
}

std::string qplan::inputTraceName(const Treatment &treatment) {
  if (!treatment.activation)
    return "";
  return "input " + (hasFactors(treatment) ? printTreatment(treatment)
                                           : formatName(*treatment.activation).str());
}

llvm::Error TraceMeter::measure(llvm::ArrayRef<Site> sites, llvm::ArrayRef<Treatment> treatments,
                                const InputMoments &moments, llvm::ArrayRef<float> rows) {
  std::vector<Treatment> shared, own;
  for (const Treatment &treatment : treatments)
    (treatment.hasOwnFactors() ? own : shared).push_back(treatment);
  if (auto error = measureTogether(sites, shared, moments, rows))
    return error;
  for (const Site &site : sites)
    if (auto error = measureTogether(site, own, moments, rows))
      return error;
  return llvm::Error::success();
}

llvm::Error TraceMeter::measureTogether(llvm::ArrayRef<Site> sites,
                                        llvm::ArrayRef<Treatment> treatments,
                                        const InputMoments &moments, llvm::ArrayRef<float> rows) {
  llvm::MapVector<llvm::StringRef, std::vector<Wanted>> parts;
  std::vector<std::string> keys;
  for (const Treatment &treatment : treatments)
    keys.push_back(preparationOf(treatment));
  for (auto [key, treatment] : llvm::zip(keys, treatments)) {
    Wanted wanted{treatment, weightTraceName(treatment), inputTraceName(treatment)};
    const bool known = llvm::all_of(sites, [&](const Site &site) {
      const auto &traces = statistics.traces[site.name];
      return traces.contains(wanted.weightName) &&
             (wanted.inputName.empty() || traces.contains(wanted.inputName));
    });
    if (!known)
      parts[key].push_back(std::move(wanted));
  }
  if (parts.empty())
    return llvm::Error::success();
  InputTraces input(store, statistics, threads, sites, moments, rows);
  if (auto error = input.read(/*all=*/false))
    return error;
  for (auto &[key, wanted] : parts)
    if (auto error = input.measure(wanted))
      return error;
  return llvm::Error::success();
}

llvm::Expected<std::vector<RoundedSite>> TraceMeter::round(llvm::ArrayRef<Site> sites,
                                                           llvm::ArrayRef<Treatment> treatments,
                                                           const InputMoments &moments) {
  struct Part {
    std::vector<Site> sites;
    std::vector<Treatment> treatments;
    std::vector<size_t> places;
  };
  llvm::MapVector<llvm::StringRef, Part> parts;
  std::vector<std::string> keys;
  for (auto [site, treatment] : llvm::zip(sites, treatments))
    keys.push_back(preparationOf(treatment) + (treatment.hasOwnFactors() ? " " + site.name : ""));
  for (auto [i, key] : llvm::enumerate(keys)) {
    Part &part = parts[key];
    part.sites.push_back(sites[i]);
    part.treatments.push_back(treatments[i]);
    part.places.push_back(i);
  }
  std::vector<RoundedSite> result(sites.size());
  for (auto &[key, part] : parts) {
    InputTraces input(store, statistics, threads, part.sites, moments, {});
    if (auto error = input.read(/*all=*/true))
      return std::move(error);
    auto made = input.round(part.treatments);
    if (!made)
      return made.takeError();
    for (auto [place, each] : llvm::zip(part.places, *made))
      result[place] = std::move(each);
  }
  return result;
}

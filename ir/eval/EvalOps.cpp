//===- EvalOps.cpp - the formula of each op -------------------------------===//
//
// Shapes: T rows of the batch, K columns of the input, N columns of the result;
// x, w, y are f32, everything between them is f64, and y is rounded once.
//
//===----------------------------------------------------------------------===//

#include "ir/eval/Evaluator.h"
#include "ir/packings/KvPages.h"

#include <bit>
#include <cmath>
#include <map>
#include <numbers>
#include <numeric>

using namespace mlir;
using namespace qplan;

using Rows = EvalRows;

namespace {

/// y[r, c] = f(r, c).
template <typename Function>
Rows build(int64_t rows, int64_t columns, Function f) {
  Rows y(rows, columns);
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t c = 0; c < columns; ++c)
      y.row(r)[c] = float(f(r, c));
  return y;
}

/// y[r, c] = f(x[r, c]).
template <typename Function>
Rows map(const Rows &x, Function f) {
  return build(x.rows, x.columns, [&](int64_t r, int64_t c) { return f(double(x.row(r)[c])); });
}

/// Sum over k < n of a[k] * b[k].
double dot(const float *a, const float *b, int64_t n) {
  double sum = 0;
  for (int64_t k = 0; k < n; ++k)
    sum += double(a[k]) * b[k];
  return sum;
}

double activation(qp::Activation function, double x) {
  switch (function) {
  case qp::Activation::Silu:
    return x / (1 + std::exp(-x));
  case qp::Activation::GeluTanh:
    return 0.5 * x * (1 + std::tanh(std::sqrt(2 / std::numbers::pi) * (x + 0.044715 * x * x * x)));
  case qp::Activation::GeluErf:
    return 0.5 * x * (1 + std::erf(x / std::numbers::sqrt2));
  case qp::Activation::Relu:
    return std::max(x, 0.0);
  }
  llvm_unreachable("every function has a case");
}

/// Replaces p[n] by exp(p[i]) / sum of exp(p[j]).
void softmax(std::vector<double> &p) {
  double largest = *std::max_element(p.begin(), p.end()), sum = 0;
  for (double &value : p)
    sum += value = std::exp(value - largest);
  for (double &value : p)
    value /= sum;
}

/// Operands of one op must agree in what its types do not say.
llvm::Error expect(Operation *op, llvm::StringRef what, int64_t expected, int64_t found) {
  if (expected == found)
    return llvm::Error::success();
  return evalError(op, "needs {} {}, found {}", expected, what.str(), found);
}

/// y[T, N]: y[r, o] = residual[r, o] + scale * (sum over k of x[r, k] * w[o, k] + bias[o]).
/// Integer codes are multiplied and summed exactly in kernels; so are they here, up to the
/// rounding of each scale * code to f32 that `qp.dequantize` states.
Rows affine(const Rows &x, const Rows &w, const Rows *bias, const Rows *residual = nullptr,
            double scale = 1.0) {
  return build(x.rows, w.rows, [&](int64_t r, int64_t o) {
    double sum = dot(x.row(r), w.row(o), x.columns);
    if (bias)
      sum += bias->values[o];
    return (residual ? double(residual->row(r)[o]) : 0.0) + scale * sum;
  });
}

} // namespace

//===----------------------------------------------------------------------===//
// Embeddings
//===----------------------------------------------------------------------===//

/// ids [T], table [V, N]: y[r] = multiplier * table[ids[r]].
llvm::Error Evaluator::eval(qp::EmbeddingOp op) {
  const Rows &table = in(op.getTable());
  const std::vector<int32_t> &ids = in(op.getIds()).indices;
  for (size_t r = 0; r < ids.size(); ++r)
    if (ids[r] < 0 || ids[r] >= table.rows)
      return evalError(op, "token {} of the batch is {}, expected 0 to {}", r, ids[r],
                       table.rows - 1);
  double multiplier = op.getMultiplier().convertToDouble();
  return define(op, op.getResult(), build(int64_t(ids.size()), table.columns, [&](auto r, auto c) {
                  return multiplier * table.row(ids[r])[c];
                }));
}

/// x [T, K], table [P, K]: y[r] = x[r] + table[position(r) + offset].
llvm::Error Evaluator::eval(qp::PositionEmbeddingOp op) {
  const Rows &x = in(op.getInput()), &table = in(op.getTable());
  if (auto error = expect(op, "columns of the table", x.columns, table.columns))
    return error;
  int64_t offset = op.getOffset();
  for (int64_t position : batch.position)
    if (position + offset < 0 || position + offset >= table.rows)
      return evalError(op, "position {} is not in the table of {} rows", position + offset,
                       table.rows);
  return define(op, op.getResult(), build(x.rows, x.columns, [&](auto r, auto c) {
                  return double(x.row(r)[c]) + table.row(batch.position[r] + offset)[c];
                }));
}

//===----------------------------------------------------------------------===//
// Norms
//===----------------------------------------------------------------------===//

/// x [T, K], in `groups` segments of K / groups columns, each with its own mean:
/// y = x / sqrt(mean(x^2) + epsilon) * (gamma + gamma_offset).
llvm::Error Evaluator::eval(qp::RmsNormOp op) {
  const Rows &x = in(op.getInput()), &gamma = in(op.getGamma());
  int64_t segment = x.columns / int64_t(op.getGroups());
  double epsilon = op.getEpsilon().convertToDouble();
  double offset = op.getGammaOffset().convertToDouble();
  Rows y(x.rows, x.columns);
  for (int64_t r = 0; r < x.rows; ++r) {
    for (int64_t begin = 0; begin < x.columns; begin += segment) {
      const float *own = x.row(r) + begin;
      double root = std::sqrt(dot(own, own, segment) / double(segment) + epsilon);
      for (int64_t c = begin; c < begin + segment; ++c)
        y.row(r)[c] =
            float(x.row(r)[c] / root * (double(gamma.values[c % gamma.columns]) + offset));
    }
  }
  return define(op, op.getResult(), std::move(y));
}

/// x [T, K]: y = (x - mean) / sqrt(mean((x - mean)^2) + epsilon) * (gamma + gamma_offset) + beta.
llvm::Error Evaluator::eval(qp::LayerNormOp op) {
  const Rows &x = in(op.getInput()), &gamma = in(op.getGamma());
  const Rows *beta = op.getBeta() ? &in(op.getBeta()) : nullptr;
  if (auto error = expect(op, "entries of gamma", x.columns, int64_t(gamma.values.size())))
    return error;
  if (auto error =
          expect(op, "entries of beta", x.columns, beta ? int64_t(beta->values.size()) : x.columns))
    return error;
  double epsilon = op.getEpsilon().convertToDouble();
  double offset = op.getGammaOffset().convertToDouble();
  Rows y(x.rows, x.columns);
  for (int64_t r = 0; r < x.rows; ++r) {
    double mean = 0, variance = 0;
    for (int64_t c = 0; c < x.columns; ++c)
      mean += x.row(r)[c] / double(x.columns);
    for (int64_t c = 0; c < x.columns; ++c)
      variance += (x.row(r)[c] - mean) * (x.row(r)[c] - mean) / double(x.columns);
    for (int64_t c = 0; c < x.columns; ++c)
      y.row(r)[c] = float((x.row(r)[c] - mean) / std::sqrt(variance + epsilon) *
                              (double(gamma.values[c]) + offset) +
                          (beta ? beta->values[c] : 0.0f));
  }
  return define(op, op.getResult(), std::move(y));
}

//===----------------------------------------------------------------------===//
// Linears
//===----------------------------------------------------------------------===//

/// x [T, K], w [N, K], bias [N]: y = x * transpose(w) + bias.
llvm::Error Evaluator::eval(qp::LinearOp op) {
  const Rows *bias = op.getBias() ? &in(op.getBias()) : nullptr;
  return define(op, op.getResult(), affine(in(op.getInput()), in(op.getWeight()), bias));
}

/// y_i = residual + scale * ((x + outliers) * transpose(w_i) + bias_i).
llvm::Error Evaluator::eval(qp::FusedLinearOp op) {
  const Rows *residual = op.getResidual() ? &in(op.getResidual()) : nullptr;
  Rows input = in(op.getInput());
  // In each column one of the two is 0: the sum is exact.
  if (op.getOutliers())
    for (size_t i = 0; i < input.values.size(); ++i)
      input.values[i] += in(op.getOutliers()).values[i];
  for (size_t i = 0; i < op.getWeights().size(); ++i) {
    const Rows *bias = op.getBiases().empty() ? nullptr : &in(op.getBiases()[i]);
    if (residual)
      if (auto error = expect(op, "columns of the residual",
                              qp::widthOf(op.getOutputs()[i].getType()), residual->columns))
        return error;
    if (auto error = define(
            op, op.getOutputs()[i],
            affine(input, in(op.getWeights()[i]), bias, residual, op.getScale().convertToDouble())))
      return error;
  }
  return llvm::Error::success();
}

//===----------------------------------------------------------------------===//
// Attention
//===----------------------------------------------------------------------===//

/// x [T, heads * head_dim]. With n frequencies f, angle a = position * f[i] and the factor m:
///   half:     (x[i],  x[i + n])   -> the pair turned by a, times m
///   adjacent: (x[2i], x[2i + 1])  -> the pair turned by a, times m
/// for i < n; columns from 2n on stay.
llvm::Error Evaluator::eval(qp::RopeOp op) {
  Rows y = in(op.getInput());
  llvm::ArrayRef<double> frequency = op.getInverseFrequency();
  int64_t n = int64_t(frequency.size()), dim = op.getHeadDim();
  double factor = op.getAttentionFactor().convertToDouble();
  bool half = op.getStyle() == qp::RopeStyle::Half;
  if (auto error = expect(op, "rows, one for each token", batch.rows(), y.rows))
    return error;
  for (int64_t r = 0; r < y.rows; ++r) {
    for (int64_t h = 0; h < int64_t(op.getHeads()); ++h) {
      float *head = y.row(r) + h * dim;
      for (int64_t i = 0; i < n; ++i) {
        float &a = head[half ? i : 2 * i], &b = head[half ? i + n : 2 * i + 1];
        double angle = double(batch.position[r]) * frequency[i];
        double cos = factor * std::cos(angle), sin = factor * std::sin(angle);
        double x0 = a, x1 = b;
        a = float(x0 * cos - x1 * sin);
        b = float(x1 * cos + x0 * sin);
      }
    }
  }
  return define(op, op.getResult(), std::move(y));
}

/// x [T, kv_heads * head_dim] as the cache returns it: each head of each row is a row of the
/// format. `scales`: one, or one for each head; absent: 1.
llvm::Expected<Rows> Evaluator::cached(qp::AttentionOp op, const Rows &x, FormatId format,
                                       std::optional<llvm::ArrayRef<double>> scales) {
  int64_t dim = op.getHeadDim(), heads = op.getKvHeads();
  if (auto error = expect(op, "columns of key and value", heads * dim, x.columns))
    return std::move(error);
  bool fixed = kvScalesOf(format) != KvScales::None;
  Rows result(x.rows, x.columns);
  for (int64_t h = 0; h < heads; ++h) {
    std::optional<double> scale;
    if (fixed)
      scale = !scales ? 1.0 : (*scales)[scales->size() == 1 ? 0 : size_t(h)];
    Rows head = build(x.rows, dim, [&](auto r, auto c) { return x.row(r)[h * dim + c]; });
    auto stored = rounded(op, head, format, WeightRounding(), scale, /*isWeight=*/false);
    if (!stored)
      return stored.takeError();
    for (int64_t r = 0; r < x.rows; ++r)
      std::copy_n(stored->row(r), dim, result.row(r) + h * dim);
  }
  return result;
}

/// q [T, heads * head_dim], k and v [T, kv_heads * head_dim], k and v rounded to kv_format.
/// For each row i of a sequence and head h, over the keys j of its sequence that it sees:
///   s[j] = scale * q[i, h] . k[j, h / sharing], or softcap * tanh(that / softcap)
///   y[i, h] = sum over j of softmax(s)[j] * v[j, h / sharing]
llvm::Error Evaluator::eval(qp::AttentionOp op) {
  const Rows &q = in(op.getQuery());
  FormatId format = llvm::cantFail(parseFormat(op.getKvFormat()));
  auto k = cached(op, in(op.getKey()), format, op.getKeyScales());
  if (!k)
    return k.takeError();
  auto v = cached(op, in(op.getValue()), format, op.getValueScales());
  if (!v)
    return v.takeError();
  for (int64_t rows : {q.rows, k->rows, v->rows})
    if (auto error = expect(op, "rows, one for each token", batch.rows(), rows))
      return error;

  int64_t heads = op.getHeads(), dim = op.getHeadDim(), window = op.getWindow();
  int64_t sharing = heads / int64_t(op.getKvHeads());
  double scale = op.getScale().convertToDouble(), cap = op.getSoftcap().convertToDouble();
  Rows y(q.rows, heads * dim);
  for (int64_t r = 0; r < q.rows; ++r) {
    int64_t position = batch.position[r];
    int64_t seen = window > 0 ? std::min(window, position + 1) : position + 1;
    int64_t first = r + 1 - seen; // row of the first key that is seen
    std::vector<double> p(seen);
    for (int64_t h = 0; h < heads; ++h) {
      int64_t column = h / sharing * dim;
      for (int64_t j = 0; j < seen; ++j) {
        double s = scale * dot(q.row(r) + h * dim, k->row(first + j) + column, dim);
        p[j] = cap > 0 ? cap * std::tanh(s / cap) : s;
      }
      softmax(p);
      for (int64_t d = 0; d < dim; ++d) {
        double sum = 0;
        for (int64_t j = 0; j < seen; ++j)
          sum += p[j] * v->row(first + j)[column + d];
        y.row(r)[h * dim + d] = float(sum);
      }
    }
  }
  return define(op, op.getResult(), std::move(y));
}

//===----------------------------------------------------------------------===//
// Element by element
//===----------------------------------------------------------------------===//

/// y = lhs + scale * rhs.
llvm::Error Evaluator::eval(qp::AddOp op) {
  const Rows &lhs = in(op.getLhs()), &rhs = in(op.getRhs());
  if (auto error = expect(op, "rows", lhs.rows, rhs.rows))
    return error;
  double scale = op.getScale().convertToDouble();
  return define(op, op.getResult(), build(lhs.rows, lhs.columns, [&](auto r, auto c) {
                  return lhs.row(r)[c] + scale * rhs.row(r)[c];
                }));
}

/// y = function(x).
llvm::Error Evaluator::eval(qp::PointwiseOp op) {
  return define(op, op.getResult(),
                map(in(op.getInput()), [&](double x) { return activation(op.getFunction(), x); }));
}

/// y = function(gate) * up.
llvm::Error Evaluator::eval(qp::GatedOp op) {
  const Rows &gate = in(op.getGate()), &up = in(op.getUp());
  if (auto error = expect(op, "rows", gate.rows, up.rows))
    return error;
  return define(op, op.getResult(), build(gate.rows, gate.columns, [&](auto r, auto c) {
                  return activation(op.getFunction(), gate.row(r)[c]) * up.row(r)[c];
                }));
}

/// y = value * x.
llvm::Error Evaluator::eval(qp::ScaleOp op) {
  double value = op.getValue().convertToDouble();
  return define(op, op.getResult(), map(in(op.getInput()), [&](double x) { return value * x; }));
}

/// y = cap * tanh(x / cap).
llvm::Error Evaluator::eval(qp::SoftcapOp op) {
  double cap = op.getCap().convertToDouble();
  return define(op, op.getResult(),
                map(in(op.getInput()), [&](double x) { return cap * std::tanh(x / cap); }));
}

/// x [T, K], factors [K]: y[r, c] = x[r, c] * factors[c].
llvm::Error Evaluator::eval(qp::ScaleColumnsOp op) {
  const Rows &x = in(op.getInput()), &factors = in(op.getFactors());
  if (auto error = expect(op, "factors", x.columns, int64_t(factors.values.size())))
    return error;
  return define(op, op.getResult(), build(x.rows, x.columns, [&](auto r, auto c) {
                  return double(x.row(r)[c]) * factors.values[c];
                }));
}

/// x [T, K]: y[r, c] = sum of +-x[r, j] over the j of c's block, over the block's root.
llvm::Error Evaluator::eval(qp::RotateOp op) {
  const Rows &x = in(op.getInput());
  const int64_t block = op.getBlock();
  return define(op, op.getResult(), build(x.rows, x.columns, [&](auto r, auto c) {
                  const float *values = x.row(r) + c / block * block;
                  double sum = 0;
                  for (int64_t j = 0; j < block; ++j)
                    sum += std::popcount(uint64_t(c % block & j)) % 2 ? -values[j] : values[j];
                  return sum / std::sqrt(double(block));
                }));
}

/// Every row's logits are wanted here.
llvm::Error Evaluator::eval(qp::SelectRowsOp op) { return alias(op.getResult(), op.getInput()); }

//===----------------------------------------------------------------------===//
// Mixtures of experts
//===----------------------------------------------------------------------===//

/// logits [T, E]: the top_k largest of each row, largest first, equal ones by number.
/// weights [T, top_k] = softmax over the chosen; or softmax over all, cut to the chosen,
/// and divided by their sum when renormalized.
llvm::Error Evaluator::eval(qp::RouteOp op) {
  const Rows &logits = in(op.getLogits());
  int64_t experts = logits.columns, chosen = op.getTopK();
  if (chosen < 1 || chosen > experts)
    return evalError(op, "chooses {} of {} experts", chosen, experts);
  Rows shares(logits.rows, chosen), routes;
  routes.rows = logits.rows;
  routes.columns = chosen;
  for (int64_t r = 0; r < logits.rows; ++r) {
    std::vector<double> p(logits.row(r), logits.row(r) + experts);
    softmax(p);
    std::vector<int32_t> left(experts);
    std::iota(left.begin(), left.end(), 0);
    std::vector<double> taken;
    for (int64_t s = 0; s < chosen; ++s) {
      auto best = std::max_element(left.begin(), left.end(), [&](int32_t a, int32_t b) {
        return logits.row(r)[a] < logits.row(r)[b];
      });
      routes.indices.push_back(*best);
      taken.push_back(p[*best]);
      left.erase(best);
    }
    // A softmax over the chosen alone is the softmax over all, divided by what they have.
    double sum = op.getMode() == qp::RouterMode::SoftmaxOfAll
                     ? 1.0
                     : std::accumulate(taken.begin(), taken.end(), 0.0);
    for (int64_t s = 0; s < chosen; ++s)
      shares.row(r)[s] = float(taken[s] / sum);
  }
  if (auto error = define(op, op.getWeights(), std::move(shares)))
    return error;
  return define(op, op.getRoutes(), std::move(routes));
}

/// Slot s of row r is row r * top_k + s of the result y [T * top_k, N]:
/// y = x * transpose(w of the slot's expert), where x is the token's row or the slot's; slots of
/// experts that are not here keep the row of `onto`.
llvm::Error Evaluator::eval(qp::ExpertLinearOp op) {
  const Rows &x = in(op.getInput()), &routes = in(op.getRoutes());
  int64_t slots = int64_t(routes.indices.size());
  if (auto error = expect(op, "rows of the input", op.getPerSlot() ? slots : routes.rows, x.rows))
    return error;
  Rows y = op.getOnto() ? in(op.getOnto()) : Rows(slots, qp::widthOf(op.getResult().getType()));
  std::map<int64_t, Value> experts;
  for (auto [i, expert] : llvm::enumerate(op.getExperts()))
    experts[op.numberOf(i)] = expert;
  const bool all = !op.getOnto() && !op.next();
  for (int64_t slot = 0; slot < slots; ++slot) {
    auto expert = experts.find(routes.indices[slot]);
    if (expert == experts.end() && all)
      return evalError(op, "has {} experts, a row goes to number {}", experts.size(),
                       routes.indices[slot]);
    if (expert == experts.end())
      continue;
    const float *row = x.row(op.getPerSlot() ? slot : slot / routes.columns);
    const Rows &w = in(expert->second);
    for (int64_t o = 0; o < y.columns; ++o)
      y.row(slot)[o] = float(dot(row, w.row(o), x.columns));
  }
  return define(op, op.getResult(), std::move(y));
}

/// x [T * top_k, K], weights [T, top_k]: y[r] = sum over s of weights[r, s] * x[r * top_k + s].
llvm::Error Evaluator::eval(qp::CombineOp op) {
  const Rows &x = in(op.getInput()), &shares = in(op.getWeights());
  if (auto error = expect(op, "rows of the input", int64_t(shares.values.size()), x.rows))
    return error;
  return define(op, op.getResult(), build(shares.rows, x.columns, [&](auto r, auto c) {
                  double sum = 0;
                  for (int64_t s = 0; s < shares.columns; ++s)
                    sum += double(shares.row(r)[s]) * x.row(r * shares.columns + s)[c];
                  return sum;
                }));
}

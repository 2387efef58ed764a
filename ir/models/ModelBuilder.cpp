//===- ModelBuilder.cpp - from a checkpoint to a qp graph -----------------===//

#include "ir/models/ModelBuilder.h"

#include "ir/Failure.h"
#include "ir/import/Gguf.h"
#include "ir/import/quantized/CacheScales.h"
#include "ir/models/Architecture.h"
#include "ir/models/StoredInput.h"
#include "ir/packings/KvPages.h"
#include "ir/weights/WeightStore.h"

#include <mlir/Dialect/Func/IR/FuncOps.h>
#include <llvm/ADT/StringSet.h>
#include <mlir/IR/Verifier.h>

using namespace mlir;
using namespace qplan;

namespace {

/// Names that most converters to GGUF use; an architecture's own come first.
constexpr GgufName usualGgufNames[] = {
    {"model.embed_tokens.weight", "token_embd.weight"},
    {"model.norm.weight", "output_norm.weight"},
    {"lm_head.weight", "output.weight"},
    {"model.layers.{}.input_layernorm.weight", "blk.{}.attn_norm.weight"},
    {"model.layers.{}.self_attn.q_proj.weight", "blk.{}.attn_q.weight", GgufName::Query},
    {"model.layers.{}.self_attn.k_proj.weight", "blk.{}.attn_k.weight", GgufName::Key},
    {"model.layers.{}.self_attn.v_proj.weight", "blk.{}.attn_v.weight"},
    {"model.layers.{}.self_attn.o_proj.weight", "blk.{}.attn_output.weight"},
    {"model.layers.{}.self_attn.q_proj.bias", "blk.{}.attn_q.bias", GgufName::Query},
    {"model.layers.{}.self_attn.k_proj.bias", "blk.{}.attn_k.bias", GgufName::Key},
    {"model.layers.{}.self_attn.v_proj.bias", "blk.{}.attn_v.bias"},
    {"model.layers.{}.self_attn.o_proj.bias", "blk.{}.attn_output.bias"},
    {"model.layers.{}.self_attn.q_norm.weight", "blk.{}.attn_q_norm.weight"},
    {"model.layers.{}.self_attn.k_norm.weight", "blk.{}.attn_k_norm.weight"},
    {"model.layers.{}.post_attention_layernorm.weight", "blk.{}.ffn_norm.weight"},
    {"model.layers.{}.mlp.gate_proj.weight", "blk.{}.ffn_gate.weight"},
    {"model.layers.{}.mlp.up_proj.weight", "blk.{}.ffn_up.weight"},
    {"model.layers.{}.mlp.down_proj.weight", "blk.{}.ffn_down.weight"},
};

/// Matches `name` against `pattern`, whose `{}` stand for numbers.
bool matches(StringRef pattern, StringRef name, SmallVectorImpl<StringRef> &numbers) {
  numbers.clear();
  while (!pattern.empty()) {
    if (pattern.consume_front("{}")) {
      StringRef digits = name.take_while([](char c) { return c >= '0' && c <= '9'; });
      if (digits.empty())
        return false;
      numbers.push_back(digits);
      name = name.drop_front(digits.size());
    } else if (!name.empty() && name.front() == pattern.front()) {
      name = name.drop_front();
      pattern = pattern.drop_front();
    } else {
      return false;
    }
  }
  return name.empty();
}

/// Puts the numbers where `{}` are; a number too many selects an expert of a stack.
std::string substitute(StringRef pattern, ArrayRef<StringRef> numbers) {
  std::string out;
  while (!pattern.empty()) {
    if (pattern.consume_front("{}")) {
      out += numbers.front().str();
      numbers = numbers.drop_front();
    } else {
      out += pattern.front();
      pattern = pattern.drop_front();
    }
  }
  if (!numbers.empty())
    out += fmt::format("|select_expert({})", numbers.front().str());
  return out;
}

StringRef baseOf(StringRef reference) { return reference.split('|').first; }

/// GGUF keys (after the architecture's prefix) under Hugging Face's names.
struct KeyName {
  const char *gguf, *hf;
};
constexpr KeyName ggufKeys[] = {
    {"embedding_length", "hidden_size"},
    {"block_count", "num_hidden_layers"},
    {"feed_forward_length", "intermediate_size"},
    {"attention.head_count", "num_attention_heads"},
    {"attention.head_count_kv", "num_key_value_heads"},
    {"attention.key_length", "head_dim"},
    {"attention.layer_norm_rms_epsilon", "rms_norm_eps"},
    {"attention.layer_norm_epsilon", "layer_norm_epsilon"},
    {"attention.sliding_window", "sliding_window"},
    {"attention.scale", "attention_multiplier"},
    {"attn_logit_softcapping", "attn_logit_softcapping"},
    {"final_logit_softcapping", "final_logit_softcapping"},
    {"embedding_scale", "embedding_multiplier"},
    {"residual_scale", "residual_multiplier"},
    {"logit_scale", "logits_scaling"},
    {"context_length", "max_position_embeddings"},
    {"rope.freq_base", "rope_theta"},
    {"expert_count", "num_local_experts"},
    {"expert_used_count", "num_experts_per_tok"},
};

llvm::Error putKey(const Gguf &gguf, StringRef key, const char *name, nlohmann::json &out) {
  const GgufValue *value = gguf.find(key);
  if (!value)
    return llvm::Error::success();
  if (value->type == GgufType::F32 || value->type == GgufType::F64) {
    auto number = gguf.floatValue(key);
    if (!number)
      return number.takeError();
    out[name] = *number;
    return llvm::Error::success();
  }
  auto number = gguf.signedValue(key);
  if (!number)
    return number.takeError();
  out[name] = *number;
  return llvm::Error::success();
}

llvm::Error putRopeScaling(const Checkpoint &checkpoint, StringRef prefix, nlohmann::json &out) {
  const Gguf &gguf = *checkpoint.gguf();
  auto type = gguf.stringValue((prefix + "rope.scaling.type").str(), "none");
  if (!type)
    return type.takeError();
  if (*type != "none") {
    nlohmann::json &scaling = out["rope_scaling"];
    scaling["rope_type"] = type->str();
    const KeyName keys[] = {{"rope.scaling.factor", "factor"},
                            {"rope.scaling.original_context_length",
                             "original_max_position_embeddings"},
                            {"rope.scaling.yarn_beta_fast", "beta_fast"},
                            {"rope.scaling.yarn_beta_slow", "beta_slow"}};
    for (KeyName key : keys)
      if (auto error = putKey(gguf, (prefix + key.gguf).str(), key.hf, scaling))
        return error;
  }
  if (const TensorInfo *factors = checkpoint.find("rope_freqs.weight")) {
    if (factors->storage != "F32" || factors->elements() > 4096)
      return inputError("{}: tensor `rope_freqs.weight` must be F32 with at most 4096 elements, "
                        "found {} {}",
                        factors->file, factors->storage, factors->shapeText());
    std::vector<float> values(factors->elements());
    memcpy(values.data(), factors->data, factors->bytes);
    out["rope_freq_factors"] = values;
  }
  return llvm::Error::success();
}

llvm::Expected<Config> configOfGguf(const Checkpoint &checkpoint) {
  const Gguf &gguf = *checkpoint.gguf();
  auto name = gguf.stringValue("general.architecture");
  if (!name)
    return name.takeError();
  std::string prefix = name->str() + ".";
  nlohmann::json out = {{"model_type", name->str()}};
  for (KeyName key : ggufKeys)
    if (auto error = putKey(gguf, prefix + key.gguf, key.hf, out))
      return std::move(error);
  if (auto error = putRopeScaling(checkpoint, prefix, out))
    return std::move(error);
  const TensorInfo *table = checkpoint.find("token_embd.weight");
  if (table && table->shape.size() == 2)
    out["vocab_size"] = table->shape[0];
  out["tie_word_embeddings"] = !checkpoint.find("output.weight");
  return Config(std::move(out), checkpoint.path());
}

} // namespace

llvm::Expected<Config> qplan::readConfig(const Checkpoint &checkpoint) {
  if (checkpoint.gguf())
    return configOfGguf(checkpoint);
  return Config(checkpoint.config(), checkpoint.path() + "/config.json");
}

ModelBuilder::ModelBuilder(MLIRContext &context, const Checkpoint &checkpoint,
                           const Architecture &architecture, Config config,
                           const ImportOptions &options)
    : config(std::move(config)), options(options), checkpoint(checkpoint),
      architecture(architecture), builder(&context) {
  Location location = FileLineColLoc::get(&context, checkpoint.path(), 0, 0);
  module = ModuleOp::create(location);
  builder.setInsertionPointToEnd(module->getBody());
  auto idType = RankedTensorType::get({ShapedType::kDynamic}, builder.getI32Type());
  auto function = func::FuncOp::create(builder, location, "forward",
                                       builder.getFunctionType({idType}, {}));
  builder.setInsertionPointToStart(function.addEntryBlock());
  tokenIds = function.getArgument(0);
}

Location ModelBuilder::at(StringRef name) const {
  return NameLoc::get(StringAttr::get(builder.getContext(), name));
}

std::string ModelBuilder::locate(StringRef name) const {
  if (!fromGguf())
    return name.str();
  SmallVector<StringRef> numbers;
  auto search = [&](ArrayRef<GgufName> rows) -> std::string {
    for (const GgufName &row : rows) {
      if (!matches(row.hf, name, numbers))
        continue;
      std::string found = substitute(row.gguf, numbers);
      if (architecture.ggufPermutesHeads && row.permuted != GgufName::None) {
        const char *key =
            row.permuted == GgufName::Query ? "num_attention_heads" : "num_key_value_heads";
        Config reader = config;
        int64_t heads = reader.integer(key, reader.integer("num_attention_heads", 1));
        found += fmt::format("|unpermute_rope({})", heads);
      }
      return found;
    }
    return {};
  };
  std::string found = search(architecture.ggufTensors);
  return found.empty() ? search(usualGgufNames) : found;
}

const TensorInfo *ModelBuilder::findTensor(StringRef name) const {
  std::string located = locate(name);
  return located.empty() ? nullptr : checkpoint.find(baseOf(located));
}

bool ModelBuilder::has(StringRef name) const { return findTensor(name) != nullptr; }

Type ModelBuilder::typeOf(const TensorInfo &tensor, ArrayRef<int64_t> shape) const {
  MLIRContext *context = builder.getContext();
  FormatId format = tensor.format.value_or(FormatId::F32);
  if (format == FormatId::F32)
    return RankedTensorType::get(shape, Float32Type::get(context));
  if (format == FormatId::F16)
    return RankedTensorType::get(shape, Float16Type::get(context));
  if (format == FormatId::BF16)
    return RankedTensorType::get(shape, BFloat16Type::get(context));
  return qp::PackedType::get(context, shape, formatInfo(format).name);
}

llvm::Expected<bool> ModelBuilder::checkShape(const TensorInfo &tensor, StringRef reference,
                                              ArrayRef<int64_t> shape) const {
  BlobStore none;
  auto found = WeightStore(checkpoint, none).open(reference);
  if (!found)
    return inputError("{}: {}", tensor.file, llvm::toString(found.takeError()));
  if (found->shape() == shape)
    return found->nativeFormat().has_value();
  TensorInfo expected, read;
  expected.shape.assign(shape.begin(), shape.end());
  read.shape.assign(found->shape().begin(), found->shape().end());
  std::string stored = reference == tensor.name
                           ? std::string()
                           : fmt::format(" (stored as {}, read as `{}`)", tensor.shapeText(),
                                         reference.str());
  return inputError("{}: tensor `{}` must have the shape {} that the configuration asks for, "
                    "found {}{}",
                    tensor.file, tensor.name, expected.shapeText(), read.shapeText(), stored);
}

Value ModelBuilder::weight(StringRef name, ArrayRef<int64_t> shape, StringRef transforms) {
  std::string located = locate(name);
  const TensorInfo *tensor = located.empty() ? nullptr : checkpoint.find(baseOf(located));
  Type type = RankedTensorType::get(shape, builder.getF32Type());
  if (!tensor) {
    // The checkpoint's own error names the nearest tensors.
    auto found = checkpoint.get(located.empty() ? name : baseOf(located));
    if (!found)
      config.note(found.takeError());
    else
      config.note(inputError("{}: no tensor for `{}`", checkpoint.path(), name.str()));
  } else if (!tensor->format) {
    config.note(inputError("{}: tensor `{}` is stored as {}, which holds no weights; expected a "
                           "float or quantized type",
                           tensor->file, tensor->name, tensor->storage));
  } else {
    auto keepsRows = checkShape(*tensor, located + transforms.str(), shape);
    if (!keepsRows)
      config.note(keepsRows.takeError());
    else if (*keepsRows || formatInfo(*tensor->format).family == CodecFamily::Float)
      type = typeOf(*tensor, shape); // else computed from blocks: f32
  }
  return qp::WeightOp::create(builder, at(name), type, located + transforms.str());
}

Value ModelBuilder::matrix(StringRef name, int64_t outputs, int64_t inputs, StringRef transforms) {
  Value stored = weight(name, {outputs, inputs}, transforms);
  if (!isa<qp::PackedType>(stored.getType()))
    return stored;
  auto type = RankedTensorType::get({outputs, inputs}, builder.getF32Type());
  return qp::DequantizeOp::create(builder, at(name), type, stored);
}

Value ModelBuilder::linear(Value x, StringRef name, StringRef site, int64_t outputs) {
  std::string biasName = name.str() + ".bias";
  Value bias = has(biasName) ? weight(biasName, {outputs}) : Value();
  std::string weightName = name.str() + ".weight";
  Value stored = matrix(weightName, outputs, qp::widthOf(x.getType()));
  Value y = linear(withFactors(x, weightName), stored, bias, site);
  keepInput(y.getDefiningOp(), weightName);
  return y;
}

Value ModelBuilder::withFactors(Value x, StringRef name) {
  const TensorInfo *tensor = findTensor(name);
  const TensorInfo *factors =
      tensor && !tensor->input.factors.empty() ? checkpoint.find(tensor->input.factors) : nullptr;
  if (!factors)
    return x;
  for (const Product &made : products[x])
    if (made.factors->format == factors->format && made.factors->bytes == factors->bytes &&
        memcmp(made.factors->data, factors->data, factors->bytes) == 0)
      return made.value;
  Value vector = weight(factors->name, {qp::widthOf(x.getType())});
  Value scaled = qp::ScaleColumnsOp::create(builder, at(factors->name), x.getType(), x, vector);
  products[x].push_back({factors, scaled});
  return scaled;
}

void ModelBuilder::keepInput(Operation *linear, StringRef name) {
  const TensorInfo *tensor = findTensor(name);
  if (!tensor || !tensor->input.format)
    return;
  if (!tensor->input.factors.empty() && !linear->getOperand(0).getDefiningOp<qp::ScaleColumnsOp>())
    config.note(inputError("{}: tensor '{}' multiplies the input of a linear that takes no factors "
                           "in this architecture",
                           tensor->file, tensor->input.factors));
  linear->setAttr(storedInputAttr, builder.getStringAttr(formatName(*tensor->input.format)));
  if (tensor->input.scale == 0)
    return;
  auto before = linear->getAttrOfType<FloatAttr>(storedScaleAttr);
  double scale = std::max(tensor->input.scale, before ? before.getValueAsDouble() : 0.0);
  linear->setAttr(storedScaleAttr, builder.getF64FloatAttr(scale));
}

Value ModelBuilder::linear(Value x, Value weight, Value bias, StringRef site) {
  int64_t outputs = qp::shapeOf(weight.getType())[0];
  return qp::LinearOp::create(builder, at(site), qp::rowsType(builder.getContext(), outputs), x,
                              weight, bias, site);
}

Value ModelBuilder::rmsNorm(Value x, StringRef name, double epsilon, double gammaOffset,
                            int64_t groups, bool perHead) {
  int64_t width = qp::widthOf(x.getType());
  Value gamma = weight(name, {perHead ? width / groups : width});
  return qp::RmsNormOp::create(builder, at(name), x.getType(), x, gamma,
                               builder.getF64FloatAttr(epsilon), builder.getI64IntegerAttr(groups),
                               builder.getF64FloatAttr(gammaOffset));
}

Value ModelBuilder::layerNorm(Value x, StringRef name, double epsilon) {
  int64_t width = qp::widthOf(x.getType());
  Value gamma = weight(name.str() + ".weight", {width});
  Value beta = has(name.str() + ".bias") ? weight(name.str() + ".bias", {width}) : Value();
  return qp::LayerNormOp::create(builder, at(name), x.getType(), x, gamma, beta,
                                 builder.getF64FloatAttr(epsilon), builder.getF64FloatAttr(0.0));
}

Value ModelBuilder::rope(Value x, int64_t heads, int64_t headDim, const Rope &rope,
                         qp::RopeStyle style) {
  return qp::RopeOp::create(builder, x.getLoc(), x.getType(), x, builder.getI64IntegerAttr(heads),
                            builder.getI64IntegerAttr(headDim),
                            qp::RopeStyleAttr::get(builder.getContext(), style),
                            builder.getDenseF64ArrayAttr(rope.inverseFrequency),
                            builder.getF64FloatAttr(rope.attentionFactor));
}

/// The projection that makes the rows of keys or values, "" where it is no linear of its own.
static std::string projectionOf(Value rows) {
  while (Operation *op = rows.getDefiningOp()) {
    if (auto linear = dyn_cast<qp::LinearOp>(op)) {
      Value weight = linear.getWeight();
      if (auto dequantize = weight.getDefiningOp<qp::DequantizeOp>())
        weight = dequantize.getInput();
      auto stored = weight.getDefiningOp<qp::WeightOp>();
      StringRef module = stored ? stored.getSource() : "";
      return module.consume_back(".weight") ? module.str() : "";
    }
    if (!isa<qp::RopeOp, qp::RmsNormOp>(op))
      break;
    rows = op->getOperand(0);
  }
  return {};
}

DenseF64ArrayAttr ModelBuilder::storedCacheScales(Value rows, int64_t heads, bool isKey) {
  auto format = parseKvFormat(options.kvFormat);
  if (!format) { // reported by take()
    llvm::consumeError(format.takeError());
    return {};
  }
  const KvScales fixed = kvScalesOf(*format);
  if (fixed == KvScales::None || formatInfo(*format).kind != ElementKind::E4M3)
    return {};
  std::string module = projectionOf(rows);
  std::vector<double> scales =
      module.empty() ? std::vector<double>() : cacheScales(checkpoint, module, isKey);
  if (scales.empty())
    return {};
  if (scales.size() != 1 && int64_t(scales.size()) != heads) {
    config.note(inputError("{}: {} has {} scales of {}; one, or one for each of {} heads, is expected",
                           checkpoint.path(), module, scales.size(), isKey ? "keys" : "values",
                           heads));
    return {};
  }
  // The largest reaches what every head needs.
  if (fixed == KvScales::Tensor)
    scales = {*llvm::max_element(scales)};
  else
    scales.resize(size_t(heads), scales[0]);
  return builder.getDenseF64ArrayAttr(scales);
}

Value ModelBuilder::attention(Value q, Value k, Value v, const AttentionShape &shape) {
  Type type = qp::rowsType(builder.getContext(), shape.heads * shape.headDim);
  return qp::AttentionOp::create(
      builder, at(fmt::format("layers.{}.attn", shape.layer)), type, q, k, v,
      builder.getI64IntegerAttr(shape.layer), builder.getI64IntegerAttr(shape.heads),
      builder.getI64IntegerAttr(shape.kvHeads), builder.getI64IntegerAttr(shape.headDim),
      builder.getF64FloatAttr(shape.scale), builder.getI64IntegerAttr(shape.window),
      builder.getF64FloatAttr(shape.softcap), builder.getStringAttr(options.kvFormat),
      storedCacheScales(k, shape.kvHeads, /*isKey=*/true),
      storedCacheScales(v, shape.kvHeads, /*isKey=*/false));
}

Value ModelBuilder::add(Value lhs, Value rhs, double scale) {
  return qp::AddOp::create(builder, rhs.getLoc(), lhs.getType(), lhs, rhs,
                           builder.getF64FloatAttr(scale));
}

Value ModelBuilder::gated(qp::Activation function, Value gate, Value up) {
  return qp::GatedOp::create(builder, up.getLoc(), gate.getType(), gate, up,
                             qp::ActivationAttr::get(builder.getContext(), function));
}

Value ModelBuilder::pointwise(qp::Activation function, Value x) {
  return qp::PointwiseOp::create(builder, x.getLoc(), x.getType(), x,
                                 qp::ActivationAttr::get(builder.getContext(), function));
}

Value ModelBuilder::embed(StringRef name, int64_t vocabularySize, int64_t width,
                          double multiplier) {
  vocabulary = vocabularySize;
  hidden = width;
  return qp::EmbeddingOp::create(builder, at("embedding"),
                                 qp::rowsType(builder.getContext(), width), tokenIds,
                                 weight(name, {vocabularySize, width}),
                                 builder.getF64FloatAttr(multiplier));
}

Value ModelBuilder::selectRows(Value x) {
  return qp::SelectRowsOp::create(builder, x.getLoc(), x.getType(), x);
}

void ModelBuilder::finish(Value x, StringRef head, StringRef tiedTo, double scale,
                          double softcap) {
  // A file may carry a copy of a tied head: the configuration decides.
  bool tied = config.flag("tie_word_embeddings", !has(head));
  Value table = matrix(tied ? tiedTo : head, vocabulary, hidden);
  std::string biasName = head.drop_back(StringRef("weight").size()).str() + "bias";
  Value bias = has(biasName) ? weight(biasName, {vocabulary}) : Value();
  Value logits = linear(withFactors(x, tied ? tiedTo : head), table, bias, "lm_head");
  keepInput(logits.getDefiningOp(), tied ? tiedTo : head);
  if (scale != 1.0)
    logits = qp::ScaleOp::create(builder, logits.getLoc(), logits.getType(), logits,
                                 builder.getF64FloatAttr(scale));
  if (softcap > 0)
    logits = qp::SoftcapOp::create(builder, logits.getLoc(), logits.getType(), logits,
                                   builder.getF64FloatAttr(softcap));
  func::ReturnOp::create(builder, logits.getLoc(), logits);
}

qp::Activation ModelBuilder::activation(StringRef key, StringRef fallback) {
  std::string name = config.text(key, fallback.str());
  if (name == "silu" || name == "swish")
    return qp::Activation::Silu;
  if (name == "gelu_new" || name == "gelu_pytorch_tanh" || name == "gelu_fast")
    return qp::Activation::GeluTanh;
  if (name == "gelu")
    return qp::Activation::GeluErf;
  if (name == "relu")
    return qp::Activation::Relu;
  config.refuse(key, "one of silu, gelu, gelu_new, gelu_pytorch_tanh, relu");
  return qp::Activation::Silu;
}

void ModelBuilder::setShape(int64_t layerCount, int64_t positions) {
  layers = layerCount;
  maxPositions = positions;
}

void ModelBuilder::noteUnused() {
  if (!options.note)
    return;
  llvm::StringSet<> used;
  module->walk([&](qp::WeightOp op) { used.insert(baseOf(op.getSource())); });
  // What files carry without meaning: buffers that frameworks save, a copy of a tied head.
  constexpr llvm::StringLiteral idle[] = {"rotary_emb.inv_freq", "rope_freqs.weight", ".attn.bias",
                                          ".attn.masked_bias", "lm_head.weight"};
  size_t count = 0;
  std::string shown;
  for (const TensorInfo &tensor : checkpoint.tensors()) {
    StringRef name = tensor.name;
    if (used.contains(name) || isCacheScale(name) || llvm::any_of(idle, [&](StringRef end) { return name.ends_with(end); }))
      continue;
    if (++count <= 3)
      shown += (shown.empty() ? "" : ", ") + tensor.name;
  }
  if (count)
    options.note(fmt::format("note: {} tensors of {} are not used by this graph: {}{}", count,
                             checkpoint.path(), shown, count > 3 ? ", ..." : ""));
}

llvm::Expected<OwningOpRef<ModuleOp>> ModelBuilder::take() {
  if (auto error = config.takeError())
    return std::move(error);
  int64_t context = options.context ? options.context : std::min<int64_t>(maxPositions, 4096);
  if (context > maxPositions)
    return usageError("--context {}: the model has {} positions; choose at most that", context,
                      maxPositions);
  auto function = cast<func::FuncOp>(module->lookupSymbol("forward"));
  auto kvFormat = parseKvFormat(options.kvFormat);
  if (!kvFormat)
    return kvFormat.takeError();
  for (auto attention : function.getOps<qp::AttentionOp>())
    if (auto layout = kvLayoutFor(*kvFormat, attention.getHeadDim()); !layout)
      return layout.takeError();
  Type result = qp::rowsType(builder.getContext(), vocabulary);
  function.setFunctionType(builder.getFunctionType(tokenIds.getType(), result));

  uint64_t parameters = 0;
  for (const TensorInfo &tensor : checkpoint.tensors())
    parameters += tensor.format && !isCacheScale(tensor.name) ? tensor.elements() : 0;
  auto number = [&](int64_t value) { return builder.getI64IntegerAttr(value); };
  auto text = [&](StringRef value) { return builder.getStringAttr(value); };
  NamedAttribute facts[] = {
      builder.getNamedAttr("architecture", text(architecture.name)),
      builder.getNamedAttr("checkpoint", text(checkpoint.contentHash())),
      builder.getNamedAttr("context", number(context)),
      builder.getNamedAttr("hidden", number(hidden)),
      builder.getNamedAttr("kv_format", text(options.kvFormat)),
      builder.getNamedAttr("layers", number(layers)),
      builder.getNamedAttr("name", text(options.name)),
      builder.getNamedAttr("parameters", number(int64_t(parameters))),
      builder.getNamedAttr("vocabulary", number(vocabulary)),
  };
  module->getOperation()->setAttr("qp.model", builder.getDictionaryAttr(facts));
  if (failed(verify(*module)))
    return defectError("{}: the imported graph is not valid (see the messages above)",
                       checkpoint.path());
  noteUnused();
  return std::move(module);
}

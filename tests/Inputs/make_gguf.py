#!/usr/bin/env python3
"""Writes the GGUF files below tests/Inputs/gguf from the folders of tests/Inputs/zoo.

usage: make_gguf.py [OUTPUT_FOLDER [NAME...]]     (needs numpy and gguf)

Names, metadata, row permutations and offsets are llama.cpp's; every value is checked
after writing by reading the file back with gguf-py. Beside each file lies NAME.sha256: one
line per tensor, the hash of its f32 values as gguf-py dequantizes them. What a
GGUF cannot say is lost, so the logits of these differ from the zoo's: the window of
mistral, query_pre_attn_scalar of gemma2. llama.cpp computes the golden logits of the rest.
"""
import hashlib
import json
import re
import struct
import sys
from pathlib import Path

import gguf
import numpy as np
from gguf import GGMLQuantizationType as Q
from gguf import quants

HERE = Path(__file__).resolve().parent
# Architectures whose q and k rows llama.cpp's converter permutes.
PERMUTED = {"llama", "granite"}

# file name -> (zoo folder, type of the matrices; a list is dealt out in turn)
FILES = {
    "llama_gqa-f32": ("llama_gqa", [Q.F32]),
    "llama_gqa-mixed": ("llama_gqa", [Q.Q8_0, Q.Q4_0, Q.Q4_1, Q.Q5_0, Q.Q5_1]),
    "internlm_like-f16": ("internlm_like", [Q.F16]),
    "qwen2-bf16": ("qwen2", [Q.BF16]),
    "gpt2-q8_0": ("gpt2", [Q.Q8_0]),
    "mixtral-q4_0": ("mixtral", [Q.Q4_0]),
    # Not committed; for trying more architectures by hand.
    "llama_mha-f32": ("llama_mha", [Q.F32]),
    "mistral-f32": ("mistral", [Q.F32]),
    "qwen2-f32": ("qwen2", [Q.F32]),
    "qwen2_yarn-f32": ("qwen2_yarn", [Q.F32]),
    "qwen3-f32": ("qwen3", [Q.F32]),
    "olmo2-f32": ("olmo2", [Q.F32]),
    "granite-f32": ("granite", [Q.F32]),
    "gemma2-f32": ("gemma2", [Q.F32]),
    "mixtral-f32": ("mixtral", [Q.F32]),
    "gpt2-f32": ("gpt2", [Q.F32]),
    "llama_gqa-q8_0": ("llama_gqa", [Q.Q8_0]),
    "llama_gqa-q4_0": ("llama_gqa", [Q.Q4_0]),
}
COMMITTED = ["llama_gqa-f32", "llama_gqa-mixed", "internlm_like-f16", "qwen2-bf16", "gpt2-q8_0",
             "mixtral-q4_0", "llama-k_quants"]


def load(path):
    """Tensors of a safetensors file, as f32."""
    data = path.read_bytes()
    length, = struct.unpack("<Q", data[:8])
    tensors = {}
    for name, entry in json.loads(data[8:8 + length]).items():
        if name == "__metadata__":
            continue
        begin, end = (8 + length + offset for offset in entry["data_offsets"])
        if entry["dtype"] == "BF16":
            halves = np.frombuffer(data[begin:end], "<u2")
            values = (halves.astype(np.uint32) << 16).view(np.float32)
        else:
            values = np.frombuffer(data[begin:end], {"F32": "<f4", "F16": "<f2"}[entry["dtype"]])
        tensors[name] = values.reshape(entry["shape"]).astype(np.float32)
    return tensors


def permute(weight, heads):
    """Halves of a head -> adjacent pairs: llama.cpp's order of q and k rows."""
    return (weight.reshape(heads, 2, weight.shape[0] // heads // 2, *weight.shape[1:])
            .swapaxes(1, 2).reshape(weight.shape))


def rope_frequencies(config, head):
    """llama3 scaling as the divisors that rope_freqs.weight holds."""
    scaling = config["rope_scaling"]
    base, factor = config["rope_theta"], scaling["factor"]
    low, high = scaling["low_freq_factor"], scaling["high_freq_factor"]
    context = scaling["original_max_position_embeddings"]
    divisors = []
    for frequency in 1.0 / base ** (np.arange(0, head, 2, dtype=np.float32) / head):
        length = 2 * np.pi / frequency
        if length < context / high:
            divisors.append(1.0)
        elif length > context / low:
            divisors.append(factor)
        else:
            smooth = (context / length - low) / (high - low)
            divisors.append(1 / ((1 - smooth) / factor + smooth))
    return np.array(divisors, dtype=np.float32)


def architecture_of(config):
    return {"mistral": "llama", "mixtral": "llama"}.get(config["model_type"], config["model_type"])


def add_metadata(writer, config, head):
    writer.add_vocab_size(config["vocab_size"])
    if config["model_type"] == "gpt2":
        writer.add_context_length(config["n_positions"])
        writer.add_embedding_length(config["n_embd"])
        writer.add_block_count(config["n_layer"])
        writer.add_feed_forward_length(config.get("n_inner") or 4 * config["n_embd"])
        writer.add_head_count(config["n_head"])
        writer.add_layer_norm_eps(config["layer_norm_epsilon"])
        return
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_rope_freq_base(config["rope_theta"])
    writer.add_rope_dimension_count(head)
    if "head_dim" in config:
        writer.add_key_length(head)
        writer.add_value_length(head)
    scaling = config.get("rope_scaling") or {}
    if (scaling.get("rope_type") or scaling.get("type")) == "yarn":
        writer.add_rope_scaling_type(gguf.RopeScalingType.YARN)
        writer.add_rope_scaling_factor(scaling["factor"])
        writer.add_rope_scaling_orig_ctx_len(scaling["original_max_position_embeddings"])
    if "num_local_experts" in config:
        writer.add_expert_count(config["num_local_experts"])
        writer.add_expert_used_count(config["num_experts_per_tok"])
    if config["model_type"] == "granite":
        writer.add_attention_scale(config["attention_multiplier"])
        writer.add_embedding_scale(config["embedding_multiplier"])
        writer.add_residual_scale(config["residual_multiplier"])
        writer.add_logit_scale(config["logits_scaling"])
    if config["model_type"] == "gemma2":
        writer.add_attn_logit_softcapping(config["attn_logit_softcapping"])
        writer.add_final_logit_softcapping(config["final_logit_softcapping"])
        writer.add_sliding_window(config["sliding_window"])


def tensors_of(config, weights, architecture, layers):
    """Yields (GGUF name, f32 values) in llama.cpp's conventions."""
    names = gguf.get_tensor_name_map(
        {name: arch for arch, name in gguf.MODEL_ARCH_NAMES.items()}[architecture], layers)
    experts = {}
    for name in sorted(weights):
        weight = weights[name]
        if config["model_type"] == "gpt2":
            if re.search(r"\.(c_attn|c_proj|c_fc)\.weight$", name):
                weight = weight.T
        if architecture in PERMUTED and re.search(r"\.[qk]_proj\.", name):
            key = "num_attention_heads" if ".q_proj." in name else "num_key_value_heads"
            weight = permute(weight, config[key])
        if config["model_type"] == "gemma2" and name.endswith("norm.weight"):
            weight = weight + 1
        expert = re.match(r"model\.layers\.(\d+)\.block_sparse_moe\.experts\.(\d+)\.(w\d)\.", name)
        if expert:
            layer, index, matrix = expert.groups()
            stack = experts.setdefault((layer, matrix), {})
            stack[int(index)] = weight
            if len(stack) < config["num_local_experts"]:
                continue
            weight = np.stack([stack[i] for i in range(len(stack))])
            name = f"layers.{layer}.feed_forward.experts.{matrix}.weight"
        mapped = names.get_name(name, try_suffixes=(".weight", ".bias"))
        assert mapped, name
        yield mapped, np.ascontiguousarray(weight)


def write(path, architecture, fill, tensors):
    """tensors: (name, quantization type, f32 values or None, encoded bytes or None)."""
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_name(path.stem)
    fill(writer)
    for name, kind, values, encoded in tensors:
        if encoded is None:
            encoded = values if kind == Q.F32 else quants.quantize(values, kind)
        writer.add_tensor(name, encoded, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    lines = []
    for tensor in gguf.GGUFReader(path).tensors:
        values = quants.dequantize(tensor.data, tensor.tensor_type).astype("<f4")
        lines.append(f"{tensor.name} {hashlib.sha256(values.tobytes()).hexdigest()}\n")
    path.with_suffix(".sha256").write_text("".join(lines))


def make_from_zoo(path, folder, kinds):
    source = HERE / "zoo" / folder
    config = json.loads((source / "config_v4.json").read_text())
    weights = load(source / "model.safetensors")
    architecture = architecture_of(config)
    layers = config.get("num_hidden_layers") or config["n_layer"]
    heads = config.get("num_attention_heads") or config["n_head"]
    head = config.get("head_dim") or (config.get("hidden_size") or config["n_embd"]) // heads

    def tensors():
        if (config.get("rope_scaling") or {}).get("rope_type") == "llama3":
            yield "rope_freqs.weight", Q.F32, rope_frequencies(config, head), None
        matrices = 0
        for name, values in tensors_of(config, weights, architecture, layers):
            # Vectors and routers stay f32, as in llama.cpp.
            if values.ndim == 1 or "ffn_gate_inp" in name or "position_embd" in name:
                yield name, Q.F32, values, None
            else:
                yield name, kinds[matrices % len(kinds)], values, None
                matrices += 1

    def fill(writer):
        add_metadata(writer, config, head)
        writer.add_tokenizer_model("none")

    write(path, architecture, fill, tensors())


def random_blocks(random, kind, rows, columns):
    """Any bytes are codes of a K-quant; only its f16 scales must be finite and small."""
    length, size = gguf.GGML_QUANT_SIZES[kind]
    blocks = random.integers(0, 256, (rows * columns // length, size), dtype=np.uint8)
    scales = {Q.Q2_K: [80, 82], Q.Q3_K: [108], Q.Q4_K: [0, 2], Q.Q5_K: [0, 2], Q.Q6_K: [208]}[kind]
    for at in scales:
        scale = random.uniform(1e-4, 1e-3, len(blocks)).astype(np.float16)
        blocks[:, at:at + 2] = scale.view(np.uint8).reshape(-1, 2)
    return blocks.reshape(rows, -1)


def make_k_quants(path):
    """A llama of one layer whose rows are one super-block wide, with a small vocabulary."""
    random = np.random.default_rng(0)
    hidden, head, vocabulary = 256, 64, 64

    def fill(writer):
        writer.add_license("cc0-1.0")
        writer.add_vocab_size(vocabulary)
        writer.add_context_length(64)
        writer.add_embedding_length(hidden)
        writer.add_block_count(1)
        writer.add_feed_forward_length(hidden)
        writer.add_head_count(hidden // head)
        writer.add_head_count_kv(1)
        writer.add_layer_norm_rms_eps(1e-5)
        writer.add_rope_freq_base(10000.0)
        writer.add_rope_dimension_count(head)
        writer.add_tokenizer_model("llama")
        writer.add_token_list(["<unk>", "<s>", "</s>"] + [f"t{i}" for i in range(3, vocabulary)])
        writer.add_token_scores([-float(i) for i in range(vocabulary)])
        writer.add_token_types([2, 3, 3] + [1] * (vocabulary - 3))
        writer.add_bos_token_id(1)
        writer.add_eos_token_id(2)
        writer.add_add_bos_token(True)

    matrices = [("token_embd", Q.Q6_K, vocabulary), ("blk.0.attn_q", Q.Q2_K, hidden),
                ("blk.0.attn_k", Q.Q3_K, head), ("blk.0.attn_v", Q.Q4_K, head),
                ("blk.0.attn_output", Q.Q5_K, hidden), ("blk.0.ffn_gate", Q.Q4_K, hidden),
                ("blk.0.ffn_up", Q.Q3_K, hidden), ("blk.0.ffn_down", Q.Q6_K, hidden)]
    tensors = [(name + ".weight", kind, None, random_blocks(random, kind, rows, hidden))
               for name, kind, rows in matrices]
    for name in ("blk.0.attn_norm", "blk.0.ffn_norm", "output_norm"):
        values = random.uniform(0.5, 1.5, hidden).astype(np.float32)
        tensors.append((name + ".weight", Q.F32, values, None))
    write(path, "llama", fill, tensors)


def main():
    output = Path(sys.argv[1]) if len(sys.argv) > 1 else HERE / "gguf"
    output.mkdir(parents=True, exist_ok=True)
    for name in sys.argv[2:] or COMMITTED:
        path = output / (name + ".gguf")
        if name == "llama-k_quants":
            make_k_quants(path)
        else:
            make_from_zoo(path, *FILES[name])
        print(path)


if __name__ == "__main__":
    main()

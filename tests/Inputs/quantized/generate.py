#!/usr/bin/env python3
"""Writes the quantized checkpoints of this folder, and what they must mean.

Needs torch, transformers 5, compressed-tensors 0.20 and nvidia-modelopt 0.47, which write their
own; AutoAWQ's, GPTQ's and DeepSeek's are written here from their layouts. All are one small
random model, rounded in different ways. In each folder:

  config.json, model.safetensors (, hf_quant_config.json)   the checkpoint
  weights.sha256      SHA-256 of the f32 values of each quantized weight (the tool's own
                      dequantization, or scale * (code - zero) in f32)
  golden.safetensors  input_ids and the logits of the model with those weights, in f32, its
                      activations rounded as the checkpoint says: d = amax / 127 or / 448 a row
                      where they are dynamic
  expected.json       {"treatments": {site: treatment}}
"""
import copy
import hashlib
import json
import pathlib
import shutil
import tempfile

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from transformers import LlamaConfig, LlamaForCausalLM

HERE = pathlib.Path(__file__).parent
LINEARS = ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj",
           "mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"]
SITES = dict(zip(LINEARS, ["attn.q", "attn.k", "attn.v", "attn.o", "mlp.gate", "mlp.up",
                           "mlp.down"]))
IDS = torch.tensor([[(7919 * i + 13 * r) % 64 for i in range(12)] for r in range(2)])
E4M3 = torch.float8_e4m3fn


def make_model(dtype):
    torch.manual_seed(0)
    config = LlamaConfig(vocab_size=64, hidden_size=64, intermediate_size=96, num_hidden_layers=1,
                         num_attention_heads=4, num_key_value_heads=2, head_dim=16,
                         max_position_embeddings=64, rms_norm_eps=1e-5, tie_word_embeddings=True,
                         bos_token_id=0, eos_token_id=1, architectures=["LlamaForCausalLM"])
    model = LlamaForCausalLM(config).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() == 2:
                parameter.normal_(0, 0.15)
            else:
                parameter.uniform_(0.5, 1.5)
    return model.to(dtype)


def modules():
    return [f"model.layers.0.{name}" for name in LINEARS]


def run(model, ids=IDS):
    with torch.no_grad():
        return model(ids).logits


# What activations become.
def int8_token(x):
    scale = x.abs().amax(-1, keepdim=True) / 127
    return torch.round(x / scale).clamp(-127, 127) * scale


def fp8_token(x):
    scale = x.abs().amax(-1, keepdim=True) / 448
    return (x / scale).to(E4M3).float() * scale


def int8_tensor(scale):
    return lambda x: torch.round(x / scale).clamp(-127, 127) * scale


def fp8_tensor(scale):
    return lambda x: (x / scale).clamp(-448, 448).to(E4M3).float() * scale


def finish(name, weights, treatments, inputs=None, factors=None):
    """Writes what checkpoint `name` means: `weights` in f32 by module; `inputs` maps modules to
    functions of their rows, `factors` to what rows are multiplied with first."""
    folder = HERE / name
    stored = load_file(folder / "model.safetensors")
    model = make_model(torch.float32)
    model.load_state_dict({k: v.float() for k, v in stored.items()
                           if k in model.state_dict() and v.dtype.is_floating_point
                           and v.shape == model.state_dict()[k].shape}, strict=False)
    hooks = []
    for module, weight in weights.items():
        linear = model.get_submodule(module)
        linear.weight.data = weight.float()

        def hook(_, rows, module=module):
            x = rows[0]
            if factors and module in factors:
                x = x * factors[module].float()
            return (inputs[module](x),) if inputs and module in inputs else (x,)
        hooks.append(linear.register_forward_pre_hook(hook))
    logits = run(model)
    save_file({"input_ids": IDS.to(torch.int32), "logits": logits.contiguous()},
              folder / "golden.safetensors")
    lines = [f"{m}.weight {hashlib.sha256(w.float().contiguous().numpy().tobytes()).hexdigest()}"
             for m, w in weights.items()]
    (folder / "weights.sha256").write_text("\n".join(lines) + "\n")
    sites = {f"layers.0.{SITES[m.split('.', 3)[3]]}": treatments for m in weights}
    if isinstance(treatments, dict):  # all of them, but for some
        sites = {site: treatments.get(site.split(".", 2)[2], treatments[""]) for site in sites}
    (folder / "expected.json").write_text(json.dumps({"treatments": sites}, indent=1) + "\n")


def start(name):
    folder = HERE / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    return folder


def save(name, model, tensors, quantization):
    """A checkpoint of `model` in which `tensors` take the place of the linears' weights."""
    folder = start(name)
    state = {k: v for k, v in model.state_dict().items()
             if not any(k == f"{m}.weight" for m in modules()) and k != "lm_head.weight"}
    state.update(tensors)
    save_file({k: v.contiguous() for k, v in state.items()}, folder / "model.safetensors",
              metadata={"format": "pt"})
    config = model.config.to_dict()
    config["quantization_config"] = quantization
    config.pop("_name_or_path", None)
    (folder / "config.json").write_text(json.dumps(config, indent=1, sort_keys=True) + "\n")


# ---------------------------------------------------------------------------------------------
# compressed-tensors
# ---------------------------------------------------------------------------------------------
def scales_of(weight, args):
    """min/max observer: (scale, zero_point) of the shapes that the strategy asks for."""
    from compressed_tensors.quantization.utils import calculate_qparams
    strategy = str(getattr(args.strategy, "value", args.strategy))
    blocks = weight.reshape(weight.shape[0], -1, args.group_size) if strategy == "group" else (
        weight.reshape(weight.shape[0], 1, -1) if strategy == "channel"
        else weight.reshape(1, 1, -1))
    scale, zero = calculate_qparams(blocks.amin(-1), blocks.amax(-1), args)
    return (scale.reshape(1), zero.reshape(1)) if strategy == "tensor" else (scale, zero)


def compressed(name, preset, treatment, dtype=torch.bfloat16, change=None):
    from compressed_tensors.compressors import BaseCompressor, ModelCompressor
    from compressed_tensors.quantization import (QuantizationConfig, QuantizationScheme,
                                                 apply_quantization_config, preset_name_to_scheme)
    scheme = preset_name_to_scheme(preset, ["Linear"])
    if change:
        change(scheme)
    model = make_model(dtype)
    names = modules()
    apply_quantization_config(model, QuantizationConfig(config_groups={"group_0": scheme},
                                                        ignore=["lm_head"]))
    inputs = {}
    if scheme.input_activations and not scheme.input_activations.dynamic:
        rows = {}
        plain = make_model(torch.float32)
        for module in names:
            plain.get_submodule(module).register_forward_pre_hook(
                lambda _, x, module=module: rows.update({module: x[0].abs().max()}))
        run(plain)
    for module in names:
        linear = model.get_submodule(module)
        scale, zero = scales_of(linear.weight.data, scheme.weights)
        linear.weight_scale.data = scale.to(linear.weight_scale.dtype).reshape(
            linear.weight_scale.shape)
        if hasattr(linear, "weight_zero_point") and not scheme.weights.symmetric:
            linear.weight_zero_point.data = zero.to(linear.weight_zero_point.dtype).reshape(
                linear.weight_zero_point.shape)
        if scheme.input_activations:
            integer = "int" in str(scheme.input_activations.type).lower()
            if scheme.input_activations.dynamic:
                inputs[module] = int8_token if integer else fp8_token
            else:
                value = rows[module] / (127.5 if integer else 448)
                linear.input_scale.data = value.reshape(linear.input_scale.shape).to(
                    linear.input_scale.dtype)
                stored = float(linear.input_scale.float().reshape(-1)[0])
                inputs[module] = (int8_tensor if integer else fp8_tensor)(stored)
    compressor = ModelCompressor.from_pretrained_model(model)
    compressor.compress_model(model)
    folder = start(name)
    model.config.save_pretrained(folder)
    compressor.update_config(folder)
    state = {k: v.contiguous() for k, v in model.state_dict().items() if k != "lm_head.weight"}
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    text = json.loads((folder / "config.json").read_text())
    tool = BaseCompressor.get_value_from_registry(text["quantization_config"]["format"])
    weights = {}
    for module in names:
        own = {k.removeprefix(module + "."): v for k, v in state.items() if k.startswith(module + ".")}
        own["weight_scale"] = own["weight_scale"].float()
        weights[module] = tool.decompress(own, scheme)["weight"].detach()
        assert weights[module].dtype == torch.float32
    finish(name, weights, treatment, inputs)


# ---------------------------------------------------------------------------------------------
# ModelOpt
# ---------------------------------------------------------------------------------------------
def modelopt(name, preset, treatment, inline):
    import modelopt.torch.quantization as mtq
    from modelopt.torch.export import export_hf_checkpoint
    config = copy.deepcopy(getattr(mtq, preset))
    model = make_model(torch.bfloat16)
    for entry in config["quant_cfg"]:
        parts = entry.get("cfg") or []
        for part in parts if isinstance(parts, list) else [parts]:
            if part.get("block_sizes", {}).get(-1) == 128:
                part["block_sizes"][-1] = 32
    model = mtq.quantize(model, config, lambda m: m(IDS))
    with tempfile.TemporaryDirectory() as work:
        with torch.inference_mode():
            export_hf_checkpoint(model, export_dir=work)
        folder = start(name)
        for file in ["config.json", "hf_quant_config.json", "model.safetensors"]:
            shutil.copyfile(pathlib.Path(work) / file, folder / file)
    if inline:
        (folder / "hf_quant_config.json").unlink()
    state = load_file(folder / "model.safetensors")
    weights, inputs, factors = {}, {}, {}
    for module in modules():
        own = {k.removeprefix(module + "."): v for k, v in state.items() if k.startswith(module + ".")}
        codes, scale = own["weight"], own["weight_scale"].float()
        if codes.dtype == torch.uint8:
            pairs = torch.stack([codes & 15, codes >> 4], 1).reshape(-1, codes.shape[1]).int()
            signed = torch.where(pairs > 7, pairs - 16, pairs).float()
            group = signed.shape[1] // scale.shape[1]
            weights[module] = signed * scale.repeat_interleave(group, 1)
        else:
            weights[module] = codes.float() * (scale.reshape(-1, 1) if scale.dim() else scale)
        if "input_scale" in own:
            value = float(own["input_scale"].float())
            inputs[module] = (int8_tensor if codes.dtype == torch.int8 else fp8_tensor)(value)
        elif "PER_TOKEN" in preset:
            inputs[module] = fp8_token
        if "pre_quant_scale" in own:
            factors[module] = own["pre_quant_scale"]
    finish(name, weights, treatment, inputs, factors)


# ---------------------------------------------------------------------------------------------
# AutoAWQ, GPTQ, DeepSeek
# ---------------------------------------------------------------------------------------------
def pack(codes, bits):
    """[rows, n] codes as a stream of words along n, the first in the lowest bits."""
    flat = ((codes[..., None] >> np.arange(bits)) & 1).reshape(codes.shape[0], -1).astype(np.uint64)
    words = flat.reshape(codes.shape[0], -1, 32)
    return torch.from_numpy((words << np.arange(32, dtype=np.uint64)).sum(-1).astype(np.uint32)
                            .view(np.int32))


def rounded(weight, group, bits, symmetric):
    """Codes [out, in], zero points and f16 scales [out, groups]."""
    w = weight.float().reshape(weight.shape[0], -1, group)
    top = 2**bits - 1
    if symmetric:
        scale = (2 * w.abs().amax(-1) / top).half()
        zero = torch.full(scale.shape, 2**(bits - 1))
    else:
        low, high = w.amin(-1).clamp(max=0), w.amax(-1).clamp(min=0)
        scale = ((high - low) / top).half()
        zero = torch.round(-low / scale.float()).clamp(1, top)
    codes = (torch.round(w / scale.float()[..., None]) + zero[..., None]).clamp(0, top)
    return codes.reshape(weight.shape).int(), zero.int(), scale


def values(codes, zero, scale, order):
    return scale.float()[:, order] * (codes - zero[:, order]).float()


def awq(name, version, treatment):
    order = [0, 2, 4, 6, 1, 3, 5, 7]
    model, tensors, weights = make_model(torch.float16), {}, {}
    for module in modules():
        weight = model.get_submodule(module).weight.data
        codes, zero, scale = rounded(weight, 32, 4, False)
        if version == "gemm":
            def packed(x):  # [rows, out]
                return pack(x.reshape(x.shape[0], -1, 8)[:, :, order].reshape(x.shape).numpy(), 4)
            assert packed(torch.arange(8)[None])[0, 0] & 0xffffffff == 0x75316420
            tensors |= {f"{module}.qweight": packed(codes.T.contiguous()),
                        f"{module}.qzeros": packed(zero.T.contiguous()),
                        f"{module}.scales": scale.T.contiguous()}
        else:
            width = 16  # multiples of 2 words for groups of 64, 4 for 32: padded
            pad = lambda x: torch.nn.functional.pad(x, (0, 8 * 4 - x.shape[1]))
            tensors |= {f"{module}.qweight": pack(codes.numpy(), 4),
                        f"{module}.qzeros": pack(pad(zero).numpy(), 4),
                        f"{module}.scales": pad(scale)}
        weights[module] = values(codes, zero, scale, torch.arange(weight.shape[1]) // 32)
    save(name, model, tensors, {"quant_method": "awq", "bits": 4, "group_size": 32,
                                "zero_point": True, "version": version,
                                "modules_to_not_convert": None})
    finish(name, weights, treatment)


def gptq(name, bits, group, symmetric, form, treatment, act_order=False):
    model, tensors, weights = make_model(torch.float16), {}, {}
    for number, module in enumerate(modules()):
        weight = model.get_submodule(module).weight.data
        columns = weight.shape[1]
        order = torch.arange(columns) // (group if group > 0 else columns)
        if act_order:
            mixed = torch.randperm(columns, generator=torch.Generator().manual_seed(number))
            order = order[mixed]
            grouped = torch.argsort(order, stable=True)
            codes, zero, scale = rounded(weight[:, grouped], group, bits, symmetric)
            codes = codes[:, torch.argsort(grouped)]
        else:
            codes, zero, scale = rounded(weight, group if group > 0 else columns, bits, symmetric)
        shift = 1 if form == "gptq" else 0
        tensors |= {f"{module}.qweight": pack(codes.numpy(), bits).T.contiguous(),
                    f"{module}.qzeros": pack((zero.T - shift).contiguous().numpy(), bits),
                    f"{module}.scales": scale.T.contiguous(),
                    f"{module}.g_idx": order.int()}
        weights[module] = values(codes, zero, scale, order)
    save(name, model, tensors,
         {"quant_method": "gptq", "bits": bits, "group_size": group, "desc_act": act_order,
          "sym": symmetric, "checkpoint_format": form})
    finish(name, weights, treatment)


def deepseek(name, treatment):
    model, tensors, weights = make_model(torch.bfloat16), {}, {}
    for module in modules():
        weight = model.get_submodule(module).weight.data.float()
        rows, columns = -(-weight.shape[0] // 64), -(-weight.shape[1] // 64)
        padded = torch.zeros(rows * 64, columns * 64)
        padded[:weight.shape[0], :weight.shape[1]] = weight
        scale = padded.reshape(rows, 64, columns, 64).abs().amax((1, 3)) / 448
        spread = scale.repeat_interleave(64, 0).repeat_interleave(64, 1)
        spread = spread[:weight.shape[0], :weight.shape[1]]
        codes = (weight / spread).to(E4M3)
        tensors |= {f"{module}.weight": codes, f"{module}.weight_scale_inv": scale}
        weights[module] = codes.float() * spread
    save(name, model, tensors, {"quant_method": "fp8", "fmt": "e4m3",
                                "activation_scheme": "dynamic", "weight_block_size": [64, 64]})
    finish(name, weights, treatment)


def groups_of_32(scheme):
    scheme.weights.group_size = 32


if __name__ == "__main__":
    compressed("ct_w4a16", "W4A16", "int4_g32", change=groups_of_32)
    compressed("ct_w4a16_asym", "W4A16_ASYM", "int4_g32_asym", change=groups_of_32)
    compressed("ct_w8a8", "W8A8", "int8a8")
    compressed("ct_fp8", "FP8", "fp8_e4m3afp8s")
    compressed("ct_fp8_dynamic", "FP8_DYNAMIC", "fp8_e4m3afp8")
    modelopt("modelopt_fp8", "FP8_DEFAULT_CFG", "fp8_e4m3afp8s", inline=True)
    modelopt("modelopt_fp8_token", "FP8_PER_CHANNEL_PER_TOKEN_CFG", "fp8_e4m3afp8", inline=False)
    modelopt("modelopt_int8_sq", "INT8_SMOOTHQUANT_CFG", "int8a8s", inline=False)
    modelopt("modelopt_int4_awq", "INT4_AWQ_CFG", "f32", inline=False)
    modelopt("modelopt_w4a8", "W4A8_AWQ_BETA_CFG", "f32afp8s", inline=False)
    awq("awq_gemm", "gemm", "int4_g32_asym")
    awq("awq_gemv", "gemv", "int4_g32_asym")
    gptq("gptq_v1", 4, 32, True, "gptq", "int4_g32")
    gptq("gptq_v2_asym3", 3, 32, False, "gptq_v2", "int3_g32_asym")
    gptq("gptq_actorder", 4, 32, False, "gptq_v2", "f32", act_order=True)
    deepseek("deepseek_fp8", {"": "fp8_e4m3", "mlp.down": "f32"})

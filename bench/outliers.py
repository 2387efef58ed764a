#!/usr/bin/env python3
"""Whether smoothing undoes outliers that were put into a model without changing what it computes.

    bench/outliers.py MODEL --name small [--factors 30,100] [--share 0.01] [--windows 128]

MODEL is a Hugging Face folder of the Llama line with safetensors. In a copy of it, channels chosen
by a seed, the given share of each norm's, are made F times as large, and the columns of the linears
that read the norm F times as small; tensors that change are stored in f32, so that the function
stays what it was but for the last bit of a product. Treatments are compiled before and after, and
scored by KL(f32 || row) in nats against the unchanged model in f32. A record goes to bench/record;
`bench/quantization.py --report` shows it.
"""
import argparse
import array
import glob
import json
import os
import random
import shutil
import struct

import common

# The linears that read each norm of a layer.
READERS = {"input_layernorm": ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
           "post_attention_layernorm": ("mlp.gate_proj", "mlp.up_proj")}
TREATMENTS = ["int8a8s", "int8a8s@smoothquant{search=1}", "int8a8", "int8a8@smoothquant{search=1}"]


def as_f32(data, dtype):
    """The numbers of a tensor's bytes as array('f')."""
    values = array.array("f")
    if dtype == "BF16":  # the upper halves of f32
        wide = bytearray(2 * len(data))
        wide[2::4], wide[3::4] = data[0::2], data[1::2]
        data = wide
    elif dtype == "F16":
        return array.array("f", (number for number, in struct.iter_unpack("<e", data)))
    elif dtype != "F32":
        raise SystemExit(f"a norm or linear is stored as {dtype}; expected BF16, F16 or F32")
    values.frombytes(bytes(data))
    return values


class Injection:
    """Which channels of which norm change, and by what."""

    def __init__(self, factor, share, seed):
        self.factor, self.share, self.seed = factor, share, seed

    def channels(self, norm, columns):
        """Those of the norm named `norm`, the same whatever is asked before."""
        count = max(1, round(self.share * columns))
        return sorted(random.Random(f"{self.seed} {norm}").sample(range(columns), count))

    def changed(self, name, shape, dtype, data):
        """The tensor's f32 bytes; None where it stays as it is."""
        for norm, readers in READERS.items():
            if name.endswith(f".{norm}.weight"):
                values = as_f32(data, dtype)
                for channel in self.channels(name, shape[0]):
                    values[channel] *= self.factor
                return values.tobytes()
            for reader in readers:
                if name.endswith(f".{reader}.weight"):
                    values = as_f32(data, dtype)
                    for channel in self.channels(name.replace(reader, norm), shape[1]):
                        for at in range(channel, len(values), shape[1]):
                            values[at] /= self.factor
                    return values.tobytes()
        return None


def rewrite(source, target, injection):
    """Copies a safetensors file, changed; returns how many tensors were."""
    with open(source, "rb") as file:
        size, = struct.unpack("<Q", file.read(8))
        entries = json.loads(file.read(size))
        header, parts, at, count = {}, [], 0, 0
        for name, entry in sorted(((n, e) for n, e in entries.items() if n != "__metadata__"),
                                  key=lambda pair: pair[1]["data_offsets"]):
            begin, end = entry["data_offsets"]
            file.seek(8 + size + begin)
            data = file.read(end - begin)
            new = injection.changed(name, entry["shape"], entry["dtype"], data)
            count += new is not None
            parts.append(data if new is None else new)
            header[name] = {"dtype": entry["dtype"] if new is None else "F32", "shape": entry["shape"],
                            "data_offsets": [at, at + len(parts[-1])]}
            at += len(parts[-1])
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(target, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        file.writelines(parts)
    return count


def inject(model, folder, injection):
    """Writes the changed copy of `model`."""
    shutil.rmtree(folder, ignore_errors=True)
    os.makedirs(folder)
    count = 0
    for path in sorted(glob.glob(os.path.join(model, "*"))):
        target = os.path.join(folder, os.path.basename(path))
        if path.endswith(".safetensors"):
            count += rewrite(path, target, injection)
        elif path.endswith(".json"):
            shutil.copyfile(path, target)
    if not count:
        raise SystemExit(f"{model}: no safetensors file here has norms named as in Llama's layers")
    return folder


def measure(options, model, treatment, reference, statistics):
    plan = os.path.join(options.folder, "row.qplan")
    calibration = [] if treatment == "f32" else ["--calib", options.calib, "--statistics", statistics]
    try:
        common.run([options.qplan, "compile", model, "-o", plan, "--quant", treatment, "--kv-cache", "f32", *calibration])
        result = common.score(options, plan, reference)
    finally:
        shutil.rmtree(plan, ignore_errors=True)
    return {"kl": result["kl_mean"], "perplexity": result["perplexity"]}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--name", required=True, help="what the record calls the model")
    parser.add_argument("--factors", default="30,100")
    parser.add_argument("--share", type=float, default=0.01, help="of the channels of a norm")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--treatments", default=",".join(TREATMENTS))
    parser.add_argument("--windows", type=int, default=128)
    parser.add_argument("--calib", default=common.CALIBRATION)
    parser.add_argument("--text", default=common.TEXT)
    parser.add_argument("--qplan", default=common.QPLAN)
    options = parser.parse_args()
    options.folder = os.path.join(common.ROOT, "out", "outliers", options.name)
    os.makedirs(options.folder, exist_ok=True)
    reference = common.compile_plan(options.qplan, options.model, os.path.join(options.folder, "reference.qplan"),
                                    ["--quant", "f32", "--kv-cache", "f32"])
    factors = [float(factor) for factor in options.factors.split(",")]
    treatments = options.treatments.split(",")
    figures = {treatment: {} for treatment in treatments}
    same = {}
    for factor in [1.0, *factors]:
        model = options.model
        if factor != 1:
            model = inject(model, os.path.join(options.folder, "changed"), Injection(factor, options.share, options.seed))
            same[f"{factor:g}"] = measure(options, model, "f32", reference, "")["kl"]
        statistics = os.path.join(options.folder, "statistics.json")
        if os.path.exists(statistics):
            os.remove(statistics)
        for treatment in treatments:
            figures[treatment][f"{factor:g}"] = each = measure(options, model, treatment, reference, statistics)
            print(f"{treatment}, channels x {factor:g}: KL {each['kl']:.5f}", flush=True)
    shutil.rmtree(os.path.join(options.folder, "changed"), ignore_errors=True)
    print(common.markdown(["treatment", *(f"x {factor:g}" for factor in [1, *factors])],
                          [[name, *(f"{each['kl']:.5f}" for each in row.values())] for name, row in figures.items()]))
    common.write_record(f"outliers-{options.name}",
                        {"model": options.name, "share": options.share, "seed": options.seed, "f32_kl": same,
                         "windows": options.windows, "text": os.path.basename(options.text), "figures": figures})


if __name__ == "__main__":
    main()

"""What the layouts share: the model, the inputs, and the files of a layout."""

import json
import math
import os
import sys

import torch
from safetensors.torch import save_file
from transformers import LlamaConfig, LlamaForCausalLM

OUT, TOKENIZER, VOCABULARY = sys.argv[1], sys.argv[2], int(sys.argv[3])
ONLY = sys.argv[4:]
PROBE = "model.layers.0.self_attn.q_proj"
LISTED = {}


def llama():
    torch.manual_seed(0)
    config = LlamaConfig(
        hidden_size=128,
        intermediate_size=192,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=32,
        vocab_size=VOCABULARY,
        tie_word_embeddings=False,
        dtype="float32",
    )
    model = LlamaForCausalLM(config).float().eval()
    for name, module in model.named_modules():
        if isinstance(module, torch.nn.Linear):
            weight = torch.randn(module.weight.shape) * 0.05
            # Blocks of zeros, tiny and large ones; equal magnitudes, which make ties.
            weight[0] = 0
            weight[1, :32] = 0
            weight[2] *= 1e-4
            weight[3] *= 50
            weight[4] = weight[4].sign() * 0.25
            module.weight.data = weight
    return model


def rows(features=128):
    """Inputs: usual rows, zeros, tiny and huge groups, ties of short formats, an outlier."""
    torch.manual_seed(1)
    x = torch.randn(40, features)
    x[0] = 0
    x[1, :48] = 0
    x[2] *= 1e-7
    x[3] *= 1e4
    x[4] = torch.arange(features) % 25 * 0.25 - 3
    x[5] = torch.arange(features) % 17 * 0.5 - 4
    x[6, 5] = 300
    x[7] = x[7].abs()
    x[8] = -x[8].abs()
    x[9] = x[9].bfloat16()
    x[10] = (torch.arange(features) % 2 - 0.5) * 6
    x[11, 32:64] *= 1e-3
    return x


def save(folder, model, tensors, quantization=None, sidecar=None):
    os.makedirs(folder, exist_ok=True)
    config = json.loads(model.config.to_json_string(use_diff=False))
    config = {name: value for name, value in config.items() if value is not None}
    if quantization is not None:
        config["quantization_config"] = quantization
    with open(f"{folder}/config.json", "w") as file:
        json.dump(config, file, indent=1)
    if sidecar is not None:
        with open(f"{folder}/hf_quant_config.json", "w") as file:
            json.dump(sidecar, file, indent=1)
    tensors = {name: value.detach().contiguous().clone() for name, value in tensors.items()}
    save_file(tensors, f"{folder}/model.safetensors", {"format": "pt"})
    with open(TOKENIZER, "rb") as source, open(f"{folder}/tokenizer.json", "wb") as file:
        file.write(source.read())


def layout(name, writer, judge, convert, quantization, sidecar=None, inputs=None, why=None):
    """`convert(module, weight)` gives the tensors of a module, by the end of their names, and the
    values they stand for, or None. `inputs` are rows and the same quantised; `why` is by how many
    units in the last place these may differ, and the reason."""
    if ONLY and name not in ONLY:
        return
    model = llama()
    stored = dict(model.state_dict())
    dense = dict(stored)
    codes = scales = 0
    for module_name, module in model.named_modules():
        if not isinstance(module, torch.nn.Linear):
            continue
        converted = convert(module_name, module.weight.data.clone())
        if converted is None:
            continue
        tensors, values = converted
        assert values.shape == module.weight.shape and values.dtype == torch.float32, module_name
        del stored[f"{module_name}.weight"]
        for end, tensor in tensors.items():
            stored[f"{module_name}.{end}"] = tensor
            if any(word in end for word in ("scale", "absmax")) and "input" not in end:
                scales += tensor.numel()
        dense[f"{module_name}.weight"] = values
        codes += values.numel()
    save(f"{OUT}/{name}/stored", model, stored, quantization, sidecar)
    save(f"{OUT}/{name}/dense", model, dense)
    if inputs is not None:
        x, y = inputs
        tensors = {"x": x.float().contiguous(), "y": y.float().contiguous()}
        save_file(tensors, f"{OUT}/{name}/inputs.safetensors")
    LISTED[name] = {
        "writer": writer,
        "judge": judge,
        "codes": codes,
        "scales": scales,
        "inputs": inputs is not None,
        "ulps": why[0] if why else 0,
        "why": why[1] if why else None,
    }


def family(function):
    """Runs a family of layouts, or lists it as absent."""
    try:
        function()
    except ImportError as error:
        LISTED[function.__name__] = {"absent": str(error)}


def blocks(weight, height, width):
    """The magnitudes of blocks, padded with zeros."""
    high, wide = (math.ceil(size / by) for size, by in zip(weight.shape, (height, width)))
    padded = torch.zeros(high * height, wide * width)
    padded[: weight.shape[0], : weight.shape[1]] = weight
    return padded.view(high, height, wide, width).transpose(1, 2)

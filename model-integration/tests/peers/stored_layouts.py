"""Tiny Llamas whose projections the packages quantise, each beside the floats it stands for.

    python stored_layouts.py OUT TOKENIZER VOCABULARY [NAME ...]

writes, for each layout, OUT/NAME/stored and OUT/NAME/dense, two model directories; where the scheme
quantises inputs, OUT/NAME/inputs.safetensors with rows `x` and what the package makes of them, `y`;
and OUT/layouts.json. Needs torch, transformers, compressed-tensors, nvidia-modelopt, amd-quark and
bitsandbytes; a layout whose package is absent is left out and listed as such. MXLAB_AUTO_GPTQ names a
folder with auto_gptq's nn_modules.
"""

import copy
import importlib.util
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


@family
def compressed_tensors():
    import compressed_tensors as package
    from compressed_tensors.compressors import BaseCompressor
    from compressed_tensors.compressors.format import infer_module_format
    from compressed_tensors.compressors.pack_quantized.helpers import (
        pack_to_int32,
        unpack_from_int32,
    )
    from compressed_tensors.config import CompressionFormat
    from compressed_tensors.quantization import QuantizationConfig, apply_quantization_config
    from compressed_tensors.quantization.lifecycle.forward import forward_quantize
    from compressed_tensors.quantization.utils import calculate_qparams, generate_gparam

    judge = f"compressed-tensors {package.__version__}"

    def parameters(weight, args):
        """The scales and zero points as an observer of minima and maxima finds them."""
        factor = None
        if args.strategy == "tensor":
            least, most = weight.min(), weight.max()
        elif args.strategy == "channel":
            least, most = weight.amin(1, keepdim=True), weight.amax(1, keepdim=True)
        elif args.strategy == "block":
            parts = blocks(weight, *args.block_structure)
            least, most = parts.amin((2, 3)), parts.amax((2, 3))
        else:
            parts = weight.unflatten(-1, (-1, args.group_size))
            least, most = parts.amin(-1), parts.amax(-1)
        if args.strategy == "tensor_group":
            factor = generate_gparam(weight.min(), weight.max())
        scale, zero = calculate_qparams(least, most, args, global_scale=factor)
        return scale, zero, factor

    def one(name, groups, ignore=("lm_head",), halves=False, edit=None, change=None, old=False):
        """`halves`: scales in bf16. `edit(config)` after all is written. `change(tensors)` of a
        module. `old`: without the fields of newer versions."""
        config = QuantizationConfig(
            config_groups={f"group_{i}": group for i, group in enumerate(groups)},
            ignore=list(ignore),
            quantization_status="compressed",
        )
        model = llama()
        for scheme in config.config_groups.values():
            scheme.format = CompressionFormat(
                scheme.format or infer_module_format(torch.nn.Linear, scheme)
            )
        apply_quantization_config(model, config, show_progress=False)
        modules = dict(model.named_modules())
        given = rows()
        made = {}

        def convert(module, weight):
            scheme = getattr(modules[module], "quantization_scheme", None)
            if scheme is None or scheme.weights is None:
                return None
            scale, zero, factor = parameters(weight, scheme.weights)
            if halves:
                scale = scale.bfloat16().float()
            tensors = {"weight": weight, "weight_scale": scale, "weight_zero_point": zero}
            if factor is not None:
                tensors["weight_global_scale"] = factor
            if scheme.input_activations is not None:
                args = scheme.input_activations
                if args.strategy == "tensor_group":
                    tensors["input_global_scale"] = generate_gparam(given.min(), given.max())
                elif not args.dynamic:
                    tensors["input_scale"], _ = calculate_qparams(given.min(), given.max(), args)
                made[module] = tensors
            compressor = BaseCompressor.get_value_from_registry(scheme.format.value)
            tensors = compressor.compress(tensors, scheme)
            values = compressor.decompress(tensors, scheme)["weight"].float()
            if halves:
                tensors["weight_scale"] = tensors["weight_scale"].bfloat16()
            tensors = {end: tensor for end, tensor in tensors.items() if tensor is not None}
            return (change(tensors) if change else tensors), values

        convert(PROBE, modules[PROBE].weight.data.clone())
        inputs = why = None
        if PROBE in made:
            module = modules[PROBE]
            for end in ("input_global_scale", "input_scale"):
                if end in made[PROBE]:
                    value = torch.nn.Parameter(made[PROBE][end], requires_grad=False)
                    setattr(module, end, value)
            args = module.quantization_scheme.input_activations
            given = rows()
            if args.strategy == "tensor_group":
                why = (2, "it divides by the stored scale, whose reciprocal multiplies here")
            if args.num_bits == 8 and args.group_size == 32:
                # There compressed-tensors takes the next exponent for an amax of exactly 448 * 2^n.
                amax = given.unflatten(-1, (-1, 32)).abs().amax(-1)
                given[((torch.frexp(amax)[0] == 0.875).any(-1))] = 0
            quantised = forward_quantize(module, given[None].clone(), "input", args)
            inputs = (given, quantised[0])
        quantization = json.loads(config.model_dump_json())
        quantization["quant_method"] = "compressed-tensors"
        formats = sorted({group["format"] for group in quantization["config_groups"].values()})
        quantization["format"] = formats[0] if len(formats) == 1 else "mixed-precision"
        if old:
            for group in quantization["config_groups"].values():
                del group["format"]
        if edit:
            edit(quantization)
        layout(name, "llm-compressor", judge, convert, quantization, None, inputs, why)

    def group(weights, inputs=None, targets=("Linear",), **more):
        return {
            "targets": list(targets),
            "weights": weights,
            "input_activations": inputs,
            **more,
        }

    floats = {"type": "float", "symmetric": True}
    fp4 = {**floats, "num_bits": 4}
    fp8 = {**floats, "num_bits": 8}
    nvfp4 = {**fp4, "strategy": "tensor_group", "group_size": 16}
    nvfp4["scale_dtype"] = "torch.float8_e4m3fn"
    local = {**nvfp4, "dynamic": "local"}
    token = {**fp8, "strategy": "token", "dynamic": True}

    def mx(bits):
        return {
            **floats,
            "num_bits": bits,
            "strategy": "group",
            "group_size": 32,
            "scale_dtype": "torch.uint8",
        }

    def dynamic(args):
        return {**args, "dynamic": True}

    def integers(bits, symmetric=True, size=None, **more):
        size = {"strategy": "group", "group_size": size} if size else {"strategy": "channel"}
        return {"type": "int", "num_bits": bits, "symmetric": symmetric, **size, **more}

    one("ct-nvfp4", [group(nvfp4, local)])
    one("ct-nvfp4a16", [group(nvfp4)], old=True)
    for bits in (4, 6, 8):
        one(f"ct-mxfp{bits}", [group(mx(bits), dynamic(mx(bits)))])
    one("ct-mxfp4a16", [group(mx(4))])
    one("ct-fp8-tensor", [group({**fp8, "strategy": "tensor"}, {**fp8, "strategy": "tensor"})])
    one("ct-fp8-channel", [group({**fp8, "strategy": "channel"}, token)])
    one("ct-fp8-channel-bf16", [group({**fp8, "strategy": "channel"}, token)], halves=True)
    by_columns = {**fp8, "strategy": "group", "group_size": 64}
    one("ct-fp8-group", [group(by_columns, dynamic(by_columns))])
    block = {**fp8, "strategy": "block", "block_structure": [128, 128]}
    by_columns = {**fp8, "strategy": "group", "group_size": 128, "dynamic": True}
    one("ct-fp8-block", [group(block, by_columns, targets=["re:.*self_attn.*"])])
    one("ct-fp8-block-cut", [group(block)])
    one("ct-fp8-block-odd", [group({**block, "block_structure": [48, 80]})], old=True)
    one("ct-fp8-naive", [group({**fp8, "strategy": "tensor"}, format="naive-quantized")])
    int8 = {"type": "int", "num_bits": 8, "dynamic": True, "strategy": "token"}
    one("ct-int8-channel", [group(integers(8), {**int8, "symmetric": True})])
    one("ct-int8-asymmetric", [group(integers(8, False), {**int8, "symmetric": False})])
    tensor = {"type": "int", "num_bits": 8, "strategy": "tensor"}
    one("ct-int8-tensor", [group({**tensor, "symmetric": False}, {**tensor, "symmetric": True})])
    one("ct-int8-group", [group(integers(8, False, 32), format="naive-quantized")])
    one("ct-int4-naive", [group(integers(4, False), format="int-quantized")])
    for bits in (2, 3, 4, 5, 8):
        for symmetric in (True, False):
            kind = "" if symmetric else "-asymmetric"
            one(f"ct-pack{bits}{kind}", [group(integers(bits, symmetric, 32))], halves=bits == 4)
            one(f"ct-pack{bits}{kind}-channel", [group(integers(bits, symmetric))])

    def without_crossing(bits):
        def change(tensors):
            columns = int(tensors["weight_shape"][1])
            codes = unpack_from_int32(tensors["weight_packed"], bits, tensors["weight_shape"])
            codes = codes.to(torch.int64) + (1 << (bits - 1))
            in_word = 32 // bits
            codes = torch.nn.functional.pad(codes, (0, -columns % in_word))
            codes = codes.view(codes.shape[0], -1, in_word)
            words = (codes << (torch.arange(in_word) * bits)).sum(-1)
            words = torch.where(words >= 1 << 31, words - (1 << 32), words)
            return {**tensors, "weight_packed": words.to(torch.int32)}

        return change

    for bits in (3, 5):
        one(f"ct-pack{bits}-old", [group(integers(bits, True, 32))], change=without_crossing(bits))

    def by_index(name, symmetric):
        """Groups of columns out of order: packed in order by the package, then set back."""
        [args] = QuantizationConfig(config_groups={"g": group(integers(4, symmetric, 32))}).config_groups.values()
        compressor = BaseCompressor.get_value_from_registry("pack-quantized")

        def convert(module, weight):
            if module == "lm_head":
                return None
            torch.manual_seed(len(module))
            index = (torch.arange(weight.shape[1]) // 32)[torch.randperm(weight.shape[1])]
            order = index.argsort(stable=True)
            scale, zero, _ = parameters(weight[:, order], args.weights)
            tensors = {"weight": weight[:, order], "weight_scale": scale, "weight_zero_point": zero}
            tensors = compressor.compress(tensors, args)
            values = torch.empty_like(weight)
            values[:, order] = compressor.decompress(tensors, args)["weight"].float()
            ordered = unpack_from_int32(tensors["weight_packed"], 4, tensors["weight_shape"])
            codes = torch.empty_like(ordered)
            codes[:, order] = ordered
            tensors["weight_packed"] = pack_to_int32(codes, 4)
            return {**tensors, "weight_g_idx": index.to(torch.int32)}, values

        config = {"quant_method": "compressed-tensors", "format": "pack-quantized", "ignore": ["lm_head"]}
        weights = {**integers(4, symmetric, 32), "actorder": "group"}
        config["config_groups"] = {"group_0": group(weights)}
        layout(name, "llm-compressor", judge, convert, config)

    by_index("ct-pack4-index", True)
    by_index("ct-pack4-index-asymmetric", False)

    one(
        "ct-mixed",
        [
            group(integers(8), targets=["re:.*self_attn.[qk]_proj"], format="int-quantized"),
            group(mx(4), targets=["model.layers.0.mlp.down_proj", "re:.*up_proj$"]),
            group({**fp8, "strategy": "channel"}, token, targets=["Linear"], format="float-quantized"),
        ],
        ignore=["lm_head", "re:.*layers.1.mlp.*", "model.layers.0.self_attn.o_proj"],
    )
    one(
        "ct-classes",
        [group(integers(4, True, 32), targets=["Linear"])],
        ignore=["re:.*v_proj", "lm_head", "RMSNorm", "LlamaMLP"],
    )


@family
def modelopt():
    import modelopt
    from modelopt.torch.export import quant_utils as q
    from modelopt.torch.export.convert_hf_config import convert_hf_quant_config_format
    from modelopt.torch.quantization.qtensor import (
        FP8QTensor,
        INT8QTensor,
        MXFP4QTensor,
        MXFP8QTensor,
        NVFP4QTensor,
    )
    from modelopt.torch.quantization.tensor_quant import fp8_eager

    judge = f"nvidia-modelopt {modelopt.__version__}"
    given = rows()
    amax = given.abs().max()

    def nvfp4(weight):
        made, scale, factor = NVFP4QTensor.quantize(weight, 16)
        sizes = {-1: 16}
        values = made.dequantize(torch.float32, scale=scale, double_scale=factor, block_sizes=sizes)
        tensors = {"weight": made._quantized_data, "weight_scale": scale, "weight_scale_2": factor}
        return tensors, values

    def with_input(algorithm, divisor):
        def convert(weight):
            tensors, values = algorithm(weight)
            return {**tensors, "input_scale": amax / divisor}, values

        return convert

    def fp8(weight):
        scale = weight.abs().max() / 448
        codes = q.to_quantized_weight(weight, scale, "fp8")
        made = FP8QTensor(weight.shape, weight.dtype, codes)
        return {"weight": codes, "weight_scale": scale}, made.dequantize(torch.float32, scale=scale)

    def fp8_rows(weight):
        scale = weight.abs().amax(1).clamp(min=1e-9) / 448
        codes = q.to_quantized_weight(weight, scale, "fp8_pc_pt")
        made = FP8QTensor(weight.shape, weight.dtype, codes)
        values = made.dequantize(torch.float32, scale=scale[:, None])
        return {"weight": codes, "weight_scale": scale}, values

    def fp8_blocks(weight):
        scale = blocks(weight, 128, 128).abs().amax((2, 3)) / 448
        sizes = {-1: 128, -2: 128}
        made, scale = FP8QTensor.quantize(weight, scale, block_sizes=sizes)
        values = made.dequantize(torch.float32, scale=scale, block_sizes=sizes)
        # The exporter keeps the axes of the blocks.
        return {"weight": made._quantized_data, "weight_scale": scale[:, None, :, None]}, values

    def mxfp8(weight):
        made, scale = MXFP8QTensor.quantize(weight)
        values = made.dequantize(torch.float32, scale=scale)
        return {"weight": made._quantized_data, "weight_scale": scale}, values

    def mxfp4(weight):
        made, scale = MXFP4QTensor.quantize(weight, 32)
        values = made.dequantize(torch.float32, scale=scale, block_sizes={-1: 32})
        scale = scale.reshape(weight.shape[0], -1)
        return {"weight": made._quantized_data, "weight_scale": scale}, values

    def int8(weight):
        scale = weight.abs().amax(1).clamp(min=1e-9) / 127
        codes = q.to_quantized_weight(weight, scale, "int8_wo")
        made = INT8QTensor(weight.shape, weight.dtype, codes)
        values = made.dequantize(torch.float32, scale=scale[:, None])
        return {"weight": codes, "weight_scale": scale}, values

    def nvfp4_inputs():
        made, scale, factor = NVFP4QTensor.quantize(given.clone(), 16, None, amax / (6 * 448))
        values = made.dequantize(
            torch.float32, scale=scale, double_scale=factor, block_sizes={-1: 16}
        )
        # Its kernels flush blocks whose scale is below half of the least E4M3; this class does not.
        tiny = given.view(40, -1, 16).abs().amax(-1) / (6 * factor) < 2**-9
        values.view(40, -1, 16)[tiny] = 0
        return given, values

    def scaled(quantise, given):
        made, scale = quantise(given)
        return given, made.dequantize(torch.float32, scale=scale, block_sizes={-1: 32})

    # A value near a tie may take the next code, an eighth away.
    order = (1 << 20, "its kernel multiplies by 448 / amax where others divide by amax / 448")
    products = (1, "it multiplies the two scales first")
    # Its kernel for inputs, which needs CUDA, rounds half to even; its class for weights, half down.
    without_ties = given.clone()
    without_ties[[4, 5, 9, 10]] = 0
    algorithms = {
        "NVFP4": (with_input(nvfp4, 6 * 448), {"group_size": 16}, nvfp4_inputs, products),
        "W4A16_NVFP4": (nvfp4, {"group_size": 16}, None, None),
        "FP8": (with_input(fp8, 448), {}, lambda: (given, fp8_eager(given, amax)), order),
        "FP8_PER_CHANNEL_PER_TOKEN": (
            fp8_rows,
            {},
            lambda: (given, fp8_eager(given, given.abs().amax(1, keepdim=True))),
            order,
        ),
        "FP8_PB_WO": (fp8_blocks, {}, None, None),
        "MXFP8": (mxfp8, {"group_size": 32}, lambda: scaled(MXFP8QTensor.quantize, given), None),
        "MXFP4": (mxfp4, {"group_size": 32}, lambda: scaled(lambda x: MXFP4QTensor.quantize(x, 32), without_ties), None),
        "W8A16": (int8, {}, None, None),
    }

    def convert(of_module):
        def convert(module, weight):
            algorithm = of_module(module)
            return algorithm and algorithms[algorithm][0](weight)

        return convert

    def unless_head(algorithm):
        return lambda module: None if module == "lm_head" else algorithm

    producer = {"name": "modelopt", "version": modelopt.__version__}
    for algorithm, (_, fields, inputs, why) in algorithms.items():
        quantization = {
            "quant_algo": algorithm,
            "kv_cache_quant_algo": None,
            "exclude_modules": ["lm_head"],
            **fields,
        }
        sidecar = {"producer": producer, "quantization": quantization}
        name = f"modelopt-{algorithm.lower()}"
        inputs = inputs() if inputs else None
        converter = convert(unless_head(algorithm))
        converted = convert_hf_quant_config_format(copy.deepcopy(sidecar))
        layout(name, "ModelOpt", judge, converter, converted, sidecar, inputs, why)
        name = f"{name}-sidecar"
        layout(name, "ModelOpt", judge, converter, None, sidecar, inputs, why)

    def mixed(module):
        if module == "lm_head" or "layers.1.mlp" in module:
            return None
        return "NVFP4" if "mlp" in module else "FP8" if "v_proj" not in module else "W4A16_NVFP4"

    layers = {}
    for module, part in llama().named_modules():
        if isinstance(part, torch.nn.Linear) and mixed(module):
            layers[module] = {"quant_algo": mixed(module), **algorithms[mixed(module)][1]}
    quantization = {
        "quant_algo": "MIXED_PRECISION",
        "kv_cache_quant_algo": "FP8",
        "quantized_layers": layers,
        "exclude_modules": ["lm_head", "model.layers.1.mlp*"],
    }
    sidecar = {"producer": producer, "quantization": quantization}
    config = convert_hf_quant_config_format(copy.deepcopy(sidecar))
    layout("modelopt-mixed", "ModelOpt", judge, convert(mixed), config)
    layout("modelopt-mixed-sidecar", "ModelOpt", judge, convert(mixed), None, sidecar)


@family
def quark():
    import quark.torch  # noqa: F401
    from importlib.metadata import version
    from quark.torch.kernel.hw_emulation.hw_emulation_interface import (
        fake_quantize_fp4_fp6_per_group_with_scale,
        fake_quantize_fp8_e4m3_per_tensor_with_scale,
    )
    from quark.torch.quantization.utils import even_round
    from quark.torch.utils.pack import create_pack_method

    judge = f"amd-quark {version('amd-quark')}"
    given = rows()

    def by_powers(dtype):
        method = create_pack_method("per_group", dtype)

        def scales(x):
            return even_round(x.view(x.shape[0], -1, 32).abs().amax(-1), dtype)

        def quantise(x):
            return fake_quantize_fp4_fp6_per_group_with_scale(x.clone(), scales(x), -1, 32, dtype)

        def convert(module, weight):
            if module == "lm_head":
                return None
            scale = scales(weight)
            spread = scale.repeat_interleave(32, -1)
            codes = method.pack((quantise(weight) / spread).contiguous(), False)
            values = method.unpack(codes, False) * spread
            exponents = (scale.log2() + 127).to(torch.uint8)
            return {"weight": codes, "weight_scale": exponents}, values

        return convert, (given, quantise(given))

    def spec(dtype, dynamic, scheme="per_group", **more):
        return {"dtype": dtype, "is_dynamic": dynamic, "qscheme": scheme, "symmetric": None, **more}

    powers = {"ch_axis": -1, "group_size": 32, "scale_format": "e8m0"}
    powers["scale_calculation_mode"] = "even"

    def config(weight, inputs, **more):
        part = {"weight": weight, "input_tensors": inputs, "output_tensors": None, "bias": None}
        return {
            "quant_method": "quark",
            "global_quant_config": part,
            "exclude": ["lm_head"],
            "layer_type_quant_config": {},
            "layer_quant_config": {},
            "export": {"weight_format": "real_quantized", "pack_method": "reorder"},
            "version": version("amd-quark"),
            **more,
        }

    for dtype in ("fp4", "fp6_e2m3", "fp6_e3m2"):
        convert, inputs = by_powers(dtype)
        both = config(spec(dtype, False, **powers), spec(dtype, True, **powers))
        layout(f"quark-mx{dtype}", "Quark", judge, convert, both, inputs=inputs)

    input_scale = given.abs().max() / 448

    def fp8(module, weight):
        if module == "lm_head":
            return None
        scale = weight.abs().max() / 448
        codes = (weight / scale).clamp(-448, 448).to(torch.float8_e4m3fn)
        values = fake_quantize_fp8_e4m3_per_tensor_with_scale(weight, scale)
        return {"weight": codes, "weight_scale": scale, "input_scale": input_scale}, values

    both = [spec("fp8_e4m3", False, "per_tensor", ch_axis=None, group_size=None)] * 2
    inputs = (given, fake_quantize_fp8_e4m3_per_tensor_with_scale(given, input_scale))
    layout("quark-fp8", "Quark", judge, fp8, config(*both), inputs=inputs)

    method = create_pack_method("per_channel", "int8")

    def int8(module, weight):
        if module == "lm_head":
            return None
        scale = weight.abs().amax(1).clamp(min=1e-9) / 127
        codes = (weight / scale[:, None]).round().clamp(-128, 127)
        codes = method.pack(codes, False)
        return {"weight": codes, "weight_scale": scale}, method.unpack(codes, False) * scale[:, None]

    weight = spec("int8", False, "per_channel", ch_axis=0)
    layout("quark-int8", "Quark", judge, int8, config({**weight, "symmetric": True}, None))

    fp4, _ = by_powers("fp4")

    def by_layer(module, weight):
        return fp8(module, weight) if "down_proj" in module else fp4(module, weight)

    part = config(*both)["global_quant_config"]
    mixed = config(spec("fp4", False, **powers), None, layer_quant_config={"*down_proj": part})
    layout("quark-layers", "Quark", judge, by_layer, mixed)


@family
def fp8_blocks():
    import compressed_tensors as package
    from compressed_tensors.entrypoints.convert.converters import FP8BlockDequantizer

    judge = f"compressed-tensors {package.__version__}"

    for name, sizes in [("fp8-blocks", [128, 128]), ("fp8-blocks-odd", [40, 96])]:

        def convert(module, weight):
            if module == "lm_head":
                return None
            scale = blocks(weight, *sizes).abs().amax((2, 3)).clamp(min=1e-12) / 448
            spread = scale.repeat_interleave(sizes[0], 0).repeat_interleave(sizes[1], 1)
            spread = spread[: weight.shape[0], : weight.shape[1]]
            codes = (weight / spread).clamp(-448, 448).to(torch.float8_e4m3fn)
            tensors = {"weight": codes, "weight_scale_inv": scale}
            converter = FP8BlockDequantizer(
                targets=["Linear"], weight_block_size=sizes, dtype=torch.float32
            )
            values = converter.process({f"{module}.{end}": t for end, t in tensors.items()})
            return tensors, values[f"{module}.weight"]

        config = {"quant_method": "fp8", "fmt": "e4m3", "activation_scheme": "dynamic"}
        layout(name, "DeepSeek", judge, convert, {**config, "weight_block_size": sizes})

    def by_tensor(module, weight):
        if module == "lm_head":
            return None
        scale = weight.abs().max() / 448
        codes = (weight / scale).clamp(-448, 448).to(torch.float8_e4m3fn)
        return {"weight": codes, "weight_scale": scale}, codes.float() * scale

    config = {"quant_method": "fp8", "activation_scheme": "dynamic"}
    layout("fp8-tensor", "vLLM", "torch", by_tensor, config)


@family
def awq():
    import compressed_tensors as package
    from compressed_tensors.compressors import BaseCompressor
    from compressed_tensors.entrypoints.convert.converters import AutoAWQConverter

    judge = f"compressed-tensors {package.__version__}"
    places = [0, 2, 4, 6, 1, 3, 5, 7]

    def pack(codes):
        codes = codes.view(codes.shape[0], -1, 8)[:, :, places].to(torch.int64)
        words = (codes << (torch.arange(8) * 4)).sum(-1)
        return torch.where(words >= 1 << 31, words - (1 << 32), words).to(torch.int32)

    for name, size, excluded in [("awq", 64, None), ("awq-32", 32, ["down_proj"]), ("awq-all", -1, None)]:
        config = {"quant_method": "awq", "bits": 4, "group_size": size, "zero_point": True}
        config = {**config, "version": "gemm", "modules_to_not_convert": excluded}
        converter = AutoAWQConverter.from_autoawq_config(config)
        scheme = converter._build_quant_config().config_groups["config_group_0"] if size > 0 else None

        def convert(module, weight):
            if not converter._is_targeted(module):
                return None
            width = size if size > 0 else weight.shape[1]
            parts = weight.view(weight.shape[0], -1, width)
            least, most = parts.amin(-1).clamp(max=0), parts.amax(-1).clamp(min=0)
            scale = ((most - least).clamp(min=1e-5) / 15).half().float()
            zero = (-least / scale).round().clamp(0, 15)
            codes = (parts / scale[..., None]).round() + zero[..., None]
            codes = codes.clamp(0, 15).view(weight.shape)
            tensors = {
                "qweight": pack(codes.T),
                "qzeros": pack(zero.T),
                "scales": scale.T.half().contiguous(),
            }
            read = converter.process({f"{module}.{end}": t for end, t in tensors.items()})
            read = {end.removeprefix(f"{module}."): tensor for end, tensor in read.items()}
            read["weight_scale"] = read["weight_scale"].float()
            by_group = scheme
            if by_group is None:
                by_group = AutoAWQConverter(group_size=width)._build_quant_config()
                by_group = by_group.config_groups["config_group_0"]
            compressor = BaseCompressor.get_value_from_registry("pack-quantized")
            return tensors, compressor.decompress(read, by_group)["weight"].float()

        layout(name, "AutoAWQ", judge, convert, config)


@family
def gptq():
    folder = os.environ.get("MXLAB_AUTO_GPTQ")
    if folder is None:
        raise ImportError("MXLAB_AUTO_GPTQ is not set")
    path = f"{folder}/qlinear/qlinear_cuda.py"
    spec = importlib.util.spec_from_file_location("qlinear_cuda", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)

    def one(name, bits, symmetric, size=64, ordered=True, second=False):
        def convert(module_name, weight):
            if module_name == "lm_head":
                return None
            inputs, outputs = weight.shape[1], weight.shape[0]
            width = size if size > 0 else inputs
            index = torch.arange(inputs) // width
            if not ordered:
                torch.manual_seed(len(module_name))
                index = index[torch.randperm(inputs)]
            scale, zero = [], []
            for group in range(inputs // width):
                part = weight[:, index == group]
                least, most = part.amin(1).clamp(max=0), part.amax(1).clamp(min=0)
                if symmetric:
                    most = torch.maximum(most, -least)
                    least = -most
                scale.append(((most - least).clamp(min=1e-5) / (2**bits - 1)).half().float())
                middle = torch.full_like(scale[-1], 2 ** (bits - 1))
                zero.append(middle if symmetric else (-least / scale[-1]).round())
            # The first version stores zero points less one and cannot store zero.
            scale, zero = torch.stack(scale, 1), torch.stack(zero, 1).clamp(1, 2**bits - 1)
            codes = ((weight / scale[:, index]).round() + zero[:, index]).clamp(0, 2**bits - 1)
            linear = torch.nn.Linear(inputs, outputs, bias=False)
            linear.weight.data = (codes - zero[:, index]) * scale[:, index]
            layer = module.QuantLinear(bits, width, inputs, outputs, False)
            layer.pack(linear, scale.clone(), zero.clone(), index.to(torch.int32))
            # A product with the identity gives the weights that the package reads.
            layer.scales = layer.scales.float()
            values = layer(torch.eye(inputs)).T.contiguous().float()
            qzeros = layer.qzeros
            if second:
                # No place is full, so that none carries into its neighbour.
                qzeros = (layer.qzeros.to(torch.int64) & 0xFFFFFFFF) + 0x11111111
                qzeros = torch.where(qzeros >= 1 << 31, qzeros - (1 << 32), qzeros).to(torch.int32)
            tensors = {
                "qweight": layer.qweight,
                "qzeros": qzeros,
                "scales": scale.T.half().contiguous(),
                "g_idx": index.to(torch.int32),
            }
            return tensors, values

        config = {
            "quant_method": "gptq",
            "bits": bits,
            "group_size": size,
            "sym": symmetric,
            "desc_act": not ordered,
            "checkpoint_format": "gptq_v2" if second else "gptq",
        }
        layout(name, "AutoGPTQ" if not second else "GPTQModel", "auto-gptq 0.7.1", convert, config)

    for bits in (2, 3, 4, 8):
        for symmetric in (True, False):
            kind = "" if symmetric else "-asymmetric"
            one(f"gptq{bits}{kind}", bits, symmetric)
            one(f"gptq{bits}{kind}-index", bits, symmetric, ordered=False)
    one("gptq4-all", 4, False, size=-1)
    one("gptq4-second", 4, True, second=True)
    one("gptq4-second-asymmetric", 4, False, second=True, ordered=False)


@family
def bitsandbytes():
    import bitsandbytes as package
    # Its AVX-512 kernel takes other scales where a block crosses a row. The portable one does not.
    from bitsandbytes.backends.default.ops import _dequantize_4bit_compute
    from bitsandbytes.functional import QuantState, dequantize_blockwise, quantize_4bit

    judge = f"bitsandbytes {package.__version__}"
    for kind in ("nf4", "fp4"):
        for double in (False, True):
            for size in (64, 128, 256):

                def convert(module, weight):
                    if module == "lm_head":
                        return None
                    codes, state = quantize_4bit(
                        weight, blocksize=size, compress_statistics=double, quant_type=kind
                    )
                    parts = state.as_dict(packed=True)
                    tensors = {"weight": codes} | {f"weight.{end}": t for end, t in parts.items()}
                    # As a reader makes it from the file.
                    state = QuantState.from_dict(dict(parts), torch.device("cpu"))
                    absmax = state.absmax
                    if state.nested:
                        absmax = dequantize_blockwise(absmax, state.state2) + state.offset
                    values = _dequantize_4bit_compute(
                        codes.flatten(), absmax, state.code, size, weight.shape, torch.float32
                    )
                    return tensors, values

                config = {
                    "quant_method": "bitsandbytes",
                    "load_in_4bit": True,
                    "load_in_8bit": False,
                    "bnb_4bit_quant_type": kind,
                    "bnb_4bit_use_double_quant": double,
                }
                name = f"bnb-{kind}-{size}{'-double' if double else ''}"
                layout(name, "bitsandbytes", judge, convert, config)


with open(f"{OUT}/layouts.json", "w") as file:
    json.dump(LISTED, file, indent=1)

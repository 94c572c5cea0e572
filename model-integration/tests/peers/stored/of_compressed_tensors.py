"""compressed-tensors: its own compressors write and decompress."""

import json

import torch

from stored.made import PROBE, blocks, family, layout, llama, rows


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
        [args] = QuantizationConfig(
            config_groups={"g": group(integers(4, symmetric, 32))}
        ).config_groups.values()
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

        config = {
            "quant_method": "compressed-tensors",
            "format": "pack-quantized",
            "ignore": ["lm_head"],
        }
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
            group(
                {**fp8, "strategy": "channel"}, token, targets=["Linear"], format="float-quantized"
            ),
        ],
        ignore=["lm_head", "re:.*layers.1.mlp.*", "model.layers.0.self_attn.o_proj"],
    )
    one(
        "ct-classes",
        [group(integers(4, True, 32), targets=["Linear"])],
        ignore=["re:.*v_proj", "lm_head", "RMSNorm", "LlamaMLP"],
    )

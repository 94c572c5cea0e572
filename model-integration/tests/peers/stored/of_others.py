"""FP8 by blocks, AWQ and GPTQ by columns, and the 4 bits of bitsandbytes."""

import importlib.util
import os

import torch

from stored.made import blocks, family, layout


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

    for name, size, excluded in [
        ("awq", 64, None),
        ("awq-32", 32, ["down_proj"]),
        ("awq-all", -1, None),
    ]:
        config = {"quant_method": "awq", "bits": 4, "group_size": size, "zero_point": True}
        config = {**config, "version": "gemm", "modules_to_not_convert": excluded}
        converter = AutoAWQConverter.from_autoawq_config(config)
        scheme = (
            converter._build_quant_config().config_groups["config_group_0"] if size > 0 else None
        )

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

"""Quark: its packing methods, and its kernels for values that are quantised."""

import torch

from stored.made import family, layout, rows


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
        return {"weight": codes, "weight_scale": scale}, method.unpack(codes, False) * scale[
            :, None
        ]

    weight = spec("int8", False, "per_channel", ch_axis=0)
    layout("quark-int8", "Quark", judge, int8, config({**weight, "symmetric": True}, None))

    fp4, _ = by_powers("fp4")

    def by_layer(module, weight):
        return fp8(module, weight) if "down_proj" in module else fp4(module, weight)

    part = config(*both)["global_quant_config"]
    mixed = config(spec("fp4", False, **powers), None, layer_quant_config={"*down_proj": part})
    layout("quark-layers", "Quark", judge, by_layer, mixed)

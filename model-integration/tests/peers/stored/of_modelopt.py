"""ModelOpt: the classes that its exporter packs with."""

import copy

import torch

from stored.made import blocks, family, layout, llama, rows


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
    # Its kernel for inputs needs CUDA and rounds half to even; its class for weights, half down.
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
        "MXFP4": (
            mxfp4,
            {"group_size": 32},
            lambda: scaled(lambda x: MXFP4QTensor.quantize(x, 32), without_ties),
            None,
        ),
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

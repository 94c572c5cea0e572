"""What transformers and compressed-tensors make of a directory that `mxlab convert` wrote.

    python compressed_tensors_weights.py PACKED DENSE

loads both, the first by way of compressed-tensors, and compares every weight: the packed ones have to
stand for the dense ones. Says how many, or fails.
"""

import sys

import torch
from compressed_tensors.compressors import BaseCompressor
from compressed_tensors.quantization import QuantizationConfig
from safetensors.torch import load_file
from transformers import AutoConfig

packed, dense = (load_file(f"{folder}/model.safetensors") for folder in sys.argv[1:3])
config = AutoConfig.from_pretrained(sys.argv[1]).quantization_config
if not isinstance(config, dict):
    config = config.to_dict()
config = QuantizationConfig.model_validate(config)
[scheme] = config.config_groups.values()
compressor = BaseCompressor.get_value_from_registry(config.format)

compared = 0
for name, expected in dense.items():
    if name in packed:
        assert torch.equal(packed[name], expected), name
        continue
    module = {
        "weight_packed": packed[f"{name}_packed"],
        "weight_scale": packed[f"{name}_scale"],
    }
    weight = compressor.decompress(module, scheme)["weight"]
    assert torch.equal(weight.to(expected.dtype), expected), name
    compared += 1
assert compared > 0
print(f"{compared} packed weights stand for the dense ones")

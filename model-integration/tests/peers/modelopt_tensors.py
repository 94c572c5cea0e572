"""Compares a directory that `mxlab convert --to modelopt` wrote with one that ModelOpt exported.

    python modelopt_tensors.py EXPORTED WRITTEN

compares names, types, shapes and bytes of all tensors, and what the two files say about the
quantisation. Prints how many tensors are equal, or fails.
"""

import json
import sys

import torch
from safetensors import safe_open

exported, written = sys.argv[1:]


def tensors(folder):
    file = safe_open(f"{folder}/model.safetensors", "pt")
    return {name: file.get_tensor(name) for name in file.keys()}


theirs, ours = tensors(exported), tensors(written)
missing = sorted(theirs.keys() ^ ours.keys())
assert not missing, f"in one of them only: {missing[:4]}"
elements, different = 0, {}
for name, expected in theirs.items():
    found = ours[name]
    assert (found.dtype, found.shape) == (expected.dtype, expected.shape), (
        f"{name}: {found.dtype} {list(found.shape)}, {expected.dtype} {list(expected.shape)}"
    )
    as_bytes = [tensor.contiguous().reshape(-1).view(torch.uint8) for tensor in (found, expected)]
    count = (as_bytes[0] != as_bytes[1]).sum().item()
    elements += as_bytes[0].numel()
    if count:
        different[name] = f"{count} of {as_bytes[0].numel()} bytes"
some = list(different.items())[:4]
assert not different, f"{len(different)} of {len(theirs)} tensors differ: {some}"

read = lambda folder, name: json.load(open(f"{folder}/{name}"))
said = {"hf_quant_config.json": "quantization", "config.json": "quantization_config"}
for file, field in said.items():
    expected, found = (read(folder, file)[field] for folder in (exported, written))
    assert found == expected, f"{file}: {found}, {expected}"
print(f"{len(theirs)} tensors equal, {elements} bytes; {expected['quant_algo']}")

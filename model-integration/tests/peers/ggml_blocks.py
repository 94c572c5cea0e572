"""Blocks of GGUF files beside those of ggml's own quantiser, from the packages gguf and libggml-python.

    python ggml_blocks.py FOLDER LIBRARY

FOLDER has `source.gguf` with a model in floats and other files with the same model in formats of ggml.
Prints the number of tensors and blocks of each type; fails at the first tensor that differs.
"""

import ctypes
import pathlib
import sys
from collections import Counter

import numpy
from gguf import GGUFReader
from gguf.constants import GGML_QUANT_SIZES
from gguf.quants import dequantize

folder, library = pathlib.Path(sys.argv[1]), sys.argv[2]
quantize = ctypes.CDLL(library).ggml_quantize_chunk
quantize.restype = ctypes.c_size_t
quantize.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, *[ctypes.c_int64] * 3, ctypes.c_void_p]

source = {}
for tensor in GGUFReader(folder / "source.gguf").tensors:
    values = dequantize(tensor.data, tensor.tensor_type)
    source[tensor.name] = numpy.ascontiguousarray(values, dtype="<f4")

tensors, blocks = Counter(), Counter()
for path in sorted(folder.glob("*.gguf")):
    if path.name == "source.gguf":
        continue
    for tensor in GGUFReader(path).tensors:
        elements, size = GGML_QUANT_SIZES[tensor.tensor_type]
        if elements == 1:
            continue
        values = source[tensor.name]
        expected = numpy.zeros(values.size // elements * size, "u1")
        rows, columns = values.shape
        quantize(int(tensor.tensor_type), values.ctypes.data, expected.ctypes.data, 0, rows, columns, None)
        found = numpy.frombuffer(tensor.data.tobytes(), "u1").reshape(-1, size)
        differing = (found != expected.reshape(-1, size)).any(axis=1).sum()
        if differing:
            sys.exit(f"{path.name}: {tensor.name}: {differing} of {len(found)} blocks differ")
        tensors[tensor.tensor_type.name] += 1
        blocks[tensor.tensor_type.name] += len(found)
for kind, count in sorted(tensors.items()):
    print(kind, count, blocks[kind])

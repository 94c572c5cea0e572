"""The values of embeddings by the package gguf.

    python gguf_values.py FOLDER

writes `values.f32`, the elements of token_embd.weight, beside every `model.gguf` in a folder of FOLDER.
"""

import pathlib
import sys

import numpy
from gguf import GGUFReader
from gguf.quants import dequantize

for path in pathlib.Path(sys.argv[1]).glob("*/model.gguf"):
    (embedding,) = [tensor for tensor in GGUFReader(path).tensors if tensor.name == "token_embd.weight"]
    with numpy.errstate(all="ignore"):
        values = dequantize(embedding.data, embedding.tensor_type)
    values.astype("<f4").tofile(path.with_name("values.f32"))

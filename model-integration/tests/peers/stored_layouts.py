"""Tiny Llamas whose projections the packages quantise, each beside the floats it stands for.

    python stored_layouts.py OUT TOKENIZER VOCABULARY [NAME ...]

writes, for each layout, OUT/NAME/stored and OUT/NAME/dense, two model directories; where the scheme
quantises inputs, OUT/NAME/inputs.safetensors with rows `x` and what the package makes of them, `y`;
and OUT/layouts.json. Needs torch, transformers, compressed-tensors, nvidia-modelopt, amd-quark (with
ninja and a C++ compiler) and bitsandbytes; the layouts of a package that is absent are left out and
listed as such. MXLAB_AUTO_GPTQ names the folder `nn_modules` of auto_gptq.
"""

import json

from stored import of_compressed_tensors, of_modelopt, of_others, of_quark  # noqa: F401
from stored.made import LISTED, OUT

with open(f"{OUT}/layouts.json", "w") as file:
    json.dump(LISTED, file, indent=1)

"""The logits that transformers computes from a model that `mxlab convert` wrote.

    python written_logits.py MODEL OUT

loads MODEL, a directory or a GGUF file, in float32, a directory with a quantisation by way of the
package that reads it, and writes `OUT/logits.safetensors`: `tokens.N` [T] and `logits.N`
[T, vocabulary] of some sequences.
"""

import os
import sys

import torch
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM

torch.set_grad_enabled(False)
torch.manual_seed(22)
source, out = sys.argv[1:]
if source.endswith(".gguf"):
    folder, name = os.path.split(source)
    model = AutoModelForCausalLM.from_pretrained(folder, gguf_file=name, dtype=torch.float32)
else:
    model = AutoModelForCausalLM.from_pretrained(source, dtype=torch.float32)
quantizer = getattr(model, "hf_quantizer", None)
if hasattr(quantizer, "compressor"):
    # Some formats are decompressed to bfloat16, whose values float32 has.
    quantizer.compressor.decompress_model(model)
    for parameter in model.parameters():
        parameter.data = parameter.data.float()
results = {}
for number, length in enumerate([3, 17, 40]):
    tokens = torch.randint(3, model.config.vocab_size, (length,))
    results[f"tokens.{number}"] = tokens.to(torch.int32)
    results[f"logits.{number}"] = model.eval()(tokens[None]).logits[0].float().contiguous()
os.makedirs(out, exist_ok=True)
save_file(results, os.path.join(out, "logits.safetensors"))

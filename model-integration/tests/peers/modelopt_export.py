"""Quantises a model with ModelOpt and exports it.

    python modelopt_export.py DENSE CONFIG OUT

CONFIG is a configuration of modelopt.torch.quantization; inputs are calibrated on random tokens.
"""

import sys
import warnings

warnings.filterwarnings("ignore")

import modelopt.torch.quantization as mtq
import torch
from modelopt.torch.export import export_hf_checkpoint
from transformers import AutoModelForCausalLM

dense, config, out = sys.argv[1:]
torch.manual_seed(0)
model = AutoModelForCausalLM.from_pretrained(dense, dtype=torch.bfloat16)
data = [torch.randint(3, model.config.vocab_size, (1, 32)) for _ in range(2)]
mtq.quantize(model, getattr(mtq, config), lambda model: [model(tokens) for tokens in data])
export_hf_checkpoint(model, export_dir=out)

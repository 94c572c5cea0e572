"""Checkpoints with random weights and what Hugging Face transformers makes of them.

    python transformers_logits.py FOLDER

writes a model directory for each case, float32, and beside its weights `logits.safetensors`: the
tokens of some sequences, `tokens.N` [T], and the logits of each by itself, `logits.N` [T, vocabulary].
`LENGTHS` are such that both lists of longrope's factors are taken, and the last position of the first.
"""

import os
import sys

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, models
from transformers import LlamaConfig, LlamaForCausalLM, Phi3Config, Phi3ForCausalLM

VOCABULARY = 96
TRAINED = 32
LENGTHS = [5, TRAINED - 1, TRAINED, TRAINED + 1, 75]

SHAPE = dict(
    vocab_size=VOCABULARY,
    hidden_size=64,
    intermediate_size=96,
    num_hidden_layers=2,
    num_attention_heads=4,
    # Large enough that attention and its angles matter to every logit.
    initializer_range=0.25,
    bos_token_id=1,
    eos_token_id=2,
    pad_token_id=0,
)


def longrope(head_dim, **more):
    pairs = head_dim // 2
    return dict(
        rope_type="longrope",
        rope_theta=10_000.0,
        short_factor=[1.0 + 0.07 * i for i in range(pairs)],
        long_factor=[1.2 + 0.9 * i for i in range(pairs)],
        **more,
    )


def phi3(parameters, **more):
    config = dict(
        num_key_value_heads=2,
        max_position_embeddings=4 * TRAINED,
        original_max_position_embeddings=TRAINED,
        rope_parameters=parameters,
    )
    return Phi3ForCausalLM, Phi3Config(**SHAPE | config | more)


def llama(parameters, **more):
    config = dict(num_key_value_heads=2, max_position_embeddings=256, rope_parameters=parameters)
    return LlamaForCausalLM, LlamaConfig(**SHAPE | config | more)


PLAIN = dict(rope_type="default", rope_theta=10_000.0)
LLAMA3 = dict(
    rope_type="llama3",
    rope_theta=500_000.0,
    factor=8.0,
    low_freq_factor=1.0,
    high_freq_factor=4.0,
    original_max_position_embeddings=64,
)

CASES = {
    "phi3": lambda: phi3(PLAIN),
    "phi3-longrope": lambda: phi3(longrope(16)),
    "phi3-longrope-tied": lambda: phi3(longrope(16), tie_word_embeddings=True, num_key_value_heads=4),
    "phi3-longrope-attention-factor": lambda: phi3(longrope(16, attention_factor=1.3)),
    "phi3-longrope-factor": lambda: phi3(longrope(16, factor=16.0), sliding_window=100),
    "llama-llama3": lambda: llama(LLAMA3),
    "llama-llama3-tied-biases": lambda: llama(
        LLAMA3, tie_word_embeddings=True, attention_bias=True, mlp_bias=True
    ),
    "llama-linear": lambda: llama(dict(rope_type="linear", rope_theta=10_000.0, factor=3.0)),
    "llama-wide-heads": lambda: llama(PLAIN, head_dim=32, num_key_value_heads=1),
    "llama-longrope": lambda: llama(
        longrope(16, factor=8.0, original_max_position_embeddings=TRAINED)
    ),
}


def tokenizer():
    """A word for every token; the models see tokens only."""
    words = {f"w{token}": token for token in range(VOCABULARY)}
    return Tokenizer(models.WordLevel(words, unk_token="w0"))


def write(folder, model_class, config):
    config._attn_implementation = "eager"
    model = model_class(config).eval()
    for name, parameter in model.named_parameters():
        # Norms and biases that do something.
        if parameter.dim() == 1:
            torch.nn.init.normal_(parameter, mean=float("norm" in name), std=0.3)
    model.save_pretrained(folder)
    tokenizer().save(os.path.join(folder, "tokenizer.json"))
    results = {}
    for number, length in enumerate(LENGTHS):
        tokens = torch.randint(3, VOCABULARY, (length,))
        results[f"tokens.{number}"] = tokens.to(torch.int32)
        results[f"logits.{number}"] = model(tokens[None]).logits[0].float().contiguous()
    save_file(results, os.path.join(folder, "logits.safetensors"))


if __name__ == "__main__":
    torch.manual_seed(20)
    torch.set_grad_enabled(False)
    for name, case in CASES.items():
        write(os.path.join(sys.argv[1], name), *case())

"""Checkpoints with random weights and what Hugging Face transformers makes of them.

    python transformers_logits.py FOLDER

writes a model directory for each case, float32, and beside its weights `logits.safetensors`: the
tokens of some sequences, `tokens.N` [T], and the logits of each by itself, `logits.N` [T, vocabulary]
in float32, `halves.N` in bfloat16.
`LENGTHS` are such that both lists of longrope's factors are taken, and the last position of the first;
and such that windows are exceeded.
"""

import os
import sys

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, models
from transformers import AutoConfig, AutoModelForCausalLM

VOCABULARY = 97
TRAINED = 32
LENGTHS = [5, TRAINED - 1, TRAINED, TRAINED + 1, 75]

SHAPE = dict(
    vocab_size=VOCABULARY,
    hidden_size=64,
    intermediate_size=96,
    num_hidden_layers=2,
    num_attention_heads=4,
    num_key_value_heads=2,
    max_position_embeddings=256,
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


def rope(kind, theta=10_000.0, **more):
    return dict(rope_type=kind, rope_theta=theta, **more)


PLAIN = rope("default")
LLAMA3 = rope(
    "llama3",
    500_000.0,
    factor=8.0,
    low_freq_factor=1.0,
    high_freq_factor=4.0,
    original_max_position_embeddings=64,
)
YARN = rope("yarn", factor=4.0, original_max_position_embeddings=TRAINED)
# A Phi-3 has the trained length at the top level.
PHI3 = dict(max_position_embeddings=4 * TRAINED, original_max_position_embeddings=TRAINED)
GEMMA = dict(attn_logit_softcapping=8.0, final_logit_softcapping=10.0, sliding_window=12)
NARROW = dict(num_experts=6, num_experts_per_tok=2, moe_intermediate_size=40)
OSS = dict(num_local_experts=4, num_experts_per_tok=2, head_dim=16, sliding_window=11)
MIXED = ["sliding_attention", "full_attention"]


def case(model_type, parameters=None, **more):
    given = {} if parameters is None else dict(rope_parameters=parameters)
    return AutoConfig.for_model(model_type, **SHAPE | given | more)


CASES = {
    "phi3": lambda: case("phi3", PLAIN, **PHI3),
    "phi3-longrope": lambda: case("phi3", longrope(16), **PHI3),
    "phi3-longrope-tied": lambda: case(
        "phi3", longrope(16), **PHI3 | dict(tie_word_embeddings=True, num_key_value_heads=4)
    ),
    "phi3-longrope-attention-factor": lambda: case(
        "phi3", longrope(16, attention_factor=1.3), **PHI3
    ),
    "phi3-longrope-factor": lambda: case(
        "phi3", longrope(16, factor=16.0), **PHI3 | dict(sliding_window=100)
    ),
    "phi3-partial": lambda: case(
        "phi3", longrope(12, partial_rotary_factor=0.75), **PHI3 | dict(tie_word_embeddings=True)
    ),
    "phi3-partial-window": lambda: case(
        "phi3", PLAIN | dict(partial_rotary_factor=0.5), **PHI3 | dict(sliding_window=20)
    ),
    "llama-llama3": lambda: case("llama", LLAMA3),
    "llama-llama3-tied-biases": lambda: case(
        "llama", LLAMA3, tie_word_embeddings=True, attention_bias=True, mlp_bias=True
    ),
    "llama-linear": lambda: case("llama", rope("linear", factor=3.0)),
    "llama-dynamic": lambda: case(
        "llama", rope("dynamic", factor=3.0), max_position_embeddings=TRAINED
    ),
    "llama-yarn": lambda: case("llama", YARN),
    "llama-wide-heads": lambda: case("llama", PLAIN, head_dim=32, num_key_value_heads=1),
    "llama-longrope": lambda: case(
        "llama", longrope(16, factor=8.0, original_max_position_embeddings=TRAINED)
    ),
    "llama-gelu": lambda: case("llama", PLAIN, hidden_act="gelu"),
    "mistral": lambda: case("mistral", PLAIN, sliding_window=None, head_dim=24),
    "mistral-window": lambda: case("mistral", PLAIN, sliding_window=7, num_key_value_heads=1),
    "qwen2": lambda: case("qwen2", PLAIN),
    "qwen2-window": lambda: case(
        "qwen2",
        YARN | dict(truncate=False, beta_fast=16.0),
        use_sliding_window=True,
        sliding_window=9,
        max_window_layers=1,
        tie_word_embeddings=True,
    ),
    "qwen3": lambda: case("qwen3", PLAIN, head_dim=48),
    "qwen3-biases": lambda: case("qwen3", YARN, head_dim=16, attention_bias=True),
    "smollm3": lambda: case("smollm3", PLAIN, no_rope_layers=[0, 1], tie_word_embeddings=False),
    "smollm3-window": lambda: case(
        "smollm3",
        YARN,
        no_rope_layer_interval=2,
        use_sliding_window=True,
        sliding_window=12,
        attention_bias=True,
    ),
    "gemma2": lambda: case("gemma2", PLAIN, head_dim=16, query_pre_attn_scalar=24, **GEMMA),
    "gemma2-caps": lambda: case(
        "gemma2",
        rope("linear", factor=2.0),
        head_dim=24,
        sliding_window=11,
        layer_types=MIXED[::-1],
        attn_logit_softcapping=3.0,
        final_logit_softcapping=None,
        tie_word_embeddings=False,
        attention_bias=True,
    ),
    "gemma3": lambda: case(
        "gemma3_text", head_dim=16, query_pre_attn_scalar=24, sliding_window=10, layer_types=MIXED
    ),
    "gemma3-scaled": lambda: case(
        "gemma3_text",
        dict(
            full_attention=rope("linear", 500_000.0, factor=8.0),
            sliding_attention=rope("default", 3_000.0),
        ),
        head_dim=32,
        num_key_value_heads=1,
        sliding_window=9,
        layer_types=MIXED,
        final_logit_softcapping=5.0,
        tie_word_embeddings=False,
    ),
    "gemma3-with-images": lambda: AutoConfig.for_model(
        "gemma3",
        text_config=SHAPE | dict(head_dim=16, sliding_window=10, layer_types=MIXED),
        vision_config=dict(
            hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2,
            image_size=28, patch_size=14,
        ),
        mm_tokens_per_image=4,
    ),
    "olmo2": lambda: case("olmo2", PLAIN),
    "olmo2-biases": lambda: case("olmo2", YARN, attention_bias=True, tie_word_embeddings=True),
    "starcoder2": lambda: case("starcoder2", PLAIN),
    "starcoder2-window": lambda: case(
        "starcoder2",
        PLAIN,
        sliding_window=13,
        use_bias=False,
        tie_word_embeddings=False,
        hidden_act="gelu",
    ),
    "mixtral": lambda: case("mixtral", PLAIN, num_local_experts=4, sliding_window=None),
    "mixtral-window": lambda: case(
        "mixtral", PLAIN, num_local_experts=5, num_experts_per_tok=3, sliding_window=9, head_dim=24
    ),
    "qwen3-moe": lambda: case("qwen3_moe", PLAIN, head_dim=16, norm_topk_prob=True, **NARROW),
    "qwen3-moe-plain-layer": lambda: case(
        "qwen3_moe", YARN, head_dim=32, mlp_only_layers=[0], tie_word_embeddings=True, **NARROW
    ),
    "gpt-oss": lambda: case("gpt_oss", YARN | dict(truncate=False), **OSS),
    "gpt-oss-limits": lambda: case(
        "gpt_oss",
        PLAIN,
        swiglu_limit=1.5,
        attention_bias=False,
        layer_types=["full_attention", "sliding_attention"],
        **OSS,
    ),
    "granite": lambda: case(
        "granite",
        PLAIN,
        embedding_multiplier=12.0,
        residual_multiplier=0.22,
        attention_multiplier=0.1,
        logits_scaling=3.0,
        tie_word_embeddings=True,
    ),
    "granite-biases": lambda: case(
        "granite", LLAMA3, residual_multiplier=0.7, attention_bias=True, mlp_bias=True
    ),
}


def tokenizer():
    """A word for every token; the models see tokens only."""
    words = {f"w{token}": token for token in range(VOCABULARY)}
    return Tokenizer(models.WordLevel(words, unk_token="w0"))


def write(folder, config):
    config._attn_implementation = "eager"
    config._experts_implementation = "eager"
    model = AutoModelForCausalLM.from_config(config).eval()
    for name, parameter in model.named_parameters():
        # Norms and biases that do something.
        if parameter.dim() == 1 or name.endswith("_bias"):
            torch.nn.init.normal_(parameter, mean=float("norm" in name), std=0.3)
    model.save_pretrained(folder)
    tokenizer().save(os.path.join(folder, "tokenizer.json"))
    halves = AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.bfloat16, attn_implementation="eager", experts_implementation="eager"
    )
    results = {}
    for number, length in enumerate(LENGTHS):
        tokens = torch.randint(3, VOCABULARY, (length,))
        results[f"tokens.{number}"] = tokens.to(torch.int32)
        for name, model_of in (("logits", model), ("halves", halves)):
            logits = model_of(tokens[None]).logits[0].float().contiguous()
            results[f"{name}.{number}"] = logits
    save_file(results, os.path.join(folder, "logits.safetensors"))


if __name__ == "__main__":
    torch.manual_seed(20)
    torch.set_grad_enabled(False)
    only = sys.argv[2:]
    for name, make in CASES.items():
        if not only or name in only:
            write(os.path.join(sys.argv[1], name), make())

//! Granite.

use super::{Architecture, Factor, Gguf, LLAMA, Source};

/// Granite 3 and 4 (dense): four multipliers.
pub const GRANITE: Architecture = Architecture {
    model_type: "granite",
    class: "GraniteForCausalLM",
    models: "Granite 3",
    special: "factors of embeddings, layers, attention and logits",
    factors: &[
        (
            Factor::Embedding,
            Source::Field("embedding_multiplier", Some(1.0)),
        ),
        (
            Factor::Residual,
            Source::Field("residual_multiplier", Some(1.0)),
        ),
        (
            Factor::Attention,
            Source::Field("attention_multiplier", Some(1.0)),
        ),
        (
            Factor::LogitDivisor,
            Source::Field("logits_scaling", Some(1.0)),
        ),
    ],
    tokenizer_class: "GPT2Tokenizer",
    gguf: Some(Gguf {
        name: "granite",
        interleaves_heads: true,
    }),
    ..LLAMA
};

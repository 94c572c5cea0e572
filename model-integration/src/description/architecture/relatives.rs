//! Architectures that are not supported: the nearest that is, and the difference, for messages.

use super::{ARCHITECTURES, Architecture};
use crate::did_you_mean::nearest as similar;

/// An architecture that is not supported.
struct Relative {
    model_type: &'static str,
    nearest: &'static str,
    /// What it has in addition, or instead.
    difference: &'static str,
}

const fn relative(
    model_type: &'static str,
    nearest: &'static str,
    difference: &'static str,
) -> Relative {
    Relative {
        model_type,
        nearest,
        difference,
    }
}

/// Well-known ones.
#[rustfmt::skip]
const RELATIVES: [Relative; 38] = [
    relative("apertus", "llama", "an MLP without gate by xIELU, norms of queries and keys"),
    relative("bitnet", "llama", "norms inside attention and MLP, ternary weights"),
    relative("bloom", "starcoder2", "ALiBi in place of rotations"),
    relative("cohere", "llama", "attention and MLP side by side, layer norms without bias"),
    relative("cohere2", "llama", "attention and MLP side by side, layer norms without bias"),
    relative("dbrx", "mixtral", "layer norms without bias, clipped queries, keys and values"),
    relative("deepseek_v2", "mixtral", "latent attention, shared experts"),
    relative("deepseek_v3", "mixtral", "latent attention, shared experts, another router"),
    relative("ernie4_5", "llama", "a rotation of neighbouring features"),
    relative("exaone4", "olmo2", "layers without rotation, norms of single heads"),
    relative("falcon", "starcoder2", "attention and MLP side by side"),
    relative("gemma", "gemma2", "no norms after attention and MLP, no caps, no windows"),
    relative("gemma3n", "gemma3_text", "embeddings for each layer, sparse activations"),
    relative("gemma4_text", "gemma3_text", "layers that share keys, embeddings for each layer"),
    relative("glm", "phi3", "a rotation of neighbouring features in half of each head"),
    relative("glm4", "phi3", "a rotation of neighbouring features, norms around both halves"),
    relative("gpt2", "starcoder2", "learned positions in place of rotations"),
    relative("gpt_bigcode", "starcoder2", "learned positions in place of rotations"),
    relative("gpt_neox", "starcoder2", "attention and MLP side by side, a rotation in part"),
    relative("gptj", "starcoder2", "attention and MLP side by side"),
    relative("granitemoe", "mixtral", "the four multipliers of Granite, fused experts"),
    relative("granitemoehybrid", "granite", "state-space layers"),
    relative("llama4_text", "llama", "experts, chunks of attention, layers without rotation"),
    relative("ministral3", "mistral", "queries whose scale grows with their position"),
    relative("mpt", "starcoder2", "ALiBi in place of rotations"),
    relative("nemotron", "starcoder2", "squared ReLU, layer norms of 1 + gain, a rotation in part"),
    relative("olmo", "llama", "layer norms without gain, clipped queries, keys and values"),
    relative("olmo3", "olmo2", "layers with windows"),
    relative("olmoe", "qwen3_moe", "norms of queries and keys over all heads"),
    relative("phi", "phi3", "attention and MLP side by side, layer norms, no gate"),
    relative("phimoe", "mixtral", "layer norms, another router"),
    relative("qwen2_moe", "qwen3_moe", "a shared expert, biases, no norms of queries and keys"),
    relative("qwen3_next", "qwen3_moe", "layers of linear attention, gated attention"),
    relative("qwen3_5_text", "qwen3", "layers of linear attention, gated attention"),
    relative("seed_oss", "qwen2", "a bias of the attention's output"),
    relative("stablelm", "llama", "layer norms with bias, a rotation in part"),
    relative("mamba", "llama", "state spaces in place of attention"),
    relative("mamba2", "llama", "state spaces in place of attention"),
];

/// The nearest architecture that is supported, and what differs, in words; nothing for a name that
/// resembles none.
pub fn nearest(model_type: &str) -> Option<String> {
    let of = |name: &str| {
        let mut all = ARCHITECTURES.into_iter();
        all.find(|one: &&Architecture| one.model_type == name)
    };
    let relative = RELATIVES.iter().find(|one| one.model_type == model_type);
    if let Some((relative, found)) = relative.and_then(|one| Some((one, of(one.nearest)?))) {
        let (nearest, difference) = (found.model_type, relative.difference);
        return Some(format!(
            "the nearest is \"{nearest}\"; what a {model_type} has besides: {difference}"
        ));
    }
    let names = ARCHITECTURES.iter().map(|one| one.model_type);
    let found = of(similar(model_type, names, 1).first()?)?;
    let special = match found.special {
        "" => String::new(),
        special => format!(", with {special}"),
    };
    let nearest = found.model_type;
    Some(format!(
        "the nearest name is \"{nearest}\" ({}{special})",
        found.models
    ))
}

//! The tensors of a Llama: their names in a Hugging Face checkpoint and their shapes.
//! Matrices are `[outputs, inputs]`. What another architecture has in one tensor, a Llama has in
//! several: rows of that tensor.

use super::{Architecture, LlamaConfig};

/// Token embedding, `[vocab_size, hidden_size]`.
pub const EMBEDDING: &str = "model.embed_tokens.weight";
/// Norm behind the last layer, `[hidden_size]`.
pub const FINAL_NORM: &str = "model.norm.weight";
/// Output head, `[vocab_size, hidden_size]`; not used if the embedding is tied.
pub const HEAD: &str = "lm_head.weight";

/// Name of a tensor of decoder layer `layer`, such as `self_attn.q_proj.weight`.
pub fn layer_tensor(layer: usize, tensor: &str) -> String {
    format!("model.layers.{layer}.{tensor}")
}

/// A tensor that holds others.
pub(super) struct Fused {
    /// Its name.
    pub name: String,
    /// Its rows.
    pub rows: usize,
    /// Where those of the tensor that was asked for begin.
    pub first: usize,
}

/// The tensor whose rows `name` is, if the architecture has it in another one.
pub(super) fn fused(config: &LlamaConfig, name: &str) -> Option<Fused> {
    match config.architecture {
        Architecture::Llama => return None,
        Architecture::Phi3 => {}
    }
    let queries = config.num_attention_heads * config.head_dim;
    let keys = config.num_key_value_heads * config.head_dim;
    let inner = config.intermediate_size;
    let qkv = ("qkv_proj", queries + 2 * keys);
    let gate_up = ("gate_up_proj", 2 * inner);
    let parts = [
        ("q_proj", qkv, 0),
        ("k_proj", qkv, queries),
        ("v_proj", qkv, queries + keys),
        ("gate_proj", gate_up, 0),
        ("up_proj", gate_up, inner),
    ];
    let (module, tensor) = name.rsplit_once('.')?;
    let (parent, module) = module.rsplit_once('.')?;
    let part = parts.into_iter().find(|(part, ..)| *part == module);
    part.map(|(_, (whole, rows), first)| Fused {
        name: format!("{parent}.{whole}.{tensor}"),
        rows,
        first,
    })
}

/// The name of the tensor whose rows `name` is in a checkpoint of this architecture, if it is not one itself.
pub fn fused_name(config: &LlamaConfig, name: &str) -> Option<String> {
    Some(fused(config, name)?.name)
}

/// Every tensor that a Llama of this config has, with its shape, in the order of the
/// forward pass.
pub fn tensors(config: &LlamaConfig) -> impl Iterator<Item = (String, Vec<usize>)> + '_ {
    let hidden = config.hidden_size;
    let first = [(EMBEDDING.to_owned(), vec![config.vocab_size, hidden])];
    let layers = (0..config.num_hidden_layers).flat_map(move |layer| layer_tensors(config, layer));
    let norm = [(FINAL_NORM.to_owned(), vec![hidden])];
    let head =
        (!config.tie_word_embeddings).then(|| (HEAD.to_owned(), vec![config.vocab_size, hidden]));
    first.into_iter().chain(layers).chain(norm).chain(head)
}

/// Standard deviation of a matrix's normal first weights: variance 1 / inputs, scaled down by the
/// number of writes for those that write to the residual stream. `None` for a gain, which starts at 1.
pub fn initial_deviation(config: &LlamaConfig, name: &str, shape: &[usize]) -> Option<f64> {
    let writes = 2.0 * config.num_hidden_layers as f64;
    if shape.len() == 1 {
        None
    } else if name == EMBEDDING {
        Some(0.04)
    } else if name.contains("o_proj") || name.contains("down_proj") {
        Some(1.0 / (shape[1] as f64).sqrt() / writes.sqrt())
    } else {
        Some(1.0 / (shape[1] as f64).sqrt())
    }
}

fn layer_tensors(config: &LlamaConfig, layer: usize) -> Vec<(String, Vec<usize>)> {
    let hidden = config.hidden_size;
    let queries = config.num_attention_heads * config.head_dim;
    let keys = config.num_key_value_heads * config.head_dim;
    let inner = config.intermediate_size;

    let mut tensors = Vec::with_capacity(16);
    let mut norm = |name: &str| tensors.push((layer_tensor(layer, name), vec![hidden]));
    norm("input_layernorm.weight");
    norm("post_attention_layernorm.weight");
    let mut linear = |name: &str, outputs: usize, inputs: usize, bias: bool| {
        let name = layer_tensor(layer, name);
        tensors.push((format!("{name}.weight"), vec![outputs, inputs]));
        if bias {
            tensors.push((format!("{name}.bias"), vec![outputs]));
        }
    };
    linear("self_attn.q_proj", queries, hidden, config.attention_bias);
    linear("self_attn.k_proj", keys, hidden, config.attention_bias);
    linear("self_attn.v_proj", keys, hidden, config.attention_bias);
    linear("self_attn.o_proj", hidden, queries, config.attention_bias);
    linear("mlp.gate_proj", inner, hidden, config.mlp_bias);
    linear("mlp.up_proj", inner, hidden, config.mlp_bias);
    linear("mlp.down_proj", hidden, inner, config.mlp_bias);
    tensors
}

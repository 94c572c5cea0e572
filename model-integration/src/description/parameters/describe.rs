//! The parameters of a module: shapes, names, and the tensors that hold them.

use super::{Fused, Parameter, Role, in_layer, numbered};
use crate::config::Projection::{self, Down, Gate, K, O, Q, Up, V};
use crate::description::ModelConfig;
use crate::description::architecture::Module;
use crate::description::kinds::{HeadNorms, NormKind};

/// Where a module is.
#[derive(Clone, Copy, Default)]
pub(super) struct Place {
    /// Its layer.
    pub layer: Option<usize>,
    /// The expert to which it belongs.
    pub expert: Option<usize>,
}

/// The weight, and the bias if the module has one.
pub(super) fn describe(module: &Module, config: &ModelConfig, place: Place) -> Vec<Parameter> {
    let &Module(role, name, gguf_name) = module;
    let Place { layer, expert } = place;
    let (name, gguf_name) = match layer {
        None => (name.to_owned(), gguf_name.to_owned()),
        Some(layer) => (
            in_layer(layer, &numbered(name, expert)),
            format!("blk.{layer}.{gguf_name}"),
        ),
    };
    let shape = shape(config, role, expert.is_some());
    let bias = has_bias(config, role).then(|| vec![shape[0]]);
    let is_tied = role == Role::Head && config.tie_word_embeddings;
    let describe = |(part, shape): (&str, Vec<usize>)| Parameter {
        role,
        layer,
        expert,
        is_bias: part == "bias",
        name: match role {
            // The only weights that are a module's own.
            Role::Sinks => name.clone(),
            _ => format!("{name}.{part}"),
        },
        gguf_name: format!("{gguf_name}.{part}"),
        first_deviation: first_deviation(config, role, &shape),
        shape,
        fused: fused(config, place, role, part),
        gguf_interleaved: gguf_interleaved(config, role),
        gguf_offset: match (role, config.architecture.norm) {
            // llama.cpp stores the sum.
            (role, NormKind::RmsPlusOne) if role.is_norm() => -1.0,
            _ => 0.0,
        },
        tied_to: is_tied.then_some(Role::Embedding),
    };
    let parts = [("weight", Some(shape)), ("bias", bias)].into_iter();
    let parts = parts.filter_map(|(part, shape)| Some((part, shape?)));
    parts.map(describe).collect()
}

/// `[outputs, inputs]` of a matrix, `[features]` of a norm.
fn shape(config: &ModelConfig, role: Role, is_of_expert: bool) -> Vec<usize> {
    let hidden = config.hidden_size;
    let inner = match config.experts.filter(|_| is_of_expert) {
        None => config.intermediate_size,
        Some(experts) => experts.intermediate_size,
    };
    let queries = config.num_attention_heads * config.head_dim;
    let keys = config.num_key_value_heads * config.head_dim;
    let of_heads = |all: usize| match config.architecture.head_norms {
        HeadNorms::Each => config.head_dim,
        HeadNorms::Whole => all,
    };
    match role {
        Role::Embedding | Role::Head => vec![config.vocab_size, hidden],
        Role::InputNorm
        | Role::AfterAttentionNorm
        | Role::MlpNorm
        | Role::AfterMlpNorm
        | Role::FinalNorm => vec![hidden],
        Role::QueryNorm => vec![of_heads(queries)],
        Role::KeyNorm => vec![of_heads(keys)],
        Role::Sinks => vec![config.num_attention_heads],
        Role::Projection(Q) => vec![queries, hidden],
        Role::Projection(K | V) => vec![keys, hidden],
        Role::Projection(O) => vec![hidden, queries],
        Role::Projection(Gate | Up) => vec![inner, hidden],
        Role::Projection(Down) => vec![hidden, inner],
        Role::Router => vec![config.experts.map_or(0, |experts| experts.count), hidden],
    }
}

fn has_bias(config: &ModelConfig, role: Role) -> bool {
    match role {
        Role::Projection(_) => holds(&config.biases, role),
        Role::Router => (config.architecture.experts).is_some_and(|one| one.router_has_bias),
        _ => role.is_norm() && config.architecture.norm == NormKind::Layer,
    }
}

fn holds(projections: &[Projection], role: Role) -> bool {
    projections.iter().any(|&one| Role::Projection(one) == role)
}

fn fused(config: &ModelConfig, place: Place, role: Role, part: &str) -> Option<Fused> {
    let rows =
        |&member: &Projection| shape(config, Role::Projection(member), place.expert.is_some())[0];
    let is_before = |member: &&Projection| Role::Projection(**member) != role;
    if let (Some(expert), Some(experts)) = (place.expert, config.experts) {
        let mut stacks = config.architecture.experts?.stacks.iter();
        let (name, members) = stacks.find(|(_, members)| holds(members, role))?;
        let of_one: usize = members.iter().map(rows).sum();
        let name = in_layer(place.layer?, name);
        return Some(Fused {
            name: match part {
                "bias" => format!("{name}_bias"),
                _ => name,
            },
            rows: experts.count * of_one,
            first: expert * of_one + members.iter().take_while(is_before).count(),
            step: members.len(),
            experts: Some(experts.count),
        });
    }
    let mut fused = config.architecture.fused.iter();
    let (name, members) = fused.find(|(_, members)| holds(members, role))?;
    Some(Fused {
        name: format!("{}.{part}", in_layer(place.layer?, name)),
        rows: members.iter().map(rows).sum(),
        first: members.iter().take_while(is_before).map(rows).sum(),
        step: 1,
        experts: None,
    })
}

fn gguf_interleaved(config: &ModelConfig, role: Role) -> Option<usize> {
    let interleaves = (config.architecture.gguf).is_some_and(|gguf| gguf.interleaves_heads);
    (interleaves && holds(&[Q, K], role)).then_some(config.head_dim)
}

/// Variance 1 / inputs. For projections that write to the residual stream it is divided by the
/// number of such writes.
fn first_deviation(config: &ModelConfig, role: Role, shape: &[usize]) -> Option<f64> {
    let &[_, inputs] = shape else {
        return None;
    };
    let deviation = 1.0 / (inputs as f64).sqrt();
    Some(match role {
        Role::Embedding => 0.04,
        Role::Projection(O | Down) => deviation / (2.0 * config.num_hidden_layers as f64).sqrt(),
        _ => deviation,
    })
}

//! A model's configuration as the metadata of a GGUF file, and tensors that it also needs.

use std::f64::consts::PI;

use anyhow::{Result, bail, ensure};

use crate::checkpoint::Checkpoint;
use crate::checkpoint::gguf_write::{
    Entry, FREQUENCIES, LONG_FREQUENCIES, Metadata, NUMBERS, SHORT_FREQUENCIES, norm_eps,
};
use crate::description::architecture::{Rotations, Source};
use crate::description::kinds::NormKind;
use crate::description::{LayerKind, ModelConfig, RopeParameters, RopeScaling};

/// ggml's version of its quantised types.
const QUANTIZATION_VERSION: u32 = 2;

/// Every so many layers llama.cpp rotates none, in models with such layers.
const UNROTATED: usize = 4;

/// A tensor of divisors of rotary frequencies.
pub struct Divisors {
    pub name: &'static str,
    pub values: Vec<f32>,
}

/// The model's metadata, and its tensors of divisors.
///
/// # Errors
/// An architecture that is not written.
pub fn metadata(checkpoint: &Checkpoint) -> Result<(Metadata, Vec<Divisors>)> {
    let config = checkpoint.config();
    let Some(gguf) = config.architecture.gguf else {
        bail!(
            "models of type `{}` are not written as GGUF; use another --to",
            config.architecture.model_type
        );
    };
    check(config)?;
    let rope = &config.ropes[0];
    let label = checkpoint.label().trim_end_matches('/');
    let name = label.rsplit('/').next().unwrap_or(label);
    let name = name.trim_end_matches(".gguf");
    let mut entries = vec![
        (
            "general.architecture".to_owned(),
            Entry::Text(gguf.name.to_owned()),
        ),
        ("general.name".to_owned(), Entry::Text(name.to_owned())),
        (
            "general.quantization_version".to_owned(),
            Entry::U32(QUANTIZATION_VERSION),
        ),
    ];
    let mut add = |name: &str, entry| entries.push((format!("{}.{name}", gguf.name), entry));
    for (name, size) in [
        ("vocab_size", config.vocab_size),
        ("context_length", config.max_position_embeddings),
        ("embedding_length", config.hidden_size),
        ("block_count", config.num_hidden_layers),
        ("feed_forward_length", config.intermediate_size),
        ("attention.head_count", config.num_attention_heads),
        ("attention.head_count_kv", config.num_key_value_heads),
        ("attention.key_length", config.head_dim),
        ("attention.value_length", config.head_dim),
        ("rope.dimension_count", rope.features),
    ] {
        add(name, Entry::U32(size as u32));
    }
    for (name, value) in [
        (norm_eps(config.architecture), config.norm_eps),
        ("rope.freq_base", rope.theta),
    ] {
        add(name, Entry::F32(value as f32));
    }
    for (name, key) in NUMBERS {
        if let Some(value) = number(config, name) {
            add(key, Entry::F32(value as f32));
        }
    }
    let divisors = match &rope.scaling {
        None => Vec::new(),
        Some(RopeScaling::Linear { factor }) => {
            add("rope.scaling.type", Entry::Text("linear".to_owned()));
            add("rope.scaling.factor", Entry::F32(*factor as f32));
            Vec::new()
        }
        Some(RopeScaling::Dynamic { .. } | RopeScaling::Yarn { .. }) => bail!(
            "config.json scales rotary frequencies by a rule (dynamic or yarn) that is not written \
             as GGUF; use another --to"
        ),
        Some(RopeScaling::Llama3 {
            factor,
            low_freq_factor,
            high_freq_factor,
            original_max_position_embeddings,
        }) => {
            let limits = [*low_freq_factor, *high_freq_factor];
            let length = *original_max_position_embeddings as f64;
            vec![Divisors {
                name: FREQUENCIES,
                values: llama3(rope, *factor, limits, length),
            }]
        }
        // The same divisors for all lengths.
        Some(RopeScaling::Long {
            short_factor,
            long_factor,
            attention_factor,
            ..
        }) if short_factor == long_factor && *attention_factor == 1.0 => vec![Divisors {
            name: FREQUENCIES,
            values: narrowed(short_factor),
        }],
        Some(RopeScaling::Long {
            short_factor,
            long_factor,
            attention_factor,
            original_max_position_embeddings,
        }) => {
            add("rope.scaling.type", Entry::Text("longrope".to_owned()));
            let length = *original_max_position_embeddings as u32;
            add("rope.scaling.original_context_length", Entry::U32(length));
            let factor = Entry::F32(*attention_factor as f32);
            add("rope.scaling.attn_factor", factor);
            let pairs = [
                (SHORT_FREQUENCIES, short_factor),
                (LONG_FREQUENCIES, long_factor),
            ];
            pairs
                .map(|(name, values)| Divisors {
                    name,
                    values: narrowed(values),
                })
                .into()
        }
    };
    Ok((entries, divisors))
}

/// Checks that the metadata can say what the model is.
fn check(config: &ModelConfig) -> Result<()> {
    let is_plain = |(index, layer): (usize, &LayerKind)| {
        let is_unrotated = config.architecture.rotations == Rotations::SomeWithout
            && (index + 1).is_multiple_of(UNROTATED);
        layer.rope.is_none() == is_unrotated
    };
    let lacking = [
        (
            !config.layers.iter().enumerate().all(is_plain),
            "such layers without rotation",
        ),
        (
            config.architecture.norm == NormKind::RmsPlusOne,
            "norms of 1 + gain",
        ),
        (
            config.layers.iter().any(|layer| layer.window.is_some()),
            "windows",
        ),
        (
            config.activation != config.architecture.defaults.activation,
            "another function of the MLP",
        ),
    ];
    for (is_lacking, what) in lacking {
        ensure!(
            !is_lacking,
            "models with {what} are not written as GGUF; use another --to"
        );
    }
    Ok(())
}

/// The number that a field of config.json has in this model.
fn number(config: &ModelConfig, field: &str) -> Option<f64> {
    let mut factors = config.architecture.factors.iter();
    factors.find_map(|&(factor, source)| match source {
        Source::Field(name, _) if name == field => config.factors.get(factor),
        _ => None,
    })
}

fn narrowed(values: &[f64]) -> Vec<f32> {
    values.iter().map(|&value| value as f32).collect()
}

/// Llama 3's rule as a divisor for each frequency.
fn llama3(rope: &RopeParameters, factor: f64, [low, high]: [f64; 2], length: f64) -> Vec<f32> {
    let dim = rope.features;
    let divisor = |pair: usize| {
        let wavelength = 2.0 * PI * rope.theta.powf(2.0 * pair as f64 / dim as f64);
        let turns = length / wavelength;
        let blend = ((turns - low) / (high - low)).clamp(0.0, 1.0);
        (1.0 / ((1.0 - blend) / factor + blend)) as f32
    };
    (0..dim / 2).map(divisor).collect()
}

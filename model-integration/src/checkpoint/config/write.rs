//! A configuration as a `config.json`.

use serde_json::{Value, json};

use crate::description::architecture::{Condition, Rotations, RoutingRule, Source, Windows};
use crate::description::kinds::ActivationFunction;
use crate::description::{ModelConfig, RopeScaling};

impl ModelConfig {
    /// The config as a `config.json` that this crate and transformers can read.
    pub fn to_json(&self) -> Value {
        let architecture = self.architecture;
        let mut config = json!({
            "architectures": [architecture.class],
            "model_type": architecture.model_type,
            "vocab_size": self.vocab_size,
            "hidden_size": self.hidden_size,
            "intermediate_size": self.intermediate_size,
            "num_hidden_layers": self.num_hidden_layers,
            "num_attention_heads": self.num_attention_heads,
            "num_key_value_heads": self.num_key_value_heads,
            "head_dim": self.head_dim,
        });
        config[architecture.activation] = json!(self.activation.name());
        config["max_position_embeddings"] = json!(self.max_position_embeddings);
        config[architecture.norm_eps] = json!(self.norm_eps);
        self.write_rotations(&mut config);
        config["tie_word_embeddings"] = json!(self.tie_word_embeddings);
        for (bias, projections) in architecture.biases {
            if let Condition::If(field, _) = bias {
                let is_there = projections.iter().all(|one| self.biases.contains(one));
                config[field] = json!(is_there);
            }
        }
        config["bos_token_id"] = json!(self.bos_token_id);
        config["eos_token_id"] = match self.eos_token_ids.as_slice() {
            [] => Value::Null,
            [one] => json!(one),
            several => json!(several),
        };
        config["torch_dtype"] = json!(self.dtype.name());
        for &(factor, source) in architecture.factors {
            let value = self.factors.get(factor);
            match source {
                Source::Field(name, _) => config[name] = json!(value),
                Source::InverseRoot(name, _) => {
                    config[name] = json!(value.map(|value| 1.0 / (value * value)));
                }
                Source::RootOfWidth => {}
            }
        }
        if let ActivationFunction::ClampedSwiglu { alpha, limit } = self.activation {
            config["swiglu_alpha"] = json!(alpha);
            config["swiglu_limit"] = json!(limit);
        }
        self.write_experts(&mut config);
        self.write_windows(&mut config);
        config
    }

    fn write_experts(&self, config: &mut Value) {
        let (Some(experts), Some(of)) = (self.experts, self.architecture.experts) else {
            return;
        };
        config[of.count[0]] = json!(experts.count);
        config[of.width] = json!(experts.intermediate_size);
        config["num_experts_per_tok"] = json!(experts.routing.per_token);
        if let RoutingRule::SoftmaxFirst {
            normalised: Condition::If(field, _),
            ..
        } = of.routing
        {
            config[field] = json!(experts.routing.is_normalised);
        }
        if of.has_plain_layers {
            let layers = self.layers.iter().enumerate();
            let plain = layers.filter(|(_, layer)| !layer.has_experts);
            config["mlp_only_layers"] = plain.map(|(index, _)| index).collect();
        }
    }

    fn write_windows(&self, config: &mut Value) {
        let windows = self.architecture.windows;
        if windows == Windows::Nowhere {
            return;
        }
        let window = self.layers.iter().find_map(|layer| layer.window);
        config["sliding_window"] = json!(window);
        if windows.need_flag() {
            config["use_sliding_window"] = json!(window.is_some());
        }
        if let Windows::ByType(_) = windows {
            let kind = |has_window| match has_window {
                true => "sliding_attention",
                false => "full_attention",
            };
            let kinds = self.layers.iter().map(|layer| kind(layer.window.is_some()));
            config["layer_types"] = kinds.collect();
        }
    }

    fn write_rotations(&self, config: &mut Value) {
        let first = &self.ropes[0];
        config["rope_theta"] = json!(first.theta);
        config["rope_scaling"] = json!(first.scaling.as_ref().map(RopeScaling::to_json));
        if let Some(RopeScaling::Long {
            original_max_position_embeddings: original,
            ..
        }) = first.scaling
            && self
                .architecture
                .defaults
                .original_max_position_embeddings
                .is_some()
        {
            config["original_max_position_embeddings"] = json!(original);
        }
        if self.architecture.has_partial_rotation {
            let head_dim = self.head_dim as f64;
            let mut part = first.features as f64 / head_dim;
            // The product is rounded down when it is read.
            while ((head_dim * part) as usize) < first.features {
                part = part.next_up();
            }
            config["partial_rotary_factor"] = json!(part);
        }
        match self.architecture.rotations {
            Rotations::Same => {}
            Rotations::SomeWithout => {
                let rotated = self
                    .layers
                    .iter()
                    .map(|layer| u8::from(layer.rope.is_some()));
                config["no_rope_layers"] = rotated.collect();
            }
            Rotations::ByWindow => {
                config["rope_local_base_freq"] = json!(self.ropes[1].theta);
            }
        }
    }
}

impl RopeScaling {
    /// The value of `rope_scaling` in a `config.json`.
    fn to_json(&self) -> Value {
        match self {
            Self::Linear { factor } => json!({"rope_type": "linear", "factor": factor}),
            Self::Dynamic { factor } => json!({"rope_type": "dynamic", "factor": factor}),
            Self::Yarn {
                factor,
                attention_factor,
                beta_fast,
                beta_slow,
                truncate,
                original_max_position_embeddings,
            } => json!({
                "rope_type": "yarn",
                "factor": factor,
                "attention_factor": attention_factor,
                "beta_fast": beta_fast,
                "beta_slow": beta_slow,
                "truncate": truncate,
                "original_max_position_embeddings": original_max_position_embeddings,
            }),
            Self::Llama3 {
                factor,
                low_freq_factor,
                high_freq_factor,
                original_max_position_embeddings,
            } => json!({
                "rope_type": "llama3",
                "factor": factor,
                "low_freq_factor": low_freq_factor,
                "high_freq_factor": high_freq_factor,
                "original_max_position_embeddings": original_max_position_embeddings,
            }),
            Self::Long {
                short_factor,
                long_factor,
                attention_factor,
                original_max_position_embeddings,
            } => json!({
                "rope_type": "longrope",
                "short_factor": short_factor,
                "long_factor": long_factor,
                "attention_factor": attention_factor,
                "original_max_position_embeddings": original_max_position_embeddings,
            }),
        }
    }
}

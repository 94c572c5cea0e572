//! A configuration as a `config.json`.

use serde_json::{Value, json};

use crate::description::architecture::{Bias, Rotations, Source, Windows};
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
            if let Bias::If(field, _) = bias {
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
        self.write_windows(&mut config);
        config
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

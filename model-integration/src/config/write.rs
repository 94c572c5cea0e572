//! A configuration as a file.

use std::fmt::Write;

use mxlab_kernels::format::{BlockFormat, MatrixFormat};

use super::{Fallback, Override, Projection, QuantConfig};

impl QuantConfig {
    /// The file that [`super::file::read`] reads as this configuration, but for its name.
    pub fn to_toml(&self) -> String {
        let mut text = String::new();
        let mut line = |key: &str, value: Option<String>| {
            if let Some(value) = value {
                let _ = writeln!(text, "{key} = {value}");
            }
        };
        line("weights", self.weights.as_ref().map(matrix));
        line("activations", self.activations.as_ref().map(block));
        line("keys", self.keys.as_ref().map(block));
        line("values", self.values.as_ref().map(block));
        let positions = |count: usize| (count > 0).then(|| count.to_string());
        line("kv_first", positions(self.kv.first));
        line("key_recent", positions(self.kv.key_recent));
        line(
            "key_rotation",
            self.kv.key_rotation.map(|rotation| quoted(&rotation)),
        );
        line("head", self.head.as_ref().map(matrix));
        line(
            "head_activations",
            self.head_activations.as_ref().map(block),
        );
        line("rotation", self.rotation.map(|rotation| quoted(&rotation)));
        line("rotated", self.rotated.as_deref().map(projections));
        let fallback = self.fallback.map(|Fallback::Ggml| quoted(&"ggml"));
        line("fallback", fallback);
        line(
            "stored_inputs",
            (!self.stored_inputs).then(|| "false".to_owned()),
        );
        for change in &self.overrides {
            change.write(&mut text);
        }
        text
    }
}

impl Override {
    fn write(&self, text: &mut String) {
        text.push_str("\n[[override]]\n");
        let mut line = |key: &str, value: Option<String>| {
            if let Some(value) = value {
                let _ = writeln!(text, "{key} = {value}");
            }
        };
        line("layers", self.layers.as_ref().map(quoted));
        line("projections", self.projections.as_deref().map(projections));
        let none = || quoted(&"none");
        let of = |format: Option<Option<BlockFormat>>| {
            format.map(|format| format.as_ref().map_or_else(none, block))
        };
        let weights = self.weights.as_ref();
        line(
            "weights",
            weights.map(|format| format.as_ref().map_or_else(none, matrix)),
        );
        line("activations", of(self.activations));
        line("keys", of(self.keys));
        line("values", of(self.values));
    }
}

fn projections(some: &[Projection]) -> String {
    let names = some.iter().map(|one| quoted(&one.name()));
    format!("[{}]", names.collect::<Vec<_>>().join(", "))
}

fn quoted(value: &impl ToString) -> String {
    format!("\"{}\"", value.to_string())
}

fn matrix(format: &MatrixFormat) -> String {
    match format {
        MatrixFormat::Block(format) => block(format),
        MatrixFormat::Ggml(format) => quoted(format),
    }
}

/// Every part, so that nothing is inherited.
fn block(format: &BlockFormat) -> String {
    format!(
        "{{ element = \"{}\", scale = \"{}\", block_size = {}, rule = \"{}\", rounding = \"{}\", \
         tensor_scale = {}, dialect = \"{}\" }}",
        format.element(),
        format.scale(),
        format.block_size(),
        format.rule(),
        format.rounding(),
        format.has_tensor_scale(),
        format.dialect(),
    )
}

//! A configuration in words.

use mxlab_kernels::format::{BlockFormat, MatrixFormat};

use super::{Override, QuantConfig};

impl QuantConfig {
    /// The element bits of each quantised operand, such as `W4A6KV4H8HA8`; all bits of a weight for
    /// a format of ggml. HA is the input of the head. An `R` marks rotated inputs, a `*` an operand
    /// with overrides. Empty if nothing is quantised or rotated.
    pub fn operands(&self) -> String {
        let operand = |name: &str, format: Option<MatrixFormat>| {
            format.map_or_else(String::new, |format| match format {
                MatrixFormat::Block(format) => format!("{name}{}", format.element().bits()),
                MatrixFormat::Ggml(format) => format!("{name}{}", format.bits()),
            })
        };
        let input = |name: &str, format: Option<BlockFormat>| operand(name, format.map(Into::into));
        let bits = |format: BlockFormat| format.element().bits();
        let kv = match (self.keys, self.values) {
            (Some(keys), Some(values)) if bits(keys) == bits(values) => input("KV", self.keys),
            _ => input("K", self.keys) + &input("V", self.values),
        };
        let overrides = if self.overrides.is_empty() { "" } else { "*" };
        let head = operand("H", self.head) + &input("HA", self.head_activations);
        let rotated = if self.rotation.is_some() { "R" } else { "" };
        operand("W", self.weights)
            + &input("A", self.activations)
            + &kv
            + &head
            + rotated
            + overrides
    }

    /// The quantised operands in one line: elements first, then their common parts.
    pub fn describe(&self) -> String {
        let input = |format: Option<BlockFormat>| format.map(MatrixFormat::from);
        let operands = [
            ("W", self.weights),
            ("A", input(self.activations)),
            ("K", input(self.keys)),
            ("V", input(self.values)),
            ("head", self.head),
            ("head input", input(self.head_activations)),
        ];
        let own = in_a_line(&quantised(operands)).map(|own| own + &self.kv.describe());
        let rotated = self.rotation.map(|rotation| match &self.rotated {
            None => format!("rotated by {rotation}"),
            Some(some) => {
                let names: Vec<&str> = some.iter().map(|one| one.name()).collect();
                format!("{} rotated by {rotation}", names.join(", "))
            }
        });
        let own = match (own, rotated) {
            (own, None) => own,
            (None, rotated) => rotated,
            (Some(own), Some(rotated)) => Some(format!("{own}; {rotated}")),
        };
        let count = self.overrides.len();
        let plural = if count == 1 { "" } else { "s" };
        match self.overrides.first() {
            None if self.stored_inputs => own.unwrap_or_else(|| "nothing quantised".to_owned()),
            None => {
                let own = own.map_or_else(String::new, |own| format!("{own}; "));
                format!("{own}inputs as floats, whatever the checkpoint says")
            }
            Some(first) => {
                let other = first.describe();
                match own {
                    Some(own) => format!("{own}; {count} override{plural}"),
                    None => format!("{count} override{plural} alone, {other}"),
                }
            }
        }
    }
}

type Named = (&'static str, MatrixFormat);

fn quantised<const N: usize>(operands: [(&'static str, Option<MatrixFormat>); N]) -> Vec<Named> {
    let quantised = operands.into_iter();
    let quantised = quantised.filter_map(|(operand, format)| Some((operand, format?)));
    quantised.collect()
}

/// Quantised operands in one line; `None` if there are none.
fn in_a_line(quantised: &[Named]) -> Option<String> {
    let ((_, first), rest) = quantised.split_first()?;
    let shared = beyond_element(first);
    let mut rest = rest.iter().map(|(_, format)| beyond_element(format));
    let shared = shared.filter(|shared| rest.all(|other| other.as_ref() == Some(shared)));
    let words = quantised.iter().map(|(operand, format)| match format {
        MatrixFormat::Block(format) if shared.is_some() => {
            format!("{operand} {}", format.element())
        }
        format => format!("{operand} {format}"),
    });
    let words: Vec<String> = words.collect();
    Some(match shared {
        None => words.join("; "),
        Some(shared) => format!("{}; {shared}", words.join(", ")),
    })
}

/// The parts of a block format besides its element: `e8m0 k32 floor/even ocp`.
fn beyond_element(format: &MatrixFormat) -> Option<String> {
    let whole = format.block()?.to_string();
    let rest = whole.split_once(' ').map(|(_, rest)| rest.to_owned());
    Some(rest.unwrap_or(whole))
}

impl Override {
    /// The override in one line, such as `layers 0-3, down: W fp4_e2m1; e8m0 k32 floor/even ocp`.
    fn describe(&self) -> String {
        let input = |format: Option<Option<BlockFormat>>| format.flatten().map(MatrixFormat::from);
        let operands = [
            ("W", self.weights.flatten()),
            ("A", input(self.activations)),
            ("K", input(self.keys)),
            ("V", input(self.values)),
        ];
        let mut place = match &self.layers {
            Some(layers) => format!("layers {layers}"),
            None => "all layers".to_owned(),
        };
        for projection in self.projections.iter().flatten() {
            place += ", ";
            place += projection.name();
        }
        let formats = in_a_line(&quantised(operands));
        format!(
            "{place}: {}",
            formats.unwrap_or_else(|| "nothing quantised".to_owned())
        )
    }
}

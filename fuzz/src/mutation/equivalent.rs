//! Equivalent mutants: those that compute the same as the kernel, and why.

use super::{Fault, Mutant};
use regex::Regex;
use serde::Deserialize;

/// The list in `equivalent.toml`.
#[derive(Debug)]
pub struct Equivalents(Vec<Rule>);

#[derive(Debug)]
struct Rule {
    kernel: Regex,
    label: Regex,
    fault: Fault,
    original: Regex,
    planted: Regex,
    step: Option<i8>,
    reason: String,
}

/// Errors of the list.
#[derive(Debug, thiserror::Error)]
pub enum EquivalentsError {
    /// The list is not valid TOML.
    #[error("equivalent.toml: {0}")]
    Toml(#[from] toml::de::Error),
    /// A pattern is not a regular expression.
    #[error("equivalent.toml: {0}")]
    Pattern(#[from] regex::Error),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    mutant: Vec<Line>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    #[serde(default)]
    kernel: String,
    #[serde(default)]
    label: String,
    fault: Fault,
    original: String,
    #[serde(default)]
    planted: String,
    step: Option<i8>,
    reason: String,
}

impl Equivalents {
    /// The list that comes with this crate.
    ///
    /// # Errors
    /// If the list is not valid.
    pub fn shipped() -> Result<Self, EquivalentsError> {
        Self::parse(include_str!("equivalent.toml"))
    }

    /// Reads a list.
    ///
    /// # Errors
    /// If the list is not valid.
    pub fn parse(text: &str) -> Result<Self, EquivalentsError> {
        let file: File = toml::from_str(text)?;
        let rule = |line: Line| {
            Ok(Rule {
                kernel: Regex::new(&line.kernel)?,
                label: Regex::new(&line.label)?,
                fault: line.fault,
                original: Regex::new(&line.original)?,
                planted: Regex::new(&line.planted)?,
                step: line.step,
                reason: line.reason,
            })
        };
        Ok(Self(
            file.mutant
                .into_iter()
                .map(rule)
                .collect::<Result<_, EquivalentsError>>()?,
        ))
    }

    /// Why a mutant computes the same, if it is in the list.
    pub fn reason(&self, kernel: &str, mutant: &Mutant) -> Option<String> {
        let is_it = |rule: &&Rule| {
            rule.fault == mutant.fault
                && rule.step.is_none_or(|step| step == mutant.step)
                && rule.kernel.is_match(kernel)
                && rule.label.is_match(&mutant.label)
                && rule.original.is_match(&mutant.original)
                && rule.planted.is_match(&mutant.planted)
        };
        self.0.iter().find(is_it).map(|rule| rule.reason.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mxlab_kernels::registry::kernels;
    use ptx_emulator::syntax::ast::Position;
    use std::collections::HashSet;

    /// The mantissas of all quotients of numbers of so many bits, in 23 bits.
    fn quotients(of_bits: u32, by_bits: u32) -> HashSet<u32> {
        let numbers = |bits: u32| (1u32 << (bits - 1)..1 << bits).map(|n| n as f32);
        numbers(of_bits)
            .flat_map(|x| numbers(by_bits).map(move |d| (x / d).to_bits() & 0x007F_FFFF))
            .collect()
    }

    /// The rules for the thresholds of a table say that there is no scaled element between one
    /// and the planted one: here every quotient that there can be is tried.
    #[test]
    fn no_scaled_element_is_beside_a_threshold_where_a_rule_says_so() {
        let equivalents = Equivalents::shipped().unwrap();
        let threshold = Regex::new("setp.ge.f32 +%p_is, %b_t, 0f([0-9A-F]{8});").unwrap();
        let mut checked = 0;
        for (dense, of_bits) in [("bf16", 8), ("f16", 11)] {
            for (scale, by_bits) in [("e8m0", 1), ("ue5m3", 4), ("ue5m5", 6), ("bf16", 8)] {
                let met = quotients(of_bits, by_bits);
                for rounding in ["even", "away", "toward_zero", "stochastic"] {
                    let id = format!("round_nf4_{scale}_{rounding}_ocp_{dense}_k32_aligned__sm80");
                    let entry = kernels().find(|entry| entry.id() == id).expect("a kernel");
                    let ptx = entry.ptx();
                    for found in threshold.captures_iter(&ptx) {
                        let bits = u32::from_str_radix(&found[1], 16).unwrap();
                        for (fault, step) in [
                            (Fault::Bound, 0),
                            (Fault::Constant, -1),
                            (Fault::Constant, 1),
                        ] {
                            let is_of_fractions = fault == Fault::Bound && rounding == "stochastic";
                            let planted = bits.wrapping_add_signed(step.into());
                            let line = |name: &str, bits: u32| {
                                format!("setp.{name}.f32 %p_is, %b_t, 0f{bits:08X};")
                            };
                            let mutant = Mutant {
                                fault,
                                step,
                                position: Position { line: 1, column: 1 },
                                label: String::new(),
                                original: line("ge", bits),
                                planted: match fault {
                                    Fault::Bound => line("gt", bits),
                                    _ => line("ge", planted),
                                },
                                ptx: String::new(),
                            };
                            let is_known = equivalents.reason(&id, &mutant).is_some();
                            if bits == 0 || is_of_fractions || !is_known {
                                continue;
                            }
                            // At or above one of them and not the other is only the lower.
                            let value = f32::from_bits;
                            let lower = match value(planted) < value(bits) {
                                true => planted,
                                false => bits,
                            };
                            assert!(!met.contains(&(lower & 0x007F_FFFF)), "{id}: {mutant:?}");
                            checked += 1;
                        }
                    }
                }
            }
        }
        assert!(checked > 1000, "{checked}");
    }
}

//! Mutants that are known to compute the same, and why.

use super::{Fault, Mutant};
use regex::Regex;
use serde::Deserialize;

/// The list in `equivalent.toml`.
#[derive(Debug)]
pub struct Equivalents(Vec<Rule>);

#[derive(Debug)]
struct Rule {
    kernel: Regex,
    fault: Fault,
    original: Regex,
    planted: Regex,
    step: Option<i8>,
    reason: String,
}

/// A list that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum EquivalentsError {
    /// It is no TOML of that layout.
    #[error("equivalent.toml: {0}")]
    Toml(#[from] toml::de::Error),
    /// A pattern is no regular expression.
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
    /// If it is broken.
    pub fn shipped() -> Result<Self, EquivalentsError> {
        Self::parse(include_str!("equivalent.toml"))
    }

    /// Reads a list.
    ///
    /// # Errors
    /// If it is not one.
    pub fn parse(text: &str) -> Result<Self, EquivalentsError> {
        let file: File = toml::from_str(text)?;
        let rule = |line: Line| {
            Ok(Rule {
                kernel: Regex::new(&line.kernel)?,
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
                && rule.original.is_match(&mutant.original)
                && rule.planted.is_match(&mutant.planted)
        };
        self.0.iter().find(is_it).map(|rule| rule.reason.clone())
    }
}

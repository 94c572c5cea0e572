//! Published results, shown beside ours.

use std::path::Path;

use anyhow::{Context, Result};
use serde_json::Value;

/// A JSON file of published results: `baseline`, and for each group a list of results. A result has
/// its axes (`block_size`, `scale_bits`, `custom_cuda` of microxcaling), `acc` and `acc_stderr`.
pub struct Reference {
    /// The file's own description.
    pub about: String,
    content: Value,
}

/// Published accuracy.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Published {
    /// Fraction of examples that are right.
    pub acc: f64,
    /// Its standard error.
    pub stderr: f64,
    /// Difference from the published baseline.
    pub from_baseline: f64,
}

impl Reference {
    /// Reads a file.
    ///
    /// # Errors
    /// If it cannot be read, or has no baseline.
    pub fn read(path: &Path) -> Result<Self> {
        let of_file = || format!("`{}`", path.display());
        let text = std::fs::read(path).with_context(of_file)?;
        let content: Value = serde_json::from_slice(&text).with_context(of_file)?;
        let about = content.get("about").and_then(Value::as_str);
        let about = about.unwrap_or_default().to_owned();
        let reference = Self { about, content };
        reference
            .baseline()
            .context("field `baseline`: no `acc`")
            .with_context(of_file)?;
        Ok(reference)
    }

    fn baseline(&self) -> Option<f64> {
        self.content.pointer("/baseline/acc")?.as_f64()
    }

    /// The published result for a configuration of a group, by its axes.
    pub fn find(&self, group: &str, at: &[(String, String)]) -> Option<Published> {
        let baseline = self.baseline()?;
        let entry = match group {
            "baseline" => self.content.get("baseline")?,
            _ => {
                let entries = self.content.get(group)?.as_array()?;
                entries.iter().find(|entry| is_at(entry, at))?
            }
        };
        let acc = entry.get("acc")?.as_f64()?;
        Some(Published {
            acc,
            stderr: entry.get("acc_stderr")?.as_f64()?,
            from_baseline: acc - baseline,
        })
    }
}

/// Whether a published result has exactly these axes.
fn is_at(entry: &Value, at: &[(String, String)]) -> bool {
    !at.is_empty()
        && at.iter().all(|(axis, value)| match axis.as_str() {
            "dialect" => match entry.get("custom_cuda").and_then(Value::as_bool) {
                Some(true) => value == "microxcaling-cuda",
                Some(false) => value == "microxcaling-torch",
                None => false,
            },
            axis => entry.get(axis).is_some_and(|own| match own {
                Value::String(own) => own == value,
                Value::Number(own) => own.as_f64() == value.parse().ok(),
                _ => false,
            }),
        })
}

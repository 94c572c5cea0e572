//! The studies in the binary.

use std::path::Path;

use crate::did_you_mean::did_you_mean;
use anyhow::{Context, Result, bail};

/// Name and text of each study.
pub const SHIPPED: [(&str, &str); 12] = [
    ("mx-linear", include_str!("../../studies/mx-linear.toml")),
    ("mx-kv", include_str!("../../studies/mx-kv.toml")),
    ("fp4-e5m3", include_str!("../../studies/fp4-e5m3.toml")),
    (
        "scale-precision",
        include_str!("../../studies/scale-precision.toml"),
    ),
    (
        "precision-matrix",
        include_str!("../../studies/precision-matrix.toml"),
    ),
    ("layers", include_str!("../../studies/layers.toml")),
    (
        "definitions",
        include_str!("../../studies/definitions.toml"),
    ),
    (
        "architectures",
        include_str!("../../studies/architectures.toml"),
    ),
    ("rounding", include_str!("../../studies/rounding.toml")),
    (
        "below-4-bit",
        include_str!("../../studies/below-4-bit.toml"),
    ),
    ("recover", include_str!("../../studies/recover.toml")),
    ("serving", include_str!("../../studies/serving.toml")),
];

/// A study's name in messages, and its text; `name` is a shipped study or a file.
///
/// # Errors
/// If neither exists.
pub fn text(name: &str) -> Result<(String, String)> {
    if let Some((name, text)) = SHIPPED.iter().find(|(own, _)| *own == name) {
        return Ok((format!("{name}.toml"), (*text).to_owned()));
    }
    let path = Path::new(name);
    if !path.exists() && path.extension().is_none_or(|extension| extension != "toml") {
        let known: Vec<&str> = SHIPPED.iter().map(|(name, _)| *name).collect();
        bail!(
            "unknown study `{name}`; expected a TOML file, or one of {}{}",
            known.join(", "),
            did_you_mean(name, &known)
        );
    }
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read `{name}`"))?;
    Ok((name.to_owned(), text))
}

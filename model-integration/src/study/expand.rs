//! Expands a study to the configurations of a model.

use std::collections::HashSet;

use anyhow::{Context, Result, bail, ensure};
use serde::Serialize;

use super::axes::{Axes, Each};
use super::explain;
use super::{Study, file::StudyFile};
use crate::config::file::Source;
use crate::config::{FormatFlags, LayerSet, Override, Projection, QuantConfig, load};
use crate::did_you_mean::did_you_mean;

/// A configuration and its place in the study.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct StudyConfig {
    /// The configuration.
    pub config: QuantConfig,
    /// Its table in the file, or its own name.
    pub group: String,
    /// The value on each axis of its group.
    pub at: Vec<(String, String)>,
    /// Its index in the study, from 0.
    pub number: usize,
}

/// The group of hybrids; the axis values of each are its differences.
pub const EXPLAIN: &str = "explain";

/// The name of the configuration that others are compared with.
pub const BASELINE: &str = "baseline";

/// Every configuration of a study for a model with `layers` layers, the baseline first.
///
/// # Errors
/// A name that is unknown or occurs twice; parts of a format that are incompatible.
pub fn configs(study: &Study, layers: usize) -> Result<Vec<StudyConfig>> {
    let single = |config: QuantConfig| StudyConfig {
        group: config.name.clone(),
        config,
        at: Vec::new(),
        number: 0,
    };
    let mut all = vec![single(QuantConfig::unquantised(BASELINE))];
    let StudyFile {
        named,
        config,
        vary,
        ..
    } = &study.file;
    for name in named.iter().filter(|name| *name != BASELINE) {
        all.push(single(load(name, &FormatFlags::default())?));
    }
    let file = format!("study {}", study.name);
    let source = Source {
        file: &file,
        text: &study.frozen.text,
    };
    for (name, table) in &config.0 {
        let axes = vary.get(name).cloned().unwrap_or_else(Axes::default);
        for point in axes.points() {
            let full = format!("{name}{}", point.flags.suffix());
            let resolved = table.resolve(&full, source, &point.flags)?;
            let made = StudyConfig {
                config: resolved,
                group: name.clone(),
                at: point.at,
                number: 0,
            };
            match axes.each {
                None => all.push(made),
                Some(each) => all.extend(parts(&made, each, layers)),
            }
        }
    }
    if let Some(explain) = &study.file.explain {
        let find = |name: &str| {
            let found = all.iter().find(|one| one.config.name == name);
            found.map(|one| one.config.clone()).context("checked")
        };
        let between = explain::between(&find(&explain.from)?, &find(&explain.to)?)?;
        all.extend(between.into_iter().map(|(config, differences)| {
            StudyConfig {
                group: EXPLAIN.to_owned(),
                config,
                at: differences
                    .iter()
                    .map(|name| ((*name).to_owned(), explain.to.clone()))
                    .collect(),
                number: 0,
            }
        }));
    }
    for (number, config) in all.iter_mut().enumerate() {
        config.number = number;
    }
    let mut seen = HashSet::new();
    for StudyConfig { config, .. } in &all {
        let is_new = seen.insert(config.name.to_ascii_lowercase());
        ensure!(is_new, "configuration `{}` occurs twice", config.name);
    }
    for (ladder, steps) in &study.file.ladders {
        let is_known = |step: &&String| all.iter().any(|own| own.config.name == **step);
        if let Some(step) = steps.iter().find(|step| !is_known(step)) {
            let known: Vec<&str> = all.iter().map(|own| own.config.name.as_str()).collect();
            bail!(
                "`ladders.{ladder}`: the study has no configuration `{step}`{}",
                did_you_mean(step, &known)
            );
        }
    }
    Ok(all)
}

/// For each part of the model, a configuration that quantises only that part, as `whole` does.
fn parts(whole: &StudyConfig, each: Each, layers: usize) -> Vec<StudyConfig> {
    let part = |layer: Option<usize>, projection: Option<Projection>| {
        let mut at = whole.at.clone();
        let mut name = whole.config.name.clone();
        if let Some(layer) = layer {
            name += &format!("+layer{layer}");
            at.push(("layer".to_owned(), layer.to_string()));
        }
        if let Some(projection) = projection {
            name += &format!("+{}", projection.name());
            at.push(("projection".to_owned(), projection.name().to_owned()));
        }
        let units = [(layer, projection)];
        StudyConfig {
            config: only(&whole.config, &name, &units),
            group: whole.group.clone(),
            at,
            number: 0,
        }
    };
    let projections = || Projection::ALL.into_iter().map(Some);
    match each {
        Each::Layer => (0..layers).map(|layer| part(Some(layer), None)).collect(),
        Each::Projection => projections().map(|one| part(None, one)).collect(),
        Each::LayerProjection => (0..layers)
            .flat_map(|layer| projections().map(move |one| (layer, one)))
            .map(|(layer, one)| part(Some(layer), one))
            .collect(),
    }
}

/// A configuration that quantises some parts as `whole` does, and nothing else. A part without a
/// projection is a whole layer with its keys and values.
pub fn only(
    whole: &QuantConfig,
    name: &str,
    parts: &[(Option<usize>, Option<Projection>)],
) -> QuantConfig {
    let mut config = QuantConfig::unquantised(name);
    config.kv = whole.kv;
    (config.rotation, config.rotated) = (whole.rotation, whole.rotated.clone());
    config.overrides = parts
        .iter()
        .map(|&(layer, projection)| {
            let of_layer = projection.is_none();
            Override {
                layers: layer.map(LayerSet::one),
                projections: projection.map(|one| vec![one]),
                weights: whole.weights.map(Some),
                activations: whole.activations.map(Some),
                keys: whole.keys.filter(|_| of_layer).map(Some),
                values: whole.values.filter(|_| of_layer).map(Some),
            }
        })
        .collect();
    config
}

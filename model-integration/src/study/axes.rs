//! The axes over which a study varies a configuration.

use mxlab_kernels::format::{Dialect, Rounding, ScaleFormat, ScaleRule};
use serde::Deserialize;

use crate::config::{FormatFlags, OperandSpec};

/// Values for each part of a format; every combination is a configuration. Parts that are not named
/// stay as in the configuration.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Axes {
    weights: Vec<OperandSpec>,
    activations: Vec<OperandSpec>,
    kv: Vec<OperandSpec>,
    keys: Vec<OperandSpec>,
    values: Vec<OperandSpec>,
    scale: Vec<ScaleFormat>,
    scale_bits: Vec<u8>,
    block_size: Vec<usize>,
    scale_rule: Vec<ScaleRule>,
    rounding: Vec<Rounding>,
    tensor_scale: Vec<bool>,
    dialect: Vec<Dialect>,
    /// One part of the model at a time.
    pub each: Option<Each>,
}

/// The parts of a model that are quantised one at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Each {
    /// A layer, with its keys and values.
    Layer,
    /// A projection, in all layers.
    Projection,
    /// A projection of a layer.
    LayerProjection,
}

/// One combination: its flags, and the value of each axis by name.
#[derive(Clone, Debug, Default)]
pub struct Point {
    /// Flags on top of the configuration.
    pub flags: FormatFlags,
    /// Axis and value.
    pub at: Vec<(String, String)>,
}

impl Axes {
    /// Every combination; the last axis varies fastest.
    pub fn points(&self) -> Vec<Point> {
        let mut points = vec![Point::default()];
        let all = &mut points;
        vary(all, "weights", &self.weights, |flags| &mut flags.weights);
        vary(all, "activations", &self.activations, |flags| {
            &mut flags.activations
        });
        vary(all, "kv", &self.kv, |flags| &mut flags.kv);
        vary(all, "keys", &self.keys, |flags| &mut flags.keys);
        vary(all, "values", &self.values, |flags| &mut flags.values);
        vary(all, "scale", &self.scale, |flags| &mut flags.scale);
        vary(all, "dialect", &self.dialect, |flags| &mut flags.dialect);
        vary(all, "scale_rule", &self.scale_rule, |flags| {
            &mut flags.scale_rule
        });
        vary(all, "rounding", &self.rounding, |flags| &mut flags.rounding);
        vary(all, "tensor_scale", &self.tensor_scale, |flags| {
            &mut flags.tensor_scale
        });
        vary(all, "scale_bits", &self.scale_bits, |flags| {
            &mut flags.scale_bits
        });
        vary(all, "block_size", &self.block_size, |flags| {
            &mut flags.block_size
        });
        points
    }
}

fn vary<T: Clone + ToString>(
    points: &mut Vec<Point>,
    axis: &str,
    values: &[T],
    flag: impl Fn(&mut FormatFlags) -> &mut Option<T>,
) {
    if values.is_empty() {
        return;
    }
    let each = points.iter().flat_map(|point| {
        values.iter().map(|value| {
            let mut point = point.clone();
            *flag(&mut point.flags) = Some(value.clone());
            point.at.push((axis.to_owned(), value.to_string()));
            point
        })
    });
    *points = each.collect();
}

//! The axes over which a study varies a configuration.

use mxlab_kernels::format::{Dialect, Rotation, Rounding, ScaleFormat, ScaleRule};
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
    kv_first: Vec<usize>,
    key_recent: Vec<usize>,
    key_rotation: Vec<Rotation>,
    head: Vec<OperandSpec>,
    head_activations: Vec<OperandSpec>,
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
        vary(all, "weights", &self.weights, |flags, value| {
            flags.weights = vec![value];
        });
        vary(all, "activations", &self.activations, |flags, value| {
            flags.activations = Some(value);
        });
        vary(all, "kv", &self.kv, |flags, value| {
            flags.kv = Some(value);
        });
        vary(all, "keys", &self.keys, |flags, value| {
            flags.keys = Some(value);
        });
        vary(all, "values", &self.values, |flags, value| {
            flags.values = Some(value);
        });
        vary(all, "kv_first", &self.kv_first, |flags, value| {
            flags.kv_first = Some(value);
        });
        vary(all, "key_recent", &self.key_recent, |flags, value| {
            flags.key_recent = Some(value);
        });
        vary(all, "key_rotation", &self.key_rotation, |flags, value| {
            flags.key_rotation = Some(value);
        });
        vary(all, "head", &self.head, |flags, value| {
            flags.head = Some(value);
        });
        vary(
            all,
            "head_activations",
            &self.head_activations,
            |flags, value| {
                flags.head_activations = Some(value);
            },
        );
        vary(all, "scale", &self.scale, |flags, value| {
            flags.scale = Some(value);
        });
        vary(all, "dialect", &self.dialect, |flags, value| {
            flags.dialect = Some(value);
        });
        vary(all, "scale_rule", &self.scale_rule, |flags, value| {
            flags.scale_rule = Some(value);
        });
        vary(all, "rounding", &self.rounding, |flags, value| {
            flags.rounding = Some(value);
        });
        vary(all, "tensor_scale", &self.tensor_scale, |flags, value| {
            flags.tensor_scale = Some(value);
        });
        vary(all, "scale_bits", &self.scale_bits, |flags, value| {
            flags.scale_bits = Some(value);
        });
        vary(all, "block_size", &self.block_size, |flags, value| {
            flags.block_size = Some(value);
        });
        points
    }
}

fn vary<T: Clone + ToString>(
    points: &mut Vec<Point>,
    axis: &str,
    values: &[T],
    set: impl Fn(&mut FormatFlags, T),
) {
    if values.is_empty() {
        return;
    }
    let each = points.iter().flat_map(|point| {
        values.iter().map(|value| {
            let mut point = point.clone();
            set(&mut point.flags, value.clone());
            point.at.push((axis.to_owned(), value.to_string()));
            point
        })
    });
    *points = each.collect();
}

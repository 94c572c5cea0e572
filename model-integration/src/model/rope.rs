//! Rotary position tables, with the frequency scalings of [`RopeScaling`].

use mxlab_kernels::format::FloatType;

use super::Batch;
use crate::description::{ModelConfig, RopeScaling};

/// The rotary tables of a model.
#[derive(Clone, Debug)]
pub struct Rope {
    /// The table of short sequences; of all sequences unless the model has [`RopeScaling::Long`].
    short: RopeTable,
    /// The table of long sequences.
    long: Option<RopeTable>,
}

impl Rope {
    /// A model's tables for `positions` positions.
    pub fn new(config: &ModelConfig, positions: usize) -> Self {
        let scaling = config.rope_scaling.as_ref();
        let (head_dim, theta) = (config.head_dim, config.rope_theta);
        let table = |is_long| RopeTable::new(positions, head_dim, theta, scaling, is_long);
        Self {
            short: table(false),
            long: matches!(scaling, Some(RopeScaling::Long { .. })).then(|| table(true)),
        }
    }

    /// The tables rounded to the type of the model's arithmetic.
    #[must_use]
    pub fn rounded(self, dtype: FloatType) -> Self {
        Self {
            short: self.short.rounded(dtype),
            long: self.long.map(|long| long.rounded(dtype)),
        }
    }

    /// The table for a batch's sequences.
    pub fn of(&self, batch: &Batch) -> &RopeTable {
        match &self.long {
            Some(long) if batch.is_long => long,
            _ => &self.short,
        }
    }

    /// All tables; that of long sequences is the last.
    pub fn tables(&self) -> impl Iterator<Item = &RopeTable> {
        std::iter::once(&self.short).chain(&self.long)
    }

    /// Number of positions in the tables.
    pub fn positions(&self) -> usize {
        self.short.positions()
    }
}

/// Cosines and sines of every position and frequency, `[positions, head_dim / 2]` each.
#[derive(Clone, Debug)]
pub struct RopeTable {
    /// Features per head.
    pub head_dim: usize,
    /// Cosines, row per position.
    pub cos: Vec<f32>,
    /// Sines, row per position.
    pub sin: Vec<f32>,
}

impl RopeTable {
    /// Tables for `positions` positions, for long sequences or short ones. Angles are products of
    /// f32 position and f32 frequency, as in the models' own code, so they are equal to the last
    /// bit.
    pub fn new(
        positions: usize,
        head_dim: usize,
        theta: f64,
        scaling: Option<&RopeScaling>,
        is_long: bool,
    ) -> Self {
        let frequencies: Vec<f32> = (0..head_dim / 2)
            .map(|i| {
                let exponent = (2 * i) as f32 / head_dim as f32;
                let wavelength = theta.powf(f64::from(exponent)) as f32;
                match scaling {
                    Some(RopeScaling::Long {
                        short_factor,
                        long_factor,
                        ..
                    }) => {
                        let factors = if is_long { long_factor } else { short_factor };
                        1.0 / (factors[i] as f32 * wavelength)
                    }
                    _ => scale_frequency(1.0 / wavelength, scaling),
                }
            })
            .collect();
        let factor = match scaling {
            Some(RopeScaling::Long {
                attention_factor, ..
            }) => *attention_factor as f32,
            _ => 1.0,
        };
        let angles = (0..positions)
            .flat_map(|position| frequencies.iter().map(move |f| position as f32 * f));
        let (cos, sin) = angles
            .map(|angle| {
                let (sin, cos) = f64::from(angle).sin_cos();
                (cos as f32 * factor, sin as f32 * factor)
            })
            .unzip();
        Self { head_dim, cos, sin }
    }

    /// The table rounded to the type of the model's arithmetic.
    pub fn rounded(mut self, dtype: FloatType) -> Self {
        for value in self.cos.iter_mut().chain(&mut self.sin) {
            *value = dtype.round(*value);
        }
        self
    }

    /// The table of the inverse rotation.
    pub fn inverse(&self) -> Self {
        Self {
            head_dim: self.head_dim,
            cos: self.cos.clone(),
            sin: self.sin.iter().map(|sin| -sin).collect(),
        }
    }

    /// Number of positions in the tables.
    pub fn positions(&self) -> usize {
        2 * self.cos.len() / self.head_dim
    }
}

/// One frequency after scaling by a rule that depends on the frequency alone.
///
/// `llama3` keeps wavelengths shorter than `original / high_freq_factor`, divides frequencies of
/// those longer than `original / low_freq_factor` by `factor`, and blends linearly in between.
fn scale_frequency(frequency: f32, scaling: Option<&RopeScaling>) -> f32 {
    match scaling {
        None | Some(RopeScaling::Dynamic { .. } | RopeScaling::Long { .. }) => frequency,
        Some(RopeScaling::Linear { factor }) => frequency / *factor as f32,
        Some(RopeScaling::Llama3 {
            factor,
            low_freq_factor,
            high_freq_factor,
            original_max_position_embeddings,
        }) => {
            let original = *original_max_position_embeddings as f64;
            let wavelength = 2.0 * std::f64::consts::PI / f64::from(frequency);
            if wavelength < original / high_freq_factor {
                frequency
            } else if wavelength > original / low_freq_factor {
                frequency / *factor as f32
            } else {
                let smooth = (original / wavelength - low_freq_factor)
                    / (high_freq_factor - low_freq_factor);
                let frequency = f64::from(frequency);
                ((1.0 - smooth) * frequency / factor + smooth * frequency) as f32
            }
        }
    }
}

//! Rotary position tables, with the frequency scalings of [`RopeScaling`].
//!
//! Frequencies are computed in the types and in the order of the models' own code: at large
//! positions the last bit of a frequency matters.

use std::borrow::Cow;
use std::f64::consts::PI;

use mxlab_kernels::format::FloatType;

use super::{Batch, Reach};
use crate::description::{ModelConfig, RopeParameters, RopeScaling};

/// The rotary tables of a model.
#[derive(Clone, Debug)]
pub struct Rope {
    parameters: Vec<RopeParameters>,
    head_dim: usize,
    /// Longest sequence without dynamic scaling.
    trained: usize,
    dtype: FloatType,
    /// Whether tables and products are rounded to this type.
    is_rounded: bool,
    /// For each rotation the table of short sequences, then that of long ones if it has one.
    tables: Vec<RopeTable>,
}

/// A table, and its number among [`Rope::tables`].
#[derive(Clone, Copy, Debug)]
pub struct Rotation<'a> {
    /// Cosines and sines.
    pub table: &'a RopeTable,
    /// The number. A table that was made for one length has none.
    pub number: Option<usize>,
}

/// The table of a rotation for a batch, and its number as in [`Rotation`].
pub type BatchTable<'a> = (Cow<'a, RopeTable>, Option<usize>);

impl Rope {
    /// A model's tables for `positions` positions.
    pub fn new(config: &ModelConfig, positions: usize) -> Self {
        let (head_dim, trained) = (config.head_dim, config.max_position_embeddings);
        let tables = config.ropes.iter().flat_map(|parameters| {
            let reaches = [Reach::Trained, Reach::Long];
            let reaches = reaches.into_iter().take(tables_of(parameters));
            reaches.map(|reach| RopeTable::new(positions, head_dim, parameters, trained, reach))
        });
        Self {
            head_dim,
            trained,
            dtype: FloatType::F32,
            is_rounded: config.architecture.rounds_rotation,
            tables: tables.collect(),
            parameters: config.ropes.clone(),
        }
    }

    /// The tables rounded to the type of the model's arithmetic, unless it rotates in float32.
    #[must_use]
    pub fn rounded(self, dtype: FloatType) -> Self {
        if !self.is_rounded {
            return self;
        }
        let tables = self.tables.into_iter();
        Self {
            dtype,
            tables: tables.map(|table| table.rounded(dtype)).collect(),
            ..self
        }
    }

    /// The table of every rotation for a batch's sequences.
    pub fn of(&self, batch: &Batch) -> Vec<BatchTable<'_>> {
        let mut first = 0;
        let tables = self.parameters.iter().map(|parameters| {
            let number = first + usize::from(batch.reach == Reach::Long);
            let count = tables_of(parameters);
            let number = number.min(first + count - 1);
            first += count;
            let is_dynamic = matches!(parameters.scaling, Some(RopeScaling::Dynamic { .. }));
            match batch.reach {
                Reach::Dynamic(_) if is_dynamic => {
                    let (head_dim, trained) = (self.head_dim, self.trained);
                    let positions = batch.positions().max().map_or(0, |last| last + 1);
                    let table =
                        RopeTable::new(positions, head_dim, parameters, trained, batch.reach);
                    let table = match self.is_rounded {
                        true => table.rounded(self.dtype),
                        false => table,
                    };
                    (Cow::Owned(table), None)
                }
                _ => (Cow::Borrowed(&self.tables[number]), Some(number)),
            }
        });
        tables.collect()
    }

    /// All tables; that of long sequences follows that of short ones.
    pub fn tables(&self) -> &[RopeTable] {
        &self.tables
    }

    /// Number of positions in the tables.
    pub fn positions(&self) -> usize {
        self.tables.first().map_or(0, RopeTable::positions)
    }
}

/// Number of tables of a rotation.
pub const fn tables_of(parameters: &RopeParameters) -> usize {
    match parameters.scaling {
        Some(RopeScaling::Long { .. }) => 2,
        _ => 1,
    }
}

/// Cosines and sines of every position and frequency, `[positions, pairs]` each.
#[derive(Clone, Debug)]
pub struct RopeTable {
    /// Features per head.
    pub head_dim: usize,
    /// Pairs of features that are rotated, the first ones of a head: feature `i` with `i + pairs`.
    pub pairs: usize,
    /// Whether products with it are rounded to the type of the model's arithmetic, as it is itself.
    pub is_rounded: bool,
    /// Cosines, row per position.
    pub cos: Vec<f32>,
    /// Sines, row per position.
    pub sin: Vec<f32>,
}

impl RopeTable {
    /// Tables for `positions` positions of sequences with a `reach`; `trained` is the longest
    /// sequence without dynamic scaling. Angles are products of f32 position and f32 frequency, as
    /// in the models' own code.
    pub fn new(
        positions: usize,
        head_dim: usize,
        parameters: &RopeParameters,
        trained: usize,
        reach: Reach,
    ) -> Self {
        let frequencies = frequencies(parameters, trained, reach);
        let factor = attention_factor(parameters) as f32;
        let angles = (0..positions)
            .flat_map(|position| frequencies.iter().map(move |f| position as f32 * f));
        let (cos, sin) = angles
            .map(|angle| {
                let (sin, cos) = f64::from(angle).sin_cos();
                (cos as f32 * factor, sin as f32 * factor)
            })
            .unzip();
        Self {
            head_dim,
            pairs: frequencies.len(),
            is_rounded: false,
            cos,
            sin,
        }
    }

    /// The table rounded to the type of the model's arithmetic.
    pub fn rounded(mut self, dtype: FloatType) -> Self {
        for value in self.cos.iter_mut().chain(&mut self.sin) {
            *value = dtype.round(*value);
        }
        self.is_rounded = true;
        self
    }

    /// The table of the inverse rotation.
    pub fn inverse(&self) -> Self {
        Self {
            cos: self.cos.clone(),
            sin: self.sin.iter().map(|sin| -sin).collect(),
            ..*self
        }
    }

    /// Number of positions in the tables.
    pub fn positions(&self) -> usize {
        self.cos.len() / self.pairs.max(1)
    }
}

/// The factor of cosines and sines.
pub fn attention_factor(parameters: &RopeParameters) -> f64 {
    match parameters.scaling {
        Some(
            RopeScaling::Long {
                attention_factor, ..
            }
            | RopeScaling::Yarn {
                attention_factor, ..
            },
        ) => attention_factor,
        _ => 1.0,
    }
}

/// The frequencies of a rotation, one a pair.
pub fn frequencies(parameters: &RopeParameters, trained: usize, reach: Reach) -> Vec<f32> {
    let features = parameters.features;
    let scaling = parameters.scaling.as_ref();
    let mut theta = parameters.theta as f32;
    if let (Some(RopeScaling::Dynamic { factor }), Reach::Dynamic(tokens)) = (scaling, reach) {
        let growth = *factor as f32 * tokens as f32 / trained as f32 - (factor - 1.0) as f32;
        theta *= power(growth, (features as f64 / (features as f64 - 2.0)) as f32);
    }
    let frequency = |pair: usize| {
        let wavelength = power(theta, (2 * pair) as f32 / features as f32);
        match scaling {
            None | Some(RopeScaling::Dynamic { .. }) => 1.0 / wavelength,
            Some(RopeScaling::Linear { factor }) => 1.0 / wavelength / *factor as f32,
            Some(RopeScaling::Long {
                short_factor,
                long_factor,
                ..
            }) => {
                let factors = match reach {
                    Reach::Long => long_factor,
                    _ => short_factor,
                };
                1.0 / (factors[pair] as f32 * wavelength)
            }
            Some(RopeScaling::Llama3 {
                factor,
                low_freq_factor,
                high_freq_factor,
                original_max_position_embeddings,
            }) => {
                let original = *original_max_position_embeddings as f64;
                let limits = [*low_freq_factor, *high_freq_factor];
                llama3(1.0 / wavelength, *factor, limits, original)
            }
            Some(RopeScaling::Yarn {
                factor,
                beta_fast,
                beta_slow,
                truncate,
                original_max_position_embeddings,
                ..
            }) => {
                let original = *original_max_position_embeddings as f64;
                let limits =
                    [*beta_fast, *beta_slow].map(|turns| pair_of(turns, parameters, original));
                let kept = 1.0 - ramp(pair, limits, *truncate, features);
                let divided = 1.0 / (*factor as f32 * wavelength);
                divided * (1.0 - kept) + 1.0 / wavelength * kept
            }
        }
    };
    (0..features.div_ceil(2)).map(frequency).collect()
}

/// A power, to the nearest f32.
fn power(base: f32, exponent: f32) -> f32 {
    f64::from(base).powf(f64::from(exponent)) as f32
}

/// Llama 3's rule keeps wavelengths shorter than `original / high`, divides frequencies of those
/// longer than `original / low` by `factor`, and blends linearly in between.
fn llama3(frequency: f32, factor: f64, [low, high]: [f64; 2], original: f64) -> f32 {
    let wavelength = 2.0 * PI / f64::from(frequency);
    if wavelength < original / high {
        frequency
    } else if wavelength > original / low {
        frequency / factor as f32
    } else {
        let smooth = (original / wavelength - low) / (high - low);
        let frequency = f64::from(frequency);
        ((1.0 - smooth) * frequency / factor + smooth * frequency) as f32
    }
}

/// The pair, not whole, that turns so many times over the length of the training.
fn pair_of(turns: f64, parameters: &RopeParameters, original: f64) -> f64 {
    let of_one = (original / (turns * 2.0 * PI)).ln();
    parameters.features as f64 * of_one / (2.0 * parameters.theta.ln())
}

/// YaRN's ramp over the pairs, from 0 at the first limit to 1 at the second.
fn ramp(pair: usize, [mut low, mut high]: [f64; 2], truncate: bool, features: usize) -> f32 {
    if truncate {
        (low, high) = (low.floor(), high.ceil());
    }
    (low, high) = (low.max(0.0), high.min(features as f64 - 1.0));
    if low == high {
        high += 0.001;
    }
    ((pair as f32 - low as f32) / (high - low) as f32).clamp(0.0, 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn yarn(
        factor: f64,
        beta_fast: f64,
        truncate: bool,
        original_max_position_embeddings: usize,
    ) -> Option<RopeScaling> {
        Some(RopeScaling::Yarn {
            factor,
            attention_factor: 1.0,
            beta_fast,
            beta_slow: 1.0,
            truncate,
            original_max_position_embeddings,
        })
    }

    /// Base, features, scaling, reach, and the frequencies that transformers 5.24 computes with
    /// PyTorch 2.15 for a trained length of 512. Powers may round apart.
    #[test]
    fn frequencies_are_those_of_transformers() {
        type Row<'a> = (f64, usize, Option<RopeScaling>, Reach, &'a [f32]);
        let llama3 = RopeScaling::Llama3 {
            factor: 8.0,
            low_freq_factor: 1.0,
            high_freq_factor: 4.0,
            original_max_position_embeddings: 64,
        };
        let long = RopeScaling::Long {
            short_factor: vec![1.0, 1.1, 1.2, 1.3, 1.4, 1.5],
            long_factor: vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0],
            attention_factor: 1.0,
            original_max_position_embeddings: 128,
        };
        #[rustfmt::skip]
        let rows: [Row; 10] = [
            (1e4, 16, None, Reach::Trained, &[
                1.0, 3.162_277_6e-1, 1.0e-1, 3.162_278e-2,
                1.0e-2, 3.162_277_9e-3, 1.0e-3, 3.162_278e-4]),
            (1e4, 16, Some(RopeScaling::Linear { factor: 3.0 }), Reach::Trained, &[
                3.333_333_4e-1, 1.054_092_6e-1, 3.333_333_5e-2, 1.054_092_6e-2,
                3.333_333_2e-3, 1.054_092_7e-3, 3.333_333_6e-4, 1.054_092_65e-4]),
            (1e4, 16, Some(RopeScaling::Dynamic { factor: 2.0 }), Reach::Dynamic(513), &[
                1.0, 3.160_517e-1, 9.988_867e-2, 3.156_998_4e-2,
                9.977_747e-3, 3.153_483_6e-3, 9.966_638e-4, 3.149_972_8e-4]),
            (1e4, 16, Some(RopeScaling::Dynamic { factor: 2.0 }), Reach::Dynamic(2000), &[
                1.0, 2.404_120_4e-1, 5.779_794_6e-2, 1.389_532_35e-2,
                3.340_602_9e-3, 8.031_211_3e-4, 1.930_799_9e-4, 4.641_875_4e-5]),
            (5e5, 16, Some(llama3), Reach::Trained, &[
                1.0, 7.940_301e-2, 4.700_754e-3, 9.115_831_3e-4,
                1.767_766_8e-4, 3.428_102_4e-5, 6.647_869_7e-6, 1.289_173_2e-6]),
            (1e4, 16, yarn(4.0, 32.0, true, 128), Reach::Trained, &[
                1.0, 2.371_708_2e-1, 4.999_999_7e-2, 7.905_695e-3,
                2.5e-3, 7.905_694_7e-4, 2.5e-4, 7.905_695e-5]),
            (1.5e5, 16, yarn(32.0, 32.0, false, 4096), Reach::Trained, &[
                1.0, 2.254_18e-1, 5.081_327_3e-2, 6.794_959_3e-3,
                4.564_839_2e-4, 1.818_833_7e-5, 4.099_978_5e-6, 9.242_089_6e-7]),
            (1e6, 16, yarn(4.0, 8.0, true, 128), Reach::Trained, &[
                1.0, 1.111_424_64e-1, 7.905_695e-3, 1.405_853_3e-3,
                2.5e-4, 4.445_698_5e-5, 7.905_694e-6, 1.405_853_4e-6]),
            (1e4, 12, Some(long.clone()), Reach::Trained, &[
                1.0, 1.958_576_9e-1, 3.867_99e-2, 7.692_307_7e-3,
                1.538_881_6e-3, 3.094_393_2e-4]),
            (1e4, 12, Some(long.clone()), Reach::Long, &[
                1.0, 1.077_217_2e-1, 1.547_196e-2, 2.5e-3,
                4.308_868_4e-4, 7.735_983e-5]),
        ];
        for (theta, features, scaling, reach, expected) in rows {
            let parameters = RopeParameters {
                theta,
                features,
                scaling,
            };
            let found = frequencies(&parameters, 512, reach);
            assert_eq!(found.len(), expected.len());
            for (found, expected) in found.iter().zip(expected) {
                let units = found.to_bits().abs_diff(expected.to_bits());
                assert!(
                    units <= 2,
                    "{parameters:?} {reach:?}: {found:e}, {expected:e}"
                );
            }
        }
    }
}

//! Formats by layer and projection for a budget of bits.
//!
//! A projection's cost under a format is what it alone does to the model's logits: with p the
//! original probabilities of the next token and d the changes of its logits,
//!
//! ```text
//! mean over tokens of (sum of p d^2 - (sum of p d)^2) / 2
//! ```
//!
//! which is the Kullback-Leibler divergence to second order. It is measured under the format of the
//! fewest bits. Under the others it is in proportion to the squared error of the weights, as it is
//! to second order where errors have no direction. Costs of projections are taken to add up. From
//! the format of the fewest bits on, the step that saves the most a byte comes first, as long as it
//! fits the budget.

use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result};
use mxlab_kernels::cpu::{self, Panels};
use mxlab_kernels::format::{BlockFormat, FloatType, PackedTensor};
use rayon::prelude::*;

use super::projections::{linears, linears_mut, weights_of};
use crate::checkpoint::Checkpoint;
use crate::config::{Projection, QuantConfig};
use crate::model::cpu::{Activation, Cache, Cpu, Matrix};
use crate::model::load::load;
use crate::model::{Batch, Layer, Llama, context};

/// What formats are chosen for, and by what.
pub struct Allocation<'a> {
    /// The model.
    pub checkpoint: &'a Checkpoint,
    /// The configuration; its formats of weights and inputs do not count.
    pub config: &'a QuantConfig,
    /// The formats to choose from.
    pub choices: &'a [BlockFormat],
    /// Type of the arithmetic.
    pub dtype: FloatType,
    /// The text.
    pub sequences: &'a [Vec<u32>],
}

/// A projection of a layer, and what it costs under each format.
#[derive(Clone, Debug, PartialEq)]
pub struct Costs {
    /// The layer.
    pub layer: usize,
    /// The projection; of all experts together.
    pub projection: Projection,
    /// Elements of its weights.
    pub elements: usize,
    /// Bytes under each format.
    pub bytes: Vec<usize>,
    /// Nats a token under each format.
    pub nats: Vec<f64>,
}

/// Original logits, and the probabilities of the next token.
struct Original {
    logits: Vec<f32>,
    probabilities: Vec<f32>,
}

impl Allocation<'_> {
    /// The costs of every projection; `None` if `stop` was set before the end. `finished` is called
    /// with each layer.
    ///
    /// # Errors
    /// A model that does not load, or a format that it does not take.
    pub fn costs(
        &self,
        stop: &AtomicBool,
        mut finished: impl FnMut(usize),
    ) -> Result<Option<Vec<Costs>>> {
        let engine = Cpu::new(self.dtype);
        let mut model = self.original(&engine)?;
        let batch = self.batch();
        let mut hidden = model.embed(&engine, &batch)?;
        let original = Original::new(&self.ends(&engine, &model, &batch, &hidden, 0)?);
        let mut costs = Vec::new();
        for index in 0..model.layers.len() {
            let weights = weights_of(self.checkpoint.parameters(), index, &model.layers[index]);
            let projections = weights.iter().filter_map(|weight| weight.projection());
            let projections: Vec<Projection> =
                projections.map(|(_, projection)| projection).collect();
            for projection in Projection::ALL {
                let is_it = |at: &usize| projections[*at] == projection;
                let places: Vec<usize> = (0..projections.len()).filter(is_it).collect();
                if places.is_empty() {
                    continue;
                }
                let mut of = Costs {
                    layer: index,
                    projection,
                    elements: 0,
                    bytes: Vec::new(),
                    nats: Vec::new(),
                };
                if stop.load(Ordering::Relaxed) {
                    return Ok(None);
                }
                let mut errors = Vec::with_capacity(self.choices.len());
                for format in self.choices {
                    let (mut bytes, mut error) = (0, 0.0);
                    of.elements = 0;
                    for &place in &places {
                        let weight = &linears(&model.layers[index])[place].weight;
                        let (values, packed) = self.packed(weight, format)?;
                        of.elements += values.len();
                        bytes += packed.bytes();
                        error += squared_error(&values, &packed)?;
                    }
                    of.bytes.push(bytes);
                    errors.push(error);
                }
                let smallest = (0..errors.len()).min_by_key(|&place| of.bytes[place]);
                let smallest = smallest.context("a format to choose from")?;
                let kept =
                    self.quantise(&mut model.layers[index], &places, &self.choices[smallest])?;
                let ends = self.ends(&engine, &model, &batch, &hidden, index)?;
                let measured = original.mean_divergence(&ends);
                for (&place, matrix) in places.iter().zip(kept) {
                    linears_mut(&mut model.layers[index])[place].weight = matrix;
                }
                let of_format = |error: &f64| match errors[smallest] {
                    0.0 => measured,
                    least => measured * error / least,
                };
                of.nats = errors.iter().map(of_format).collect();
                costs.push(of);
            }
            hidden = model.layer(&engine, index, hidden, &batch, &mut Cache::none())?;
            finished(index);
        }
        Ok(Some(costs))
    }

    /// What a whole configuration costs, inputs as they are: the measure of the sum of costs.
    ///
    /// # Errors
    /// As [`Allocation::costs`].
    pub fn measured(&self, config: &QuantConfig) -> Result<f64> {
        let engine = Cpu::new(self.dtype);
        let batch = self.batch();
        let logits = |model: &Llama<Cpu>| {
            let hidden = model.embed(&engine, &batch)?;
            self.ends(&engine, model, &batch, &hidden, 0)
        };
        let original = Original::new(&logits(&self.original(&engine)?)?);
        let mut config = config.without_inputs();
        config.stored_inputs = false;
        let model = load(&engine, self.checkpoint, &config, self.longest())?;
        Ok(original.mean_divergence(&logits(&model)?))
    }

    /// Without quantisation, but rotated as the configuration says: codes are of rotated weights.
    fn original(&self, engine: &Cpu) -> Result<Llama<Cpu>> {
        let mut config = self.config.without_weights().without_inputs();
        config.stored_inputs = false;
        Ok(load(engine, self.checkpoint, &config, self.longest())?)
    }

    fn longest(&self) -> usize {
        self.sequences.iter().map(Vec::len).max().unwrap_or(1)
    }

    /// All sequences at once: weights are widened once for them.
    fn batch(&self) -> Batch {
        let sequences = self.sequences.iter();
        let mut batch = Batch::whole(sequences.map(Vec::as_slice));
        batch.reach = context::reach(self.checkpoint.config(), self.longest());
        batch
    }

    /// Logits of every token from the inputs of layer `from` on.
    fn ends(
        &self,
        engine: &Cpu,
        model: &Llama<Cpu>,
        batch: &Batch,
        hidden: &Activation,
        from: usize,
    ) -> Result<Activation> {
        let mut x = hidden.clone();
        for index in from..model.layers.len() {
            x = model.layer(engine, index, x, batch, &mut Cache::none())?;
        }
        Ok(model.output(engine, &x, batch)?)
    }

    /// The values of a weight, and their codes.
    fn packed(&self, weight: &Matrix, format: &BlockFormat) -> Result<(Vec<f32>, PackedTensor)> {
        let (rows, cols) = (weight.rows(), weight.cols());
        let mut values = vec![0.0; rows * cols];
        weight.widen_parallel(0, &mut values, self.dtype);
        let packed = cpu::quantize(&values, rows, cols, format, self.dtype);
        let packed = packed.context("a weight in a format to choose from")?;
        Ok((values, packed))
    }

    /// Gives projections at `places` of a layer codes in a format, and returns their weights.
    fn quantise(
        &self,
        layer: &mut Layer<Cpu>,
        places: &[usize],
        format: &BlockFormat,
    ) -> Result<Vec<Matrix>> {
        let mut linears = linears_mut(layer);
        let mut kept = Vec::with_capacity(places.len());
        for &place in places {
            let weight = &mut linears[place].weight;
            let (_, packed) = self.packed(weight, format)?;
            let packed = Matrix::Packed(Box::new(Panels::new(&packed)));
            kept.push(std::mem::replace(weight, packed));
        }
        Ok(kept)
    }
}

impl Original {
    fn new(logits: &Activation) -> Self {
        let vocabulary = logits.features();
        let logits = logits.values().to_vec();
        let mut probabilities = logits.clone();
        probabilities.par_chunks_mut(vocabulary).for_each(|row| {
            let greatest = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            row.iter_mut().for_each(|x| *x = (*x - greatest).exp());
            let sum: f64 = row.iter().map(|&x| f64::from(x)).sum();
            row.iter_mut()
                .for_each(|x| *x = (f64::from(*x) / sum) as f32);
        });
        Self {
            logits,
            probabilities,
        }
    }

    /// The mean over tokens of what their logits diverge to second order.
    fn mean_divergence(&self, changed: &Activation) -> f64 {
        let vocabulary = changed.features();
        let rows = self.logits.par_chunks(vocabulary);
        let rows = rows.zip(self.probabilities.par_chunks(vocabulary));
        let rows = rows.zip(changed.values().par_chunks(vocabulary));
        let rows = rows.map(|((before, p), after)| {
            let (mut first, mut second) = (0.0, 0.0);
            for ((before, p), after) in before.iter().zip(p).zip(after) {
                let (d, p) = (f64::from(after - before), f64::from(*p));
                first += p * d;
                second += p * d * d;
            }
            (second - first * first) / 2.0
        });
        // Summed in order, whatever the threads.
        let all: Vec<f64> = rows.collect();
        all.iter().sum::<f64>() / all.len() as f64
    }
}

fn squared_error(values: &[f32], packed: &PackedTensor) -> Result<f64> {
    let mut coded = vec![0.0; values.len()];
    cpu::dequantize(packed, &mut coded)?;
    let errors = values
        .iter()
        .zip(&coded)
        .map(|(&x, &q)| f64::from(x) - f64::from(q));
    Ok(errors.map(|error| error * error).sum())
}

/// The format of each projection, by its place among the choices, for at most `bits` a weight.
/// `None` if even the smallest formats need more.
pub fn choose(costs: &[Costs], bits: f64) -> Option<Vec<usize>> {
    let elements: usize = costs.iter().map(|of| of.elements).sum();
    let budget = (bits * elements as f64 / 8.0).floor() as usize;
    let smallest = |of: &Costs| {
        let places = 0..of.bytes.len();
        let key = |&place: &usize| (of.bytes[place], of.nats[place]);
        places.min_by(|a, b| {
            key(a)
                .partial_cmp(&key(b))
                .unwrap_or(std::cmp::Ordering::Equal)
        })
    };
    let mut chosen: Vec<usize> = costs.iter().map(smallest).collect::<Option<_>>()?;
    let mut spent: usize = costs
        .iter()
        .zip(&chosen)
        .map(|(of, &at)| of.bytes[at])
        .sum();
    if spent > budget {
        return None;
    }
    loop {
        // What a step saves a byte; it has at least one, for steps between equal sizes.
        let mut best: Option<(f64, usize, usize)> = None;
        for (number, of) in costs.iter().enumerate() {
            let now = chosen[number];
            for place in 0..of.bytes.len() {
                let more = of.bytes[place].saturating_sub(of.bytes[now]);
                let saved = (of.nats[now] - of.nats[place]) / more.max(1) as f64;
                let fits = spent + of.bytes[place] <= budget + of.bytes[now];
                if fits && saved > 0.0 && best.is_none_or(|(most, ..)| saved > most) {
                    best = Some((saved, number, place));
                }
            }
        }
        let Some((_, number, place)) = best else {
            return Some(chosen);
        };
        spent = spent + costs[number].bytes[place] - costs[number].bytes[chosen[number]];
        chosen[number] = place;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn costs(elements: usize, nats: [f64; 2]) -> Costs {
        Costs {
            layer: 0,
            projection: Projection::Q,
            elements,
            bytes: vec![elements / 2, elements],
            nats: nats.into(),
        }
    }

    /// Every division of a budget costs at least what the chosen one does, where its steps fill it.
    #[test]
    fn the_steps_that_save_most_come_first() {
        let all = [
            costs(800, [0.5, 0.1]),
            costs(800, [0.9, 0.2]),
            costs(1600, [0.8, 0.1]),
            costs(800, [0.2, 0.2]),
        ];
        let total = |chosen: &[usize]| {
            let nats = all.iter().zip(chosen).map(|(of, &at)| of.nats[at]);
            let bytes = all.iter().zip(chosen).map(|(of, &at)| of.bytes[at]);
            (nats.sum::<f64>(), bytes.sum::<usize>())
        };
        for (bits, expected) in [
            (4.0, [0, 0, 0, 0]),
            (4.8, [0, 1, 0, 0]),
            (5.6, [1, 1, 0, 0]),
            (7.2, [1, 1, 1, 0]),
            (8.0, [1, 1, 1, 0]),
        ] {
            let chosen = choose(&all, bits).unwrap();
            assert_eq!(chosen, expected, "{bits}");
            let (least, bytes) = total(&chosen);
            assert!(bytes as f64 <= bits * 500.0);
            for number in 0..16 {
                let other: Vec<usize> = (0..4).map(|bit| number >> bit & 1).collect();
                let (nats, bytes) = total(&other);
                assert!(
                    bytes as f64 > bits * 500.0 || nats >= least - 1e-12,
                    "{bits}: {other:?}"
                );
            }
        }
        assert_eq!(choose(&all, 3.9), None);
    }
}

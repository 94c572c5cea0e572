//! What each projection of a model costs under each format, for [`super::budget`].
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
//! to second order where errors have no direction.

use std::mem;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result};
use mxlab_kernels::cpu::{self, Panels};
use mxlab_kernels::format::{BlockFormat, FloatType, PackedTensor};
use rayon::prelude::*;

use super::budget::Costs;
use super::projections::{linears, linears_mut, weights_of};
use crate::checkpoint::Checkpoint;
use crate::config::{Projection, QuantConfig};
use crate::description::parameters::Parameter;
use crate::model::cpu::{Activation, Cache, Cpu, Matrix};
use crate::model::load::load;
use crate::model::{Batch, Llama, context};

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

/// Original logits, and the probabilities of the next token.
struct Original {
    logits: Vec<f32>,
    probabilities: Vec<f32>,
}

/// The original model, and what its logits are on the text.
pub struct Measuring<'a> {
    allocation: &'a Allocation<'a>,
    engine: Cpu,
    /// All sequences at once: weights are widened once for them.
    batch: Batch,
    /// Without quantisation, but rotated as the configuration says: codes are of rotated weights.
    model: Llama<Cpu>,
    original: Original,
}

impl<'a> Allocation<'a> {
    /// Runs the original model.
    ///
    /// # Errors
    /// A model that does not load.
    pub fn measure(&'a self) -> Result<Measuring<'a>> {
        let engine = Cpu::new(self.dtype);
        let mut config = self.config.without_weights().without_inputs();
        config.stored_inputs = false;
        let model = load(&engine, self.checkpoint, &config, self.longest())?;
        let mut batch = Batch::whole(self.sequences.iter().map(Vec::as_slice));
        batch.reach = context::reach(self.checkpoint.config(), self.longest());
        let hidden = model.embed(&engine, &batch)?;
        let original = Original::new(&logits(&engine, &model, &batch, &hidden, 0)?);
        Ok(Measuring {
            allocation: self,
            engine,
            batch,
            model,
            original,
        })
    }

    fn longest(&self) -> usize {
        self.sequences.iter().map(Vec::len).max().unwrap_or(1)
    }
}

impl Measuring<'_> {
    /// The costs of every projection; `None` if `stop` was set before the end. `finished` is called
    /// with each layer.
    ///
    /// # Errors
    /// A format that a weight does not take.
    pub fn costs(
        &mut self,
        stop: &AtomicBool,
        mut finished: impl FnMut(usize),
    ) -> Result<Option<Vec<Costs>>> {
        let parameters = self.allocation.checkpoint.parameters();
        let mut hidden = self.model.embed(&self.engine, &self.batch)?;
        let mut costs = Vec::new();
        for index in 0..self.model.layers.len() {
            let weights = weights_of(parameters, index, &self.model.layers[index]);
            for projection in Projection::ALL {
                if stop.load(Ordering::Relaxed) {
                    return Ok(None);
                }
                let is_it = |weight: &Parameter| {
                    weight.projection().is_some_and(|(_, of)| of == projection)
                };
                let places = (0..weights.len()).filter(|&place| is_it(weights[place]));
                let places: Vec<usize> = places.collect();
                if !places.is_empty() {
                    costs.push(self.cost(index, projection, &places, &hidden)?);
                }
            }
            let mut none = Cache::none();
            hidden = (self.model).layer(&self.engine, index, hidden, &self.batch, &mut none)?;
            finished(index);
        }
        Ok(Some(costs))
    }

    /// The cost of the projections at `places` of a layer, whose input is `hidden`.
    fn cost(
        &mut self,
        layer: usize,
        projection: Projection,
        places: &[usize],
        hidden: &Activation,
    ) -> Result<Costs> {
        let Allocation { choices, dtype, .. } = *self.allocation;
        let mut of = Costs {
            layer,
            projection,
            elements: 0,
            bytes: vec![0; choices.len()],
            nats: Vec::new(),
        };
        let mut errors = vec![0.0; choices.len()];
        // Of each format, the codes of each place.
        let mut coded: Vec<Vec<PackedTensor>> = choices.iter().map(|_| Vec::new()).collect();
        for &place in places {
            let weight = &linears(&self.model.layers[layer])[place].weight;
            let (rows, cols) = (weight.rows(), weight.cols());
            let mut values = vec![0.0; rows * cols];
            weight.widen_parallel(0, &mut values, dtype);
            of.elements += values.len();
            for (number, format) in choices.iter().enumerate() {
                let packed = cpu::quantize(&values, rows, cols, format, dtype);
                let packed = packed.context("a weight in a format to choose from")?;
                of.bytes[number] += packed.bytes();
                errors[number] += squared_error(&values, &packed)?;
                coded[number].push(packed);
            }
        }
        let smallest = (0..choices.len()).min_by_key(|&number| of.bytes[number]);
        let smallest = smallest.context("a format to choose from")?;
        let panels = |packed| Matrix::Packed(Box::new(Panels::new(packed)));
        let mut others: Vec<Matrix> = coded[smallest].iter().map(panels).collect();
        self.swap(layer, places, &mut others);
        let changed = logits(&self.engine, &self.model, &self.batch, hidden, layer);
        self.swap(layer, places, &mut others);
        let measured = self.original.mean_divergence(&changed?);
        let of_format = |error: &f64| match errors[smallest] {
            0.0 => measured,
            least => measured * error / least,
        };
        of.nats = errors.iter().map(of_format).collect();
        Ok(of)
    }

    fn swap(&mut self, layer: usize, places: &[usize], others: &mut [Matrix]) {
        let mut linears = linears_mut(&mut self.model.layers[layer]);
        for (&place, other) in places.iter().zip(others) {
            mem::swap(&mut linears[place].weight, other);
        }
    }

    /// What a whole configuration costs, inputs as they are: the measure of the sum of costs.
    ///
    /// # Errors
    /// A model that does not load.
    pub fn measured(&self, config: &QuantConfig) -> Result<f64> {
        let Allocation { checkpoint, .. } = *self.allocation;
        let mut config = config.without_inputs();
        config.stored_inputs = false;
        let model = load(&self.engine, checkpoint, &config, self.allocation.longest())?;
        let hidden = model.embed(&self.engine, &self.batch)?;
        let changed = logits(&self.engine, &model, &self.batch, &hidden, 0)?;
        Ok(self.original.mean_divergence(&changed))
    }
}

/// Logits of every token from the inputs of layer `from` on.
fn logits(
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

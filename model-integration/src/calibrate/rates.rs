//! How fast this machine does what a calibration does: each step once, small.

use std::hint::black_box;
use std::time::Instant;

use anyhow::{Context, Result};
use mxlab_kernels::cpu;
use mxlab_kernels::format::{BlockFormat, FloatType, random_at};

use super::gram::Gram;
use super::own_text::BATCH;
use super::second_order::{Columns, LANES, round};
use super::tensor_scales::sweeps;
use super::{Recipe, TokenWeight};
use crate::checkpoint::Checkpoint;
use crate::config::QuantConfig;
use crate::model::cpu::{Cache, Cpu};
use crate::model::load::load_layers;
use crate::model::{Batch, Llama, context};

/// Operations of the run of a layer that is timed, about.
const OPERATIONS: usize = 20_000_000_000;
/// Most columns of a matrix that is timed. Larger ones take their share of operations longer.
const COLUMNS: usize = 2048;
/// Tokens that H is timed with.
const TOKENS: usize = 512;

/// Seconds of a layer.
#[derive(Clone, Copy, Debug)]
pub struct LayerRates {
    /// A token through the first layer, with its weights as they are stored.
    pub stored: f64,
    /// The same with codes.
    pub coded: f64,
    /// A token of each sequence of a batch, through the whole model.
    pub step: f64,
}

/// Seconds of a matrix of H.
#[derive(Clone, Copy, Debug)]
pub struct MatrixRates {
    /// A token that is added to H.
    pub token: f64,
    /// Factoring H.
    pub factor: f64,
    /// Rounding a row.
    pub row: f64,
}

/// What is timed.
pub struct Timing<'a> {
    /// The model.
    pub checkpoint: &'a Checkpoint,
    /// The formats.
    pub config: &'a QuantConfig,
    /// Type of the arithmetic.
    pub dtype: FloatType,
    /// How codes are chosen.
    pub recipe: Recipe,
}

impl Timing<'_> {
    /// The first layer, in sequences of `length` tokens. The head is timed if the model `writes`.
    ///
    /// # Errors
    /// A model that does not load.
    pub fn layer(&self, length: usize, writes: bool) -> Result<LayerRates> {
        let parameters = self.checkpoint.parameters().projections();
        let elements = parameters.filter(|(layer, ..)| *layer == 0);
        let elements: usize = elements.map(|(_, _, weight)| weight.elements()).sum();
        let tokens = (OPERATIONS / (2 * elements).max(1))
            .clamp(16, length.max(16))
            .min(length);
        let ids = |count: usize| -> Vec<u32> {
            let below = self.checkpoint.config().vocab_size as u64;
            let id = |i| ((u64::from(random_at(0, i)) * below) >> 32) as u32;
            (0..count as u64).map(id).collect()
        };
        let mut batch = Batch::whole([ids(tokens).as_slice()]);
        batch.reach = context::reach(self.checkpoint.config(), length);
        let engine = Cpu::new(self.dtype);
        let load = |config: &QuantConfig| load_layers(&engine, self.checkpoint, config, length, 1);
        let run = |model: &Llama<Cpu>, batch: &Batch| -> Result<f64> {
            let x = model.embed(&engine, batch)?;
            seconds(|| {
                model.layer(&engine, 0, x.clone(), batch, &mut Cache::none())?;
                Ok(())
            })
        };
        let model = load(&self.config.without_weights())?;
        let stored = run(&model, &batch)? / tokens as f64;
        let step = match writes {
            false => 0.0,
            true => {
                let ids = ids(BATCH);
                let mut batch = Batch::whole(ids.chunks(1));
                batch.reach = context::reach(self.checkpoint.config(), length);
                let one = run(&model, &batch)?;
                let whole = seconds(|| {
                    model.logits(&engine, &batch, &mut Cache::none(), &batch.ends())?;
                    Ok(())
                })?;
                whole + one * (self.checkpoint.config().num_hidden_layers - 1) as f64
            }
        };
        drop(model);
        let coded = run(&load(self.config)?, &batch)? / tokens as f64;
        Ok(LayerRates {
            stored,
            coded,
            step,
        })
    }

    /// H of `cols` columns, and matrices in `format` beside it.
    ///
    /// # Errors
    /// A format that the weights do not take.
    pub fn matrix(&self, cols: usize, format: &BlockFormat) -> Result<MatrixRates> {
        let timed = cols.min(COLUMNS);
        let random = |count: usize| -> Vec<f32> {
            let value = |i| random_at(1, i) as i32 as f32 / 2f32.powi(31);
            (0..count as u64).map(value).collect()
        };
        let inputs = random(TOKENS * timed);
        let mut gram = Gram::new(timed);
        let token = seconds(|| {
            gram.add(&inputs, TokenWeight::Equal);
            Ok(())
        })?;
        // So few tokens need some.
        let recipe = Recipe {
            damping: self.recipe.damping.max(0.01),
            ..self.recipe
        };
        let mut columns = None;
        let factor = seconds(|| {
            columns = Some(Columns::new(&gram, &recipe)?);
            Ok(())
        })?;
        let columns = columns.context("factors")?;
        let rows = 2 * LANES * rayon::current_num_threads();
        let mut weights = random(rows * timed);
        weights.iter_mut().for_each(|x| *x = self.dtype.round(*x));
        let row = seconds(|| {
            let nearest = cpu::quantize(&weights, rows, timed, format, self.dtype)?;
            black_box(round(&weights, &columns, nearest, self.dtype)?);
            Ok(())
        })?;
        let more = cols as f64 / timed as f64;
        Ok(MatrixRates {
            token: token / TOKENS as f64 * more.powi(2),
            factor: factor * more.powi(3),
            row: row / rows as f64 * more.powi(2) * sweeps(&self.recipe, format) as f64,
        })
    }
}

/// Seconds of the second of two runs: the first one reads what is not in memory yet.
fn seconds(mut run: impl FnMut() -> Result<()>) -> Result<f64> {
    run()?;
    let begin = Instant::now();
    run()?;
    Ok(begin.elapsed().as_secs_f64())
}

//! Calibration layer by layer.
//!
//! Each layer runs twice over all sequences: first with its weights as the checkpoint has them and
//! inputs as the layers before it make them, quantised, to add up H; then with its new codes, to
//! make the inputs of the next layer.

use std::mem;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result, ensure};
use mxlab_kernels::cpu::{self, Panels};
use mxlab_kernels::format::{BlockFormat, FloatType, PackedTensor};

use super::Recipe;
use super::inputs::Inputs;
use super::projections::{linears, linears_mut, weights_of};
use super::second_order::{Columns, round};
use super::store::Store;
use crate::checkpoint::Checkpoint;
use crate::config::{Projection, QuantConfig};
use crate::description::parameters::Parameter;
use crate::model::cpu::{Activation, Cache, Cpu, Matrix};
use crate::model::load::load;
use crate::model::{Batch, Linear, Llama, context};

/// What is calibrated, and by what.
pub struct Calibration<'a> {
    /// The model.
    pub checkpoint: &'a Checkpoint,
    /// The formats; weights are in blocks.
    pub config: &'a QuantConfig,
    /// Type of the arithmetic.
    pub dtype: FloatType,
    /// How codes are chosen.
    pub recipe: Recipe,
    /// The text.
    pub sequences: &'a [Vec<u32>],
}

/// A projection whose weight has a format.
struct Target<'p, 'l> {
    parameter: &'p Parameter,
    linear: &'l Linear<Cpu>,
    format: BlockFormat,
}

/// The end of a run that was asked to stop.
#[derive(Debug, thiserror::Error)]
#[error("interrupted")]
struct Stopped;

impl Calibration<'_> {
    /// Finishes all layers in `store`. `finished` is called with the number of each. Returns
    /// whether it came to the end before `stop` was set.
    ///
    /// # Errors
    /// A format or a model that the method does not support; H that is singular; files that cannot
    /// be written.
    pub fn run(
        &self,
        store: &Store,
        stop: &AtomicBool,
        mut finished: impl FnMut(usize),
    ) -> Result<bool> {
        let longest = self.sequences.iter().map(Vec::len).max().unwrap_or(1);
        let engine = Cpu::new(self.dtype);
        let inputs_alone = self.config.without_weights();
        let mut model = load(&engine, self.checkpoint, &inputs_alone, longest)?;
        let batches: Vec<Batch> = self.batches();
        let hidden = batches.iter().map(|batch| model.embed(&engine, batch));
        let mut hidden: Vec<Activation> = hidden.collect::<Result<_, _>>()?;
        for index in 0..model.layers.len() {
            let parameters = weights_of(self.checkpoint.parameters(), index, &model.layers[index]);
            if !store.has(index) {
                let matrices = self.layer(&model, &parameters, index, |engine| {
                    for (batch, x) in batches.iter().zip(&hidden) {
                        ensure!(!stop.load(Ordering::Relaxed), Stopped);
                        model.layer(engine, index, x.clone(), batch, &mut Cache::none())?;
                    }
                    Ok(())
                });
                match matrices {
                    Err(error) if error.is::<Stopped>() => return Ok(false),
                    matrices => store.write(index, &matrices?)?,
                }
            }
            let linears = linears_mut(&mut model.layers[index]);
            for (linear, parameter) in linears.into_iter().zip(parameters) {
                if let Some(format) = parameter.formats(self.config).0 {
                    let packed = store.read(parameter, &format)?;
                    linear.weight = Matrix::Packed(Box::new(Panels::new(&packed)));
                    linear.input = mem::take(&mut linear.input).beside(Some(&format));
                }
            }
            for (batch, x) in batches.iter().zip(&mut hidden) {
                if stop.load(Ordering::Relaxed) {
                    return Ok(false);
                }
                *x = model.layer(&engine, index, x.clone(), batch, &mut Cache::none())?;
            }
            finished(index);
        }
        Ok(true)
    }

    fn batches(&self) -> Vec<Batch> {
        let sequences = self.sequences.iter();
        let batch = |tokens: &Vec<u32>| {
            let mut batch = Batch::whole([tokens.as_slice()]);
            batch.reach = context::reach(self.checkpoint.config(), tokens.len());
            batch
        };
        sequences.map(batch).collect()
    }

    /// The codes of a layer's weights. `run` runs the layer over the text.
    fn layer<'a>(
        &self,
        model: &Llama<Cpu>,
        parameters: &[&'a Parameter],
        index: usize,
        run: impl FnOnce(&Cpu) -> Result<()>,
    ) -> Result<Vec<(&'a Parameter, PackedTensor)>> {
        let mut targets = Vec::new();
        for (linear, &parameter) in linears(&model.layers[index]).into_iter().zip(parameters) {
            if let Some(format) = parameter.formats(self.config).0 {
                targets.push(Target {
                    parameter,
                    linear,
                    format,
                });
            }
        }
        let groups: Vec<&[Target]> = targets.chunk_by(|a, b| a.shares_input_with(b)).collect();
        let firsts = groups.iter().map(|group| group[0].linear);
        let inputs = Arc::new(Inputs::of(firsts, self.recipe.tokens));
        run(&Cpu::new(self.dtype).observed(inputs.clone()))?;
        let mut matrices = Vec::new();
        for group in groups {
            let gram = inputs.take(group[0].linear).context("H of every group")?;
            let name = &group[0].parameter.name;
            // An expert that no token chose.
            let columns = match gram.tokens() {
                0 => None,
                _ => Some(Columns::new(&gram, &self.recipe).with_context(|| name.clone())?),
            };
            drop(gram);
            for target in group {
                let name = || target.parameter.name.clone();
                let packed = self.matrix(target, columns.as_ref()).with_context(name)?;
                matrices.push((target.parameter, packed));
            }
        }
        Ok(matrices)
    }

    fn matrix(&self, target: &Target, columns: Option<&Columns>) -> Result<PackedTensor> {
        let matrix = &target.linear.weight;
        let (rows, cols) = (matrix.rows(), matrix.cols());
        let mut values = vec![0.0; rows * cols];
        matrix.widen_parallel(0, &mut values, self.dtype);
        Ok(match columns {
            Some(columns) => round(&values, columns, &target.format, self.dtype)?,
            None => cpu::quantize(&values, rows, cols, &target.format, self.dtype)?,
        })
    }
}

impl Target<'_, '_> {
    /// Whether the next one multiplies the same values.
    fn shares_input_with(&self, next: &Self) -> bool {
        use Projection::{Gate, K, Q, Up, V};
        let projection = |target: &Self| target.parameter.projection().map(|(_, of)| of);
        let are_beside = matches!(
            (projection(self), projection(next)),
            (Some(Q), Some(K | V)) | (Some(K), Some(V)) | (Some(Gate), Some(Up))
        );
        are_beside
            && self.parameter.expert == next.parameter.expert
            && self.linear.input == next.linear.input
    }
}

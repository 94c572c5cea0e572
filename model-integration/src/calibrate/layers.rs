//! Calibration layer by layer.
//!
//! Each layer runs twice over all sequences: first with its weights as the checkpoint has them and
//! inputs as the layers before it make them, quantised, to add up H; then with its new codes, to
//! make the inputs of the next layer.

use std::mem;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result, ensure};
use mxlab_kernels::cpu::Panels;
use mxlab_kernels::format::{BlockFormat, FloatType, PackedTensor};

use super::hidden::Hidden;
use super::inputs::Inputs;
use super::projections::{linears, linears_mut, weights_of};
use super::second_order::Columns;
use super::store::Store;
use super::tensor_scales::{Values, by_rule, round_together};
use super::{Recipe, ScaleChoice, Stopped};
use crate::checkpoint::Checkpoint;
use crate::config::{Projection, QuantConfig};
use crate::description::parameters::Parameter;
use crate::model::cpu::{Cache, Cpu, Matrix};
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
    /// Most bytes of memory for the inputs of a layer.
    pub memory: u64,
    /// Names of weights that have one tensor scale.
    pub together: &'a [Vec<String>],
}

/// A projection whose weight has a format.
struct Target<'p, 'l> {
    parameter: &'p Parameter,
    linear: &'l Linear<Cpu>,
    format: BlockFormat,
}

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
        let lengths = self.sequences.iter().map(Vec::len).collect();
        let width = self.checkpoint.config().hidden_size;
        let mut hidden = Hidden::new(lengths, width, self.memory, store.folder(), |number| {
            Ok(model.embed(&engine, &batches[number])?)
        })?;
        for index in 0..model.layers.len() {
            let parameters = weights_of(self.checkpoint.parameters(), index, &model.layers[index]);
            if !store.has(index) {
                let matrices = self.layer(&model, &parameters, index, |engine| {
                    for (number, batch) in batches.iter().enumerate() {
                        ensure!(!stop.load(Ordering::Relaxed), Stopped);
                        let x = hidden.get(number)?;
                        model.layer(engine, index, x, batch, &mut Cache::none())?;
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
            for (number, batch) in batches.iter().enumerate() {
                if stop.load(Ordering::Relaxed) {
                    return Ok(false);
                }
                let x = hidden.get(number)?;
                let x = model.layer(&engine, index, x, batch, &mut Cache::none())?;
                hidden.set(number, x)?;
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
            for part in group.chunk_by(|a, b| self.one_scale(a, b)) {
                let name = || part[0].parameter.name.clone();
                let scale = self.tensor_scale(part, &targets).with_context(name)?;
                let packed = self.matrices(part, columns.as_ref(), scale);
                let packed = packed.with_context(name)?;
                let parameters = part.iter().map(|target| target.parameter);
                matrices.extend(parameters.zip(packed));
            }
        }
        Ok(matrices)
    }

    /// Whether two weights of a format with a tensor scale have one.
    fn one_scale(&self, a: &Target, b: &Target) -> bool {
        let are = |names: &Vec<String>| [a, b].iter().all(|of| names.contains(&of.parameter.name));
        a.format == b.format && a.format.has_tensor_scale() && self.together.iter().any(are)
    }

    /// The scale that the rule gives weights, with all that have the same.
    fn tensor_scale(&self, part: &[Target], all: &[Target]) -> Result<f32> {
        let first = &part[0];
        if !first.format.has_tensor_scale() {
            return Ok(1.0);
        }
        let is_first = |of: &Target| of.parameter.name == first.parameter.name;
        let same = all
            .iter()
            .filter(|of| is_first(of) || self.one_scale(of, first));
        let largest: Vec<f32> = same.map(|of| self.values(of).largest()).collect();
        ensure!(
            self.recipe.scales != ScaleChoice::Tensor || largest.len() == part.len(),
            "its tensor scale is that of {} weights, whose inputs are not the same: give --scales \
             rule or search, or --to mxlab",
            largest.len(),
        );
        Ok(by_rule(&largest, &first.format))
    }

    fn values(&self, target: &Target) -> Values {
        let matrix = &target.linear.weight;
        let (rows, cols) = (matrix.rows(), matrix.cols());
        let mut values = vec![0.0; rows * cols];
        matrix.widen_parallel(0, &mut values, self.dtype);
        Values { values, rows, cols }
    }

    /// The codes of weights with one tensor scale.
    fn matrices(
        &self,
        part: &[Target],
        columns: Option<&Columns>,
        scale: f32,
    ) -> Result<Vec<PackedTensor>> {
        let format = &part[0].format;
        let values: Vec<Values> = part.iter().map(|target| self.values(target)).collect();
        let Some(columns) = columns else {
            let nearest = values.iter();
            return nearest
                .map(|of| of.nearest(format, self.dtype, scale))
                .collect();
        };
        round_together(&values, columns, (format, &self.recipe), self.dtype, scale)
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

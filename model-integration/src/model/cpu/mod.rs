//! The CPU engine. candle's tensors carry the activations; products go to our own kernels where W
//! is packed, or bf16 on a CPU that multiplies pairs of it, else to `gemm`, the crate under
//! candle's own, and every other operation to the loops of [`super::ops`]: candle's would round in
//! other places than the models' own code, and its products depend on the batch.
//!
//! Tensors hold `f32`; under a 16-bit dtype every operation rounds its result to that type,
//! in the places where the models' own eager code does, so that a value always is one the
//! type can hold. Sums accumulate in `f32` under every dtype.
//!
//! Weights stay as they are stored (mapped from the file, or packed) and are widened a panel
//! at a time when they are used, so a model is never in memory twice.
//!
//! Nothing of a row depends on the rows beside it, and every sum has one order: scores change
//! neither with the batch nor with what of a sequence is in the cache already.

mod cache;
mod engine;
mod generator;
mod matrix;
mod operations;
mod rounding;

use mxlab_kernels::cpu::{Panels, Path};
use mxlab_kernels::format::{BlockFormat, FloatType};

use super::LlamaError;
use super::load::Store;
use crate::checkpoint::TensorView;
use crate::description::parameters::Usage;

pub use cache::Cache;
pub use engine::CpuEngine;
pub use matrix::Matrix;

/// The CPU engine.
#[derive(Clone, Copy, Debug)]
pub struct Cpu {
    dtype: FloatType,
    /// How packed weights, and those in bf16, are multiplied.
    path: Path,
    /// Fails at the first value that is not finite.
    watches: bool,
}

impl Cpu {
    /// An engine whose values are all of `dtype`.
    pub fn new(dtype: FloatType) -> Self {
        Self {
            dtype,
            path: Path::best(),
            watches: false,
        }
    }

    /// The same, which multiplies by `path`.
    pub fn by(self, path: Path) -> Self {
        Self { path, ..self }
    }

    /// The same, which fails at the first value that is not finite.
    pub fn watching(self) -> Self {
        Self {
            watches: true,
            ..self
        }
    }

    /// The type of every value.
    pub fn dtype(&self) -> FloatType {
        self.dtype
    }
}

impl Store for Cpu {
    fn dtype(&self) -> FloatType {
        self.dtype
    }

    fn input(
        &self,
        _weights: Option<&BlockFormat>,
        activations: Option<&BlockFormat>,
    ) -> Option<BlockFormat> {
        activations.copied()
    }

    fn matrix(
        &self,
        view: &TensorView,
        _usage: Usage,
        format: Option<&BlockFormat>,
        _input: &Option<BlockFormat>,
    ) -> Result<Matrix, LlamaError> {
        match format {
            Some(format) => match view.packed(format) {
                Some(packed) => Ok(Matrix::Packed(Box::new(Panels::new(&packed)))),
                None => Matrix::pack(view, format, self.dtype),
            },
            None => Ok(Matrix::Dense(view.clone())),
        }
    }

    fn vector(&self, _name: &str, values: Vec<f32>) -> Result<Vec<f32>, LlamaError> {
        Ok(values)
    }
}

//! The CPU engine. Products with packed weights, and with bf16 on a CPU that multiplies pairs of
//! it, use our kernels. Where both sides are codes of integers, products are those of
//! [`mxlab_kernels::reference::integer_matmul`]. Other products use the `gemm` crate, as candle
//! does. All other operations are the loops of [`super::ops`]: candle would round in other places
//! than the models' own code, and its products depend on the batch.
//!
//! Activations are `f32`. With a 16-bit dtype every operation rounds its result to that type, in
//! the places where the models' eager code does, so every value is representable in it. Sums
//! accumulate in `f32` for every dtype.
//!
//! Weights stay in their stored form, mapped from the file or packed. They are widened a panel at a
//! time when they are used, so memory never holds a model twice. Blocks of ggml's plain formats are
//! packed as block-scaled weights are; those of super-blocks stay as they are.
//!
//! A row does not depend on its neighbours, and every sum has a fixed order. So scores depend
//! neither on the batch nor on how much of a sequence is cached.

mod activation;
mod attention;
mod cache;
mod engine;
mod exact_rows;
mod generator;
mod kept_rows;
mod matrix;
mod operations;
mod pages;
mod recent_keys;
mod rounding;
mod stepper;

use std::fmt;
use std::sync::Arc;

use mxlab_kernels::cpu::{IntegerPath, Panels, Path};
use mxlab_kernels::format::{BlockFormat, FloatType, GgmlFormat, Rotation};

use super::LlamaError;
use super::load::Store;
use crate::checkpoint::TensorView;
use crate::checkpoint::encoding::StoredInput;
use crate::description::parameters::Usage;

pub use activation::Activation;
pub use cache::Cache;
pub use engine::CpuEngine;
pub use matrix::Matrix;
pub use rounding::Input;

/// Sees the operands of the engine's products.
pub trait Observer: fmt::Debug + Send + Sync {
    /// `x` is about to be multiplied by `weight`.
    fn product(&self, x: &Activation, weight: &Matrix);
}

/// The CPU engine.
#[derive(Clone, Debug)]
pub struct Cpu {
    dtype: FloatType,
    /// How packed and bf16 weights are multiplied.
    path: Path,
    /// How codes of integers are multiplied.
    integer_path: IntegerPath,
    /// Whether it fails at the first value that is not finite.
    watches: bool,
    observer: Option<Arc<dyn Observer>>,
}

impl Cpu {
    /// An engine with values of type `dtype`.
    pub fn new(dtype: FloatType) -> Self {
        Self {
            dtype,
            path: Path::best(),
            integer_path: IntegerPath::best(),
            watches: false,
            observer: None,
        }
    }

    /// The same engine, multiplying by `path`.
    pub fn by(self, path: Path) -> Self {
        Self { path, ..self }
    }

    /// The same engine, failing at the first value that is not finite.
    pub fn watching(&self) -> Self {
        Self {
            watches: true,
            ..self.clone()
        }
    }

    /// The same engine, whose products `observer` sees.
    pub fn observed(&self, observer: Arc<dyn Observer>) -> Self {
        Self {
            observer: Some(observer),
            ..self.clone()
        }
    }

    /// How this CPU multiplies: values, and integers.
    pub fn paths(&self) -> String {
        format!("{}, integers {}", self.path, self.integer_path)
    }

    /// An input as the engine takes it beside weights in `weights`: AMX multiplies values alone.
    fn beside(&self, input: Input, weights: Option<&BlockFormat>) -> Input {
        match self.path {
            Path::Amx => input,
            Path::Avx512Bf16 | Path::F32(_) => input.beside(weights),
        }
    }

    /// The type of every value.
    pub fn dtype(&self) -> FloatType {
        self.dtype
    }
}

/// Runs `step` on one of the threads that compute. From another one, each of a step's many parallel
/// loops would begin and end with a switch of threads.
fn on_threads<T: Send>(step: impl FnOnce() -> T + Send) -> T {
    rayon::scope(|_| step())
}

impl Store for Cpu {
    fn dtype(&self) -> FloatType {
        self.dtype
    }

    fn input(&self, weights: Option<&BlockFormat>, activations: Option<&BlockFormat>) -> Input {
        self.beside(Input::of(activations), weights)
    }

    fn takes(&self, _: &BlockFormat) -> bool {
        true
    }

    fn takes_ggml(&self, weights: GgmlFormat) -> Option<BlockFormat> {
        weights.as_blocks().map(|(format, _)| format)
    }

    fn stored_input(
        &self,
        weights: Option<&BlockFormat>,
        stored: &StoredInput,
    ) -> Result<Input, LlamaError> {
        Ok(self.beside(Input::stored(*stored), weights))
    }

    fn rotated(&self, input: Input, rotation: &Rotation, cols: usize) -> Result<Input, LlamaError> {
        Ok(input.rotated(rotation.of_rows(cols)?))
    }

    fn matrix(
        &self,
        view: &TensorView,
        usage: Usage,
        format: Option<&BlockFormat>,
        input: &Input,
    ) -> Result<Matrix, LlamaError> {
        match format {
            Some(format) => match view.packed(format) {
                // Results in f32 are compared with those of the writer's package.
                Some(_) if view.is_rounded() && self.dtype == FloatType::F32 => {
                    Ok(Matrix::Dense(view.clone()))
                }
                Some(packed) => Ok(Matrix::Packed(Box::new(Panels::new(&packed)))),
                None => Matrix::pack(view, format, self.dtype),
            },
            None => {
                let is_of_integers = input.is_codes();
                let panels = if is_of_integers || self.path.decodes_to(self.dtype) {
                    Matrix::of_ggml(view, usage)?
                } else {
                    None
                };
                Ok(panels.unwrap_or_else(|| Matrix::Dense(view.clone())))
            }
        }
    }

    fn vector(&self, _name: &str, values: Vec<f32>) -> Result<Vec<f32>, LlamaError> {
        Ok(values)
    }
}

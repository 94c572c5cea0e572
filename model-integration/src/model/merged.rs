//! Rotations merged into weights: the same function, of weights and inputs that are easier to
//! quantise, with nothing to do when the model runs.
//!
//! Norms without gain keep directions, so the residual stream may have other axes. With an
//! orthogonal R of the stream and V of each head, and gains g of the norms before:
//!
//! ```text
//! embedding                            E R
//! q, k, gate, up, router, head         W diag(g) R
//! v                                    (I x V)^T W diag(g) R      bias (I x V)^T b
//! o                                    R^T W (I x V)              bias R^T b
//! down                                 R^T W                      bias R^T b
//! gains                                1
//! ```
//!
//! All heads have one V, as attention mixes values of heads that share keys. Queries and keys keep
//! their axes, which their positions rotate, and so does the input of down, behind the function of
//! the MLP (Ashkboos et al., arXiv 2404.00456; Liu et al., arXiv 2405.16406).

use std::sync::{Arc, OnceLock};

use mxlab_kernels::format::{FloatType, FormatError, Hadamard, Rotation, RotationSpan};

use super::ops::hadamard;
use crate::checkpoint::computed::{Computation, ComputedRows};
use crate::checkpoint::{Checkpoint, CheckpointError, TensorView};
use crate::config::Projection::{Down, Gate, K, O, Q, Up, V};
use crate::description::kinds::NormKind;
use crate::description::parameters::{Parameter, Parameters, Role};

/// Why a rotation cannot be merged.
#[derive(Debug, thiserror::Error)]
pub enum MergeError {
    /// A model whose function would be another one.
    #[error(
        "a rotation cannot be merged into a model of type `{model_type}`, which has {found}; \
         expected RMS norms before attention and MLP alone; leave out --merge-rotation (inputs \
         may be rotated when the model runs: --rotation)"
    )]
    Architecture {
        /// Its type.
        model_type: &'static str,
        /// What it has.
        found: &'static str,
    },
    /// A projection whose input is quantised as its file says.
    #[error(
        "`{tensor}` is stored with {found}, and the merged weight has another input; write a model \
         of floats first (`mxlab convert MODEL FLOATS --to dense`), and give that one"
    )]
    Input {
        /// Its weight.
        tensor: String,
        /// What is stored.
        found: String,
    },
    /// Sizes that have no such rotation.
    #[error("{of} of {size} features: {error}; give --merge-rotation another size")]
    Size {
        /// What has this size.
        of: &'static str,
        /// The size.
        size: usize,
        /// The reason.
        error: FormatError,
    },
    /// The checkpoint is broken.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// Its config is no JSON object.
    #[error("config.json: {0}")]
    Config(#[from] serde_json::Error),
}

/// The model with `rotation` of its residual stream, and of its heads' values, merged into its
/// weights. Blocks of heads are the largest that divide both `head_dim` and those of `rotation`.
/// Values are sums in f32, in the order of [`mxlab_kernels::reference::hadamard`].
///
/// # Errors
/// [`MergeError`].
pub fn merged(checkpoint: Checkpoint, rotation: &Rotation) -> Result<Checkpoint, MergeError> {
    check(&checkpoint)?;
    let config = checkpoint.config();
    let turn = |of: &'static str, width: usize, rotation: Rotation| {
        let plan = rotation.of_rows(width);
        let plan = plan.map_err(|error| MergeError::Size {
            of,
            size: width,
            error,
        })?;
        Ok::<_, MergeError>(Arc::new(Turn { width, plan }))
    };
    let merged = Merged {
        parameters: checkpoint.parameters().clone(),
        rotation: *rotation,
        stream: turn("a residual stream", config.hidden_size, *rotation)?,
        heads: turn(
            "heads",
            config.head_dim,
            of_heads(rotation, config.head_dim),
        )?,
        dtype: config.dtype,
    };
    Ok(checkpoint.computed(Arc::new(merged))?)
}

/// The rotation with blocks that divide a head.
fn of_heads(rotation: &Rotation, head_dim: usize) -> Rotation {
    match rotation.span() {
        RotationSpan::Row => *rotation,
        RotationSpan::Block(size) => {
            let shared = size.trailing_zeros().min(head_dim.trailing_zeros());
            let block = RotationSpan::Block(1 << shared);
            Rotation::new(block, rotation.seed()).unwrap_or(*rotation)
        }
    }
}

fn check(checkpoint: &Checkpoint) -> Result<(), MergeError> {
    let architecture = checkpoint.config().architecture;
    let found = match architecture.norm {
        _ if architecture.has(Role::AfterAttentionNorm) || architecture.has(Role::AfterMlpNorm) => {
            "norms behind projections"
        }
        NormKind::Layer => "norms that subtract the mean",
        NormKind::RmsPlusOne => "norms of one more than the gain",
        NormKind::Rms | NormKind::RmsOnce => "",
    };
    if !found.is_empty() {
        return Err(MergeError::Architecture {
            model_type: architecture.model_type,
            found,
        });
    }
    for (_, _, weight) in checkpoint.parameters().projections() {
        let refused = |found| {
            let tensor = weight.name.clone();
            Err(MergeError::Input { tensor, found })
        };
        if let Some(rotation) = checkpoint.stored_rotation(weight)? {
            return refused(format!("the rotation {rotation}"));
        }
        if let Some(input) = checkpoint.stored_input(weight)? {
            return refused(format!("a quantised input ({})", input.name()));
        }
    }
    Ok(())
}

/// A rotation of each `width` consecutive values.
struct Turn {
    width: usize,
    plan: Hadamard,
}

impl Turn {
    fn apply(&self, values: &mut [f32]) {
        hadamard(values, self.width, &self.plan, FloatType::F32);
    }
}

struct Merged {
    /// Those of the files.
    parameters: Parameters,
    rotation: Rotation,
    stream: Arc<Turn>,
    heads: Arc<Turn>,
    dtype: FloatType,
}

impl Computation for Merged {
    fn name(&self) -> String {
        format!("merged rotation {}", self.rotation)
    }

    fn view(
        &self,
        parameter: &Parameter,
        stored: &dyn Fn(&Parameter) -> Result<TensorView, CheckpointError>,
    ) -> Result<TensorView, CheckpointError> {
        let gain = |role| {
            let gain = stored(self.parameters.weight(parameter.layer, role))?;
            gain.check_finite()?;
            let mut values = vec![0.0; gain.len()];
            gain.read_f32(0..gain.len(), &mut values);
            Ok::<_, CheckpointError>(Some(values))
        };
        let (stream, heads) = (|| Some(self.stream.clone()), || Some(self.heads.clone()));
        let (gain, inputs, outputs) = match (parameter.role, parameter.is_bias) {
            (Role::InputNorm | Role::MlpNorm | Role::FinalNorm, _) => {
                let ones = Arc::new(Ones(self.dtype));
                return Ok(TensorView::of_computed(
                    &parameter.name,
                    &parameter.shape,
                    ones,
                ));
            }
            (Role::Embedding, _) => (None, stream(), None),
            (Role::Head, _) => (gain(Role::FinalNorm)?, stream(), None),
            (Role::Projection(V), false) => (gain(Role::InputNorm)?, stream(), heads()),
            (Role::Projection(Q | K), false) => (gain(Role::InputNorm)?, stream(), None),
            (Role::Projection(Gate | Up) | Role::Router, false) => {
                (gain(Role::MlpNorm)?, stream(), None)
            }
            (Role::Projection(O), false) => (None, heads(), stream()),
            (Role::Projection(V), true) => (None, None, heads()),
            (Role::Projection(Down), false) | (Role::Projection(O | Down), true) => {
                (None, None, stream())
            }
            // Those of scores, and of what stays as it is.
            _ => return stored(parameter),
        };
        let of = match parameter.role {
            // It may be the embedding.
            Role::Head => self.parameters.weight(None, Role::Head),
            _ => parameter,
        };
        let of = match of.tied_to {
            Some(role) => self.parameters.weight(None, role),
            None => of,
        };
        let rows = MergedRows {
            stored: stored(of)?,
            dtype: self.dtype,
            gain,
            inputs,
            outputs,
            columns: OnceLock::new(),
        };
        Ok(TensorView::of_computed(
            &parameter.name,
            &parameter.shape,
            Arc::new(rows),
        ))
    }
}

/// The gain of a norm that another module has taken up.
struct Ones(FloatType);

impl ComputedRows for Ones {
    fn dtype(&self) -> FloatType {
        self.0
    }

    fn check(&self) -> Result<(), CheckpointError> {
        Ok(())
    }

    fn read(&self, _row: usize, out: &mut [f32]) {
        out.fill(1.0);
    }
}

/// A weight or a bias with rotated inputs, outputs, or both.
struct MergedRows {
    stored: TensorView,
    dtype: FloatType,
    /// Factors of inputs.
    gain: Option<Vec<f32>>,
    inputs: Option<Arc<Turn>>,
    outputs: Option<Arc<Turn>>,
    /// All columns, one after another, if outputs are rotated and a row was read.
    columns: OnceLock<Vec<f32>>,
}

impl MergedRows {
    /// A row before outputs are rotated.
    fn row(&self, row: usize, out: &mut [f32]) {
        let cols = out.len();
        self.stored.read_f32(row * cols..(row + 1) * cols, out);
        if let Some(gain) = &self.gain {
            out.iter_mut().zip(gain).for_each(|(x, gain)| *x *= gain);
        }
        if let Some(inputs) = &self.inputs {
            inputs.apply(out);
        }
    }

    // In one thread: others wait for it, and must not wait for each other.
    fn columns(&self, outputs: &Turn, cols: usize) -> Vec<f32> {
        let rows = self.stored.shape()[0];
        let mut columns = vec![0.0; rows * cols];
        let mut values = vec![0.0; cols];
        for row in 0..rows {
            self.row(row, &mut values);
            let column = columns.chunks_exact_mut(rows);
            column.zip(&values).for_each(|(column, &x)| column[row] = x);
        }
        outputs.apply(&mut columns);
        columns
    }
}

impl ComputedRows for MergedRows {
    fn dtype(&self) -> FloatType {
        self.dtype
    }

    fn check(&self) -> Result<(), CheckpointError> {
        self.stored.check_finite()
    }

    fn read(&self, row: usize, out: &mut [f32]) {
        let Some(outputs) = &self.outputs else {
            return self.row(row, out);
        };
        let cols = out.len();
        let columns = (self.columns).get_or_init(|| self.columns(outputs, cols));
        let column = columns.chunks_exact(self.stored.shape()[0]);
        out.iter_mut()
            .zip(column)
            .for_each(|(x, column)| *x = column[row]);
    }
}

//! Errors of loading and running a model.

use mxlab_harness::device::DeviceError;
use mxlab_kernels::family::shuffle::ShuffleError;
use mxlab_kernels::format::{FormatError, Rotation};
use mxlab_kernels::fragment::OperandType;
use mxlab_kernels::kernel::{LaunchError, VariantError};

use crate::checkpoint::CheckpointError;
use crate::config::KvMisfit;
use crate::description::parameters::RowLength;

/// Why a model cannot be loaded or run.
#[derive(Debug, thiserror::Error)]
pub enum LlamaError {
    /// The checkpoint is broken.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// A weight whose rows have no such rotation.
    #[error("`{tensor}`: {error}")]
    RotatedRows {
        /// The weight.
        tensor: String,
        /// The reason.
        error: FormatError,
    },
    /// A weight whose rows its format does not have.
    #[error(transparent)]
    RowLength(#[from] RowLength),
    /// A format that is not supported here.
    #[error(transparent)]
    Format(#[from] FormatError),
    /// Options of keys and values that do not fit the model.
    #[error(transparent)]
    Kv(#[from] KvMisfit),
    /// A token without a row in the embedding.
    #[error("token {token} is not in the model's vocabulary of {vocabulary}")]
    Token {
        /// The token.
        token: u32,
        /// Rows of the embedding.
        vocabulary: usize,
    },
    /// A sequence outgrows the cache.
    #[error(
        "a sequence of {positions} tokens does not fit the cache, which holds {capacity} of each"
    )]
    CacheFull {
        /// Positions of the sequence.
        positions: usize,
        /// Capacity of the cache in positions.
        capacity: usize,
    },
    /// A sequence that continues at positions that are not in the cache.
    #[error(
        "a sequence continues at position {past}, but the cache holds {cached} of its positions"
    )]
    NotCached {
        /// Positions before the batch.
        past: usize,
        /// Positions in the cache.
        cached: usize,
    },
    /// A sequence that goes on behind positions whose keys are packed alone.
    #[error(
        "a sequence continues at position {past}, but the cache does not hold the exact keys of \
         the {recent} positions before it; continue where the sequence ended, or compute it again"
    )]
    NotRecent {
        /// Positions before the batch.
        past: usize,
        /// How many of them a query sees exactly.
        recent: usize,
    },
    /// Parts of a model that a device has no kernels for.
    #[error("the device has no kernels for {parts}; use `--device cpu`")]
    Parts {
        /// The parts.
        parts: String,
    },
    /// A sequence that is longer than those of the training, with dynamic scaling of RoPE.
    #[error(
        "a sequence may reach {tokens} tokens, beyond the {trained} to which this model's RoPE is \
         plain (rope_scaling `dynamic` in its config.json); beyond it, `--device cpu` scores \
         sequences, but nothing generates them"
    )]
    DynamicRope {
        /// Tokens of the sequence.
        tokens: usize,
        /// Longest sequence that is not scaled.
        trained: usize,
    },
    /// A checkpoint whose weights have another rotation.
    #[error(
        "`{tensor}` is rotated by {stored}, and the configuration rotates by {given}; leave out \
         the rotation"
    )]
    OtherRotation {
        /// The weight.
        tensor: String,
        /// Its rotation.
        stored: Rotation,
        /// That of the configuration.
        given: Rotation,
    },
    /// Codes cannot be rotated.
    #[error(
        "`{tensor}` is stored as codes, which a rotation does not keep; give weights a format \
         (--weights), or leave out the rotation"
    )]
    RotatedCodes {
        /// The weight.
        tensor: String,
    },
    /// Inputs that this engine does not rotate.
    #[error("{0}, or `--device cpu`")]
    Rotation(VariantError),
    /// A prompt whose continuation may reach lengths with other rotary frequencies.
    #[error(
        "a prompt of {prompt} tokens that may be continued up to {end} would pass {trained} \
         tokens, where the model's rotary frequencies change (longrope); generate fewer tokens, or \
         prompts of either length apart"
    )]
    BecomesLong {
        /// Tokens of the prompt.
        prompt: usize,
        /// Most tokens of prompt and continuation.
        end: usize,
        /// Longest sequence with the prompt's frequencies.
        trained: usize,
    },
    /// A weight that the device cannot store.
    #[error("{tensor}: {error}")]
    Weight {
        /// The tensor's name.
        tensor: String,
        /// The reason.
        error: ShuffleError,
    },
    /// A kernel could not be launched.
    #[error(transparent)]
    Launch(#[from] LaunchError),
    /// The device reports an error.
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// A model and its buffers do not fit the device.
    #[error(
        "the model does not fit the device: weights {weights} MiB, keys and values {cache} MiB, \
         activations {activations} MiB; {available} MiB are free"
    )]
    Room {
        /// MiB of weights.
        weights: u64,
        /// MiB of keys and values.
        cache: u64,
        /// MiB of activations and workspaces.
        activations: u64,
        /// Free MiB of the device.
        available: u64,
    },
    /// A part of the model produced a value that is not finite.
    #[error("`{part}` gives {value} for token {row} of the batch, feature {feature}")]
    NonFinite {
        /// The module.
        part: String,
        /// The token's row.
        row: usize,
        /// The feature.
        feature: usize,
        /// The value.
        value: f32,
    },
    /// A batch that exceeds the device's buffers.
    #[error("{tokens} tokens in {sequences} sequences at once; there is room for {most}")]
    Batch {
        /// Tokens.
        tokens: usize,
        /// Sequences.
        sequences: usize,
        /// Most tokens and sequences.
        most: usize,
    },
    /// Operands of a product with different types.
    #[error("weights are {weights} operands, but their input has {input} operands")]
    Operand {
        /// Operands of the input.
        input: OperandType,
        /// Operands of the weights.
        weights: OperandType,
    },
    /// Inputs that the checkpoint quantises in a way that this engine lacks.
    #[error(
        "the checkpoint quantises inputs to {input}, which the device does not do; use \
         `--device cpu`, or `--config stored-weights` for inputs as floats"
    )]
    StoredInput {
        /// The quantisation in words.
        input: String,
    },
    /// A tensor is not on the CPU, or not contiguous.
    #[error("the CPU engine needs contiguous tensors on the CPU")]
    Layout,
}

/// Fails at the first of `values`, rows of `cols`, that is not finite, as an error of `part`.
///
/// # Errors
/// [`LlamaError::NonFinite`].
pub(super) fn check_finite(
    values: &[f32],
    cols: usize,
    part: impl FnOnce() -> String,
) -> Result<(), LlamaError> {
    match values.iter().position(|x| !x.is_finite()) {
        None => Ok(()),
        Some(index) => Err(LlamaError::NonFinite {
            part: part(),
            row: index / cols,
            feature: index % cols,
            value: values[index],
        }),
    }
}

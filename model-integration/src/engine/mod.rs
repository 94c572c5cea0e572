//! Scores and continuations of token sequences: the interface between models and their users.
//!
//! [`crate::model::cpu`] and [`crate::model::device`] implement [`Engine`]. Tasks, evaluation,
//! generation and studies call it. This module depends on neither side.
//!
//! | module | contents |
//! |---|---|
//! | [`tokens`] | text to tokens and back |
//! | [`score`] | requests and their scores |
//! | [`generation`] | prompts that are continued step by step |
//! | [`stepping`] | sequences that come and go while others run |
//! | [`info`] | the identity of a checkpoint in records |

pub mod generation;
pub mod info;
pub mod score;
pub mod stepping;
pub mod tokens;

use anyhow::{Result, bail};
use mxlab_harness::device::Loads;
use mxlab_harness::measure::EnergyMeter;

use crate::config::QuantConfig;

pub use generation::{Generator, Room, Sampler};
pub use info::{Footprint, KvFootprint, ModelInfo, OperandCounts, PackedWeights, StandIn};
pub use score::{CausalModel, Request, Score};
pub use stepping::{CacheRoom, PageCount, Piece, Stepper};
pub use tokens::Tokenize;

/// A checkpoint that can be loaded under any number of configurations.
pub trait Engine {
    /// The checkpoint, for the head of the table and for records.
    fn info(&self) -> &ModelInfo;

    /// Its tokenizer.
    fn tokenizer(&self) -> &dyn Tokenize;

    /// Checks that `config` fits the model, without loading it: its layers exist and the engine
    /// supports its formats.
    ///
    /// # Errors
    /// Naming the configuration, the layer and the field.
    fn check(&self, config: &QuantConfig) -> Result<()>;

    /// Loads the model, quantises its weights, and makes it ready to score.
    ///
    /// # Errors
    /// If it cannot be loaded under this configuration.
    fn load(&self, config: &QuantConfig) -> Result<Box<dyn CausalModel + '_>>;

    /// Number of tokens in the vocabulary.
    fn vocabulary(&self) -> usize;

    /// The tokens that end a text.
    fn eos_tokens(&self) -> &[u32];

    /// Loads the model, quantises its weights, and makes it ready to continue prompts.
    ///
    /// # Errors
    /// As [`Engine::load`], and if memory does not suffice for `room`.
    fn generator(&self, config: &QuantConfig, room: Room) -> Result<Box<dyn Generator + '_>>;

    /// Loads the model, quantises its weights, and makes it ready to serve.
    ///
    /// # Errors
    /// As [`Engine::load`], if memory does not suffice for `room`, and on engines that cannot
    /// serve.
    fn stepper(&self, _: &QuantConfig, _: CacheRoom) -> Result<Box<dyn Stepper + '_>> {
        bail!(
            "serving on {} is not supported; use --device cpu",
            self.info().device
        )
    }

    /// The energy meter of the hardware that runs the model; `None` if there is none.
    fn energy_meter(&self) -> Option<EnergyMeter> {
        None
    }

    /// Number of kernels loaded so far, by the origin of their machine code; `None` if the engine
    /// loads no kernels.
    fn kernel_loads(&self) -> Option<Loads> {
        None
    }

    /// How the CPU multiplies, by the instruction sets that products use; `None` on a device.
    fn paths(&self) -> Option<String> {
        None
    }

    /// Memory that the model takes under `config`, computed from packed sizes.
    ///
    /// # Errors
    /// As [`Engine::check`].
    fn footprint(&self, config: &QuantConfig) -> Result<Footprint>;
}

//! What is asked of a model: scores and continuations of token sequences.
//!
//! Two engines implement [`Engine`], on the CPU ([`crate::model::cpu`]) and on a device
//! ([`crate::model::device`]). Tasks, evaluation, generation and studies ask it. This module knows
//! neither side.
//!
//! | module | what |
//! |---|---|
//! | [`tokens`] | text to tokens and back |
//! | [`score`] | requests and their scores |
//! | [`generation`] | prompts that are continued step by step |
//! | [`info`] | what records say about a checkpoint |

pub mod generation;
pub mod info;
pub mod score;
pub mod tokens;

use anyhow::Result;
use mxlab_harness::device::Loads;
use mxlab_harness::measure::EnergyMeter;

use crate::config::QuantConfig;

pub use generation::{Generator, Room, Sampler};
pub use info::{Footprint, ModelInfo, OperandCounts};
pub use score::{CausalModel, Request, Score};
pub use tokens::Tokenize;

/// A checkpoint that can be loaded under any number of configurations.
pub trait Engine {
    /// The checkpoint, for the head of the table and the records.
    fn info(&self) -> &ModelInfo;

    /// Its tokenizer.
    fn tokenizer(&self) -> &dyn Tokenize;

    /// Checks that `config` fits the model, without loading it: layers that exist, formats that
    /// the engine has.
    ///
    /// # Errors
    /// Naming the configuration, the layer and the field.
    fn check(&self, config: &QuantConfig) -> Result<()>;

    /// Quantises the weights and makes the model ready to score.
    ///
    /// # Errors
    /// If it cannot be loaded under this configuration.
    fn load(&self, config: &QuantConfig) -> Result<Box<dyn CausalModel + '_>>;

    /// How many tokens the model knows.
    fn vocabulary(&self) -> usize;

    /// The tokens that end a text.
    fn eos_tokens(&self) -> &[u32];

    /// Quantises the weights and makes the model ready to continue prompts.
    ///
    /// # Errors
    /// As [`Engine::load`], and if there is no such room.
    fn generator(&self, config: &QuantConfig, room: Room) -> Result<Box<dyn Generator + '_>>;

    /// What measures the energy of whatever runs the model; `None` where nothing does.
    fn energy_meter(&self) -> Option<EnergyMeter> {
        None
    }

    /// How many kernels the device has loaded so far, by where their machine code came from; `None`
    /// where no kernels are loaded.
    fn kernel_loads(&self) -> Option<Loads> {
        None
    }

    /// What the model takes in memory under a configuration, from packed sizes.
    ///
    /// # Errors
    /// As [`Engine::check`].
    fn footprint(&self, config: &QuantConfig) -> Result<Footprint>;
}

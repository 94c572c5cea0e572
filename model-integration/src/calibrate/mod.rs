//! Choosing the codes of weights for what they multiply.
//!
//! A layer computes y = W x. Codes that are near W one by one are not the codes whose y is near:
//! errors of different columns add up, or cancel, as their inputs go together. The loss of a row w
//! that becomes q is, over calibration inputs x,
//!
//! ```text
//! sum over x of ((w - q) x)^2 = (w - q) H (w - q)^T        H = sum of x x^T
//! ```
//!
//! - [`gram`] adds up H over the tokens of a text, weighted;
//! - [`factor`] factors it;
//! - [`scales`] chooses the scales of blocks, and [`tensor_scales`] those of tensors;
//! - [`second_order`] rounds the columns of W one after another, each to the nearest value of what
//!   makes up for the errors of the columns before (GPTQ: Frantar et al., arXiv 2210.17323);
//! - [`layers`] does so layer by layer, with inputs as the layers before it make them, quantised;
//! - [`hidden`] keeps those inputs, in memory or in a file;
//! - [`estimate`] says before what a run takes, by the [`rates`] of this machine;
//! - [`store`] keeps finished layers, so that a run that was killed goes on;
//! - [`source`] says where texts come from, [`text`] cuts them into sequences, and [`own_text`] is
//!   what a model writes itself.
//!
//! [`allocate`] measures what formats cost by projection; [`budget`] divides bits among them.

pub mod allocate;
pub mod budget;
pub mod estimate;
pub mod factor;
pub mod gram;
pub mod hidden;
mod inputs;
pub mod layers;
pub mod own_text;
mod projections;
pub mod rates;
pub mod scales;
pub mod second_order;
pub mod source;
pub mod store;
pub mod tensor_scales;
pub mod text;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

/// The end of a run that was asked to stop.
#[derive(Debug, thiserror::Error)]
#[error("interrupted")]
pub struct Stopped;

/// How codes are chosen.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Recipe {
    /// What a token counts.
    pub tokens: TokenWeight,
    /// The order in which columns are rounded.
    pub order: ColumnOrder,
    /// Added to the diagonal of H, times its mean.
    pub damping: f64,
    /// How the scales of blocks are chosen.
    pub scales: ScaleChoice,
}

impl Default for Recipe {
    fn default() -> Self {
        Self {
            tokens: TokenWeight::Norm,
            order: ColumnOrder::Activation,
            damping: 0.01,
            scales: ScaleChoice::Rule,
        }
    }
}

/// What a token counts in H.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum TokenWeight {
    /// All alike
    Equal,
    /// 1 / |x|^2: the first token of a text, an attention sink, is hundreds of times longer
    Norm,
}

impl TokenWeight {
    /// What the values of a token are divided by.
    fn norm(self, token: &[f32]) -> f64 {
        let square: f64 = token.iter().map(|&x| f64::from(x) * f64::from(x)).sum();
        match self {
            Self::Norm if square != 0.0 => square.sqrt(),
            _ => 1.0,
        }
    }
}

/// How the scales of blocks are chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum ScaleChoice {
    /// By the format's rule
    Rule,
    /// By the rule, under the tensor scale of the least loss, of seven within an octave; formats
    /// without a tensor scale as `rule`
    Tensor,
    /// One near that of the rule, by what it costs to round what a first sweep rounds
    Search,
}

/// The order in which columns are rounded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum ColumnOrder {
    /// As they are stored
    Stored,
    /// By the diagonal of H, the largest first
    Activation,
}

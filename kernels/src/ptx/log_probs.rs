//! The kernel from logits to what log-probabilities and greedy choices take.

use super::render::render_template;
use crate::reference::exponential::COEFFICIENTS;
use serde::Serialize;
use std::f64::consts::LOG2_E;

/// The kernel of [`crate::reference::log_probs`].
///
/// # Launch
/// A thread block of 256 threads for each row. Parameters: dst_max (f32), dst_argmax (u32), dst_sum (f64), dst_target
/// (f32), one of each a row; src (bf16, rows 16-byte aligned and readable up to a multiple of 8 columns),
/// targets (u32 a row); cols, src_stride (u32).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LogProbsVariant;

/// What the template knows as `v`.
#[derive(Serialize)]
struct Context {
    kernel: String,
    description: &'static str,
    log2_e: u64,
    /// Of the highest power first.
    exp_coefficients: Vec<u64>,
}

impl LogProbsVariant {
    /// The name of the entry.
    pub fn id(&self) -> String {
        "log_probs_bf16__sm80".to_owned()
    }

    /// Its PTX.
    pub fn render(&self) -> String {
        let context = Context {
            kernel: self.id(),
            description: "log-probabilities of tokens, and the greatest",
            log2_e: LOG2_E.to_bits(),
            exp_coefficients: COEFFICIENTS.iter().rev().map(|c| c.to_bits()).collect(),
        };
        render_template("log_probs/log_probs.ptx.j2", &context)
    }
}

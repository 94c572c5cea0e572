//! The kernel that chooses tokens.

use super::render::render_template;
use crate::reference::exponential::COEFFICIENTS;
use crate::reference::sample::ONE;
use serde::Serialize;
use std::f64::consts::LOG2_E;

/// Threads of a thread block.
const THREADS: u32 = 512;

/// The kernel of [`crate::reference::sample()`].
///
/// # Launch
/// A thread block of 512 threads for each row. Parameters: dst (u32 a row: a token, or 0xFFFFFFFF where the reference
/// has none); src (bf16, rows 16-byte aligned and readable up to a multiple of 8 columns), random (u32 a row);
/// temperature, top_p (f32); cols, src_stride (u32).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SampleVariant;

/// What the template knows as `v`.
#[derive(Serialize)]
struct Context {
    kernel: String,
    description: &'static str,
    threads: u32,
    warps: u32,
    warps_log2: u32,
    /// A weight of 1.
    one: u64,
    log2_e: u64,
    /// Of the highest power first.
    exp_coefficients: Vec<u64>,
}

impl SampleVariant {
    /// The name of the entry.
    pub fn id(&self) -> String {
        "sample_bf16__sm80".to_owned()
    }

    /// Threads of a thread block.
    pub const fn block_threads(&self) -> u32 {
        THREADS
    }

    /// Its PTX.
    pub fn render(&self) -> String {
        let warps = THREADS / 32;
        let context = Context {
            kernel: self.id(),
            description: "a token of each row, by temperature and top-p",
            threads: THREADS,
            warps,
            warps_log2: warps.ilog2(),
            one: ONE.to_bits(),
            log2_e: LOG2_E.to_bits(),
            exp_coefficients: COEFFICIENTS.iter().rev().map(|c| c.to_bits()).collect(),
        };
        render_template("sample/sample.ptx.j2", &context)
    }
}

//! The SIMD kernels as targets, and the bounds of this CPU.
//!
//! Rows are shared among the threads of the global pool of rayon.

mod blocks;
mod integers;
mod products;
mod roof;

pub use blocks::{BlockOperation, BlockTarget};
pub use integers::IntegerTarget;
pub use products::ProductTarget;
pub use roof::{Arithmetic, roof};

use crate::BenchError;
use mxlab_harness::measure::Timed;
use mxlab_kernels::format::random_at;
use std::time::Instant;

/// A closure, timed by the host's clock.
struct Timer<F>(F);

impl<F: FnMut() -> Result<(), BenchError>> Timed for Timer<F> {
    type Error = BenchError;

    fn time(&mut self, runs: u32) -> Result<f64, BenchError> {
        let start = Instant::now();
        for _ in 0..runs {
            (self.0)()?;
        }
        Ok(start.elapsed().as_secs_f64())
    }
}

/// Uniform values whose range changes from block to block.
fn matrix(len: usize, seed: u32) -> Vec<f32> {
    let value = |i: u64| {
        let uniform = f64::from(random_at(seed, i)) / f64::from(u32::MAX) - 0.5;
        let range = random_at(seed ^ 0x5EED, i / 32) % 16;
        (uniform * 2f64.powi(range as i32 - 8)) as f32
    };
    (0..len as u64).map(value).collect()
}

/// Rows of each thread's part.
fn rows_of_part(rows: usize) -> usize {
    rows.div_ceil(rayon::current_num_threads()).max(1)
}

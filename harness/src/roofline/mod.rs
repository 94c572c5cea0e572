//! Predicts the time of a kernel on a named chip from its machine code, without running it.
//!
//! # The model
//! Each limit alone gives a time. The predicted time is the longest of these, plus the time until
//! the first thread blocks are done:
//!
//! | limit | time |
//! |---|---|
//! | memory | bytes that must move, each once / bandwidth of a copy |
//! | issue | issue slots / 4 warp instructions a clock and multiprocessor |
//! | pipe | for each pipe, its instructions' threads / the threads that it takes a clock |
//! | latency | Little's law: the time of one thread / the threads that are resident |
//! | fill | the time of one thread, once |
//!
//! # What it assumes
//! - Buffers are in device memory, not in L2: cold, or rotated through more than L2 holds.
//! - A copy reaches [`COPY_FRACTION`] of the datasheet's bandwidth.
//! - Accesses of a warp are coalesced and free of bank conflicts; the lanes of a warp go one way.
//! - Clocks stay at boost. Schedulers and pipes are busy at most [`BUSY_FRACTION`] of the time.
//! - A warp issues in order, one instruction a clock, each when its operands are there: results of
//!   a load after [`MEMORY_LATENCY_NS`], others after [`ARITHMETIC_LATENCY`] clocks,
//!   [`EXCHANGE_LATENCY`] for shuffles, shared memory and XU, [`PRODUCT_LATENCY`] for products on
//!   tensor cores.
//! - Memory, issue and pipes overlap entirely. Launch overhead is not part of the time.
//!
//! Nothing of this is measured on the kernel itself, so every figure is called predicted.

mod chip;
mod occupancy;
mod pass;
mod predict;

pub use chip::{CHIPS, COPY_FRACTION, Chip, NotCompared, Rates, UnknownChip};
pub use occupancy::{Occupancy, OccupancyError, OccupancyLimit};
pub use predict::{
    ARITHMETIC_LATENCY, BUSY_FRACTION, EXCHANGE_LATENCY, Limiter, MEMORY_LATENCY_NS,
    PRODUCT_LATENCY, Prediction, Work, predict,
};

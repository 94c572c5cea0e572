//! Measurement: timing and its comparison, energy, the state of a GPU, and statistics of samples.
//!
//! | module | what |
//! |---|---|
//! | [`Timed`], [`Sampling`], [`Timing`] | times in samples and rounds |
//! | [`Comparison`] | faster, slower, same, or inconclusive |
//! | [`Energy`], [`EnergyMeter`] | joules, by counters or by power |
//! | [`GpuMonitor`], [`GpuState`] | clocks, throttling, other processes on the GPU |
//! | [`Estimate`] | means with standard errors, paired differences |
//! | [`mcnemar`], [`paired_bootstrap`], [`paired_t`], [`holm`] | significance of differences |

mod energy;
mod gpu;
mod mig;
mod paired;
mod statistics;
mod timing;
mod verdict;

pub use energy::{Energy, EnergyMeter, EnergySource, Metering};
pub use gpu::{GpuMonitor, GpuState};
pub use paired::{
    McNemar, PairedT, correlation, holm, mcnemar, paired_bootstrap, paired_t, rank_correlation,
    student_interval,
};
pub use statistics::{Estimate, mean, paired_difference, perplexity, ratio};
pub use timing::{Sampling, Timed, Timing};
pub use verdict::{Comparison, Verdict};

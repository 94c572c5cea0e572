//! Kernels on the emulator: what they compute, and what stops them.

mod divergence;
mod execution;
mod launched;
mod races;
mod rows;
mod sanitizer;

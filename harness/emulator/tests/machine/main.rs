//! Kernels on the emulator: what they compute, and what stops them.

mod execution;
mod launched;
mod sanitizer;

//! Measures how fast kernels are, and how close they come to the limits of the machine.
//!
//! A [`Target`] is a kernel on a shape. The process that times it first verifies it against its
//! reference, and refuses it if it is wrong. [`run()`] times targets in rounds. Each round also
//! times the bounds of this machine: memory, arithmetic and an empty kernel ([`Roof`]). The result
//! is a [`BenchRecord`]; [`compare`] compares two. `cargo bench` and `mxlab bench` both use this
//! crate.
//!
//! | module | what |
//! |---|---|
//! | [`target`] | kernels on shapes, to be timed |
//! | [`cpu`] | the SIMD kernels |
//! | [`gpu`] | the PTX kernels of the registry, and cuBLAS |
//! | [`peer`] | programs that time other implementations |
//! | [`mod@run`] | timing in rounds |
//! | [`record`] | the record of a run |
//! | [`bound`] | the least time of a case, by the bounds of its record |
//! | [`compare`] | faster, slower, same, or inconclusive |
//! | [`suite`] | the default targets |

pub mod bound;
pub mod compare;
pub mod cpu;
mod error;
pub mod gpu;
pub mod peer;
pub mod record;
pub mod run;
pub mod suite;
pub mod target;

pub use error::BenchError;
pub use record::BenchRecord;
pub use run::{Plan, run};
pub use target::{Case, Opened, Roof, Target};

//! How fast kernels are, and how close to what the machine can do.
//!
//! A [`Target`] is a kernel on a shape. It is verified against its reference when it is opened, in
//! the process that then times it, or it is refused. [`run()`] times targets in rounds, and with them in each round what
//! bounds them on this machine: a copy, a product and an empty kernel ([`Roof`]). What comes of it is a [`BenchRecord`];
//! two of them are [`compared`](compare). `cargo bench` and `mxlab bench` are two fronts of it.
//!
//! | module | what |
//! |---|---|
//! | [`target`] | what is timed |
//! | [`cpu`] | the SIMD kernels |
//! | [`gpu`] | the PTX kernels of the registry, and cuBLAS beside them |
//! | [`peer`] | programs that time other people's |
//! | [`mod@run`] | rounds |
//! | [`record`] | what is kept |
//! | [`compare`] | faster, slower, same, or not to be told |
//! | [`suite`] | what is timed unless something is named |

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

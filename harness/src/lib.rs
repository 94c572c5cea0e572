//! Devices, measurement and records for kernels.
//!
//! | module | what |
//! |---|---|
//! | [`device`] | GPUs and the emulator behind one interface |
//! | [`assemble`], [`sass`] | ptxas and nvdisasm; reading machine code |
//! | [`bundle`] | kernels assembled ahead of time |
//! | [`measure`] | timing, energy, the state of a GPU, statistics |
//! | [`roofline`] | predicted times from machine code |
//! | [`record`] | the environment of a run, and files that are never half-written |
//! | [`conformance`] | a program for each instruction of PTX, with expected values |
//! | [`tensor_core`] | error bounds of products on tensor cores |
//! | [`shard`] | a part of the work of many processes |

pub mod assemble;
pub mod bundle;
pub mod conformance;
pub mod device;
pub mod measure;
pub mod record;
pub mod roofline;
pub mod sass;
pub mod shard;
pub mod tensor_core;

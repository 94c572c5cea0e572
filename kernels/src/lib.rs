//! Kernels for block-scaled number formats, on the CPU and in PTX.
//!
//! [`mod@reference`] defines every operation in scalar code. Every kernel must equal it: bit for
//! bit where it rounds to a format, within a derived bound where it sums.
//!
//! | module | what |
//! |---|---|
//! | [`mod@format`] | element formats, scale formats, scale rules, packed tensors |
//! | [`mod@reference`] | the scalar definition of every operation |
//! | [`cpu`] | SIMD kernels |
//! | [`family`] | PTX kernels, a folder for each family |
//! | [`kernel`] | ids, signatures, launches and errors of PTX kernels |
//! | [`fragment`] | weights in the order that tensor cores take |
//! | [`support`] | which CPU kernels and PTX kernels take a format |
//! | [`registry`] | every PTX kernel with its problems, for checks and benches |
//! | [`golden`] | checks against golden vectors |

pub mod cpu;
pub mod family;
pub mod format;
pub mod fragment;
pub mod golden;
pub mod kernel;
pub mod reference;
pub mod registry;
pub mod support;

//! Tests of formats, kernels, their references and their fragments.

mod definitions;
mod differential;
mod e2m1;
mod exhaustive;
mod four_over_six;
mod ggml;
mod golden;
mod golden_errors;
mod integers;
mod launch;
mod matmul;
mod packed_activations;
mod ptx;
mod rotation;
mod rows;
mod sample;
mod sampled;
mod shuffle;
mod signature;
mod task;
mod tensor_core;
mod verification;

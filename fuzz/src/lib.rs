//! Tests of the kernels: differential fuzzing against the scalar reference, and a mutation score,
//! which plants faults to measure what the tests catch. `fuzz/parsers` fuzzes everything that reads
//! files.
//!
//! | module | what |
//! |---|---|
//! | [`campaign`] | random problems for many kernels until a limit |
//! | [`shrink`] | the smallest problem on which a kernel is still wrong |
//! | [`regression`] | problems that once failed, as files; replay of one |
//! | [`mutation`] | the mutation score |

pub mod campaign;
pub mod mutation;
pub mod regression;
pub mod shrink;

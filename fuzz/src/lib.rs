//! What proves the kernels: differential fuzzing against the scalar reference, and faults planted on
//! purpose to see whether that would notice. `fuzz/parsers` fuzzes what reads files.
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

//! A PTX emulator that is also a sanitizer.
//!
//! | module | what |
//! |---|---|
//! | [`syntax`] | PTX text to a syntax tree |
//! | [`registers`] | the registers of a warp |
//! | [`alu`] | instructions that compute each lane's result from its own registers |

pub mod alu;
mod exec;
pub mod launch;
pub mod lower;
pub mod memory;
pub mod program;
pub mod registers;
pub mod report;
pub mod statistics;
pub mod syntax;

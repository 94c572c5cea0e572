//! A PTX emulator that is also a sanitizer.
//!
//! | module | what |
//! |---|---|
//! | [`syntax`] | PTX text to a syntax tree |
//! | [`registers`] | the registers of a warp |
//! | [`alu`] | instructions that compute each lane's result from its own registers |
//! | [`numeric`] | the numbers of PTX and the functions that instructions compute |

pub mod alu;
pub mod numeric;
pub mod registers;
pub mod syntax;

//! PTX text to a syntax tree. Nothing here knows what an instruction does.

pub mod ast;

//! PTX text to a syntax tree and back. Nothing here knows what an instruction does.
//!
//! [`parse`] accepts what ptxas accepts of the grammar, as far as [`ast`] can hold it; everything
//! else is a [`ParseError`] that names line and column. `Display` of [`ast::Module`] is the way
//! back: parsing what it prints gives the same tree, up to positions.
//!
//! | module | what |
//! |---|---|
//! | [`ast`] | the tree |
//! | `lexer`, `number` | text to tokens |
//! | `parser` | the current token, what was expected instead of it, limits |
//! | `module` | directives of module scope |
//! | `function` | headers of kernels and functions |
//! | `variable`, `initialiser` | declarations |
//! | `statement`, `operand` | bodies |
//! | `constant` | constant expressions |
//! | `display` | the tree as text |

pub mod ast;
mod constant;
mod display;
mod function;
mod initialiser;
mod lexer;
mod module;
mod number;
mod operand;
mod parser;
mod statement;
mod variable;

use ast::{Module, Position};

/// Why a text is not PTX that this crate reads.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{position}: {message}")]
pub struct ParseError {
    /// Where the offending token starts.
    pub position: Position,
    /// What was expected and what was found, or which limit was passed.
    pub message: String,
}

/// Reads a translation unit.
///
/// Time and memory are linear in the length of `source` plus the names that parameterised
/// declarations such as `%r<100>` stand for, which are limited.
///
/// # Errors
/// The first place where `source` departs from the grammar, names something that is not supported
/// (vector registers, branch target lists, textures), or passes a limit (nesting, registers of a
/// declaration, initialised bytes).
pub fn parse(source: &str) -> Result<Module, ParseError> {
    parser::Parser::new(source)?.module()
}

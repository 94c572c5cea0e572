//! The parser and the printer of PTX.

mod constants;
mod hostile;
mod malformed;
mod round_trip;
mod samples;
mod tree;

use ptx_emulator::syntax::{
    ast::{Instruction, Operand, Statement},
    parse,
};

/// A module with one kernel of the given body.
fn with_body(body: &str) -> String {
    format!(".version 8.0\n.target sm_90\n.address_size 64\n.visible .entry k() {{\n{body}\n}}\n")
}

/// The only instruction of a kernel with this body.
#[track_caller]
fn instruction(body: &str) -> Instruction {
    let module = parse(&with_body(body)).unwrap_or_else(|error| panic!("{body}: {error}"));
    match module.functions[0].body.as_deref() {
        Some([Statement::Instruction(instruction)]) => instruction.clone(),
        other => panic!("{body}: {other:?}"),
    }
}

/// The last operand of the only instruction of a kernel with this body.
#[track_caller]
fn last_operand(body: &str) -> Operand {
    instruction(body).operands.pop().expect("an operand")
}

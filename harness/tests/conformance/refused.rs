//! Text that is not PTX, or not supported, is an error that names its place; nothing is skipped.

use super::assemble::refused_lines;
use mxlab_harness::device::Device;

/// Registers that the instructions of this module use: `p` predicates, `b` 8 bits, `h` 16, `r` 32,
/// `w` 64, `x` f32, `y` f64.
const HEAD: &str = ".version 8.8\n.target sm_100a\n.address_size 64\n\
    .visible .entry k(.param .b64 q)\n{\n\
    .reg .pred p<4>; .reg .b8 b<4>; .reg .b16 h<4>; .reg .b32 r<8>; .reg .b64 w<4>; \
    .reg .f32 x<4>; .reg .f64 y<4>;\n\
    .shared .align 16 .b8 tile[64];\n";

/// Illegal: ptxas refuses them too.
const ILLEGAL: &str = include_str!("illegal.ptx");

/// Text that ptxas accepts and the emulator does not support is an error too.
const UNKNOWN: &str = include_str!("unknown.ptx");

/// The instructions of a list, which has comments.
fn instructions(list: &str) -> impl Iterator<Item = &str> {
    list.lines().filter(|line| !line.starts_with("//"))
}

/// A module with the instruction in column 3 of the line after [`HEAD`].
fn module(text: &str) -> String {
    format!("{HEAD}  {text}\nafter:\nret;\n}}\n")
}

#[test]
fn errors_name_line_and_column() {
    let device = Device::emulator();
    let line = HEAD.lines().count() + 1;
    assert!(instructions(ILLEGAL).count() > 90 && instructions(UNKNOWN).count() > 10);
    let mut wrong = Vec::new();
    for text in instructions(ILLEGAL).chain(instructions(UNKNOWN)) {
        match device.load("refused", &module(text)) {
            Ok(_) => wrong.push(format!("{text} was taken")),
            Err(error) => {
                let told = error.to_string();
                // Inside the instruction: an operand has a place of its own.
                let columns = 3..4 + text.len();
                if !columns
                    .clone()
                    .any(|column| told.contains(&format!("{line}:{column}: ")))
                {
                    wrong.push(format!("{text}: {told}"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_assembler_refuses_the_illegal_and_takes_the_unknown() {
    let mut wrong = Vec::new();
    for (rows, is_legal) in [(ILLEGAL, false), (UNKNOWN, true)] {
        for text in instructions(rows) {
            let test = "the_assembler_refuses_the_illegal";
            let Some(refused) = refused_lines(test, "sm_100a", &module(text)) else {
                return;
            };
            if refused.is_empty() != is_legal {
                wrong.push(format!("{text} {refused}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

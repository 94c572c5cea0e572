//! Logic, shifts and byte permutation. PTX ISA 9.7.8 and `prmt`, 9.7.9.

use super::form::{Form, by_form, by_opcode, by_type, run};
use super::lanes;
use super::{Alu, LaneFunction};
use crate::numeric::bits;
use crate::registers::Registers;
use crate::syntax::ast::Type::{self, B32, Pred, U32};

/// Bits of the immediate of `lop3` above its table.
const OR: u64 = 1 << 8;
const AND: u64 = 1 << 9;
const NEGATED: u32 = 10;

pub(super) fn lower(opcode: &str, modifiers: &[&str]) -> Option<Form> {
    if opcode == "lop3" {
        return logic3(modifiers);
    }
    let (last, rest) = match (opcode, modifiers) {
        ("prmt", [first, rest @ ..]) => (first, rest),
        _ => {
            let (last, rest) = modifiers.split_last()?;
            (last, rest)
        }
    };
    let ty = Type::from_name(last)?;
    let form = by_opcode! { (opcode, rest), ty, T;
        "and", [] in bits, binary, |a: T, b: T| a & b;
        "or", [] in bits, binary, |a: T, b: T| a | b;
        "xor", [] in bits, binary, |a: T, b: T| a ^ b;
        "not", [] in bits, unary, |a: T| !a;
    };
    let form = form.or_else(|| {
        by_form! { (opcode, rest, ty);
            "shf", ["l", "clamp"], B32 => B32, [B32, B32, U32], ternary,
                |a, b, c: u32| bits::funnel_left(a, b, c.min(32));
            "shf", ["l", "wrap"], B32 => B32, [B32, B32, U32], ternary,
                |a, b, c: u32| bits::funnel_left(a, b, c & 31);
            "shf", ["r", "clamp"], B32 => B32, [B32, B32, U32], ternary,
                |a, b, c: u32| bits::funnel_right(a, b, c.min(32));
            "shf", ["r", "wrap"], B32 => B32, [B32, B32, U32], ternary,
                |a, b, c: u32| bits::funnel_right(a, b, c & 31);
            "prmt", [], B32 => B32, [B32, B32, B32], ternary, bits::permute;
        }
    });
    form.or_else(|| match (opcode, rest) {
        ("and" | "or" | "xor" | "not", []) if ty == Pred => predicate(opcode),
        ("shl", []) => by_type!(ty, T in bits, Form::new([ty], [ty, U32],
            run!(binary, |a: T, b: u32| if b < T::BITS { a << b } else { 0 }))),
        ("shr", []) => by_type!(ty, T in [
            B16: u16, B32: u32, B64: u64, U16: u16, U32: u32, U64: u64,
            S16: i16, S32: i32, S64: i64
        ], Form::new([ty], [ty, U32], run!(binary, |a: T, b: u32| {
            // Twice half of the width: also a shift by all bits.
            let amount = b.min(T::BITS);
            a >> (amount / 2) >> (amount - amount / 2)
        }))),
        ("prmt", [mode]) if ty == B32 => {
            let selectors = bits::permute_mode(mode)?;
            let packed = selectors
                .iter()
                .rev()
                .fold(0, |all, &s| all << 16 | u64::from(s));
            let run: LaneFunction = |alu, registers, active| {
                let selectors = alu.immediate;
                lanes::ternary(alu, registers, active, |a, b, c: u32| {
                    bits::permute(a, b, (selectors >> (16 * (c & 3))) as u32 & 0xffff)
                });
            };
            Some(Form::new([B32], [B32; 3], run).with(packed))
        }
        _ => None,
    })
}

/// Predicates are combined all lanes at once.
fn predicate(opcode: &str) -> Option<Form> {
    macro_rules! combine {
        ($f:expr) => {
            |alu: &Alu, registers: &mut Registers, active: u32| {
                let a = registers.predicate(alu.sources[0]);
                let b = registers.predicate(alu.sources[1]);
                registers.set_predicate(alu.destinations[0], $f(a, b), active);
            }
        };
    }
    Some(match opcode {
        "and" => Form::new([Pred], [Pred; 2], combine!(|a, b| a & b)),
        "or" => Form::new([Pred], [Pred; 2], combine!(|a, b| a | b)),
        "xor" => Form::new([Pred], [Pred; 2], combine!(|a, b| a ^ b)),
        "not" => Form::new([Pred], [Pred], |alu, registers, active| {
            let a = registers.predicate(alu.sources[0]);
            registers.set_predicate(alu.destinations[0], !a, active);
        }),
        _ => return None,
    })
}

fn run_logic3(alu: &Alu, registers: &mut Registers, active: u32) {
    macro_rules! common {
        ($($table:literal => $f:expr),*) => {
            match alu.immediate as u8 {
                $($table => lanes::ternary(alu, registers, active, $f),)*
                table => lanes::ternary(alu, registers, active, |a, b, c| {
                    bits::logic3(a, b, c, table)
                }),
            }
        };
    }
    // Tables that programs use most.
    common!(
        0x80 => |a: u32, b: u32, c: u32| a & b & c,
        0xfe => |a: u32, b: u32, c: u32| a | b | c,
        0x96 => |a: u32, b: u32, c: u32| a ^ b ^ c,
        0xea => |a: u32, b: u32, c: u32| a & b | c,
        0xf8 => |a: u32, b: u32, c: u32| a | b & c,
        0xca => |a: u32, b: u32, c: u32| a & b | !a & c,
        0xe2 => |a: u32, b: u32, c: u32| b & a | !b & c
    );
}

/// `lop3.or` and `lop3.and`: the predicate is whether the result is nonzero, combined with `q`.
fn run_logic3_predicate(alu: &Alu, registers: &mut Registers, active: u32) {
    let table = alu.immediate as u8;
    let [a, b, c] = [0, 1, 2].map(|k| registers.word(alu.sources[k]));
    let q = registers.predicate(alu.sources[3]);
    let q = if alu.immediate >> NEGATED & 1 == 1 {
        !q
    } else {
        q
    };
    let d = lanes::each(|i| bits::logic3(a[i], b[i], c[i], table));
    let is_nonzero = lanes::collect(lanes::each(|i| d[i] != 0));
    let p = if alu.immediate & OR != 0 {
        is_nonzero | q
    } else {
        is_nonzero & q
    };
    <u32 as lanes::Lane>::store(registers, alu.destinations[0], d, active);
    registers.set_predicate(alu.destinations[1], p, active);
}

fn logic3(modifiers: &[&str]) -> Option<Form> {
    let mut form = match modifiers {
        ["b32"] => Form::new([B32], [B32; 3], run_logic3),
        [operation @ ("or" | "and"), "b32"] => {
            let mut form = Form::new([B32, Pred], [B32, B32, B32, Pred], run_logic3_predicate)
                .with(if *operation == "or" { OR } else { AND });
            form.negation = Some(NEGATED);
            form
        }
        _ => return None,
    };
    form.constant = Some(3);
    Some(form)
}

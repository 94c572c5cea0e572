//! Extended-precision arithmetic with the carry flag. PTX ISA 9.7.2.

use super::form::Form;
use super::integer::HighProduct;
use super::lanes::{Lane, each};
use super::{Alu, LaneFunction};
use crate::registers::Registers;
use crate::syntax::ast::Type;

/// An unsigned word that carries.
trait Carrying: Lane {
    fn add(self, other: Self, carry: bool) -> (Self, bool);
    fn subtract(self, other: Self, borrow: bool) -> (Self, bool);
}

macro_rules! carrying {
    ($($ty:ty),*) => {
        $(impl Carrying for $ty {
            #[inline(always)]
            fn add(self, other: Self, carry: bool) -> (Self, bool) {
                let (sum, first) = self.overflowing_add(other);
                let (sum, second) = sum.overflowing_add(Self::from(carry));
                (sum, first || second)
            }

            #[inline(always)]
            fn subtract(self, other: Self, borrow: bool) -> (Self, bool) {
                let (difference, first) = self.overflowing_sub(other);
                let (difference, second) = difference.overflowing_sub(Self::from(borrow));
                (difference, first || second)
            }
        })*
    };
}
carrying!(u32, u64);

/// Runs `f(operands, carry in)`; the carry flag is the last source if it is read, and the second
/// destination if it is written.
#[inline(always)]
fn run<D: Lane, const N: usize>(
    alu: &Alu,
    registers: &mut Registers,
    active: u32,
    f: impl Fn([D; N], bool) -> (D, bool),
) {
    let operands: [D::Lanes<'_>; N] = std::array::from_fn(|k| D::lanes(registers, alu.sources[k]));
    let carry = alu
        .sources
        .get(N)
        .map_or(0, |&flag| registers.predicate(flag));
    let results = each(|i| {
        let operands = operands.map(|lanes| D::at(lanes, i));
        f(operands, bool::at(carry, i))
    });
    D::store(
        registers,
        alu.destinations[0],
        each(|i| results[i].0),
        active,
    );
    if let Some(&flag) = alu.destinations.get(1) {
        bool::store(registers, flag, each(|i| results[i].1), active);
    }
}

fn sum<D: Carrying>(alu: &Alu, registers: &mut Registers, active: u32) {
    run(alu, registers, active, |[a, b]: [D; 2], carry| {
        a.add(b, carry)
    });
}

fn difference<D: Carrying>(alu: &Alu, registers: &mut Registers, active: u32) {
    run(alu, registers, active, |[a, b]: [D; 2], borrow| {
        a.subtract(b, borrow)
    });
}

macro_rules! multiply_add {
    ($name:ident, $ty:ty, $product:expr) => {
        fn $name(alu: &Alu, registers: &mut Registers, active: u32) {
            run(alu, registers, active, |[a, b, c]: [$ty; 3], carry| {
                Carrying::add($product(a, b), c, carry)
            });
        }
    };
}
multiply_add!(low32, u32, u32::wrapping_mul);
multiply_add!(low64, u64, u64::wrapping_mul);
multiply_add!(high32, u32, u32::high_product);
multiply_add!(high64, u64, u64::high_product);
multiply_add!(signed_high32, u32, |a, b| (a as i32).high_product(b as i32)
    as u32);
multiply_add!(signed_high64, u64, |a, b| (a as i64).high_product(b as i64)
    as u64);

pub(super) fn lower(opcode: &str, modifiers: &[&str]) -> Option<Form> {
    let (last, rest) = modifiers.split_last()?;
    let ty = Type::from_name(last)?;
    let (is_long, is_signed) = match ty {
        Type::U32 => (false, false),
        Type::S32 => (false, true),
        Type::U64 => (true, false),
        Type::S64 => (true, true),
        _ => return None,
    };
    let (rest, writes_carry) = match rest.split_last() {
        Some((&"cc", rest)) => (rest, true),
        _ => (rest, false),
    };
    let reads_carry = matches!(opcode, "addc" | "subc" | "madc");
    if !reads_carry && !writes_carry {
        return None;
    }
    let (sources, run): (usize, LaneFunction) = match (opcode, rest, is_long, is_signed) {
        ("add" | "addc", [], false, _) => (2, sum::<u32>),
        ("add" | "addc", [], true, _) => (2, sum::<u64>),
        ("sub" | "subc", [], false, _) => (2, difference::<u32>),
        ("sub" | "subc", [], true, _) => (2, difference::<u64>),
        ("mad" | "madc", ["lo"], false, _) => (3, low32),
        ("mad" | "madc", ["lo"], true, _) => (3, low64),
        ("mad" | "madc", ["hi"], false, false) => (3, high32),
        ("mad" | "madc", ["hi"], false, true) => (3, signed_high32),
        ("mad" | "madc", ["hi"], true, false) => (3, high64),
        ("mad" | "madc", ["hi"], true, true) => (3, signed_high64),
        _ => return None,
    };
    let mut form = Form::new([ty], vec![ty; sources], run);
    form.reads_carry = reads_carry;
    form.writes_carry = writes_carry;
    Some(form)
}

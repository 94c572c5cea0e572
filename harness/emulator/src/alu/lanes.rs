//! Loops over the lanes of a warp.

use super::Alu;
use crate::registers::{LANES, Register, Registers};

/// A type that a register can hold, 32 lanes at a time.
pub trait Lane: Copy {
    /// Reads the lanes of a register.
    fn load(registers: &Registers, register: Register) -> [Self; LANES];
    /// Changes the active lanes of a register.
    fn store(registers: &mut Registers, register: Register, values: [Self; LANES], active: u32);
}

impl Lane for u32 {
    #[inline(always)]
    fn load(registers: &Registers, register: Register) -> [Self; LANES] {
        *registers.word(register)
    }

    #[inline(always)]
    fn store(registers: &mut Registers, register: Register, values: [Self; LANES], active: u32) {
        let lanes = registers.word_mut(register);
        if active == u32::MAX {
            *lanes = values;
        } else {
            for (i, (lane, value)) in lanes.iter_mut().zip(values).enumerate() {
                *lane = if active >> i & 1 == 1 { value } else { *lane };
            }
        }
    }
}

/// `d = f(a, b)`.
#[inline(always)]
pub fn binary<A: Lane, B: Lane, D: Lane>(
    alu: &Alu,
    registers: &mut Registers,
    active: u32,
    f: impl Fn(A, B) -> D,
) {
    let a = A::load(registers, alu.sources[0]);
    let b = B::load(registers, alu.sources[1]);
    let d = std::array::from_fn(|i| f(a[i], b[i]));
    D::store(registers, alu.destinations[0], d, active);
}

//! Atomic operations. PTX ISA 9.7.13.

use super::block::Block;
use super::request::Accesses;
use super::step::Next;
use super::{At, Checked, lanes_of};
use crate::memory::log::Touch;
use crate::memory::shared::Access;
use crate::program::{Atomic, AtomicOp, Space};
use crate::report::Violation;
use crate::syntax::ast::Type;

impl Block<'_> {
    /// One lane after the other, the lowest first. `add.f32` flushes subnormal numbers in global
    /// memory and keeps them in shared memory, as the hardware does.
    pub(super) fn atomic(&mut self, at: At, active: u32, atomic: &Atomic) -> Checked<Next> {
        let &Atomic {
            op,
            ty,
            destination,
            space,
            address,
            ..
        } = atomic;
        let bytes = ty.bytes();
        let mut rest = Accesses::new(&self.warps[at.warp], space, address, active, bytes);
        self.admit(at, &rest, false)?;
        while let Some(request) = self.next_request(&mut rest) {
            if request.space == Space::Global {
                self.check_global(at, &request, Touch::Atomic, true)?;
            }
            for lane in lanes_of(request.lanes) {
                let address = request.address(lane);
                let mut operands = [0u64; 2];
                for (operand, &register) in operands.iter_mut().zip(&atomic.sources) {
                    *operand = self.warps[at.warp].registers.bits(register, lane);
                }
                let new = |flushes, old| apply(op, ty, flushes, old, operands);
                let old = match (request.space, request.allocation) {
                    (Space::Global, Some(allocation)) if bytes == 8 => {
                        allocation.update_double(address, |old| new(true, old))
                    }
                    (Space::Global, Some(allocation)) => u64::from(
                        allocation.update(address, |old| new(true, u64::from(old)) as u32),
                    ),
                    (Space::Shared, _) => {
                        self.touch_shared_lane(at, lane, address, bytes, Access::Atomic)?;
                        let old = self.shared.load(address, bytes);
                        self.shared.store(address, bytes, new(false, old));
                        old
                    }
                    (Space::Local, _) => {
                        let reason = "atomic operations do not reach local memory".to_owned();
                        return Err(self.report(at, lane, Violation::Operand(reason)));
                    }
                    (space, _) => {
                        return Err(self.read_only(at, lane, space, address, bytes));
                    }
                };
                if let Some(destination) = destination {
                    let registers = &mut self.warps[at.warp].registers;
                    registers.set_bits(destination, lane, old);
                }
            }
        }
        Ok(Next::Following)
    }
}

/// The new value of an atomic operation; `flushes` tells whether subnormal `f32` count as zero.
fn apply(op: AtomicOp, ty: Type, flushes: bool, old: u64, operands: [u64; 2]) -> u64 {
    let a = operands[0];
    let signed = |value: u64| match ty {
        Type::S32 => i64::from(value as u32 as i32),
        _ => value as i64,
    };
    match (op, ty) {
        (AtomicOp::Add, Type::F32) => {
            let flush = |value: f32| match flushes && value.is_subnormal() {
                true => 0f32.copysign(value),
                false => value,
            };
            let [old, a] = [old, a].map(|bits| flush(f32::from_bits(bits as u32)));
            u64::from(flush(old + a).to_bits())
        }
        (AtomicOp::Add, Type::F64) => (f64::from_bits(old) + f64::from_bits(a)).to_bits(),
        (AtomicOp::Add, _) => old.wrapping_add(a),
        (AtomicOp::Min, Type::S32 | Type::S64) => signed(old).min(signed(a)) as u64,
        (AtomicOp::Max, Type::S32 | Type::S64) => signed(old).max(signed(a)) as u64,
        (AtomicOp::Min, _) => old.min(a),
        (AtomicOp::Max, _) => old.max(a),
        (AtomicOp::And, _) => old & a,
        (AtomicOp::Or, _) => old | a,
        (AtomicOp::Xor, _) => old ^ a,
        (AtomicOp::Exch, _) => a,
        (AtomicOp::Cas, _) if old == a => operands[1],
        (AtomicOp::Cas, _) => old,
        (AtomicOp::Inc, _) if old >= a => 0,
        (AtomicOp::Inc, _) => old + 1,
        (AtomicOp::Dec, _) if old == 0 || old > a => a,
        (AtomicOp::Dec, _) => old - 1,
    }
}

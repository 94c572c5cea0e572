//! Operations over the lanes of a warp: shuffles, votes, matches, reductions, warp barriers.

use super::block::Block;
use super::step::Next;
use super::warp::{State, Warp};
use super::{At, Checked, lanes_of};
use crate::memory::shared::Moment;
use crate::program::{AtomicOp, Collective, ShuffleMode, VoteMode};
use crate::registers::{Class, LANES, Register};
use crate::report::Violation;
use crate::syntax::ast::Type;

impl Block<'_> {
    /// Runs an operation for each group of lanes that name the same mask. Lanes whose group is
    /// not complete wait.
    pub(super) fn collective(
        &mut self,
        at: At,
        active: u32,
        what: Collective,
        destinations: [Option<Register>; 2],
        sources: &[Register],
    ) -> Checked<Next> {
        let masks = *self.warps[at.warp]
            .registers
            .word(sources[sources.len() - 1]);
        let mut rest = active;
        let mut waiting = 0;
        while rest != 0 {
            let first = Warp::first(rest);
            let mask = masks[first];
            let group = lanes_of(rest)
                .filter(|&lane| masks[lane] == mask)
                .fold(0u32, |group, lane| group | 1 << lane);
            rest &= !group;
            let wrong = |reason: String| {
                let violation = Violation::LaneMask { mask, reason };
                self.report(at, first, violation)
            };
            if group & !mask != 0 {
                let lane = Warp::first(group & !mask);
                return Err(wrong(format!(
                    "lane {lane} runs the instruction but is not in it"
                )));
            }
            let gone = mask & !self.warps[at.warp].live();
            if gone != 0 {
                let lane = Warp::first(gone);
                return Err(wrong(format!("lane {lane} has exited or does not exist")));
            }
            if group != mask {
                let other = lanes_of(active & mask & !group).next();
                if let Some(lane) = other {
                    let reason = format!("lane {lane} is in it but gives {:#010x}", masks[lane]);
                    return Err(wrong(reason));
                }
                waiting |= group;
                continue;
            }
            self.perform(at, group, what, destinations, sources)?;
        }
        Ok(match waiting {
            0 => Next::Following,
            lanes => Next::Wait(lanes, State::WaitsForLanes),
        })
    }

    fn perform(
        &mut self,
        at: At,
        group: u32,
        what: Collective,
        destinations: [Option<Register>; 2],
        sources: &[Register],
    ) -> Checked {
        if what == Collective::Barrier {
            self.warps[at.warp].epoch += 1;
            if self.warps[at.warp].epoch > Moment::LAST_WARP_EPOCH {
                let last = Moment::LAST_WARP_EPOCH;
                let reason = format!("more than {last} at.warp barriers between two of the block");
                let lane = Warp::first(group);
                return Err(self.report(at, lane, Violation::Operand(reason)));
            }
            return Ok(());
        }
        if let Collective::Shuffle(mode) = what {
            return self.shuffle(at, group, mode, destinations, sources);
        }
        let registers = &mut self.warps[at.warp].registers;
        let value = sources[0];
        let wide = |lane: usize| match value.class {
            Class::Predicate => u64::from(registers.predicate(value) >> lane & 1),
            _ => registers.bits(value, lane),
        };
        // Every lane gets the same, but for match.any and elect.
        let mut results = [0u32; LANES];
        let mut predicate = 0u32;
        match what {
            Collective::Vote(mode, is_negated) => {
                let ballot = registers.predicate(value) ^ if is_negated { u32::MAX } else { 0 };
                let ballot = ballot & group;
                let holds = match mode {
                    VoteMode::Ballot => {
                        results = [ballot; LANES];
                        false
                    }
                    VoteMode::All => ballot == group,
                    VoteMode::Any => ballot != 0,
                    VoteMode::Uni => ballot == group || ballot == 0,
                };
                predicate = if holds { group } else { 0 };
            }
            Collective::MatchAny => {
                for lane in lanes_of(group) {
                    let equal = lanes_of(group).filter(|&other| wide(other) == wide(lane));
                    results[lane] = equal.fold(0, |mask, other| mask | 1 << other);
                }
            }
            Collective::MatchAll => {
                let first = wide(Warp::first(group));
                if lanes_of(group).all(|lane| wide(lane) == first) {
                    results = [group; LANES];
                    predicate = group;
                }
            }
            Collective::Redux(op, ty) => {
                let values = lanes_of(group).map(|lane| registers.word(value)[lane]);
                let reduced = values.reduce(|a, b| reduce(op, ty, a, b));
                results = [reduced.unwrap_or(0); LANES];
            }
            Collective::Elect => {
                let leader = Warp::first(group);
                results = [leader as u32; LANES];
                predicate = 1 << leader;
            }
            Collective::Barrier | Collective::Shuffle(_) => {}
        }
        let [result, with] = destinations;
        for register in result.into_iter().chain(with) {
            match register.class {
                Class::Predicate => registers.set_predicate(register, predicate, group),
                _ => {
                    for lane in lanes_of(group) {
                        registers.word_mut(register)[lane] = results[lane];
                    }
                }
            }
        }
        Ok(())
    }

    /// `shfl.sync`. PTX ISA 9.7.9.6.
    fn shuffle(
        &mut self,
        at: At,
        group: u32,
        mode: ShuffleMode,
        destinations: [Option<Register>; 2],
        sources: &[Register],
    ) -> Checked {
        let registers = &self.warps[at.warp].registers;
        let [values, offsets, clamps] = [0, 1, 2].map(|index| *registers.word(sources[index]));
        let mut results = [0u32; LANES];
        let mut in_range = 0u32;
        for lane in lanes_of(group) {
            let own = lane as u32;
            let offset = offsets[lane] & 31;
            let clamp = clamps[lane] & 31;
            let segment = clamps[lane] >> 8 & 31;
            let last = own & segment | clamp & !segment;
            let first = own & segment;
            let (source, is_in_range) = match mode {
                ShuffleMode::Up => {
                    let source = own.wrapping_sub(offset);
                    (source, source as i32 >= last as i32)
                }
                ShuffleMode::Down => (own + offset, own + offset <= last),
                ShuffleMode::Bfly => (own ^ offset, own ^ offset <= last),
                ShuffleMode::Idx => {
                    let source = first | offset & !segment;
                    (source, source <= last)
                }
            };
            let source = if is_in_range { source } else { own };
            if group >> source & 1 == 0 {
                let violation = Violation::InactiveLane {
                    lane: source,
                    active: group,
                };
                return Err(self.report(at, lane, violation));
            }
            results[lane] = values[source as usize];
            in_range |= u32::from(is_in_range) << lane;
        }
        let registers = &mut self.warps[at.warp].registers;
        let [result, predicate] = destinations;
        if let Some(result) = result {
            for lane in lanes_of(group) {
                registers.word_mut(result)[lane] = results[lane];
            }
        }
        if let Some(predicate) = predicate {
            registers.set_predicate(predicate, in_range, group);
        }
        Ok(())
    }
}

/// Combines two values as `redux` and the atomics on integers do.
fn reduce(op: AtomicOp, ty: Type, a: u32, b: u32) -> u32 {
    let is_signed = ty.is_signed();
    match op {
        AtomicOp::Add => a.wrapping_add(b),
        AtomicOp::Min if is_signed => (a as i32).min(b as i32) as u32,
        AtomicOp::Max if is_signed => (a as i32).max(b as i32) as u32,
        AtomicOp::Min => a.min(b),
        AtomicOp::Max => a.max(b),
        AtomicOp::And => a & b,
        AtomicOp::Or => a | b,
        AtomicOp::Xor => a ^ b,
        AtomicOp::Inc | AtomicOp::Dec | AtomicOp::Exch | AtomicOp::Cas => b,
    }
}

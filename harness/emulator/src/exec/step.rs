//! Runs one instruction after another until a warp cannot go on.

use super::block::{BARRIERS, Block};
use super::warp::{Fragment, State, Warp};
use super::{At, Checked, count_of, lanes_of};
use crate::memory::shared::Moment;
use crate::program::Operation;
use crate::registers::{Class, LANES, Register};
use crate::report::Violation;

/// Where the lanes of a fragment go after an instruction.
pub(super) enum Next {
    /// All to the next instruction.
    Following,
    /// The given lanes stay, waiting; the others go on.
    Wait(u32, State),
}

/// Instructions that a warp runs before the next one's turn. Turns let a warp wait for a value of
/// another.
const TURN: u64 = 1 << 16;

impl Block<'_> {
    /// Runs a warp until none of its lanes can go on, or its turn is over. Returns whether any lane
    /// advanced.
    pub(super) fn run_warp(&mut self, warp: usize) -> Checked<bool> {
        let mut has_moved = false;
        let end = self.spent + TURN;
        while self.spent < end
            && let Some(index) = self.warps[warp].next()
        {
            has_moved = true;
            let index = self.warps[warp].join(index);
            if self.warps[warp].fragments.len() == 1 {
                self.run_alone(warp, end)?;
            } else {
                self.step(warp, index)?;
            }
        }
        Ok(has_moved)
    }

    /// Runs a warp whose lanes are all at one place for as long as they are.
    fn run_alone(&mut self, warp: usize, end: u64) -> Checked {
        while self.spent < end
            && let [fragment] = self.warps[warp].fragments.as_slice()
            && fragment.state == State::Running
        {
            self.step(warp, 0)?;
        }
        Ok(())
    }

    /// Executes the instruction at which a fragment stands.
    fn step(&mut self, warp: usize, index: usize) -> Checked {
        let program = self.environment.program;
        let Fragment { pc, lanes, .. } = self.warps[warp].fragments[index];
        let at = At { warp, pc };
        let instruction = &program.instructions[pc as usize];
        self.spent += 1;
        if self.spent > self.environment.budget {
            let violation = Violation::Budget(self.environment.budget);
            return Err(self.report(at, Warp::first(lanes), violation));
        }
        let mut active = lanes;
        if let Some((register, is_negated)) = instruction.guard {
            self.check_written(at, register, lanes)?;
            let predicate = self.warps[warp].registers.predicate(register);
            active &= if is_negated { !predicate } else { predicate };
        }
        self.statistics.executed[pc as usize] += 1;
        self.statistics.lanes[pc as usize] += u64::from(count_of(active));
        if let Operation::Branch { target } = instruction.operation {
            self.branch(warp, index, active, target);
            return Ok(());
        }
        if active == 0 {
            self.warps[warp].fragments[index].pc += 1;
            return Ok(());
        }
        for &register in &instruction.reads {
            self.check_written(at, register, active)?;
        }
        let next = match &instruction.operation {
            Operation::Alu(alu) => {
                (alu.run)(alu, &mut self.warps[warp].registers, active);
                Next::Following
            }
            Operation::Branch { .. } | Operation::Nothing => Next::Following,
            Operation::Load(place) => self.load(at, active, place)?,
            Operation::Store(place) => self.store(at, active, place)?,
            Operation::Atomic(atomic) => self.atomic(at, active, atomic)?,
            Operation::Exit => {
                self.exit(warp, index, active);
                return Ok(());
            }
            Operation::Trap => {
                return Err(self.report(at, Warp::first(active), Violation::Trap));
            }
            Operation::Barrier {
                barrier,
                threads,
                is_arrival,
                is_aligned,
            } => {
                let number = self.uniform(at, *barrier, active)?;
                let threads = match threads {
                    Some(threads) => Some(self.uniform(at, *threads, active)?),
                    None => None,
                };
                // Other lanes may be on their way from further down: nothing is wrong until
                // nobody can go on.
                if !*is_aligned || active == self.warps[warp].lanes {
                    return self.arrive(warp, index, active, number, threads, *is_arrival);
                }
                Next::Wait(active, State::WaitsForLanes)
            }
            Operation::Collective {
                what,
                destinations,
                sources,
            } => self.collective(at, active, *what, *destinations, sources)?,
            Operation::ActiveMask(destination) => {
                let registers = &mut self.warps[warp].registers;
                for lane in lanes_of(active) {
                    registers.word_mut(*destination)[lane] = active;
                }
                Next::Following
            }
            Operation::CopyAsync(copy) => self.copy_async(at, active, copy)?,
            Operation::CopyCommit => self.copy_commit(warp, active),
            Operation::CopyWait(groups) => self.copy_wait(warp, active, *groups),
            Operation::LoadMatrix(matrices) => self.load_matrix(at, active, matrices)?,
            Operation::StoreMatrix(matrices) => self.store_matrix(at, active, matrices)?,
            Operation::MoveMatrix {
                destination,
                source,
            } => self.move_matrix(at, active, *destination, *source)?,
            Operation::Mma(mma) => self.mma(at, active, mma)?,
        };
        let state = &mut self.warps[warp];
        match next {
            Next::Following => {
                for &register in &instruction.writes {
                    state.registers.mark_written(register, active);
                }
                state.fragments[index].pc += 1;
            }
            Next::Wait(waiting, why) => {
                // They come back, and are counted then.
                let done = active & !waiting;
                self.statistics.executed[pc as usize] -= u64::from(done == 0);
                self.statistics.lanes[pc as usize] -= u64::from(waiting.count_ones());
                for &register in &instruction.writes {
                    state.registers.mark_written(register, done);
                }
                state.fragments[index] = Fragment {
                    pc,
                    lanes: waiting,
                    state: why,
                };
                if lanes & !waiting != 0 {
                    state.fragments.push(Fragment {
                        pc: pc + 1,
                        lanes: lanes & !waiting,
                        state: State::Running,
                    });
                }
            }
        }
        Ok(())
    }

    /// Checks that the active lanes of a register hold a value.
    #[inline(always)]
    fn check_written(&self, at: At, register: Register, active: u32) -> Checked {
        let missing = active & !self.warps[at.warp].registers.written(register);
        if missing == 0 {
            return Ok(());
        }
        let names = &self.environment.program.names[register.class as usize];
        let violation = Violation::UnwrittenRegister {
            register: names[usize::from(register.index)].clone(),
        };
        Err(self.report(at, Warp::first(missing), violation))
    }

    fn branch(&mut self, warp: usize, index: usize, taken: u32, target: u32) {
        let fragments = &mut self.warps[warp].fragments;
        let fragment = &mut fragments[index];
        let straight = fragment.lanes & !taken;
        if straight == 0 {
            fragment.pc = target;
        } else {
            fragment.pc += 1;
            if taken != 0 {
                fragment.lanes = straight;
                self.statistics.divergent_branches += 1;
                fragments.push(Fragment {
                    pc: target,
                    lanes: taken,
                    state: State::Running,
                });
            }
        }
    }

    fn exit(&mut self, warp: usize, index: usize, active: u32) {
        let fragments = &mut self.warps[warp].fragments;
        let fragment = &mut fragments[index];
        fragment.lanes &= !active;
        fragment.pc += 1;
        if fragment.lanes == 0 {
            fragments.swap_remove(index);
        }
    }

    /// The value of an operand that all lanes must agree on.
    fn uniform(&self, at: At, register: Register, active: u32) -> Checked<u32> {
        debug_assert_eq!(register.class, Class::Word);
        let values = self.warps[at.warp].registers.word(register);
        let first = Warp::first(active);
        match lanes_of(active).find(|&lane| values[lane] != values[first]) {
            None => Ok(values[first]),
            Some(lane) => {
                let reason = format!(
                    "lanes {first} and {lane} give {} and {} where all must agree",
                    values[first], values[lane]
                );
                Err(self.report(at, lane, Violation::Operand(reason)))
            }
        }
    }

    /// Threads arrive at a barrier.
    fn arrive(
        &mut self,
        warp: usize,
        index: usize,
        active: u32,
        number: u32,
        threads: Option<u32>,
        is_arrival: bool,
    ) -> Checked {
        let Fragment { pc, lanes, .. } = self.warps[warp].fragments[index];
        let all = self.environment.block.iter().product::<u32>();
        let (at, lane) = (At { warp, pc }, Warp::first(active));
        let wrong = |reason: String| self.report(at, lane, Violation::Operand(reason));
        if number as usize >= BARRIERS {
            return Err(wrong(format!("there is no barrier {number}")));
        }
        let expected = threads.unwrap_or(all);
        if threads.is_some() && (expected == 0 || !expected.is_multiple_of(32)) {
            return Err(wrong(format!(
                "{expected} threads are no whole number of warps"
            )));
        }
        let barrier = self.barriers[number as usize];
        if barrier.arrived > 0 && barrier.expected != expected {
            let violation = Violation::BarrierCount {
                barrier: number,
                first: barrier.expected,
                second: expected,
            };
            return Err(self.report(at, lane, violation));
        }
        // A count given in the instruction counts warps whole, the last one too.
        let arriving = match threads {
            Some(_) if active == self.warps[warp].lanes => LANES as u32,
            _ => count_of(active),
        };
        let barrier = &mut self.barriers[number as usize];
        barrier.expected = expected;
        barrier.arrived += arriving;
        let is_complete = barrier.arrived >= expected;
        let state = &mut self.warps[warp];
        state.fragments[index].lanes = lanes & !active;
        state.fragments[index].pc += 1;
        let fragment = Fragment {
            pc: pc + 1,
            lanes: active,
            state: match is_arrival {
                true => State::Running,
                false => State::WaitsAtBarrier(number),
            },
        };
        if lanes == active {
            state.fragments[index] = fragment;
        } else {
            state.fragments.push(fragment);
        }
        if is_complete {
            *barrier = Default::default();
            self.epoch += 1;
            if self.epoch > Moment::LAST_BLOCK_EPOCH {
                let reason = format!("more than {} barriers", Moment::LAST_BLOCK_EPOCH);
                return Err(self.report(at, lane, Violation::Operand(reason)));
            }
            for warp in &mut self.warps {
                warp.epoch = 0;
                for fragment in &mut warp.fragments {
                    if fragment.state == State::WaitsAtBarrier(number) {
                        fragment.state = State::Running;
                    }
                }
            }
        }
        Ok(())
    }
}

//! A block: its warps, its shared memory, its barriers.

use super::asynchronous::Copies;
use super::mma::Workspace;
use super::warp::{Fragment, State, Warp};
use super::{At, Checked};
use crate::memory::global::{Allocation, GlobalMemory};
use crate::memory::local::LocalMemory;
use crate::memory::log::{Interval, TouchLog};
use crate::memory::shared::SharedMemory;
use crate::program::{Operation, Program, Special};
use crate::registers::{Class, LANES, Register, Registers};
use crate::report::{Index3, Report, Violation};
use crate::statistics::Statistics;

/// The state that all blocks of a launch share.
pub(crate) struct Environment<'a> {
    pub program: &'a Program,
    pub memory: &'a GlobalMemory,
    pub parameters: &'a [u8],
    pub grid: [u32; 3],
    pub block: [u32; 3],
    pub dynamic_shared: u32,
    /// Warp instructions that a block may run.
    pub budget: u64,
}

/// A barrier of a block.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Barrier {
    pub arrived: u32,
    pub expected: u32,
}

/// Barriers of a block. PTX ISA 9.7.13.1.
pub(super) const BARRIERS: usize = 16;

/// A block at work; it runs one block after another.
pub(crate) struct Block<'a> {
    pub(super) environment: &'a Environment<'a>,
    pub(super) index: Index3,
    pub(super) warps: Vec<Warp>,
    pub(super) shared: SharedMemory,
    pub(super) barriers: [Barrier; BARRIERS],
    pub(super) epoch: u32,
    pub(super) log: TouchLog,
    pub(super) recent_allocation: Option<&'a Allocation>,
    pub(super) statistics: Statistics,
    pub(super) spent: u64,
    pub(super) workspace: Box<Workspace>,
}

impl<'a> Block<'a> {
    /// A new block, in which one block after another runs.
    pub fn new(environment: &'a Environment<'a>) -> Self {
        let program = environment.program;
        let threads = environment.block.iter().product::<u32>();
        let [words, doubles, predicates] = program.registers;
        let mut registers = Registers::new(words, doubles, predicates);
        for &(register, value) in &program.constants {
            match register.class {
                Class::Word => *registers.word_mut(register) = [value as u32; LANES],
                Class::Double => *registers.double_mut(register) = [value; LANES],
                Class::Predicate => {
                    registers.set_predicate(register, 0u32.wrapping_sub(value as u32 & 1), !0);
                }
            }
        }
        let warps = (0..threads.div_ceil(LANES as u32)).map(|number| {
            let count = (threads - number * LANES as u32).min(LANES as u32);
            Warp {
                number,
                lanes: (u64::MAX >> (64 - count)) as u32,
                registers: registers.clone(),
                local: LocalMemory::new(program.local as usize),
                fragments: Vec::new(),
                epoch: 0,
                copies: Copies::default(),
            }
        });
        let shared = program.static_shared + environment.dynamic_shared;
        Self {
            environment,
            index: Index3::default(),
            warps: warps.collect(),
            shared: SharedMemory::new(shared as usize),
            barriers: [Barrier::default(); BARRIERS],
            epoch: 0,
            log: TouchLog::default(),
            recent_allocation: None,
            statistics: Statistics::new(program.instructions.len()),
            spent: 0,
            workspace: Box::new(Workspace::new()),
        }
    }

    /// Resets the state to the start of block number `linear`.
    fn begin(&mut self, linear: u32) {
        let program = self.environment.program;
        self.index = Index3::of(linear, self.environment.grid);
        self.shared.reset();
        self.barriers = [Barrier::default(); BARRIERS];
        self.epoch = 0;
        self.log = TouchLog::default();
        self.spent = 0;
        let mut warps = std::mem::take(&mut self.warps);
        for warp in &mut warps {
            warp.registers.forget();
            for &(register, _) in &program.constants {
                warp.registers.mark_written(register, u32::MAX);
            }
            for &(register, special) in &program.specials {
                self.set_special(&mut warp.registers, register, special, warp.number);
            }
            warp.local.reset();
            warp.fragments.clear();
            warp.fragments.push(Fragment {
                pc: 0,
                lanes: warp.lanes,
                state: State::Running,
            });
            warp.epoch = 0;
            warp.copies = Copies::default();
        }
        self.warps = warps;
    }

    fn set_special(
        &self,
        registers: &mut Registers,
        register: Register,
        special: Special,
        warp: u32,
    ) {
        let environment = self.environment;
        let threads = environment.block.iter().product::<u32>();
        *registers.word_mut(register) = std::array::from_fn(|lane| {
            let bit = 1u32 << lane;
            let thread = warp * LANES as u32 + lane as u32;
            match special {
                Special::Tid(axis) => Index3::of(thread, environment.block).0[axis],
                Special::NTid(axis) => environment.block[axis],
                Special::CtaId(axis) => self.index.0[axis],
                Special::NCtaId(axis) => environment.grid[axis],
                Special::LaneId => lane as u32,
                Special::WarpId => warp,
                Special::NWarpId => threads.div_ceil(LANES as u32),
                Special::LaneMaskEq => bit,
                Special::LaneMaskLt => bit - 1,
                Special::LaneMaskLe => bit | (bit - 1),
                Special::LaneMaskGt => !(bit | (bit - 1)),
                Special::LaneMaskGe => !(bit - 1),
                Special::DynamicSharedBytes => environment.dynamic_shared,
                Special::TotalSharedBytes => {
                    environment.program.static_shared + environment.dynamic_shared
                }
            }
        });
        registers.mark_written(register, u32::MAX);
    }

    /// Runs block number `linear` of the grid to its end, and returns the global memory that it
    /// touched.
    ///
    /// # Errors
    /// The first rule that it breaks.
    pub fn run(&mut self, linear: u32) -> Checked<Vec<Interval>> {
        self.begin(linear);
        loop {
            let mut has_moved = false;
            for warp in 0..self.warps.len() {
                has_moved |= self.run_warp(warp)?;
            }
            if self.warps.iter().all(|warp| warp.fragments.is_empty()) {
                return Ok(std::mem::take(&mut self.log).finish());
            }
            if !has_moved {
                return Err(self.stuck());
            }
        }
    }

    /// The statistics of the blocks that ran.
    pub fn into_statistics(self) -> Statistics {
        self.statistics
    }

    /// Why no warp can go on.
    fn stuck(&self) -> Box<Report> {
        for warp in &self.warps {
            let waiting = warp.fragments.iter();
            let mut waiting = waiting.filter(|fragment| fragment.state == State::WaitsForLanes);
            if let Some(fragment) = waiting.next() {
                let instruction = &self.environment.program.instructions[fragment.pc as usize];
                let violation = match instruction.operation {
                    Operation::Barrier { .. } => Violation::DivergentBarrier {
                        arrived: fragment.lanes,
                        expected: warp.lanes,
                    },
                    _ => Violation::LaneMask {
                        mask: fragment.lanes,
                        reason: "these lanes wait for others, which never come".into(),
                    },
                };
                let lane = Warp::first(fragment.lanes);
                return self.report(warp.at(fragment), lane, violation);
            }
        }
        let waiting = self.warps.iter().find_map(|warp| {
            warp.fragments
                .iter()
                .find_map(|fragment| match fragment.state {
                    State::WaitsAtBarrier(barrier) => Some((warp, fragment, barrier)),
                    _ => None,
                })
        });
        let (warp, fragment, barrier) = waiting.expect("a block that is not finished waits");
        let state = self.barriers[barrier as usize];
        let elsewhere = self
            .warps
            .iter()
            .flat_map(|warp| &warp.fragments)
            .find(|fragment| fragment.state != State::WaitsAtBarrier(barrier));
        let others = match elsewhere {
            Some(fragment) => {
                let instructions = &self.environment.program.instructions;
                let place = instructions[fragment.stands_at() as usize].position;
                format!("wait at line {place}")
            }
            None => "have exited".to_owned(),
        };
        let violation = Violation::StuckBarrier {
            barrier,
            arrived: state.arrived,
            expected: state.expected,
            others,
        };
        self.report(warp.at(fragment), Warp::first(fragment.lanes), violation)
    }

    /// A report about an instruction of a warp and a lane.
    #[cold]
    pub(super) fn report(&self, at: At, lane: usize, violation: Violation) -> Box<Report> {
        let program = self.environment.program;
        Box::new(Report {
            kernel: program.name.clone(),
            position: program.instructions[at.pc as usize].position,
            block: self.index,
            thread: Index3::of(at.thread(lane), self.environment.block),
            violation,
        })
    }
}

//! Launches a kernel: checks its geometry, runs its blocks on the cores of the host, merges their
//! results.

use std::sync::atomic::{AtomicU32, Ordering};

use rayon::prelude::*;

use crate::exec::{Block, Environment};
use crate::lower::{ProgramError, lower};
use crate::memory::global::GlobalMemory;
use crate::memory::log::{Interval, Touch, first_conflict};
use crate::program::{Operation, Program, Space};
use crate::report::{Index3, Other, Report, Violation};
use crate::statistics::Statistics;
use crate::syntax::ast::Module;
use crate::syntax::{ParseError, parse};

/// Threads of a block, at most.
pub const MAX_THREADS: u32 = 1024;
/// The most bytes of shared memory of a block that a kernel may opt in to on sm_90.
pub const MAX_SHARED: u32 = 227 * 1024;
/// The default budget of warp instructions of a block.
pub const DEFAULT_BUDGET: u64 = 1 << 32;

/// The kernels of a module.
#[derive(Clone, Debug)]
pub struct Kernels {
    programs: Vec<Program>,
}

/// Why PTX text cannot be loaded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LoadError {
    /// It is not PTX.
    #[error(transparent)]
    Syntax(#[from] ParseError),
    /// It is PTX that the emulator cannot run.
    #[error(transparent)]
    Program(#[from] ProgramError),
}

/// The size of a launch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    /// Blocks.
    pub grid: [u32; 3],
    /// Threads of a block.
    pub block: [u32; 3],
    /// Bytes of dynamic shared memory of a block.
    pub dynamic_shared: u32,
}

/// The limits of a launch's size.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Threads of a block, at most.
    pub threads: u32,
    /// Bytes of shared memory of a block, at most.
    pub shared: u32,
    /// Bytes of it that the kernel takes.
    pub static_shared: u32,
    /// `.reqntid` of the kernel.
    pub required_threads: Option<[u32; 3]>,
    /// `.maxntid` of the kernel.
    pub maximum_threads: Option<[u32; 3]>,
}

fn product(size: [u32; 3]) -> u128 {
    size.into_iter().fold(1, |all, n| all * u128::from(n))
}

impl Geometry {
    /// Checks a size that any machine would refuse.
    ///
    /// # Errors
    /// A text that says what does not fit.
    pub fn check(self, limits: &Limits) -> Result<(), String> {
        let Self {
            grid: grid @ [x, y, z],
            block,
            dynamic_shared,
        } = self;
        let threads = product(block);
        if product(grid) == 0 || threads == 0 {
            return Err("the grid or the block is empty".to_owned());
        }
        if x > i32::MAX as u32 || y > 65_535 || z > 65_535 {
            return Err(format!("a grid of {grid:?} blocks is too large"));
        }
        let most = limits.threads;
        if threads > u128::from(most) {
            return Err(format!(
                "{threads} threads a block, at most {most} are possible"
            ));
        }
        if block[2] > 64 {
            let depth = block[2];
            return Err(format!(
                "a block {depth} threads deep, at most 64 are possible"
            ));
        }
        if let Some(required) = limits.required_threads.filter(|size| *size != block) {
            return Err(format!("it requires blocks of {required:?}, not {block:?}"));
        }
        if let Some(maximum) = limits
            .maximum_threads
            .filter(|size| threads > product(*size))
        {
            return Err(format!(
                "{threads} threads a block, it takes at most {maximum:?}"
            ));
        }
        let shared = u64::from(limits.static_shared) + u64::from(dynamic_shared);
        match limits.shared {
            most if shared > u64::from(most) => Err(format!(
                "{shared} bytes of shared memory, at most {most} are possible"
            )),
            _ => Ok(()),
        }
    }
}

/// Why a kernel did not finish.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum LaunchError {
    /// The kernel broke a rule.
    #[error(transparent)]
    Violation(#[from] Box<Report>),
    /// There is no such kernel.
    #[error("there is no kernel `{0}`")]
    NoKernel(String),
    /// The grid or the block is empty, too large, or not what the kernel requires.
    #[error("{kernel}: {reason}")]
    Geometry {
        /// Kernel.
        kernel: String,
        /// What is wrong.
        reason: String,
    },
    /// The parameters do not fill the kernel's parameter block.
    #[error("{kernel}: its parameters have {expected} bytes, not {given}")]
    Parameters {
        /// Kernel.
        kernel: String,
        /// Bytes that the kernel declares.
        expected: usize,
        /// Bytes that are given.
        given: usize,
    },
}

impl Kernels {
    /// Loads PTX text.
    ///
    /// # Errors
    /// With the place of the first thing that is not PTX, or that the emulator does not know.
    pub fn load(source: &str) -> Result<Self, LoadError> {
        Ok(Self::of(&parse(source)?)?)
    }

    /// The kernels of a module.
    ///
    /// # Errors
    /// With the place of the first thing that the emulator does not know.
    pub fn of(module: &Module) -> Result<Self, ProgramError> {
        let programs = lower(module)?;
        Ok(Self { programs })
    }

    /// The kernels, in the order of the text.
    pub fn programs(&self) -> &[Program] {
        &self.programs
    }

    /// Runs a kernel to its end, with every check on. `parameters` is its parameter block.
    ///
    /// # Errors
    /// The rule that it broke. If several blocks break one, the error is that of the lowest block,
    /// in whatever order they ran.
    pub fn launch(
        &self,
        kernel: &str,
        geometry: Geometry,
        parameters: &[u8],
        memory: &mut GlobalMemory,
        budget: u64,
    ) -> Result<Statistics, LaunchError> {
        let program = self.programs.iter().find(|program| program.name == kernel);
        let program = program.ok_or_else(|| LaunchError::NoKernel(kernel.to_owned()))?;
        let limits = Limits {
            threads: MAX_THREADS,
            shared: MAX_SHARED,
            static_shared: program.static_shared,
            required_threads: program.required_threads,
            maximum_threads: program.maximum_threads,
        };
        let checked = geometry.check(&limits).and_then(|()| match geometry.grid {
            grid if product(grid) > i32::MAX as u128 => {
                Err(format!("a grid of {grid:?} blocks is too large"))
            }
            _ => Ok(()),
        });
        checked.map_err(|reason| LaunchError::Geometry {
            kernel: kernel.to_owned(),
            reason,
        })?;
        let expected = program.parameters.last();
        let expected = expected.map_or(0, |last| (last.offset + last.bytes) as usize);
        if parameters.len() != expected {
            return Err(LaunchError::Parameters {
                kernel: kernel.to_owned(),
                expected,
                given: parameters.len(),
            });
        }
        let environment = Environment {
            program,
            memory,
            parameters,
            grid: geometry.grid,
            block: geometry.block,
            dynamic_shared: geometry.dynamic_shared,
            budget,
        };
        let blocks = geometry.grid.iter().product::<u32>();
        // Blocks after one that broke a rule need not run; those before it decide what is told.
        let failed = AtomicU32::new(u32::MAX);
        let start = || Worker::new(&environment);
        // Atomics make results depend on the order of blocks; then that is one after the other.
        let done = if has_global_atomics(program) {
            (0..blocks)
                .fold(start(), |worker, block| worker.run(block, &failed))
                .finish()
        } else {
            let workers = (0..blocks).into_par_iter();
            let workers = workers.fold(start, |worker, block| worker.run(block, &failed));
            let nothing = || Done::new(program);
            workers.map(Worker::finish).reduce(nothing, Done::with)
        };
        let Done {
            logs,
            statistics,
            failure,
        } = done;
        if let Some((_, report)) = failure {
            return Err(report.into());
        }
        if let Some(conflict) = first_conflict(&logs) {
            return Err(global_race(program, geometry, memory, conflict).into());
        }
        for interval in logs.iter().flat_map(|(_, log)| log) {
            if interval.touch != Touch::Read {
                memory.mark_written(interval.start, interval.end);
            }
        }
        Ok(statistics)
    }
}

/// Runs blocks, one after the other.
struct Worker<'a> {
    block: Block<'a>,
    logs: Vec<(u32, Vec<Interval>)>,
    failure: Option<(u32, Box<Report>)>,
}

impl<'a> Worker<'a> {
    fn new(environment: &'a Environment<'a>) -> Self {
        Self {
            block: Block::new(environment),
            logs: Vec::new(),
            failure: None,
        }
    }

    /// Runs a block unless a lower one has `failed`.
    fn run(mut self, linear: u32, failed: &AtomicU32) -> Self {
        if linear > failed.load(Ordering::Relaxed) {
            return self;
        }
        match self.block.run(linear) {
            Ok(log) => self.logs.push((linear, log)),
            Err(report) => {
                failed.fetch_min(linear, Ordering::Relaxed);
                self.failure = Some((linear, report));
            }
        }
        self
    }

    fn finish(self) -> Done {
        Done {
            logs: self.logs,
            statistics: self.block.into_statistics(),
            failure: self.failure,
        }
    }
}

/// The results of some blocks.
struct Done {
    /// The global memory that each block touched.
    logs: Vec<(u32, Vec<Interval>)>,
    statistics: Statistics,
    /// The lowest block that broke a rule.
    failure: Option<(u32, Box<Report>)>,
}

impl Done {
    fn new(program: &Program) -> Self {
        Self {
            logs: Vec::new(),
            statistics: Statistics::new(program.instructions.len()),
            failure: None,
        }
    }

    fn with(mut self, other: Self) -> Self {
        self.logs.extend(other.logs);
        self.statistics.add(&other.statistics);
        let failures = self.failure.into_iter().chain(other.failure);
        self.failure = failures.min_by_key(|(block, _)| *block);
        self
    }
}

/// Whether blocks may see what others do: through atomics, or volatile and ordered accesses.
fn has_global_atomics(program: &Program) -> bool {
    let mut operations = program.instructions.iter().map(|i| &i.operation);
    operations.any(|operation| match operation {
        Operation::Atomic(atomic) => matches!(atomic.space, Space::Global | Space::Generic),
        Operation::Load(moved) | Operation::Store(moved) => {
            moved.is_atomic && matches!(moved.space, Space::Global | Space::Generic)
        }
        _ => false,
    })
}

fn global_race(
    program: &Program,
    geometry: Geometry,
    memory: &GlobalMemory,
    conflict: crate::memory::log::Conflict,
) -> Box<Report> {
    let [(first_block, first), (second_block, second)] = conflict.sides;
    let place = |instruction: u32| program.instructions[instruction as usize].position;
    let allocation = memory.nearest(conflict.address);
    Box::new(Report {
        kernel: program.name.clone(),
        position: place(second.instruction),
        block: Index3::of(second_block, geometry.grid),
        thread: Index3::of(second.thread, geometry.block),
        violation: Violation::GlobalRace {
            address: conflict.address,
            allocation: allocation.map_or_else(String::new, ToString::to_string),
            touch: second.touch,
            other_touch: first.touch,
            other: Other {
                block: Some(Index3::of(first_block, geometry.grid)),
                thread: Index3::of(first.thread, geometry.block),
                position: place(first.instruction),
            },
        },
    })
}

//! Campaigns: many jobs, any of which may crash the device.
//!
//! A *job* is a kernel with random problems, an instruction with its row, or a fault on purpose. A
//! *worker* is a process that runs jobs one after the other on a device of its own; a kernel that
//! crashes costs its process the device. Before and after each job the worker writes to its
//! *journal*, so that its results survive whatever ends it. The *supervisor* starts workers. When a
//! worker dies, it notes which job was running and starts another worker behind that job. It adds
//! up all results.
//!
//! | module | what |
//! |---|---|
//! | `job` | what a job is, its verdict, and a kernel as a job |
//! | `instruction`, `fault` | the other jobs |
//! | `order` | the order of jobs, and the shard of each |
//! | `worker` | the loop of a worker |
//! | `journal`, `folder` | the events of workers on disk, and their campaign |
//! | `outcome` | the sum of all events |
//! | `supervise`, `process` | worker processes, restarted when they die |
//! | `estimate` | the time that all jobs will take |
//! | `here` | a campaign in this process, for harmless jobs |

mod estimate;
mod fault;
mod folder;
mod here;
mod instruction;
mod job;
mod journal;
mod order;
mod outcome;
mod process;
mod supervise;
mod worker;

pub use estimate::time_of_all;
pub use fault::{Fault, FaultJob};
pub use folder::{Folder, FolderError, Identity};
pub use here::run;
pub use instruction::InstructionJob;
pub use job::{Bench, Job, KernelJob, Verdict, Visit};
pub use journal::{Event, Journal, JournalError, Told, read_folder};
pub use order::Order;
pub use outcome::{Finding, Outcome, Tally};
pub use supervise::{End, Supervisor, WorkerExit};
pub use worker::{Stop, WorkError, work};

use mxlab_kernels::registry::{Entry, Problem};
use rand::Rng;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// How much to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Until {
    /// That many problems for each kernel.
    Problems(u32),
    /// Round after round, until the time limit.
    TimeLimit,
    /// One round, and more until each family has had that many elements.
    Elements(u64),
}

/// The plan of a campaign.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// The seed of all problems.
    pub seed: u64,
    /// About how many elements a problem has.
    pub elements: usize,
    /// When to stop.
    pub until: Until,
    /// The time limit; jobs that are not reached by then are not run.
    pub time_limit: Option<Duration>,
    /// How long a launch may take, and a job may take without a sign of life.
    pub watchdog: Duration,
}

/// Problems of a kernel in a round that repeats.
const PROBLEMS_PER_ROUND: u32 = 8;

impl Plan {
    /// The numbers of a kernel's problems in a round.
    fn problems(&self, round: u32) -> std::ops::Range<u32> {
        match self.until {
            Until::Problems(count) => 0..count,
            _ => round * PROBLEMS_PER_ROUND..(round + 1) * PROBLEMS_PER_ROUND,
        }
    }
}

/// The seed of a kernel's n-th problem in a campaign.
pub fn case_seed(campaign: u64, kernel: &str, n: u32) -> u64 {
    // FNV-1a, so that a problem depends neither on the list of kernels nor on its order.
    let bytes = campaign.to_le_bytes().into_iter().chain(kernel.bytes());
    bytes
        .chain(n.to_le_bytes())
        .fold(0xCBF2_9CE4_8422_2325, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3)
        })
}

/// The problem of a seed, with about `elements` elements. One problem in eight has eight times as
/// many, so that several thread blocks work on it.
pub fn problem_of(entry: &dyn Entry, seed: u64, elements: usize) -> Problem {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let elements = match rng.random_ratio(1, 8) {
        true => 8 * elements,
        false => elements,
    };
    entry.problem(&mut rng, elements)
}

//! Random problems for many kernels, until a limit.

use crate::shrink::shrink;
use mxlab_harness::device::{Device, DeviceError, Stream};
use mxlab_kernels::registry::{Entry, Failure, Problem, Runner, verify};
use rand::Rng;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use rayon::prelude::*;
use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// How much to do.
#[derive(Clone, Copy, Debug)]
pub enum Until {
    /// That many problems for each kernel.
    Problems(u32),
    /// Round after round, until this time.
    Time(Duration),
    /// One round, and more until each family has had that many elements.
    Elements(u64),
}

/// What a campaign does.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Chooses all problems.
    pub seed: u64,
    /// About how many elements a problem has.
    pub elements: usize,
    /// When to stop.
    pub until: Until,
}

/// What a campaign found.
#[derive(Debug, Default)]
pub struct Outcome {
    /// By family.
    pub families: BTreeMap<&'static str, Tally>,
    /// Kernels that are wrong, each once, in the order of ids.
    pub findings: Vec<Finding>,
}

/// What was compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Kernels that were run.
    pub kernels: u64,
    /// Problems.
    pub problems: u64,
    /// Elements of those problems.
    pub elements: u64,
}

/// A kernel that is wrong.
#[derive(Debug)]
pub struct Finding {
    /// The kernel.
    pub kernel: String,
    /// Its family.
    pub family: &'static str,
    /// The seed of the problem that showed it, for [`problem_of`]; `None` if it does not load.
    pub seed: Option<u64>,
    /// The smallest problem that shows it.
    pub problem: Option<Problem>,
    /// What is wrong there.
    pub failure: String,
}

/// Problems of a kernel in a round that repeats.
const PROBLEMS_PER_ROUND: u32 = 8;

/// Findings after which a campaign stops.
const ENOUGH: usize = 20;

/// The seed of a kernel's nth problem in a campaign.
pub fn case_seed(campaign: u64, kernel: &str, n: u32) -> u64 {
    // FNV-1a, so that a problem depends neither on the list of kernels nor on its order.
    let bytes = campaign.to_le_bytes().into_iter().chain(kernel.bytes());
    bytes
        .chain(n.to_le_bytes())
        .fold(0xCBF2_9CE4_8422_2325, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3)
        })
}

/// The problem of a seed: of about `elements` elements, one in eight of eight times as many, so
/// that several thread blocks work on it.
pub fn problem_of(entry: &dyn Entry, seed: u64, elements: usize) -> Problem {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let elements = match rng.random_ratio(1, 8) {
        true => 8 * elements,
        false => elements,
    };
    entry.problem(&mut rng, elements)
}

/// Runs a campaign over `entries`. Each worker thread has a device of its own from `open`;
/// `progress` is called after each kernel with the elements so far.
///
/// # Errors
/// If a device cannot be opened. A kernel that is wrong is no error.
pub fn run(
    entries: &[Box<dyn Entry>],
    plan: Plan,
    open: impl Fn() -> Result<Device, DeviceError> + Sync,
    progress: impl Fn(u64) + Sync,
) -> Result<Outcome, DeviceError> {
    let begun = Instant::now();
    // So that a limit that is reached early has seen kernels of all kinds.
    let mut entries: Vec<&dyn Entry> = entries.iter().map(|entry| &**entry).collect();
    entries.sort_by_cached_key(|entry| case_seed(plan.seed, &entry.id(), 0));
    let is_over = || match plan.until {
        Until::Time(limit) => begun.elapsed() >= limit,
        Until::Problems(_) | Until::Elements(_) => false,
    };
    let outcome = Mutex::new(Outcome::default());
    let elements = AtomicU64::new(0);
    // Poisoned only if a worker panicked, which ends the campaign anyway.
    let lock = || {
        outcome
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    };
    for round in 0u32.. {
        let needs_more = |entry: &dyn Entry| match plan.until {
            Until::Elements(enough) if round > 0 => {
                let outcome = lock();
                let family = outcome.families.get(entry.family());
                family.is_none_or(|tally| tally.elements < enough)
            }
            _ => true,
        };
        let (first, count) = match plan.until {
            Until::Problems(count) => (0, count),
            _ => (round * PROBLEMS_PER_ROUND, PROBLEMS_PER_ROUND),
        };
        let visit = |worker: &mut Result<Worker, DeviceError>, entry: &&dyn Entry| {
            let worker = worker.as_ref().map_err(Clone::clone)?;
            let is_known = |outcome: &Outcome| {
                outcome
                    .findings
                    .iter()
                    .any(|finding| finding.kernel == entry.id())
            };
            let is_done = is_over() || !needs_more(*entry);
            if is_done || lock().findings.len() >= ENOUGH || is_known(&lock()) {
                return Ok(());
            }
            let (tally, finding) = worker.visit(*entry, plan, first, count);
            let mut outcome = lock();
            let family = outcome.families.entry(entry.family()).or_default();
            family.kernels += u64::from(round == 0);
            family.problems += tally.problems;
            family.elements += tally.elements;
            outcome.findings.extend(finding);
            drop(outcome);
            progress(elements.fetch_add(tally.elements, Ordering::Relaxed) + tally.elements);
            Ok(())
        };
        entries
            .par_iter()
            .map_init(|| Worker::open(&open), visit)
            .collect::<Result<(), DeviceError>>()?;
        let is_enough = match plan.until {
            Until::Problems(_) => true,
            Until::Time(_) => is_over(),
            Until::Elements(_) => !entries.iter().any(|entry| needs_more(*entry)),
        };
        if is_enough || entries.is_empty() || lock().findings.len() >= ENOUGH {
            break;
        }
    }
    let mut outcome = outcome
        .into_inner()
        .unwrap_or_else(|poisoned| poisoned.into_inner());
    outcome.findings.sort_by(|a, b| a.kernel.cmp(&b.kernel));
    Ok(outcome)
}

/// A device and a stream of one thread.
struct Worker {
    device: Device,
    stream: Stream,
}

impl Worker {
    fn open(open: impl Fn() -> Result<Device, DeviceError>) -> Result<Self, DeviceError> {
        let device = open()?;
        let stream = device.stream()?;
        Ok(Self { device, stream })
    }

    /// Loads a kernel and gives it problems `first..first + count`, until one fails.
    fn visit(
        &self,
        entry: &dyn Entry,
        plan: Plan,
        first: u32,
        count: u32,
    ) -> (Tally, Option<Finding>) {
        let mut tally = Tally::default();
        let kernel = entry.id();
        let runner = match entry.load(&self.device, &entry.ptx()) {
            Ok(runner) => runner,
            Err(error) => {
                let finding = Finding {
                    kernel,
                    family: entry.family(),
                    seed: None,
                    problem: None,
                    failure: error.to_string(),
                };
                return (tally, Some(finding));
            }
        };
        for n in first..first + count {
            let seed = case_seed(plan.seed, &kernel, n);
            let problem = problem_of(entry, seed, plan.elements);
            tally.problems += 1;
            tally.elements += entry.elements(&problem);
            if let Err(failure) = verify(entry, &*runner, &self.stream, &problem) {
                let (problem, failure) = self.shrink(entry, &*runner, problem, failure);
                let finding = Finding {
                    kernel,
                    family: entry.family(),
                    seed: Some(seed),
                    problem: Some(problem),
                    failure: failure.to_string(),
                };
                return (tally, Some(finding));
            }
        }
        (tally, None)
    }

    /// The smallest problem that still fails, and how it fails.
    fn shrink(
        &self,
        entry: &dyn Entry,
        runner: &dyn Runner,
        problem: Problem,
        failure: Failure,
    ) -> (Problem, Failure) {
        // What the reference does not take is no smaller problem.
        let fails = |problem: &Problem| {
            entry.reference(problem).is_ok()
                && verify(entry, runner, &self.stream, problem).is_err()
        };
        let smallest = shrink(entry, problem, fails);
        match verify(entry, runner, &self.stream, &smallest) {
            Err(failure) => (smallest, failure),
            Ok(()) => (smallest, failure),
        }
    }
}

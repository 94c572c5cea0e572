//! Jobs of a worker, and their verdicts.

use super::{Plan, case_seed, problem_of};
use crate::shrink::shrink;
use mxlab_harness::device::{Code, Device, Stream};
use mxlab_kernels::kernel::LaunchError;
use mxlab_kernels::registry::{Entry, EntryError, Failure, Problem, Runner, verify};
use serde::{Deserialize, Serialize};

/// The environment of a worker's jobs.
pub struct Bench<'w> {
    /// Its device.
    pub device: &'w Device,
    /// Its stream, which waits no longer than the watchdog.
    pub stream: &'w Stream,
    /// The plan.
    pub plan: &'w Plan,
    /// Counts the rounds of jobs that repeat.
    pub round: u32,
    /// Whether a failure is to be made small, which takes many launches.
    pub shrinks: bool,
    /// A sign of life, to be called often.
    pub beat: &'w dyn Fn(),
}

/// The verdict on a job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// The result is right.
    Right,
    /// The result is wrong.
    Wrong {
        /// The difference from the reference.
        failure: String,
        /// The seed of the problem that showed it, for [`problem_of`], where there is one.
        seed: Option<u64>,
        /// The smallest problem that shows it, where it was looked for.
        problem: Option<Problem>,
    },
    /// The device refuses its text.
    Refused {
        /// What the device says.
        reason: String,
    },
    /// The device or the worker did not survive it.
    Crashed {
        /// What is known of the crash.
        failure: String,
        /// The seed of the problem that was under way, where it is known.
        seed: Option<u64>,
    },
}

/// A job that is done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Visit {
    /// The verdict.
    pub verdict: Verdict,
    /// Problems that were compared.
    #[serde(default)]
    pub problems: u64,
    /// Elements of those.
    #[serde(default)]
    pub elements: u64,
    /// Where its machine code came from, if it was loaded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<Code>,
}

impl Visit {
    /// A job without comparisons.
    pub const fn without_problems(verdict: Verdict) -> Self {
        Self {
            verdict,
            problems: 0,
            elements: 0,
            code: None,
        }
    }
}

/// Something to be done on a device.
pub trait Job: Send + Sync {
    /// Unique among the jobs of a campaign.
    fn id(&self) -> String;

    /// The family that it is counted with.
    fn family(&self) -> &'static str;

    /// Whether another round tries something else.
    fn repeats(&self) -> bool;

    /// The PTX of its kernel, by which an image of it is found.
    fn ptx(&self) -> Option<String> {
        None
    }

    /// Whether the expected verdict is [`Verdict::Crashed`].
    fn must_crash(&self) -> bool {
        false
    }

    /// Runs the job. A verdict of [`Verdict::Crashed`] ends the worker.
    fn visit(&self, bench: &Bench) -> Visit;
}

/// A kernel, with random problems.
pub struct KernelJob(pub Box<dyn Entry>);

impl Job for KernelJob {
    fn id(&self) -> String {
        self.0.id().into()
    }

    fn family(&self) -> &'static str {
        self.0.family()
    }

    fn repeats(&self) -> bool {
        true
    }

    fn ptx(&self) -> Option<String> {
        Some(self.0.ptx())
    }

    /// Loads the kernel and gives it problems until one fails.
    fn visit(&self, bench: &Bench) -> Visit {
        let entry = &*self.0;
        let kernel = String::from(entry.id());
        (bench.beat)();
        let runner = match entry.load(bench.device, &entry.ptx()) {
            Ok(runner) => runner,
            Err(error) => {
                let (reason, seed) = (error.to_string(), None);
                return Visit::without_problems(match is_crash(&error) {
                    true => Verdict::Crashed {
                        failure: reason,
                        seed,
                    },
                    false => Verdict::Refused { reason },
                });
            }
        };
        let code = bench.device.code_of_last_load();
        let (mut problems, mut elements) = (0, 0);
        for n in bench.plan.problems(bench.round) {
            (bench.beat)();
            let seed = case_seed(bench.plan.seed, &kernel, n);
            let problem = problem_of(entry, seed, bench.plan.elements);
            problems += 1;
            elements += entry.elements(&problem);
            if let Err(failure) = verify(entry, &*runner, bench.stream, &problem) {
                let verdict = bench.judge(entry, &*runner, seed, problem, failure);
                return Visit {
                    verdict,
                    problems,
                    elements,
                    code,
                };
            }
        }
        // What nobody tried is not right.
        let verdict = match problems {
            0 => Verdict::Wrong {
                failure: "no problem was tried".to_owned(),
                seed: None,
                problem: None,
            },
            _ => Verdict::Right,
        };
        Visit {
            verdict,
            problems,
            elements,
            code,
        }
    }
}

/// Whether an error is a crash, not a wrong result.
const fn is_crash(error: &LaunchError) -> bool {
    match error {
        LaunchError::Device(error) => error.is_of_device(),
        _ => false,
    }
}

/// Whether a failure is a crash, not a wrong result.
fn is_crashed(failure: &Failure) -> bool {
    match failure {
        Failure::Entry(EntryError::Launch(error)) => is_crash(error),
        _ => false,
    }
}

impl Bench<'_> {
    /// The verdict on a kernel that failed on a problem.
    fn judge(
        &self,
        entry: &dyn Entry,
        runner: &dyn Runner,
        seed: u64,
        problem: Problem,
        failure: Failure,
    ) -> Verdict {
        if is_crashed(&failure) {
            return Verdict::Crashed {
                failure: failure.to_string(),
                seed: Some(seed),
            };
        }
        if !self.shrinks {
            return Verdict::Wrong {
                failure: failure.to_string(),
                seed: Some(seed),
                problem: None,
            };
        }
        // What the reference does not take is no smaller problem, and a device that is lost says
        // nothing of one: the last failure that was seen on a live device counts.
        let (mut seen, mut is_lost) = (failure, false);
        let fails = |problem: &Problem| {
            (self.beat)();
            if is_lost || entry.reference(problem).is_err() {
                return false;
            }
            match verify(entry, runner, self.stream, problem) {
                Ok(()) => false,
                Err(failure) if is_crashed(&failure) => {
                    is_lost = true;
                    false
                }
                Err(failure) => {
                    seen = failure;
                    true
                }
            }
        };
        let smallest = shrink(entry, problem, fails);
        Verdict::Wrong {
            failure: seen.to_string(),
            seed: Some(seed),
            problem: Some(smallest),
        }
    }
}

//! The loop of a worker.

use super::{Bench, Event, Job, JournalError, Outcome, Plan, Until, Verdict};
use mxlab_harness::device::{Device, DeviceError};
use std::collections::HashMap;
use std::time::Instant;

/// Jobs of a family whose failures a worker makes small.
const SHRUNK: usize = 3;

/// Why a worker stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// Everything is done.
    Finished,
    /// The time limit is reached.
    TimeIsUp,
    /// A job crashed the device. The event of that job is written.
    DeviceLost,
}

/// Why a worker cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum WorkError {
    /// It has no device.
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// It cannot write its journal.
    #[error(transparent)]
    Journal(#[from] JournalError),
}

/// Runs the jobs of these numbers on a device from `open`, except those that `outcome` has already.
/// It reports an event before and after each job, and calls `beat` as a sign of life.
///
/// # Errors
/// [`WorkError`]. A job that is wrong is no error.
pub fn work(
    jobs: &[Box<dyn Job>],
    own: &[usize],
    plan: &Plan,
    outcome: &mut Outcome,
    open: impl Fn() -> Result<Device, DeviceError>,
    tell: &mut dyn FnMut(&Event) -> Result<(), JournalError>,
    beat: &dyn Fn(),
) -> Result<Stop, WorkError> {
    let begun = Instant::now();
    let is_over = || {
        plan.time_limit
            .is_some_and(|limit| begun.elapsed() >= limit)
    };
    let device = open()?;
    let mut stream = device.stream()?;
    stream.set_watchdog(plan.watchdog);
    let wanted = wanted(jobs, own, plan);
    for round in 0u32.. {
        let mut elements = outcome.elements(own);
        let mut is_idle = true;
        for &index in own {
            let job = &*jobs[index];
            let family = job.family();
            let has_enough = wanted
                .get(family)
                .is_some_and(|wanted| elements.get(family) >= Some(wanted));
            let is_new = round == 0 || job.repeats() && !has_enough;
            if !is_new || outcome.is_done(index, round) {
                continue;
            }
            if is_over() {
                return Ok(Stop::TimeIsUp);
            }
            is_idle = false;
            let id = job.id();
            tell(&Event::Begun {
                job: id.clone(),
                round,
            })?;
            let visit = job.visit(&Bench {
                device: &device,
                stream: &stream,
                plan,
                round,
                shrinks: outcome.shrunk(family) < SHRUNK,
                beat,
            });
            *elements.entry(family).or_default() += visit.elements;
            let is_crash = matches!(visit.verdict, Verdict::Crashed { .. });
            let ended = Event::Ended {
                job: id,
                round,
                visit,
            };
            tell(&ended)?;
            outcome.take(&ended);
            // Also a job with another verdict can have cost the device, while it was made small.
            if is_crash || stream.synchronize().is_err() {
                return Ok(Stop::DeviceLost);
            }
        }
        if is_idle || matches!(plan.until, Until::Problems(_)) {
            break;
        }
    }
    Ok(Stop::Finished)
}

/// Elements that these jobs are to have, by family: their share of what all jobs are to have.
fn wanted(jobs: &[Box<dyn Job>], own: &[usize], plan: &Plan) -> HashMap<&'static str, u64> {
    let Until::Elements(total) = plan.until else {
        return HashMap::new();
    };
    let mut counts: HashMap<&'static str, [u64; 2]> = HashMap::new();
    for job in jobs {
        counts.entry(job.family()).or_default()[0] += 1;
    }
    for &index in own {
        counts.entry(jobs[index].family()).or_default()[1] += 1;
    }
    let share = |(family, [all, own]): (&'static str, [u64; 2])| {
        let share = u128::from(total) * u128::from(own);
        let share = share.div_ceil(u128::from(all));
        (family, u64::try_from(share).unwrap_or(u64::MAX))
    };
    counts.into_iter().map(share).collect()
}

//! A campaign in this process, for tests: a crash would cost them the process.

use super::{Event, Job, Order, Outcome, Plan, WorkError, work};
use mxlab_harness::device::{Device, DeviceError};
use mxlab_harness::shard::Shard;
use rayon::prelude::*;

/// Runs a campaign with a worker a thread, each with a device of its own from `open`.
///
/// # Errors
/// If a device cannot be opened.
pub fn run(
    jobs: &[Box<dyn Job>],
    plan: &Plan,
    open: impl Fn() -> Result<Device, DeviceError> + Sync,
) -> Result<Outcome, WorkError> {
    let order = Order::mixed(jobs, plan.seed, &[]);
    let workers = rayon::current_num_threads();
    let told = (0..workers).into_par_iter().map(|part| {
        let own = order.of(Shard::WHOLE.part(part, workers));
        let mut events: Vec<Event> = Vec::new();
        let mut tell = |event: &Event| {
            events.push(event.clone());
            Ok(())
        };
        let mut outcome = Outcome::new(jobs);
        work(jobs, &own, plan, &mut outcome, &open, &mut tell, &|| {})?;
        Ok(events)
    });
    let told: Vec<Vec<Event>> = told.collect::<Result<_, WorkError>>()?;
    let mut outcome = Outcome::new(jobs);
    told.iter().flatten().for_each(|event| outcome.take(event));
    Ok(outcome)
}

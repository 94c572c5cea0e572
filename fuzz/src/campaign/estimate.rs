//! Estimates the time of a campaign on this machine from its progress.

use std::time::Duration;

/// The least time for an estimate: before, workers start and load kernels.
const LEAST_TIME: Duration = Duration::from_secs(2);
/// The least jobs for an estimate. They represent the others since the order is random, see
/// [`super::Order::mixed`].
const LEAST_JOBS: u64 = 100;

/// The time that all jobs of this run take together. `elapsed` is the time so far; of `all` jobs,
/// `before` were done by an earlier run and `done` are done now. `None` if there is no estimate
/// yet, or the run is over by then.
pub fn time_of_all(elapsed: Duration, before: u64, done: u64, all: u64) -> Option<Duration> {
    let (own, wanted) = (done.checked_sub(before)?, all.checked_sub(before)?);
    if elapsed < LEAST_TIME || own < LEAST_JOBS || own >= wanted {
        return None;
    }
    Some(elapsed.mul_f64(wanted as f64 / own as f64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_earlier_run_did_is_not_counted() {
        let seconds = Duration::from_secs;
        assert_eq!(time_of_all(seconds(3), 0, 300, 3000), Some(seconds(30)));
        assert_eq!(time_of_all(seconds(3), 2000, 2300, 3000), Some(seconds(10)));
        // Too early, too few, or all done.
        assert_eq!(time_of_all(seconds(1), 0, 300, 3000), None);
        assert_eq!(time_of_all(seconds(3), 2000, 2050, 3000), None);
        assert_eq!(time_of_all(seconds(3), 0, 3000, 3000), None);
    }
}

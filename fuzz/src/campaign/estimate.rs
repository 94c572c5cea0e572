//! How long a campaign takes on this machine, from how far it came.

use std::time::Duration;

/// Time until then says little: workers start, and load what they need.
const LEAST_TIME: Duration = Duration::from_secs(2);
/// Jobs that stand for the others: they are in no order, see [`super::Order::mixed`].
const LEAST_JOBS: u64 = 100;

/// The time that all jobs take which were not done before, `elapsed` after the begin; `None` until
/// that can be said, or if it is over by then. `before` were done by an earlier run, `done` are
/// done now, of
/// `all`.
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

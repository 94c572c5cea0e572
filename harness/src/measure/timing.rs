//! Timing of repeated runs.

use serde::{Deserialize, Serialize};
use statrs::statistics::{Data, OrderStatistics};

/// Something that can be timed.
pub trait Timed {
    /// Why it could not be run.
    type Error;

    /// Seconds that `runs` back-to-back runs take.
    ///
    /// # Errors
    /// If it cannot be run.
    fn time(&mut self, runs: u32) -> Result<f64, Self::Error>;
}

/// How many samples a timing takes, and how long they are.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sampling {
    /// Seconds of warm-up in each round.
    pub warm_up_s: f64,
    /// The least seconds of a sample, which has as many runs as that takes.
    pub sample_s: f64,
    /// Samples of a round.
    pub samples: u32,
}

/// Most runs of a sample.
const MOST_RUNS: u32 = 1 << 20;
/// The least seconds that any time counts as.
const LEAST_S: f64 = 1e-6;

impl Sampling {
    /// How many runs make a sample, found while warming up.
    ///
    /// # Errors
    /// As [`Timed::time`].
    pub fn runs<T: Timed + ?Sized>(&self, timed: &mut T) -> Result<u32, T::Error> {
        let mut runs = 1u32;
        let mut spent = 0.0;
        loop {
            let seconds = timed.time(runs)?;
            // A clock that does not move ends it too.
            spent += seconds.max(LEAST_S);
            if seconds >= self.sample_s || runs == MOST_RUNS {
                // The first runs load and map what later ones find there.
                if spent >= self.warm_up_s {
                    return Ok(runs);
                }
                continue;
            }
            // Towards the time of a sample, and no more than tenfold on the word of a short one.
            let factor = (1.1 * self.sample_s / seconds.max(1e-9)).clamp(1.5, 10.0);
            runs = (f64::from(runs) * factor).ceil().min(f64::from(MOST_RUNS)) as u32;
        }
    }

    /// A round: warms up, then returns the seconds of a run for each sample.
    ///
    /// # Errors
    /// As [`Timed::time`].
    pub fn round<T: Timed + ?Sized>(&self, timed: &mut T, runs: u32) -> Result<Vec<f64>, T::Error> {
        let mut spent = 0.0;
        while spent < self.warm_up_s {
            spent += timed.time(runs)?.max(LEAST_S);
        }
        let sample = |_| Ok(timed.time(runs)? / f64::from(runs));
        (0..self.samples).map(sample).collect()
    }
}

/// Seconds of a run, by rounds; other targets run between rounds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Timing {
    /// Runs of a sample.
    pub runs: u32,
    /// The samples of each round.
    pub rounds: Vec<Vec<f64>>,
}

impl Timing {
    fn all(&self) -> Data<Vec<f64>> {
        Data::new(self.rounds.concat())
    }

    /// The median of all samples; NaN if there are none.
    pub fn median(&self) -> f64 {
        self.all().median()
    }

    /// The first and third quartile of all samples.
    pub fn quartiles(&self) -> [f64; 2] {
        let mut all = self.all();
        [all.lower_quartile(), all.upper_quartile()]
    }

    /// Half the interquartile range, relative to the median.
    pub fn spread(&self) -> f64 {
        let [low, high] = self.quartiles();
        (high - low) / 2.0 / self.median()
    }

    /// The median of each round.
    pub fn round_medians(&self) -> Vec<f64> {
        let rounds = self.rounds.iter().filter(|round| !round.is_empty());
        rounds
            .map(|round| Data::new(round.clone()).median())
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes a microsecond a run, and a millisecond once.
    struct Steady {
        is_cold: bool,
        runs: u64,
    }

    impl Timed for Steady {
        type Error = std::convert::Infallible;

        fn time(&mut self, runs: u32) -> Result<f64, Self::Error> {
            self.runs += u64::from(runs);
            let cold = if std::mem::take(&mut self.is_cold) {
                1e-3
            } else {
                0.0
            };
            Ok(1e-6 * f64::from(runs) + cold)
        }
    }

    #[test]
    fn samples_are_as_long_as_asked_for_and_warm() {
        let sampling = Sampling {
            warm_up_s: 0.01,
            sample_s: 0.002,
            samples: 7,
        };
        let mut steady = Steady {
            is_cold: true,
            runs: 0,
        };
        let runs = sampling.runs(&mut steady).expect("runs");
        assert!((2000..=4000).contains(&runs), "{runs}");
        assert!(steady.runs >= 9000, "{}", steady.runs);
        let round = sampling.round(&mut steady, runs).expect("runs");
        assert_eq!(round.len(), 7);
        assert!(round.iter().all(|s| (s - 1e-6).abs() < 1e-12), "{round:?}");
    }

    #[test]
    fn statistics_by_hand() {
        let timing = Timing {
            runs: 1,
            rounds: vec![vec![1.0, 2.0, 3.0], vec![4.0, 9.0], vec![]],
        };
        assert_eq!(timing.median(), 3.0);
        assert_eq!(timing.round_medians(), [2.0, 6.5]);
        let [low, high] = timing.quartiles();
        assert!(low <= 2.0 && high >= 4.0, "{low} {high}");
    }
}

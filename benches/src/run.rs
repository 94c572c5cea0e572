//! Times targets in rounds. Each round times the bounds of the machine and then every target. So a
//! disturbance of some seconds affects all of them, and shows as noise between rounds, not as a
//! difference between kernels.

use crate::record::{Measured, Refused, RoofRecord, RunEnergy};
use crate::{BenchError, Case, Opened, Roof, Target};
use mxlab_harness::measure::{EnergyMeter, Sampling, Timing};

/// Targets that are open together: what they took is kept before the next are opened.
const MOST_TOGETHER: usize = 16;

/// How targets are timed.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Samples of a round.
    pub sampling: Sampling,
    /// Rounds.
    pub rounds: u32,
    /// Seconds over which the energy of a target is measured; 0 for not at all.
    pub energy_s: f64,
    /// Bytes that open targets may hold; those that do not fit wait for the next group.
    pub memory: u64,
}

/// Observes a run.
pub trait Observer {
    /// A target is verified, made ready or timed.
    fn working_on(&mut self, case: &Case, round: Option<u32>);

    /// A round begins.
    fn round(&mut self) {}

    /// A group of targets is done. What it returns stops the run.
    ///
    /// # Errors
    /// Whatever ends the run.
    fn done(&mut self, found: &Found) -> Result<(), BenchError>;
}

/// The results of a run so far.
#[derive(Clone, Debug, Default)]
pub struct Found {
    /// The bounds.
    pub roof: Option<RoofRecord>,
    /// The timed cases.
    pub measured: Vec<Measured>,
    /// The cases that were not timed, and why.
    pub refused: Vec<Refused>,
}

/// A target at work.
struct Work<'t> {
    case: &'t Case,
    opened: Box<dyn Opened + 't>,
    timing: Timing,
    /// Whether it is not to be run again.
    has_failed: bool,
}

impl<'t> Work<'t> {
    fn open(target: &'t dyn Target, plan: &Plan) -> Result<Self, BenchError> {
        let mut opened = target.open()?;
        let runs = plan.sampling.runs(&mut *opened)?;
        Ok(Self {
            case: target.case(),
            opened,
            timing: Timing {
                runs,
                rounds: Vec::new(),
            },
            has_failed: false,
        })
    }

    /// Opens a target; `None` if it is refused.
    fn open_noting(
        target: &'t dyn Target,
        plan: &Plan,
        found: &mut Found,
        observer: &mut dyn Observer,
    ) -> Option<Self> {
        observer.working_on(target.case(), None);
        let failed = |error| found.refused.push(refused(target.case(), &error));
        Self::open(target, plan).map_err(failed).ok()
    }

    fn round(&mut self, plan: &Plan) -> Result<(), BenchError> {
        let round = plan.sampling.round(&mut *self.opened, self.timing.runs)?;
        self.timing.rounds.push(round);
        Ok(())
    }

    fn energy(
        &mut self,
        meter: &EnergyMeter,
        seconds: f64,
    ) -> Result<Option<RunEnergy>, BenchError> {
        let once = self.timing.median().max(1e-9);
        let runs = (seconds / once).ceil().clamp(1.0, 1e9) as u64;
        let metering = meter.start();
        let mut left = runs;
        while left > 0 {
            let part = left.min(u64::from(self.timing.runs.max(1)) * 16);
            self.opened.time(part as u32)?;
            left -= part;
        }
        let energy = metering.stop();
        Ok(energy.map(|energy| RunEnergy { runs, energy }))
    }

    fn measured(&self, energy: Option<RunEnergy>) -> Measured {
        Measured {
            case: self.case.clone(),
            timing: self.timing.clone(),
            energy,
        }
    }
}

/// What the bounds took so far; `None` if the copy failed.
fn record_of(roof: &Roof, works: &[Option<Work>]) -> Option<RoofRecord> {
    let one = |target: &dyn Target| {
        let mut works = works.iter().flatten();
        let work = works.find(|work| std::ptr::eq(work.case, target.case()))?;
        (!work.timing.rounds.is_empty()).then(|| work.measured(None))
    };
    let many = |targets: &[Box<dyn Target>]| {
        let measured = targets.iter().filter_map(|target| one(&**target));
        measured.collect()
    };
    Some(RoofRecord {
        copy: one(&*roof.copy)?,
        product: roof.product.as_deref().and_then(one),
        empty: roof.empty.as_deref().and_then(one),
        memory: many(&roof.memory),
        arithmetic: many(&roof.arithmetic),
    })
}

/// Times targets, one group after the other; without targets, only the bounds of the machine. A
/// target that is wrong or fails is left out and reported. So is a failed bound, and the record
/// then has no roof.
///
/// # Errors
/// An error of the observer.
pub fn run(
    targets: &[Box<dyn Target + '_>],
    roof: &Roof,
    plan: &Plan,
    meter: Option<&EnergyMeter>,
    observer: &mut dyn Observer,
) -> Result<Found, BenchError> {
    let mut found = Found::default();
    let mut roofs = Vec::new();
    for target in roof.targets() {
        roofs.push(Work::open_noting(target, plan, &mut found, observer));
    }
    for group in groups(targets, plan.memory) {
        let mut works = Vec::with_capacity(group.len());
        for target in group {
            works.push(Work::open_noting(&**target, plan, &mut found, observer));
        }
        for round in 0..plan.rounds {
            observer.round();
            for work in roofs.iter_mut().chain(&mut works).flatten() {
                if work.has_failed {
                    continue;
                }
                observer.working_on(work.case, Some(round));
                if let Err(error) = work.round(plan) {
                    found.refused.push(refused(work.case, &error));
                    work.has_failed = true;
                }
            }
        }
        for mut work in works.into_iter().flatten().filter(|work| !work.has_failed) {
            let energy = match meter.filter(|_| plan.energy_s > 0.0) {
                Some(meter) => work.energy(meter, plan.energy_s),
                None => Ok(None),
            };
            match energy {
                Ok(energy) => found.measured.push(work.measured(energy)),
                Err(error) => found.refused.push(refused(work.case, &error)),
            }
        }
        found.roof = record_of(roof, &roofs);
        observer.done(&found)?;
    }
    Ok(found)
}

fn refused(case: &Case, error: &BenchError) -> Refused {
    Refused {
        case: case.clone(),
        reason: error.to_string(),
    }
}

/// Groups neighbouring targets that fit into memory together, at least one each; without targets,
/// one empty group.
fn groups<'t, 'a>(
    targets: &'t [Box<dyn Target + 'a>],
    memory: u64,
) -> impl Iterator<Item = &'t [Box<dyn Target + 'a>]> {
    let mut rest = targets;
    let none = targets.is_empty().then_some(targets);
    let some = std::iter::from_fn(move || {
        let mut used = 0u64;
        let fits = |bytes: &u64| {
            used = used.saturating_add(*bytes);
            used <= memory
        };
        let sizes = rest
            .iter()
            .take(MOST_TOGETHER)
            .map(|target| target.memory());
        let count = sizes.take_while(fits).count().max(1).min(rest.len());
        let (group, others) = rest.split_at(count);
        rest = others;
        (!group.is_empty()).then_some(group)
    });
    none.into_iter().chain(some)
}

#[cfg(test)]
mod tests {
    use super::*;
    use mxlab_harness::measure::Timed;
    use std::cell::Cell;
    use std::rc::Rc;

    struct Fake {
        case: Case,
        seconds: f64,
        is_wrong: bool,
        open: Rc<Cell<u32>>,
        most_open: Rc<Cell<u32>>,
    }

    struct Open<'f>(&'f Fake);

    impl Timed for Open<'_> {
        type Error = BenchError;

        fn time(&mut self, runs: u32) -> Result<f64, BenchError> {
            Ok(self.0.seconds * f64::from(runs))
        }
    }

    impl Drop for Open<'_> {
        fn drop(&mut self) {
            self.0.open.set(self.0.open.get() - 1);
        }
    }

    impl Target for Fake {
        fn case(&self) -> &Case {
            &self.case
        }

        fn memory(&self) -> u64 {
            10
        }

        fn open(&self) -> Result<Box<dyn Opened + '_>, BenchError> {
            if self.is_wrong {
                return Err(BenchError::Wrong("codes[3]".to_owned()));
            }
            self.open.set(self.open.get() + 1);
            self.most_open
                .set(self.most_open.get().max(self.open.get()));
            Ok(Box::new(Open(self)))
        }
    }

    struct Silent(u32);

    impl Observer for Silent {
        fn working_on(&mut self, _case: &Case, _round: Option<u32>) {}

        fn done(&mut self, _found: &Found) -> Result<(), BenchError> {
            self.0 += 1;
            Ok(())
        }
    }

    /// Targets that count how many of them are open, now and at most.
    #[derive(Default)]
    struct Bench {
        open: Rc<Cell<u32>>,
        most_open: Rc<Cell<u32>>,
    }

    impl Bench {
        fn target(&self, kernel: &str, seconds: f64, is_wrong: bool) -> Box<dyn Target> {
            Box::new(Fake {
                case: Case {
                    kernel: kernel.to_owned(),
                    family: "fake".to_owned(),
                    rows: 1,
                    cols: 1,
                    tokens: None,
                    bytes: 1000,
                    ..Case::default()
                },
                seconds,
                is_wrong,
                open: self.open.clone(),
                most_open: self.most_open.clone(),
            })
        }
    }

    const PLAN: Plan = Plan {
        sampling: Sampling {
            warm_up_s: 1e-4,
            sample_s: 1e-4,
            samples: 3,
        },
        rounds: 2,
        energy_s: 0.0,
        memory: 20,
    };

    #[test]
    fn targets_are_timed_in_groups_and_wrong_ones_left_out() {
        let bench = Bench::default();
        let roof = Roof {
            copy: bench.target("copy", 1e-6, false),
            product: None,
            empty: Some(bench.target("empty", 5e-7, false)),
            memory: Vec::new(),
            arithmetic: Vec::new(),
        };
        let targets = [
            bench.target("a", 2e-6, false),
            bench.target("b", 4e-6, true),
            bench.target("c", 8e-6, false),
            bench.target("d", 1e-6, false),
        ];
        let mut observer = Silent(0);
        let found = run(&targets, &roof, &PLAN, None, &mut observer).expect("a run");
        assert_eq!(observer.0, 2, "two groups of two");
        let open = (bench.open.get(), bench.most_open.get());
        assert_eq!(open, (0, 4), "two, the copy and the empty kernel");
        let names: Vec<&str> = found
            .measured
            .iter()
            .map(|m| m.case.kernel.as_str())
            .collect();
        assert_eq!(names, ["a", "c", "d"]);
        assert_eq!(found.refused.len(), 1);
        assert!(found.refused[0].reason.contains("codes[3]"));
        let roof = found.roof.expect("a roof");
        for measured in roof.measured() {
            let rounds = measured.timing.rounds.len();
            assert_eq!(rounds, 4, "in every round of both groups");
        }
        assert!((roof.fraction(&found.measured[1]).expect("a cost") - 0.125).abs() < 1e-9);
        assert!((roof.gap_us().expect("measured") - 0.5).abs() < 1e-9);
    }

    #[test]
    fn the_roofs_alone_are_timed_where_there_are_no_targets() {
        let bench = Bench::default();
        let roof = Roof {
            copy: bench.target("copy", 1e-6, false),
            product: Some(bench.target("product", 1e-6, true)),
            empty: Some(bench.target("empty", 5e-7, false)),
            memory: vec![bench.target("read", 1e-6, false)],
            arithmetic: vec![bench.target("fma", 1e-6, true)],
        };
        let mut observer = Silent(0);
        let found = run(&[], &roof, &PLAN, None, &mut observer).expect("a run");
        assert_eq!(observer.0, 1);
        assert!(found.measured.is_empty());
        let roof = found.roof.expect("a roof");
        let kernels: Vec<&str> = roof.measured().map(|m| m.case.kernel.as_str()).collect();
        assert_eq!(kernels, ["copy", "empty", "read"]);
        assert_eq!(roof.copy.timing.rounds.len(), 2);
        let refused = found.refused.iter().map(|refused| &refused.case.kernel);
        assert_eq!(refused.collect::<Vec<_>>(), ["product", "fma"]);
    }

    #[test]
    fn targets_are_timed_without_a_roof_where_the_copy_is_wrong() {
        let bench = Bench::default();
        let roof = Roof {
            copy: bench.target("copy", 1e-6, true),
            product: None,
            empty: None,
            memory: Vec::new(),
            arithmetic: Vec::new(),
        };
        let targets = [bench.target("a", 2e-6, false)];
        let found = run(&targets, &roof, &PLAN, None, &mut Silent(0)).expect("a run");
        assert!(found.roof.is_none());
        assert_eq!(found.measured.len(), 1);
        assert_eq!(found.refused[0].case.kernel, "copy");
    }
}

//! The least time that a case can take on a machine, by the bounds that were timed beside it.
//!
//! On a CPU a kernel moves no more bytes a second, read, written or both together, than the fastest
//! traffic on a working set as large as its own; and computes no faster than the fastest loop of
//! its kind of arithmetic. Each limit holds alone, so the largest of the four times bounds it. On a
//! GPU, and in records from before kinds of traffic were told apart, it is the copy's or the
//! product's time. A roof is as fast as in its fastest round.

use crate::record::{Measured, RoofRecord};
use crate::target::{Case, level_of};

/// The least time of a case.
#[derive(Clone, Copy, Debug)]
pub struct Bound<'r> {
    /// Seconds.
    pub seconds: f64,
    /// The roof that it comes from.
    pub roof: &'r Measured,
}

/// Bytes a case reads, writes, and moves altogether; those that are not told apart count as
/// neither.
fn traffic(case: &Case) -> [u64; 3] {
    match case.written {
        Some(written) => [case.bytes.saturating_sub(written), written, case.bytes],
        None => [0, 0, case.bytes],
    }
}

impl RoofRecord {
    /// The least time of a case, and the roof that binds it; `None` of a case whose cost is not
    /// told.
    pub fn bound(&self, case: &Case) -> Option<Bound<'_>> {
        let memory = (0..3).filter_map(|kind| self.least_moving(case, kind));
        let bounds = memory.chain(self.least_computing(case));
        bounds.max_by(|a, b| a.seconds.total_cmp(&b.seconds))
    }

    /// Roofs of memory at the level of a case: where kinds of traffic are not told apart, the copy.
    pub fn level(&self, case: &Case) -> impl Iterator<Item = &Measured> {
        let sets = self.memory.iter().map(|roof| roof.case.working_set());
        let set = level_of(sets, case);
        let at_level = move |roof: &&Measured| Some(roof.case.working_set()) == set;
        let copy = std::iter::once(&self.copy).filter(|_| self.memory.is_empty());
        copy.chain(self.memory.iter().filter(at_level))
    }

    /// The least time to move the bytes of a kind, by the roof that moves most of it a second.
    fn least_moving(&self, case: &Case, kind: usize) -> Option<Bound<'_>> {
        let rate = |roof: &&Measured| traffic(&roof.case)[kind] as f64 / roof.fastest();
        let bytes = traffic(case)[kind];
        let roof = self
            .level(case)
            .max_by(|a, b| rate(a).total_cmp(&rate(b)))?;
        (bytes > 0 && rate(&roof) > 0.0).then(|| Bound {
            seconds: bytes as f64 / rate(&roof),
            roof,
        })
    }

    /// The roof of a case's arithmetic: the one that it names, or else the fastest.
    pub fn arithmetic(&self, case: &Case) -> Option<&Measured> {
        let all = || self.product.iter().chain(&self.arithmetic);
        let name = case.arithmetic.as_ref();
        let named = all().find(|roof| Some(&roof.case.kernel) == name);
        let rate = |roof: &Measured| roof.case.operations as f64 / roof.fastest();
        let fastest = || all().max_by(|a, b| rate(a).total_cmp(&rate(b)));
        named.or_else(fastest)
    }

    /// The least time to compute.
    fn least_computing(&self, case: &Case) -> Option<Bound<'_>> {
        let roof = self.arithmetic(case)?;
        let runs = case.operations as f64 / roof.case.operations as f64;
        (case.operations > 0 && roof.case.operations > 0).then(|| Bound {
            seconds: runs * roof.fastest(),
            roof,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mxlab_harness::measure::Timing;

    fn measured(kernel: &str, [read, written, set]: [u64; 3], operations: u64) -> Measured {
        Measured {
            case: Case {
                kernel: kernel.to_owned(),
                bytes: read + written,
                written: Some(written),
                working_set: Some(set),
                operations,
                ..Case::default()
            },
            timing: Timing {
                runs: 1,
                rounds: vec![vec![1.0]],
            },
            energy: None,
        }
    }

    /// Each runs for a second.
    fn roof() -> RoofRecord {
        RoofRecord {
            copy: measured("copy", [20, 20, 1000], 0),
            product: None,
            empty: None,
            memory: vec![
                measured("read", [30, 0, 1000], 0),
                measured("update", [25, 25, 1000], 0),
                measured("read_l2", [300, 0, 100], 0),
                measured("update_l2", [100, 100, 100], 0),
            ],
            arithmetic: vec![measured("fma", [0; 3], 1000), measured("dot", [0; 3], 8000)],
        }
    }

    fn bound(traffic: [u64; 3], operations: u64, arithmetic: Option<&str>) -> (f64, String) {
        let mut case = measured("", traffic, operations).case;
        case.arithmetic = arithmetic.map(str::to_owned);
        let roof = roof();
        let bound = roof.bound(&case).expect("a cost");
        (bound.seconds, bound.roof.case.kernel.clone())
    }

    #[test]
    fn the_limit_that_takes_longest_binds() {
        // Reads at 30 a second, writes at 25, both at 50.
        assert_eq!(bound([60, 0, 2000], 0, None), (2.0, "read".to_owned()));
        assert_eq!(bound([0, 50, 2000], 0, None), (2.0, "update".to_owned()));
        assert_eq!(bound([50, 50, 2000], 0, None), (2.0, "update".to_owned()));
        // Inside a cache, of a working set between two levels and of a tiny one.
        assert_eq!(bound([600, 0, 100], 0, None), (2.0, "read_l2".to_owned()));
        assert_eq!(bound([600, 0, 999], 0, None), (2.0, "read_l2".to_owned()));
        assert_eq!(bound([600, 0, 1], 0, None), (2.0, "read_l2".to_owned()));
        // Arithmetic that is named, and that is not.
        let named = bound([3, 0, 1000], 4000, Some("fma"));
        assert_eq!(named, (4.0, "fma".to_owned()));
        let any = bound([3, 0, 1000], 4000, Some("other"));
        assert_eq!(any, (0.5, "dot".to_owned()));
        // Reads and writes that are not told apart move as fast as the fastest traffic.
        let roof = roof();
        let mut case = measured("", [60, 40, 1000], 0).case;
        case.written = None;
        assert_eq!(roof.bound(&case).map(|bound| bound.seconds), Some(2.0));
        assert!(roof.bound(&Case::default()).is_none());
    }

    #[test]
    fn a_record_of_a_copy_and_a_product_bounds_every_size() {
        let mut old = roof();
        old.memory.clear();
        old.arithmetic.clear();
        old.copy.case = Case {
            bytes: 40,
            ..Case::default()
        };
        old.product = Some(measured("product", [0; 3], 100));
        let case = Case {
            bytes: 20,
            operations: 20,
            ..Case::default()
        };
        assert_eq!(old.bound(&case).map(|bound| bound.seconds), Some(0.5));
        let case = Case {
            operations: 200,
            ..case
        };
        assert_eq!(old.bound(&case).map(|bound| bound.seconds), Some(2.0));
    }
}

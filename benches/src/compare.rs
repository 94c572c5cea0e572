//! Compares two records: faster, slower, same, or inconclusive.

use crate::Case;
use crate::record::{BenchMachine, BenchRecord, Measured, RoofRecord};
use mxlab_harness::measure::{Comparison, Verdict};
use serde::Serialize;

/// A case in two records.
#[derive(Clone, Debug, Serialize)]
pub struct Compared {
    /// What.
    pub case: Case,
    /// Seconds before and after, medians.
    pub seconds: [f64; 2],
    /// The comparison.
    #[serde(flatten)]
    pub comparison: Comparison,
}

/// The comparison of two records.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Cases in both, in the order of the first.
    pub compared: Vec<Compared>,
    /// How the machine's bounds changed, where both records have them.
    pub roof: Vec<Compared>,
    /// Cases of the first alone.
    pub only_before: Vec<Case>,
    /// Cases of the second alone.
    pub only_after: Vec<Case>,
    /// Why the two may not be comparable at all.
    pub caveats: Vec<String>,
}

/// Compares two records. A relative change of time within `threshold` counts as the same.
pub fn compare(before: &BenchRecord, after: &BenchRecord, threshold: f64) -> Report {
    let pair = |before: &Measured, after: &Measured, drift: f64| Compared {
        case: after.case.clone(),
        seconds: [before.timing.median(), after.timing.median()],
        comparison: Comparison::new(&before.timing, &after.timing, drift, threshold),
    };
    let mut roof = Vec::new();
    if let (Some(before), Some(after)) = (&before.roof, &after.roof) {
        roof.push(pair(&before.copy, &after.copy, 1.0));
        roof.extend(before.measured().skip(1).filter_map(|before| {
            let is_it = |after: &&Measured| after.case.is_like(&before.case);
            Some(pair(before, after.measured().skip(1).find(is_it)?, 1.0))
        }));
    }
    let mut compared = Vec::new();
    let mut only_before = Vec::new();
    for old in &before.measured {
        let new = after
            .measured
            .iter()
            .find(|new| new.case.is_like(&old.case));
        match new {
            None => only_before.push(old.case.clone()),
            Some(new) => compared.push(pair(old, new, drift(&roof, before.roof.as_ref(), old))),
        }
    }
    let is_old = |case: &Case| before.measured.iter().any(|old| old.case.is_like(case));
    let new = after.measured.iter().map(|new| &new.case);
    Report {
        compared,
        roof,
        only_before,
        only_after: new.filter(|case| !is_old(case)).cloned().collect(),
        caveats: caveats(before, after),
    }
}

impl Report {
    /// Whether anything became slower.
    pub fn has_slower(&self) -> bool {
        let mut compared = self.compared.iter();
        compared.any(|compared| compared.comparison.verdict == Verdict::Slower)
    }
}

/// The machine's own change of time at the bound of a case, as a factor; 1 where the machine is
/// known to be the same.
fn drift(roof: &[Compared], record: Option<&RoofRecord>, measured: &Measured) -> f64 {
    let Some(record) = record else { return 1.0 };
    let bound = record.bound(&measured.case);
    let is_it = |of: &&Compared| bound.is_some_and(|bound| of.case.is_like(&bound.roof.case));
    match roof.iter().find(is_it).or(roof.first()) {
        Some(bound) if bound.comparison.verdict != Verdict::Same => bound.comparison.ratio,
        _ => 1.0,
    }
}

fn caveats(before: &BenchRecord, after: &BenchRecord) -> Vec<String> {
    let mut caveats = Vec::new();
    let mut differ = |what: &str, before: String, after: String| {
        if before != after {
            caveats.push(format!("{what}: {before} before, {after} after"));
        }
    };
    let name = |record: &BenchRecord| match &record.machine {
        BenchMachine::Cpu { .. } => {
            let cpu = record.environment.machine.cpu.clone();
            cpu.unwrap_or_else(|| "an unknown CPU".to_owned())
        }
        BenchMachine::Device { properties, .. } => {
            let slice = properties.mig.iter().map(|slice| format!(", {slice}"));
            properties.name.clone() + &slice.collect::<String>()
        }
    };
    differ("machine", name(before), name(after));
    let threads = |record: &BenchRecord| match &record.machine {
        BenchMachine::Cpu { threads, .. } => threads.to_string(),
        BenchMachine::Device { .. } => "none".to_owned(),
    };
    differ("threads", threads(before), threads(after));
    let driver = |record: &BenchRecord| match &record.machine {
        BenchMachine::Cpu { .. } => "none".to_owned(),
        BenchMachine::Device { driver, .. } => driver.clone().unwrap_or_default(),
    };
    differ("driver", driver(before), driver(after));
    for (when, record) in [("before", before), ("after", after)] {
        let marks = record.marks();
        caveats.extend(marks.into_iter().map(|mark| format!("{when}: {mark}")));
    }
    caveats
}

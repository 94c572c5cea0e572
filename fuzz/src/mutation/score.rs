//! Counts the mutants that verification catches.

use super::{Equivalents, Fault, mutants};
use crate::campaign::{case_seed, problem_of};
use mxlab_harness::device::{Device, EmulatorOptions};
use mxlab_kernels::registry::{Entry, EntryError, Expected, Problem, verify, verify_against};
use ptx_emulator::syntax::{ParseError, parse};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;

/// The outcome of the mutants of one kernel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Score {
    /// The kernel.
    pub kernel: String,
    /// Its family.
    pub family: String,
    /// Caught, by fault.
    pub caught: BTreeMap<Fault, u32>,
    /// Mutants that are not PTX or cannot be loaded.
    pub invalid: u32,
    /// Known to compute the same.
    pub equivalent: Vec<Survivor>,
    /// Not caught.
    pub survivors: Vec<Survivor>,
    /// Caught although listed as equivalent: the list is wrong there.
    pub refuted: Vec<Survivor>,
}

/// A mutant that was not caught.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Survivor {
    /// The kind of fault.
    pub fault: Fault,
    /// Line of the kernel's rendered text.
    pub line: u32,
    /// The instruction as it was.
    pub original: String,
    /// The instruction as it is; empty if it was left out.
    pub planted: String,
    /// Why it computes the same, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

impl Score {
    /// Mutants that were caught.
    pub fn caught(&self) -> u32 {
        self.caught.values().sum()
    }

    /// Caught mutants in percent of those that can be caught; `None` if there are none.
    pub fn percent(&self) -> Option<f64> {
        let all = f64::from(self.caught()) + self.survivors.len() as f64;
        (all > 0.0).then(|| 100.0 * f64::from(self.caught()) / all)
    }
}

/// Why a kernel has no score.
#[derive(Debug, thiserror::Error)]
pub enum ScoreError {
    /// Its own text does not parse.
    #[error("{kernel}: {reason}")]
    Parse {
        /// The kernel.
        kernel: String,
        /// Where and why.
        reason: ParseError,
    },
    /// No problem was to be given to the mutants.
    #[error(
        "{kernel}: 0 problems asked for, expected at least 1; a mutant without one always lives"
    )]
    NoProblem {
        /// The kernel.
        kernel: String,
    },
    /// The kernel is wrong without any fault.
    #[error("{kernel} is wrong as it is: {reason}")]
    Wrong {
        /// The kernel.
        kernel: String,
        /// What verification says.
        reason: String,
    },
}

impl ScoreError {
    /// The kernel, or the device after its mutants, does not pass verification.
    fn wrong(kernel: &str, reason: impl fmt::Display) -> Self {
        Self::Wrong {
            kernel: kernel.to_owned(),
            reason: reason.to_string(),
        }
    }
}

/// Warp instructions that a block of the kernel may run: far more than any problem here needs.
const BUDGET: u64 = 1 << 20;

/// A mutant hangs if a block of it runs so many times the instructions of the whole kernel.
const HANGING: u64 = 4;

/// Plants every fault into a kernel and verifies each mutant on up to `problems` problems of about
/// `elements` elements, on an emulator of its own.
///
/// # Errors
/// If the kernel does not pass its own verification.
pub fn score(
    entry: &dyn Entry,
    equivalents: &Equivalents,
    seed: u64,
    problems: u32,
    elements: usize,
) -> Result<Score, ScoreError> {
    let kernel = String::from(entry.id());
    let wrong = |reason: String| ScoreError::wrong(&kernel, reason);
    if problems == 0 {
        return Err(ScoreError::NoProblem { kernel });
    }
    let ptx = entry.ptx();
    let module = parse(&ptx).map_err(|reason| ScoreError::Parse {
        kernel: kernel.clone(),
        reason,
    })?;
    let options = EmulatorOptions {
        budget: BUDGET,
        ..EmulatorOptions::default()
    };
    let device = Device::emulator_with(options);
    let stream = device.stream().map_err(|error| wrong(error.to_string()))?;
    let runner = entry
        .load(&device, &ptx)
        .map_err(|error| wrong(error.to_string()))?;
    let mut cases: Vec<(Problem, Expected)> = Vec::new();
    let mut most = 0;
    for n in 0..problems {
        let problem = problem_of(entry, case_seed(seed, &kernel, n), elements);
        verify(entry, &*runner, &stream, &problem).map_err(|failure| wrong(failure.to_string()))?;
        let statistics = stream.statistics();
        most = most.max(statistics.map_or(BUDGET, |last| last.executed.iter().sum()));
        let expected = entry.reference(&problem);
        let expected = expected.map_err(|error: EntryError| wrong(error.to_string()))?;
        cases.push((problem, expected));
    }
    let options = EmulatorOptions {
        budget: BUDGET.min(HANGING * most),
        ..options
    };
    let device = Device::emulator_with(options);
    let stream = device.stream().map_err(|error| wrong(error.to_string()))?;
    // What runs out of this budget as it is would let every mutant seem caught.
    let runner = entry
        .load(&device, &ptx)
        .map_err(|error| wrong(error.to_string()))?;
    let check = || -> Result<(), ScoreError> {
        for (problem, expected) in &cases {
            let verified = verify_against(expected, &*runner, &stream, problem);
            verified.map_err(|failure| wrong(failure.to_string()))?;
        }
        Ok(())
    };
    check()?;
    let mut score = Score {
        kernel: kernel.clone(),
        family: entry.family().to_owned(),
        caught: BTreeMap::new(),
        invalid: 0,
        equivalent: Vec::new(),
        survivors: Vec::new(),
        refuted: Vec::new(),
    };
    for mutant in mutants(&module) {
        let Ok(runner) = entry.load(&device, &mutant.ptx) else {
            score.invalid += 1;
            continue;
        };
        let lives = |(problem, expected): &(Problem, Expected)| {
            verify_against(expected, &*runner, &stream, problem).is_ok()
        };
        let is_caught = !cases.iter().all(lives);
        if is_caught {
            *score.caught.entry(mutant.fault).or_default() += 1;
        }
        let survivor = Survivor {
            fault: mutant.fault,
            line: mutant.position.line,
            reason: equivalents.reason(&score.kernel, &mutant),
            original: mutant.original,
            planted: mutant.planted,
        };
        match (is_caught, &survivor.reason) {
            (true, None) => {}
            (true, Some(_)) => score.refuted.push(survivor),
            (false, Some(_)) => score.equivalent.push(survivor),
            (false, None) => score.survivors.push(survivor),
        }
    }
    // A device that a mutant broke would let every mutant after it seem caught.
    check()?;
    Ok(score)
}

#[cfg(test)]
mod tests {
    use super::*;
    use mxlab_kernels::registry::kernels;

    #[test]
    fn nothing_tried_is_no_success() {
        let entry = kernels().next().expect("a kernel");
        let unscored = score(&*entry, &Equivalents::shipped().unwrap(), 0, 0, 600);
        assert!(matches!(unscored, Err(ScoreError::NoProblem { .. })));
        let mut score = Score {
            kernel: String::new(),
            family: String::new(),
            caught: BTreeMap::new(),
            invalid: 3,
            equivalent: Vec::new(),
            survivors: Vec::new(),
            refuted: Vec::new(),
        };
        assert_eq!(score.percent(), None);
        score.caught.insert(Fault::Bound, 2);
        assert_eq!(score.percent(), Some(100.0));
    }
}

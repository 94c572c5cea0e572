//! The sum of all events of workers.

use super::{Event, Job, Verdict, Visit};
use mxlab_harness::device::Code;
use std::collections::{BTreeMap, HashMap};

/// The state of each job so far.
pub struct Outcome {
    jobs: Vec<State>,
    by_id: HashMap<String, usize>,
    /// Jobs whose failure was made small, by family.
    shrunk: HashMap<&'static str, usize>,
}

/// A job.
struct State {
    id: String,
    family: &'static str,
    must_crash: bool,
    /// Rounds that are done.
    rounds: u32,
    verdict: Option<Verdict>,
    code: Option<Code>,
    problems: u64,
    elements: u64,
}

/// Jobs of a family, and what was compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Jobs with a verdict: the sum of the next four.
    pub done: u64,
    /// Jobs that are right.
    pub right: u64,
    /// Jobs that are wrong.
    pub wrong: u64,
    /// Jobs whose text the device refuses.
    pub refused: u64,
    /// Jobs that crashed the device or the worker.
    pub crashed: u64,
    /// Jobs that were not reached.
    pub not_run: u64,
    /// Problems.
    pub problems: u64,
    /// Elements of those problems.
    pub elements: u64,
}

/// A job that is not right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding<'o> {
    /// The job.
    pub job: &'o str,
    /// Its family.
    pub family: &'static str,
    /// The verdict.
    pub verdict: &'o Verdict,
}

impl Outcome {
    /// Nothing is known yet.
    pub fn new(jobs: &[Box<dyn Job>]) -> Self {
        let state = |job: &dyn Job| State {
            id: job.id(),
            family: job.family(),
            must_crash: job.must_crash(),
            rounds: 0,
            verdict: None,
            code: None,
            problems: 0,
            elements: 0,
        };
        let jobs: Vec<State> = jobs.iter().map(|job| state(&**job)).collect();
        let by_id = jobs.iter().enumerate();
        let by_id = by_id.map(|(index, job)| (job.id.clone(), index)).collect();
        Self {
            jobs,
            by_id,
            shrunk: HashMap::new(),
        }
    }

    /// Adds an event of a worker. The first verdict on a round of a job counts, since a supervisor
    /// may read an event twice. Unknown jobs are ignored.
    pub fn take(&mut self, event: &Event) {
        let Event::Ended { job, round, visit } = event else {
            return;
        };
        let Some(&index) = self.by_id.get(job) else {
            return;
        };
        let state = &mut self.jobs[index];
        if *round < state.rounds || state.is_settled() {
            return;
        }
        let Visit {
            verdict,
            problems,
            elements,
            code,
        } = visit;
        state.rounds = round + 1;
        state.problems += problems;
        state.elements += elements;
        state.verdict = Some(verdict.clone());
        state.code = code.clone().or(state.code.take());
        if let Verdict::Wrong {
            problem: Some(_), ..
        } = verdict
        {
            *self.shrunk.entry(state.family).or_default() += 1;
        }
    }

    /// Number of jobs.
    pub fn len(&self) -> usize {
        self.jobs.len()
    }

    /// Whether there are no jobs.
    pub fn is_empty(&self) -> bool {
        self.jobs.is_empty()
    }

    /// Whether a job, by its number, has nothing left to do in a round.
    pub(super) fn is_done(&self, job: usize, round: u32) -> bool {
        self.jobs[job].rounds > round || self.jobs[job].is_settled()
    }

    /// Elements of the problems of these jobs, by family.
    pub(super) fn elements(&self, jobs: &[usize]) -> HashMap<&'static str, u64> {
        let mut elements = HashMap::new();
        for job in jobs.iter().map(|&job| &self.jobs[job]) {
            *elements.entry(job.family).or_default() += job.elements;
        }
        elements
    }

    /// Jobs of a family whose failure was made small.
    pub(super) fn shrunk(&self, family: &str) -> usize {
        self.shrunk.get(family).copied().unwrap_or_default()
    }

    /// Jobs and comparisons by family.
    pub fn families(&self) -> BTreeMap<&'static str, Tally> {
        let mut families = BTreeMap::new();
        for job in &self.jobs {
            let tally: &mut Tally = families.entry(job.family).or_default();
            tally.problems += job.problems;
            tally.elements += job.elements;
            let count = match &job.verdict {
                None => &mut tally.not_run,
                Some(_) if job.is_right() => &mut tally.right,
                Some(Verdict::Right) => &mut tally.wrong,
                Some(Verdict::Wrong { .. }) => &mut tally.wrong,
                Some(Verdict::Refused { .. }) => &mut tally.refused,
                Some(Verdict::Crashed { .. }) => &mut tally.crashed,
            };
            *count += 1;
            tally.done += u64::from(job.verdict.is_some());
        }
        families
    }

    /// All jobs and comparisons.
    pub fn total(&self) -> Tally {
        let families = self.families();
        families.values().fold(Tally::default(), |all, one| Tally {
            done: all.done + one.done,
            right: all.right + one.right,
            wrong: all.wrong + one.wrong,
            refused: all.refused + one.refused,
            crashed: all.crashed + one.crashed,
            not_run: all.not_run + one.not_run,
            problems: all.problems + one.problems,
            elements: all.elements + one.elements,
        })
    }

    /// Jobs that are not right, by id.
    pub fn findings(&self) -> Vec<Finding<'_>> {
        let mut findings: Vec<Finding> = self.jobs.iter().filter_map(State::finding).collect();
        findings.sort_by_key(|finding| finding.job);
        findings
    }

    /// Where the machine code of each job that was loaded came from, in the order of the jobs.
    pub fn codes(&self) -> impl Iterator<Item = (&str, &Code)> {
        self.jobs
            .iter()
            .filter_map(|job| Some((job.id.as_str(), job.code.as_ref()?)))
    }

    /// Ids of the jobs without a verdict, sorted.
    pub fn not_run(&self) -> Vec<&str> {
        let left = self.jobs.iter().filter(|job| job.verdict.is_none());
        let mut left: Vec<&str> = left.map(|job| job.id.as_str()).collect();
        left.sort_unstable();
        left
    }
}

impl State {
    /// Whether another round would add nothing: the job has failed already.
    const fn is_settled(&self) -> bool {
        !matches!(self.verdict, None | Some(Verdict::Right))
    }

    /// Whether the verdict is the expected one.
    const fn is_right(&self) -> bool {
        match &self.verdict {
            Some(Verdict::Right) => !self.must_crash,
            Some(Verdict::Crashed { .. }) => self.must_crash,
            _ => false,
        }
    }

    fn finding(&self) -> Option<Finding<'_>> {
        let verdict = self.verdict.as_ref().filter(|_| !self.is_right())?;
        Some(Finding {
            job: &self.id,
            family: self.family,
            verdict,
        })
    }
}

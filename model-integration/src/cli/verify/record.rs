//! The record of a campaign, and its printed table.

use mxlab_fuzz::campaign::{Finding, Outcome, Tally, Verdict};
use mxlab_harness::device::{Code, Images, Properties};
use mxlab_harness::record::Environment;

use crate::columns::aligned;
use crate::record::verify::{Family, Found, ImagesOf, MachineCode, Selection, VerifyRecord};

/// The parts of a record besides the outcome.
pub struct Circumstances<'r> {
    pub environment: &'r Environment,
    pub device: &'r Properties,
    pub selection: &'r Selection,
    pub shard: String,
    pub seed: u64,
    pub problem_size: usize,
    pub workers: usize,
    pub for_other_chips: usize,
    pub images: Option<&'r Images>,
}

impl Circumstances<'_> {
    /// The record of the outcome so far.
    pub fn record(&self, outcome: &Outcome, seconds: f64, end: &str) -> VerifyRecord {
        let family = |(name, tally): (&'static str, Tally)| Family {
            name: name.to_owned(),
            kernels: tally.done,
            right: tally.right,
            wrong: tally.wrong,
            refused: tally.refused,
            crashed: tally.crashed,
            not_run: tally.not_run,
            problems: tally.problems,
            elements: tally.elements,
        };
        let found = |finding: &Finding| {
            let (verdict, failure, seed) = describe(finding.verdict);
            Found {
                kernel: finding.job.to_owned(),
                family: finding.family.to_owned(),
                verdict: verdict.to_owned(),
                failure: failure.to_owned(),
                seed,
            }
        };
        let not_run = outcome.not_run().into_iter().map(str::to_owned);
        VerifyRecord {
            environment: self.environment.clone(),
            device: self.device.clone(),
            selection: self.selection.clone(),
            shard: self.shard.clone(),
            seed: self.seed,
            problem_size: self.problem_size,
            workers: self.workers,
            seconds,
            end: end.to_owned(),
            families: outcome.families().into_iter().map(family).collect(),
            code: code(self.images, outcome),
            for_other_chips: self.for_other_chips,
            findings: outcome.findings().iter().map(found).collect(),
            not_run: not_run.collect(),
        }
    }
}

fn code(images: Option<&Images>, outcome: &Outcome) -> MachineCode {
    let of = |images: &Images| ImagesOf {
        folder: images.folder().display().to_string(),
        chip: images.chip().to_string(),
        cuda: images.cuda(),
        kernels: images.kernels(),
    };
    let mut code = MachineCode {
        images: images.map(of),
        ..MachineCode::default()
    };
    for (kernel, of) in outcome.codes() {
        match of {
            Code::Image => code.from_images += 1,
            Code::Ptx { why } => {
                code.from_ptx += 1;
                let exception = || (kernel.to_owned(), why.to_string());
                let exception = images.map(|_| exception());
                code.from_ptx_although_images.extend(exception);
            }
        }
    }
    code
}

/// A verdict's name, its message, and the seed of its problem.
fn describe(verdict: &Verdict) -> (&'static str, &str, Option<u64>) {
    match verdict {
        Verdict::Right => ("wrong", "it did not crash, and must", None),
        Verdict::Wrong { failure, seed, .. } => ("wrong", failure, *seed),
        Verdict::Refused { reason } => ("refused", reason, None),
        Verdict::Crashed { failure, seed } => ("crashed", failure, *seed),
    }
}

/// Findings to print per family.
const SHOWN: usize = 3;

/// The outcome as text. `again` has the flags that `mxlab verify --replay KERNEL:SEED` needs to
/// repeat a problem of this campaign.
pub fn text(outcome: &Outcome, is_of_instructions: bool, again: &str) -> String {
    let row = |(name, tally): (&'static str, Tally)| {
        let counts = [
            tally.done,
            tally.problems,
            tally.elements,
            tally.right,
            tally.wrong,
            tally.refused,
            tally.crashed,
            tally.not_run,
        ];
        let counts = counts.iter().map(u64::to_string);
        std::iter::once(name.to_owned()).chain(counts).collect()
    };
    let rows: Vec<Vec<String>> = outcome.families().into_iter().map(row).collect();
    let [family, kernels, problems, elements, right, wrong] = match is_of_instructions {
        true => ["chapter", "rows", "run", "results", "equal", "differs"],
        false => [
            "family", "kernels", "problems", "elements", "right", "wrong",
        ],
    };
    let header = [
        family, kernels, problems, elements, right, wrong, "refused", "crashed", "not run",
    ];
    let mut text = aligned(1, &header, &rows);
    text.push('\n');
    for same in by_family(outcome.findings()) {
        for finding in same.iter().take(SHOWN) {
            let (verdict, failure, seed) = describe(finding.verdict);
            let verdict = match (verdict, is_of_instructions) {
                ("wrong", true) => "differs",
                (verdict, _) => verdict,
            };
            let kernel = finding.job;
            text.push_str(&format!("{kernel} {verdict}: {failure}\n"));
            if let Some(seed) = seed {
                text.push_str(&format!(
                    "  again: mxlab verify --replay {kernel}:{seed}{again}\n"
                ));
            }
        }
        if same.len() > SHOWN {
            let (more, family) = (same.len() - SHOWN, same[0].family);
            text.push_str(&format!(
                "and {more} more of {family}; the record (--output-path) has all\n"
            ));
        }
    }
    text
}

/// The findings of each family, ordered by id.
fn by_family(findings: Vec<Finding<'_>>) -> Vec<Vec<Finding<'_>>> {
    let mut families: Vec<Vec<Finding>> = Vec::new();
    for finding in findings {
        let mut known = families.iter_mut();
        match known.find(|same| same[0].family == finding.family) {
            Some(same) => same.push(finding),
            None => families.push(vec![finding]),
        }
    }
    families
}

/// The last line: the summary.
pub fn summary(outcome: &Outcome, is_of_instructions: bool, device: &str, seconds: f64) -> String {
    let total = outcome.total();
    let kernels = |count: u64, what: &str| match count {
        1 => format!("1 kernel {what}"),
        count => format!("{count} kernels {what}"),
    };
    let mut text = match is_of_instructions {
        true => format!(
            "{} results on {device} in {seconds:.1} s: {} rows equal, {} differ",
            total.elements, total.right, total.wrong
        ),
        false => format!(
            "{} elements on {device} in {seconds:.1} s: {}, {}",
            total.elements,
            kernels(total.right, "right"),
            kernels(total.wrong, "wrong"),
        ),
    };
    let others = [
        (total.refused, "refused"),
        (total.crashed, "crashed"),
        (total.not_run, "not run"),
    ];
    for (count, what) in others {
        if count > 0 {
            text.push_str(&format!(", {count} {what}"));
        }
    }
    text.push('\n');
    text
}

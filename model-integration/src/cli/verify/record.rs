//! The record of a campaign, and its table.

use mxlab_fuzz::campaign::{Finding, Outcome, Tally, Verdict};
use mxlab_harness::device::{Code, Images, Properties};
use mxlab_harness::record::Environment;
use serde::Serialize;

use super::jobs::Selection;
use crate::columns::aligned;

/// The version of [`Record`]. Version 1 had the number of kernels for other chips as `not_run`, and
/// the texts of failures as `findings`.
const SCHEMA_VERSION: u32 = 2;

/// What a record of a campaign holds.
#[derive(Serialize)]
pub struct Record<'r> {
    schema_version: u32,
    kind: &'static str,
    /// Where and when.
    pub environment: &'r Environment,
    /// On what.
    pub device: &'r Properties,
    /// What was selected, and which shard of it.
    pub selection: &'r Selection,
    /// As in `1/3`.
    pub shard: String,
    /// Chose the problems.
    pub seed: u64,
    /// About how many elements a problem had.
    pub problem_size: usize,
    /// Processes.
    pub workers: usize,
    /// Of this run; an earlier one that it goes on from is not counted.
    pub seconds: f64,
    /// How it ended: `finished`, `time is up`, `interrupted`, `failed: ...`; `running` while it goes.
    pub end: String,
    families: Vec<Family>,
    code: MachineCode,
    /// Kernels that this chip does not run.
    pub for_other_chips: usize,
    findings: Vec<Found>,
    /// What was selected and not reached. All other jobs without a finding are right.
    not_run: Vec<String>,
}

/// Where the machine code of the kernels came from.
#[derive(Serialize)]
struct MachineCode {
    /// The images that were given.
    images: Option<ImagesOf>,
    /// Kernels that were loaded from them.
    from_images: u64,
    /// Kernels whose PTX the device was given: without images all of them,
    from_ptx: u64,
    /// with images these, and why.
    from_ptx_although_images: Vec<(String, String)>,
}

#[derive(Serialize)]
struct ImagesOf {
    folder: String,
    chip: String,
    cuda: u32,
    kernels: usize,
}

impl MachineCode {
    fn of(images: Option<&Images>, outcome: &Outcome) -> Self {
        let of = |images: &Images| ImagesOf {
            folder: images.folder().display().to_string(),
            chip: images.chip().to_string(),
            cuda: images.cuda(),
            kernels: images.kernels(),
        };
        let mut code = Self {
            images: images.map(of),
            from_images: 0,
            from_ptx: 0,
            from_ptx_although_images: Vec::new(),
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
}

#[derive(Serialize)]
struct Family {
    name: &'static str,
    kernels: u64,
    right: u64,
    wrong: u64,
    refused: u64,
    crashed: u64,
    not_run: u64,
    problems: u64,
    elements: u64,
}

#[derive(Serialize)]
struct Found {
    kernel: String,
    family: &'static str,
    verdict: &'static str,
    failure: String,
    seed: Option<u64>,
}

/// What a record says beside the outcome.
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

impl<'r> Record<'r> {
    /// The record of what is known so far.
    pub fn new(of: &Circumstances<'r>, outcome: &Outcome, seconds: f64, end: String) -> Self {
        let family = |(name, tally): (&'static str, Tally)| Family {
            name,
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
                family: finding.family,
                verdict,
                failure: failure.to_owned(),
                seed,
            }
        };
        let not_run = outcome.not_run().into_iter().map(str::to_owned);
        Self {
            schema_version: SCHEMA_VERSION,
            kind: "verify",
            environment: of.environment,
            device: of.device,
            selection: of.selection,
            shard: of.shard.clone(),
            seed: of.seed,
            problem_size: of.problem_size,
            workers: of.workers,
            seconds,
            end,
            families: outcome.families().into_iter().map(family).collect(),
            code: MachineCode::of(of.images, outcome),
            for_other_chips: of.for_other_chips,
            findings: outcome.findings().iter().map(found).collect(),
            not_run: not_run.collect(),
        }
    }
}

/// A verdict's name, what is known of it, and the seed of its problem.
fn describe(verdict: &Verdict) -> (&'static str, &str, Option<u64>) {
    match verdict {
        Verdict::Right => ("wrong", "it did not crash, and must", None),
        Verdict::Wrong { failure, seed, .. } => ("wrong", failure, *seed),
        Verdict::Refused { reason } => ("refused", reason, None),
        Verdict::Crashed { failure, seed } => ("crashed", failure, *seed),
    }
}

/// Findings of a family that are printed.
const SHOWN: usize = 3;

/// The outcome as people read it. `again` is what `mxlab verify --replay KERNEL:SEED` needs to repeat
/// a problem of this campaign.
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

/// The findings of each family, in the order of their ids.
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

/// The last line: what all of it comes to.
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

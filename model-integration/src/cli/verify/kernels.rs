//! `mxlab verify` without `--golden`: a campaign over the registry.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use mxlab_fuzz::campaign::{Finding, Outcome, Plan, Until, run as run_campaign};
use mxlab_fuzz::regression::Regression;
use mxlab_harness::device::{Device, Properties};
use mxlab_harness::record::{Environment, write_atomic};
use mxlab_kernels::registry::{Entry, kernels};
use serde::Serialize;

use super::VerifyArgs;
use crate::cli::Done;
use crate::cli::output::{Usage, print};
use crate::columns::aligned;

/// What a record of a run holds.
#[derive(Serialize)]
struct Record<'a> {
    schema_version: u32,
    kind: &'static str,
    environment: Environment,
    device: &'a Properties,
    seed: u64,
    problem_size: usize,
    seconds: f64,
    families: Vec<Family<'a>>,
    findings: Vec<String>,
}

#[derive(Serialize)]
struct Family<'a> {
    name: &'a str,
    kernels: u64,
    problems: u64,
    elements: u64,
}

/// Runs the campaign, prints what it did, and keeps what it found.
pub fn run(args: &VerifyArgs) -> Result<Done> {
    let environment = Environment::capture();
    let entries = chosen(&args.kernel)?;
    let is_positive = args
        .minutes
        .is_none_or(|minutes| minutes > 0.0 && minutes.is_finite());
    ensure!(is_positive, Usage("--minutes: not a time".to_owned()));
    ensure!(
        args.problem_size > 0,
        Usage("--problem-size: must be positive".to_owned())
    );
    let until = match (args.minutes, args.elements) {
        (Some(minutes), _) => Until::Time(Duration::from_secs_f64(60.0 * minutes)),
        (_, Some(elements)) => Until::Elements(elements),
        (None, None) => Until::Problems(args.problems.unwrap_or(4)),
    };
    let plan = Plan {
        seed: args.seed,
        elements: args.problem_size,
        until,
    };
    let device = Device::open(args.device)?;
    let bar = progress_bar();
    let begun = Instant::now();
    let open = || Device::open(args.device);
    let outcome = run_campaign(&entries, plan, open, |elements| bar.set_position(elements))?;
    let seconds = begun.elapsed().as_secs_f64();
    bar.finish_and_clear();

    print(&text(&outcome, &device, args, seconds))?;
    for finding in &outcome.findings {
        if let (Some(folder), Some(problem)) = (&args.save, &finding.problem) {
            let regression = Regression {
                kernel: finding.kernel.clone(),
                was: finding.failure.clone(),
                problem: problem.clone(),
            };
            let path = regression.write(folder)?;
            print(&format!("kept: mxlab verify --replay {}\n", path.display()))?;
        }
    }
    if let Some(path) = &args.output_path {
        let record = Record {
            schema_version: 1,
            kind: "verify",
            environment,
            device: device.properties(),
            seed: args.seed,
            problem_size: args.problem_size,
            seconds,
            families: families(&outcome),
            findings: outcome.findings.iter().map(|f| f.failure.clone()).collect(),
        };
        let json = serde_json::to_vec_pretty(&record).context("cannot write the record as JSON")?;
        write_atomic(path, &json)?;
    }
    Ok(match outcome.findings.is_empty() {
        true => Done::Well,
        false => Done::WithFindings,
    })
}

/// The kernels that match one of the patterns; all without any.
///
/// # Errors
/// If there are none.
pub fn chosen(patterns: &[glob::Pattern]) -> Result<Vec<Box<dyn Entry>>> {
    let mut entries: Vec<_> = kernels().collect();
    entries.retain(|entry| {
        let id = entry.id();
        patterns.is_empty() || patterns.iter().any(|pattern| pattern.matches(&id))
    });
    let named = || {
        let patterns: Vec<&str> = patterns.iter().map(glob::Pattern::as_str).collect();
        Usage(format!(
            "--kernel: no kernel matches {}; `mxlab list` shows them",
            patterns.join(", ")
        ))
    };
    if entries.is_empty() {
        return Err(named().into());
    }
    Ok(entries)
}

fn progress_bar() -> ProgressBar {
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
    let template = "{spinner} {human_pos} elements, {per_sec}, {elapsed}";
    bar.set_style(ProgressStyle::with_template(template).expect("a well-formed template"));
    bar
}

fn families<'a>(outcome: &'a Outcome) -> Vec<Family<'a>> {
    let family = |(&name, tally): (&&'a str, &mxlab_fuzz::campaign::Tally)| Family {
        name,
        kernels: tally.kernels,
        problems: tally.problems,
        elements: tally.elements,
    };
    outcome.families.iter().map(family).collect()
}

fn text(outcome: &Outcome, device: &Device, args: &VerifyArgs, seconds: f64) -> String {
    let wrong = |name: &str| {
        let is_of = |finding: &&Finding| finding.family == name;
        outcome.findings.iter().filter(is_of).count()
    };
    let rows: Vec<Vec<String>> = families(outcome)
        .iter()
        .map(|family| {
            vec![
                family.name.to_owned(),
                family.kernels.to_string(),
                family.problems.to_string(),
                family.elements.to_string(),
                wrong(family.name).to_string(),
            ]
        })
        .collect();
    let header = ["family", "kernels", "problems", "elements", "wrong"];
    let mut text = aligned(1, &header, &rows);
    text.push('\n');
    for finding in &outcome.findings {
        text.push_str(&format!("{}: {}\n", finding.kernel, finding.failure));
        if let Some(seed) = finding.seed {
            let size = args.problem_size;
            text.push_str(&format!(
                "  again: mxlab verify --replay {}:{seed} --problem-size {size}\n",
                finding.kernel
            ));
        }
    }
    let elements: u64 = outcome.families.values().map(|tally| tally.elements).sum();
    let name = &device.properties().name;
    text.push_str(&format!(
        "{elements} elements on {name} in {seconds:.1} s, {} kernels wrong\n",
        outcome.findings.len()
    ));
    text
}

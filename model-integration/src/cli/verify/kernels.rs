//! `mxlab verify` without `--golden`: a campaign over the registry.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use mxlab_fuzz::campaign::{Finding, Outcome, Plan, Until, run as run_campaign};
use mxlab_fuzz::regression::Regression;
use mxlab_harness::device::{Device, DeviceKind, Properties};
use mxlab_harness::record::{Environment, write_atomic};
use mxlab_kernels::registry::{Entry, Substitute, kernels};
use serde::Serialize;

use super::{VerifyArgs, open};
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
    not_run: usize,
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
    let mut entries = match &args.ptx {
        Some(path) => select(of_file(path)?, &args.kernel)?,
        None => chosen(&args.kernel)?,
    };
    let is_positive = args
        .minutes
        .is_none_or(|minutes| minutes > 0.0 && minutes.is_finite());
    ensure!(is_positive, Usage("--minutes: not a time".to_owned()));
    ensure!(
        args.problems != Some(0) && args.elements != Some(0),
        Usage("--problems and --elements: must be positive".to_owned())
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
    let device = open(args.device)?;
    let properties = device.properties();
    let all = entries.len();
    // The emulator knows the instructions of every chip.
    entries.retain(|entry| properties.kind == DeviceKind::Emulator || entry.runs_on(properties.sm));
    let left_out = all - entries.len();
    ensure!(
        !entries.is_empty(),
        "none of the {all} kernels runs on {} (sm_{})",
        properties.name,
        properties.sm
    );
    let bar = progress_bar();
    let begun = Instant::now();
    let open = || open(args.device);
    let outcome = run_campaign(&entries, plan, open, |elements| bar.set_position(elements))?;
    let seconds = begun.elapsed().as_secs_f64();
    bar.finish_and_clear();

    print(&text(&outcome, &device, args, seconds))?;
    if left_out > 0 {
        print(&format!("not run: {left_out} kernels for other chips\n"))?;
    }
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
            not_run: left_out,
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
    select(kernels().collect(), patterns)
}

/// The kernels of the registry that a PTX file has entries for, with its text.
///
/// # Errors
/// If it cannot be read or there are none.
pub fn of_file(path: &Path) -> Result<Vec<Box<dyn Entry>>> {
    let ptx = fs::read_to_string(path).with_context(|| format!("`{}`", path.display()))?;
    let entries = Substitute::all(&ptx).into_iter();
    let entries: Vec<_> = entries
        .map(|entry| Box::new(entry) as Box<dyn Entry>)
        .collect();
    ensure!(
        !entries.is_empty(),
        "`{}` has no `.entry` of the name of a kernel; `mxlab list` shows them",
        path.display()
    );
    Ok(entries)
}

fn select(
    mut entries: Vec<Box<dyn Entry>>,
    patterns: &[glob::Pattern],
) -> Result<Vec<Box<dyn Entry>>> {
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
        // A text that does not load is named by its own error.
        if !finding.failure.starts_with(&finding.kernel) {
            text.push_str(&format!("{}: ", finding.kernel));
        }
        text.push_str(&format!("{}\n", finding.failure));
        if let Some(seed) = finding.seed {
            let size = args.problem_size;
            let ptx = args.ptx.as_ref();
            let ptx = ptx.map_or_else(String::new, |path| format!(" --ptx {}", path.display()));
            text.push_str(&format!(
                "  again: mxlab verify --replay {}:{seed} --problem-size {size}{ptx}\n",
                finding.kernel
            ));
        }
    }
    let elements: u64 = outcome.families.values().map(|tally| tally.elements).sum();
    let name = &device.properties().name;
    text.push_str(&format!(
        "{elements} elements on {name} in {seconds:.1} s, {} wrong\n",
        match outcome.findings.len() {
            1 => "1 kernel".to_owned(),
            n => format!("{n} kernels"),
        }
    ));
    text
}

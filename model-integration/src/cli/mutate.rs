//! `mxlab mutate`: counts how many planted faults verification catches.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::{Result, ensure};
use clap::Args;
use indicatif::{ParallelProgressIterator, ProgressBar, ProgressDrawTarget, ProgressStyle};
use mxlab_fuzz::mutation::{Equivalents, Fault, Score, score};
use mxlab_harness::record::Environment;
use rayon::prelude::*;

use super::Done;
use super::output::{Usage, print};
use super::verify::{check_problem_size, chosen};
use crate::columns::aligned;
use crate::record;
use crate::record::mutate::MutateRecord;

/// Plant faults into the PTX of kernels, one at a time, and count how many verification catches
///
/// Runs on the emulator. Without --all it draws a sample of the kernels by the seed.
#[derive(Args)]
pub struct MutateArgs {
    /// Only kernels whose id matches, such as 'quantize_fp4_*'
    #[arg(long, value_name = "GLOB")]
    kernel: Vec<glob::Pattern>,
    /// Number of kernels drawn from each family
    #[arg(long, value_name = "N", default_value_t = 12)]
    sample: usize,
    /// Every kernel, not a sample
    #[arg(long, conflicts_with = "sample")]
    all: bool,
    /// Seed of the sample and the problems
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    /// Problems that each mutant is run on
    #[arg(long, value_name = "N", default_value_t = 200)]
    problems: u32,
    /// Approximate number of elements of a problem
    #[arg(long, value_name = "N", default_value_t = 600)]
    problem_size: usize,
    /// Also list the mutants known to be equivalent, with the reason
    #[arg(long)]
    equivalent: bool,
    /// Write a record of the run here
    #[arg(long, value_name = "FILE")]
    output_path: Option<PathBuf>,
}

/// Scores, and prints a table by family and fault, and the survivors.
pub fn run(args: &MutateArgs) -> Result<Done> {
    ensure!(
        args.problems > 0,
        Usage("--problems: must be positive".to_owned())
    );
    check_problem_size(args.problem_size)?;
    ensure!(
        args.sample > 0,
        Usage("--sample: must be positive".to_owned())
    );
    let environment = Environment::capture();
    let equivalents = Equivalents::shipped()?;
    let mut entries = chosen(&args.kernel)?;
    if !args.all {
        // Ordered by a hash, so that the sample does not depend on the other kernels.
        entries
            .sort_by_cached_key(|entry| mxlab_fuzz::campaign::case_seed(args.seed, &entry.id(), 0));
        let mut taken: BTreeMap<&str, usize> = BTreeMap::new();
        entries.retain(|entry| {
            let taken = taken.entry(entry.family()).or_default();
            *taken += 1;
            *taken <= args.sample
        });
    }
    let bar =
        ProgressBar::with_draw_target(Some(entries.len() as u64), ProgressDrawTarget::stderr());
    let template = "[{bar:30}] {pos}/{len} kernels, {elapsed} elapsed, {eta} left";
    let style = ProgressStyle::with_template(template).expect("a well-formed template");
    bar.set_style(style.progress_chars("=> "));
    let scores: Result<Vec<Score>, _> = entries
        .par_iter()
        .progress_with(bar)
        .map(|entry| {
            score(
                &**entry,
                &equivalents,
                args.seed,
                args.problems,
                args.problem_size,
            )
        })
        .collect();
    let scores = scores?;
    print(&text(&scores, args.equivalent))?;
    let is_clean = |score: &Score| score.survivors.is_empty() && score.refuted.is_empty();
    // A run in which no mutant was caught is no success either.
    let is_clean = scores.iter().all(is_clean) && scores.iter().any(|score| score.caught() > 0);
    if let Some(path) = &args.output_path {
        let record = MutateRecord {
            environment,
            seed: args.seed,
            problems: args.problems,
            problem_size: args.problem_size,
            kernels: scores,
        };
        record::write(path, &record)?;
    }
    Ok(match is_clean {
        true => Done::Ok,
        false => Done::WithFindings,
    })
}

fn text(scores: &[Score], lists_equivalent: bool) -> String {
    let mut families: BTreeMap<&str, Vec<&Score>> = BTreeMap::new();
    for score in scores {
        families.entry(&score.family).or_default().push(score);
    }
    let mut rows = Vec::new();
    for (family, scores) in &families {
        let sum = |count: &dyn Fn(&Score) -> usize| scores.iter().map(|score| count(score)).sum();
        let caught: usize = sum(&|score| score.caught() as usize);
        let survived: usize = sum(&|score| score.survivors.len());
        let equivalent: usize = sum(&|score| score.equivalent.len());
        let invalid: usize = sum(&|score| score.invalid as usize);
        let percent = |percent: Option<f64>| match percent {
            Some(percent) => format!("{percent:.2}"),
            None => "no mutant".to_owned(),
        };
        let all = caught + survived;
        let lowest = scores.iter().filter_map(|score| score.percent());
        rows.push(vec![
            (*family).to_owned(),
            scores.len().to_string(),
            (caught + survived + equivalent).to_string(),
            caught.to_string(),
            survived.to_string(),
            equivalent.to_string(),
            invalid.to_string(),
            percent((all > 0).then(|| 100.0 * caught as f64 / all as f64)),
            percent(lowest.reduce(f64::min)),
        ]);
    }
    let header = [
        "family",
        "kernels",
        "mutants",
        "caught",
        "survived",
        "equivalent",
        "invalid",
        "score %",
        "lowest",
    ];
    let mut text = aligned(1, &header, &rows);
    text.push('\n');
    text.push_str(&by_fault(scores));
    for score in scores {
        for wrong in &score.refuted {
            text.push_str(&format!(
                "{}:{} {}: caught, but listed as equivalent: {} -> {}\n    {}\n",
                score.kernel,
                wrong.line,
                wrong.fault,
                wrong.original,
                wrong.planted,
                wrong.reason.as_deref().unwrap_or_default()
            ));
        }
        let known = score.equivalent.iter().filter(|_| lists_equivalent);
        for survivor in score.survivors.iter().chain(known) {
            let planted = match survivor.planted.as_str() {
                "" => "left out",
                planted => planted,
            };
            text.push_str(&format!(
                "{}:{} {}: {} -> {planted}\n",
                score.kernel, survivor.line, survivor.fault, survivor.original
            ));
            if let Some(reason) = &survivor.reason {
                text.push_str(&format!("    equivalent: {reason}\n"));
            }
        }
    }
    text
}

fn by_fault(scores: &[Score]) -> String {
    let row = |fault: &Fault| {
        let caught: u32 = scores
            .iter()
            .filter_map(|score| score.caught.get(fault))
            .sum();
        let is_it = |survivor: &&mxlab_fuzz::mutation::Survivor| survivor.fault == *fault;
        let survived: usize = scores
            .iter()
            .map(|score| score.survivors.iter().filter(is_it).count())
            .sum();
        (caught > 0 || survived > 0)
            .then(|| vec![fault.to_string(), caught.to_string(), survived.to_string()])
    };
    let rows: Vec<Vec<String>> = Fault::ALL.iter().filter_map(row).collect();
    let mut text = aligned(1, &["fault", "caught", "survived"], &rows);
    text.push('\n');
    text
}

//! `mxlab compare`: compares the answers of two evaluations, example by example.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use clap::Args;
use serde_json::Value;

use super::Done;
use super::output::{Usage, print};
use crate::columns::aligned;
use crate::eval::log::{Entry, TextEntry};
use crate::task::metric::{Filter, likeliest};
use crate::task::named::gsm8k;
use crate::task::{Kind, protocols};

#[derive(Args)]
pub struct CompareArgs {
    /// Output of an evaluation: its --output-path
    #[arg(value_name = "DIR")]
    first: PathBuf,
    /// Output of the other evaluation
    #[arg(value_name = "DIR")]
    second: PathBuf,
    /// Fail if a row has a lower percentage of equal answers, or a task or example is in one only
    #[arg(long, value_name = "PERCENT", value_parser = percent)]
    at_least: Option<f64>,
}

fn percent(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(percent) if (0.0..=100.0).contains(&percent) => Ok(percent),
        _ => Err("not a percentage, 0 to 100".into()),
    }
}

/// The greater; NaN if either is.
fn greater(a: f64, b: f64) -> f64 {
    match a.is_nan() || a > b {
        true => a,
        false => b,
    }
}

/// The log of one task under one configuration.
struct Log {
    /// The settings that determine its results.
    key: Value,
    /// By example.
    answers: BTreeMap<usize, Answer>,
}

/// The model's answer to an example.
struct Answer {
    /// The comparable part: whether a cloze is right, which choice is the likeliest, what is
    /// extracted from a text; empty for a document.
    chosen: String,
    /// The gap between the greatest logit and the target's, or between the two likeliest choices.
    short: f64,
    /// The answer in words.
    text: String,
    loglikelihoods: Vec<f64>,
}

impl Answer {
    /// From the entries of an example, in the order of its parts.
    fn new(output_type: &str, entries: &[Entry]) -> Self {
        let loglikelihoods: Vec<f64> = entries.iter().map(|entry| entry.loglikelihood).collect();
        let (chosen, short, text) = match output_type {
            _ if output_type == Kind::Choices.output_type() => {
                let chosen = likeliest(loglikelihoods.iter().copied());
                let others = loglikelihoods.iter().enumerate();
                let others = others.filter(|&(choice, _)| choice != chosen);
                let next = others.fold(f64::NEG_INFINITY, |next, (_, &x)| greater(next, x));
                let short = loglikelihoods[chosen] - next;
                let text = format!("choice {chosen}, by {short:.3}");
                (chosen.to_string(), short, text)
            }
            _ if output_type == Kind::Document.output_type() => (String::new(), 0.0, String::new()),
            _ => {
                let Entry {
                    is_greedy,
                    shortfall,
                    ..
                } = entries[0];
                let text = match is_greedy {
                    true => "right".to_owned(),
                    false => format!("short by {shortfall:.3}"),
                };
                (is_greedy.to_string(), shortfall, text)
            }
        };
        Self {
            chosen,
            short,
            text,
            loglikelihoods,
        }
    }

    /// From a generated text.
    fn from_text(text: &str, filter: &Filter) -> Self {
        let extracted = (filter.extract)(text);
        Self {
            text: format!("{extracted:?}"),
            chosen: extracted,
            short: 0.0,
            loglikelihoods: Vec::new(),
        }
    }

    /// The largest difference of log-likelihoods.
    fn distance(&self, other: &Self) -> f64 {
        let pairs = self.loglikelihoods.iter().zip(&other.loglikelihoods);
        let differences = pairs.map(|(one, other)| (one - other).abs());
        differences.fold(0.0, greater)
    }
}

/// Compares and prints.
pub fn run(args: &CompareArgs) -> Result<Done> {
    let (first, second) = (logs(&args.first)?, logs(&args.second)?);
    let mut rows = Vec::new();
    let mut differences = String::new();
    let mut is_enough = true;
    let names = first.keys().chain(second.keys()).collect::<BTreeSet<_>>();
    for name in names {
        let (Some(one), Some(other)) = (first.get(name), second.get(name)) else {
            writeln!(differences, "{name}: only in one of the two evaluations")?;
            is_enough &= args.at_least.is_none();
            continue;
        };
        check(name, one, other)?;
        let pairs: Vec<(usize, &Answer, &Answer)> = one
            .answers
            .iter()
            .filter_map(|(&example, answer)| Some((example, answer, other.answers.get(&example)?)))
            .collect();
        let alone = one.answers.len() + other.answers.len() - 2 * pairs.len();
        if alone > 0 {
            writeln!(
                differences,
                "{name}: {alone} examples are only in one of the two evaluations"
            )?;
            is_enough &= args.at_least.is_none();
        }
        let differing: Vec<&(usize, &Answer, &Answer)> = pairs
            .iter()
            .filter(|(_, one, other)| one.chosen != other.chosen)
            .collect();
        let same = 100.0 * (pairs.len() - differing.len()) as f64 / pairs.len().max(1) as f64;
        is_enough &= args.at_least.is_none_or(|least| same >= least);
        let distance = pairs
            .iter()
            .map(|(_, one, other)| one.distance(other))
            .fold(0.0, greater);
        let shortest = differing
            .iter()
            .map(|(_, one, other)| greater(one.short, other.short))
            .fold(0.0, greater);
        rows.push(vec![
            name.clone(),
            pairs.len().to_string(),
            format!("{same:.2}"),
            format!("{shortest:.3}"),
            format!("{distance:.3}"),
        ]);
        for (example, one, other) in differing {
            let (one, other) = (&one.text, &other.text);
            writeln!(differences, "{name}, example {example}: {one} and {other}")?;
        }
    }
    if rows.is_empty() {
        let message = format!(
            "{} and {} have no task and configuration in common; evaluate both on the same",
            args.first.display(),
            args.second.display()
        );
        return Err(Usage(message).into());
    }
    let header = [
        "task.configuration",
        "examples",
        "same %",
        "short",
        "log-lik",
    ];
    print(&aligned(1, &header, &rows))?;
    print(
        "\nsame: the same answer, or for a cloze both right or both wrong. \
         short: where answers differ, the\n\
         largest gap between the target's logit and the greatest, \
         or between the two likeliest choices.\n\
         log-lik: the largest difference of two log-likelihoods.\n",
    )?;
    if !differences.is_empty() {
        print(&format!("\n{differences}"))?;
    }
    Ok(match is_enough {
        true => Done::Ok,
        false => Done::WithFindings,
    })
}

/// The logs under a folder, by task and configuration.
fn logs(folder: &Path) -> Result<BTreeMap<String, Log>> {
    let place = folder.join("log");
    let files = fs::read_dir(&place).with_context(|| {
        format!(
            "`{}`: no `log` folder; expected the folder that `mxlab eval --output-path` wrote",
            folder.display()
        )
    })?;
    let mut logs = BTreeMap::new();
    for file in files {
        let path = file
            .with_context(|| format!("`{}`", place.display()))?
            .path();
        let name = path
            .file_stem()
            .map(|name| name.to_string_lossy().into_owned());
        if let Some(name) = name.filter(|_| path.extension().is_some_and(|e| e == "jsonl")) {
            let log = read(&path).with_context(|| format!("`{}`", path.display()))?;
            logs.insert(name, log);
        }
    }
    Ok(logs)
}

fn read(path: &Path) -> Result<Log> {
    let text = fs::read_to_string(path)?;
    let mut lines = text.lines().enumerate();
    let (_, header) = lines.next().context("it is empty")?;
    let key: Value = serde_json::from_str(header).context("line 1")?;
    let output_type = key["output_type"].as_str().unwrap_or_default();
    let place = |index: usize| format!("line {}", index + 1);
    if output_type == Kind::Problem.output_type() {
        let filter = filter(&key)?;
        let answers = lines.map(|(index, line)| {
            let entry: TextEntry = serde_json::from_str(line).with_context(|| place(index))?;
            Ok((entry.example, Answer::from_text(&entry.text, filter)))
        });
        let answers = answers.collect::<Result<_>>()?;
        return Ok(Log { key, answers });
    }
    let mut entries: BTreeMap<usize, Vec<Entry>> = BTreeMap::new();
    for (index, line) in lines {
        let entry: Entry = serde_json::from_str(line).with_context(|| place(index))?;
        entries.entry(entry.example).or_default().push(entry);
    }
    let answers = entries.into_iter().map(|(example, mut entries)| {
        entries.sort_by_key(|entry| entry.part);
        (example, Answer::new(output_type, &entries))
    });
    let answers = answers.collect();
    Ok(Log { key, answers })
}

/// The filter of generated answers: that of the task's first metric.
fn filter(key: &Value) -> Result<&'static Filter> {
    // Logs of earlier versions do not name it; then only GSM8K generated answers.
    let name = key["protocol"].as_str().unwrap_or(gsm8k::PROTOCOL.name);
    let protocol = protocols().find(|protocol| protocol.name == name);
    let filter = protocol.and_then(|protocol| protocol.metrics.first()?.filter());
    filter.with_context(|| {
        format!(
            "line 1: `{name}` is not a protocol of this version that generates answers; evaluate \
             again"
        )
    })
}

/// Checks that both answered the same questions.
fn check(name: &str, one: &Log, other: &Log) -> Result<()> {
    for field in [
        "model",
        "task_sha256",
        "config",
        "num_fewshot",
        "fewshot_sha256",
    ] {
        let (one, other) = (&one.key[field], &other.key[field]);
        ensure!(one == other, "{name}: `{field}` differs: {one} and {other}");
    }
    Ok(())
}

//! Evaluations with a toy model: order, limits, differences, and refusals before anything runs.

mod answers;
mod output;
mod resume;

use std::fs;
use std::path::{Path, PathBuf};

use mxlab::config::{FormatFlags, QuantConfig, load};
use mxlab::eval::plan::Limit;
use mxlab::eval::progress::Silent;
use mxlab::eval::table::{TableFormat, render};
use mxlab::eval::{Evaluation, Outcome, Settings};
use mxlab::record::result::TaskResult;
use mxlab::task::metric::Metric;
use mxlab::task::{FewShot, PromptStyle, Task, jsonl};

use crate::toy::ToyEngine;

pub const EXAMPLES: usize = 11;
pub const BATCH_SIZE: usize = 3;
pub const CONFIGS: [&str; 3] = ["baseline", "mxfp8", "mx-linear-kv"];

pub fn task(name: &str) -> Task {
    let line = |i: usize| {
        format!(
            "{{\"text\": \"{} of {name} {i} w{i}\"}}\n",
            "x".repeat(i * 7 % 5)
        )
    };
    let lines: String = (0..EXAMPLES).map(line).collect();
    jsonl::parse(name, &format!("{name}.jsonl"), lines.as_bytes()).expect("a task")
}

pub fn configs(names: &[&str]) -> Vec<QuantConfig> {
    let load = |name: &&str| load(name, &FormatFlags::default()).expect(name);
    names.iter().map(load).collect()
}

pub fn settings(output: Option<&Path>) -> Settings {
    Settings {
        style: PromptStyle::default(),
        batch_size: BATCH_SIZE,
        limit: None,
        fewshot: FewShot::default(),
        add_bos_token: None,
        seed: 0,
        output: output.map(Path::to_owned),
        overwrite: false,
        log_samples: true,
    }
}

pub fn evaluate_with(engine: &ToyEngine, settings: Settings) -> anyhow::Result<Outcome> {
    let tasks = vec![task("one"), task("two")];
    let evaluation = Evaluation::new(engine, tasks, configs(&CONFIGS), settings)?;
    evaluation.run(&engine.stop, &Silent)
}

pub fn evaluate(engine: &ToyEngine, output: Option<&Path>) -> Outcome {
    evaluate_with(engine, settings(output)).expect("an evaluation")
}

#[test]
fn without_an_output_directory_the_results_are_the_same() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let with = evaluate(&ToyEngine::new(100), Some(directory.path()));
    let without = evaluate(&ToyEngine::new(100), None);
    assert_eq!(with.results, without.results);
    assert_eq!(with.results.len(), CONFIGS.len() * 2);
    assert!(!with.is_interrupted);
}

#[test]
fn the_longest_examples_come_first() {
    let engine = ToyEngine::new(100);
    evaluate(&engine, None);
    let scored = engine.scored.borrow();
    let lengths: Vec<usize> = scored.iter().take(EXAMPLES).map(Vec::len).collect();
    assert!(lengths.is_sorted_by(|a, b| a >= b), "{lengths:?}");
    assert_eq!(scored.len(), EXAMPLES * 2 * CONFIGS.len());
}

#[test]
fn what_does_not_fit_is_refused_before_anything_runs() {
    let engine = ToyEngine::new(100);
    let new = |tasks, configs, settings| {
        let evaluation = Evaluation::new(&engine, tasks, configs, settings);
        let error = evaluation.err().expect("does not fit");
        format!("{error:#}")
    };
    let twice = new(
        vec![task("a"), task("a")],
        configs(&CONFIGS),
        settings(None),
    );
    assert_eq!(twice, "task `a` is given twice");
    let twice = new(
        vec![task("a")],
        configs(&["mxfp8", "mxfp8"]),
        settings(None),
    );
    assert_eq!(twice, "configuration `mxfp8` is given twice");

    let directory = tempfile::tempdir().expect("temporary directory");
    let path: PathBuf = directory.path().join("deep.toml");
    fs::write(&path, "[[override]]\nlayers = 2\nkv = 'int8'").expect("writable");
    let deep = configs(&[path.to_str().expect("UTF-8")]);
    let error = new(vec![task("a")], deep, settings(None));
    assert!(
        error.contains("`deep`: override 1: field `layers`"),
        "{error}"
    );

    let long = jsonl::parse(
        "t",
        "t.jsonl",
        b"{\"text\": \"a b\"}\n{\"text\": \"a bcdefgh\"}",
    );
    let tiny = ToyEngine::new(5);
    let evaluation = Evaluation::new(
        &tiny,
        vec![long.expect("a task")],
        configs(&CONFIGS),
        settings(None),
    );
    let error = format!("{:#}", evaluation.err().expect("does not fit"));
    assert!(
        error.contains("`t.jsonl` line 2: the target has 7 tokens"),
        "{error}"
    );
}

#[test]
fn an_unwritable_output_is_named_before_anything_runs() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let file = directory.path().join("file");
    fs::write(&file, "mine").expect("writable");
    let engine = ToyEngine::new(100);
    let error = evaluate_with(&engine, settings(Some(&file))).expect_err("a file");
    let error = format!("{error:#}");
    assert!(error.contains(&format!("{}", file.display())), "{error}");
    assert_eq!(error.matches("os error").count(), 1, "said once: {error}");
    assert_eq!(engine.scored.borrow().len(), 0);
    assert_eq!(fs::read_to_string(&file).expect("readable"), "mine");
}

#[test]
fn truncated_prompts_are_counted() {
    let engine = ToyEngine::new(12);
    let outcome = evaluate(&engine, None);
    let longer = engine
        .scored
        .borrow()
        .iter()
        .filter(|tokens| tokens.len() == 13)
        .count();
    let counted: usize = outcome.results.iter().map(|result| result.truncated).sum();
    assert!(counted > 0 && counted < longer + 1, "{counted} of {longer}");
    let table = render(TableFormat::Table, &outcome.results, &outcome.timings);
    let note = format!(
        "{EXAMPLES} examples, {} of them truncated",
        outcome.results[0].truncated
    );
    assert!(table.contains(&note), "{table}");
}

#[test]
fn limits_take_the_first_examples() {
    let engine = ToyEngine::new(100);
    for (text, examples) in [("4", 4), ("4.0", 4), ("99", 11), ("0.5", 6), ("0.01", 1)] {
        let limit = Some(text.parse().expect("a limit"));
        let outcome = evaluate_with(
            &engine,
            Settings {
                limit,
                ..settings(None)
            },
        );
        assert_eq!(
            outcome.expect("an evaluation").results[0].examples,
            examples,
            "{text}"
        );
    }
    for wrong in ["0", "-1", "1.5", "-0.5", "x", "", "inf", "nan"] {
        assert!(wrong.parse::<Limit>().is_err(), "{wrong}");
    }
}

#[test]
fn differences_are_paired_with_the_baseline() {
    let outcome = evaluate(&ToyEngine::new(100), None);
    let of = |config: &str| {
        let result = outcome
            .results
            .iter()
            .find(|result| result.config == config);
        result.expect(config).clone()
    };
    let (baseline, mxfp8) = (of("baseline"), of("mxfp8"));
    let number = |result: &TaskResult, metric| *result.metric(metric).expect("a number");
    let likelihood = |result: &TaskResult| number(result, Metric::LOGLIKELIHOOD);
    assert!(baseline.baseline.is_none());
    assert!(likelihood(&baseline).from_baseline.is_none());
    assert_eq!(mxfp8.baseline.as_deref(), Some("baseline"));
    let difference = likelihood(&mxfp8).from_baseline.expect("a difference");
    let own = likelihood(&mxfp8).estimate.value;
    let expected = own - likelihood(&baseline).estimate.value;
    assert!((difference.value - expected).abs() < 1e-12);
    let perplexity = number(&mxfp8, Metric::PERPLEXITY).estimate.value;
    assert!((perplexity.ln() + own).abs() < 1e-12);

    let toy = ToyEngine::new(100);
    let alone = Evaluation::new(&toy, vec![task("one")], configs(&["mxfp8"]), settings(None));
    let alone = alone
        .expect("fits")
        .run(&toy.stop, &Silent)
        .expect("an evaluation");
    assert!(alone.results[0].baseline.is_none());
    let table = render(TableFormat::Table, &alone.results, &alone.timings);
    assert!(table.contains("not measured"), "{table}");
}

//! Evaluations with a toy model: order, resuming, records and the table.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use mxlab::config::{FormatFlags, QuantConfig, load, named};
use mxlab::eval::metric::Metric;
use mxlab::eval::plan::Limit;
use mxlab::eval::progress::Silent;
use mxlab::eval::result::TaskResult;
use mxlab::eval::table::{TableFormat, render};
use mxlab::eval::{Evaluation, Outcome, Settings, log};
use mxlab::task::{FewShot, Task, jsonl};
use mxlab_harness::measure::Estimate;
use serde_json::Value;

use crate::toy;
use toy::ToyEngine;

const EXAMPLES: usize = 11;
const BATCH_SIZE: usize = 3;
const CONFIGS: [&str; 3] = ["baseline", "mxfp8", "mx-linear-kv"];

fn task(name: &str) -> Task {
    let line = |i: usize| {
        format!(
            "{{\"text\": \"{} of {name} {i} w{i}\"}}\n",
            "x".repeat(i * 7 % 5)
        )
    };
    let lines: String = (0..EXAMPLES).map(line).collect();
    jsonl::parse(name, &format!("{name}.jsonl"), lines.as_bytes()).expect("a task")
}

fn configs(names: &[&str]) -> Vec<QuantConfig> {
    let load = |name: &&str| load(name, &FormatFlags::default()).expect(name);
    names.iter().map(load).collect()
}

fn settings(output: Option<&Path>) -> Settings {
    Settings {
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

fn evaluate_with(engine: &ToyEngine, settings: Settings) -> anyhow::Result<Outcome> {
    let tasks = vec![task("one"), task("two")];
    let evaluation = Evaluation::new(engine, tasks, configs(&CONFIGS), settings)?;
    evaluation.run(&engine.stop, &Silent)
}

fn evaluate(engine: &ToyEngine, output: Option<&Path>) -> Outcome {
    evaluate_with(engine, settings(output)).expect("an evaluation")
}

/// Every file of a run, without what says when and how fast it ran.
fn record(output: &Path) -> HashMap<String, Value> {
    let mut files = HashMap::new();
    for directory in [output.to_owned(), output.join("log")] {
        for entry in fs::read_dir(directory).expect("readable") {
            let path = entry.expect("readable").path();
            if path.is_dir() {
                continue;
            }
            let text = fs::read_to_string(&path).expect("readable");
            let lines = if path.extension().is_some_and(|e| e == "json") {
                vec![serde_json::from_str(&text).expect("JSON")]
            } else {
                text.lines()
                    .map(|line| serde_json::from_str(line).expect("JSON"))
                    .collect()
            };
            let strip = |mut value: Value| {
                if let Some(object) = value.as_object_mut() {
                    for own in [
                        "environment",
                        "timings",
                        "seconds",
                        "date",
                        "total_evaluation_time_seconds",
                    ] {
                        object.remove(own);
                    }
                }
                value
            };
            let lines = lines.into_iter().map(strip).collect();
            let name = path
                .file_name()
                .expect("a name")
                .to_string_lossy()
                .into_owned();
            files.insert(name, Value::Array(lines));
        }
    }
    files
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
fn an_interrupted_run_goes_on_where_it_stopped() {
    let undisturbed = tempfile::tempdir().expect("temporary directory");
    let engine = ToyEngine::new(100);
    let expected = evaluate(&engine, Some(undisturbed.path()));
    let total = engine.scored.borrow().len();
    let expected_files = record(undisturbed.path());
    assert_eq!(expected_files.len(), 1 + CONFIGS.len() * (1 + 2 + 2));

    for stop_after in (1..total).step_by(5) {
        let directory = tempfile::tempdir().expect("temporary directory");
        let first = ToyEngine::new(100);
        first.stop_after.set(stop_after);
        let stopped = evaluate(&first, Some(directory.path()));
        let last_batch = first.scored.borrow().len() == total;
        assert_eq!(
            stopped.is_interrupted, !last_batch,
            "stopped after {stop_after}"
        );
        assert_eq!(directory.path().join("run.json").exists(), last_batch);

        let second = ToyEngine::new(100);
        let resumed = evaluate(&second, Some(directory.path()));
        assert_eq!(
            resumed.results, expected.results,
            "stopped after {stop_after}"
        );
        assert_eq!(
            record(directory.path()),
            expected_files,
            "stopped after {stop_after}"
        );
        let (first, second) = (first.scored.borrow(), second.scored.borrow());
        assert_eq!(
            first.len() + second.len(),
            total,
            "no example is evaluated twice"
        );
    }
}

#[test]
fn a_log_cut_anywhere_gives_the_same_record() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let run = |engine: &ToyEngine| {
        let settings = Settings {
            log_samples: false,
            ..settings(Some(directory.path()))
        };
        let evaluation = Evaluation::new(engine, vec![task("one")], configs(&["mxfp8"]), settings);
        evaluation
            .expect("fits")
            .run(&engine.stop, &Silent)
            .expect("an evaluation")
    };
    let expected = run(&ToyEngine::new(100));
    let expected_files = record(directory.path());
    let path = log::path(directory.path(), "one", "mxfp8");
    let whole = fs::read(&path).expect("readable");

    // Every line end and its neighbours, and a sample of the rest; that the log itself bears
    // a cut at each single byte is tested where it is written.
    let is_near_line_end = |cut: usize| whole[cut.saturating_sub(2)..=cut].contains(&b'\n');
    for cut in (0..whole.len()).filter(|&cut| cut % 17 == 0 || is_near_line_end(cut)) {
        fs::write(&path, &whole[..cut]).expect("writable");
        let lines = whole[..cut].iter().filter(|&&byte| byte == b'\n').count();
        let kept = lines.saturating_sub(1) / BATCH_SIZE * BATCH_SIZE;
        let engine = ToyEngine::new(100);
        assert_eq!(run(&engine).results, expected.results, "cut at {cut}");
        assert_eq!(record(directory.path()), expected_files, "cut at {cut}");
        assert_eq!(
            engine.scored.borrow().len(),
            EXAMPLES - kept,
            "cut at {cut}"
        );
    }

    let engine = ToyEngine::new(100);
    run(&engine);
    assert_eq!(
        engine.scored.borrow().len(),
        0,
        "a finished run only reads its logs"
    );
}

#[test]
fn results_of_different_runs_are_never_mixed() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let output = Some(directory.path());
    evaluate(&ToyEngine::new(100), output);

    let refused = |engine: &ToyEngine, settings: Settings, field: &str| {
        let error = evaluate_with(engine, settings)
            .expect_err(field)
            .to_string();
        for part in ["one.baseline.jsonl", field, "--overwrite"] {
            assert!(error.contains(part), "{error}");
        }
        assert_eq!(engine.scored.borrow().len(), 0);
    };
    let changed = |change: fn(&mut Settings)| {
        let mut settings = settings(output);
        change(&mut settings);
        settings
    };
    let engine = || ToyEngine::new(100);
    refused(
        &engine(),
        changed(|s| s.batch_size = 4),
        "its batch_size is 3, not 4",
    );
    refused(
        &engine(),
        changed(|s| s.limit = Some(Limit::Count(5))),
        "its examples is 11, not 5",
    );
    refused(
        &engine(),
        changed(|s| s.fewshot.count = Some(1)),
        "its num_fewshot is 0, not 1",
    );
    refused(
        &engine(),
        changed(|s| s.add_bos_token = Some(false)),
        "its add_bos_token",
    );
    let of = |change: fn(&mut mxlab::engine::ModelInfo)| engine().with_info(change);
    refused(
        &of(|i| i.fingerprint = "beef".into()),
        settings(output),
        "its model",
    );
    refused(
        &of(|i| i.dtype = "bfloat16".into()),
        settings(output),
        "its dtype",
    );
    refused(
        &of(|i| i.softmax_dtype = "bfloat16".into()),
        settings(output),
        "its softmax_dtype",
    );
    refused(
        &of(|i| i.max_length = 99),
        settings(output),
        "its max_length is 100, not 99",
    );

    // Another place of the same model is no difference.
    let moved = of(|i| i.name = "elsewhere".into());
    evaluate(&moved, output);
    assert_eq!(moved.scored.borrow().len(), 0);

    // Another content of the task, another configuration of the same name.
    let mut other = task("one");
    other.sha256 = "0".into();
    let toy = engine();
    let evaluation = Evaluation::new(&toy, vec![other], configs(&CONFIGS), settings(output));
    let error = evaluation
        .expect("fits")
        .run(&toy.stop, &Silent)
        .expect_err("another task");
    assert!(error.to_string().contains("its task_sha256"), "{error}");
    let mut other = configs(&["mxfp6"]);
    other[0].name = "mxfp8".into();
    let evaluation = Evaluation::new(&toy, vec![task("one")], other, settings(output));
    let error = evaluation
        .expect("fits")
        .run(&toy.stop, &Silent)
        .expect_err("another config");
    assert!(error.to_string().contains("its config"), "{error}");

    let overwritten = engine();
    evaluate_with(
        &overwritten,
        changed(|s| (s.batch_size, s.overwrite) = (4, true)),
    )
    .expect("an evaluation");
    assert_eq!(
        overwritten.scored.borrow().len(),
        EXAMPLES * 2 * CONFIGS.len()
    );
}

#[test]
fn a_damaged_log_is_not_used() {
    let directory = tempfile::tempdir().expect("temporary directory");
    evaluate(&ToyEngine::new(100), Some(directory.path()));
    let path = log::path(directory.path(), "one", "baseline");
    let whole = fs::read_to_string(&path).expect("readable");
    let lines: Vec<&str> = whole.lines().collect();
    let swapped = [&[lines[0], lines[2], lines[1]], &lines[3..]]
        .concat()
        .join("\n");
    let missing_field = whole.replacen("\"seconds\"", "\"second\"", 1);
    let rubbish = whole.replacen("{\"example\"", "rubbish", 1);
    for (damaged, expected) in [
        (swapped + "\n", "line 2: example"),
        (missing_field, "line 2: unknown field `second`"),
        (rubbish, "line 2: expected value"),
    ] {
        fs::write(&path, &damaged).expect("writable");
        let engine = ToyEngine::new(100);
        let error = evaluate_with(&engine, settings(Some(directory.path()))).expect_err(expected);
        let error = error.to_string();
        assert!(
            error.contains("one.baseline.jsonl") && error.contains(expected),
            "{error}"
        );
        assert_eq!(
            fs::read_to_string(&path).expect("readable"),
            damaged,
            "left as it was"
        );
    }
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
    let likelihood = |result: &TaskResult| number(result, Metric::Loglikelihood);
    assert!(baseline.baseline.is_none());
    assert!(likelihood(&baseline).from_baseline.is_none());
    assert_eq!(mxfp8.baseline.as_deref(), Some("baseline"));
    let difference = likelihood(&mxfp8).from_baseline.expect("a difference");
    let own = likelihood(&mxfp8).estimate.value;
    let expected = own - likelihood(&baseline).estimate.value;
    assert!((difference.value - expected).abs() < 1e-12);
    let perplexity = number(&mxfp8, Metric::Perplexity).estimate.value;
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

#[test]
fn tables_are_readable_at_a_hundred_columns() {
    let toy = ToyEngine::new(100);
    let all = named::all(&FormatFlags::default()).expect("well-formed");
    let evaluation = Evaluation::new(&toy, vec![task("one"), task("two")], all, settings(None));
    let mut outcome = evaluation
        .expect("fits")
        .run(&toy.stop, &Silent)
        .expect("an evaluation");
    let estimate = |value, stderr| Estimate {
        value,
        stderr: Some(stderr),
    };
    for (result, timing) in outcome.results.iter_mut().zip(&mut outcome.timings) {
        for number in &mut result.metrics {
            let (value, difference) = match number.metric {
                Metric::Acc => (estimate(0.951, 0.0068), estimate(-0.0543, 0.0056)),
                Metric::Perplexity => (estimate(123.4567, 2.3456), estimate(0.0, 0.0)),
                _ => (estimate(-4.8, 0.1), estimate(-1.23456, 0.01234)),
            };
            number.estimate = value;
            number.from_baseline = number.from_baseline.map(|_| difference);
        }
        result.footprint.kv_bytes_per_token = 32768;
        timing.examples_per_second = 1234.5;
    }
    let table = render(TableFormat::Table, &outcome.results, &outcome.timings);
    println!("{table}");
    for line in table.lines() {
        assert!(
            line.chars().count() <= 100,
            "{} characters: {line}",
            line.chars().count()
        );
    }
    for part in [
        "one: 11 examples\n",
        "two: 11 examples\n",
        "W8A8",
        "W4A6KV4",
        "95.1±0.7",
        "-5.43±0.56",
        "123.5±2.3",
        "-1.2346±0.0123",
        "1234",
        "0.500",
        "32768",
    ] {
        assert!(table.contains(part), "{part}: {table}");
    }
    let csv = render(TableFormat::Csv, &outcome.results, &outcome.timings);
    let columns = |line: &str| line.split(',').count();
    assert!(csv.lines().all(|line| columns(line) == 19), "{csv}");
    assert_eq!(csv.lines().count(), 1 + outcome.results.len());
    let json = render(TableFormat::Json, &outcome.results, &outcome.timings);
    let json: Vec<Value> = serde_json::from_str(&json).expect("JSON");
    assert_eq!(json.len(), outcome.results.len());
    let markdown = render(TableFormat::Md, &outcome.results, &outcome.timings);
    assert!(markdown.contains("| mxfp8 | W8A8 |"), "{markdown}");
}

#[test]
fn files_have_the_schema_of_lm_evaluation_harness() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let outcome = evaluate(&ToyEngine::new(100), Some(directory.path()));
    let read = |name: &str| fs::read_to_string(directory.path().join(name)).expect(name);
    let results: Value = serde_json::from_str(&read("results_mxfp8.json")).expect("JSON");
    let one = &results["results"]["one"];
    let result = outcome
        .results
        .iter()
        .find(|r| (r.config.as_str(), r.task.as_str()) == ("mxfp8", "one"));
    let result = result.expect("a result");
    for metric in [Metric::Acc, Metric::Perplexity] {
        let number = result.metric(metric).expect("a number").estimate;
        let name = metric.name();
        assert_eq!(one[format!("{name},none")], number.value);
        let stderr = number.stderr.expect("a standard error");
        assert_eq!(one[format!("{name}_stderr,none")], stderr);
    }
    assert_eq!(
        (&one["alias"], &one["sample_len"]),
        (&"one".into(), &EXAMPLES.into())
    );
    for key in [
        "configs",
        "versions",
        "n-shot",
        "higher_is_better",
        "n-samples",
        "config",
        "git_hash",
        "date",
        "task_hashes",
        "model_name",
        "total_evaluation_time_seconds",
    ] {
        assert!(results.get(key).is_some(), "{key}");
    }
    assert_eq!(results["n-samples"]["one"]["effective"], EXAMPLES);
    assert_eq!(results["model_name_sanitized"], "toy__model");

    let samples = read("samples_one_mxfp8.jsonl");
    assert_eq!(samples.lines().count(), EXAMPLES);
    let sample: Value =
        serde_json::from_str(samples.lines().nth(1).expect("a line")).expect("JSON");
    assert_eq!(sample["doc_id"], 1);
    assert_eq!(sample["doc"]["text"], "xx of one 1 w1");
    assert_eq!(sample["arguments"]["gen_args_0"]["arg_0"], "xx of one 1");
    assert_eq!(sample["arguments"]["gen_args_0"]["arg_1"], " w1");
    let greedy = if sample["acc"] == 1 { "True" } else { "False" };
    assert_eq!(sample["resps"][0][0][1], greedy);
    let loglikelihood: f64 = sample["filtered_resps"][0][0]
        .as_str()
        .expect("text")
        .parse()
        .expect("a number");
    assert_eq!(sample["perplexity"], loglikelihood);
    // As Python has them: of json.dumps(doc, indent=2, ensure_ascii=False), prompt and target.
    for (hash, expected) in [
        (
            "doc_hash",
            "d7a575b2dd327cc3b08d6e7fcaa8f3438ddabb4a902b195731bd84af9eab3469",
        ),
        (
            "prompt_hash",
            "17f611bb8f104c8e86e894e3b4a4f2336931e8dce9b37f7283d36932b46cd72c",
        ),
        (
            "target_hash",
            "915d4a87ab79afb205256435c3bda3e9d6856aace367bbbcfaac9216f4aaefbd",
        ),
    ] {
        assert_eq!(sample[hash], expected, "{hash}");
    }

    // The log is in the order of evaluation, the samples in that of the task.
    let samples: Vec<Value> = samples
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    let entries: Vec<log::Entry> = read("log/one.mxfp8.jsonl")
        .lines()
        .skip(1)
        .map(|line| serde_json::from_str(line).expect("an entry"))
        .collect();
    assert!(!entries.is_sorted_by_key(|entry| entry.example));
    for entry in entries {
        assert_eq!(samples[entry.example]["perplexity"], entry.loglikelihood);
    }
}

//! Interrupted evaluations resume where they stopped, and logs are never mixed.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use mxlab::engine::ModelInfo;
use mxlab::eval::plan::Limit;
use mxlab::eval::progress::Silent;
use mxlab::eval::{Evaluation, Settings, log};
use serde_json::Value;

use super::{BATCH_SIZE, CONFIGS, EXAMPLES, configs, evaluate, evaluate_with, settings, task};
use crate::toy::ToyEngine;

/// Every file of a run, without times and environment.
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

    // Every line end and its neighbours, and a sample of the rest. Cuts at every byte are tested
    // beside the log's implementation.
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
    let of = |change: fn(&mut ModelInfo)| engine().with_info(change);
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

    // The same model at another path is no difference.
    let moved = of(|i| i.name = "elsewhere".into());
    evaluate(&moved, output);
    assert_eq!(moved.scored.borrow().len(), 0);

    // Another content of the task, and another configuration with the same name.
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

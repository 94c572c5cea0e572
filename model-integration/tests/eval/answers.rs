//! Answers of every kind: choices, documents and problems, and their metrics.

use std::path::Path;
use std::sync::atomic::AtomicBool;

use mxlab::engine::Score;
use mxlab::eval::log::{self, TextEntry};
use mxlab::eval::plan::Plan;
use mxlab::eval::progress::Silent;
use mxlab::eval::runner::Given;
use mxlab::eval::{Evaluation, Settings};
use mxlab::model::cpu::CpuEngine;
use mxlab::record::column::Column;
use mxlab::task::metric::Metric;
use mxlab::task::{FewShot, Kind, PromptEncoder, PromptStyle, jsonl};

use super::{configs, settings};
use crate::toy::{CharTokenizer, ToyEngine};

fn score(loglikelihood: f64) -> Score {
    Score {
        loglikelihood,
        is_greedy: false,
        shortfall: 0.0,
    }
}

#[test]
fn metrics_by_hand() {
    let tokenizer = CharTokenizer::default();
    let encoder = PromptEncoder {
        tokenizer: &tokenizer,
        add_bos_token: None,
        max_length: 100,
    };
    let columns = |lines: &str, scores: &[f64]| {
        let task = jsonl::parse("toy", "toy.jsonl", lines.as_bytes()).expect("a task");
        let plan = Plan::new(
            &task,
            &encoder,
            &FewShot::default(),
            &PromptStyle::default(),
            None,
            2,
        )
        .expect("a plan");
        let scores = scores.iter().map(|&x| score(x)).collect();
        Given::Scores(scores).columns(&task, &plan)
    };
    let of = |columns: &[Column], metric| {
        let column = columns.iter().find(|column| column.metric == metric);
        column.expect("a column").estimate().value
    };
    // The first is right by its log-likelihood alone, the second by its log-likelihood per letter;
    // a tie goes to the first choice.
    let line = |gold: usize| {
        format!(r#"{{"context": "Q", "choices": ["a", "bcdé"], "gold": {gold}}}"#) + "\n"
    };
    let lines = line(0) + &line(1) + &line(0);
    let columns_of_choices = columns(&lines, &[-1.0, -3.0, -2.0, -3.0, -2.0, -2.0]);
    assert_eq!(of(&columns_of_choices, Metric::ACC), 2.0 / 3.0);
    assert_eq!(of(&columns_of_choices, Metric::ACC_NORM), 1.0 / 3.0);
    assert_eq!(of(&columns_of_choices, Metric::LOGLIKELIHOOD), -2.0);

    // An empty choice is a space to score, and per letter it is never the likeliest.
    let line = r#"{"context": "Q", "choices": ["a", ""], "gold": 1}"#;
    let columns_of_choices = columns(line, &[-5.0, -0.5]);
    assert_eq!(of(&columns_of_choices, Metric::ACC), 1.0);
    assert_eq!(of(&columns_of_choices, Metric::ACC_NORM), 0.0);

    // Two words and four bytes; three words and five bytes.
    let lines = "{\"page\": \"a bc\"}\n{\"page\": \"a b c\"}\n";
    let documents = columns(lines, &[-6.0, -12.0]);
    let close = |value: f64, expected: f64| assert!((value - expected).abs() < 1e-12, "{value}");
    close(
        of(&documents, Metric::WORD_PERPLEXITY),
        (18.0f64 / 5.0).exp(),
    );
    close(of(&documents, Metric::BYTE_PERPLEXITY), 2f64.exp());
    close(
        of(&documents, Metric::BITS_PER_BYTE),
        2.0 / std::f64::consts::LN_2,
    );
    close(of(&documents, Metric::LOGLIKELIHOOD), -18.0 / 5.0);
}

/// A choice is scored after the solved examples, and an evaluation resumes in the middle of an
/// example.
#[test]
fn choices_are_evaluated_like_any_other_task() {
    let lines: String = (0..5)
        .map(|i| {
            format!(
                "{{\"context\": \"Q{i}:\", \"choices\": [\"a\", \"b{i}\", \"c\"], \"gold\": 2}}\n"
            )
        })
        .collect();
    let task = jsonl::parse("quiz", "quiz.jsonl", lines.as_bytes()).expect("a task");
    let folder = tempfile::tempdir().expect("a folder");
    let evaluate = |engine: &ToyEngine| {
        let fewshot = FewShot {
            count: Some(1),
            ..FewShot::default()
        };
        let settings = Settings {
            batch_size: 2,
            fewshot,
            ..settings(Some(folder.path()))
        };
        let tasks = vec![task.clone()];
        let evaluation = Evaluation::new(engine, tasks, configs(&["baseline"]), settings);
        let evaluation = evaluation.expect("fits");
        evaluation
            .run(&engine.stop, &Silent)
            .expect("an evaluation")
    };
    let first = ToyEngine::new(100);
    first.stop_after.set(4);
    assert!(evaluate(&first).is_interrupted);
    let second = ToyEngine::new(100);
    let outcome = evaluate(&second);
    assert_eq!(
        first.scored.borrow().len() + second.scored.borrow().len(),
        15
    );
    assert_eq!(outcome.results[0].examples, 5);
    let samples = std::fs::read_to_string(folder.path().join("samples_quiz_baseline.jsonl"));
    let samples = samples.expect("samples");
    let sample: serde_json::Value =
        serde_json::from_str(samples.lines().nth(1).expect("five")).expect("JSON");
    assert_eq!(sample["arguments"]["gen_args_1"]["arg_0"], "Q0: c\n\nQ1:");
    assert_eq!(sample["arguments"]["gen_args_1"]["arg_1"], " b1");
    assert_eq!(sample["filtered_resps"].as_array().map(Vec::len), Some(3));
    assert_eq!(sample["target"], "2");
}

/// Problems are continued greedily, for any batch size and after an interruption.
#[test]
fn problems_are_answered_by_generating() {
    let lines: String = ["Tom had a red", "The old", "Once upon a time"]
        .map(|text| format!("{{\"question\": \"{text}\", \"answer\": \"#### 1\"}}\n"))
        .concat();
    let task = jsonl::parse("problems", "problems.jsonl", lines.as_bytes()).expect("a task");
    assert_eq!(task.kind(), Kind::Problem);
    let checkpoint = mxlab::embedded::checkpoint().expect("the embedded model");
    let engine = CpuEngine::new(checkpoint, None, None).expect("an engine");
    let folder = tempfile::tempdir().expect("a folder");
    let evaluate = |batch_size, output: Option<&Path>| {
        let fewshot = FewShot {
            count: Some(0),
            ..FewShot::default()
        };
        let settings = Settings {
            batch_size,
            fewshot,
            log_samples: output.is_some(),
            ..settings(output)
        };
        let tasks = vec![task.clone()];
        let evaluation = Evaluation::new(&engine, tasks, configs(&["baseline"]), settings);
        let outcome = evaluation
            .expect("fits")
            .run(&AtomicBool::new(false), &Silent);
        outcome.expect("an evaluation")
    };
    let together = evaluate(3, Some(folder.path()));
    assert_eq!(together.results, evaluate(1, None).results);
    let log = log::path(folder.path(), "problems", "baseline");
    let whole = std::fs::read_to_string(&log).expect("a log");
    let texts: Vec<String> = whole
        .lines()
        .skip(1)
        .map(|line| {
            serde_json::from_str::<TextEntry>(line)
                .expect("an entry")
                .text
        })
        .collect();
    assert_eq!(texts.len(), 3);
    assert!(texts.iter().any(|text| !text.is_empty()), "{texts:?}");
    // Logged answers are not generated again: a text that the model would not produce stays.
    let said = whole.replacen(
        &serde_json::to_string(&texts[0]).expect("JSON"),
        "\"#### 1\"",
        1,
    );
    std::fs::write(&log, said).expect("writable");
    let resumed = evaluate(3, Some(folder.path()));
    let metrics = resumed.results[0].metrics.iter();
    let strict = metrics.last().expect("two metrics");
    assert_eq!(strict.metric.id, "strict_match");
    assert_eq!(strict.estimate.value, 1.0 / 3.0);
    let samples = std::fs::read_to_string(folder.path().join("samples_problems_baseline.jsonl"));
    let samples = samples.expect("samples");
    assert_eq!(samples.lines().count(), 6);
    assert!(samples.contains("\"filter\":\"strict-match\""), "{samples}");
}

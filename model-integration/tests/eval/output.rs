//! Output of an evaluation: tables, and files in lm-evaluation-harness' schema.

use std::fs;

use mxlab::config::{FormatFlags, named};
use mxlab::eval::progress::Silent;
use mxlab::eval::table::{TableFormat, render};
use mxlab::eval::{Evaluation, log};
use mxlab::task::metric::Metric;
use mxlab_harness::measure::Estimate;
use serde_json::Value;

use super::{EXAMPLES, evaluate, settings, task};
use crate::toy::ToyEngine;

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
            let (value, difference) = match number.metric.id {
                "acc" => (estimate(0.951, 0.0068), estimate(-0.0543, 0.0056)),
                "perplexity" => (estimate(123.4567, 2.3456), estimate(0.0, 0.0)),
                _ => (estimate(-4.8, 0.1), estimate(-1.23456, 0.01234)),
            };
            number.estimate = value;
            number.from_baseline = number.from_baseline.map(|_| difference);
        }
        result.footprint.kv_bytes_per_token = 32768;
        result.kv_bits = Some(if result.task == "one" { 4.637 } else { 4.5 });
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
        "4.64 (one), 4.50 (two) bits a cached value",
    ] {
        assert!(table.contains(part), "{part}: {table}");
    }
    let packed = table.matches("a cached value").count();
    assert_eq!(packed, 3, "{table}");
    let csv = render(TableFormat::Csv, &outcome.results, &outcome.timings);
    let columns = |line: &str| line.split(',').count();
    assert!(csv.lines().all(|line| columns(line) == 20), "{csv}");
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
    for metric in [Metric::ACC, Metric::PERPLEXITY] {
        let number = result.metric(metric).expect("a number").estimate;
        let name = metric.name;
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
    // Computed with Python: hashes of json.dumps(doc, indent=2, ensure_ascii=False), prompt and
    // target.
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

    // The log has the order of evaluation, the samples have the task's.
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

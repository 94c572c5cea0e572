//! What an evaluation reads and writes: tasks, configurations, records, logs.

use std::sync::LazyLock;

use mxlab::config::{FormatFlags, NAMED_CONFIGS, QuantConfig, file};
use mxlab::embedded;
use mxlab::engine::{Footprint, ModelInfo, Tokenize};
use mxlab::eval::log::{Entry, RunKey, SampleLog};
use mxlab::eval::plan::Plan;
use mxlab::record::eval::{EvalRecord, EvalSettings};
use mxlab::record::result::{MetricResult, TaskResult};
use mxlab::record::study::{Changes, Frozen, StudyRecord};
use mxlab::record::{Record, to_json};
use mxlab::task::metric::Metric;
use mxlab::task::{FewShot, PromptEncoder, PromptStyle, Task, jsonl};
use mxlab_harness::measure::Estimate;
use mxlab_harness::record::Environment;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::scratch::Scratch;

/// A task file. The examples, printed one a line, are the same examples.
pub fn task_jsonl(data: &[u8]) -> bool {
    let Ok(task) = jsonl::parse("task", "task.jsonl", data) else {
        return false;
    };
    let lines: Vec<String> = task
        .examples
        .iter()
        .map(|example| json(&example.doc))
        .collect();
    let again = jsonl::parse("task", "task.jsonl", lines.join("\n").as_bytes());
    let again = again.expect("examples that were read").examples;
    assert_eq!(again.len(), task.examples.len());
    for (example, again) in task.examples.iter().zip(&again) {
        assert!(!example.content.solution().is_empty());
        assert_eq!(
            (&example.doc, &example.content),
            (&again.doc, &again.content)
        );
    }
    true
}

/// A configuration file, and everything that is asked of a configuration.
pub fn configuration_toml(data: &[u8]) -> bool {
    thread_local!(static SCRATCH: Scratch = Scratch::new());
    let path = SCRATCH.with(|scratch| scratch.write("configuration.toml", data));
    let flags = FormatFlags {
        weights: "fp4_e2m1".parse().into_iter().collect(),
        ..FormatFlags::default()
    };
    let _ = file::read(&path, &flags);
    let Ok(config) = file::read(&path, &FormatFlags::default()) else {
        return false;
    };
    assert!(!config.describe().is_empty());
    config.operands();
    let _ = config.check_layers(2);
    for layer in [0, 1, usize::MAX] {
        config.for_kv(layer);
        for projection in mxlab::config::Projection::ALL {
            config.for_projection(layer, projection);
        }
    }
    let moved = config.clone().with_seed(7).with_seed(7_u32.wrapping_neg());
    assert_eq!(moved, config);
    json(&config);
    true
}

/// Records of every kind, and lines of logs: what is read is written as the same.
pub fn eval_record(data: &[u8]) -> bool {
    let Ok(record) = Record::parse(data) else {
        return rewrite::<Entry>(data);
    };
    let written = json(&record);
    let again = Record::parse(written.as_bytes()).expect("what was written");
    assert_eq!(json(&again), written);
    true
}

/// Compared as text: NaN is not equal to itself.
fn rewrite<T: Serialize + DeserializeOwned>(data: &[u8]) -> bool {
    let Ok(record) = serde_json::from_slice::<T>(data) else {
        return false;
    };
    let written = json(&record);
    let again = serde_json::from_str::<T>(&written).expect("what was written");
    assert_eq!(json(&again), written);
    true
}

fn json<T: Serialize>(value: &T) -> String {
    serde_json::to_string(value).expect("plain data")
}

/// The log of an interrupted run: as it is, and behind the header that the run expects. One that
/// opens goes on where it stopped.
pub fn resume_log(data: &[u8]) -> bool {
    thread_local!(static SCRATCH: Scratch = Scratch::new());
    SCRATCH.with(|scratch| {
        let whole = resume(scratch, data);
        let entries = resume(scratch, &[RUN.header.as_bytes(), b"\n", data].concat());
        whole || entries
    })
}

fn resume(scratch: &Scratch, data: &[u8]) -> bool {
    let path = scratch.write("log.jsonl", data);
    let open = || SampleLog::open(&path, &RUN.key, &RUN.plan, false);
    let Ok((mut log, mut entries)) = open() else {
        return false;
    };
    let done = entries.len();
    assert_eq!(done, RUN.plan.whole_batches(done), "not whole batches");
    for batch in RUN.plan.batches().skip(done.div_ceil(BATCH)) {
        let batch: Vec<Entry> = batch.iter().map(|&example| entry(example)).collect();
        log.append(&batch).expect("a writable log");
        entries.extend(batch);
    }
    drop(log);
    let (_log, again) = open().expect("a log that was continued");
    assert_eq!(json(&again), json(&entries));
    true
}

/// Examples of a batch.
const BATCH: usize = 2;

/// The run that logs are of.
static RUN: LazyLock<Run> = LazyLock::new(Run::new);

struct Run {
    plan: Plan,
    key: RunKey,
    header: String,
}

impl Run {
    fn new() -> Self {
        let task = task();
        let encoder = PromptEncoder {
            tokenizer: &Bytes,
            add_bos_token: None,
            max_length: 4096,
        };
        let fewshot = FewShot::default();
        let plan = Plan::new(
            &task,
            &encoder,
            &fewshot,
            &PromptStyle::default(),
            None,
            BATCH,
        )
        .expect("a valid task");
        let config = QuantConfig::unquantised("baseline");
        let key = RunKey::new(&model(), &config, &task, &plan, &fewshot, None, BATCH);
        let header = json(&key);
        Self { plan, key, header }
    }
}

/// A tokenizer whose tokens are bytes.
struct Bytes;

impl Tokenize for Bytes {
    fn encode(&self, text: &str, _add_special_tokens: bool) -> anyhow::Result<Vec<u32>> {
        Ok(text.bytes().map(u32::from).collect())
    }

    fn decode(&self, tokens: &[u32]) -> anyhow::Result<String> {
        let bytes: Vec<u8> = tokens
            .iter()
            .filter_map(|&token| token.try_into().ok())
            .collect();
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    fn prefix_token(&self) -> Option<(u32, String)> {
        Some((0, String::new()))
    }
}

/// The first examples of the embedded task.
fn task() -> Task {
    let mut task = jsonl::parse("embedded", "embedded", embedded::TASK.as_bytes());
    let task = task.as_mut().expect("a valid task");
    task.examples.truncate(5);
    task.clone()
}

fn model() -> ModelInfo {
    ModelInfo {
        device: "cpu".to_owned(),
        name: "embedded".to_owned(),
        fingerprint: "0123".to_owned(),
        parameters: 1,
        random_weights: false,
        stored_weights: None,
        stored_inputs: None,
        dtype: "float32".to_owned(),
        softmax_dtype: "float32".to_owned(),
        max_length: 4096,
        end_tokens: Vec::new(),
        notes: Vec::new(),
    }
}

fn entry(example: usize) -> Entry {
    Entry {
        example,
        part: 0,
        loglikelihood: -1.5,
        is_greedy: true,
        shortfall: 0.5,
        seconds: 0.25,
    }
}

/// Lines of the embedded task, and the other way to say an example.
pub fn task_seeds() -> Vec<Vec<u8>> {
    let lines: Vec<&str> = embedded::TASK.lines().take(2).collect();
    let pair = r#"{"context": "", "target": " caf\u00e9", "id": [1, -2.5e3, null]}"#;
    vec![
        lines.join("\n").into_bytes(),
        format!("\u{feff}{pair}\r\n\n{pair}").into_bytes(),
        br#"{"context": "Q:", "choices": ["a b", "c"], "gold": "1"}"#.to_vec(),
        br#"{"page": " = A title = \n \n Some \" text \" , ( 1 @,@ 000 ) .\n"}"#.to_vec(),
        b"{\"text\": \"a b\\nc\"}".to_vec(),
    ]
}

/// The named configurations, and one that says all that a file may say.
pub fn configuration_seeds() -> Vec<Vec<u8>> {
    let full = include_bytes!("../seeds/configuration.toml");
    let mut seeds = vec![full.to_vec()];
    // Each table by itself is a file.
    for table in NAMED_CONFIGS.split("\n[").skip(1) {
        // The baseline says nothing, which a file must not.
        if let Some((_, body)) = table.split_once("]\n")
            && body.contains('=')
        {
            seeds.push(body.as_bytes().to_vec());
        }
    }
    seeds
}

/// A record of an evaluation and of a study, and a line of a log.
pub fn record_seeds() -> Vec<Vec<u8>> {
    let estimate = Estimate {
        value: f64::NAN,
        stderr: Some(0.125),
    };
    let result = TaskResult {
        task: "embedded".to_owned(),
        config: "mx-linear".to_owned(),
        description: "W fp4_e2m1".to_owned(),
        operands: "W4A6".to_owned(),
        examples: 5,
        truncated: 0,
        metrics: vec![MetricResult {
            metric: Metric::ACC,
            estimate,
            from_baseline: Some(estimate),
        }],
        kv_bits: Some(4.375),
        baseline: Some("baseline".to_owned()),
        footprint: Footprint {
            weight_bytes: 1 << 40,
            kv_bytes_per_token: 2560,
            kv: None,
            packed: None,
            stand_ins: Vec::new(),
            integer_products: 0,
            operands: None,
        },
    };
    let run = EvalRecord {
        environment: Environment::capture(),
        model: model(),
        configs: vec![QuantConfig::unquantised("baseline")],
        tasks: Vec::new(),
        settings: EvalSettings {
            style: PromptStyle::default(),
            batch_size: BATCH,
            fewshot_file: None,
            add_bos_token: None,
            seed: 0,
            threads: 1,
        },
        results: vec![result],
        timings: Vec::new(),
    };
    let study = StudyRecord {
        plan: Frozen {
            name: "small".to_owned(),
            title: "Small".to_owned(),
            question: "How small?".to_owned(),
            mxlab: "0.1.0".to_owned(),
            text: "models = [\"embedded\"]".to_owned(),
            changes: Changes::default(),
            hash: "0123".to_owned(),
        },
        cells: Vec::new(),
    };
    let records = [
        to_json(&run),
        to_json(&study),
        to_json(&study.plan),
        json(&entry(3)),
    ];
    records.map(String::into_bytes).to_vec()
}

/// Whole logs, and entries without the header.
pub fn resume_log_seeds() -> Vec<Vec<u8>> {
    let entries: String = RUN
        .plan
        .order()
        .iter()
        .map(|&example| json(&entry(example)) + "\n")
        .collect();
    let torn = &entries[..entries.len() - 9];
    let whole = format!("{}\n{entries}", RUN.header);
    [entries.as_str(), torn, &whole]
        .map(|log| log.as_bytes().to_vec())
        .to_vec()
}

//! Results and samples in the schema of lm-evaluation-harness 0.4, so that scripts made for it can
//! read them. Fields without a meaning here are `null` or `"N/A"`, as they are there.

use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use mxlab_harness::measure::Estimate;
use mxlab_harness::record::{Environment, write_atomic};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use super::Evaluation;
use super::plan::{Limit, Plan, Prompt};
use super::runner::{Answers, Given};
use crate::config::QuantConfig;
use crate::engine::Score;
use crate::task::metric::{Filter, Metric, Unit};
use crate::task::{Content, Example, Generation, Kind, Task, Turns};

/// Writes `results_<config>.json`, and the samples if they are requested.
pub(super) fn write(
    evaluation: &Evaluation,
    output: &Path,
    config: &QuantConfig,
    answers: &[Answers],
    environment: &Environment,
) -> Result<()> {
    let mut task_hashes = Map::new();
    for ((task, plan), answers) in evaluation.tasks.iter().zip(answers) {
        let (lines, hash) = samples(task, plan, &answers.given)?;
        task_hashes.insert(task.name.clone(), hash.into());
        if evaluation.settings.log_samples {
            let name = format!("samples_{}_{}.jsonl", task.name, config.name);
            write_atomic(&output.join(name), lines.as_bytes())?;
        }
    }
    let results = results(evaluation, config, answers, task_hashes, environment);
    let mut json = serde_json::to_string_pretty(&results).context("results are plain data")?;
    json.push('\n');
    let name = format!("results_{}.json", config.name);
    Ok(write_atomic(&output.join(name), json.as_bytes())?)
}

fn results(
    evaluation: &Evaluation,
    config: &QuantConfig,
    scores: &[Answers],
    task_hashes: Map<String, Value>,
    environment: &Environment,
) -> Value {
    let by_task = |value: &dyn Fn(&Task, &Plan, &Answers) -> Value| -> Value {
        let tasks = evaluation.tasks.iter().zip(scores);
        let entry = |((task, plan), scores): (&(Task, Plan), &Answers)| {
            (task.name.clone(), value(task, plan, scores))
        };
        Value::Object(tasks.map(entry).collect())
    };
    let settings = &evaluation.settings;
    let info = evaluation.engine.info();
    let seconds: f64 = scores.iter().map(|scores| scores.seconds).sum();
    let date = SystemTime::now().duration_since(UNIX_EPOCH);
    let machine = &environment.machine;
    let template = evaluation.engine.tokenizer().chat_template();
    let template = template.filter(|_| settings.style.chat.is_some());
    json!({
        "results": by_task(&|task, plan, scores| metrics(task, plan, scores)),
        "group_subtasks": {},
        "configs": by_task(&|task, _, _| task_config(task, settings.fewshot.count(task))),
        "versions": by_task(&|_, _, _| json!(1.0)),
        "n-shot": by_task(&|task, _, _| json!(settings.fewshot.count(task))),
        "higher_is_better": by_task(&|task, _, _| {
            let metrics = harness_metrics(task);
            let better = metrics.map(|metric| {
                let is_better = metric.is_higher_better();
                (metric.name.to_owned(), is_better.into())
            });
            Value::Object(better.collect())
        }),
        "n-samples": by_task(&|task, plan, _| json!({
            "original": task.examples.len(),
            "effective": plan.count(),
        })),
        "config": {
            "model": "mxlab",
            "model_args": {
                "pretrained": info.name,
                "device": info.device,
                "dtype": info.dtype,
                "softmax_dtype": info.softmax_dtype,
                "add_bos_token": settings.add_bos_token,
                "quantization": config,
            },
            "model_num_parameters": info.parameters,
            "model_dtype": info.dtype,
            "model_revision": "",
            "model_sha": info.fingerprint,
            "batch_size": settings.batch_size,
            "batch_sizes": [],
            "device": "cpu",
            "use_cache": null,
            "limit": match settings.limit {
                None => Value::Null,
                Some(Limit::Count(count)) => json!(count),
                Some(Limit::Fraction(fraction)) => json!(fraction),
            },
            "bootstrap_iters": 0,
            "gen_kwargs": null,
            "random_seed": settings.seed,
            "numpy_seed": settings.seed,
            "torch_seed": settings.seed,
            "fewshot_seed": settings.seed,
        },
        "git_hash": environment.commit,
        "date": date.map_or(0.0, |elapsed| elapsed.as_secs_f64()),
        "pretty_env_info": format!(
            "mxlab {}, {}, {}, {} cores, {}",
            environment.version,
            environment.rustc.as_deref().unwrap_or("unknown compiler"),
            machine.cpu.as_deref().unwrap_or("unknown CPU"),
            machine.cores.unwrap_or(0),
            machine.os,
        ),
        "transformers_version": "N/A",
        "lm_eval_version": "N/A",
        "upper_git_hash": null,
        "task_hashes": task_hashes,
        "model_source": "mxlab",
        "model_name": info.name,
        "model_name_sanitized": sanitize_model_name(&info.name),
        "system_instruction": settings.style.system,
        "system_instruction_sha": settings.style.system.as_deref().map(sha256),
        "fewshot_as_multiturn": settings.style.chat == Some(Turns::Multi),
        "chat_template": template,
        "chat_template_sha": template.map(sha256),
        "max_length": info.max_length,
        "total_evaluation_time_seconds": format!("{seconds:?}"),
    })
}

fn metrics(task: &Task, plan: &Plan, answers: &Answers) -> Value {
    let mut metrics = json!({
        "name": task.name,
        "alias": task.name,
        "sample_len": plan.count(),
    });
    for column in answers.given.columns(task, plan) {
        if column.metric.aggregation.is_some() {
            let (name, estimate) = (column.metric.name, column.estimate());
            let filter = filter_name(column.metric.filter());
            metrics[format!("{name},{filter}")] = number(estimate.value);
            metrics[format!("{name}_stderr,{filter}")] = stderr(estimate);
        }
    }
    metrics
}

/// The metrics of a task that the harness also has.
fn harness_metrics(task: &Task) -> impl Iterator<Item = &'static Metric> {
    let metrics = task.protocol.metrics.iter().copied();
    metrics.filter(|metric| metric.aggregation.is_some())
}

fn filter_name(filter: Option<&Filter>) -> &'static str {
    filter.map_or("none", |filter| filter.name)
}

/// JSON has neither NaN nor infinity; they are written as strings.
fn number(value: f64) -> Value {
    serde_json::Number::from_f64(value).map_or_else(|| json!(value.to_string()), Value::Number)
}

fn stderr(estimate: Estimate) -> Value {
    estimate.stderr.map_or_else(|| json!("N/A"), number)
}

/// The task's configuration in the harness' schema.
fn task_config(task: &Task, num_fewshot: usize) -> Value {
    let [doc_to_text, doc_to_target] = task.protocol.harness;
    let metrics = harness_metrics(task).map(|metric| {
        json!({
            "metric": metric.name,
            "aggregation": metric.aggregation,
            "higher_is_better": metric.is_higher_better(),
        })
    });
    json!({
        "task": task.name,
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": task.source}},
        "test_split": "test",
        "doc_to_text": doc_to_text,
        "doc_to_target": doc_to_target,
        "unsafe_code": false,
        "description": "",
        "target_delimiter": " ",
        "fewshot_delimiter": "\n\n",
        "fewshot_config": {"sampler": "first_n", "split": "test"},
        "num_fewshot": num_fewshot,
        "metric_list": metrics.collect::<Vec<_>>(),
        "output_type": task.kind().output_type(),
        "repeats": 1,
        "should_decontaminate": false,
        "metadata": {"version": 1.0, "sha256": task.sha256},
    })
}

/// Sample lines, and the hash of all documents, prompts and targets. A generated answer has one
/// line for each filter.
fn samples(task: &Task, plan: &Plan, given: &Given) -> Result<(String, String)> {
    let (mut lines, mut hashes) = (String::new(), String::new());
    let columns = given.columns(task, plan);
    let generation = task.protocol.generation.as_ref();
    let filters: Vec<Option<&Filter>> = match generation {
        None => vec![None],
        Some(how) => how.filters.iter().copied().map(Some).collect(),
    };
    for (index, range) in plan.examples().enumerate() {
        let example = &task.examples[index];
        for &filter in &filters {
            let mut sample = question(index, example, generation, &plan.prompts[range.clone()])?;
            match given {
                Given::Scores(scores) => {
                    answer_scores(&mut sample, example, &scores[range.clone()]);
                }
                Given::Texts(texts) => answer_text(&mut sample, filter, &texts[range.start]),
            }
            let mut names = Vec::new();
            for column in &columns {
                let metric = column.metric;
                let is_of_filter = filter_name(metric.filter()) == filter_name(filter);
                if !is_of_filter || metric.aggregation.is_none() {
                    continue;
                }
                let value = column.values[index];
                names.push(metric.name);
                sample[metric.name] = match metric.unit {
                    Unit::Percent => json!(u8::from(value == 1.0)),
                    Unit::Perplexity | Unit::Plain => number(value),
                };
            }
            sample["filter"] = filter_name(filter).into();
            sample["metrics"] = json!(names);
            for hash in ["doc_hash", "prompt_hash", "target_hash"] {
                hashes.push_str(sample[hash].as_str().unwrap_or_default());
            }
            lines.push_str(&sample.to_string());
            lines.push('\n');
        }
    }
    Ok((lines, sha256(&hashes)))
}

/// The question half of a sample: document, target and the arguments of the requests.
fn question(
    index: usize,
    example: &Example,
    generation: Option<&Generation>,
    prompts: &[Prompt],
) -> Result<Value> {
    let doc = serde_json::to_string_pretty(&example.doc).context("a document is JSON")?;
    let target = match &example.content {
        Content::Choices { gold, .. } => gold.to_string(),
        content => content.solution().to_owned(),
    };
    let context = &prompts[0].context;
    let arguments: Vec<Value> = match example.content.kind() {
        Kind::Cloze | Kind::Choices => {
            let arguments = prompts.iter();
            let arguments = arguments.map(|p| json!({"arg_0": p.context, "arg_1": p.target}));
            arguments.collect()
        }
        Kind::Problem => {
            let until = generation.map(|how| how.until);
            let settings = json!({"until": until, "do_sample": false, "temperature": 0.0});
            vec![json!({"arg_0": context, "arg_1": settings})]
        }
        // The harness has one request for a document and adds up its windows.
        Kind::Document => vec![json!({"arg_0": target})],
    };
    let arguments = arguments.into_iter().enumerate();
    let arguments = arguments.map(|(i, argument)| (format!("gen_args_{i}"), argument));
    Ok(json!({
        "doc_id": index,
        "doc": example.doc,
        "target": target,
        "arguments": arguments.collect::<Map<_, _>>(),
        "doc_hash": sha256(&doc),
        "prompt_hash": sha256(context),
        "target_hash": sha256(&target),
    }))
}

fn answer_scores(sample: &mut Value, example: &Example, scores: &[Score]) {
    let response = |score: &Score| {
        let is_greedy = if score.is_greedy { "True" } else { "False" };
        json!([format!("{:?}", score.loglikelihood), is_greedy])
    };
    let kind = example.content.kind();
    let responses: Vec<Value> = match kind {
        Kind::Document => {
            let total: f64 = scores.iter().map(|score| score.loglikelihood).sum();
            vec![json!(format!("{total:?}"))]
        }
        Kind::Cloze | Kind::Choices | Kind::Problem => scores.iter().map(response).collect(),
    };
    let each = responses.iter().map(|response| json!([response]));
    sample["resps"] = each.collect();
    sample["filtered_resps"] = json!(responses);
    if kind == Kind::Cloze {
        sample["shortfall"] = number(scores[0].shortfall);
    }
}

fn answer_text(sample: &mut Value, filter: Option<&Filter>, text: &str) {
    sample["resps"] = json!([[text]]);
    let filtered = filter.map_or_else(|| text.to_owned(), |filter| (filter.extract)(text));
    sample["filtered_resps"] = json!([filtered]);
}

fn sha256(text: &str) -> String {
    format!("{:x}", Sha256::digest(text.as_bytes()))
}

/// Replaces runs of characters that are unfit for file names by `__`.
fn sanitize_model_name(name: &str) -> String {
    let mut sanitized = String::new();
    let mut in_run = false;
    for character in name.chars() {
        let is_unfit = "\"<>:/|\\?*[]".contains(character);
        match (is_unfit, in_run) {
            (true, false) => sanitized.push_str("__"),
            (true, true) => {}
            (false, _) => sanitized.push(character),
        }
        in_run = is_unfit;
    }
    sanitized
}

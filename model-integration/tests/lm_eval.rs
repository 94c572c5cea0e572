//! Sample-by-sample comparison with lm-evaluation-harness on the same model and files: prompts,
//! targets, answers, metrics.
//!
//! `MXLAB_PYTHON` names a Python with lm_eval, transformers and torch, `MXLAB_SHARED` the reference
//! models and data. Without them the tests print `not run`.

use not_run::not_run;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

/// Examples of each task.
const EXAMPLES: usize = 8;
/// Problems from which solved ones are drawn.
const POOL: usize = 40;

/// A task, its file, and its Parquet file on the hub.
const TASKS: [(&str, &str, &str); 4] = [
    (
        "hellaswag",
        "hellaswag_val.jsonl",
        "Rowan/hellaswag/data/validation-00000-of-00001.parquet",
    ),
    (
        "arc_challenge",
        "arc_challenge_test.jsonl",
        "allenai/ai2_arc/ARC-Challenge/test-00000-of-00001.parquet",
    ),
    (
        "gsm8k",
        "gsm8k_test.jsonl",
        "openai/gsm8k/main/test-00000-of-00001.parquet",
    ),
    (
        "wikitext",
        "wikitext2_test.jsonl",
        "EleutherAI/wikitext_document_level/wikitext-2-raw-v1/wikitext-2-raw-v1-test.parquet",
    ),
];

fn shared() -> Option<PathBuf> {
    let folder = std::env::var_os("MXLAB_SHARED").map_or("../../shared".into(), PathBuf::from);
    folder
        .join("models/stories260k/f32")
        .exists()
        .then_some(folder)
}

fn lines(values: impl Iterator<Item = Value>) -> String {
    values
        .take(EXAMPLES)
        .map(|value| value.to_string() + "\n")
        .collect()
}

/// Writes data in the published formats, made from existing questions and texts.
fn write_data(shared: &Path, folder: &Path) {
    let read = |name: &str| fs::read_to_string(shared.join("data").join(name)).expect(name);
    let parsed = |text: &str| -> Vec<Value> {
        let lines = text.lines().map(serde_json::from_str);
        lines.collect::<Result<_, _>>().expect("JSON lines")
    };
    let questions = parsed(&read("arc_challenge_test.jsonl"));
    let choices = |question: &Value, field: &str| -> Vec<Value> {
        let each = question["question"]["choices"].as_array().expect("choices");
        each.iter().map(|choice| choice[field].clone()).collect()
    };
    let arc = questions.iter().map(|line| {
        let (text, label) = (choices(line, "text"), choices(line, "label"));
        json!({"id": line["id"], "question": line["question"]["stem"],
               "choices": {"text": text, "label": label}, "answerKey": line["answerKey"]})
    });
    let four = questions
        .iter()
        .filter(|line| choices(line, "text").len() == 4);
    let endings = four.enumerate().map(|(index, line)| {
        json!({
            "ind": index,
            "activity_label": "Asking [title] things",
            "ctx_a": line["question"]["stem"],
            "ctx_b": "then  a [substeps] voice",
            "ctx": "",
            "split": "val",
            "split_type": "indomain",
            "endings": choices(line, "text"),
            "source_id": "x",
            "label": (index % 4).to_string(),
        })
    });
    let problems = parsed(&read("gsm8k_test.jsonl"));
    let solved: String = problems[EXAMPLES..][..POOL]
        .iter()
        .map(|problem| problem.to_string() + "\n")
        .collect();
    let stories = read("tinystories_valid_excerpt.txt");
    let stories: Vec<&str> = stories
        .split("\n\n")
        .filter(|text| text.len() > 80)
        .collect();
    let pages = stories.chunks(3).map(|parts| {
        let page = format!(
            " = A page = \n \n {} @-@ 3 @,@ 000 \n",
            parts.join(" \n \n ")
        );
        json!({"page": page.replace(',', " ,").replace('.', " .")})
    });
    for (name, text) in [
        ("arc_challenge_test.jsonl", lines(arc)),
        ("hellaswag_val.jsonl", lines(endings)),
        ("gsm8k_test.jsonl", lines(problems.into_iter())),
        ("gsm8k_train.jsonl", solved),
        ("wikitext2_test.jsonl", lines(pages)),
    ] {
        fs::write(folder.join(name), text).expect("writable");
    }
}

fn run(command: &mut Command) {
    let output = command.output().expect("a program");
    let message = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{message}");
}

fn samples(file: &Path) -> Vec<Value> {
    let text =
        fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    let mut samples: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    samples.sort_by_key(|sample| {
        (
            sample["doc_id"].as_u64(),
            sample["filter"].as_str().map(str::to_owned),
        )
    });
    samples
}

/// The harness' arguments, from our sample.
fn arguments(sample: &Value) -> Vec<Vec<String>> {
    let arguments = sample["arguments"].as_object().expect("arguments");
    let strings = |argument: &Value| {
        let parts = argument.as_object().expect("parts").values();
        parts
            .filter_map(|part| part.as_str().map(str::to_owned))
            .collect()
    };
    arguments.values().map(strings).collect()
}

/// A number, given as a number or as a string.
fn number(value: &Value) -> f64 {
    let text = value.as_str().and_then(|text| text.parse().ok());
    value
        .as_f64()
        .or(text)
        .unwrap_or_else(|| panic!("{value} is no number"))
}

/// Log-likelihoods are sums with many roundings, and most so for a document.
fn is_close(own: f64, theirs: f64) -> bool {
    (own - theirs).abs() <= 1e-4 + 2e-6 * theirs.abs()
}

fn compare(task: &str, own: &Value, theirs: &Value) {
    let place = format!("{task} {} {}", own["doc_id"], own["filter"]);
    for field in ["doc_id", "filter", "target"] {
        assert_eq!(own[field], theirs[field], "{place}: {field}");
    }
    let asked = theirs["arguments"].as_array().expect("arguments");
    let asked: Vec<Vec<String>> = asked
        .iter()
        .map(|parts| {
            let parts = parts.as_array().expect("parts");
            parts
                .iter()
                .filter_map(|part| part.as_str().map(str::to_owned))
                .collect()
        })
        .collect();
    assert_eq!(arguments(own), asked, "{place}");
    let answers = |sample: &Value| {
        sample["filtered_resps"]
            .as_array()
            .expect("answers")
            .clone()
    };
    assert_eq!(answers(own).len(), answers(theirs).len(), "{place}");
    for (own, theirs) in answers(own).iter().zip(&answers(theirs)) {
        match (own, theirs) {
            (Value::Array(own), Value::Array(theirs)) => {
                assert!(
                    is_close(number(&own[0]), number(&theirs[0])),
                    "{place}: {own:?} {theirs:?}"
                );
                assert_eq!(
                    own[1].to_string().to_lowercase(),
                    format!("\"{}\"", theirs[1].to_string().trim_matches('"')).to_lowercase()
                );
            }
            _ if task == "wikitext" => assert!(
                is_close(number(own), number(theirs)),
                "{place}: {own} {theirs}"
            ),
            _ => assert_eq!(own, theirs, "{place}"),
        }
    }
    for (name, value) in theirs["metrics"].as_object().expect("metrics") {
        match value {
            // The harness has a document's log-likelihood and its weight; ours is the
            // log-likelihood.
            Value::Array(pair) => {
                let sign = if name == "bits_per_byte" {
                    -std::f64::consts::LOG2_E
                } else {
                    1.0
                };
                assert!(
                    is_close(number(&own[name]), sign * number(&pair[0])),
                    "{place}: {name}: {} {value}",
                    own[name]
                );
            }
            value => assert_eq!(number(&own[name]), number(value), "{place}: {name}"),
        }
    }
}

/// A template with a rule of its own for spaces, special tokens, and a message of the system.
const TEMPLATE: &str = "{{ bos_token }}{% for message in messages %}\
    [{{ message.role }}]{{ message.content | trim }}{{ eos_token }}\n\
    {% endfor %}{% if add_generation_prompt %}[assistant]{% endif %}";

/// The harness' settings, and our flags.
const STYLES: [(&str, &str, &[&str]); 4] = [
    ("data", "{}", &[]),
    ("hub", "{}", &[]),
    (
        "data",
        r#"{"apply_chat_template": true, "fewshot_as_multiturn": true,
            "system_instruction": "Be brief."}"#,
        &["--apply-chat-template", "--system-instruction", "Be brief."],
    ),
    (
        "data",
        r#"{"apply_chat_template": true, "fewshot_as_multiturn": false}"#,
        &["--apply-chat-template", "--fewshot-as-multiturn", "false"],
    ),
];

#[test]
fn samples_are_those_of_the_harness() {
    let python = std::env::var_os("MXLAB_PYTHON");
    let needs = match python {
        None => "MXLAB_PYTHON",
        Some(_) => "MXLAB_SHARED",
    };
    let (Some(python), Some(shared)) = (python, shared()) else {
        not_run("comparison with lm-evaluation-harness", needs);
        return;
    };
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name);
    let (data, model) = (path("data"), path("model"));
    fs::create_dir(&data).expect("a folder");
    fs::create_dir(&model).expect("a folder");
    write_data(&shared, &data);
    for file in fs::read_dir(shared.join("models/stories260k/f32")).expect("a model") {
        let file = file.expect("a file").path();
        let name = file.file_name().expect("a name");
        fs::copy(&file, model.join(name)).expect("a copy");
    }
    fs::write(model.join("chat_template.jinja"), TEMPLATE).expect("writable");
    let peer = |script: &str| {
        let peers = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/peers");
        let mut command = Command::new(&python);
        command.arg(peers.join(script));
        command
    };
    let mut parquet = peer("parquet_of_lines.py");
    let solved = (
        "gsm8k_train.jsonl",
        "openai/gsm8k/main/train-00000-of-00001.parquet",
    );
    let scored = TASKS.map(|(_, lines, of_hub)| (lines, of_hub));
    for (lines, of_hub) in scored.into_iter().chain([solved]) {
        parquet.args([data.join(lines), path("hub").join(of_hub)]);
    }
    run(&mut parquet);

    for (index, (source, settings, flags)) in STYLES.into_iter().enumerate() {
        let (own, theirs) = (
            path(&format!("own-{index}")),
            path(&format!("theirs-{index}")),
        );
        run(peer("lm_eval_samples.py")
            .args([&model, &data, &theirs])
            .arg(settings));
        let mut command = Command::new(env!("CARGO_BIN_EXE_mxlab"));
        command.args(["eval", "--quiet", "--log-samples", "--config", "baseline"]);
        command.args(["--dtype", "float32", "--tasks"]);
        command.arg(TASKS.map(|(task, ..)| task).join(","));
        command.args(flags).arg("--model").arg(&model);
        command.arg("--data-dir").arg(path(source));
        run(command.arg("--output-path").arg(&own));
        for (task, ..) in TASKS {
            let mine = samples(&own.join(format!("samples_{task}_baseline.jsonl")));
            let others = samples(&theirs.join(format!("{task}.jsonl")));
            let filters = if task == "gsm8k" { 2 } else { 1 };
            assert_eq!(mine.len(), EXAMPLES * filters, "{task}");
            assert_eq!(mine.len(), others.len(), "{task}");
            for (mine, others) in mine.iter().zip(&others) {
                compare(task, mine, others);
            }
        }
    }
}

//! `mxlab generate` from the binary with the embedded model, the loop below it, and its text.

mod ending;
mod text;

use std::fs;
use std::process::{Command, Output};

use mxlab::config::{FormatFlags, load};
use mxlab::embedded;
use mxlab::model::Batch;
use mxlab::model::cpu::{Cache, Cpu};
use mxlab_kernels::format::FloatType;
use serde_json::Value;

const CONFIGS: [&str; 2] = ["baseline", "mx-linear-kv"];
const PROMPTS: [&str; 3] = [
    "Anna had a",
    "T",
    "The sky was calm. Later Tom painted the blue",
];

fn run(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mxlab"));
    command.arg("generate").args(arguments);
    command.output().expect("runs")
}

fn stdout(arguments: &[&str]) -> String {
    let output = run(arguments);
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {error}");
    String::from_utf8(output.stdout).expect("UTF-8")
}

/// The sequences of the JSON record.
fn sequences(arguments: &[&str]) -> Vec<Value> {
    let json = stdout(&[arguments, &["--format", "json"]].concat());
    let record: Value = serde_json::from_str(&json).expect("JSON");
    record["sequences"].as_array().expect("sequences").clone()
}

fn tokens(value: &Value) -> Vec<u32> {
    let tokens = value.as_array().expect("tokens").iter();
    tokens
        .map(|token| token.as_u64().expect("an id") as u32)
        .collect()
}

/// The tokens after a prompt, each the argmax of scoring all tokens before it from scratch.
fn argmax_chain(config: &str, prompt: &[u32], count: usize) -> Vec<u32> {
    let config = load(config, &FormatFlags::default()).expect("a configuration");
    let checkpoint = embedded::checkpoint().expect("the embedded model");
    let engine = Cpu::new(FloatType::Bf16);
    let llama = mxlab::model::load::load(&engine, &checkpoint, &config, 512).expect("a model");
    let mut tokens = prompt.to_vec();
    for _ in 0..count {
        let batch = Batch::whole([tokens.as_slice()]);
        let last = [tokens.len() as u32 - 1];
        let logits = llama.logits(&engine, &batch, &mut Cache::none(), &last);
        let logits = logits.expect("logits").values().to_vec();
        let greatest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let first = logits.iter().position(|&x| x == greatest);
        tokens.push(first.expect("a greatest") as u32);
    }
    tokens.split_off(prompt.len())
}

#[test]
fn greedy_text_is_the_chain_of_argmaxes() {
    for config in CONFIGS {
        let arguments = [
            "--prompt",
            PROMPTS[0],
            "--config",
            config,
            "--max-tokens",
            "24",
        ];
        let arguments = [&arguments[..], &["--ignore-eos"]].concat();
        let sequence = &sequences(&arguments)[0];
        let prompt = tokens(&sequence["prompt_tokens"]);
        let chosen = tokens(&sequence["tokens"]);
        assert_eq!(chosen, argmax_chain(config, &prompt, 24), "{config}");
        assert_eq!(sequence["end"], "length");

        let text = sequence["text"].as_str().expect("a text");
        assert_eq!(stdout(&arguments), format!("{text}\n"));
        let checkpoint = embedded::checkpoint().expect("the embedded model");
        let tokenizer = checkpoint.tokenizer().expect("a tokenizer");
        let whole = tokenizer
            .decode(&[prompt, chosen].concat(), true)
            .expect("a text");
        assert_eq!(whole, format!("{}{text}", PROMPTS[0]));
    }
}

#[test]
fn a_batch_of_unequal_prompts_equals_each_alone() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("prompt.txt");
    fs::write(&file, PROMPTS[2]).expect("writable");
    let file = file.display().to_string();
    for config in CONFIGS {
        let common = ["--config", config, "--max-tokens", "40"];
        let prompts = [
            ["--prompt", PROMPTS[0]],
            ["--prompt", PROMPTS[1]],
            ["--prompt-file", &file],
        ];
        let together = [prompts.as_flattened(), &common].concat();
        let texts: Vec<String> = prompts
            .iter()
            .map(|prompt| stdout(&[&prompt[..], &common].concat()))
            .collect();
        assert_eq!(stdout(&together), texts.join("\n"), "{config}");
    }
}

#[test]
fn sampling_depends_on_the_seed_alone() {
    let text = |seed: &str, more: &[&str]| {
        let arguments = [
            "--prompt",
            PROMPTS[0],
            "--temperature",
            "1.5",
            "--seed",
            seed,
        ];
        stdout(&[&arguments[..], more].concat())
    };
    assert_eq!(text("1", &[]), text("1", &["--threads", "1"]));
    assert_ne!(text("1", &[]), text("2", &[]));
    assert_ne!(text("1", &[]), text("1", &["--top-p", "0.5"]));
    // In bfloat16 several logits can be the greatest, and a nucleus has all of them or none.
    let exact = ["--dtype", "float32"];
    let greedy = stdout(&[&["--prompt", PROMPTS[0]], &exact[..]].concat());
    let narrowest = [&["--top-p", "0.000001"], &exact[..]].concat();
    assert_eq!(text("1", &narrowest), greedy);
    // Two sequences with one prompt draw different numbers.
    let twice = ["--prompt", PROMPTS[0]].repeat(2);
    let twice = [&twice[..], &["--temperature", "1.5"]].concat();
    let twice = sequences(&twice);
    assert_ne!(twice[0]["tokens"], twice[1]["tokens"]);
}

#[test]
fn the_record_is_what_was_printed() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("record.json");
    let path_text = path.display().to_string();
    let arguments = [
        "--prompt",
        PROMPTS[1],
        "--config",
        "mx-kv",
        "--max-tokens",
        "5",
    ];
    let text = stdout(&[&arguments[..], &["--output-path", &path_text]].concat());
    let record = fs::read_to_string(&path).expect("a record");
    let record: Value = serde_json::from_str(&record).expect("JSON");
    assert_eq!(record["kind"], "generate");
    assert_eq!(record["device"], "cpu");
    assert_eq!(record["config"]["name"], "mx-kv");
    assert_eq!(record["footprint"]["kv_bytes_per_token"], 680);
    let sequence = &record["sequences"][0];
    assert_eq!(
        format!("{}\n", sequence["text"].as_str().expect("a text")),
        text
    );
    let steps = record["timings"]["step_seconds"].as_array().expect("steps");
    assert_eq!(steps.len(), 4);
    assert_eq!(tokens(&sequence["tokens"]).len(), 5);

    // After the warm-up everything starts again: the same tokens, and as many timed steps.
    let json = stdout(&[&arguments[..], &["--warm-up", "--format", "json"]].concat());
    let warm: Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!(warm["sequences"], record["sequences"]);
    assert_eq!(warm["settings"]["warm_up"], true);
    let steps = warm["timings"]["step_seconds"].as_array().expect("steps");
    assert_eq!(steps.len(), 4);
}

#[test]
fn bad_input_is_refused_and_named() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = |name: &str| directory.path().join(name).display().to_string();
    fs::write(path("binary"), [0xff, 0xfe]).expect("writable");
    fs::write(path("empty"), "").expect("writable");
    fs::write(path("long"), "The sky was calm. ".repeat(200)).expect("writable");
    let absent = path("absent");
    for (arguments, code, expected) in [
        (vec![], 2, "--prompt".to_owned()),
        (
            vec!["--prompt", ""],
            2,
            "--prompt: the prompt is empty".to_owned(),
        ),
        (
            vec!["--prompt", "a", "--prompt", ""],
            2,
            "--prompt number 2: the prompt is empty".to_owned(),
        ),
        (
            vec!["--prompt-file", &path("empty")],
            2,
            format!("--prompt-file {}: the prompt is empty", path("empty")),
        ),
        (
            vec!["--prompt-file", &absent],
            1,
            format!("--prompt-file {absent}: No such file"),
        ),
        (
            vec!["--prompt-file", &path("binary")],
            1,
            format!(
                "--prompt-file {}: stream did not contain valid UTF-8",
                path("binary")
            ),
        ),
        (
            vec!["--prompt-file", &path("long")],
            1,
            format!("--prompt-file {}: the prompt has", path("long")),
        ),
        (
            vec!["--prompt", "a", "--max-tokens", "511"],
            1,
            "leaves 510 of the 512 that the model takes; --max-tokens 511 are more".to_owned(),
        ),
        (
            vec!["--prompt", "a", "--max-tokens", "0"],
            2,
            "--max-tokens".to_owned(),
        ),
        (
            vec!["--prompt", "a", "--temperature", "-1"],
            2,
            "--temperature: the temperature is -1".to_owned(),
        ),
        (
            vec!["--prompt", "a", "--temperature", "NaN"],
            2,
            "--temperature: the temperature is NaN".to_owned(),
        ),
        (
            vec!["--prompt", "a", "--top-p", "0"],
            2,
            "--top-p: top-p is 0".to_owned(),
        ),
        (
            vec!["--prompt", "a", "--top-p", "1.1"],
            2,
            "--top-p: top-p is 1.1".to_owned(),
        ),
        (
            vec!["--prompt", "a", "--config", "baseline,mxfp8"],
            2,
            "--config mxfp8".to_owned(),
        ),
        (
            vec!["--prompt", "a", "--block-size", "16"],
            2,
            "format flags quantise nothing without".to_owned(),
        ),
    ] {
        let output = run(&arguments);
        let error = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {error}");
        assert!(
            error.contains(&expected),
            "{arguments:?} should say {expected:?}: {error}"
        );
        assert!(!error.contains("panicked"), "{arguments:?}: {error}");
        assert!(output.stdout.is_empty(), "{arguments:?}");
    }
}

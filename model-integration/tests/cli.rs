//! The binary: errors for wrong arguments, and the commands that need no model.

use not_run::not_run;
use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use mxlab::task::named::NAMED;
use mxlab_kernels::format::{Dialect, ElementFormat, ScaleRule};

fn mxlab(line: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mxlab"));
    command
        .args(line.split_whitespace())
        .env("HF_HUB_OFFLINE", "1");
    command.env_remove("MXLAB_DATA");
    command
}

pub fn run(line: &str) -> Output {
    mxlab(line).output().expect("runs")
}

pub fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).expect("UTF-8")
}

pub fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).expect("UTF-8")
}

/// The command is refused with a message that contains `expected`, without a panic.
pub fn assert_refused(line: &str, code: i32, expected: &str) {
    let output = run(line);
    let error = stderr(&output);
    assert_eq!(output.status.code(), Some(code), "{line}: {error}");
    assert!(
        error.contains(expected),
        "{line} should say {expected:?}: {error}"
    );
    assert!(!error.contains("panicked"), "{line}: {error}");
    assert_eq!(stdout(&output), "", "{line}");
}

#[test]
fn reasons_are_told_once() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let path = |name: &str| directory.path().join(name).display().to_string();
    fs::write(path("config.json"), "{").expect("writable");
    fs::write(path("mx_int4.safetensors"), "short").expect("writable");
    for (line, expected) in [
        (
            format!("verify --golden {}", path("absent")),
            format!(
                "error: cannot read {}: No such file or directory (os error 2)",
                path("absent")
            ),
        ),
        (
            format!("verify --golden {}", directory.path().display()),
            "error: mx_int4.safetensors: not a valid safetensors file: header too small".to_owned(),
        ),
        (
            format!("eval --model {}", directory.path().display()),
            format!(
                "error: {}: not valid JSON: EOF while parsing an object at line 1 column 1",
                path("config.json")
            ),
        ),
    ] {
        assert_eq!(stderr(&run(&line)).trim_end(), expected, "{line}");
    }
}

#[test]
fn help_names_everything_that_an_option_takes() {
    let help = stdout(&run("eval --help"));
    let words: Vec<&str> = help.split([' ', ',', ':', '\n']).collect();
    let names = (ScaleRule::ALL.iter().map(ToString::to_string))
        .chain(Dialect::ALL.iter().map(ToString::to_string))
        .chain(NAMED.iter().map(|task| task.name.to_owned()));
    for name in names {
        assert!(words.contains(&name.as_str()), "{name}");
    }
}

#[test]
fn wrong_usage_is_exit_code_two() {
    for (line, expected) in [
        ("eval --limit 0", "neither a count of at least 1"),
        ("--limit -3", "unexpected argument '-3'"),
        ("eval --limit 1.5", "neither a count"),
        ("eval --batch-size 0", "at least one example"),
        ("eval --batch-size many", "`auto`"),
        ("eval --threads 0", "at least one thread"),
        ("eval --threads 9999999", "1 to 4096"),
        ("eval --block-size 0", "at least one element"),
        ("eval --scale-bits 9", "9 is not in 2..=8"),
        (
            "eval --weights fp5",
            "unknown format `fp5`; known: fp4_e2m1",
        ),
        ("eval --kv none,", "unknown format"),
        (
            "eval --scale e9m9",
            "unknown scale format `e9m9`; known: e8m0",
        ),
        ("eval --rounding up", "unknown rounding `up`; known: even"),
        (
            "eval --scale-rule best",
            "unknown scale rule `best`; known: floor",
        ),
        ("eval --dialect amd", "unknown dialect `amd`; known: ocp"),
        (
            "eval --dtype fp8",
            "unknown float type `fp8`; known: float32",
        ),
        ("eval --softmax-dtype auto", "or `model`"),
        (
            "eval --config mxfp5",
            "unknown configuration `mxfp5`; expected a TOML file",
        ),
        (
            "eval --config mxfp8 --scale ue5m3 --scale-rule floor",
            "`weights`: scale rule `floor`",
        ),
        (
            "eval --weights int8 --dialect ggml",
            "`weights`: dialect `ggml`",
        ),
        (
            "eval --tasks lambada",
            "expected a file, or one of embedded, lambada_openai",
        ),
        ("eval --log-samples", "--output-path"),
        ("eval --overwrite", "--output-path"),
        (
            "eval --fewshot-file x.jsonl --num-fewshot 0",
            "--num-fewshot is 0",
        ),
        ("eval --num-fewshot -1", "unexpected argument '-1'"),
        ("eval --seed x", "invalid digit"),
        (
            "eval --add-bos-token maybe",
            "[possible values: true, false]",
        ),
        (
            "eval --format html",
            "[possible values: table, md, csv, json]",
        ),
        ("evaluate", "unrecognized subcommand 'evaluate'"),
        ("formats fp5", "unknown format `fp5`; known: fp4_e2m1"),
        ("formats fp32", "2^32 codes"),
        ("quantize", "<FILE>"),
        (
            "quantize x.safetensors --weights int8,int4",
            "found several formats, `int4` the second",
        ),
        (
            "quantize x.safetensors --config mx-kv",
            "`mx-kv` has no weight format",
        ),
        (
            "quantize x.safetensors --kv int8",
            "give their format with --weights",
        ),
        (
            "quantize x.safetensors --config mxfp8 --weights int8",
            "cannot be used with",
        ),
        ("verify --kernel absent*", "no kernel matches absent*"),
        ("verify --device gpu", "auto, cuda, cuda:N, emulator, cpu"),
        ("verify --minutes 1 --elements 5", "cannot be used with"),
        ("verify --minutes -1", "unexpected argument"),
        ("verify --minutes=0", "--minutes: not a time"),
        (
            "verify --problem-size 0",
            "--problem-size: from 1 to 16777216",
        ),
        ("verify --golden x --kernel y", "cannot be used with"),
        ("verify --replay nothing", "neither a file nor KERNEL:SEED"),
        (
            "verify --replay nothing:5",
            "unknown kernel `nothing`; expected an id",
        ),
        ("verify --kernel a[", "Pattern syntax error"),
        ("mutate --kernel absent*", "no kernel matches absent*"),
        ("mutate --problems 0", "--problems: must be positive"),
        ("mutate --sample 0", "--sample: must be positive"),
        (
            "verify --problems 0",
            "--problems and --elements: must be positive",
        ),
        (
            "verify --problem-size 99999999999",
            "--problem-size: from 1",
        ),
        ("list --sm 70", "none of the kernels runs on sm_70"),
        ("list absent*", "no kernel matches absent*"),
    ] {
        assert_refused(line, 2, expected);
    }
}

#[test]
fn what_cannot_be_read_is_named_with_exit_code_one() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let path = |name: &str| directory.path().join(name).display().to_string();
    let write = |name: &str, content: &[u8]| {
        fs::write(directory.path().join(name), content).expect("writable");
        path(name)
    };
    let config = write("c.toml", b"weights = 'fp5'");
    let task = write("t.jsonl", b"{\"text\": 1}");
    let good_task = write("g.jsonl", b"{\"text\": \"a b\"}");
    let header = write("h.safetensors", b"\xff\xff\xff\xff\xff\xff\xff\x7f{}");
    let short = write("s.safetensors", b"\x08\x00");
    let missing = path("gone");
    for (line, expected) in [
        (
            format!("eval --config {config}"),
            "c.toml`: TOML parse error at line 1",
        ),
        (format!("eval --config {missing}.toml"), "gone.toml`"),
        (
            format!("eval --tasks {task}"),
            "t.jsonl` line 1: field `text`",
        ),
        (format!("eval --tasks {missing}.jsonl"), "gone.jsonl`"),
        (
            format!("eval --tasks {good_task} --model {missing}"),
            "gone",
        ),
        (
            format!("eval --tasks {good_task} --model {good_task}"),
            "g.jsonl",
        ),
        (
            format!("eval --tasks {good_task} --num-fewshot 1 --fewshot-file {missing}.jsonl"),
            "--fewshot-file: cannot read",
        ),
        ("eval --tasks lambada_openai".into(), "--data-dir"),
        (
            format!("quantize {missing}.safetensors"),
            "gone.safetensors",
        ),
        (format!("quantize {header}"), "h.safetensors"),
        (format!("quantize {short}"), "s.safetensors"),
        (format!("verify --golden {missing}"), "gone"),
    ] {
        assert_refused(&line, 1, expected);
    }
    let empty = tempfile::tempdir().expect("temporary directory");
    let output = run(&format!("verify --golden {}", empty.path().display()));
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("nothing to compare"));
}

#[test]
fn help_names_every_flag_that_harness_users_know() {
    let help = stdout(&run("eval --help"));
    for flag in [
        "--model",
        "--tasks",
        "--config",
        "--weights",
        "--activations",
        "--kv",
        "--scale",
        "--block-size",
        "--scale-bits",
        "--rounding",
        "--dialect",
        "--limit",
        "--batch-size",
        "--num-fewshot",
        "--dtype",
        "--output-path",
        "--log-samples",
        "--seed",
        "--threads",
    ] {
        assert!(help.contains(flag), "{flag}");
    }
    assert!(stdout(&run("--help")).contains("quantize"));
    assert!(run("--version").status.success());
}

#[test]
fn formats_lists_every_format_and_every_code() {
    let tables = stdout(&run("formats"));
    for format in ElementFormat::ALL {
        assert!(tables.contains(format.name()), "{format}");
        let codes = stdout(&run(&format!("formats {format}")));
        assert_eq!(codes.lines().count(), 1 << format.bits(), "{format}");
    }
    let support = |element: &str| {
        let line = tables.lines().rfind(|line| line.starts_with(element));
        line.expect(element)
            .split_whitespace()
            .skip(1)
            .collect::<Vec<_>>()
            .join(" ")
    };
    assert_eq!(
        support("fp4_e2m1"),
        "yes yes bf16, e4m3 bf16, e4m3, s8 yes sm_100a, sm_120a"
    );
    assert_eq!(support("int8"), "yes yes bf16, s8 bf16, s8 yes no");
    assert_eq!(support("int3"), "yes no no no no no");
    let codes = stdout(&run("formats fp4_e2m1"));
    let last: Vec<&str> = codes
        .lines()
        .last()
        .expect("codes")
        .split_whitespace()
        .collect();
    assert_eq!(last, ["0xF", "1111", "-6"]);
    assert_eq!(stdout(&run("formats ue5m3")).lines().count(), 256);
    for part in [
        "114688",
        "2^-127",
        "2×NaN",
        "microxcaling-torch",
        "nearest",
        "toward-zero",
    ] {
        assert!(tables.contains(part), "{part}: {tables}");
    }
}

#[test]
fn a_reader_that_has_seen_enough_is_no_error_and_a_full_disk_is_one() {
    let mut command = mxlab("formats ue5m10");
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("runs");
    drop(child.stdout.take());
    let output = child.wait_with_output().expect("ends");
    assert!(output.status.success(), "{}", stderr(&output));

    let Ok(full) = fs::File::options().write(true).open("/dev/full") else {
        not_run("a full standard output", "/dev/full");
        return;
    };
    let output = mxlab("formats").stdout(full).output().expect("runs");
    assert_eq!(output.status.code(), Some(1));
    assert!(
        stderr(&output).contains("standard output"),
        "{}",
        stderr(&output)
    );
}

/// Elements of fewer than four bits in every operand, from flags and from a file.
#[test]
fn a_model_is_evaluated_below_four_bits() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let file = directory.path().join("mine.toml");
    let content = "default = { scale = 'ue5m3', block_size = 8 }\nweights = 'fp3_e1m1'\n\
                   activations = 'int3'\nkv = 'fp3_e2m0'\n\
                   [[override]]\nlayers = '0'\nweights = 'ternary'\n";
    fs::write(&file, content).expect("writable");
    for (flags, operands) in [
        (
            "--weights fp3_e1m1 --activations int3 --kv fp3_e2m0 --scale ue5m3 --block-size 8",
            "W3A3KV3",
        ),
        (
            "--weights int2 --kv ternary --rounding stochastic:5",
            "W2KV2",
        ),
        (&format!("--config {}", file.display()), "W3A3KV3*"),
    ] {
        let output = directory.path().join(operands);
        let line = format!("eval --limit 3 {flags} --output-path {}", output.display());
        let done = run(&line);
        assert!(done.status.success(), "{flags}: {}", stderr(&done));
        let is_said = stdout(&done).contains(operands);
        assert!(is_said, "{flags}: {}", stdout(&done));
    }
}

#[test]
fn verify_compares_the_golden_vectors() {
    let shared = std::env::var_os("MXLAB_SHARED").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared"),
        Into::into,
    );
    let golden = shared.join("golden");
    if !golden.exists() {
        not_run("verify_compares_the_golden_vectors", "MXLAB_SHARED");
        return;
    }
    let output = run(&format!("verify --golden {}", golden.display()));
    assert!(output.status.success(), "{}", stderr(&output));
    let text = stdout(&output);
    assert!(
        text.ends_with("elements compared, 0 mismatches\n"),
        "{text}"
    );

    // Vectors that nothing compared are no success.
    let directory = tempfile::tempdir().expect("temporary directory");
    for (from, to) in [
        ("codes.json", "codes.json"),
        ("convert.safetensors", "other.safetensors"),
    ] {
        fs::copy(golden.join(from), directory.path().join(to)).expect("copied");
    }
    let output = run(&format!("verify --golden {}", directory.path().display()));
    assert_eq!(output.status.code(), Some(1));
    assert!(stdout(&output).contains("not verified, of no known layout: other.safetensors"));

    // A single wrong element is found, named, and sets the exit code.
    let directory = tempfile::tempdir().expect("temporary directory");
    let mut bytes = fs::read(golden.join("mx_int4.safetensors")).expect("readable");
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    fs::write(directory.path().join("mx_int4.safetensors"), bytes).expect("writable");
    let output = run(&format!("verify --golden {}", directory.path().display()));
    assert_eq!(output.status.code(), Some(1));
    assert!(
        stdout(&output).contains("first mismatch of mx_int4.safetensors"),
        "{}",
        stdout(&output)
    );
}

#[test]
fn flags_before_a_subcommand_are_sent_behind_it() {
    assert_refused(
        "--isa portable serve",
        2,
        "tip: put flags behind the subcommand: mxlab serve --FLAG",
    );
}

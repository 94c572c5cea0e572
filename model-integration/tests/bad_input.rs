//! Errors say what was found, what was expected, and what to do.

use std::fs;
use std::process::Command;

/// Files that commands are given, beside what is not there.
const FILES: [(&str, &str); 6] = [
    ("config.toml", "weight = 'fp4_e2m1'"),
    ("questions.jsonl", "{\"question\": \"1 + 1?\"}"),
    ("good.jsonl", "{\"context\": \"a\", \"target\": \" b\"}"),
    (
        "verify.json",
        "{\"kind\": \"verify\", \"schema_version\": 3}",
    ),
    (
        "new.json",
        "{\"kind\": \"bench\", \"schema_version\": 9999}",
    ),
    ("cut.json", "{\"kind\": \"bench\", \"schema_ver"),
];

/// A command line, and what its error has: what was found, what was expected, what to do.
const WRONG: [(&str, [&str; 3]); 22] = [
    (
        "eval --config mx-liner",
        ["`mx-liner`", "one of baseline", "did you mean `mx-linear`?"],
    ),
    (
        "eval --config config.toml",
        ["unknown field `weight`", "expected one of", "`weights`"],
    ),
    (
        "eval --tasks lambda_openai",
        ["`lambda_openai`", "one of embedded", "`lambada_openai`?"],
    ),
    (
        "eval --tasks questions.jsonl",
        ["`question`", "`context`, `target`", "rename its fields"],
    ),
    (
        "eval --weights fp5",
        ["`fp5`", "known: fp4_e2m1", "--weights"],
    ),
    ("eval --scale e9m0", ["`e9m0`", "known: e8m0", "--scale"]),
    (
        "eval --batch-size 0",
        ["'0'", "at least one example", "`auto`"],
    ),
    (
        "eval --model ./gone",
        ["./gone", "a model is a directory", "org/name"],
    ),
    (
        "eval --tasks good.jsonl --model good.jsonl",
        ["not a directory", "config.json", "model"],
    ),
    (
        "eval --operands 8-bit",
        ["--operands 8-bit", "needs PTX kernels", "add --device"],
    ),
    (
        "eval --device emulator --limit 1 --weights int4 --block-size 24",
        [
            "block size is 24",
            "expected 16, 32, 64 or 128",
            "choose another block size",
        ],
    ),
    (
        "generate --device emulator --prompt a --kv int3",
        [
            "int3 of 3 bits",
            "expected 4, 6 or 8 bits",
            "choose another element",
        ],
    ),
    (
        "quantize good.jsonl --weights int8",
        [
            "found a header of",
            "expected at most",
            "no safetensors file",
        ],
    ),
    (
        "study run mx-liner",
        [
            "`mx-liner`",
            "one of mx-linear",
            "did you mean `mx-linear`?",
        ],
    ),
    (
        "study pack .",
        [
            "holds no study",
            "expected `study.json`",
            "`mxlab study run`",
        ],
    ),
    (
        "report --records empty",
        ["no record", "expected JSON", "--output-path"],
    ),
    (
        "bench --compare verify.json verify.json",
        [
            "found a record of kind `verify`",
            "expected `bench`",
            "`mxlab bench",
        ],
    ),
    (
        "bench --compare new.json new.json",
        ["version 9999", "expected version", "update mxlab"],
    ),
    (
        "bench --compare cut.json cut.json",
        ["cut.json", "cut off", "write it again"],
    ),
    (
        "compare . .",
        [
            "no `log` folder",
            "expected the folder",
            "`mxlab eval --output-path`",
        ],
    ),
    (
        "inspect quantise_fp4",
        [
            "`quantise_fp4`",
            "`mxlab list`",
            "the nearest are\n  quantize",
        ],
    ),
    (
        "verify --replay nothing",
        ["`nothing`", "KERNEL:SEED", "a file that --save wrote"],
    ),
];

#[test]
fn errors_say_what_was_found_what_was_expected_and_what_to_do() {
    let folder = tempfile::tempdir().expect("temporary directory");
    fs::create_dir(folder.path().join("empty")).expect("writable");
    for (name, text) in FILES {
        fs::write(folder.path().join(name), text).expect("writable");
    }
    let mut silent = Vec::new();
    for (line, expected) in WRONG {
        let output = Command::new(env!("CARGO_BIN_EXE_mxlab"))
            .args(line.split(' '))
            .current_dir(&folder)
            .env("HF_HUB_OFFLINE", "1")
            .env_remove("MXLAB_DATA")
            .output()
            .expect("runs");
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success(), "{line}: {error}");
        let lacks = expected.iter().filter(|part| !error.contains(**part));
        silent.extend(lacks.map(|part| format!("{line}: no {part:?} in {error}")));
    }
    assert!(silent.is_empty(), "{}", silent.join("\n"));
}

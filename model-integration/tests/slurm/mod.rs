//! A study as a Slurm job array on a local cluster.
//!
//! `cluster` beside this file starts it; where it cannot start, the test prints `not run`.

use not_run::not_run;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

/// Exit code of `cluster` if there is none.
const NO_CLUSTER: i32 = 77;

const STUDY: &str = r#"
title = "A study of four shards"
question = "Does an array do what one run does?"
models = ["synthetic:tiny"]
limit = 24
named = ["nvfp4"]

[config.w]
weights = "fp4_e2m1"

[vary.w]
block_size = [16, 32]
scale = ["e8m0", "ue5m3"]

[config.part]
weights = "fp4_e2m1"

[vary.part]
each = "layer-projection"

[search]
config = "part"
most_lost = 0.5
"#;

/// Submits the array, then waits until the queue is empty.
const SUBMIT: &str = r#"
"$1" 4 "$2" "$3"
while [ -n "$(squeue --noheader)" ]; do sleep 0.5; done
"#;

/// Every file of a folder, by its path in it.
fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(&next).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let name = path.strip_prefix(folder).expect("inside").display();
                found.insert(name.to_string(), fs::read(&path).expect("readable"));
            }
        }
    }
    found
}

#[test]
fn an_array_of_four_shards_reports_what_one_run_does() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name);
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    fs::write(path("small.toml"), STUDY).expect("writable");
    // Outputs have equal names, because a report contains its own.
    for name in ["array", "alone"] {
        fs::create_dir(path(name)).expect("a folder");
    }
    let output = Command::new(here.join("tests/slurm/cluster"))
        .arg(path("cluster"))
        .args(["bash", "-euc", SUBMIT, "submit"])
        .arg(here.join("../scripts/slurm-study"))
        .args(["out", "../small.toml"])
        .current_dir(path("array"))
        .env("MXLAB", env!("CARGO_BIN_EXE_mxlab"))
        .output()
        .expect("bash");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    if output.status.code() == Some(NO_CLUSTER) {
        // Around the capture of output, so that it is seen.
        not_run("a_job_array", &format!("Slurm ({})", said.trim()));
        return;
    }
    assert!(output.status.success(), "{said}");
    let logs = files(&path("array/out/slurm"));
    let logs: Vec<_> = logs
        .iter()
        .map(|(name, log)| format!("{name}: {}", String::from_utf8_lossy(log)))
        .collect();
    assert_eq!(logs.len(), 5, "a log a shard, and one of the rest: {said}");

    let study = |folder: &str, arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_mxlab"));
        command
            .arg("study")
            .args(arguments)
            .current_dir(path(folder));
        let output = command.output().expect("mxlab");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{said}");
    };
    let small = "../small.toml";
    study("alone", &["run", small, "--output-path", "out", "--quiet"]);
    assert!(path("array/out/REPORT.html").exists(), "{logs:?}");
    // The time of examples is in `cells` and differs; without it the report has only records.
    for folder in ["array", "alone"] {
        fs::remove_dir_all(path(folder).join("out/cells")).expect("cells");
        study(folder, &["report", "out"]);
    }
    // A single run has no logs of shards.
    let kept = |name: &str| -> BTreeMap<String, Vec<u8>> {
        let all = files(&path(name).join("out")).into_iter();
        all.filter(|(name, _)| !name.starts_with("slurm/"))
            .collect()
    };
    let (array, alone) = (kept("array"), kept("alone"));
    let names = |files: &BTreeMap<String, Vec<u8>>| files.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&array), names(&alone), "{logs:?}");
    assert!(alone.contains_key("REPORT.html"));
    for (name, content) in &alone {
        assert!(array[name] == *content, "{name} differs");
    }
}

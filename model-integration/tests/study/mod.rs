//! `mxlab study` through the binary: resumed, sharded, merged, searched, reported, refused.

mod calibrated;
mod models;
mod pack;
mod serving;
mod variants;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::thread::sleep;
use std::time::Duration;

use mxlab::study::shipped::SHIPPED;
use regex::Regex;
use serde_json::Value;

/// Two configurations with two block sizes each, a difference to explain, a search and a workload,
/// on a model with random weights.
const STUDY: &str = r#"
title = "A small study"
question = "Does it work?"
models = ["synthetic:tiny"]
limit = 24
weight_error = true

[config.w]
weights = "fp4_e2m1"

[vary.w]
block_size = [16, 32]
scale = ["e8m0", "ue5m3"]

[config.a]
default = { dialect = "microxcaling-cuda" }
weights = "fp4_e2m1"

[config.b]
default = { dialect = "nvidia" }
weights = "fp4_e2m1"

[explain]
from = "a"
to = "b"

[config.part]
weights = "fp4_e2m1"

[vary.part]
each = "layer-projection"

[search]
config = "part"
most_lost = 0.5

[workload]
prompt = [8]
output = [4]
repeats = 2
"#;

fn mxlab(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mxlab"));
    command.args(arguments).output().expect("mxlab runs")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Runs a command and returns its output.
fn done(arguments: &[&str]) -> String {
    let output = mxlab(arguments);
    assert!(
        output.status.success(),
        "{arguments:?}: {}",
        text(&output.stderr)
    );
    text(&output.stdout)
}

/// Runs a command and returns its error.
fn refused(arguments: &[&str]) -> String {
    let output = mxlab(arguments);
    assert!(
        !output.status.success(),
        "{arguments:?}: {}",
        text(&output.stdout)
    );
    text(&output.stderr)
}

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        let folder = Self(tempfile::tempdir().expect("a folder"));
        fs::write(folder.path("small.toml"), STUDY).expect("writable");
        folder
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn name(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }
}

/// Every record without times, by name.
fn records(output: &Path) -> BTreeMap<String, Vec<u8>> {
    let files = fs::read_dir(output.join("records")).expect("records");
    let files = files.map(|file| file.expect("a file").path());
    let named = files.map(|file| {
        let name = file
            .file_name()
            .expect("a name")
            .to_string_lossy()
            .into_owned();
        (name, fs::read(&file).expect("readable"))
    });
    // A killed run may leave a temporary file, which is not a record.
    named
        .filter(|(name, _)| !name.starts_with("speed.") && !name.starts_with(".mxlab-"))
        .collect()
}

fn run<'a>(study: &'a str, output: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let mut arguments = vec!["study", "run", study, "--output-path", output, "--quiet"];
    arguments.extend(more);
    arguments
}

/// A run that is killed repeatedly keeps its cells and ends with the records of an undisturbed run;
/// so do shards that are merged and then searched.
#[test]
fn kills_and_shards_change_no_record() {
    let folder = Folder::new();
    let study = folder.name("small.toml");
    let alone = folder.name("alone");
    done(&run(&study, &alone, &[]));
    let expected = records(Path::new(&alone));
    // The baseline, four, two, the hybrids of three differences, fourteen parts, the search and its
    // steps.
    let search = expected
        .iter()
        .find(|(name, _)| name.starts_with("search."));
    let search: Value = serde_json::from_slice(search.expect("a search").1).expect("JSON");
    let steps = search["steps"].as_array().expect("steps");
    let decided = steps.iter().map(|step| match step["is_kept"] == true {
        true => step["parts"].as_array().expect("parts").len(),
        false => usize::from(step["parts"].as_array().expect("parts").len() == 1),
    });
    assert_eq!(decided.sum::<usize>(), 14, "{search}");
    assert_eq!(expected.len(), 1 + 4 + 2 + 6 + 14 + 1 + steps.len());

    let killed = folder.name("killed");
    let mut kills = 0;
    for wait in (30..).step_by(90) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_mxlab"));
        command.args(run(&study, &killed, &["--batch-size", "16"]));
        let mut child = command.stdout(Stdio::null()).spawn().expect("mxlab runs");
        sleep(Duration::from_millis(wait));
        if child.try_wait().expect("a child").is_some() {
            break;
        }
        child.kill().expect("alive");
        child.wait().expect("a child");
        kills += 1;
    }
    assert!(kills > 0, "nothing was killed");
    assert!(done(&run(&study, &killed, &[])).contains("0 cells done"));
    assert_eq!(records(Path::new(&killed)), expected);

    let shards = ["1/3", "2/3", "3/3"].map(|shard| {
        let output = folder.name(&format!("shard-{}", &shard[..1]));
        done(&run(&study, &output, &["--shard", shard]));
        output
    });
    let merged = folder.name("merged");
    let mut merge = vec!["study", "merge"];
    merge.extend(shards.iter().map(String::as_str));
    merge.extend(["--output-path", &merged]);
    done(&merge);
    let status = ["study", "status", &study, "--output-path", &merged];
    assert!(
        text(&mxlab(&status).stdout).contains(" of "),
        "the search is left"
    );
    done(&run(&study, &merged, &[]));
    done(&status);
    assert_eq!(records(Path::new(&merged)), expected);
}

/// Anything that does not fit is refused before the run, with its place.
#[test]
fn what_does_not_fit_is_refused_before_it_runs() {
    let folder = Folder::new();
    let check = |change: (&str, &str)| {
        let path = folder.name("changed.toml");
        assert!(STUDY.contains(change.0), "{change:?}");
        fs::write(&path, STUDY.replacen(change.0, change.1, 1)).expect("writable");
        let output = folder.name("never");
        let error = refused(&["study", "check", &path, "--output-path", &output]);
        assert!(!Path::new(&output).exists());
        error
    };
    for (change, words) in [
        (
            ("\"fp4_e2m1\"", "\"fp5\""),
            ["changed.toml", "line 9", "`fp5`"],
        ),
        (
            ("[vary.w]", "[vary.x]"),
            ["changed.toml", "vary.x", "no `config.x`"],
        ),
        (
            ("limit = 24", "limit = 0"),
            ["changed.toml", "`limit`", "at least 1"],
        ),
        (
            ("limit = 24", "limits = 24"),
            ["changed.toml", "line 5", "limits"],
        ),
        (
            ("to = \"b\"", "to = \"w\""),
            ["changed.toml", "explain.to", "varied"],
        ),
        (
            ("repeats = 2", "repeats = 0"),
            ["changed.toml", "repeats", "0"],
        ),
        (("16, 32", "16, 16"), ["w+e8m0+k16", "twice", ""]),
        (
            ("synthetic:tiny", "synthetic:huge"),
            ["synthetic:huge", "model", ""],
        ),
        (
            ("config = \"part\"", "config = \"w\""),
            ["changed.toml", "search.config", "each"],
        ),
    ] {
        let error = check(change);
        assert!(
            words.iter().all(|word| error.contains(word)),
            "{words:?}: {error}"
        );
    }
    let task = folder.name("broken.jsonl");
    fs::write(&task, "{\"text\": \"one two\"}\n{\"text\": 3}\n").expect("writable");
    let study = folder.name("small.toml");
    let error = refused(&["study", "check", &study, "--tasks", &task]);
    assert!(
        error.contains("broken.jsonl") && error.contains("line 2"),
        "{error}"
    );
    assert!(refused(&["study", "run", "no-such"]).contains("mx-linear"));
}

/// Results of another study are not resumed, merged or reported; a record that is cut off is named.
#[test]
fn results_that_do_not_belong_are_refused() {
    let folder = Folder::new();
    let small = STUDY.replace("[search]\nconfig = \"part\"\nmost_lost = 0.5", "");
    let small = small.replace("each = \"layer-projection\"", "each = \"layer\"");
    let study = folder.name("small.toml");
    fs::write(&study, small).expect("writable");
    let (one, other) = (folder.name("one"), folder.name("other"));
    done(&run(&study, &one, &["--limit", "2"]));
    done(&run(&study, &other, &["--limit", "3"]));
    let error = refused(&run(&study, &one, &["--limit", "3"]));
    assert!(error.contains("flags have changed"), "{error}");
    let both = folder.name("both");
    let error = refused(&["study", "merge", &one, &other, "--output-path", &both]);
    assert!(
        error.contains("with hash") && !Path::new(&both).exists(),
        "{error}"
    );

    let record = Path::new(&one).join("records/score.synthetic_tiny.0.baseline.json");
    let whole = fs::read(&record).expect("a record");
    fs::write(&record, &whole[..whole.len() / 2]).expect("writable");
    for arguments in [
        vec!["study", "report", &one],
        vec!["study", "merge", &one, "--output-path", &both],
        run(&study, &one, &["--limit", "2"]),
    ] {
        let error = refused(&arguments);
        assert!(
            error.contains("baseline.json") && error.contains("cut off"),
            "{error}"
        );
    }
    fs::remove_file(&record).expect("removed");
    assert!(done(&run(&study, &one, &["--limit", "2"])).contains("1 cells done"));
    assert_eq!(fs::read(&record).expect("made again"), whole);
}

/// The page is self-contained, every record that it names exists, and its numbers are those of the
/// records.
#[test]
fn the_report_is_of_records() {
    let folder = Folder::new();
    let (study, output) = (folder.name("small.toml"), folder.name("output"));
    done(&run(&study, &output, &[]));
    let reference = folder.name("reference.json");
    let published = r#"{"about": "by others", "baseline": {"acc": 0.5, "acc_stderr": 0.01},
        "w": [{"scale": "e8m0", "block_size": 16, "acc": 0.4, "acc_stderr": 0.01}]}"#;
    fs::write(&reference, published.replace("\"e8m0\"", "e8m0_")).expect("writable");
    let report = ["study", "report", &output, "--reference", &reference];
    assert!(refused(&report).contains("reference.json"));
    fs::write(&reference, published).expect("writable");
    done(&report);

    let page = fs::read_to_string(Path::new(&output).join("REPORT.html")).expect("a page");
    for outside in ["<script", "src=", "<link", "@import", "url("] {
        assert!(!page.contains(outside), "{outside}");
    }
    let links = page
        .split("href=\"")
        .skip(1)
        .filter_map(|rest| rest.split('"').next());
    let links = links.filter(|link| !link.starts_with('#'));
    let links: Vec<String> = links.map(|link| link.replace("&#x2f;", "/")).collect();
    assert!(links.len() > 20);
    for link in links {
        assert!(Path::new(&output).join(&link).exists(), "{link}");
    }

    let acc = |name: &str| -> Vec<f64> {
        let path = format!("{output}/records/score.synthetic_tiny.0.{name}.json");
        let record: Value =
            serde_json::from_slice(&fs::read(path).expect("a record")).expect("JSON");
        let values = record["tasks"][0]["columns"][0]["values"]
            .as_array()
            .expect("values");
        values
            .iter()
            .map(|value| value.as_f64().expect("a number"))
            .collect()
    };
    let (own, base) = (acc("w+e8m0+k16"), acc("baseline"));
    let mean = |values: &[f64]| 100.0 * values.iter().sum::<f64>() / values.len() as f64;
    let markdown = fs::read_to_string(Path::new(&output).join("REPORT.md")).expect("a report");
    let made = markdown
        .lines()
        .filter(|line| line.starts_with("| small, score."));
    assert_eq!(made.count(), 1, "one build on one machine");
    let row = markdown
        .lines()
        .find(|line| line.starts_with("| w+e8m0+k16 |"))
        .expect("a row");
    assert!(row.contains(&format!("| {:.1}±", mean(&own))), "{row}");
    assert!(
        row.contains(&format!("{:+.2} [", mean(&own) - mean(&base))),
        "{row}"
    );
    assert!(row.contains("40.0±1.0") && row.contains("-10.00"), "{row}");
    // The shares of two dialects' differences add up to the gap.
    assert!(markdown.contains("by what differs"), "{markdown}");
    assert!(markdown.contains("8x4"), "the workload is there");
}

/// A report without the links to records in its page and tables.
fn without_links(folder: &Path) -> BTreeMap<String, String> {
    let links = r#"(?m)<a href="[^#"][^"]*">|,[^,\n]*\.json(\.gz)?(#[^,\n]*)?$"#;
    let links = Regex::new(links).expect("a pattern");
    let mut found = BTreeMap::new();
    for place in [".", "tables", "charts"] {
        for file in fs::read_dir(folder.join(place)).expect("a report") {
            let path = file.expect("a file").path();
            let name = path
                .strip_prefix(folder)
                .expect("below")
                .display()
                .to_string();
            if path.is_file() {
                let text = fs::read_to_string(&path).expect("text");
                found.insert(name, links.replace_all(&text, "").into_owned());
            }
        }
    }
    found
}

/// Every shipped study fits the embedded model.
#[test]
fn shipped_studies_fit() {
    for (name, _) in SHIPPED {
        let folder = tempfile::tempdir().expect("a folder");
        let output = folder.path().join("none").display().to_string();
        let printed = done(&[
            "study",
            "check",
            name,
            "--limit",
            "8",
            "--output-path",
            &output,
        ]);
        assert!(printed.contains("embedded"), "{name}: {printed}");
    }
}

//! Records of every kind round-trip; other versions are refused by name.

mod loads;

use std::cell::Cell;
use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use flate2::read::GzDecoder;
use mxlab::config::QuantConfig;
use mxlab::engine::{Footprint, ModelInfo};
use mxlab::record::calibrate::{AllocateRecord, Assignment, CalibrateRecord};
use mxlab::record::column::Column;
use mxlab::record::generate::End;
use mxlab::record::generate::{GenerateRecord, GenerateSettings, GenerateTimings, Sequence};
use mxlab::record::study::{Frozen, StudyRecord};
use mxlab::record::{KINDS, Record, Wrong, has_name, read, to_json, write};
use mxlab::task::metric::Metric;
use mxlab_harness::record::Environment;
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use serde_json::{Value, json};

fn results() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../results")
}

/// Every record file below a folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("a file").path();
        match path.is_dir() {
            true => found.extend(files(&path)),
            false => found.extend(has_name(&path).then_some(path)),
        }
    }
    found.sort();
    found
}

fn text(path: &Path) -> String {
    let bytes = fs::read(path).expect("readable");
    let mut text = String::new();
    let read = match path.extension().is_some_and(|ending| ending == "gz") {
        true => GzDecoder::new(&bytes[..]).read_to_string(&mut text),
        false => (&bytes[..]).read_to_string(&mut text),
    };
    read.expect("text");
    text
}

/// This build would write a committed record as it is: nothing is left out, and the file is as
/// short as possible.
#[test]
fn committed_records_are_written_as_they_are_read() {
    let mut kinds = BTreeMap::new();
    for path in files(&results()) {
        let record = Record::read(&path).unwrap_or_else(|error| panic!("{error}"));
        let json = serde_json::to_string(&record).expect("plain data") + "\n";
        assert!(
            json == text(&path),
            "`{}` is not what this build writes: read it with `mxlab::record::Record` and write it \
             again",
            path.display()
        );
        *kinds.entry(record.kind().name).or_insert(0) += 1;
    }
    let of = |kind: &str| kinds.get(kind).copied().unwrap_or(0);
    for kind in ["bench", "eval", "mutate", "soak", "study", "verify"] {
        assert!(of(kind) > 0, "{kind}: {kinds:?}");
    }
    assert_eq!(of("study"), 10);
}

fn generation() -> GenerateRecord {
    GenerateRecord {
        environment: Environment::capture(),
        device: "cpu".to_owned(),
        model: ModelInfo {
            device: "cpu".to_owned(),
            name: "embedded".to_owned(),
            fingerprint: "0123".to_owned(),
            parameters: 7,
            random_weights: false,
            stored_weights: Some("fp8_e4m3".to_owned()),
            stored_inputs: Some("fp8_e4m3 fp32 k64".to_owned()),
            dtype: "float32".to_owned(),
            softmax_dtype: "float32".to_owned(),
            max_length: 512,
            end_tokens: vec![2],
            notes: vec!["2 tensors of the files are not used".to_owned()],
        },
        config: QuantConfig::unquantised("baseline"),
        footprint: Footprint {
            weight_bytes: 1,
            kv_bytes_per_token: 2,
            kv: None,
            packed: None,
            stand_ins: Vec::new(),
            integer_products: 0,
            operands: None,
        },
        kernel_loads: None,
        paths: None,
        settings: GenerateSettings {
            max_tokens: 3,
            temperature: 0.7,
            top_p: 0.9,
            seed: 4,
            ignore_eos: true,
            warm_up: false,
            threads: 2,
        },
        sequences: vec![Sequence {
            source: "--prompt".to_owned(),
            prompt_tokens: vec![1, 2],
            tokens: vec![3],
            text: Some("a \"b\"".to_owned()),
            end: End::Length,
        }],
        timings: GenerateTimings {
            load_seconds: 0.25,
            first_token_seconds: 0.5,
            median_step_seconds: None,
            tokens_per_second: Some(12.5),
            joules_per_token: None,
            energy: None,
            step_seconds: vec![0.125],
        },
    }
}

fn calibration() -> (CalibrateRecord, AllocateRecord) {
    let codes = CalibrateRecord {
        environment: Environment::capture(),
        run: json!({ "method": "second-order", "sequences": 72, "recipe": { "damping": 0.01 } }),
        seconds: 38.5,
        layers_before: 3,
        peak_memory_bytes: Some(1 << 29),
        threads: 2,
    };
    let chosen = Assignment {
        name: "chosen".to_owned(),
        bits: 4.75,
        summed_nats: 0.25,
        measured_nats: 0.125,
    };
    let formats = AllocateRecord {
        environment: Environment::capture(),
        most_bits: 4.75,
        assignments: vec![chosen],
        seconds: 4.5,
    };
    (codes, formats)
}

/// A record of each kind, as JSON: committed ones, cells of studies, a generation, loads.
fn samples() -> BTreeMap<&'static str, Value> {
    let mut samples = BTreeMap::new();
    let mut keep = |record: Record| {
        let json = serde_json::to_string(&record).expect("plain data");
        let value: Value = serde_json::from_str(&json).expect("JSON");
        samples.entry(record.kind().name).or_insert(value);
    };
    keep(generation().into());
    let (codes, formats) = calibration();
    keep(codes.into());
    keep(formats.into());
    for path in files(&results()) {
        match Record::read(&path).expect("a record") {
            Record::Study(mut study) => {
                keep(study.plan.clone().into());
                for cell in &study.cells {
                    let value = serde_json::to_value(&cell.record).expect("plain data");
                    keep(Record::from_value(value).expect("a cell"));
                }
                study.cells.truncate(1);
                keep(Record::Study(study));
            }
            Record::Mutate(mut record) => {
                record.kernels.truncate(1);
                record.kernels[0].equivalent.truncate(2);
                keep(Record::Mutate(record));
            }
            Record::Bench(mut record) => {
                record.measured.truncate(2);
                keep(Record::Bench(record));
            }
            record => keep(record),
        }
    }
    for record in loads::samples(&samples["study-score"].clone()) {
        let value = serde_json::to_value(&record).expect("plain data");
        samples.insert(record.kind().name, value);
    }
    samples
}

/// Adds the paths of all leaves of a JSON value to `found`.
fn leaves(value: &Value, at: &str, found: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            for (name, field) in fields {
                let name = name.replace('~', "~0").replace('/', "~1");
                leaves(field, &format!("{at}/{name}"), found);
            }
        }
        Value::Array(list) => {
            for (index, item) in list.iter().enumerate() {
                leaves(item, &format!("{at}/{index}"), found);
            }
        }
        _ => found.push(at.to_owned()),
    }
}

/// Another value of the same type.
fn other(leaf: &Value, number: i32, words: &str) -> Value {
    match leaf {
        Value::Bool(is) => json!(!is),
        Value::Number(own) if own.is_f64() => json!(f64::from(number) / 1000.0),
        Value::Number(_) => json!(number.unsigned_abs() % 256),
        Value::String(_) => json!(words),
        other => other.clone(),
    }
}

/// Property: a record of any kind, with any field changed, is written as it was read, also a second
/// time.
#[test]
fn records_of_every_kind_round_trip() {
    let samples = samples();
    for kind in KINDS {
        let sample = samples.get(kind.name);
        let sample = sample.unwrap_or_else(|| panic!("no sample of {}", kind.name));
        let mut places = Vec::new();
        leaves(sample, "", &mut places);
        places.retain(|place| !place.ends_with("/kind") && !place.ends_with("/schema_version"));
        let mut runner = TestRunner::new(ProptestConfig {
            cases: 64,
            failure_persistence: None,
            ..ProptestConfig::default()
        });
        let change = (any::<prop::sample::Index>(), -999_999..999_999, ".*");
        let strategy = prop::collection::vec(change, 1..4);
        let taken = Cell::new(0);
        let outcome = runner.run(&strategy, |changes| {
            let mut value = sample.clone();
            for (index, number, words) in changes {
                let place = value
                    .pointer_mut(&places[index.index(places.len())])
                    .expect("a place");
                *place = other(place, number, &words);
            }
            if let Ok(record) = Record::from_value(value.clone()) {
                // Compared as text: a 32-bit number is short there, but long as a 64-bit one.
                let written = serde_json::to_string(&record).expect("plain data");
                prop_assert_eq!(written, value.to_string());
                taken.set(taken.get() + 1);
            }
            Ok(())
        });
        outcome.unwrap_or_else(|error| panic!("{}: {error}", kind.name));
        let taken = taken.get();
        assert!(taken > 8, "{}: only {taken} of 64 were records", kind.name);
    }
}

/// NaN and infinities survive.
#[test]
fn values_that_are_not_finite_round_trip() {
    let values = vec![f64::NAN, f64::NEG_INFINITY, -0.5];
    let column = Column {
        metric: Metric::LOGLIKELIHOOD,
        values: values.clone(),
        weights: None,
    };
    let json = serde_json::to_string(&column).expect("plain data");
    let again: Column = serde_json::from_str(&json).expect("what was written");
    let bits = |values: &[f64]| values.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
    assert_eq!(bits(&again.values), bits(&values), "{json}");
}

/// A record declares its kind and version. One of another version or kind, cut off, or without its
/// head is refused with what was found, what was expected and what to do.
#[test]
fn other_records_are_refused_by_name() {
    let samples = samples();
    let folder = tempfile::tempdir().expect("a folder");
    for kind in KINDS {
        let mut newer = samples[kind.name].clone();
        newer["schema_version"] = json!(kind.version + 1);
        let error = Record::from_value(newer).expect_err("another version");
        let expected = format!(
            "found a record of kind `{}`, version {}; expected version {}; a newer mxlab wrote it: \
             update mxlab",
            kind.name,
            kind.version + 1,
            kind.version,
        );
        assert_eq!(error.to_string(), expected);
        let mut older = samples[kind.name].clone();
        older["schema_version"] = json!(0);
        let error = Record::from_value(older).expect_err("another version");
        let advice = format!("write it again with `{}`", kind.command);
        assert!(error.to_string().ends_with(&advice), "{error}");

        let mut without = samples[kind.name].clone();
        without["schema_version"] = Value::Null;
        let error = Record::from_value(without).expect_err("no version");
        assert!(error.to_string().contains("`schema_version`"), "{error}");
        let mut unlike = samples[kind.name].clone();
        let fields = unlike.as_object_mut().expect("fields");
        let first = fields.keys().nth(2).expect("a field").clone();
        fields.shift_remove(&first);
        let error = Record::from_value(unlike)
            .expect_err("a field is missing")
            .to_string();
        let words = [
            format!("damaged {} record", kind.name),
            format!("`{first}`"),
            kind.command.to_owned(),
        ];
        assert!(words.iter().all(|word| error.contains(word)), "{error}");
    }
    for (bytes, words) in [
        ("{\"kind\": \"bench\"", "cut off"),
        ("", "cut off"),
        ("\u{1f}\u{8b}", "cut off"),
        ("{}", "`kind`"),
        ("[1]", "`kind`"),
        (
            "{\"kind\": \"benchmark\", \"schema_version\": 1}",
            "`benchmark`; expected one of verify",
        ),
    ] {
        let error = Record::parse(bytes.as_bytes()).expect_err(bytes);
        assert!(error.to_string().contains(words), "{bytes}: {error}");
    }
    let path = folder.path().join("generate.json.gz");
    write(&path, &generation()).expect("writable");
    let error = read::<StudyRecord>(&path)
        .expect_err("another kind")
        .to_string();
    for words in [
        "generate.json.gz",
        "found a record of kind `generate`",
        "expected `study`",
        "mxlab study pack",
    ] {
        assert!(error.contains(words), "{words}: {error}");
    }
    let again: GenerateRecord = read(&path).expect("a record");
    assert_eq!(to_json(&again), to_json(&generation_at(&again)));
}

/// The same at the time of another.
fn generation_at(of: &GenerateRecord) -> GenerateRecord {
    GenerateRecord {
        environment: of.environment.clone(),
        ..generation()
    }
}

/// The plan of a study of version 1 had no kind. It is migrated to the current version, and nothing
/// else is.
#[test]
fn plans_of_version_1_are_migrated() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("study.json");
    let mut plan = json!({
        "schema_version": 1, "name": "small", "title": "Small", "question": "How?",
        "mxlab": "0.1.0",
        "text": "", "changes": { "engine": "cpu, auto", "batch_size": 16 }, "hash": "0123",
    });
    fs::write(&path, plan.to_string()).expect("writable");
    let read_plan: Frozen = read(&path).expect("a plan");
    assert_eq!(
        (&*read_plan.name, read_plan.changes.batch_size),
        ("small", 16)
    );
    let written = to_json(&read_plan);
    assert!(
        written.starts_with("{\"kind\":\"study-plan\",\"schema_version\":2,"),
        "{written}"
    );

    plan["schema_version"] = json!(0);
    fs::write(&path, plan.to_string()).expect("writable");
    assert!(read::<Frozen>(&path).is_err());
    let verify = json!({ "kind": "verify", "schema_version": 1 });
    fs::write(&path, verify.to_string()).expect("writable");
    let error = read::<Frozen>(&path).expect_err("another kind").to_string();
    assert!(error.contains("found a record of kind `verify`"), "{error}");
    let error = Record::from_value(verify).expect_err("an old version");
    assert!(
        matches!(error, Wrong::OtherVersion { found: 1, .. }),
        "{error}"
    );
}

/// A record of a misspelt kind is not passed over in silence; JSON of another program is.
#[test]
fn a_report_names_what_it_leaves_out() {
    let folder = tempfile::tempdir().expect("a folder");
    let place = |name: &str| folder.path().join(name);
    let bench = results().join("kernels-cpu/two-threads.json");
    fs::copy(bench, place("bench.json")).expect("writable");
    fs::write(
        place("evla.json"),
        r#"{"kind": "evla", "schema_version": 1}"#,
    )
    .expect("writable");
    fs::write(place("foreign.json"), r#"{"results": {}}"#).expect("writable");
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_mxlab"))
        .args(["report", "--records"])
        .arg(folder.path())
        .arg("--output-path")
        .arg(place("report"))
        .output()
        .expect("runs");
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{error}");
    assert!(error.contains("evla.json` is left out: "), "{error}");
    assert!(error.contains("its kind is `evla`"), "{error}");
    assert!(!error.contains("foreign.json"), "{error}");
}

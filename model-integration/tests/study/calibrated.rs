//! Studies that choose codes by a text.

use std::fs;
use std::path::Path;

use serde_json::Value;

use super::{Folder, done, records, refused, run};
use crate::stories;

const STUDY: &str = r#"
title = "Codes by a text"
question = "What do they win back?"
limit = 12

[calibration]
text = ["none.txt"]
sequences = 6
length = 48

[ladders]
w4a6 = ["nearest", "codes", "mixed"]

[config.nearest]
weights = "fp4_e2m1"
activations = "fp6_e2m3"
kv = "fp8_e4m3"

[config.codes]
weights = "fp4_e2m1"
activations = "fp6_e2m3"
kv = "fp8_e4m3"
rotation = "16"

[calibrate.codes]
order = "stored"
scales = "search"

[config.mixed]
weights = "fp4_e2m1"
activations = "fp6_e2m3"
kv = "fp8_e4m3"

[calibrate.mixed]
bits = 4.75
weights = ["fp4_e2m1", "fp6_e2m3"]
"#;

fn record(output: &Path, config: &str) -> Value {
    let path = output.join(format!("records/score.embedded.0.{config}.json"));
    serde_json::from_slice(&fs::read(path).expect("a record")).expect("JSON")
}

/// A study scores what `mxlab calibrate` and `mxlab eval` make by hand, in whatever shards.
#[test]
fn codes_are_those_of_the_commands() {
    let folder = Folder::new();
    fs::write(folder.path("codes.toml"), STUDY).expect("writable");
    let text = stories::text(&folder.path(""));
    let (study, output) = (folder.name("codes.toml"), folder.name("output"));
    done(&run(&study, &output, &["--text", &text]));
    let whole = records(&folder.path("output"));
    assert_eq!(whole.len(), 4, "{:?}", whole.keys());

    let [one, two, merged] = ["one", "two", "merged"].map(|name| folder.name(name));
    for (shard, output) in [("1/2", &one), ("2/2", &two)] {
        let more = ["--text", &text, "--shard", shard, "--threads", "1"];
        done(&run(&study, output, &more));
    }
    done(&["study", "merge", &one, &two, "--output-path", &merged]);
    assert!(records(&folder.path("merged")) == whole, "shards differ");

    let model = folder.name("model");
    let formats = ["--weights", "fp4_e2m1", "--activations", "fp6_e2m3"];
    let cache = ["--kv", "fp8_e4m3"];
    let by = ["--text", &text, "--sequences", "6", "--length", "48"];
    let method = [
        "--rotation",
        "16",
        "--order",
        "stored",
        "--scales",
        "search",
    ];
    let calibrate = [
        &["calibrate", "embedded", &model][..],
        &formats,
        &cache,
        &by,
        &method,
    ];
    done(&calibrate.concat());
    let results = folder.name("eval");
    done(&[
        "eval",
        "--model",
        &model,
        "--limit",
        "12",
        "--kv",
        "fp8_e4m3",
        "--output-path",
        &results,
    ]);
    let by_hand = fs::read(Path::new(&results).join("run.json")).expect("a record");
    let by_hand: Value = serde_json::from_slice(&by_hand).expect("JSON");
    let of_study = record(&folder.path("output"), "codes");
    let metrics = &of_study["tasks"][0]["metrics"];
    assert_eq!(
        metrics[0]["value"],
        by_hand["results"][1]["metrics"][0]["value"]
    );
    assert_eq!(
        metrics[2]["value"],
        by_hand["results"][1]["metrics"][2]["value"]
    );
    assert_ne!(
        metrics[2]["value"],
        record(&folder.path("output"), "nearest")["tasks"][0]["metrics"][2]["value"]
    );
    assert_eq!(of_study["operands"], "W4A6KV8R");
    assert_eq!(of_study["calibration"]["tokens"], 288);
    assert_eq!(
        of_study["footprint"]["packed"],
        record(&folder.path("output"), "nearest")["footprint"]["packed"]
    );
    let mixed = record(&folder.path("output"), "mixed");
    let bits = |packed: &Value| {
        let [bytes, weights] = ["bytes", "elements"].map(|field| packed[field].as_f64());
        8.0 * bytes.expect("bytes") / weights.expect("elements")
    };
    let of_mixed = bits(&mixed["footprint"]["packed"]);
    assert!(4.6 < of_mixed && of_mixed <= 4.75, "{of_mixed}");
    // Of a scored cell the records are kept, and the model is not.
    let cell = folder.path("output/cells/score.embedded.0.mixed");
    assert!(cell.join("allocate.json").exists() && cell.join("calibrate.json").exists());
    assert!(!cell.join("model").exists());

    done(&["study", "pack", &merged]);
    let packed = merged + ".json.gz";
    let report = folder.name("report");
    done(&["study", "report", &packed, "--output-path", &report]);
    let report = fs::read_to_string(Path::new(&report).join("REPORT.md")).expect("a report");
    let row = |name: &str| {
        let rows = report
            .lines()
            .skip_while(|line| !line.starts_with("Ladder w4a6"));
        let mut rows = rows.filter(|line| line.starts_with(&format!("| {name} ")));
        rows.next()
            .unwrap_or_else(|| panic!("{name} in {report}"))
            .to_owned()
    };
    assert!(
        row("codes").contains("codes calibrated --order stored --scales search | 4.25 |"),
        "{}",
        row("codes")
    );
    assert!(row("mixed").contains("| 4.7"), "{}", row("mixed"));
    assert!(!row("codes").contains("not measured"), "{}", row("codes"));
}

#[test]
fn calibrations_that_do_not_fit_are_refused() {
    let folder = Folder::new();
    let text = stories::text(&folder.path(""));
    let file = folder.name("codes.toml");
    for (from, to, expected) in [
        (
            "[calibrate.codes]",
            "[calibrate.code]",
            "the file has no `config.code`",
        ),
        (
            "[calibration]\ntext = [\"none.txt\"]",
            "[calibration]",
            "missing field `text`",
        ),
        (
            "bits = 4.75\n",
            "",
            "`bits` and `weights`, the formats to choose from, go together",
        ),
        (
            "\"codes\", \"mixed\"",
            "\"code\"",
            "has no configuration `code`; did you mean `codes`?",
        ),
        (
            "limit = 12",
            "weight_error = true",
            "`weight_error` is of nearest codes",
        ),
        ("order = \"stored\"", "order = \"sorted\"", "sorted"),
        ("length = 48", "length = 48\ntexts = 1", "texts"),
    ] {
        let changed = STUDY.replace(from, to);
        assert_ne!(changed, STUDY, "{from}");
        fs::write(&file, changed).expect("writable");
        let error = refused(&["study", "check", &file, "--text", &text]);
        assert!(error.contains(expected), "{expected:?} is not in {error:?}");
    }
    let error = refused(&["study", "check", "mx-linear", "--text", &text]);
    assert!(error.contains("has no `calibration`"), "{error}");
    // What a command says is said.
    fs::write(&file, STUDY).expect("writable");
    let error = refused(&run(&file, &folder.name("output"), &["--threads", "1"]));
    assert!(error.contains("cell score.embedded.0.codes"), "{error}");
    assert!(error.contains("cannot read the text `none.txt`"), "{error}");
}

//! A study whose models run in several types, with and without BOS.

use std::fs;

use serde_json::Value;

use super::{Folder, done, refused};

const STUDY: &str = r#"
title = "Variants"
question = "Do types and BOS matter?"
dtypes = ["bfloat16", "float32"]
add_bos_token = [true, false]
limit = 6

[config.w]
weights = "fp4_e2m1"
"#;

fn read(path: &std::path::Path) -> Value {
    let text = fs::read_to_string(path).expect("a record");
    serde_json::from_str(&text).expect("JSON")
}

#[test]
fn every_type_and_both_ways_of_bos_are_models_of_their_own() {
    let folder = Folder::new();
    fs::write(folder.path("variants.toml"), STUDY).expect("writable");
    let (study, output) = (folder.name("variants.toml"), folder.name("out"));
    done(&["study", "run", &study, "--output-path", &output]);
    let records = fs::read_dir(folder.path("out/records")).expect("records");
    let records: Vec<Value> = records
        .map(|entry| read(&entry.expect("an entry").path()))
        .collect();
    assert_eq!(records.len(), 2 * 2 * 2);
    let mut values = Vec::new();
    for dtype in ["bfloat16", "float32"] {
        for (bos, label) in [("true", "BOS"), ("false", "no BOS")] {
            let model = format!("embedded, {dtype}, {label}");
            let alone = folder.name(&format!("{dtype}-{bos}"));
            done(&[
                "eval",
                "--dtype",
                dtype,
                "--add-bos-token",
                bos,
                "--limit",
                "6",
                "--config",
                "baseline",
                "--quiet",
                "--output-path",
                &alone,
            ]);
            let alone = read(&folder.path(&format!("{dtype}-{bos}/run.json")));
            let cell = records
                .iter()
                .find(|cell| cell["model"]["name"] == *model && cell["name"] == "baseline");
            let cell = cell.expect("a cell of the baseline");
            assert_eq!(cell["tasks"][0]["metrics"], alone["results"][0]["metrics"]);
            values.push(cell["tasks"][0]["metrics"][2]["value"].to_string());
        }
    }
    values.dedup();
    assert_eq!(values.len(), 4, "each variant has a result of its own");
    let error = refused(&["study", "check", &study, "--dtype", "float32"]);
    assert!(error.contains("drop --dtype"), "{error}");
}

//! A study of several models.

use std::fs;

use super::{Folder, done};

/// What each configuration costs each model is one table. A model with random weights is named so,
/// and no finding speaks of it.
#[test]
fn several_models_are_compared_and_random_weights_are_named() {
    let folder = Folder::new();
    let output = folder.name("out");
    let models = "embedded,synthetic:tiny";
    done(&[
        "study",
        "run",
        "architectures",
        "--model",
        models,
        "--limit",
        "24",
        "--output-path",
        &output,
    ]);
    done(&["study", "report", &output]);
    let report = fs::read_to_string(folder.path("out").join("REPORT.md")).expect("a report");
    let header = "| configuration | format | embedded | synthetic:tiny:0 (random weights) |";
    let start = report.find(header).expect("a table of models");
    let table = report[start..].split("\n\n").next().expect("lines");
    assert_eq!(table.lines().count(), 2 + 6, "{table}");
    for line in table.lines().skip(2) {
        assert_eq!(line.matches('±').count(), 2, "{line}");
    }
    let mut findings = report.lines().filter(|line| line.starts_with("- "));
    assert!(findings.all(|line| !line.contains("synthetic")), "{report}");
    assert!(report.contains("synthetic:tiny:0 on embedded: random weights."));
}

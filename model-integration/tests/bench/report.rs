//! `mxlab report`: of records alone.

use super::{short, text};
use std::fs;
use std::path::Path;
use std::process::Command;

/// The report has what records have, the same each time, and stops at a record that it cannot read.
#[test]
fn a_report_is_made_of_records_alone() {
    let folder = tempfile::tempdir().expect("a folder");
    let records = folder.path().join("records");
    fs::create_dir_all(&records).expect("a folder");
    let run = records.join("run.json");
    assert!(short(&run, "table").status.success());
    let report = |to: &str| {
        let to = folder.path().join(to);
        let mut command = Command::new(env!("CARGO_BIN_EXE_mxlab"));
        command.arg("report").arg("--records").arg(&records);
        let output = command.arg("--output-path").arg(&to).output();
        (output.expect("mxlab runs"), to)
    };
    let (output, first) = report("first");
    assert!(output.status.success(), "{}", text(&output.stderr));
    let markdown = fs::read_to_string(first.join("REPORT.md")).expect("a report");
    for part in [
        "## run",
        "cpu_quantize_fp4_e2m1_e8m0_floor_even_ocp_f32_k32__portable",
        "16x64",
        "1 thread",
        "](charts/run-bandwidth.svg)",
    ] {
        assert!(markdown.contains(part), "{part}: {markdown}");
    }
    let chart = |folder: &Path| fs::read(folder.join("charts/run-bandwidth.svg")).expect("a chart");
    let (_, second) = report("second");
    assert_eq!(chart(&first), chart(&second));
    assert_eq!(
        markdown,
        fs::read_to_string(second.join("REPORT.md")).expect("a report")
    );

    fs::write(records.join("cut.json"), "{\"kind\": \"bench\"").expect("writable");
    let (output, third) = report("third");
    assert!(!output.status.success());
    assert!(text(&output.stderr).contains("cut.json"));
    assert!(!third.join("REPORT.md").exists());
    fs::remove_dir_all(&records).expect("removed");
    fs::create_dir_all(&records).expect("a folder");
    assert!(text(&report("fourth").0.stderr).contains("no record"));
}

/// The report that is kept beside the records is theirs.
#[test]
fn the_report_of_the_results_is_that_of_their_records() {
    let results = Path::new(env!("CARGO_MANIFEST_DIR")).join("../results");
    let folder = tempfile::tempdir().expect("a folder");
    let mut command = Command::new(env!("CARGO_BIN_EXE_mxlab"));
    command.arg("report").arg("--records").arg(&results);
    let output = command.arg("--output-path").arg(folder.path()).output();
    let output = output.expect("mxlab runs");
    assert!(output.status.success(), "{}", text(&output.stderr));
    for made in text(&output.stdout).lines() {
        let made = Path::new(made);
        let below = made.strip_prefix(folder.path()).expect("below the folder");
        let kept = fs::read_to_string(results.join(below)).unwrap_or_default();
        let made = fs::read_to_string(made).expect("a file");
        assert!(made == kept, "{}: run `mxlab report`", below.display());
    }
}

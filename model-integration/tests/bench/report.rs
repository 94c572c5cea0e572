//! `mxlab report` of bench records.

use super::{short, text};
use mxlab::record::{self, Record};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The report shows the records, is the same each time, and stops at an unreadable record.
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

/// No kernel is faster than the machine: a time above its roof is a fault of the roof.
#[test]
fn no_committed_time_lies_above_its_roof() {
    let results = Path::new(env!("CARGO_MANIFEST_DIR")).join("../results");
    let mut benches = 0;
    for below in walk(&results) {
        let path = results.join(&below);
        // The report is no record, and what lm-evaluation-harness reads is none.
        if !record::has_name(&path) || below.starts_with("report") {
            continue;
        }
        let Ok(Record::Bench(bench)) = Record::read(&path) else {
            continue;
        };
        benches += 1;
        let roof = bench.roof.as_ref().expect("a roof");
        for measured in roof.measured().chain(&bench.measured) {
            let case = &measured.case;
            let Some(bound) = roof.bound(case) else {
                continue;
            };
            let part = 100.0 * bound.seconds / measured.timing.median();
            assert!(
                part <= 105.0,
                "{}: {} {} lies at {part:.0} % of {}: measure roofs and kernels again",
                below.display(),
                case.kernel,
                case.shape(),
                bound.roof.case.kernel
            );
        }
    }
    assert!(benches > 0);
}

/// The files below a folder, by relative path.
fn walk(folder: &Path) -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("a file").path();
        let name = PathBuf::from(path.file_name().expect("a name"));
        match path.is_dir() {
            true => found.extend(walk(&path).into_iter().map(|below| name.join(below))),
            false => drop(found.insert(name)),
        }
    }
    found
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a folder");
    for entry in fs::read_dir(from).expect("a folder") {
        let path = entry.expect("a file").path();
        let to = to.join(path.file_name().expect("a name"));
        match path.is_dir() {
            true => copy(&path, &to),
            false => drop(fs::copy(&path, &to).expect("copied")),
        }
    }
}

/// The committed report is that of the committed records, and no file of another report remains.
#[test]
fn the_report_of_the_results_is_that_of_their_records() {
    let results = Path::new(env!("CARGO_MANIFEST_DIR")).join("../results");
    let folder = tempfile::tempdir().expect("a folder");
    copy(&results, folder.path());
    let report = folder.path().join("report");
    let kept = || walk(&results.join("report"));
    fs::remove_dir_all(&report).expect("removed");
    let mut command = Command::new(env!("CARGO_BIN_EXE_mxlab"));
    command.arg("report").arg("--records").arg(folder.path());
    let output = command.output().expect("mxlab runs");
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert_eq!(walk(&report), kept(), "run `mxlab report`");
    for below in kept() {
        let made = report.join(&below);
        let kept = fs::read_to_string(results.join("report").join(&below)).expect("a file");
        let made = fs::read_to_string(made).expect("a file");
        assert!(made == kept, "{}: run `mxlab report`", below.display());
    }
}

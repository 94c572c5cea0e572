//! Campaigns on a GPU that faults, hangs or disappears. The CUDA path runs on a stub driver whose
//! launches do nothing, so every kernel is wrong.

use std::fs;
use std::process::Output;
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::kernels::campaign::{findings, journals, stderr, sum, text};
use crate::kernels::{json, stdout};
use crate::stub_driver::StubDriver;

const KERNELS: &str = "quantize_fp4_e2m1_e8m0_*even_ocp_*sm80";
const GUILTY: &str = "quantize_fp4_e2m1_e8m0_floor_even_ocp_bf16_k32_aligned__sm80";

/// The record of a completed campaign, and its output.
fn campaign(driver: &StubDriver, flags: &[&str], variable: (&str, &str)) -> (Value, Output) {
    let folder = tempfile::tempdir().expect("a folder");
    let record = folder.path().join("r.json");
    let output = driver
        .mxlab(&["verify", "--device", "cuda", "--kernel", KERNELS])
        .args(["--workers", "2", "--output-path", text(&record)])
        .args(flags)
        .env(variable.0, variable.1)
        .output()
        .expect("mxlab runs");
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    (json(&record), output)
}

/// The failure of the only crashed kernel.
fn crash(record: &Value) -> String {
    let found = findings(record);
    let crashed: Vec<_> = found.iter().filter(|(_, v, _)| v == "crashed").collect();
    let [(kernel, _, failure)] = &crashed[..] else {
        panic!("{crashed:?}");
    };
    assert_eq!(kernel, GUILTY);
    failure.clone()
}

#[test]
fn a_fault_is_that_of_its_kernel_and_mismatches_are_counted_in_full() {
    let Some(driver) = StubDriver::build("a_fault_is_that_of_its_kernel", &[]) else {
        return;
    };
    let (record, output) = campaign(&driver, &[], ("STUB_FAULT", GUILTY));
    let failure = crash(&record);
    assert!(failure.contains(&format!("`{GUILTY}` failed")), "{failure}");
    assert!(failure.contains("CUDA_ERROR_ILLEGAL_ADDRESS"), "{failure}");
    let total = sum(&record, "kernels");
    assert!(total > 30, "{total} kernels");
    assert_eq!(sum(&record, "wrong"), total - 1);
    assert_eq!(sum(&record, "not_run"), 0);
    assert_eq!(findings(&record).len() as u64, total);
    // The first few are printed, and the number of others.
    let printed = stdout(&output);
    let shown = printed
        .lines()
        .filter(|line| line.contains(" wrong: "))
        .count();
    assert!(shown <= 3, "{printed}");
    let more = format!("and {} more of quantize", total - 3);
    assert!(printed.contains(&more), "{printed}");
}

#[test]
fn a_hang_is_named_after_the_watchdog() {
    let Some(driver) = StubDriver::build("a_hang_is_named", &[]) else {
        return;
    };
    let (record, _) = campaign(&driver, &["--watchdog", "1"], ("STUB_HANG", GUILTY));
    let failure = crash(&record);
    assert!(failure.contains("did not end within 1 s"), "{failure}");
    assert_eq!(sum(&record, "wrong"), sum(&record, "kernels") - 1);
}

#[test]
fn a_gpu_that_goes_away_ends_the_campaign_and_costs_nothing() {
    let Some(driver) = StubDriver::build("a_gpu_that_goes_away", &[]) else {
        return;
    };
    let folder = tempfile::tempdir().expect("a folder");
    let record = folder.path().join("r.json");
    let campaign = driver
        .mxlab(&["verify", "--device", "cuda", "--kernel", KERNELS])
        .args([
            "--workers",
            "1",
            "--watchdog",
            "2",
            "--output-path",
            text(&record),
        ])
        .env("STUB_HANG", GUILTY)
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .expect("mxlab runs");
    // The driver disappears while a kernel hangs.
    let journal = journals(&record).join("worker-0-1.jsonl");
    let begun = Instant::now();
    let under_way = format!("{{\"begun\":{{\"job\":\"{GUILTY}\"");
    while !fs::read_to_string(&journal)
        .unwrap_or_default()
        .contains(&under_way)
    {
        assert!(begun.elapsed() < Duration::from_secs(120));
        sleep(Duration::from_millis(5));
    }
    driver.remove();
    let output = campaign.wait_with_output().expect("it ends");
    let message = stderr(&output);
    assert_eq!(output.status.code(), Some(1), "{message}");
    let errors: Vec<&str> = message
        .lines()
        .filter(|l| l.starts_with("error:"))
        .collect();
    let [error] = errors[..] else {
        panic!("{message}");
    };
    assert!(error.contains("the campaign ended early: "), "{error}");
    assert!(error.contains("no driver library"), "{error}");
    let record = json(&record);
    let failure = crash(&record);
    assert!(failure.contains("did not end within 2 s"), "{failure}");
    assert!(
        record["end"]
            .as_str()
            .expect("a text")
            .starts_with("failed: ")
    );
    assert!(sum(&record, "not_run") > 0, "it was not the last kernel");
}

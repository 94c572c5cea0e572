//! Runs the rows of a chapter on a device.

use mxlab_harness::conformance::{Row, RowVerdict, batches, chapter};
use mxlab_harness::device::{Device, DeviceError};
use not_run::not_run;
use std::io::Write as _;

/// Mismatches that are printed.
const SHOWN: usize = 24;

/// Runs a chapter on the emulator, and on a GPU where there is one.
///
/// # Panics
/// When a result is not what it must be.
pub fn check(name: &str) {
    let rows = chapter(name).expect("a chapter").rows;
    run(name, &rows, &Device::emulator());
    match Device::cuda(0) {
        Ok(device) => run(name, &rows, &device),
        Err(reason) => {
            not_run(
                &format!("conformance of {name}"),
                &format!("a GPU ({reason})"),
            );
        }
    }
}

fn run(name: &str, rows: &[Row], device: &Device) {
    let stream = device.stream().expect("a stream");
    let (mut mismatches, mut compared, mut left_out) = (Vec::new(), 0, 0);
    for (rows, text) in batches(rows) {
        let module = match device.load(name, &text) {
            Ok(module) => module,
            Err(DeviceError::Target { .. }) => {
                left_out += rows.len();
                continue;
            }
            Err(error) => {
                let lines = text
                    .lines()
                    .enumerate()
                    .map(|(i, l)| format!("{:5} {l}\n", i + 1));
                panic!("{error}\n{}", lines.collect::<String>());
            }
        };
        for (i, row) in rows.iter().enumerate() {
            let kernel = module.kernel(&format!("row_{i}")).expect("its own kernel");
            match row.run_kernel(device, &stream, &kernel) {
                Ok(RowVerdict::Equal { compared: results }) => compared += results,
                Ok(verdict) => mismatches.push(format!("{}: {verdict:x?}", row.id())),
                Err(error) => mismatches.push(format!("{}: {error}", row.id())),
            }
        }
    }
    let on = &device.properties().name;
    let summary = format!("{name} on {on}: {} rows, {compared} results", rows.len());
    let _ = writeln!(std::io::stderr(), "{summary}");
    if left_out > 0 {
        not_run(
            &format!("{left_out} rows of {name} on {on}"),
            "a newer chip",
        );
    }
    let shown = &mismatches[..mismatches.len().min(SHOWN)];
    assert!(
        mismatches.is_empty(),
        "{summary}, {} rows differ\n{}",
        mismatches.len(),
        shown.join("\n")
    );
    assert!(compared > 0 || left_out == rows.len(), "{summary}");
}

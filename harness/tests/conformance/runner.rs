//! Runs rows on a device and compares.

use crate::suite::{Expected, OUTPUTS, Row, SCRATCH, module, register_bits};
use mxlab_harness::device::{Argument, Device, DeviceError, Geometry, Stream};
use std::io::Write as _;

/// Kernels of a module.
const BATCH: usize = 128;
/// Mismatches that are printed.
const SHOWN: usize = 24;
/// What results are filled with before.
const FILL: u8 = 0xa5;

/// Runs rows on the emulator, and on a GPU where there is one.
///
/// # Panics
/// When a result is not what it must be.
pub fn check(name: &str, rows: &[Row]) {
    run(name, rows, &Device::emulator());
    match Device::cuda(0) {
        Ok(device) => run(name, rows, &device),
        Err(reason) => {
            let _ = writeln!(std::io::stderr(), "not run: {name} on cuda ({reason})");
        }
    }
}

/// Rows that one module can hold.
pub fn batches(rows: &[Row]) -> impl Iterator<Item = (&[Row], String)> {
    rows.chunk_by(|a, b| a.target == b.target)
        .flat_map(|same| same.chunks(BATCH))
        .map(|rows| {
            let entries = rows.iter().enumerate();
            let entries = entries.map(|(i, row)| row.entry(&format!("row_{i}")));
            (rows, module(rows[0].target, entries))
        })
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
            match results(device, &stream, &kernel, row) {
                Ok(results) => {
                    mismatches.extend(compare(row, &results));
                    compared += row.threads;
                }
                Err(error) => mismatches.push(format!("{}: {error}", row.text)),
            }
        }
    }
    let on = &device.properties().name;
    let summary = format!("{name} on {on}: {} rows, {compared} threads", rows.len());
    let _ = writeln!(std::io::stderr(), "{summary}");
    if left_out > 0 {
        let _ = writeln!(
            std::io::stderr(),
            "not run: {left_out} rows of {name} on {on} (newer target)"
        );
    }
    let shown = &mismatches[..mismatches.len().min(SHOWN)];
    assert!(
        mismatches.is_empty(),
        "{summary}, {} mismatches\n{}",
        mismatches.len(),
        shown.join("\n")
    );
}

fn results(
    device: &Device,
    stream: &Stream,
    kernel: &mxlab_harness::device::Kernel,
    row: &Row,
) -> Result<Vec<u64>, DeviceError> {
    let source = device.upload("inputs", &row.values)?;
    let bytes = 8 * row.threads * row.outputs.len();
    let results = device.upload("results", &vec![FILL; bytes])?;
    let scratch = device.upload("scratch", &vec![0u8; SCRATCH * row.threads])?;
    let geometry = Geometry {
        grid: [(row.threads as u32) / row.block, 1, 1],
        block: [row.block, 1, 1],
        dynamic_shared: 0,
    };
    let arguments = [&results, &source, &scratch].map(Argument::Buffer);
    stream.launch(kernel, geometry, &arguments)?;
    stream.synchronize()?;
    results.download()
}

/// The mismatches of a row, the first few of them.
fn compare(row: &Row, results: &[u64]) -> Vec<String> {
    let mut mismatches = Vec::new();
    for (thread, results) in results.chunks(row.outputs.len()).enumerate() {
        let expected = (row.expected)(thread).0;
        assert_eq!(expected.len(), results.len(), "{}", row.text);
        for (i, (expected, &result)) in expected.iter().zip(results).enumerate() {
            // A predicate is stored as a word.
            let width = match register_bits(&row.outputs[i]) {
                1 => 32,
                bits => bits,
            };
            let mask = u64::MAX >> (64 - width);
            let untouched = result | mask == u64::from_le_bytes([FILL; 8]) | mask;
            let is_right = untouched
                && match expected {
                    Expected::Bits(bits) => bits & mask == result & mask,
                    Expected::Where(_, holds) => holds(result & mask),
                };
            if is_right {
                continue;
            }
            let must = match expected {
                Expected::Bits(bits) => format!("{:#x}", bits & mask),
                Expected::Where(what, _) => what.clone(),
            };
            let count = row.inputs.len();
            let inputs = &row.values[count * thread..count * (thread + 1)];
            mismatches.push(format!(
                "{}: {} of {inputs:x?} in thread {thread} is {:#x}, not {must}",
                row.text,
                OUTPUTS[i],
                result & mask
            ));
            if mismatches.len() == 3 {
                return mismatches;
            }
        }
    }
    mismatches
}

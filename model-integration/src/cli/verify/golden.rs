//! `mxlab verify --golden`: compares every kernel with golden vectors.

use std::path::Path;

use anyhow::{Result, ensure};
use mxlab_harness::device::{Device, DeviceChoice};
use mxlab_kernels::cpu::Isa;
use mxlab_kernels::golden::{Report, verify_dir};

use crate::cli::Done;
use crate::cli::output::print;
use crate::columns::aligned;

/// Compares, and prints elements and mismatches of each path.
pub fn run(golden: &Path, choice: DeviceChoice) -> Result<Done> {
    let device = match choice {
        DeviceChoice::Cpu => None,
        _ => Some(Device::open(choice)?),
    };
    let report = verify_dir(golden, &Isa::available(), device.as_ref())?;
    print(&text(&report, device.as_ref()))?;
    ensure!(
        report.elements() > 0,
        "`{}` holds nothing to compare; expected a folder of golden vectors (`*.safetensors`, \
         `codes.json`)",
        golden.display()
    );
    // Vectors that nothing compared are no success either.
    Ok(
        match report.mismatches() == 0 && report.unknown.is_empty() {
            true => Done::Ok,
            false => Done::WithFindings,
        },
    )
}

fn text(report: &Report, device: Option<&Device>) -> String {
    let row = |section: &mxlab_kernels::golden::Section| {
        vec![
            section.file.clone(),
            section.path.clone(),
            section.engine.to_string(),
            section.tensors.to_string(),
            section.elements.to_string(),
            section.mismatches.to_string(),
        ]
    };
    let rows: Vec<_> = report.sections.iter().map(row).collect();
    let header = [
        "file",
        "path",
        "engine",
        "tensors",
        "elements",
        "mismatches",
    ];
    let mut text = aligned(3, &header, &rows);
    text.push('\n');
    for section in &report.sections {
        if let Some(first) = &section.first_mismatch {
            let place = format!("{} {} {}", section.file, section.path, section.engine);
            text.push_str(&format!("first mismatch of {place}: {first}\n"));
        }
    }
    for unknown in &report.unknown {
        text.push_str(&format!("not verified, of no known layout: {unknown}\n"));
    }
    let missing = Isa::ALL.into_iter().filter(|isa| !isa.is_available());
    for isa in missing {
        text.push_str(&format!("not run: this processor has no {isa}\n"));
    }
    match device {
        Some(device) => text.push_str(&format!("ptx: on {}\n", device.properties().name)),
        None => text.push_str("not run: ptx, on device cpu\n"),
    }
    for format in &report.without_kernel {
        text.push_str(&format!("not run: {format} has no PTX kernel\n"));
    }
    text.push_str(&format!(
        "{} elements compared, {} mismatches\n",
        report.elements(),
        report.mismatches()
    ));
    text
}

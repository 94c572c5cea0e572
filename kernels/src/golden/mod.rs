//! Verification against a folder of golden vectors, through the reference, the CPU kernels and the
//! PTX kernels.
//!
//! A folder holds any of these files. The names of their tensors give the cases, sizes and
//! parameters:
//!
//! - `mx_<element>.safetensors`: `in.<case>.<type>`,
//!   `out.<case>.<T or C><type>.b<k>.s<scale bits>.<nearest, floor, even>`, and
//!   `scale.` and `code.<case>.<type>.b<k>`
//! - `def_<element>_<scale>.safetensors`: the same with `.b<k>.<min or flush>`
//! - `convert.safetensors`: `elem.<element>.{in,rne_sat}`,
//!   `scale.<scale>.{in,rne_sat,rne_nan,floor,ceil}`
//! - `codes.json`: `formats.<name>.{values,rne_boundaries}`
//!
//! Path T is microxcaling's PyTorch code, C its C++ code. [`Report::unknown`] lists what cannot be
//! interpreted.

#![forbid(unsafe_code)]

mod archive;
mod blocks;
mod codes;
mod convert;
mod error;
mod ptx;
mod report;

pub use error::GoldenError;
pub use report::{Engine, Report, Section};

use crate::cpu::Isa;
use archive::Archive;
use mxlab_harness::device::Device;
use ptx::Ptx;
use std::path::{Path, PathBuf};

/// Verifies every file of the folder and its subfolders with the reference, each ISA, and the
/// PTX kernels on `device` if there is one.
///
/// # Errors
/// [`GoldenError`] if the folder or a file in it is unreadable or broken. A mismatch is no error.
///
/// # Panics
/// If an ISA is not available on this CPU.
pub fn verify_dir(
    path: &Path,
    isas: &[Isa],
    device: Option<&Device>,
) -> Result<Report, GoldenError> {
    let mut report = Report::default();
    let ptx = device.map(Ptx::new).transpose();
    let ptx = ptx.map_err(|reason| GoldenError::Device {
        reason: Box::new(reason),
    })?;
    for file in files(path)? {
        let name = file
            .strip_prefix(path)
            .unwrap_or(&file)
            .display()
            .to_string();
        verify_file(&file, &name, isas, ptx.as_ref(), &mut report)?;
    }
    Ok(report)
}

fn verify_file(
    path: &Path,
    name: &str,
    isas: &[Isa],
    ptx: Option<&Ptx>,
    report: &mut Report,
) -> Result<(), GoldenError> {
    let file_name = path
        .file_name()
        .map(|name| name.to_string_lossy().into_owned());
    let file_name = file_name.unwrap_or_default();
    let read = || {
        let error = |reason| GoldenError::Io {
            path: path.to_owned(),
            reason,
        };
        std::fs::read(path).map_err(error)
    };
    if file_name == "codes.json" {
        return codes::verify(name, &read()?, isas, report);
    }
    let stem = file_name.strip_suffix(".safetensors");
    match stem {
        Some("convert") => convert::verify(&Archive::parse(name, &read()?)?, isas, report),
        Some(stem) => match blocks::Subject::of_file(stem) {
            Some(subject) => {
                blocks::verify(&Archive::parse(name, &read()?)?, subject, isas, ptx, report)
            }
            None => unknown(name, report),
        },
        None if file_name.ends_with(".json") => unknown(name, report),
        // Notes, and the programs that made the vectors.
        None => Ok(()),
    }
}

fn unknown(name: &str, report: &mut Report) -> Result<(), GoldenError> {
    report.unknown.push(name.to_owned());
    Ok(())
}

/// Every file under `path`, in the order of names.
fn files(path: &Path) -> Result<Vec<PathBuf>, GoldenError> {
    let error = |reason| GoldenError::Io {
        path: path.to_owned(),
        reason,
    };
    let mut entries = Vec::new();
    for entry in std::fs::read_dir(path).map_err(error)? {
        entries.push(entry.map_err(error)?.path());
    }
    entries.sort();
    let mut found = Vec::new();
    for entry in entries {
        if entry.is_dir() {
            found.extend(files(&entry)?);
        } else {
            found.push(entry);
        }
    }
    Ok(found)
}

//! The golden vectors, through the reference and every instruction set of this CPU.

use mxlab_harness::device::Device;
use mxlab_kernels::cpu::Isa;
use mxlab_kernels::golden::verify_dir;
use not_run::not_run;
use std::path::PathBuf;

/// The folder of golden vectors, if this machine has one.
fn golden_dir() -> Option<PathBuf> {
    let beside_workspace = concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared");
    let shared = std::env::var_os("MXLAB_SHARED").unwrap_or_else(|| beside_workspace.into());
    let dir = PathBuf::from(shared).join("golden");
    dir.is_dir().then_some(dir)
}

#[test]
fn golden_vectors_have_no_mismatch() {
    let Some(dir) = golden_dir() else {
        not_run("golden_vectors_have_no_mismatch", "MXLAB_SHARED");
        return;
    };
    let report = verify_dir(&dir, &Isa::available(), Some(&Device::emulator())).unwrap();
    for section in &report.sections {
        let (tensors, elements) = (section.tensors, section.elements);
        println!(
            "{:34} {:24} {:16} {tensors:4} tensors {elements:9} elements {:6} mismatches {}",
            section.file,
            section.path,
            section.engine.to_string(),
            section.mismatches,
            section.first_mismatch.as_deref().unwrap_or(""),
        );
    }
    println!("unknown: {:?}", report.unknown);
    println!(
        "{} elements, {} mismatches",
        report.elements(),
        report.mismatches()
    );
    assert_eq!(report.mismatches(), 0);
    assert!(report.elements() > 0);
    let is_tensor = |unknown: &&String| unknown.contains(": ");
    assert_eq!(report.unknown.iter().filter(is_tensor).count(), 0);
}

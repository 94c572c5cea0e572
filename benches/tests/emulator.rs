//! Kernels on the emulator, in a GPU's place: opened, recorded as graphs, timed; and refused where they are wrong. What
//! suites have, each once.

use mxlab_benches::gpu::{Gpu, KernelTarget, VendorTarget};
use mxlab_benches::suite::{self, Selection};
use mxlab_benches::{BenchError, Target};
use mxlab_harness::device::Device;
use mxlab_harness::measure::Sampling;
use mxlab_kernels::ptx::{RowOperation, RowVariant};
use mxlab_kernels::registry::{Entry, Shape, Substitute};
use std::rc::Rc;

const SHAPE: Shape = Shape {
    rows: 6,
    cols: 64,
    tokens: None,
};

fn copy() -> RowVariant {
    RowVariant::new(RowOperation::Copy, None).expect("a kernel")
}

fn open_error(target: &dyn Target) -> String {
    match target.open() {
        Ok(_) => String::new(),
        Err(error) => error.to_string(),
    }
}

#[test]
fn a_kernel_that_is_right_is_timed() {
    let gpu = Gpu::new(Device::emulator()).expect("a stream");
    let target = KernelTarget::new(gpu, Rc::new(copy()), SHAPE, 0);
    assert_eq!(target.case().bytes, 2 * 2 * 6 * 64);
    let mut opened = target.open().expect("right");
    let sampling = Sampling {
        warm_up_s: 1e-3,
        sample_s: 1e-3,
        samples: 3,
    };
    let runs = sampling.runs(&mut *opened).expect("runs");
    let round = sampling.round(&mut *opened, runs).expect("runs");
    assert_eq!(round.len(), 3);
    assert!(round.iter().all(|&seconds| seconds > 0.0), "{round:?}");
}

#[test]
fn a_kernel_that_is_wrong_is_not_timed() {
    let gpu = Gpu::new(Device::emulator()).expect("a stream");
    let right = copy().render();
    let is_store = |line: &&str| line.contains("st.global");
    assert!(right.lines().any(|line| is_store(&line)));
    // What it should store is left out.
    let wrong: Vec<&str> = right.lines().filter(|line| !is_store(line)).collect();
    let wrong = wrong.join("\n");
    let entry: Box<dyn Entry> = Box::new(copy());
    let target = KernelTarget::new(gpu, Rc::new(Substitute::new(entry, wrong)), SHAPE, 0);
    let error = open_error(&target);
    assert!(error.starts_with("refused: it differs"), "{error}");
}

#[test]
fn shapes_that_a_kernel_does_not_have_are_errors() {
    let gpu = Gpu::new(Device::emulator()).expect("a stream");
    let shape = Shape { rows: 0, ..SHAPE };
    let target = KernelTarget::new(gpu.clone(), Rc::new(copy()), shape, 0);
    assert_ne!(open_error(&target), "");
    // The emulator has no library of a vendor.
    assert!(!VendorTarget::is_there(&gpu).expect("an answer"));
    let vendor = VendorTarget::new(gpu, [16, 16, 1]);
    assert!(matches!(vendor.open(), Err(BenchError::Shape { .. })));
}

#[test]
fn suites_have_each_case_once() {
    let gpu = Gpu::new(Device::emulator()).expect("a stream");
    let all = Selection {
        kernels: vec![glob::Pattern::new("*").expect("a pattern")],
        ..Selection::default()
    };
    let usual = Selection::default();
    let suites = [
        suite::cpu(&usual),
        suite::cpu(&all),
        suite::gpu(&gpu, &usual).expect("kernels"),
    ];
    for targets in suites {
        assert!(targets.len() > 20);
        let cases = targets.iter().map(|target| target.case());
        let names = cases.map(|case| {
            assert!(case.bytes > 0, "{}", case.kernel);
            format!("{} {}", case.kernel, case.shape())
        });
        let mut names: Vec<String> = names.collect();
        let count = names.len();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), count);
    }
}

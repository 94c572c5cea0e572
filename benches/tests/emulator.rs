//! Kernels on the emulator, in a GPU's place: opened, recorded as graphs, timed; and refused where
//! they are wrong. What suites have, each once.

use mxlab_benches::gpu::{Gpu, KernelTarget, VendorTarget};
use mxlab_benches::run::{Found, Observer};
use mxlab_benches::suite::{self, Selection};
use mxlab_benches::{BenchError, Case, Plan, Target, run};
use mxlab_harness::device::Device;
use mxlab_harness::measure::Sampling;
use mxlab_kernels::family::rows::{RowOperation, RowVariant};
use mxlab_kernels::kernel::Kernel;
use mxlab_kernels::registry::{Entry, Shape, Substitute, kernels};
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
    let right = copy().ptx();
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

/// A kernel with a line of its PTX followed by others.
fn planted(entry: Box<dyn Entry>, line: &str, then: &str) -> Substitute {
    let ptx = entry.ptx();
    assert_eq!(ptx.matches(line).count(), 1, "`{line}` in\n{ptx}");
    let wrong = ptx.replace(line, &format!("{line}\n{then}"));
    Substitute::new(entry, wrong)
}

/// Faults that no small problem shows, in problems that are too large to be recomputed as a whole.
#[test]
fn faults_of_large_problems_alone_are_found_in_the_timed_launch() {
    let named = |id: &str| {
        let entry = kernels().find(|entry| entry.id() == id);
        entry.unwrap_or_else(|| panic!("no kernel {id}"))
    };
    let shape = |rows, cols, tokens| Shape { rows, cols, tokens };
    let cases = [
        // The last row has what the row before has.
        (
            planted(
                Box::new(copy()),
                "ld.param.u64    %rd_src, [src];",
                "setp.eq.u32 %p_is, %r_row, 1099;\n@%p_is sub.u32 %r_row, %r_row, 1;",
            ),
            shape(1100, 1024, None),
        ),
        // Of many tokens the last has x of the one before.
        (
            planted(
                named("matmul_gemv8_fp4_e2m1_e8m0_k32_bf16__sm80"),
                "sub.u32         %r_last, %r_tokens, 1;",
                "setp.ge.u32 %p_is, %r_tokens, 60;\n@%p_is sub.u32 %r_last, %r_last, 1;",
            ),
            shape(40, 512, Some(64)),
        ),
        // Of many keys the last part, whose end is beyond them, sees none.
        (
            planted(
                named("attention_decode_h64_fp4_e2m1_e8m0_k32_fp4_e2m1_e8m0_k32__sm80"),
                "min.u32         %r_end, %r_end, %r_i;",
                "setp.lt.u32 %p_is, %r_last_key, 4000;\n@%p_is bra $planted;\n\
                 setp.gt.u32 %p_is, %r_i, %r_last_key;\n@%p_is mov.b32 %r_end, 0;\n$planted:",
            ),
            shape(4099, 64, None),
        ),
    ];
    let gpu = Gpu::new(Device::emulator()).expect("a stream");
    for (wrong, shape) in cases {
        let id = wrong.id();
        let target = KernelTarget::new(gpu.clone(), Rc::new(wrong), shape, 0);
        let error = open_error(&target);
        let is_of_launch = error.contains("in the launch to be timed");
        assert!(
            error.contains("refused: it differs") && is_of_launch,
            "{id}: {error}"
        );
        let right = KernelTarget::new(gpu.clone(), named(&id).into(), shape, 0);
        assert_eq!(open_error(&right), "", "{id}");
    }
}

#[test]
fn the_roofs_of_a_device_are_timed_alone() {
    let gpu = Gpu::new(Device::emulator()).expect("a stream");
    let roof = gpu.roof(0).expect("kernels");
    let plan = Plan {
        sampling: Sampling {
            warm_up_s: 1e-4,
            sample_s: 1e-4,
            samples: 2,
        },
        rounds: 2,
        energy_s: 0.0,
        memory: 1 << 20,
    };
    let found = run(&[], &roof, &plan, None, &mut Silent).expect("a run");
    assert_eq!(found.refused, []);
    let roof = found.roof.expect("a roof");
    let rounds = roof.measured().map(|measured| measured.timing.rounds.len());
    assert_eq!(
        rounds.collect::<Vec<_>>(),
        [2, 2, 2],
        "copy, product, empty"
    );
    assert!(roof.gap_us().is_some_and(|gap| gap > 0.0));
}

struct Silent;

impl Observer for Silent {
    fn working_on(&mut self, _case: &Case, _round: Option<u32>) {}

    fn done(&mut self, _found: &Found) -> Result<(), BenchError> {
        Ok(())
    }
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
        suite::cpu(&usual).targets,
        suite::cpu(&all).targets,
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

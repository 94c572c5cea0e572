//! Every kernel of the registry on the emulator, with the sanitizer on, against the scalar
//! reference; and that a kernel that is wrong is found, made small, kept and found again.

use mxlab_fuzz::campaign::{Plan, Until, run};
use mxlab_fuzz::regression::Regression;
use mxlab_harness::device::{Device, Stream};
use mxlab_kernels::registry::{Entry, Substitute, kernels, verify};
use std::collections::HashSet;
use std::path::Path;

const PLAN: Plan = Plan {
    seed: 0,
    elements: 600,
    until: Until::Problems(2),
};

fn campaign(entries: &[Box<dyn Entry>], plan: Plan) -> mxlab_fuzz::campaign::Outcome {
    run(entries, plan, || Ok(Device::emulator()), |_| {}).unwrap()
}

#[test]
fn every_kernel_equals_the_reference() {
    let entries: Vec<_> = kernels().collect();
    let outcome = campaign(&entries, PLAN);
    for finding in &outcome.findings {
        println!("{} {:?}: {}", finding.kernel, finding.seed, finding.failure);
    }
    assert!(outcome.findings.is_empty());
    let run: u64 = outcome.families.values().map(|tally| tally.kernels).sum();
    assert_eq!(run, entries.len() as u64);
}

#[test]
fn ids_are_unique_and_name_the_family() {
    let mut ids = HashSet::new();
    for entry in kernels() {
        let id = entry.id();
        assert!(id.starts_with(entry.family()), "{id}");
        assert!(ids.insert(id.clone()), "{id} occurs twice");
    }
}

#[test]
fn every_folder_of_ptx_belongs_to_a_family() {
    let families: HashSet<&str> = kernels().map(|entry| entry.family()).collect();
    let ptx = Path::new(env!("CARGO_MANIFEST_DIR")).join("../kernels/ptx");
    for folder in std::fs::read_dir(ptx).unwrap() {
        let name = folder.unwrap().file_name().into_string().unwrap();
        let is_known = families.contains(name.as_str()) || name == "macros";
        assert!(is_known, "kernels/ptx/{name}: no entry has this family");
    }
}

#[test]
fn what_failed_once_is_right_now() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("regressions");
    let regressions = Regression::read_all(&folder).unwrap();
    assert!(!regressions.is_empty(), "none in {}", folder.display());
    for (path, regression) in regressions {
        let entry = kernels().find(|entry| entry.id() == regression.kernel);
        let entry = entry.unwrap_or_else(|| panic!("{}: no such kernel", path.display()));
        let device = Device::emulator();
        let runner = entry.load(&device, &entry.ptx()).unwrap();
        let stream = device.stream().unwrap();
        let verified = verify(&*entry, &*runner, &stream, &regression.problem);
        assert!(verified.is_ok(), "{}: {verified:?}", path.display());
    }
}

/// A kernel with one line of its PTX changed.
fn broken(id: &str, from: &str, to: &str) -> Box<dyn Entry> {
    let entry = kernels().find(|entry| entry.id() == id);
    let entry = entry.unwrap_or_else(|| panic!("no kernel {id}"));
    let ptx = entry.ptx();
    assert!(ptx.contains(from), "no `{from}` in\n{ptx}");
    Box::new(Substitute::new(entry, ptx.replace(from, to)))
}

const ROUND: &str = "quantize_fp6_e2m3_e8m0_floor_even_ocp_f32_k32_ragged__sm80";

#[test]
fn a_wrong_rounding_is_found_made_small_and_kept() {
    let wrong = broken(ROUND, "add.rn.f32", "add.rz.f32");
    let plan = Plan {
        until: Until::Problems(50),
        ..PLAN
    };
    let outcome = campaign(&[wrong], plan);
    let [finding] = &outcome.findings[..] else {
        panic!("{} findings", outcome.findings.len());
    };
    assert!(
        finding.failure.contains("by the reference"),
        "{}",
        finding.failure
    );
    // One element that is rounded is all it takes.
    let problem = finding.problem.clone().unwrap();
    assert_eq!(problem.sizes["rows"], 1);
    let elements = problem.tensors["src"].values();
    let nonzero = elements
        .iter()
        .filter(|x| !x.is_nan() && **x != 0.0)
        .count();
    assert_eq!(nonzero, 1, "{elements:?}");

    let folder = tempfile::tempdir().unwrap();
    let regression = Regression {
        kernel: finding.kernel.clone(),
        was: finding.failure.clone(),
        problem,
    };
    let first = regression.write(folder.path()).unwrap();
    let second = regression.write(folder.path()).unwrap();
    assert_ne!(first, second);
    assert_eq!(Regression::read(&first).unwrap(), regression);

    // It shows the fault again, and nothing where there is none.
    let wrong = broken(ROUND, "add.rn.f32", "add.rz.f32");
    for (entry, is_right) in [
        (wrong, false),
        (kernels().find(|e| e.id() == ROUND).unwrap(), true),
    ] {
        let device = Device::emulator();
        let runner = entry.load(&device, &entry.ptx()).unwrap();
        let stream: Stream = device.stream().unwrap();
        let verified = verify(&*entry, &*runner, &stream, &regression.problem);
        assert_eq!(verified.is_ok(), is_right);
    }
}

#[test]
fn what_the_sanitizer_stops_is_a_finding_with_its_place() {
    // The bound of the last row goes.
    let wrong = broken(
        ROUND,
        "setp.lt.u32     %p_inbounds",
        "setp.ge.u32     %p_inbounds",
    );
    let outcome = campaign(&[wrong], PLAN);
    let [finding] = &outcome.findings[..] else {
        panic!("{} findings", outcome.findings.len());
    };
    assert!(finding.failure.contains(ROUND), "{}", finding.failure);
}

#[test]
fn a_kernel_that_does_not_load_is_a_finding() {
    let wrong = broken(ROUND, "add.rn.f32", "add.rq.f32");
    let outcome = campaign(&[wrong], PLAN);
    assert_eq!(outcome.findings.len(), 1);
    assert!(
        outcome.findings[0].failure.contains("add.rq.f32"),
        "{:?}",
        outcome.findings
    );
}

#[test]
fn a_campaign_is_the_same_for_the_same_seed() {
    let entries: Vec<_> = kernels().step_by(1999).collect();
    let tally = || campaign(&entries, PLAN).families;
    assert_eq!(tally(), tally());
    let other = campaign(&entries, Plan { seed: 1, ..PLAN }).families;
    assert_ne!(tally(), other);
}

#[test]
fn limits_are_kept() {
    let entries: Vec<_> = kernels().step_by(997).collect();
    let enough = Plan {
        until: Until::Elements(200_000),
        ..PLAN
    };
    for (family, tally) in campaign(&entries, enough).families {
        assert!(tally.elements >= 200_000, "{family}: {}", tally.elements);
    }
}

//! Every kernel of the registry on the emulator, with the sanitizer on, against the scalar
//! reference; and that a kernel that is wrong is found, made small, kept and found again.

use mxlab_fuzz::campaign::{Bench, Job, KernelJob, Outcome, Plan, Until, Verdict, Visit, run};
use mxlab_fuzz::regression::Regression;
use mxlab_harness::device::{Device, EmulatorOptions, Stream};
use mxlab_kernels::family::LIST;
use mxlab_kernels::registry::{Entry, Substitute, kernels, verify};
use std::collections::{BTreeSet, HashSet};
use std::ffi::OsStr;
use std::path::Path;
use std::time::Duration;

const PLAN: Plan = Plan {
    seed: 0,
    elements: 600,
    until: Until::Problems(2),
    time_limit: None,
    watchdog: Duration::from_secs(60),
};

fn jobs(entries: impl IntoIterator<Item = Box<dyn Entry>>) -> Vec<Box<dyn Job>> {
    let job = |entry| Box::new(KernelJob(entry)) as Box<dyn Job>;
    entries.into_iter().map(job).collect()
}

fn campaign(jobs: &[Box<dyn Job>], plan: &Plan) -> Outcome {
    run(jobs, plan, || Ok(Device::emulator())).unwrap()
}

/// The verdict on the only kernel of a campaign, which is not right.
fn verdict_on(entry: Box<dyn Entry>, plan: &Plan) -> Verdict {
    let outcome = campaign(&jobs([entry]), plan);
    let [finding] = &outcome.findings()[..] else {
        panic!("{} findings", outcome.findings().len());
    };
    finding.verdict.clone()
}

#[test]
fn every_kernel_equals_the_reference() {
    let jobs = jobs(kernels());
    let outcome = campaign(&jobs, &PLAN);
    for finding in outcome.findings() {
        println!("{}: {:?}", finding.job, finding.verdict);
    }
    assert!(outcome.findings().is_empty());
    assert_eq!(outcome.total().right, jobs.len() as u64);
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
fn every_folder_of_a_family_is_in_the_list() {
    let folders = Path::new(env!("CARGO_MANIFEST_DIR")).join("../kernels/src/family");
    let folders = std::fs::read_dir(folders).unwrap().map(Result::unwrap);
    let folders = folders.filter(|entry| entry.path().is_dir());
    let mut folders: BTreeSet<_> = folders.map(|entry| entry.file_name()).collect();
    assert!(folders.remove(OsStr::new("macros")));
    let listed: BTreeSet<_> = LIST.iter().map(|family| family.name.into()).collect();
    assert_eq!(folders, listed);
    for family in LIST {
        let members: BTreeSet<_> = (family.kernels)().map(|kernel| kernel.family()).collect();
        assert_eq!(members, family.members.iter().copied().collect());
        let of_folder = |(path, _): &(&str, _)| path.starts_with(&format!("{}/", family.name));
        assert!(family.templates.iter().all(of_folder), "{}", family.name);
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
    let Verdict::Wrong {
        failure,
        problem: Some(problem),
        ..
    } = verdict_on(wrong, &plan)
    else {
        panic!("not wrong, or not made small");
    };
    assert!(failure.contains("by the reference"), "{failure}");
    // One element that is rounded is all it takes.
    assert_eq!(problem.sizes["rows"], 1);
    let elements = problem.tensors["src"].values();
    let nonzero = elements
        .iter()
        .filter(|x| !x.is_nan() && **x != 0.0)
        .count();
    assert_eq!(nonzero, 1, "{elements:?}");

    let folder = tempfile::tempdir().unwrap();
    let regression = Regression {
        kernel: ROUND.to_owned(),
        was: failure,
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
    let Verdict::Wrong { failure, .. } = verdict_on(wrong, &PLAN) else {
        panic!("not wrong");
    };
    assert!(failure.contains(ROUND), "{failure}");
}

/// A device that a fault loses says nothing of smaller problems: none is made up from that.
#[test]
fn a_crash_is_no_mismatch_and_is_not_made_small() {
    let lost_by_faults = EmulatorOptions {
        is_lost_by_faults: true,
        ..EmulatorOptions::default()
    };
    let visit = |entry: Box<dyn Entry>, problems: u32| -> Visit {
        let device = Device::emulator_with(lost_by_faults);
        let stream = device.stream().unwrap();
        KernelJob(entry).visit(&Bench {
            device: &device,
            stream: &stream,
            plan: &Plan {
                until: Until::Problems(problems),
                ..PLAN
            },
            round: 0,
            shrinks: true,
            beat: &|| {},
        })
    };
    let crash = broken(
        ROUND,
        "setp.lt.u32     %p_inbounds",
        "setp.ge.u32     %p_inbounds",
    );
    let Verdict::Crashed { failure, seed } = visit(crash, 2).verdict else {
        panic!("no crash");
    };
    assert!(
        failure.starts_with(&format!("`{ROUND}` failed")),
        "{failure}"
    );
    assert!(seed.is_some());
    // One that is wrong, and crashes on smaller problems: rows are skipped that small ones lack.
    let both = broken(ROUND, "add.rn.f32", "add.rz.f32");
    let text = both.ptx().replace(
        "ld.param.u32    %r_rows, [rows];",
        "ld.param.u32    %r_rows, [rows];\n    .reg .b64 %rd_null;\n    mov.u64 %rd_null, 8;\n    \
         .reg .pred %p_small;\n    setp.eq.u32 %p_small, %r_rows, 1;\n    \
         @%p_small st.global.u32 [%rd_null], %r_rows;",
    );
    assert!(text.contains("%p_small"));
    let entry = kernels().find(|entry| entry.id() == ROUND).unwrap();
    let both = Box::new(Substitute::new(entry, text.clone()));
    let Verdict::Wrong {
        failure, problem, ..
    } = visit(both, 50).verdict
    else {
        panic!("not wrong");
    };
    assert!(failure.contains("by the reference"), "{failure}");
    // What crashed is not the smallest problem.
    assert!(problem.unwrap().sizes["rows"] > 1);
}

#[test]
fn a_kernel_that_does_not_load_is_a_finding() {
    let wrong = broken(ROUND, "add.rn.f32", "add.rq.f32");
    let Verdict::Refused { reason } = verdict_on(wrong, &PLAN) else {
        panic!("not refused");
    };
    assert!(reason.contains("add.rq.f32"), "{reason}");
}

#[test]
fn a_campaign_is_the_same_for_the_same_seed() {
    let jobs = jobs(kernels().step_by(1999));
    let tally = |seed| campaign(&jobs, &Plan { seed, ..PLAN }).families();
    assert_eq!(tally(0), tally(0));
    assert_ne!(tally(0), tally(1));
}

#[test]
fn limits_are_kept() {
    let jobs = jobs(kernels().step_by(997));
    let enough = Plan {
        until: Until::Elements(200_000),
        ..PLAN
    };
    for (family, tally) in campaign(&jobs, &enough).families() {
        assert!(tally.elements >= 200_000, "{family}: {}", tally.elements);
    }
}

//! Planted defects: each must stop the launch with its own diagnosis at its own line.

use ptx_emulator::launch::LaunchError;
use ptx_emulator::report::{Report, Violation};

use crate::launched::{BODY_LINE, Machine, kernel};

/// Runs a body over 64 threads of each of `grid` blocks; it must break a rule.
fn report(body: &str, grid: u32) -> Report {
    let input: Vec<u32> = (0..256).collect();
    let mut machine = Machine::new(256, &input);
    match machine.run_with(&kernel(body), grid, 64, 100_000) {
        Err(LaunchError::Violation(report)) => *report,
        other => panic!("{other:?} for {body}"),
    }
}

/// The report of a body that goes wrong on its line `line` (counted from 0).
fn on_line(body: &str, line: u32, grid: u32) -> Violation {
    let report = report(body, grid);
    assert_eq!(report.position.line, BODY_LINE + line, "{report}\n{body}");
    assert_eq!(report.kernel, "k");
    report.violation
}

const OFFSET: &str =
    "mul.wide.u32 %rd0, %tid, 4; add.u64 %rd1, %in, %rd0; add.u64 %rd2, %out, %rd0;\n";

#[test]
fn out_of_bounds() {
    let body = format!("{OFFSET}ld.global.u32 %r0, [%rd1+1000];");
    let violation = on_line(&body, 1, 1);
    // Lane 6 is the first at or past byte 1024.
    assert!(
        matches!(&violation, Violation::OutOfBounds { bytes: 4, nearest, .. } if nearest.contains("`in`")),
        "{violation}"
    );
    let body = format!("{OFFSET}st.global.u32 [%rd2+-4], %tid;");
    assert!(matches!(
        on_line(&body, 1, 1),
        Violation::OutOfBounds { .. }
    ));
    let body = ".shared .b32 tile[8];\nst.shared.u32 [tile+32], %tid;";
    let violation = on_line(body, 1, 1);
    assert!(
        violation.to_string().contains("shared memory has 32 bytes"),
        "{violation}"
    );
    let body = ".local .b32 own[2];\nst.local.u32 [own+8], %tid;";
    assert!(matches!(on_line(body, 1, 1), Violation::OutOfBounds { .. }));
}

#[test]
fn misaligned() {
    let body = format!("{OFFSET}ld.global.v4.u32 {{%r0, %r1, %r2, %r3}}, [%rd1];");
    let report = report(&body, 1);
    assert_eq!(report.thread.0, [1, 0, 0]);
    assert!(matches!(
        report.violation,
        Violation::Misaligned { bytes: 16, .. }
    ));
    let body = ".shared .b32 tile[8];\nst.shared.u16 [tile+1], %tid;";
    assert!(matches!(
        on_line(body, 1, 1),
        Violation::Misaligned { bytes: 2, .. }
    ));
}

#[test]
fn never_written() {
    let body = format!("{OFFSET}ld.global.u32 %r0, [%rd2];");
    assert!(matches!(
        on_line(&body, 1, 1),
        Violation::UnwrittenMemory { .. }
    ));
    let body = ".shared .b32 tile[8];\nld.shared.u32 %r0, [tile];";
    assert!(matches!(
        on_line(body, 1, 1),
        Violation::UnwrittenMemory { .. }
    ));
    let body = ".local .b32 own[2];\nld.local.u32 %r0, [own];";
    assert!(matches!(
        on_line(body, 1, 1),
        Violation::UnwrittenMemory { .. }
    ));
    let violation = on_line("add.u32 %r0, %r7, 1;", 0, 1);
    assert_eq!(
        violation,
        Violation::UnwrittenRegister {
            register: "%r7".into()
        }
    );
    // Written by some lanes only.
    let body = "setp.lt.u32 %p0, %tid, 5;\n@%p0 mov.u32 %r1, 1;\nadd.u32 %r0, %r1, 1;";
    let report = report(body, 1);
    assert_eq!(report.thread.0, [5, 0, 0]);
    assert_eq!(report.position.line, BODY_LINE + 2);
}

#[test]
fn freed() {
    let input: Vec<u32> = (0..256).collect();
    let mut machine = Machine::new(256, &input);
    machine.memory.free(machine.input).expect("allocated");
    let body = format!("{OFFSET}ld.global.u32 %r0, [%rd1];");
    let error = machine.run(&kernel(&body), 1, 32).expect_err("a violation");
    assert!(
        error.to_string().contains("`in`") && error.to_string().contains("freed"),
        "{error}"
    );
}

#[test]
fn races_in_shared_memory() {
    let start = ".shared .b32 tile[64];\nmov.u32 %r0, tile; mad.lo.u32 %r1, %tid, 4, %r0; xor.b32 %r2, %tid, 33; mad.lo.u32 %r3, %r2, 4, %r0;\n";
    let body = format!("{start}st.shared.u32 [%r1], %tid;\nld.shared.u32 %r4, [%r3];\n");
    let violation = on_line(&body, 3, 1);
    // The other warp has not written yet: it is the missing value that shows first.
    assert!(
        matches!(violation, Violation::UnwrittenMemory { .. }),
        "{violation}"
    );
    let ordered = format!(
        "{start}st.shared.u32 [%r1], %tid;\nbar.sync 0;\nld.shared.u32 %r4, [%r3];\nst.shared.u32 [%r1], %r4;"
    );
    // Warps run one after the other: it is the second that finds the word overwritten.
    assert!(matches!(
        on_line(&ordered, 4, 1),
        Violation::SharedRace { .. }
    ));
    // Within a warp.
    let start = ".shared .b32 tile[64];\nmov.u32 %r0, tile; mad.lo.u32 %r1, %tid, 4, %r0; xor.b32 %r2, %tid, 1; mad.lo.u32 %r3, %r2, 4, %r0;\n";
    let body = format!("{start}st.shared.u32 [%r1], %tid;\nld.shared.u32 %r4, [%r3];");
    let violation = on_line(&body, 3, 1);
    assert!(
        matches!(&violation, Violation::SharedRace { other, .. } if other.position.line == BODY_LINE + 2),
        "{violation}"
    );
    // Two lanes of one store.
    let body = ".shared .b32 tile[1];\nst.shared.u32 [tile], %tid;";
    assert!(matches!(on_line(body, 1, 1), Violation::SharedRace { .. }));
}

#[test]
fn races_between_blocks() {
    let body = format!("{OFFSET}st.global.u32 [%rd2], %tid;");
    let violation = on_line(&body, 1, 2);
    assert!(
        matches!(&violation, Violation::GlobalRace { other, .. } if other.block.is_some()),
        "{violation}"
    );
    let body = format!(
        "{OFFSET}mov.u32 %r0, %ctaid.x;\nsetp.eq.u32 %p0, %r0, 0;\n@%p0 st.global.u32 [%rd1], %tid;\n@!%p0 ld.global.u32 %r1, [%rd1];"
    );
    assert!(matches!(
        report(&body, 2).violation,
        Violation::GlobalRace { .. }
    ));
}

#[test]
fn barriers() {
    let body = "setp.lt.u32 %p0, %tid, 7;\n@%p0 bra SKIP;\nbar.sync 0;\nSKIP: ret;";
    assert!(matches!(
        on_line(body, 2, 1),
        Violation::DivergentBarrier { .. }
    ));
    let body = "setp.lt.u32 %p0, %tid, 32;\n@%p0 bra SKIP;\nbar.sync 0;\nSKIP: ret;";
    assert!(matches!(
        on_line(body, 2, 1),
        Violation::StuckBarrier {
            arrived: 32,
            expected: 64,
            ..
        }
    ));
    let body = "setp.lt.u32 %p0, %tid, 32;\n@%p0 bra OTHER;\nbar.sync 1, 64;\nret;\nOTHER: bar.sync 1, 32;\nbar.sync 1, 96;";
    assert!(matches!(
        report(body, 1).violation,
        Violation::BarrierCount { .. } | Violation::StuckBarrier { .. }
    ));
    let body = "bar.sync 1, 48;";
    assert!(matches!(on_line(body, 0, 1), Violation::Operand(_)));
}

#[test]
fn lane_masks() {
    let body = "setp.lt.u32 %p0, %tid, 16;\n@%p0 shfl.sync.bfly.b32 %r0, %tid, 1, 31, 0xffff0000;";
    assert!(matches!(on_line(body, 1, 1), Violation::LaneMask { .. }));
    // Half of the lanes never come.
    let body = "and.b32 %r1, %tid, 31; setp.lt.u32 %p0, %r1, 16;\n@%p0 shfl.sync.bfly.b32 %r0, %tid, 1, 31, 0xffffffff;";
    assert!(matches!(
        report(body, 1).violation,
        Violation::LaneMask { .. }
    ));
    let body = "and.b32 %r1, %tid, 31; setp.lt.u32 %p0, %r1, 16;\n@%p0 bra HALF;\nret;\nHALF: vote.sync.any.pred %p1, %p0, 0xffffffff;";
    let violation = on_line(body, 3, 1);
    assert!(violation.to_string().contains("exited"), "{violation}");
    // A lane reads one that does not take part.
    let body = "and.b32 %r1, %tid, 31; setp.lt.u32 %p0, %r1, 16;\n@!%p0 ret;\nshfl.sync.bfly.b32 %r0, %tid, 16, 31, 0xffff;";
    assert!(matches!(
        on_line(body, 2, 1),
        Violation::InactiveLane { .. }
    ));
}

#[test]
fn copies_that_were_not_waited_for() {
    let start = ".shared .align 16 .b8 tile[1024];\nmov.u32 %r0, tile; mad.lo.u32 %r1, %tid, 16, %r0; mul.wide.u32 %rd0, %tid, 16; add.u64 %rd1, %in, %rd0;\ncp.async.ca.shared.global [%r1], [%rd1], 16;\n";
    let body = format!("{start}ld.shared.u32 %r2, [%r1];");
    assert!(matches!(
        on_line(&body, 3, 1),
        Violation::PendingCopy { .. }
    ));
    // A wait that leaves the last group under way.
    let body =
        format!("{start}cp.async.commit_group;\ncp.async.wait_group 1;\nld.shared.u32 %r2, [%r1];");
    assert!(matches!(
        on_line(&body, 5, 1),
        Violation::PendingCopy { .. }
    ));
    // Waited for, but only by the thread that copied.
    let body =
        format!("{start}cp.async.wait_all;\nxor.b32 %r3, %r1, 16;\nld.shared.u32 %r2, [%r3];");
    assert!(matches!(on_line(&body, 5, 1), Violation::SharedRace { .. }));
}

#[test]
fn endless_loops_and_traps() {
    assert!(matches!(
        on_line("LOOP: bra LOOP;", 0, 1),
        Violation::Budget(_)
    ));
    assert_eq!(on_line("trap;", 0, 1), Violation::Trap);
}

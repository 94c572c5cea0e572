//! Planted defects, one or more for each rule: each must stop the launch at its own line, block
//! and thread, with its own words.

use crate::machine::launched::{BODY_LINE, Machine, kernel};
use ptx_emulator::launch::LaunchError;
use ptx_emulator::report::Index3;

/// A kernel that breaks a rule. 64 threads a block and a budget of 10,000 instructions; `out` is
/// 256 words that nobody wrote at 0x10000000, `in` 256 words at 0x10001400.
struct Defect {
    rule: &'static str,
    /// The instruction that is wrong stands on the line with `// here`; the other one that a
    /// report names, on that with `// there`, which stands for `THERE` in the message.
    body: &'static str,
    grid: u32,
    block: u32,
    thread: u32,
    message: &'static str,
}

const DEFECTS: &[Defect] = &[
    Defect {
        rule: "a load stays in its allocation",
        body: "add.u64 %rd1, %rd1, 1000;
               ld.global.u32 %r0, [%rd1]; // here",
        grid: 1,
        block: 0,
        // Thread 6 is the first at or past byte 1024.
        thread: 6,
        message: "4 bytes at 0x10001800 are out of bounds; the nearest allocation is `in` (1024 bytes at 0x10001400)",
    },
    Defect {
        rule: "a store stays in its allocation",
        body: "st.global.u32 [%rd1+-4], %tid; // here",
        grid: 1,
        block: 0,
        thread: 0,
        message: "4 bytes at 0x100013fc are out of bounds; the nearest allocation is `out` (1024 bytes at 0x10000000)",
    },
    Defect {
        rule: "shared memory has an end",
        body: ".shared .b32 tile[8];
               mad.lo.u32 %r0, %tid, 4, tile;
               st.shared.u32 [%r0], %tid; // here",
        grid: 1,
        block: 0,
        thread: 8,
        message: "4 bytes at 0x20 are out of bounds; shared memory has 32 bytes",
    },
    Defect {
        rule: "local memory has an end",
        body: ".local .b32 own[2];
               st.local.u32 [own+8], %tid; // here",
        grid: 1,
        block: 0,
        thread: 0,
        message: "4 bytes at 0x8 are out of bounds; local memory has 8 bytes",
    },
    Defect {
        rule: "parameters have an end",
        body: "ld.param.u64 %rd3, [p_n+4]; // here",
        grid: 1,
        block: 0,
        thread: 0,
        message: "0x14 is not a multiple of 8, the size of the access; the parameter block has 20 bytes",
    },
    Defect {
        rule: "addresses are multiples of the size of an access: global",
        body: "ld.global.v4.u32 {%r0, %r1, %r2, %r3}, [%rd1]; // here",
        grid: 1,
        block: 0,
        thread: 1,
        message: "0x10001404 is not a multiple of 16, the size of the access; in `in` (1024 bytes at 0x10001400)",
    },
    Defect {
        rule: "addresses are multiples of the size of an access: shared",
        body: ".shared .b32 tile[8];
               st.shared.u16 [tile+1], %tid; // here",
        grid: 1,
        block: 0,
        thread: 0,
        message: "0x1 is not a multiple of 2, the size of the access; shared memory has 32 bytes",
    },
    Defect {
        rule: "what is read was written: global",
        body: "setp.gt.u32 %p0, %tid, 40;
               @%p0 ld.global.u32 %r0, [%rd2]; // here",
        grid: 1,
        block: 0,
        thread: 41,
        message: "4 bytes at 0x100000a4 were never written; `out` (1024 bytes at 0x10000000)",
    },
    Defect {
        rule: "what is read was written: shared",
        body: ".shared .b32 tile[64];
               mad.lo.u32 %r0, %tid, 4, tile;
               setp.lt.u32 %p0, %tid, 5;
               @%p0 st.shared.u32 [%r0], %tid;
               ld.shared.u32 %r1, [%r0]; // here",
        grid: 1,
        block: 0,
        thread: 5,
        message: "4 bytes at 0x14 were never written; shared memory",
    },
    Defect {
        rule: "what is read was written: a byte of a word",
        body: ".shared .align 4 .b8 tile[64];
               setp.eq.u32 %p0, %tid, 33;
               @%p0 st.shared.u8 [tile], 1;
               bar.sync 0;
               @%p0 ld.shared.u16 %r1, [tile]; // here",
        grid: 1,
        block: 0,
        thread: 33,
        message: "2 bytes at 0x0 were never written; shared memory",
    },
    Defect {
        rule: "what is read was written: local",
        body: ".local .b32 own[2];
               st.local.u32 [own], %tid;
               ld.local.v2.u32 {%r0, %r1}, [own]; // here",
        grid: 1,
        block: 0,
        thread: 0,
        message: "8 bytes at 0x0 were never written; local memory",
    },
    Defect {
        rule: "what is read was written: a register",
        body: "setp.lt.u32 %p0, %tid, 37;
               @%p0 mov.u32 %r1, 1;
               add.u32 %r0, %r1, 1; // here",
        grid: 1,
        block: 0,
        thread: 37,
        message: "register `%r1` was never written",
    },
    Defect {
        rule: "what is read was written: a predicate",
        body: "@!%p3 bra DONE; // here
               DONE: ret;",
        grid: 1,
        block: 0,
        thread: 0,
        message: "register `%p3` was never written",
    },
    Defect {
        rule: "parameters are only read",
        body: "mov.u64 %rd3, p_n;
               cvta.param.u64 %rd3, %rd3;
               st.u32 [%rd3], %tid; // here",
        grid: 1,
        block: 0,
        thread: 0,
        message: "4 bytes at 0x10 cannot be written: kernels only read parameters",
    },
    Defect {
        rule: "constant memory is only read",
        body: ".const .b32 table[2] = {1, 2};
               mov.u64 %rd3, table;
               cvta.const.u64 %rd3, %rd3;
               ld.u32 %r0, [%rd3+4];
               st.u32 [%rd3+4], %r0; // here",
        grid: 1,
        block: 0,
        thread: 0,
        message: "4 bytes at 0x4 cannot be written: kernels only read constant memory",
    },
    Defect {
        rule: "two threads do not write a word: lanes of a store",
        body: ".shared .b32 tile[1];
               st.shared.u32 [tile], %tid; // here there",
        grid: 1,
        block: 0,
        thread: 1,
        message: "race in shared memory at 0x0: Write here, Write by thread (0, 0, 0) at line THERE",
    },
    Defect {
        rule: "two threads do not write a word: warps",
        body: ".shared .b32 tile[32];
               and.b32 %r0, %tid, 31;
               mad.lo.u32 %r1, %r0, 4, tile;
               st.shared.u32 [%r1], %tid; // here there",
        grid: 1,
        block: 0,
        thread: 32,
        message: "race in shared memory at 0x0: Write here, Write by thread (0, 0, 0) at line THERE",
    },
    Defect {
        rule: "a barrier is between a write and a read",
        body: ".shared .b32 tile[64];
               mad.lo.u32 %r0, %tid, 4, tile;
               xor.b32 %r1, %r0, 4;
               st.shared.u32 [%r0], %tid; // there
               ld.shared.u32 %r2, [%r1]; // here",
        grid: 1,
        block: 0,
        thread: 0,
        message: "race in shared memory at 0x4: Read here, Write by thread (1, 0, 0) at line THERE",
    },
    Defect {
        rule: "a barrier is between a read and a write",
        body: ".shared .b32 tile[64];
               mad.lo.u32 %r0, %tid, 4, tile;
               xor.b32 %r1, %r0, 128;
               st.shared.u32 [%r0], %tid;
               bar.sync 0;
               ld.shared.u32 %r2, [%r1]; // here
               st.shared.u32 [%r0], %r2; // there",
        grid: 1,
        block: 0,
        // The warp that comes last to the barrier goes on first.
        thread: 0,
        message: "race in shared memory at 0x80: Read here, Write by thread (32, 0, 0) at line THERE",
    },
    Defect {
        rule: "a warp barrier orders one warp only",
        body: ".shared .b32 tile[64];
               mad.lo.u32 %r0, %tid, 4, tile;
               xor.b32 %r1, %r0, 128;
               st.shared.u32 [%r0], %tid;
               bar.sync 0;
               ld.shared.u32 %r2, [%r1]; // here
               bar.warp.sync 0xffffffff;
               st.shared.u32 [%r0], %r2; // there",
        grid: 1,
        block: 0,
        thread: 0,
        message: "race in shared memory at 0x80: Read here, Write by thread (32, 0, 0) at line THERE",
    },
    Defect {
        rule: "atomic accesses do not order others",
        body: ".shared .b32 tile[1];
               setp.eq.u32 %p0, %tid, 0;
               @%p0 st.shared.u32 [tile], 0;
               bar.sync 0;
               atom.shared.add.u32 %r0, [tile], 1; // there
               @%p0 st.shared.u32 [tile], 7; // here",
        grid: 1,
        block: 0,
        thread: 0,
        message: "race in shared memory at 0x0: Write here, Atomic by thread (31, 0, 0) at line THERE",
    },
    Defect {
        rule: "two blocks do not write a word",
        body: "st.global.u32 [%rd2], %tid; // here there",
        grid: 3,
        block: 1,
        thread: 0,
        message: "race between blocks at 0x10000000 in `out` (1024 bytes at 0x10000000): Write here, Write by block (0, 0, 0), thread (0, 0, 0) at line THERE",
    },
    Defect {
        rule: "no block reads what another writes",
        body: "mov.u32 %r0, %ctaid.x;
               setp.eq.u32 %p0, %r0, 0;
               setp.eq.u32 %p1, %tid, 9;
               @%p0 ld.global.u32 %r1, [%rd1]; // there
               @%p1 bra WRITE;
               ret;
               WRITE: @!%p0 st.global.u32 [%rd1], %tid; // here",
        grid: 2,
        block: 1,
        thread: 9,
        message: "race between blocks at 0x10001424 in `in` (1024 bytes at 0x10001400): Write here, Read by block (0, 0, 0), thread (0, 0, 0) at line THERE",
    },
    Defect {
        rule: "no block changes atomically what another reads",
        body: "mov.u32 %r0, %ctaid.x;
               setp.eq.u32 %p0, %r0, 0;
               @%p0 red.global.add.u32 [%rd1], 1; // there
               @!%p0 ld.global.u32 %r1, [%rd1]; // here",
        grid: 2,
        block: 1,
        thread: 0,
        message: "race between blocks at 0x10001400 in `in` (1024 bytes at 0x10001400): Read here, Atomic by block (0, 0, 0), thread (0, 0, 0) at line THERE",
    },
    Defect {
        rule: "a warp comes to a barrier as a whole",
        body: "setp.lt.u32 %p0, %tid, 7;
               @%p0 bra SKIP;
               bar.sync 0; // here
               SKIP: ret;",
        grid: 1,
        block: 0,
        thread: 7,
        message: "divergent barrier: only lanes 0xffffff80 of 0xffffffff are here",
    },
    Defect {
        rule: "all warps come to a barrier",
        body: "setp.lt.u32 %p0, %tid, 32;
               @%p0 bra SKIP;
               bar.sync 0; // here
               SKIP: ret;",
        grid: 1,
        block: 0,
        thread: 32,
        message: "barrier 0 never completes: 32 of 64 threads arrived, the others have exited",
    },
    Defect {
        rule: "warps wait at the same barrier",
        body: "setp.lt.u32 %p0, %tid, 32;
               @%p0 bra OTHER;
               bar.sync 1; // there
               ret;
               OTHER: bar.sync 2; // here",
        grid: 1,
        block: 0,
        thread: 0,
        message: "barrier 2 never completes: 32 of 64 threads arrived, the others wait at line THERE",
    },
    Defect {
        rule: "warps agree on how many a barrier waits for",
        body: "setp.lt.u32 %p0, %tid, 32;
               @%p0 bra OTHER;
               bar.sync 1, 96; // here
               ret;
               OTHER: bar.sync 1, 64;",
        grid: 1,
        block: 0,
        thread: 32,
        message: "barrier 1 was entered with 64 threads before and 96 here",
    },
    Defect {
        rule: "a barrier waits for whole warps",
        body: "bar.sync 1, 48; // here",
        grid: 1,
        block: 0,
        thread: 0,
        message: "48 threads are no whole number of warps",
    },
    Defect {
        rule: "there are 16 barriers",
        body: "bar.sync 16; // here",
        grid: 1,
        block: 0,
        thread: 0,
        message: "there is no barrier 16",
    },
    Defect {
        rule: "a lane is in its own mask: shfl",
        body: "setp.lt.u32 %p0, %tid, 16;
               @%p0 shfl.sync.bfly.b32 %r0, %tid, 1, 31, 0xffff0000; // here",
        grid: 1,
        block: 0,
        thread: 0,
        message: "lane mask 0xffff0000: lane 0 runs the instruction but is not in it",
    },
    Defect {
        rule: "the lanes of a mask come: shfl",
        body: "and.b32 %r1, %tid, 31;
               setp.lt.u32 %p0, %r1, 16;
               @%p0 bra HALF;
               shfl.sync.bfly.b32 %r0, %tid, 1, 31, 0xffffffff; // here
               ret;
               HALF: shfl.sync.bfly.b32 %r0, %tid, 1, 31, 0xffffffff;",
        grid: 1,
        block: 0,
        thread: 16,
        message: "lane mask 0xffff0000: these lanes wait for others, which never come",
    },
    Defect {
        rule: "the lanes of a mask exist: vote",
        body: "and.b32 %r1, %tid, 31;
               setp.lt.u32 %p0, %r1, 16;
               @!%p0 ret;
               vote.sync.any.pred %p1, %p0, 0xffffffff; // here",
        grid: 1,
        block: 0,
        thread: 0,
        message: "lane mask 0xffffffff: lane 16 has exited or does not exist",
    },
    Defect {
        rule: "lanes agree on their mask: bar.warp.sync",
        body: "setp.eq.u32 %p0, %tid, 35;
               selp.b32 %r0, 0x0fffffff, 0xffffffff, %p0;
               bar.warp.sync %r0; // here",
        grid: 1,
        block: 0,
        thread: 32,
        message: "lane mask 0xffffffff: lane 3 is in it but gives 0x0fffffff",
    },
    Defect {
        rule: "a lane is in its own mask: redux",
        body: "redux.sync.add.u32 %r0, %tid, 0x7fffffff; // here",
        grid: 1,
        block: 0,
        thread: 0,
        message: "lane mask 0x7fffffff: lane 31 runs the instruction but is not in it",
    },
    Defect {
        rule: "a shuffle reads lanes that take part",
        body: "and.b32 %r1, %tid, 31;
               setp.lt.u32 %p0, %r1, 16;
               @!%p0 ret;
               shfl.sync.bfly.b32 %r0, %tid, 16, 31, 0xffff; // here",
        grid: 1,
        block: 0,
        thread: 0,
        message: "shuffle reads lane 16, which is not in the lanes 0x0000ffff that take part",
    },
    Defect {
        rule: "a product of matrices takes a whole warp",
        body: "mov.u32 %r0, 0;
               setp.lt.u32 %p0, %tid, 40;
               @!%p0 ret;
               mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {%f0, %f1, %f2, %f3}, {%r0, %r0}, {%r0}, {0f00000000, 0f00000000, 0f00000000, 0f00000000}; // here",
        grid: 1,
        block: 0,
        thread: 32,
        message: "lane mask 0x000000ff: only these lanes are here, and the instruction needs all 32",
    },
    Defect {
        rule: "a copy is waited for",
        body: ".shared .align 16 .b8 tile[1024];
               mad.lo.u32 %r1, %tid, 4, tile;
               cp.async.ca.shared.global [%r1], [%rd1], 4;
               ld.shared.u32 %r2, [%r1]; // here",
        grid: 1,
        block: 0,
        thread: 0,
        message: "shared memory at 0x0 is the target of a cp.async of thread (0, 0, 0) that was not waited for",
    },
    Defect {
        rule: "a wait is for the right group of copies",
        body: ".shared .align 16 .b8 tile[1024];
               mad.lo.u32 %r1, %tid, 4, tile;
               cp.async.ca.shared.global [%r1], [%rd1], 4;
               cp.async.commit_group;
               cp.async.ca.shared.global [%r1+256], [%rd1], 4;
               cp.async.commit_group;
               cp.async.wait_group 1;
               ld.shared.u32 %r2, [%r1];
               ld.shared.u32 %r2, [%r1+256]; // here",
        grid: 1,
        block: 0,
        thread: 0,
        message: "shared memory at 0x100 is the target of a cp.async of thread (0, 0, 0) that was not waited for",
    },
    Defect {
        rule: "the target of a copy is not overwritten",
        body: ".shared .align 16 .b8 tile[1024];
               mad.lo.u32 %r1, %tid, 4, tile;
               cp.async.ca.shared.global [%r1], [%rd1], 4;
               st.shared.u32 [%r1], %tid; // here",
        grid: 1,
        block: 0,
        thread: 0,
        message: "shared memory at 0x0 is the target of a cp.async of thread (0, 0, 0) that was not waited for",
    },
    Defect {
        rule: "a wait is for the own copies only",
        body: ".shared .align 16 .b8 tile[1024];
               mad.lo.u32 %r1, %tid, 4, tile;
               xor.b32 %r3, %r1, 4;
               cp.async.ca.shared.global [%r1], [%rd1], 4; // there
               cp.async.wait_all;
               ld.shared.u32 %r2, [%r3]; // here",
        grid: 1,
        block: 0,
        thread: 0,
        message: "race in shared memory at 0x4: Read here, Write by thread (1, 0, 0) at line THERE",
    },
    Defect {
        rule: "a copy reads what was written",
        body: ".shared .align 16 .b8 tile[1024];
               mad.lo.u32 %r1, %tid, 4, tile;
               cp.async.ca.shared.global [%r1], [%rd2], 4; // here",
        grid: 1,
        block: 0,
        thread: 0,
        message: "4 bytes at 0x10000000 were never written; `out` (1024 bytes at 0x10000000)",
    },
    Defect {
        rule: "a kernel comes to an end",
        body: "LOOP: bra LOOP; // here",
        grid: 1,
        block: 0,
        thread: 0,
        message: "the block ran 10000 warp instructions, all that the launch may: does it loop for ever?",
    },
    Defect {
        rule: "a trap stops the kernel",
        body: "setp.eq.u32 %p0, %tid, 50;
               @%p0 trap; // here",
        grid: 2,
        block: 0,
        thread: 50,
        message: "trap",
    },
];

const OFFSETS: &str =
    "mul.wide.u32 %rd0, %tid, 4; add.u64 %rd1, %in, %rd0; add.u64 %rd2, %out, %rd0;";

/// Line of the kernel that is the first of a defect's body that bears a mark.
fn marked(body: &str, mark: &str) -> Option<u32> {
    let at = body.lines().position(|line| {
        let comment = line.split_once("//");
        comment.is_some_and(|(_, words)| words.split(' ').any(|word| word == mark))
    })?;
    Some(BODY_LINE + 1 + at as u32)
}

#[test]
fn every_planted_defect_stops_at_its_line_with_its_words() {
    let input: Vec<u32> = (0..256).collect();
    let mut wrong = Vec::new();
    for defect in DEFECTS {
        let mut machine = Machine::new(256, &input);
        let source = kernel(&format!("{OFFSETS}\n{}", defect.body));
        let report = match machine.run_with(&source, defect.grid, 64, 10_000) {
            Err(LaunchError::Violation(report)) => report,
            other => {
                wrong.push(format!("{}: {other:?}", defect.rule));
                continue;
            }
        };
        let there = marked(defect.body, "there");
        let message = report.violation.to_string();
        let message = match there {
            // Reports name the column too.
            Some(line) => message
                .rsplit_once(':')
                .map_or_else(String::new, |(message, _)| {
                    message.replace(&format!("line {line}"), "line THERE")
                }),
            None => message,
        };
        let is_right = report.kernel == "k"
            && Some(report.position.line) == marked(defect.body, "here")
            && report.block == Index3([defect.block, 0, 0])
            && report.thread == Index3([defect.thread, 0, 0])
            && message == defect.message;
        if !is_right {
            wrong.push(format!(
                "{}\n  expected {}\n  got      {report}",
                defect.rule, defect.message
            ));
        }
    }
    assert!(
        wrong.is_empty(),
        "{} of {}:\n{}",
        wrong.len(),
        DEFECTS.len(),
        wrong.join("\n")
    );
}

#[test]
fn freed_memory_is_known_by_its_name() {
    let input: Vec<u32> = (0..256).collect();
    let mut machine = Machine::new(256, &input);
    machine.memory.free(machine.input).expect("allocated");
    let body = format!("{OFFSETS}\nld.global.u32 %r0, [%rd1];");
    let error = machine.run(&kernel(&body), 1, 32).expect_err("a violation");
    assert_eq!(
        error.to_string(),
        format!(
            "k: line {}:1: block (0, 0, 0), thread (0, 0, 0): 4 bytes at 0x10001400 belong to \
             `in` (1024 bytes at 0x10001400), which was freed",
            BODY_LINE + 1
        )
    );
}

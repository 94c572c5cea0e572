//! Programs that must run, with results computed by hand.

use crate::machine::launched::{Machine, kernel};

const OFFSET: &str = "mov.u32 %r31, %ctaid.x; mov.u32 %r30, %ntid.x; mad.lo.u32 %tid, %r31, %r30, %tid; mul.wide.u32 %rd0, %tid, 4; add.u64 %rd1, %in, %rd0; add.u64 %rd2, %out, %rd0;\n";

/// Runs `body` (which leaves a result in `%r0`) for one word each of 128 threads in two blocks.
fn words(body: &str) -> Vec<u32> {
    let input: Vec<u32> = (0..128).map(|i| 1000 + 3 * i).collect();
    let mut machine = Machine::new(128, &input);
    let source = kernel(&format!("{OFFSET}{body}\nst.global.u32 [%rd2], %r0;"));
    machine
        .run(&source, 2, 64)
        .unwrap_or_else(|error| panic!("{error}"));
    machine.output()
}

#[test]
fn each_thread_has_its_own_registers_and_memory() {
    let got = words("ld.global.u32 %r1, [%rd1]; add.u32 %r0, %r1, 7;");
    assert_eq!(got, (0..128).map(|i| 1007 + 3 * i).collect::<Vec<_>>());
    let got = words(".local .b32 own[4];\nst.local.u32 [own+8], %tid; ld.local.u32 %r0, [own+8];");
    assert_eq!(got, (0..128).collect::<Vec<_>>());
}

#[test]
fn a_variable_with_an_offset_is_an_operand() {
    let got = words(
        ".local .b32 own[4];\nst.local.u32 [own+8], %tid; mov.u64 %rd3, own+16-8; \
         ld.local.u32 %r0, [%rd3];",
    );
    assert_eq!(got, (0..128).collect::<Vec<_>>());
}

#[test]
fn lanes_part_and_meet_again() {
    // As many turns as the lane's number says; then all vote together.
    let got = words(
        "mov.u32 %r0, 0; and.b32 %r1, %tid, 31;\n\
         LOOP: setp.eq.u32 %p0, %r1, 0;\n@%p0 bra DONE;\nadd.u32 %r0, %r0, %r1; sub.u32 %r1, %r1, 1;\nbra LOOP;\n\
         DONE: setp.ne.u32 %p1, %r0, 0; vote.sync.ballot.b32 %r2, %p1, 0xffffffff; popc.b32 %r2, %r2; mad.lo.u32 %r0, %r2, 1000, %r0;",
    );
    let sum = |i: u32| (i % 32) * (i % 32 + 1) / 2;
    assert_eq!(got, (0..128).map(|i| 31_000 + sum(i)).collect::<Vec<_>>());
}

#[test]
fn shared_memory_and_barriers() {
    // Reverses each block of 64.
    let got = words(
        ".shared .b32 tile[64];\nmov.u32 %r10, tile; mov.u32 %r11, %tid.x; mad.lo.u32 %r12, %r11, 4, %r10; sub.u32 %r13, 63, %r11; mad.lo.u32 %r13, %r13, 4, %r10;\n\
         st.shared.u32 [%r12], %tid;\nbar.sync 0;\nld.shared.u32 %r0, [%r13];",
    );
    assert_eq!(
        got,
        (0..128)
            .map(|i| i / 64 * 64 + 63 - i % 64)
            .collect::<Vec<_>>()
    );
    // The same through a generic address and cp.async.
    let got = words(
        ".shared .align 4 .b32 tile[64];\nmov.u64 %rd5, tile; cvta.shared.u64 %rd5, %rd5; mov.u32 %r10, tile; mov.u32 %r11, %tid.x; mad.lo.u32 %r12, %r11, 4, %r10; sub.u32 %r13, 63, %r11; mul.wide.u32 %rd6, %r13, 4; add.u64 %rd5, %rd5, %rd6;\n\
         cp.async.ca.shared.global [%r12], [%rd1], 4;\ncp.async.commit_group;\ncp.async.wait_group 0;\nbar.sync 0;\nld.u32 %r0, [%rd5];",
    );
    let value = |i: u32| 1000 + 3 * (i / 64 * 64 + 63 - i % 64);
    assert_eq!(got, (0..128).map(value).collect::<Vec<_>>());
}

#[test]
fn shuffles_in_every_mode() {
    let shuffle = |mode: &str, offset: u32, clamp: u32| {
        words(&format!(
            "shfl.sync.{mode}.b32 %r1|%p0, %tid, {offset}, {clamp}, 0xffffffff; selp.u32 %r2, 1000, 0, %p0; add.u32 %r0, %r1, %r2;"
        ))
    };
    let lane = |i: u32| i % 32;
    let base = |i: u32| i / 32 * 32;
    let expect = |f: &dyn Fn(u32) -> u32| (0..128).map(f).collect::<Vec<u32>>();
    assert_eq!(
        shuffle("bfly", 5, 31),
        expect(&|i| 1000 + base(i) + (lane(i) ^ 5))
    );
    assert_eq!(shuffle("idx", 9, 31), expect(&|i| 1000 + base(i) + 9));
    assert_eq!(
        shuffle("up", 3, 0),
        expect(&|i| match lane(i) {
            0..3 => i,
            _ => 1000 + i - 3,
        })
    );
    assert_eq!(
        shuffle("down", 3, 31),
        expect(&|i| match lane(i) {
            29.. => i,
            _ => 1000 + i + 3,
        })
    );
    // Segments of 8: clamp 31, segment mask 24.
    assert_eq!(
        shuffle("down", 3, 24 << 8 | 31),
        expect(&|i| match i % 8 {
            5.. => i,
            _ => 1000 + i + 3,
        })
    );
    assert_eq!(
        shuffle("idx", 2, 24 << 8 | 31),
        expect(&|i| 1000 + i / 8 * 8 + 2)
    );
}

#[test]
fn votes_matches_and_reductions() {
    let got = words("shr.u32 %r1, %tid, 2; match.any.sync.b32 %r0, %r1, 0xffffffff;");
    assert_eq!(
        got,
        (0..128)
            .map(|i| 0xf << (i % 32 / 4 * 4))
            .collect::<Vec<u32>>()
    );
    let got = words("redux.sync.add.u32 %r0, %tid, 0xffffffff;");
    assert_eq!(
        got,
        (0..128)
            .map(|i| (0..32).map(|j| i / 32 * 32 + j).sum())
            .collect::<Vec<u32>>()
    );
    let got = words("sub.u32 %r1, %tid, 40; redux.sync.min.s32 %r0, %r1, 0xffffffff;");
    assert_eq!(
        got,
        (0..128)
            .map(|i: u32| (i / 32 * 32).wrapping_sub(40))
            .collect::<Vec<u32>>()
    );
    let got = words("activemask.b32 %r0;");
    assert_eq!(got, vec![u32::MAX; 128]);
    // Halves of a warp, each under its own mask.
    let got = words(
        "and.b32 %r1, %tid, 16; setp.eq.u32 %p0, %r1, 0; selp.b32 %r2, 0xffff, 0xffff0000, %p0; redux.sync.max.u32 %r0, %tid, %r2;",
    );
    assert_eq!(
        got,
        (0..128).map(|i| i / 16 * 16 + 15).collect::<Vec<u32>>()
    );
}

#[test]
fn atomics() {
    let input = [0u32; 1];
    let mut machine = Machine::new(1, &input);
    machine.memory.write(machine.out, &[0; 4]).expect("inside");
    let source = kernel("atom.global.add.u32 %r0, [%out], %tid;\nred.global.max.u32 [%out], 5;");
    machine
        .run(&source, 3, 64)
        .unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(machine.output(), [3 * 64 * 63 / 2]);
}

#[test]
fn a_product_of_matrices() {
    // A[i][k] = i + k, B[k][j] = k - j (small integers: exact in bf16), C = 100.
    let source = kernel(
        "mov.u32 %r20, %laneid; shr.u32 %r21, %r20, 2; and.b32 %r22, %r20, 3; shl.b32 %r22, %r22, 1;\n\
         mov.u64 %rd3, %in; mul.wide.u32 %rd4, %r20, 24; add.u64 %rd3, %rd3, %rd4;\n\
         ld.global.v2.u32 {%r1, %r2}, [%rd3]; ld.global.v2.u32 {%r3, %r4}, [%rd3+8]; ld.global.v2.u32 {%r5, %r6}, [%rd3+16];\n\
         mov.f32 %f0, 0f42C80000;\n\
         mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%f1, %f2, %f3, %f4}, {%r1, %r2, %r3, %r4}, {%r5, %r6}, {%f0, %f0, %f0, %f0};\n\
         mul.wide.u32 %rd4, %r20, 16; add.u64 %rd5, %out, %rd4; st.global.v4.f32 [%rd5], {%f1, %f2, %f3, %f4};",
    );
    let bf16 = |value: i32| (value as f32).to_bits() >> 16;
    let pair = |low: i32, high: i32| bf16(low) | bf16(high) << 16;
    let mut input = Vec::new();
    for lane in 0..32 {
        let (g, t) = (lane / 4, lane % 4);
        let a = |row: i32, k: i32| pair(row + k, row + k + 1);
        let b = |k: i32| pair(k - g, k + 1 - g);
        input.extend([
            a(g, 2 * t),
            a(g + 8, 2 * t),
            a(g, 2 * t + 8),
            a(g + 8, 2 * t + 8),
            b(2 * t),
            b(2 * t + 8),
        ]);
    }
    let mut machine = Machine::new(128, &input);
    machine
        .run(&source, 1, 32)
        .unwrap_or_else(|error| panic!("{error}"));
    let output = machine.output();
    for row in 0..16 {
        for column in 0..8 {
            let lane = 4 * (row % 8) + column / 2;
            let register = 2 * (row / 8) + column % 2;
            let dot: i32 = (0..16).map(|k| (row + k) * (k - column)).sum();
            let got = f32::from_bits(output[(4 * lane + register) as usize]);
            assert_eq!(got, (100 + dot) as f32, "row {row}, column {column}");
        }
    }
}

#[test]
fn a_product_is_rounded_once() {
    let product = |ty: &str, registers: [&str; 2], [a, b, c]: [u32; 3]| {
        let source = kernel(&format!(
            "mov.b32 %r1, {a}; mov.b32 %r2, {b}; mov.b32 {c_register}, {c};\n\
             mma.sync.aligned.m16n8k8.row.col.{ty}.f16.f16.{ty} {d}, {{%r1, %r1}}, {{%r2}}, {c_all};\n\
             mul.wide.u32 %rd4, %tid, 4; add.u64 %rd5, %out, %rd4; st.global.b32 [%rd5], {d_register};",
            c_register = if ty == "f16" { "%r3" } else { "%f0" },
            d_register = if ty == "f16" { "%r4" } else { "%f1" },
            d = registers[0],
            c_all = registers[1],
        ));
        let mut machine = Machine::new(32, &[0]);
        machine
            .run(&source, 1, 32)
            .unwrap_or_else(|error| panic!("{error}"));
        machine.output()
    };
    let halves = ["{%r4, %r5}", "{%r3, %r3}"];
    let singles = ["{%f1, %f2, %f3, %f4}", "{%f0, %f0, %f0, %f0}"];
    // Four times 2^-11 / 4 + 2^-20 2^-20, plus 1: above the middle of 1 and the next f16, by less
    // than f32 shows.
    let above = [0x0010_1000, 0x0010_3400, 0x3c00_3c00];
    assert_eq!(product("f16", halves, above), [0x3c01_3c01; 32]);
    // Without 2^-40 it is the middle: ties to even.
    let middle = [0x0000_1000, 0x0010_3400, 0x3c00_3c00];
    assert_eq!(product("f16", halves, middle), [0x3c00_3c00; 32]);
    // NaN is the same whatever it comes from: a NaN with a sign and a payload, infinity times 0.
    for a in [0xfe01_0000, 0x7c00_0000] {
        assert_eq!(product("f16", halves, [a, 0, 0]), [0x7fff_7fff; 32]);
        assert_eq!(product("f32", singles, [a, 0, 0]), [0x7fff_ffff; 32]);
    }
}

#[test]
fn launches_are_deterministic_and_counted() {
    let input: Vec<u32> = (0..4096).collect();
    let source = kernel(&format!(
        "{OFFSET}ld.global.u32 %r1, [%rd1]; add.u32 %r0, %r1, 7;\nst.global.u32 [%rd2], %r0;"
    ));
    let mut machine = Machine::new(4096, &input);
    let first = machine
        .run(&source, 64, 64)
        .unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(first, machine.run(&source, 64, 64).expect("again"));
    assert_eq!(first.global_load_bytes, 4 * 4096);
    assert_eq!(first.global_store_bytes, 4 * 4096);
    assert_eq!(first.global_requests, 2 * 128);
    assert_eq!(first.global_sectors, 2 * 128 * 4);
    assert_eq!(first.warp_instructions(), 128 * first.executed.len() as u64);
}

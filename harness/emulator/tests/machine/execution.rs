//! Properties that conformance does not cover: one rounding of a product, counts, determinism.

use crate::machine::launched::{Machine, kernel};

const OFFSET: &str = "mov.u32 %r31, %ctaid.x; mov.u32 %r30, %ntid.x; \
    mad.lo.u32 %tid, %r31, %r30, %tid; mul.wide.u32 %rd0, %tid, 4; \
    add.u64 %rd1, %in, %rd0; add.u64 %rd2, %out, %rd0;\n";

#[test]
fn a_product_is_rounded_once() {
    let product = |ty: &str, registers: [&str; 2], [a, b, c]: [u32; 3]| {
        let source = kernel(&format!(
            "mov.b32 %r1, {a}; mov.b32 %r2, {b}; mov.b32 {c_register}, {c};\n\
             mma.sync.aligned.m16n8k8.row.col.{ty}.f16.f16.{ty} {d}, \
             {{%r1, %r1}}, {{%r2}}, {c_all};\n\
             mul.wide.u32 %rd4, %tid, 4; add.u64 %rd5, %out, %rd4; \
             st.global.b32 [%rd5], {d_register};",
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

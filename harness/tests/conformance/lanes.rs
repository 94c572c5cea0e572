//! Only active lanes change.

use super::machine::Machine;

#[test]
fn inactive_lanes_keep_their_values() {
    for text in [
        "add.u32 d, a, b",
        "add.u64 d, a, b",
        "add.u16 d, a, b",
        "min.s64 d, a, b",
        "min.s16 d, a, b",
        "add.f32 d, a, b",
        "add.rz.f64 d, a, b",
        "add.f16 d, a, b",
        "add.f16x2 d, a, b",
        "mul.bf16 d, a, b",
        "add.s16x2 d, a, b",
        "add.f32x2 d, a, b",
        "setp.lt.s32 d, a, b",
        "setp.lt.s32 p|d, a, b",
        "setp.lt.f16x2 p|d, a, b",
        "set.lt.u32.s32 d, a, b",
        "xor.pred d, a, b",
        "not.pred d, a",
        "mov.pred d, a",
        "mov.b64 d, {a, b}",
        "mov.b64 {d, p}, a",
        "mov.b32 {p, d}, a",
        "cvt.u64.u32 d, a",
        "cvt.sat.u8.u32 d, a",
        "cvt.rn.f16x2.f32 d, a, b",
        "cvt.rn.satfinite.e2m1x2.f32 d, a, b",
        "add.cc.u32 d, a, b",
        "add.cc.u32 carry, a, b",
        "lop3.and.b32 p|d, a, b, b, 0x3a, p",
    ] {
        // The flag itself is looked at once, under the name that it is given.
        let (text, looked_at) = match text.strip_prefix("add.cc.u32 carry") {
            Some(rest) => (format!("add.cc.u32 d{rest}"), "carry"),
            None => (text.to_string(), "d"),
        };
        for active in [0, 1, 0x8000_0000, 0xaaaa_aaaa, 0x00ff_ff00, u32::MAX] {
            let mut full = Machine::new(&text);
            let mut masked = Machine::new(&text);
            for machine in [&mut full, &mut masked] {
                let names: Vec<String> = machine
                    .names
                    .named
                    .iter()
                    .map(|named| named.0.clone())
                    .collect();
                for (k, name) in names.iter().enumerate() {
                    let value = |i: usize| {
                        (i as u64 + 1 + k as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (k % 7)
                    };
                    machine.write(name, std::array::from_fn(value));
                }
            }
            let before = masked.read(looked_at);
            full.run(u32::MAX);
            masked.run(active);
            for i in 0..32 {
                let from = if active >> i & 1 == 1 {
                    full.read(looked_at)
                } else {
                    before
                };
                assert_eq!(
                    masked.read(looked_at)[i],
                    from[i],
                    "{text} lane {i} of {active:#x}"
                );
            }
        }
    }
}

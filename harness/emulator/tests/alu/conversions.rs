//! `cvt` between integers and `f16`, `bf16`, `f32`, `f64`; moves.

use crate::alu::machine::{Machine, evaluate, evaluate_one};
use crate::alu::oracle::{BF16, F16, F32, F64, MODES, Mode, Random, Shape, TF32, round, split};
use half::{bf16, f16};

type Kind = (&'static str, Shape, fn(f64) -> u64);

const FLOATS: [Kind; 4] = [
    ("f16", F16, |x| f16::from_f64(x).to_bits().into()),
    ("bf16", BF16, |x| bf16::from_f64(x).to_bits().into()),
    ("f32", F32, |x| (x as f32).to_bits().into()),
    ("f64", F64, f64::to_bits),
];

fn samples(random: &mut Random, exponents: std::ops::RangeInclusive<i32>) -> Vec<f64> {
    (0..30_000)
        .map(|_| random.double(exponents.clone()))
        .collect()
}

#[test]
fn narrower_floats_in_every_mode() {
    let mut random = Random(7);
    let mut singles = |exponents| -> Vec<f64> {
        let all = samples(&mut random, exponents);
        all.iter()
            .map(|&x| f64::from(x as f32))
            .filter(|x| x.is_finite())
            .collect()
    };
    let near = singles(-28..=17);
    let singles = singles(-126..=127);
    let doubles = samples(&mut random, -155..=130);
    for (to, shape, code) in FLOATS {
        for (from, values) in [("f32", &singles), ("f32", &near), ("f64", &doubles)] {
            if to == "f64" || from == to {
                continue;
            }
            let rows: Vec<[u64; 1]> = values
                .iter()
                .map(|&x| {
                    [if from == "f32" {
                        (x as f32).to_bits().into()
                    } else {
                        x.to_bits()
                    }]
                })
                .collect();
            for (mode, name) in MODES {
                let results = evaluate(&format!("cvt.{name}.{to}.{from} d, a"), &rows);
                for (&x, &result) in values.iter().zip(&results) {
                    let (n, unit) = split(x);
                    assert_eq!(
                        result,
                        code(round(n, unit, shape, mode)),
                        "{name}.{to}.{from} {x:e}"
                    );
                }
            }
        }
    }
    // Two at once, the first in the upper half; tf32 in the upper bits.
    let rows: Vec<[u64; 2]> = near
        .windows(2)
        .map(|w| [w[0], w[1]].map(|x| (x as f32).to_bits().into()))
        .collect();
    for (to, shape, code) in &FLOATS[..2] {
        for (mode, name) in [(Mode::Rn, "rn"), (Mode::Rz, "rz")] {
            let plain = evaluate(&format!("cvt.{name}.{to}x2.f32 d, a, b"), &rows);
            let relu = evaluate(&format!("cvt.{name}.relu.{to}x2.f32 d, a, b"), &rows);
            let finite = evaluate(&format!("cvt.{name}.satfinite.{to}x2.f32 d, a, b"), &rows);
            for (i, row) in near.windows(2).enumerate() {
                let of = |x: f64, mode| {
                    let (n, unit) = split(x);
                    round(n, unit, *shape, mode)
                };
                let pack = |f: &dyn Fn(f64) -> u64| f(row[0]) << 16 | f(row[1]);
                assert_eq!(plain[i], pack(&|x| code(of(x, mode))));
                assert_eq!(
                    relu[i],
                    pack(&|x| if x < 0.0 { 0 } else { code(of(x, mode)) })
                );
                let largest = of(1e38, Mode::Rz);
                assert_eq!(
                    finite[i],
                    pack(&|x| code(of(x, mode).clamp(-largest, largest)))
                );
            }
        }
    }
    for (mode, name) in [(Mode::Rn, "rn"), (Mode::Rz, "rz"), (Mode::Rna, "rna")] {
        let rows: Vec<[u64; 1]> = singles
            .iter()
            .map(|&x| [(x as f32).to_bits().into()])
            .collect();
        let results = evaluate(&format!("cvt.{name}.tf32.f32 d, a"), &rows);
        for (&x, &result) in singles.iter().zip(&results) {
            let (n, unit) = split(x);
            assert_eq!(
                result,
                u64::from((round(n, unit, TF32, mode) as f32).to_bits())
            );
        }
    }
}

#[test]
fn integers_to_floats_in_every_mode() {
    let mut random = Random(8);
    let values: Vec<u64> = (0..20_000)
        .map(|_| random.bits() >> (random.bits() % 64))
        .collect();
    let rows: Vec<[u64; 1]> = values.iter().map(|&x| [x]).collect();
    for (to, shape, code) in FLOATS {
        for (mode, name) in MODES {
            for (from, read) in [
                ("u64", (|x| x.into()) as fn(u64) -> i128),
                ("s64", |x| (x as i64).into()),
                ("u32", |x| (x as u32).into()),
                ("s32", |x| (x as i32).into()),
                ("s8", |x| (x as i8).into()),
            ] {
                let results = evaluate(&format!("cvt.{name}.{to}.{from} d, a"), &rows);
                for (&x, &result) in values.iter().zip(&results) {
                    let n = read(x);
                    let expected = if n == 0 {
                        0
                    } else {
                        code(round(n, 0, shape, mode))
                    };
                    assert_eq!(result, expected, "cvt.{name}.{to}.{from} {n}");
                }
            }
        }
    }
}

#[test]
fn floats_to_integers_round_and_clamp() {
    let types = [
        ("u8", 0i128, 255i128),
        ("s8", -128, 127),
        ("u16", 0, 65535),
        ("s16", -32768, 32767),
        ("u32", 0, u32::MAX as i128),
        ("s32", i32::MIN as i128, i32::MAX as i128),
        ("u64", 0, u64::MAX as i128),
        ("s64", i64::MIN as i128, i64::MAX as i128),
    ];
    let mut values: Vec<f64> = vec![
        0.0, -0.0, 0.5, -0.5, 1.5, 2.5, -1.5, -2.5, 0.49999997, 1e30, -1e30,
    ];
    for (_, low, high) in types {
        for edge in [low as f64, high as f64] {
            values.extend([edge - 1.0, edge - 0.5, edge, edge + 0.5, edge + 1.0]);
        }
    }
    for (ty, low, high) in types {
        for (mode, _) in MODES {
            let name = match mode {
                Mode::Rn => "rni",
                Mode::Rz => "rzi",
                Mode::Rm => "rmi",
                _ => "rpi",
            };
            for &x in &values {
                // All values are multiples of 2^-26.
                let scaled = (x * 2f64.powi(26)) as i128;
                let (floor, rest) = (scaled.div_euclid(1 << 26), scaled.rem_euclid(1 << 26));
                let up = match mode {
                    Mode::Rm => false,
                    Mode::Rp => rest > 0,
                    Mode::Rz => rest > 0 && scaled < 0,
                    _ => rest > 1 << 25 || rest == 1 << 25 && floor % 2 != 0,
                };
                let n = (floor + i128::from(up)).clamp(low, high);
                let bits = (n & (high - low)) as u64;
                let text = format!("cvt.{name}.{ty}.f64 d, a");
                assert_eq!(evaluate_one(&text, [x.to_bits()]), bits, "{text} {x}");
                let single = x as f32;
                if f64::from(single) == x {
                    let text = format!("cvt.{name}.{ty}.f32 d, a");
                    assert_eq!(
                        evaluate_one(&text, [single.to_bits().into()]),
                        bits,
                        "{text} {x}"
                    );
                }
            }
        }
        // NaN: zero, or the top bit alone from f64 and to 64 bits.
        let top = if ty.ends_with('8') {
            0x80
        } else if ty.ends_with("16") {
            0x8000
        } else if ty.ends_with("32") {
            1 << 31
        } else {
            1 << 63
        };
        let nan = u64::from(f32::NAN.to_bits());
        let expected = if ty.ends_with("64") { top } else { 0 };
        assert_eq!(
            evaluate_one(&format!("cvt.rni.{ty}.f32 d, a"), [nan]),
            expected
        );
        assert_eq!(
            evaluate_one(&format!("cvt.rni.{ty}.f64 d, a"), [f64::NAN.to_bits()]),
            top
        );
    }
    let f = |x: f32| u64::from(x.to_bits());
    assert_eq!(evaluate_one("cvt.rni.f32.f32 d, a", [f(2.5)]), f(2.0));
    assert_eq!(evaluate_one("cvt.rpi.f32.f32 d, a", [f(-0.5)]), f(-0.0));
    assert_eq!(evaluate_one("cvt.rpi.ftz.s32.f32 d, a", [1]), 0);
    assert_eq!(evaluate_one("cvt.rpi.s32.f32 d, a", [1]), 1);
    assert_eq!(evaluate_one("cvt.rn.sat.f32.s32 d, a", [7]), f(1.0));
    assert_eq!(evaluate_one("cvt.sat.f32.f32 d, a", [f(f32::NAN)]), 0);
    assert_eq!(
        evaluate_one("cvt.f32.f16 d, a", [0x3c01]),
        f(1.0 + 1.0 / 1024.0)
    );
    assert_eq!(evaluate_one("cvt.ftz.f32.f16 d, a", [1]), f(2f32.powi(-24)));
}

#[test]
fn integers_are_chopped_extended_and_clamped() {
    for (text, input, output) in [
        ("cvt.u32.u8 d, a", 0x1_ff, 0xff),
        ("cvt.s32.s8 d, a", 0x80, 0xffff_ff80),
        ("cvt.s64.s32 d, a", 0x8000_0000, 0xffff_ffff_8000_0000),
        ("cvt.u64.u32 d, a", 0x8000_0000, 0x8000_0000),
        ("cvt.u64.s32 d, a", 0x8000_0000, 0xffff_ffff_8000_0000),
        ("cvt.u16.u64 d, a", 0x1234_5678, 0x5678),
        ("cvt.sat.u8.s32 d, a", 0xffff_fff0, 0),
        ("cvt.sat.s8.s32 d, a", 300, 127),
        ("cvt.sat.s8.s32 d, a", 0xffff_0000, 0x80),
        ("cvt.sat.s32.u32 d, a", 0xffff_ffff, 0x7fff_ffff),
        ("cvt.sat.u64.s64 d, a", u64::MAX, 0),
    ] {
        assert_eq!(evaluate_one(text, [input]), output, "{text}");
    }
    // Results in wider registers are extended; sources are the low bits of wider ones.
    for (text, destination, source, input, output) in [
        ("cvt.s8.s32 d_32, a", "d_32", "a", 0x80, 0xffff_ff80),
        ("cvt.s8.s32 d_16, a", "d_16", "a", 0x80, 0xff80),
        ("cvt.u8.u32 d_64, a", "d_64", "a", 0x1ff, 0xff),
        (
            "cvt.s16.s32 d_64, a",
            "d_64",
            "a",
            0x8000,
            0xffff_ffff_ffff_8000,
        ),
        ("cvt.u32.u16 d, a_64", "d", "a_64", 0x1_2345, 0x2345),
        ("cvt.rn.f32.s8 d, a_64", "d", "a_64", 0x1ff, 0xbf80_0000),
        ("cvt.rn.f16.f32 d_32, a", "d_32", "a", 0xbf80_0000, 0xbc00),
    ] {
        let mut machine = Machine::new(text);
        machine.write(source, [input; 32]);
        machine.run(u32::MAX);
        assert_eq!(machine.read(destination)[3], output, "{text}");
    }
}

#[test]
fn moves_pack_the_first_part_lowest() {
    assert_eq!(
        evaluate_one("mov.b32 d, {a, b}", [0x1234, 0xabcd]),
        0xabcd_1234
    );
    assert_eq!(evaluate_one("mov.b64 d, {a, b}", [1, 2]), 0x2_0000_0001);
    assert_eq!(
        evaluate_one("mov.b64 d, {a, b, c, e}", [1, 2, 3, 4]),
        0x0004_0003_0002_0001
    );
    assert_eq!(
        evaluate_one("mov.b32 d, {a, b, c, e}", [1, 2, 3, 4]),
        0x0403_0201
    );
    let mut machine = Machine::new("mov.b64 {_, d}, a");
    machine.write("a", [0x1234_5678_9abc_def0; 32]);
    machine.run(u32::MAX);
    assert_eq!(machine.read("d")[31], 0x1234_5678);
    assert_eq!(evaluate_one("mov.pred d, a", [1]), 1);
}

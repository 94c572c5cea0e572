//! `f16` and `bf16` arithmetic rounds once.

use crate::alu::machine::{evaluate, evaluate_one};
use crate::alu::oracle::{BF16, F16, Mode, Random, Shape, round, split, sum};
use half::{bf16, f16};

/// Name, format, value of a code, code of a value.
type Kind = (&'static str, Shape, fn(u16) -> f64, fn(f64) -> u16);

const KINDS: [Kind; 2] = [
    (
        "f16",
        F16,
        |x| f16::from_bits(x).to_f64(),
        |x| f16::from_f64(x).to_bits(),
    ),
    (
        "bf16",
        BF16,
        |x| bf16::from_bits(x).to_f64(),
        |x| bf16::from_f64(x).to_bits(),
    ),
];

/// The result that arithmetic on finite numbers must have; `None` where it is zero.
fn expected(kind: Kind, exact: (i128, i32)) -> Option<u64> {
    let (n, unit) = exact;
    (n != 0).then(|| u64::from(kind.3(round(n, unit, kind.1, Mode::Rn))))
}

#[test]
fn every_operand_of_sum_product_and_fma() {
    for kind in KINDS {
        let (name, shape, value, _) = kind;
        let mut random = Random(5);
        let mut rows = Vec::new();
        for a in 0..=u16::MAX {
            let x = value(a);
            for _ in 0..if x.is_finite() { 6 } else { 0 } {
                // Near `a` in magnitude, so that the exact sums fit; any for f16.
                let mut near = |around: f64| loop {
                    let code = random.bits() as u16;
                    let y = value(code);
                    let exponents = [around, y].map(|v| split(v).1);
                    if y.is_finite() && exponents[0].abs_diff(exponents[1]) < 80 {
                        return (code, y);
                    }
                };
                let (b, y) = near(x);
                let is_near_range = (2f64.powi(-150)..2f64.powi(130)).contains(&(x * y).abs());
                let c = if is_near_range { near(x * y).0 } else { 0 };
                rows.push([a, b, c].map(u64::from));
            }
        }
        let part = |x: u64| split(value(x as u16));
        let add = evaluate(&format!("add.{name} d, a, b"), &pairs(&rows));
        let sub = evaluate(&format!("sub.rn.{name} d, a, b"), &pairs(&rows));
        let mul = evaluate(&format!("mul.{name} d, a, b"), &pairs(&rows));
        let fma = evaluate(&format!("fma.rn.{name} d, a, b, c"), &rows);
        let rectified = evaluate(&format!("fma.rn.relu.{name} d, a, b, c"), &rows);
        let sign = |code: u64| code & 0x8000 != 0;
        for (i, row) in rows.iter().enumerate() {
            let [a, b, c] = row.map(part);
            let product = (a.0 * b.0, a.1 + b.1);
            let check = |result: u64, exact| {
                if let Some(expected) = expected(kind, exact) {
                    assert_eq!(result, expected, "{name} {row:x?}");
                } else {
                    assert_eq!(result & 0x7fff, 0, "{name} {row:x?}");
                }
            };
            check(add[i], sum(a, b));
            check(sub[i], sum(a, (-b.0, b.1)));
            check(mul[i], product);
            check(fma[i], sum(product, c));
            assert_eq!(rectified[i], if sign(fma[i]) { 0 } else { fma[i] });
        }
        assert!(rows.len() > 300_000, "{shape:?}");
    }
}

fn pairs(rows: &[[u64; 3]]) -> Vec<[u64; 2]> {
    rows.iter().map(|row| [row[0], row[1]]).collect()
}

#[test]
fn packed_halves_are_two_scalars() {
    let mut random = Random(6);
    let rows: Vec<[u64; 3]> = (0..20_000)
        .map(|_| [0; 3].map(|_| random.bits() & 0xffff_ffff))
        .collect();
    for (operation, operands) in [
        ("add", 2),
        ("sub", 2),
        ("mul", 2),
        ("fma.rn", 3),
        ("fma.rn.relu", 3),
        ("min", 2),
        ("max", 2),
        ("max.NaN", 2),
        ("min.xorsign.abs", 2),
        ("add.sat", 2),
        ("fma.rn.ftz", 3),
        ("neg", 1),
        ("abs", 1),
        ("tanh.approx", 1),
    ] {
        for ty in ["f16", "bf16"] {
            if ty == "bf16" && (operation.contains("sat") || operation.contains("ftz")) {
                continue;
            }
            let list = ["d, a", "d, a, b", "d, a, b, c"][operands - 1];
            let run = |ty: &str, shift: u32, mask: u64| -> Vec<u64> {
                let text = format!("{operation}.{ty} {list}");
                let at = |x: u64| x >> shift & mask;
                match operands {
                    1 => evaluate(&text, &rows.iter().map(|r| [at(r[0])]).collect::<Vec<_>>()),
                    2 => evaluate(
                        &text,
                        &rows
                            .iter()
                            .map(|r| [at(r[0]), at(r[1])])
                            .collect::<Vec<_>>(),
                    ),
                    _ => evaluate(&text, &rows.iter().map(|r| r.map(at)).collect::<Vec<_>>()),
                }
            };
            let packed = run(&format!("{ty}x2"), 0, 0xffff_ffff);
            let (low, high) = (run(ty, 0, 0xffff), run(ty, 16, 0xffff));
            for i in 0..rows.len() {
                assert_eq!(
                    packed[i],
                    high[i] << 16 | low[i],
                    "{operation}.{ty}x2 {:x?}",
                    rows[i]
                );
            }
        }
    }
}

#[test]
fn half_special_values() {
    let one = |text: &str, a: u64, b: u64| evaluate_one(text, [a, b]);
    // 65504 + 16 is the first sum that rounds to infinity.
    assert_eq!(one("add.f16 d, a, b", 0x7bff, 0x4c00), 0x7c00);
    assert_eq!(one("add.f16 d, a, b", 0x7bff, 0x4bff), 0x7bff);
    assert_eq!(one("add.f16 d, a, b", 0x7c00, 0xfc00), 0x7fff);
    assert_eq!(one("add.bf16 d, a, b", 0x7f80, 0xff80), 0x7fff);
    assert_eq!(one("add.sat.f16 d, a, b", 0x3c00, 0x3c00), 0x3c00);
    assert_eq!(one("add.ftz.f16 d, a, b", 0x8001, 0x8001), 0x8000);
    assert_eq!(one("mul.ftz.f16 d, a, b", 0x0400, 0x3800), 0);
    assert_eq!(one("mul.f16 d, a, b", 0x0400, 0x3800), 0x0200);
    assert_eq!(one("max.NaN.bf16 d, a, b", 0x3f80, 0x7fc0), 0x7fff);
    assert_eq!(one("max.bf16 d, a, b", 0x3f80, 0x7fc0), 0x3f80);
    assert_eq!(one("min.f16 d, a, b", 0x0000, 0x8000), 0x8000);
    assert_eq!(
        evaluate_one("fma.rn.relu.f16 d, a, b, c", [0x7e00, 0, 0]),
        0x7fff
    );
}

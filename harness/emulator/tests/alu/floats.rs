//! Arithmetic on `f32` and `f64` in all rounding modes, against integers.

use crate::alu::machine::{evaluate, evaluate_one};
use crate::alu::oracle::{F32, F64, MODES, Mode, Random, Shape, round, split, sum};

const CASES: usize = 20_000;

fn bits(x: f64, shape: Shape) -> u64 {
    if shape.mantissa == 23 {
        u64::from((x as f32).to_bits())
    } else {
        x.to_bits()
    }
}

fn value(bits: u64, shape: Shape) -> f64 {
    if shape.mantissa == 23 {
        f64::from(f32::from_bits(bits as u32))
    } else {
        f64::from_bits(bits)
    }
}

/// Compares an instruction with the rounded exact value, where that is not zero.
fn check<const N: usize>(
    name: &str,
    shape: Shape,
    rows: &[[u64; N]],
    exact: impl Fn([(i128, i32); N]) -> (i128, i32),
) {
    let ty = if shape.mantissa == 23 { "f32" } else { "f64" };
    let operands = ["d, a, b", "d, a, b, c"][N - 2];
    for (mode, modifier) in MODES {
        let text = format!("{name}.{modifier}.{ty} {operands}");
        let results = evaluate(&text, rows);
        for (row, &result) in rows.iter().zip(&results) {
            let (n, unit) = exact(row.map(|bits| split(value(bits, shape))));
            if n != 0 {
                let expected = bits(round(n, unit, shape, mode), shape);
                assert_eq!(result, expected, "{text} of {:x?}", row);
            } else if name != "mul" {
                // A sum of opposites is +0, and -0 when rounding down.
                let all_zero = row.iter().all(|&x| value(x, shape) == 0.0);
                assert!(all_zero || value(result, shape).is_sign_negative() == (mode == Mode::Rm));
            }
        }
    }
}

#[test]
fn f32_rounds_once_in_every_mode() {
    let mut random = Random(1);
    let mut rows = |exponents: std::ops::RangeInclusive<i32>| {
        (0..CASES)
            .map(|_| [0; 3].map(|_| u64::from(random.single(exponents.clone()).to_bits())))
            .collect::<Vec<[u64; 3]>>()
    };
    let near = rows(-12..=12);
    let pairs = |rows: &[[u64; 3]]| rows.iter().map(|r| [r[0], r[1]]).collect::<Vec<_>>();
    check("add", F32, &pairs(&near), |[a, b]| sum(a, b));
    check("sub", F32, &pairs(&near), |[a, b]| sum(a, (-b.0, b.1)));
    check("fma", F32, &near, |[a, b, c]| {
        sum((a.0 * b.0, a.1 + b.1), c)
    });
    check("mad", F32, &near, |[a, b, c]| {
        sum((a.0 * b.0, a.1 + b.1), c)
    });
    // Products from deep underflow to overflow.
    let far = rows(-127..=127);
    check("mul", F32, &pairs(&far), |[a, b]| (a.0 * b.0, a.1 + b.1));
    // Sums that are subnormal, and that overflow.
    check("add", F32, &pairs(&rows(-127..=-110)), |[a, b]| sum(a, b));
    check("add", F32, &pairs(&rows(120..=127)), |[a, b]| sum(a, b));
    let (small, subnormal) = (rows(-75..=-62), rows(-127..=-115));
    let mixed: Vec<_> = small
        .iter()
        .zip(&subnormal)
        .map(|(x, y)| [x[0], x[1], y[2]])
        .collect();
    check("fma", F32, &mixed, |[a, b, c]| {
        sum((a.0 * b.0, a.1 + b.1), c)
    });
}

#[test]
fn f64_rounds_once_in_every_mode() {
    let mut random = Random(2);
    let mut rows = |exponents: std::ops::RangeInclusive<i32>| {
        (0..CASES)
            .map(|_| [0; 3].map(|_| random.double(exponents.clone()).to_bits()))
            .collect::<Vec<[u64; 3]>>()
    };
    let pairs = |rows: &[[u64; 3]]| rows.iter().map(|r| [r[0], r[1]]).collect::<Vec<_>>();
    check("add", F64, &pairs(&rows(-30..=30)), |[a, b]| sum(a, b));
    check("sub", F64, &pairs(&rows(-30..=30)), |[a, b]| {
        sum(a, (-b.0, b.1))
    });
    check("mul", F64, &pairs(&rows(-1023..=1023)), |[a, b]| {
        (a.0 * b.0, a.1 + b.1)
    });
    check("mul", F64, &pairs(&rows(-540..=-500)), |[a, b]| {
        (a.0 * b.0, a.1 + b.1)
    });
    check("fma", F64, &rows(-4..=4), |[a, b, c]| {
        sum((a.0 * b.0, a.1 + b.1), c)
    });
}

/// A quotient and a root are bracketed by exact products of `f32` in `f64`.
#[test]
fn f32_division_and_root_are_bracketed() {
    let mut random = Random(3);
    let rows: Vec<[u64; 2]> = (0..CASES)
        .map(|_| [0; 2].map(|_| u64::from(random.single(-60..=60).to_bits())))
        .collect();
    let single = |bits: u64| f32::from_bits(bits as u32);
    let down = evaluate("div.rm.f32 d, a, b", &rows);
    let up = evaluate("div.rp.f32 d, a, b", &rows);
    let zero = evaluate("div.rz.f32 d, a, b", &rows);
    let nearest = evaluate("div.rn.f32 d, a, b", &rows);
    for (i, row) in rows.iter().enumerate() {
        let [a, b] = row.map(|bits| f64::from(single(bits)));
        let [down, up, zero, nearest] = [&down, &up, &zero, &nearest].map(|r| single(r[i]));
        let (low, high) = (f64::from(down) * b.abs(), f64::from(up) * b.abs());
        let a = a * b.signum();
        assert!(
            low <= a && a <= high && (low == a || up == down.next_up()),
            "{row:x?}"
        );
        assert_eq!(zero, if a < 0.0 { up } else { down });
        assert_eq!(nearest, single(row[0]) / single(row[1]));
    }
    let rows: Vec<[u64; 1]> = rows.iter().map(|r| [r[0] & 0x7fff_ffff]).collect();
    let down = evaluate("sqrt.rm.f32 d, a", &rows);
    let up = evaluate("sqrt.rp.f32 d, a", &rows);
    let reciprocal = evaluate("rcp.rm.f32 d, a", &rows);
    for (i, row) in rows.iter().enumerate() {
        let a = f64::from(single(row[0]));
        let [low, high] = [single(down[i]), single(up[i])];
        let squares = [low, high].map(|x| f64::from(x) * f64::from(x));
        assert!(squares[0] <= a && a <= squares[1]);
        assert!(squares[0] == a || high == low.next_up());
        let low = f64::from(single(reciprocal[i])) * a;
        let next = f64::from(single(reciprocal[i]).next_up()) * a;
        assert!(low <= 1.0 && 1.0 < next);
    }
}

#[test]
fn special_values() {
    let f = |x: f32| u64::from(x.to_bits());
    let nan = 0x7fff_ffff;
    let one = |text: &str, a: f32, b: f32| evaluate_one(text, [f(a), f(b)]);
    let tiny = f32::from_bits(1);
    for (_, mode) in MODES {
        assert_eq!(
            one(
                &format!("add.{mode}.f32 d, a, b"),
                f32::INFINITY,
                -f32::INFINITY
            ),
            nan
        );
        assert_eq!(
            one(&format!("mul.{mode}.f32 d, a, b"), f32::INFINITY, 0.0),
            nan
        );
        assert_eq!(
            one(&format!("mul.{mode}.ftz.f32 d, a, b"), -tiny, 2.0),
            f(-0.0)
        );
        assert_eq!(
            one(&format!("div.{mode}.f32 d, a, b"), -1.0, 0.0),
            f(-f32::INFINITY)
        );
        assert_eq!(
            one(&format!("add.{mode}.sat.f32 d, a, b"), f32::NAN, 0.0),
            0
        );
        assert_eq!(
            one(&format!("add.{mode}.sat.f32 d, a, b"), 1.0, 0.5),
            f(1.0)
        );
        assert_eq!(one(&format!("add.{mode}.sat.f32 d, a, b"), -1.0, 0.5), 0);
    }
    // The product is subnormal and goes to zero with its sign.
    assert_eq!(one("mul.ftz.f32 d, a, b", -f32::MIN_POSITIVE, 0.5), f(-0.0));
    assert_eq!(
        one("mul.f32 d, a, b", -f32::MIN_POSITIVE, 0.5),
        f(-f32::MIN_POSITIVE / 2.0)
    );

    assert_eq!(one("min.f32 d, a, b", f32::NAN, 3.0), f(3.0));
    assert_eq!(one("max.f32 d, a, b", 3.0, f32::NAN), f(3.0));
    assert_eq!(one("max.f32 d, a, b", f32::NAN, f32::NAN), nan);
    assert_eq!(one("max.NaN.f32 d, a, b", 3.0, f32::NAN), nan);
    assert_eq!(one("min.f32 d, a, b", 0.0, -0.0), f(-0.0));
    assert_eq!(one("max.f32 d, a, b", -0.0, 0.0), f(0.0));
    assert_eq!(one("max.ftz.f32 d, a, b", tiny, -1.0), f(0.0));
    assert_eq!(one("max.xorsign.abs.f32 d, a, b", -5.0, 2.0), f(-5.0));
    assert_eq!(one("min.xorsign.abs.f32 d, a, b", -5.0, -2.0), f(2.0));
    assert_eq!(one("copysign.f32 d, a, b", -1.0, 7.0), f(-7.0));
    assert_eq!(evaluate_one("neg.f32 d, a", [f(0.0)]), f(-0.0));
    assert_eq!(evaluate_one("abs.ftz.f32 d, a", [f(-tiny)]), 0);

    let test = |property: &str, x: f32| evaluate_one(&format!("testp.{property}.f32 d, a"), [f(x)]);
    for (x, expected) in [
        // finite, infinite, number, notanumber, normal, subnormal
        (1.0, [1, 0, 1, 0, 1, 0]),
        (-0.0, [1, 0, 1, 0, 1, 0]),
        (tiny, [1, 0, 1, 0, 0, 1]),
        (f32::INFINITY, [0, 1, 1, 0, 0, 0]),
        (f32::NAN, [0, 0, 0, 1, 0, 0]),
    ] {
        let properties = [
            "finite",
            "infinite",
            "number",
            "notanumber",
            "normal",
            "subnormal",
        ];
        assert_eq!(
            properties.map(|property| test(property, x)),
            expected,
            "{x}"
        );
    }
    let pair = |low: f32, high: f32| f(high) << 32 | f(low);
    let row = [pair(1.5, -2.0), pair(2.0, 4.0), pair(0.25, 1.0)];
    assert_eq!(
        evaluate_one("fma.rn.f32x2 d, a, b, c", row),
        pair(3.25, -7.0)
    );
}

#[test]
fn approximations_are_close() {
    let mut random = Random(4);
    let rows: Vec<[u64; 1]> = (0..CASES)
        .map(|_| [u64::from(random.single(-20..=6).to_bits() & 0x7fff_ffff)])
        .collect();
    // Identities that do not need the function itself.
    let of = |text: &str| -> Vec<f64> {
        let results = evaluate(text, &rows);
        results
            .iter()
            .map(|&bits| f64::from(f32::from_bits(bits as u32)))
            .collect()
    };
    let (sine, cosine) = (of("sin.approx.f32 d, a"), of("cos.approx.f32 d, a"));
    let (power, tangent) = (of("ex2.approx.f32 d, a"), of("tanh.approx.f32 d, a"));
    let (root, inverse) = (of("rsqrt.approx.f32 d, a"), of("rcp.approx.f32 d, a"));
    let logarithm = of("lg2.approx.f32 d, a");
    for (i, row) in rows.iter().enumerate() {
        let x = f64::from(f32::from_bits(row[0] as u32));
        assert!((sine[i] * sine[i] + cosine[i] * cosine[i] - 1.0).abs() < 2e-7);
        assert!((inverse[i] * x - 1.0).abs() < 1e-7);
        assert!((root[i] * root[i] * x - 1.0).abs() < 2e-7);
        if x < 60.0 {
            assert!(
                (power[i].ln() - x * std::f64::consts::LN_2).abs() < 1e-7,
                "{x}"
            );
        }
        assert!((logarithm[i].exp2() / x - 1.0).abs() < 2e-6, "{x}");
        let grown = (2.0 * x).exp();
        if x > 0.01 && x < 5.0 {
            assert!((tangent[i] - (grown - 1.0) / (grown + 1.0)).abs() < 1e-7);
        }
    }
    let f = |x: f32| u64::from(x.to_bits());
    assert_eq!(
        evaluate_one("ex2.approx.f32 d, a", [f(f32::NEG_INFINITY)]),
        0
    );
    assert_eq!(evaluate_one("ex2.approx.f32 d, a", [f(-127.0)]), 1 << 22);
    assert_eq!(evaluate_one("ex2.approx.ftz.f32 d, a", [f(-127.0)]), 0);
    assert_eq!(evaluate_one("lg2.approx.f32 d, a", [f(-1.0)]), 0x7fff_ffff);
    assert_eq!(
        evaluate_one("rsqrt.approx.f32 d, a", [f(-0.0)]),
        f(f32::NEG_INFINITY)
    );
    assert_eq!(
        evaluate_one("div.approx.f32 d, a, b", [f(1e38), f(2e38)]),
        0
    );
    assert_eq!(
        evaluate_one("div.full.f32 d, a, b", [f(1e38), f(2e38)]),
        f(0.5)
    );
    assert_eq!(
        evaluate_one("ex2.approx.f16x2 d, a", [0x4000_bc00]),
        0x4400_3800
    );
}

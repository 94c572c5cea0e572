//! The formats of tensor cores: every code against the value that its definition gives, and
//! rounding against a search of the nearest value.

use crate::alu::machine::evaluate;
use half::f16;

/// Name, exponent bits, mantissa bits.
const FORMATS: [(&str, u32, u32); 5] = [
    ("e4m3", 4, 3),
    ("e5m2", 5, 2),
    ("e2m3", 2, 3),
    ("e3m2", 3, 2),
    ("e2m1", 2, 1),
];

/// The value of a code; `None` for NaN.
fn value(name: &str, exponent_bits: u32, mantissa_bits: u32, code: u32) -> Option<f64> {
    let sign = if code >> (exponent_bits + mantissa_bits) & 1 == 1 {
        -1.0
    } else {
        1.0
    };
    let exponent = (code >> mantissa_bits & ((1 << exponent_bits) - 1)) as i32;
    let mantissa = f64::from(code & ((1 << mantissa_bits) - 1)) / f64::from(1 << mantissa_bits);
    let bias = (1 << (exponent_bits - 1)) - 1;
    match name {
        "e4m3" if code & 0x7f == 0x7f => return None,
        "e5m2" if code & 0x7f == 0x7c => return Some(sign * f64::INFINITY),
        "e5m2" if code & 0x7f > 0x7c => return None,
        _ => {}
    }
    Some(
        sign * if exponent == 0 {
            mantissa * 2f64.powi(1 - bias)
        } else {
            (1.0 + mantissa) * 2f64.powi(exponent - bias)
        },
    )
}

/// The nearest code to a magnitude, an even one of two.
fn nearest(table: &[(u32, f64)], x: f64) -> u32 {
    let distance = |v: f64| (v - x).abs();
    let best = table
        .iter()
        .min_by(|a, b| {
            distance(a.1)
                .total_cmp(&distance(b.1))
                .then_with(|| (a.0 & 1).cmp(&(b.0 & 1)))
        })
        .expect("codes");
    best.0
}

#[test]
fn every_code_and_every_rounding() {
    for (name, exponent_bits, mantissa_bits) in FORMATS {
        let bits = 1 + exponent_bits + mantissa_bits;
        let codes = 0..1u32 << bits;
        let place = if bits == 4 { 4 } else { 8 };

        // Codes to f16, in both places.
        let rows: Vec<[u64; 1]> = codes
            .clone()
            .map(|code| [u64::from(code << place | (codes.end - 1 - code))])
            .collect();
        let results = evaluate(&format!("cvt.rn.f16x2.{name}x2 d, a"), &rows);
        let relu = evaluate(&format!("cvt.rn.relu.f16x2.{name}x2 d, a"), &rows);
        for code in codes.clone() {
            let half = |code| match value(name, exponent_bits, mantissa_bits, code) {
                None => 0x7fff,
                Some(v) => f16::from_f64(v).to_bits().into(),
            };
            let expected = half(code) << 16 | half(codes.end - 1 - code);
            assert_eq!(results[code as usize], expected, "{name} {code:#x}");
            let clamp = |h: u64| if h >> 15 == 1 { 0 } else { h };
            assert_eq!(
                relu[code as usize],
                clamp(expected >> 16) << 16 | clamp(expected & 0xffff)
            );
        }

        // Numbers to codes: around all codes and the points between them.
        let table: Vec<(u32, f64)> = (0..1 << (bits - 1))
            .filter_map(|code| Some((code, value(name, exponent_bits, mantissa_bits, code)?)))
            .filter(|entry| entry.1.is_finite())
            .collect();
        let mut values = vec![
            0f32,
            f32::MIN_POSITIVE,
            f32::from_bits(1),
            1e9,
            f32::MAX,
            f32::INFINITY,
        ];
        for pair in table.windows(2) {
            let (a, b) = (pair[0].1 as f32, pair[1].1 as f32);
            for x in [a, b, (a + b) / 2.0, a + (b - a) / 4.0, a + (b - a) * 0.75] {
                values.extend([x, x.next_up(), x.next_down()]);
            }
        }
        let (_, largest) = table[table.len() - 1];
        values.extend([largest as f32 * 1.01, largest as f32 * 2.0]);
        let sign = 1 << (bits - 1);
        let code = |x: f32| {
            nearest(&table, f64::from(x).abs().min(largest))
                | if x.is_sign_negative() { sign } else { 0 }
        };
        let rows: Vec<[u64; 2]> = values
            .iter()
            .map(|&x| [u64::from(x.to_bits()), u64::from((-x).to_bits())])
            .collect();
        let results = evaluate(&format!("cvt.rn.satfinite.{name}x2.f32 d, a, b"), &rows);
        let relu = evaluate(
            &format!("cvt.rn.satfinite.relu.{name}x2.f32 d, a, b"),
            &rows,
        );
        for (i, &x) in values.iter().enumerate() {
            let [upper, lower] = [x, -x].map(code);
            assert_eq!(
                results[i],
                u64::from(upper << place | lower),
                "{name} {x:e}"
            );
            let (upper, lower) = if x.is_sign_negative() {
                (0, lower)
            } else {
                (upper, 0)
            };
            assert_eq!(relu[i], u64::from(upper << place | lower), "{name} {x:e}");
        }
        let nan = if bits == 8 { 0x7f } else { sign - 1 };
        let results = evaluate(
            &format!("cvt.rn.satfinite.{name}x2.f32 d, a, b"),
            &[[u64::from((-f32::NAN).to_bits()), 0]],
        );
        assert_eq!(results[0], u64::from(nan << place));

        if bits == 8 {
            let rows: Vec<[u64; 1]> = (0..=0xffff).map(|h| [h << 16 | (h ^ 0x8000)]).collect();
            let results = evaluate(&format!("cvt.rn.satfinite.{name}x2.f16x2 d, a"), &rows);
            for h in 0..=0xffffu16 {
                let of = |h: u16| {
                    let x = f16::from_bits(h).to_f32();
                    if x.is_nan() { 0x7f } else { code(x) }
                };
                let expected = of(h) << 8 | of(h ^ 0x8000);
                assert_eq!(
                    results[usize::from(h)],
                    u64::from(expected),
                    "{name} {h:#x}"
                );
            }
        }
    }
}

#[test]
fn scales_are_powers_of_two() {
    // Codes to bf16.
    let rows: Vec<[u64; 1]> = (0..256).map(|code| [code << 8 | (255 - code)]).collect();
    let results = evaluate("cvt.rn.bf16x2.ue8m0x2 d, a", &rows);
    let power = |code: i32| 2f64.powi(code - 127);
    for code in 0..256 {
        let half = |code: i32| {
            if code == 255 {
                0x7fff
            } else {
                u64::from(half::bf16::from_f64(power(code)).to_bits())
            }
        };
        assert_eq!(results[code as usize], half(code) << 16 | half(255 - code));
    }
    // Numbers to codes: around each power.
    let mut values = vec![
        0f32,
        f32::from_bits(1),
        f32::MAX,
        f32::MIN_POSITIVE.next_down(),
    ];
    for code in 0..255 {
        let x = power(code) as f32;
        values.extend([x, x.next_up(), x.next_down(), x * 1.5]);
    }
    values.retain(|x| x.is_finite());
    for name in ["rz", "rp"] {
        let code = |x: f32| -> u64 {
            let x = f64::from(x);
            let fits = |code: &i32| {
                if name == "rz" {
                    power(*code) <= x
                } else {
                    power(*code) >= x
                }
            };
            let found = if name == "rz" {
                (0..255).rev().find(fits)
            } else {
                (0..255).find(fits)
            };
            found.map_or(if name == "rz" { 0 } else { 254 }, |code| code as u64)
        };
        let rows: Vec<[u64; 2]> = values
            .iter()
            .map(|&x| [u64::from(x.to_bits()), u64::from(f32::INFINITY.to_bits())])
            .collect();
        let results = evaluate(&format!("cvt.{name}.satfinite.ue8m0x2.f32 d, a, b"), &rows);
        for (&x, &result) in values.iter().zip(&results) {
            assert_eq!(result, code(x) << 8 | 254, "{name} {x:e}");
        }
        let rows: Vec<[u64; 1]> = (0..=0x7f7f).map(|b| [b << 16 | 0x7fc0]).collect();
        let results = evaluate(&format!("cvt.{name}.satfinite.ue8m0x2.bf16x2 d, a"), &rows);
        for (b, &result) in results.iter().enumerate() {
            let x = f32::from_bits((b as u32) << 16);
            assert_eq!(result, code(x) << 8 | 255, "{name} {x:e}");
        }
    }
}

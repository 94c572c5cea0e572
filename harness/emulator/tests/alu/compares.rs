//! Comparison and selection.

use crate::alu::machine::{Machine, evaluate_one};
use std::cmp::Ordering::{self, Equal, Greater, Less};

/// What an operator says of an ordering, `None` being unordered.
fn holds(operator: &str, ordering: Option<Ordering>) -> bool {
    let (operator, if_unordered) = match operator {
        "num" => return ordering.is_some(),
        "nan" => return ordering.is_none(),
        "lo" => ("lt", false),
        "ls" => ("le", false),
        "hi" => ("gt", false),
        "hs" => ("ge", false),
        other => (&other[..2], other.len() == 3),
    };
    let Some(ordering) = ordering else {
        return if_unordered;
    };
    match operator {
        "eq" => ordering == Equal,
        "ne" => ordering != Equal,
        "lt" => ordering == Less,
        "le" => ordering != Greater,
        "gt" => ordering == Greater,
        _ => ordering != Less,
    }
}

const ORDERED: [&str; 6] = ["eq", "ne", "lt", "le", "gt", "ge"];
const UNSIGNED: [&str; 4] = ["lo", "ls", "hi", "hs"];
const UNORDERED: [&str; 8] = ["equ", "neu", "ltu", "leu", "gtu", "geu", "num", "nan"];

#[test]
fn every_operator_of_every_type() {
    let integers: [u64; 6] = [0, 1, 0x7fff, 0x8000, 0xffff, 0xfffe];
    for a in integers {
        for b in integers {
            let signed = (a as i16).cmp(&(b as i16));
            for operator in ORDERED {
                let u = evaluate_one(&format!("setp.{operator}.u16 d, a, b"), [a, b]);
                assert_eq!(u == 1, holds(operator, Some(a.cmp(&b))));
                let s = evaluate_one(&format!("setp.{operator}.s16 d, a, b"), [a, b]);
                assert_eq!(s == 1, holds(operator, Some(signed)));
                // The same at the top of wider types.
                let at = |x: u64, width: u32| x << (width - 16);
                for width in [32, 64] {
                    let row = [at(a, width), at(b, width)];
                    let u = evaluate_one(&format!("setp.{operator}.u{width} d, a, b"), row);
                    assert_eq!(u == 1, holds(operator, Some(a.cmp(&b))));
                    let s = evaluate_one(&format!("setp.{operator}.s{width} d, a, b"), row);
                    assert_eq!(s == 1, holds(operator, Some(signed)));
                }
            }
            for operator in UNSIGNED {
                let d = evaluate_one(&format!("setp.{operator}.u16 d, a, b"), [a, b]);
                assert_eq!(d == 1, holds(operator, Some(a.cmp(&b))));
            }
        }
    }
    let floats = [
        0.0f32,
        -0.0,
        1.0,
        -2.0,
        f32::INFINITY,
        f32::NEG_INFINITY,
        f32::NAN,
    ];
    for a in floats {
        for b in floats {
            for operator in ORDERED.into_iter().chain(UNORDERED) {
                let expected = u64::from(holds(operator, a.partial_cmp(&b)));
                let row = [a, b].map(|x| u64::from(x.to_bits()));
                let one =
                    |ty: &str, row| evaluate_one(&format!("setp.{operator}.{ty} d, a, b"), row);
                assert_eq!(one("f32", row), expected, "{a} {operator} {b}");
                assert_eq!(one("f64", [a, b].map(|x| f64::from(x).to_bits())), expected);
                assert_eq!(one("bf16", row.map(|x| x >> 16)), expected);
                let halves = [a, b].map(|x| u64::from(half::f16::from_f32(x).to_bits()));
                assert_eq!(one("f16", halves), expected);
                let set = evaluate_one(&format!("set.{operator}.u32.f32 d, a, b"), row);
                assert_eq!(set, expected * 0xffff_ffff);
                let set = evaluate_one(&format!("set.{operator}.f32.f32 d, a, b"), row);
                assert_eq!(set, expected * u64::from(1f32.to_bits()));
            }
        }
    }
}

#[test]
fn outcomes_are_combined_with_a_predicate() {
    for (operation, f) in [
        ("and", (|t, c| t & c) as fn(u64, u64) -> u64),
        ("or", |t, c| t | c),
        ("xor", |t, c| t ^ c),
    ] {
        for (a, c) in [(1, 0), (1, 1), (9, 0), (9, 1)] {
            for (not, seen) in [("", c), ("!", 1 - c)] {
                let text = format!("setp.lt.{operation}.s32 d|q, a, b, {not}c");
                let mut machine = Machine::new(&text);
                for (name, value) in [("a", a), ("b", 5), ("c", c)] {
                    machine.write(name, [value; 32]);
                }
                machine.run(u32::MAX);
                let t = u64::from(a < 5);
                assert_eq!(machine.read("d")[7], f(t, seen), "{text}");
                assert_eq!(machine.read("q")[7], f(1 - t, seen), "{text}");
            }
        }
    }
    let mut machine = Machine::new("setp.lt.f16x2 d|q, a, b");
    machine.write("a", [0x3c00_4000; 32]);
    machine.write("b", [0x4000_3c00; 32]);
    machine.run(u32::MAX);
    assert_eq!((machine.read("d")[0], machine.read("q")[0]), (0, 1));
    let d = evaluate_one("set.lt.f16x2.f16x2 d, a, b", [0x3c00_4000, 0x4000_3c00]);
    assert_eq!(d, 0x3c00_0000);
    // `lop3` with a predicate: whether the result is not zero.
    let mut machine = Machine::new("lop3.or.b32 d|p, a, b, c, 0x80, !q");
    for (name, value) in [("a", 6), ("b", 3), ("c", 2), ("q", 1)] {
        machine.write(name, [value; 32]);
    }
    machine.run(u32::MAX);
    assert_eq!((machine.read("d")[0], machine.read("p")[0]), (2, 1));
}

#[test]
fn flushing_and_selection() {
    let tiny = 1;
    assert_eq!(evaluate_one("setp.gt.f32 d, a, b", [tiny, 0]), 1);
    assert_eq!(evaluate_one("setp.gt.ftz.f32 d, a, b", [tiny, 0]), 0);
    assert_eq!(evaluate_one("setp.gt.ftz.f16 d, a, b", [tiny, 0]), 0);
    assert_eq!(evaluate_one("selp.b32 d, a, b, c", [7, 8, 1]), 7);
    assert_eq!(evaluate_one("selp.f64 d, a, b, c", [7, 8, 0]), 8);
    assert_eq!(
        evaluate_one("slct.u64.s32 d, a, b, c", [7, 8, 0xffff_ffff]),
        8
    );
    assert_eq!(evaluate_one("slct.b16.s32 d, a, b, c", [7, 8, 0]), 7);
    let f = |x: f32| u64::from(x.to_bits());
    assert_eq!(evaluate_one("slct.f32.f32 d, a, b, c", [7, 8, f(-0.0)]), 7);
    assert_eq!(
        evaluate_one("slct.f32.f32 d, a, b, c", [7, 8, f(f32::NAN)]),
        8
    );
    assert_eq!(
        evaluate_one("slct.f32.f32 d, a, b, c", [7, 8, 0x8000_0001]),
        8
    );
    assert_eq!(
        evaluate_one("slct.ftz.f32.f32 d, a, b, c", [7, 8, 0x8000_0001]),
        7
    );
}

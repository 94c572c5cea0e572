//! Integer arithmetic against 128-bit arithmetic.

use crate::alu::machine::{Machine, evaluate_one};
use proptest::prelude::*;

const TYPES: [(&str, u32, bool); 6] = [
    ("u16", 16, false),
    ("u32", 32, false),
    ("u64", 64, false),
    ("s16", 16, true),
    ("s32", 32, true),
    ("s64", 64, true),
];

/// The bits of a number in a width.
fn wrap(x: i128, width: u32) -> u64 {
    (x & ((1 << width) - 1)) as u64
}

/// The number that bits stand for.
fn number(bits: u64, width: u32, is_signed: bool) -> i128 {
    let x = i128::from(bits) & ((1 << width) - 1);
    if is_signed && x >> (width - 1) == 1 {
        x - (1 << width)
    } else {
        x
    }
}

fn operand() -> impl Strategy<Value = u64> {
    prop_oneof![
        any::<u64>(),
        0..4u64,
        Just(u64::MAX),
        (0..64u32).prop_map(|i| 1 << i),
        (0..64u32).prop_map(|i| (1 << i) - 1),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]

    #[test]
    fn arithmetic(a in operand(), b in operand(), c in operand()) {
        for (ty, width, is_signed) in TYPES {
            let [x, y, z] = [a, b, c].map(|bits| number(bits, width, is_signed));
            let row = [wrap(x, width), wrap(y, width), wrap(z, width)];
            let one = |head: &str| evaluate_one(&format!("{head}.{ty} d, a"), [row[0]]);
            let two = |head: &str| evaluate_one(&format!("{head}.{ty} d, a, b"), [row[0], row[1]]);
            let three = |head: &str| evaluate_one(&format!("{head}.{ty} d, a, b, c"), row);
            // The product of u64 needs all 128 bits.
            let product = (x as u128).wrapping_mul(y as u128);
            let high = if is_signed { ((product as i128) >> width) as u128 } else { product >> width };
            let low = wrap(product as i128 & i128::from(u64::MAX), width);
            let high = wrap(high as i128 & i128::from(u64::MAX), width);
            prop_assert_eq!(two("add"), wrap(x + y, width));
            prop_assert_eq!(two("sub"), wrap(x - y, width));
            prop_assert_eq!(two("mul.lo"), low);
            prop_assert_eq!(two("mul.hi"), high);
            prop_assert_eq!(three("mad.lo"), wrap(i128::from(low) + z, width));
            prop_assert_eq!(three("mad.hi"), wrap(i128::from(high) + z, width));
            prop_assert_eq!(three("sad"), wrap(z + (x - y).abs(), width));
            prop_assert_eq!(two("min"), wrap(x.min(y), width));
            prop_assert_eq!(two("max"), wrap(x.max(y), width));
            if y != 0 {
                prop_assert_eq!(two("div"), wrap(x / y, width));
                prop_assert_eq!(two("rem"), wrap(x % y, width));
            }
            if is_signed {
                prop_assert_eq!(one("abs"), wrap(x.abs(), width));
                prop_assert_eq!(one("neg"), wrap(-x, width));
            }
            if width < 64 {
                let wide = format!("mul.wide.{ty} d, a, b");
                prop_assert_eq!(evaluate_one(&wide, [row[0], row[1]]), wrap(x * y, 2 * width));
                let sum = wrap(x * y + i128::from(c), 2 * width);
                let row = [row[0], row[1], wrap(i128::from(c), 2 * width)];
                prop_assert_eq!(evaluate_one(&format!("mad.wide.{ty} d, a, b, c"), row), sum);
            }
        }
    }

    #[test]
    fn saturating_and_24_bits(a: i32, b: i32, c: i32) {
        let row = [a, b, c].map(|x| u64::from(x as u32));
        let [x, y, z] = [a, b, c].map(i128::from);
        let clamp = |x: i128| wrap(x.clamp(i32::MIN.into(), i32::MAX.into()), 32);
        let two = |head: &str| evaluate_one(&format!("{head} d, a, b"), [row[0], row[1]]);
        let three = |head: &str| evaluate_one(&format!("{head} d, a, b, c"), row);
        prop_assert_eq!(two("add.sat.s32"), clamp(x + y));
        prop_assert_eq!(two("sub.sat.s32"), clamp(x - y));
        prop_assert_eq!(three("mad.hi.sat.s32"), clamp(((x * y) >> 32) + z));
        prop_assert_eq!(two("max.relu.s32"), clamp(x.max(y).max(0)));
        for (ty, is_signed) in [("u32", false), ("s32", true)] {
            let [x, y] = [row[0], row[1]].map(|bits| number(bits, 24, is_signed));
            let (low, high) = (x * y, (x * y) >> 16);
            prop_assert_eq!(two(&format!("mul24.lo.{ty}")), wrap(low, 32));
            prop_assert_eq!(two(&format!("mul24.hi.{ty}")), wrap(high, 32));
            prop_assert_eq!(three(&format!("mad24.lo.{ty}")), wrap(low + z, 32));
            prop_assert_eq!(three(&format!("mad24.hi.{ty}")), wrap(high + z, 32));
        }
        let high = (number(row[0], 24, true) * number(row[1], 24, true)) >> 16;
        prop_assert_eq!(three("mad24.hi.sat.s32"), clamp(high + z));
    }

    #[test]
    fn dot_products(a: u32, b: u32, c: u32) {
        let row = [a, b, c].map(u64::from);
        for (x, y) in [("u32", "u32"), ("u32", "s32"), ("s32", "u32"), ("s32", "s32")] {
            let field = |word: u32, place: u32, bits: u32, ty: &str| {
                number(u64::from(word) >> place, bits, ty == "s32")
            };
            let four = (0..4).map(|i| field(a, 8 * i, 8, x) * field(b, 8 * i, 8, y)).sum::<i128>();
            let d = evaluate_one(&format!("dp4a.{x}.{y} d, a, b, c"), row);
            prop_assert_eq!(d, wrap(four + i128::from(c), 32));
            for (half, first) in [("lo", 0), ("hi", 16)] {
                let two = (0..2)
                    .map(|i| field(a, 16 * i, 16, x) * field(b, first + 8 * i, 8, y))
                    .sum::<i128>();
                let d = evaluate_one(&format!("dp2a.{half}.{x}.{y} d, a, b, c"), row);
                prop_assert_eq!(d, wrap(two + i128::from(c), 32));
            }
        }
        let halves = |x: u32, i: u32| i128::from(x >> (16 * i) & 0xffff);
        let pairs = |f: &dyn Fn(u32) -> i128| wrap(f(0), 16) | wrap(f(1), 16) << 16;
        let two = |head: &str| evaluate_one(&format!("{head} d, a, b"), [row[0], row[1]]);
        prop_assert_eq!(two("add.u16x2"), pairs(&|i| halves(a, i) + halves(b, i)));
        prop_assert_eq!(two("max.u16x2"), pairs(&|i| halves(a, i).max(halves(b, i))));
        let signed = |x: u32, i: u32| number(u64::from(x >> (16 * i)), 16, true);
        prop_assert_eq!(two("min.s16x2"), pairs(&|i| signed(a, i).min(signed(b, i))));
        prop_assert_eq!(two("min.relu.s16x2"), pairs(&|i| signed(a, i).min(signed(b, i)).max(0)));
    }

    /// Two words with a carry between them are one number of twice the width.
    #[test]
    fn carries(a: u64, b: u64, c: u64, flag: bool) {
        for (ty, width) in [("u32", 32), ("s32", 32), ("u64", 64)] {
            let row = [a, b, c].map(|x| x & (u64::MAX >> (64 - width)));
            let [x, y, z] = row.map(u128::from);
            let limit = 1u128 << width;
            let run = |text: &str| {
                let mut machine = Machine::new(text);
                for (name, value) in ["a", "b", "c"].into_iter().zip(row) {
                    if machine.names.named.iter().any(|named| named.0 == name) {
                        machine.write(name, [value; 32]);
                    }
                }
                if machine.names.named.iter().any(|named| named.0 == "carry") {
                    machine.write("carry", [u64::from(flag); 32]);
                }
                machine.run(u32::MAX);
                let carry = machine.names.named.iter().any(|named| named.0 == "carry");
                (u128::from(machine.read("d")[0]), carry.then(|| machine.read("carry")[0]))
            };
            let carried = u128::from(flag);
            let split = |sum: u128| (sum % limit, Some((sum / limit) as u64));
            prop_assert_eq!(run(&format!("add.cc.{ty} d, a, b")), split(x + y));
            prop_assert_eq!(run(&format!("addc.cc.{ty} d, a, b")), split(x + y + carried));
            let (sum, _) = split(x + y + carried);
            prop_assert_eq!(run(&format!("addc.{ty} d, a, b")), (sum, Some(u64::from(flag))));
            let borrow = |rest: i128| {
                (wrap(rest, width).into(), Some(u64::from(rest < 0)))
            };
            prop_assert_eq!(run(&format!("sub.cc.{ty} d, a, b")), borrow(x as i128 - y as i128));
            let rest = x as i128 - y as i128 - i128::from(flag);
            prop_assert_eq!(run(&format!("subc.cc.{ty} d, a, b")), borrow(rest));
            let low = (x * y) % limit;
            prop_assert_eq!(run(&format!("mad.lo.cc.{ty} d, a, b, c")), split(low + z));
            if ty.starts_with('u') {
                let high = (x * y) / limit;
                let sum = split(high + z + carried);
                prop_assert_eq!(run(&format!("madc.hi.cc.{ty} d, a, b, c")), sum);
            }
        }
    }
}

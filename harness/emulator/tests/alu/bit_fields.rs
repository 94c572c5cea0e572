//! Shifts, fields, logic and permutation against their definitions bit by bit.

use crate::alu::machine::{evaluate, evaluate_one};
use proptest::prelude::*;

fn bit(x: u64, place: u32) -> u64 {
    if place < 64 { x >> place & 1 } else { 0 }
}

/// A number with these bits.
fn assemble(width: u32, f: impl Fn(u32) -> u64) -> u64 {
    (0..width).fold(0, |all, place| all | f(place) << place)
}

/// PTX ISA, `bfe`.
fn extract(a: u64, position: u32, length: u32, width: u32, is_signed: bool) -> u64 {
    let sign = if is_signed && length > 0 {
        bit(a, (position + length - 1).min(width - 1))
    } else {
        0
    };
    assemble(width, |i| {
        if i < length && position + i < width {
            bit(a, position + i)
        } else {
            sign
        }
    })
}

/// PTX ISA, `bfi`.
fn insert(a: u64, b: u64, position: u32, length: u32, width: u32) -> u64 {
    assemble(width, |i| {
        if i >= position && i - position < length {
            bit(a, i - position)
        } else {
            bit(b, i)
        }
    })
}

fn amount() -> impl Strategy<Value = u32> {
    prop_oneof![0..70u32, 0..300u32, any::<u32>()]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    #[test]
    fn fields(a: u64, b: u64, position in amount(), length in amount()) {
        let (p, l) = (position & 0xff, length & 0xff);
        let row = |a: u64| [a, u64::from(position), u64::from(length)];
        let low = a & 0xffff_ffff;
        prop_assert_eq!(evaluate_one("bfe.u32 d, a, b, c", row(low)), extract(low, p, l, 32, false));
        prop_assert_eq!(evaluate_one("bfe.s32 d, a, b, c", row(low)), extract(low, p, l, 32, true));
        prop_assert_eq!(evaluate_one("bfe.u64 d, a, b, c", row(a)), extract(a, p, l, 64, false));
        prop_assert_eq!(evaluate_one("bfe.s64 d, a, b, c", row(a)), extract(a, p, l, 64, true));
        let row = |a: u64, b: u64| [a, b, u64::from(position), u64::from(length)];
        prop_assert_eq!(
            evaluate_one("bfi.b32 d, a, b, c, e", row(low, b & 0xffff_ffff)),
            insert(low, b & 0xffff_ffff, p, l, 32)
        );
        prop_assert_eq!(evaluate_one("bfi.b64 d, a, b, c, e", row(a, b)), insert(a, b, p, l, 64));
    }

    #[test]
    fn shifts(a: u64, b: u32, n in amount()) {
        let amount = u64::from(n);
        for (width, name) in [(16, "16"), (32, "32"), (64, "64")] {
            let x = if width == 64 { a } else { a & ((1 << width) - 1) };
            let run = |head: &str| evaluate_one(&format!("{head}{name} d, a, b"), [x, amount]);
            let sign = bit(x, width - 1);
            prop_assert_eq!(run("shl.b"), assemble(width, |i| if i >= n { bit(x, i - n) } else { 0 }));
            let right = |fill: u64| assemble(width, |i| {
                let from = u64::from(i) + amount;
                if from < u64::from(width) { bit(x, from as u32) } else { fill }
            });
            prop_assert_eq!(run("shr.b"), right(0));
            prop_assert_eq!(run("shr.u"), right(0));
            prop_assert_eq!(run("shr.s"), right(sign));
        }
        let both = u64::from(b) << 32 | a & 0xffff_ffff;
        let row = [a & 0xffff_ffff, u64::from(b), amount];
        for (mode, n) in [("clamp", n.min(32)), ("wrap", n % 32)] {
            let left = evaluate_one(&format!("shf.l.{mode}.b32 d, a, b, c"), row);
            prop_assert_eq!(left, assemble(32, |i| bit(both, 32 + i - n)));
            let right = evaluate_one(&format!("shf.r.{mode}.b32 d, a, b, c"), row);
            prop_assert_eq!(right, assemble(32, |i| bit(both, i + n)));
        }
    }

    #[test]
    fn permutation(a: u32, b: u32, c: u32) {
        let bytes = [a.to_le_bytes(), b.to_le_bytes()].concat();
        let row = [a, b, c].map(u64::from);
        let expected = assemble(32, |i| {
            let nibble = c >> (4 * (i / 8)) & 15;
            let byte = u64::from(bytes[nibble as usize % 8]);
            bit(byte, if nibble < 8 { i % 8 } else { 7 })
        });
        prop_assert_eq!(evaluate_one("prmt.b32 d, a, b, c", row), expected);
        // Rows of PTX ISA's table of modes, most significant byte first.
        let n = c as usize % 4;
        let modes = [
            ("f4e", ["3210", "4321", "5432", "6543"]),
            ("b4e", ["5670", "6701", "7012", "0123"]),
            ("rc8", ["0000", "1111", "2222", "3333"]),
            ("ecl", ["3210", "3211", "3222", "3333"]),
            ("ecr", ["0000", "1110", "2210", "3210"]),
            ("rc16", ["1010", "3232", "1010", "3232"]),
        ];
        for (mode, table) in modes {
            let picked = table[n].bytes().fold(0, |all, digit| {
                all << 8 | u64::from(bytes[usize::from(digit - b'0')])
            });
            prop_assert_eq!(evaluate_one(&format!("prmt.b32.{mode} d, a, b, c"), row), picked);
        }
    }

    #[test]
    fn masks_and_extensions(a: u32, start in amount(), width in amount(), offset in -40i32..40) {
        let row = [start, width].map(u64::from);
        let ones = |start: u32, width: u32| {
            assemble(32, |i| u64::from(i >= start && i - start < width))
        };
        prop_assert_eq!(evaluate_one("bmsk.clamp.b32 d, a, b", row), ones(start, width));
        prop_assert_eq!(evaluate_one("bmsk.wrap.b32 d, a, b", row), ones(start % 32, width % 32));

        let wide = u64::from(a);
        for (mode, width) in [("clamp", width.min(32)), ("wrap", width % 32)] {
            let row = [wide, row[1]];
            let zero = assemble(32, |i| if i < width { bit(wide, i) } else { 0 });
            prop_assert_eq!(evaluate_one(&format!("szext.{mode}.u32 d, a, b"), row), zero);
            if width > 0 {
                let signed = assemble(32, |i| bit(wide, i.min(width - 1)));
                prop_assert_eq!(evaluate_one(&format!("szext.{mode}.s32 d, a, b"), row), signed);
            }
        }

        let base = start % 32;
        let row = [wide, u64::from(base), u64::from(offset as u32)];
        let set: Vec<u32> = (0..32).filter(|&i| bit(wide, i) == 1).collect();
        let count = offset.unsigned_abs() as usize;
        let found = match offset {
            0 => (bit(wide, base) == 1).then_some(base),
            1.. => set.iter().filter(|&&i| i >= base).nth(count - 1).copied(),
            _ => set.iter().rev().filter(|&&i| i <= base).nth(count - 1).copied(),
        };
        let found = u64::from(found.unwrap_or(u32::MAX));
        prop_assert_eq!(evaluate_one("fns.b32 d, a, b, c", row), found);
    }
}

#[test]
fn logic_of_three_for_every_table() {
    let row = [0xf0f0_1234, 0xcccc_5678, 0xaaaa_9abc];
    for table in 0..=255u64 {
        let d = evaluate_one(&format!("lop3.b32 d, a, b, c, {table:#x}"), row);
        let [a, b, c] = row;
        let expected = assemble(32, |i| {
            bit(table, (4 * bit(a, i) + 2 * bit(b, i) + bit(c, i)) as u32)
        });
        assert_eq!(d, expected, "{table:#x}");
    }
}

#[test]
fn counts_and_places() {
    let rows: Vec<[u64; 1]> = [0, 1, 0x8000_0000, 0xffff_ffff, 0x0012_3400, 0x7fff_ffff]
        .map(|x| [x])
        .to_vec();
    for [x] in &rows {
        let one = |text: &str| evaluate(text, &[[*x]])[0];
        let places: Vec<u32> = (0..32).filter(|&i| bit(*x, i) == 1).collect();
        let none = u64::from(u32::MAX);
        assert_eq!(one("popc.b32 d, a"), places.len() as u64);
        assert_eq!(
            one("clz.b32 d, a"),
            places.last().map_or(32, |&i| 31 - u64::from(i))
        );
        assert_eq!(
            one("bfind.u32 d, a"),
            places.last().map_or(none, |&i| u64::from(i))
        );
        assert_eq!(
            one("bfind.shiftamt.u32 d, a"),
            places.last().map_or(none, |&i| 31 - u64::from(i))
        );
        let sign = bit(*x, 31);
        let differs = (0..32).rev().find(|&i| bit(*x, i) != sign);
        assert_eq!(one("bfind.s32 d, a"), differs.map_or(none, u64::from));
        assert_eq!(one("brev.b32 d, a"), assemble(32, |i| bit(*x, 31 - i)));
        assert_eq!(one("cnot.b32 d, a"), u64::from(*x == 0));
    }
    assert_eq!(evaluate_one("popc.b64 d, a", [u64::MAX]), 64);
    assert_eq!(evaluate_one("clz.b64 d, a", [1]), 63);
    assert_eq!(evaluate_one("brev.b64 d, a", [1]), 1 << 63);
    assert_eq!(evaluate_one("bfind.s64 d, a", [u64::MAX]), 0xffff_ffff);
    assert_eq!(evaluate_one("not.b16 d, a", [0x00ff]), 0xff00);
}

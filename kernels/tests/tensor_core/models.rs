//! Dot products, ordinary and adversarial, by the rules of all chips.

use crate::tensor_core::chips::{NARROW, Number, Rule, WIDE};
use mxlab_harness::tensor_core::{Operand, Sums, Term, Terms};
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::io::Write as _;

/// A format of operands.
#[derive(Clone, Copy)]
struct Format {
    operand: Operand,
    mantissa: i32,
    emin: i32,
    /// Exponent fields that are drawn, so that no sum is infinite.
    fields: i32,
    /// Products of an instruction.
    width: usize,
    rules: &'static [Rule],
    sums: Sums,
}

const fn wide(operand: Operand, mantissa: i32, emin: i32, fields: i32) -> Format {
    Format {
        operand,
        mantissa,
        emin,
        fields,
        width: 16,
        rules: &WIDE,
        sums: Sums::F32,
    }
}

const fn narrow(operand: Operand, mantissa: i32, emin: i32, fields: i32) -> Format {
    Format {
        operand,
        mantissa,
        emin,
        fields,
        width: 32,
        rules: &NARROW,
        sums: Sums::Fp8,
    }
}

const FORMATS: [Format; 5] = [
    wide(Operand::Bf16, 7, -126, 180),
    wide(Operand::F16, 10, -14, 30),
    wide(Operand::Tf32, 10, -126, 180),
    narrow(Operand::E4m3, 3, -6, 15),
    narrow(Operand::E5m2, 2, -14, 30),
];

/// What operands of a dot product have in common.
#[derive(Clone, Copy, Debug)]
enum Style {
    /// Near to 1.
    Ordinary,
    /// Of any exponent.
    Wide,
    /// Small integers, whose sums are exact for many.
    Integers,
    /// Subnormal codes times any.
    Subnormal,
    /// A few of the largest, and ones.
    Large,
    /// Few that are not zero.
    Sparse,
    /// A subnormal of one bit, held far above its value, and powers of two where terms are cut.
    Held,
}

const STYLES: [Style; 7] = [
    Style::Ordinary,
    Style::Wide,
    Style::Integers,
    Style::Subnormal,
    Style::Large,
    Style::Sparse,
    Style::Held,
];

impl Format {
    /// A power of two times 1 + `mantissa` / 2^bits.
    fn number(self, negative: bool, exponent: i32, mantissa: i128) -> Number {
        let field = exponent - self.emin + 1;
        Number::of_fields(negative, field, mantissa, self.mantissa, self.emin)
    }

    fn draw(self, rng: &mut ChaCha8Rng, style: Style) -> Number {
        let negative = rng.random();
        let mantissa = rng.random_range(0..1i128 << self.mantissa);
        let any = |rng: &mut ChaCha8Rng| {
            let field = rng.random_range(0..=self.fields);
            Number::of_fields(negative, field, mantissa, self.mantissa, self.emin)
        };
        let zero = self.number(negative, self.emin - 1, 0);
        match style {
            Style::Ordinary => self.number(negative, rng.random_range(-3..=0), mantissa),
            Style::Wide => any(rng),
            Style::Integers => match rng.random_range(0..4) {
                0 => zero,
                1 => self.number(negative, 0, 0),
                2 => self.number(negative, 1, 0),
                _ => self.number(negative, 1, 1 << (self.mantissa - 1)),
            },
            Style::Subnormal => match rng.random_ratio(1, 2) {
                true => self.number(negative, self.emin - 1, mantissa),
                false => any(rng),
            },
            Style::Large => match rng.random_ratio(1, 2) {
                true => self.number(negative, 6, 0),
                false => self.number(negative, 0, 0),
            },
            Style::Sparse => match rng.random_ratio(1, 12) {
                true => any(rng),
                false => zero,
            },
            Style::Held => zero,
        }
    }

    /// The products of [`Style::Held`], some of them zero.
    fn held(self, rng: &mut ChaCha8Rng, pairs: &mut [[Number; 2]]) {
        let [fraction, large] = match self.sums {
            Sums::Fp8 => [13, 8],
            Sums::F32 | Sums::F16 => [23, 10],
        };
        let place = rng.random_range(0..pairs.len());
        let cut = self.emin + large - fraction;
        for (index, pair) in pairs.iter_mut().enumerate() {
            if index == place {
                let bit = self.number(rng.random(), self.emin - 1, 1);
                *pair = [bit, self.number(false, large, 0)];
            } else if rng.random_ratio(1, 4) {
                let exponent = cut + rng.random_range(-1..=1);
                let half = (exponent / 2).max(self.emin);
                let other = self.number(rng.random(), (exponent - half).max(self.emin), 0);
                *pair = [self.number(false, half, 0), other];
            }
        }
    }

    /// The products of a dot product, and C.
    fn problem(self, rng: &mut ChaCha8Rng) -> (Vec<[Number; 2]>, f32) {
        let style = STYLES[rng.random_range(0..STYLES.len())];
        let count = self.width * [1, 1, 2, 8][rng.random_range(0..4)];
        let mut pairs: Vec<[Number; 2]> = (0..count)
            .map(|_| [(); 2].map(|()| self.draw(rng, style)))
            .collect();
        if matches!(style, Style::Held) {
            self.held(rng, &mut pairs);
        }
        if rng.random_ratio(1, 3) {
            // One sign: carried sums grow beyond every product.
            for number in pairs.iter_mut().flatten() {
                number.significand = number.significand.abs();
            }
        } else if rng.random_ratio(1, 2) {
            // What is added first is taken away again, but for a few.
            let (first, rest) = pairs.split_at_mut(count / 2);
            for ([a, b], taken) in first.iter().zip(rest) {
                let mut less = *a;
                less.significand = -less.significand;
                if rng.random_ratio(7, 8) {
                    *taken = [less, *b];
                }
            }
        }
        if rng.random_ratio(1, 2) {
            pairs.shuffle(rng);
        }
        let largest = pairs.iter().map(|[a, b]| a.times(*b).value().abs());
        let largest = largest.fold(0.0, f64::max) as f32;
        let c = match rng.random_range(0..6) {
            0 => largest * rng.random_range(-64.0..64.0),
            1 => largest * rng.random_range(-1e-4..1e-4),
            2 => f32::from_bits(rng.random_range(1..1 << 23)),
            3 => -pairs[..count / 2]
                .iter()
                .map(|[a, b]| a.times(*b).value())
                .sum::<f64>() as f32,
            _ => 0.0,
        };
        (pairs, c)
    }
}

#[test]
fn every_rule_keeps_the_bound() {
    let rng = &mut ChaCha8Rng::seed_from_u64(0);
    for format in FORMATS {
        let least = [format.operand.least_power(); 2];
        let (mut exact, mut worst) = (0, vec![0f64; format.rules.len()]);
        let (mut problems, mut off) = (0, vec![0; format.rules.len()]);
        while problems < 4000 {
            let (pairs, c) = format.problem(rng);
            let products: Vec<Number> = pairs.iter().map(|[a, b]| a.times(*b)).collect();
            let operands = pairs.iter().map(|pair| pair.map(Number::value));
            let terms = operands.map(|pair| Term::product(pair, least));
            let terms: Terms = terms.chain([Term::carried(c.into())]).collect();
            let bound = terms.bound(format.sums, products.len(), 0);
            assert!(bound.error.is_finite());
            problems += 1;
            exact += usize::from(bound.error == 0.0);
            for (index, rule) in format.rules.iter().enumerate() {
                let d = f64::from(rule.chain(&products, format.width, c));
                assert!(d.is_finite(), "{:?} {rule:?}: {d}", format.operand);
                assert!(
                    bound.accepts(d),
                    "{:?} {rule:?}: {d:e}, but {bound:?}; c {c:e}, {pairs:?}",
                    format.operand
                );
                if d != bound.exact {
                    off[index] += 1;
                    worst[index] = worst[index].max((d - bound.exact).abs() / bound.error);
                }
            }
        }
        let _ = writeln!(
            std::io::stderr(),
            "{:?}: {problems} dot products, {exact} exact by the bound; of the bound the rules use \
             {worst:.3?}",
            format.operand
        );
        assert!((100..problems - 100).contains(&exact), "{exact}");
        // Each rule loses something somewhere, and none so little that the bound says nothing.
        assert!(off.iter().all(|&off| off > 50), "{off:?}");
        assert!(worst.iter().any(|&worst| worst > 0.05), "{worst:?}");
    }
}

/// Sixteen products of 64 x 64 and one of 1 x 1, by the rule of each chip.
#[test]
fn sums_of_fp8_beyond_13_bits_are_cut_on_ada() {
    let format = FORMATS[3];
    let (large, one) = (format.number(false, 6, 0), format.number(false, 0, 0));
    let zero = format.number(false, format.emin - 1, 0);
    let mut products = vec![large.times(large); 16];
    products.push(one.times(one));
    products.resize(32, zero.times(zero));
    let d = NARROW.map(|rule| rule.chain(&products, 32, 0.0));
    assert_eq!(d, [65536.0, 65536.0, 65537.0, 65537.0]);
}

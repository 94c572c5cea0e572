//! Inputs: the edges of each type, and a few at random.

use crate::conformance::numbers::Format;

/// Random bits: SplitMix64.
pub struct Random(pub u64);

impl Random {
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let x = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let x = (x ^ x >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ x >> 31
    }

    /// Below `end`.
    pub fn below(&mut self, end: u64) -> u64 {
        self.bits() % end
    }
}

/// The low bits of a word.
pub fn low(bits: u64, width: u32) -> u64 {
    bits & (u64::MAX >> (64 - width))
}

/// Edges of integers of a width.
pub fn integers(width: u32) -> Vec<u64> {
    let mut random = Random(u64::from(width));
    let top = 1u64 << (width - 1);
    let edges = [
        0,
        1,
        2,
        3,
        10,
        top - 1,
        top,
        top + 1,
        u64::MAX,
        u64::MAX - 1,
    ];
    let patterns = [0x5555_5555_5555_5555, 0x0123_4567_89ab_cdef];
    edges
        .into_iter()
        .chain(patterns)
        .chain((0..4).map(|_| random.bits()))
        .map(|x| low(x, width))
        .collect()
}

/// Each with each.
pub fn pairs(values: &[u64]) -> Vec<[u64; 2]> {
    grid(values, values)
}

/// Each of the one with each of the other.
pub fn grid(a: &[u64], b: &[u64]) -> Vec<[u64; 2]> {
    a.iter()
        .flat_map(|&a| b.iter().map(move |&b| [a, b]))
        .collect()
}

/// Each of three lists with each.
pub fn cube(a: &[u64], b: &[u64], c: &[u64]) -> Vec<[u64; 3]> {
    grid(a, b)
        .into_iter()
        .flat_map(|[a, b]| c.iter().map(move |&c| [a, b, c]))
        .collect()
}

/// Each alone.
pub fn singles(values: &[u64]) -> Vec<[u64; 1]> {
    values.iter().map(|&a| [a]).collect()
}

/// Rows of random bits.
pub fn random<const N: usize>(seed: u64, count: usize, width: u32) -> Vec<[u64; N]> {
    let mut random = Random(seed);
    (0..count)
        .map(|_| [(); N].map(|()| low(random.bits(), width)))
        .collect()
}

/// Codes of a floating-point format: zeros, the ends of its ranges, NaNs, some in between.
pub fn floats(format: Format) -> Vec<u64> {
    let one = format.one();
    let magnitudes = [
        0,
        1,
        format.smallest_normal() - 1,
        format.smallest_normal(),
        format.smallest_normal() + 1,
        one - 1,
        one,
        one + 1,
        one + format.smallest_normal() / 2,
        one + format.smallest_normal(),
        format.infinity() - 1,
        format.infinity(),
        format.quiet_nan(),
        format.infinity() + 1,
    ];
    let sign = format.sign();
    let mut random = Random(u64::from(format.bits()));
    let odd = (0..4).map(|_| low(random.bits(), format.bits() - 1) % format.infinity());
    let magnitudes: Vec<u64> = magnitudes.into_iter().chain(odd).collect();
    magnitudes.iter().flat_map(|&x| [x, x | sign]).collect()
}

/// Pairs of codes: the edges, and random ones whose exponents are near to each other.
pub fn float_pairs(format: Format) -> Vec<[u64; 2]> {
    let mut rows = pairs(&floats(format));
    rows.extend(near::<2>(format, 512));
    rows
}

/// Three codes, the third often close to the product of the first two or its opposite.
pub fn float_triples(format: Format) -> Vec<[u64; 3]> {
    let edges = floats(format);
    let mut random = Random(u64::from(format.mantissa));
    let mut pick = || edges[random.below(edges.len() as u64) as usize];
    let mut rows: Vec<[u64; 3]> = (0..1024).map(|_| [pick(), pick(), pick()]).collect();
    for [a, b, c] in near::<3>(format, 1024) {
        rows.push([a, b, c]);
        let product = format.multiplied(a, b);
        let apart = c % 5;
        rows.push([a, b, product.wrapping_sub(apart) ^ format.sign()]);
    }
    let all = low(u64::MAX, format.bits());
    rows.iter().map(|row| row.map(|x| x & all)).collect()
}

/// Codes whose exponents are near to each other.
fn near<const N: usize>(format: Format, count: usize) -> Vec<[u64; N]> {
    let mut random = Random(0x6e65_6172 + u64::from(format.bits()));
    let binades = format.infinity() >> format.mantissa;
    let span = u64::from(format.mantissa) + 4;
    (0..count)
        .map(|_| {
            let first = random.below(binades);
            [(); N].map(|()| {
                let exponent = (first + random.below(span)) % binades;
                let mantissa = match random.below(3) {
                    0 => random.bits(),
                    1 => 1 << random.below(u64::from(format.mantissa)),
                    _ => !(1 << random.below(u64::from(format.mantissa))),
                };
                let mantissa = low(mantissa, format.mantissa);
                let sign = random.below(2) * format.sign();
                sign | exponent << format.mantissa | mantissa
            })
        })
        .collect()
}

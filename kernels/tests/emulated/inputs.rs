//! Tensors whose elements lie where kernels go wrong.

use mxlab_kernels::format::{BlockFormat, FloatType, random_at};

/// A stream of random numbers.
pub struct Draws {
    seed: u32,
    index: u64,
}

impl Draws {
    pub fn new(seed: u32) -> Self {
        Self { seed, index: 0 }
    }

    pub fn word(&mut self) -> u32 {
        self.index += 1;
        random_at(self.seed, self.index)
    }

    /// In 0..n.
    pub fn below(&mut self, n: u32) -> u32 {
        ((u64::from(self.word()) * u64::from(n)) >> 32) as u32
    }

    pub fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| self.word() as u8).collect()
    }
}

/// Elements of `source`, of which each block of k has a kind of its own: spread over one binade or
/// forty, midpoints of the element's neighbours and powers of two up to one unit of the last
/// place apart, zeros of both signs, subnormals, any bits, a NaN or an infinity among others.
pub fn elements(
    draws: &mut Draws,
    len: usize,
    format: &BlockFormat,
    source: FloatType,
) -> Vec<f32> {
    let (element, k) = (format.element(), format.block_size());
    let (is_zero, is_calm) = (draws.below(8) == 0, draws.below(2) == 0);
    let exponent = |draws: &mut Draws| match draws.below(4) {
        0 if !is_calm => draws.below(277) as i32 - 149,
        _ => draws.below(40) as i32 - 20,
    };
    let (mut kind, mut e, mut special) = (0, 0, 0);
    let mut x = Vec::with_capacity(len);
    for i in 0..len {
        if i % k == 0 {
            (kind, e, special) = (
                draws.below(if is_calm { 8 } else { 10 }),
                exponent(draws),
                draws.below(k as u32),
            );
        }
        let sign = if draws.below(2) == 0 { 1.0 } else { -1.0 };
        let unit = f64::from(draws.word()) / f64::from(u32::MAX);
        let scaled = |x: f64| (x * sign * 2f64.powi(e)) as f32;
        let midpoint = |draws: &mut Draws| {
            let code = draws.word() as u8;
            let [low, high] = [code, code.wrapping_add(1)].map(|c| f64::from(element.decode(c)));
            scaled((low + high) / 2.0)
        };
        let value = match kind {
            _ if is_zero => 0.0 * sign as f32,
            0 | 1 => scaled(unit),
            2 => scaled(unit * 2f64.powi(-(draws.below(40) as i32))),
            3 | 4 => beside(midpoint(draws), source, draws),
            5 => beside(scaled(2f64.powi(-(draws.below(6) as i32))), source, draws),
            6 if draws.below(3) == 0 => scaled(unit),
            6 => 0.0 * sign as f32,
            7 if i % k == special as usize => match draws.below(3) {
                0 => f32::NAN,
                _ => f32::INFINITY * sign as f32,
            },
            7 => scaled(unit),
            8 => f32::from_bits(draws.word() & 0x807F_FFFF),
            _ => f32::from_bits(draws.word()),
        };
        x.push(source.round(value));
    }
    x
}

/// `x`, or its neighbour in `source` on either side.
fn beside(x: f32, source: FloatType, draws: &mut Draws) -> f32 {
    let ulp = match source {
        FloatType::F32 => 1,
        FloatType::Bf16 => 1 << 16,
        FloatType::F16 => 1 << 13,
    };
    let bits = source.round(x).to_bits();
    f32::from_bits(bits.wrapping_add(draws.below(3) * ulp).wrapping_sub(ulp))
}

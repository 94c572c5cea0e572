//! ggml's searches for the scale of a part of a super-block, in its order of f32 operations.

/// A part whose largest magnitude is below is all zero.
pub(super) const EPSILON: f32 = 1e-15;

/// Sums over elements x with codes l and weights w = x x.
pub(super) struct Sums {
    /// w x l.
    pub xl: f32,
    /// w l l.
    ll: f32,
}

impl Sums {
    /// `product` multiplies w, x and l in one of ggml's two orders.
    pub fn of(
        pairs: impl Iterator<Item = (f32, f32)>,
        product: impl Fn(f32, f32, f32) -> f32,
    ) -> Self {
        pairs.fold(Self { xl: 0.0, ll: 0.0 }, |sums, (x, l)| {
            let w = x * x;
            Self {
                xl: sums.xl + product(w, x, l),
                ll: sums.ll + w * l * l,
            }
        })
    }

    /// The factor of least weighted error with these codes.
    pub fn factor(&self) -> f32 {
        if self.ll > 0.0 {
            self.xl / self.ll
        } else {
            0.0
        }
    }

    /// Whether the error is less than with codes whose `factor * xl` is `best`.
    pub fn is_better_than(&self, best: f32) -> bool {
        self.ll > 0.0 && self.xl * self.xl > best * self.ll
    }
}

/// The nearest integer, ties to even, by adding a constant whose unit in the last place is 1. Far
/// beyond 2^22 it is ggml's value, not the nearest.
pub(super) fn nearest(x: f32) -> i32 {
    let sum = x + 12_582_912.0;
    (sum.to_bits() & 0x007f_ffff) as i32 - 0x0040_0000
}

/// Codes from -`half` to `half - 1` for a factor that is searched around the one that maps the
/// extreme element to -`half`; the error is weighted by squares. Returns the factor; `codes` get an
/// offset of `half`.
pub(super) fn symmetric(values: &[f32], half: i32, codes: &mut [u8]) -> f32 {
    let extreme = super::integers::extreme(values);
    codes.fill(0);
    if extreme.abs() < EPSILON {
        return 0.0;
    }
    let code = |inverse: f32, x: f32| nearest(inverse * x).clamp(-half, half - 1);
    let sums = |inverse: f32| {
        let pairs = values.iter().map(|&x| (x, code(inverse, x) as f32));
        Sums::of(pairs, |w, x, l| w * x * l)
    };
    let mut write = |inverse: f32| {
        for (out, &x) in codes.iter_mut().zip(values) {
            *out = (code(inverse, x) + half) as u8;
        }
    };
    let first = -half as f32 / extreme;
    write(first);
    let first = sums(first);
    let mut factor = first.factor();
    let mut best = factor * first.xl;
    for step in (-9..=9).filter(|&step| step != 0) {
        let inverse = -(half as f32 + 0.1 * step as f32) / extreme;
        let sums = sums(inverse);
        if sums.is_better_than(best) {
            write(inverse);
            factor = sums.factor();
            best = factor * sums.xl;
        }
    }
    factor
}

/// As [`symmetric`], but the codes are improved one by one, each against all others, until none
/// changes or five rounds are over.
pub(super) fn symmetric_by_descent(values: &[f32], half: i32, codes: &mut [u8]) -> f32 {
    let extreme = super::integers::extreme(values);
    codes.fill(0);
    if extreme.abs() < EPSILON {
        return 0.0;
    }
    let inverse = -half as f32 / extreme;
    let code = |x: f32| nearest(x).clamp(-half, half - 1);
    let mut chosen: Vec<i32> = values.iter().map(|&x| code(inverse * x)).collect();
    let pairs = values.iter().zip(&chosen).map(|(&x, &l)| (x, l as f32));
    let Sums { mut xl, mut ll } = Sums::of(pairs, |w, x, l| w * x * l);
    for _ in 0..5 {
        let mut changed = false;
        for (&x, l) in values.iter().zip(&mut chosen) {
            let (w, own) = (x * x, *l as f32);
            let other_xl = xl - w * x * own;
            if other_xl <= 0.0 {
                continue;
            }
            let other_ll = ll - w * own * own;
            let new = code(x * other_ll / other_xl);
            if new == *l {
                continue;
            }
            let new_xl = other_xl + w * x * new as f32;
            let new_ll = other_ll + w * new as f32 * new as f32;
            if new_ll > 0.0 && new_xl * new_xl * ll > xl * xl * new_ll {
                (*l, xl, ll) = (new, new_xl, new_ll);
                changed = true;
            }
        }
        if !changed {
            break;
        }
    }
    for (out, l) in codes.iter_mut().zip(chosen) {
        *out = (l + half) as u8;
    }
    if ll > 0.0 { xl / ll } else { 0.0 }
}

/// How a scale and a minimum are searched.
pub(super) struct Affine {
    /// The largest code.
    pub most: u8,
    /// The first candidate: how much its largest code is above `most`.
    pub first: f32,
    /// The number of candidates behind it, each 0.1 of a code above the one before.
    pub steps: i32,
    /// The error of a difference.
    pub error: fn(f32) -> f32,
}

impl Affine {
    /// Codes from 0 to `most`, a scale, and a minimum of at most 0 whose weighted error is the
    /// least. Returns the scale and the negative minimum.
    pub fn search(&self, values: &[f32], weights: &[f32], codes: &mut [u8]) -> (f32, f32) {
        let (mut least, mut largest) = (values[0], values[0]);
        let (mut w_sum, mut x_sum) = (weights[0], weights[0] * values[0]);
        for (&x, &w) in values.iter().zip(weights).skip(1) {
            least = if x < least { x } else { least };
            largest = if x > largest { x } else { largest };
            w_sum += w;
            x_sum += w * x;
        }
        least = if least > 0.0 { 0.0 } else { least };
        codes.fill(0);
        if largest == least {
            return (0.0, -least);
        }
        let most = i32::from(self.most);
        let code =
            |inverse: f32, least: f32, x: f32| nearest(inverse * (x - least)).clamp(0, most) as u8;
        let error = |scale: f32, least: f32, codes: &[u8]| {
            let each = values.iter().zip(weights).zip(codes);
            each.fold(0.0, |sum, ((&x, &w), &l)| {
                sum + w * (self.error)(scale * f32::from(l) + least - x)
            })
        };
        let inverse = most as f32 / (largest - least);
        let mut scale = 1.0 / inverse;
        for (out, &x) in codes.iter_mut().zip(values) {
            *out = code(inverse, least, x);
        }
        let mut best = error(scale, least, codes);
        let mut tried = codes.to_vec();
        for step in 0..=self.steps {
            // From the best minimum so far.
            let inverse = (self.first + 0.1 * step as f32 + most as f32) / (largest - least);
            let (mut l_sum, mut ll_sum, mut xl_sum) = (0.0, 0.0, 0.0);
            for ((&x, &w), out) in values.iter().zip(weights).zip(&mut tried) {
                *out = code(inverse, least, x);
                let l = f32::from(*out);
                l_sum += w * l;
                ll_sum += w * l * l;
                xl_sum += w * l * x;
            }
            let determinant = w_sum * ll_sum - l_sum * l_sum;
            if determinant <= 0.0 {
                continue;
            }
            let mut new_scale = (w_sum * xl_sum - x_sum * l_sum) / determinant;
            let mut new_least = (ll_sum * x_sum - l_sum * xl_sum) / determinant;
            if new_least > 0.0 {
                (new_scale, new_least) = (xl_sum / ll_sum, 0.0);
            }
            let new = error(new_scale, new_least, &tried);
            if new < best {
                (best, scale, least) = (new, new_scale, new_least);
                codes.copy_from_slice(&tried);
            }
        }
        (scale, -least)
    }
}

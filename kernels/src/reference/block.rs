//! One block: its shared scale, then its element codes.

use crate::format::{
    BlockFormat, Dialect, FloatType, Grid, NegativeZero, Rounding, ScaleRule, exponent, pow2,
};

/// The parameters of a block beside its elements.
pub(crate) struct BlockContext<'a> {
    pub format: &'a BlockFormat,
    /// The tensor's own type.
    pub source: FloatType,
    /// 1 where the format has none.
    pub tensor_scale: f32,
}

/// Writes the codes of a block, one a byte, and returns the code of its scale.
///
/// `first_index` is the row-major position of its first element in the whole tensor.
pub(crate) fn quantize_block(
    x: &[f32],
    first_index: u64,
    context: &BlockContext,
    codes: &mut [u8],
) -> u32 {
    let scale = choose_scale(x, first_index, context);
    round_block(x, scale, first_index, context, codes);
    scale
}

/// The code of a block's scale: NaN if the block has an infinity or a NaN that counts.
fn choose_scale(x: &[f32], first_index: u64, context: &BlockContext) -> u32 {
    let scale = context.format.scale();
    match amax(x, context.format.dialect()) {
        None => scale.nan_code(),
        Some(amax) if scale.is_power_of_two() => choose_exponent(x, amax, first_index, context),
        Some(amax) => choose_fraction(x, amax, first_index, context),
    }
}

/// Writes the codes of a block under a scale, one a byte; zeros under a scale that is NaN.
pub(crate) fn round_block(
    x: &[f32],
    scale: u32,
    first_index: u64,
    context: &BlockContext,
    codes: &mut [u8],
) {
    let format = context.format;
    let decoded = format.scale().decode(scale);
    if decoded.is_nan() {
        codes.fill(0);
        return;
    }
    let divisor = decoded * context.tensor_scale;
    if divisor == 0.0 {
        // Nothing is ever divided by zero: the block is stored as zero.
        codes.fill(format.element().zero_code());
        return;
    }
    for (i, (x, code)) in x.iter().zip(codes).enumerate() {
        let t = if format.scale().is_power_of_two() {
            f64::from(*x) / f64::from(decoded)
        } else {
            f64::from(x / divisor)
        };
        *code = encode(t, first_index + i as u64, context);
    }
}

/// The largest magnitude, or `None` if the block has an infinity or a NaN that counts.
fn amax(x: &[f32], dialect: Dialect) -> Option<f32> {
    let is_nan = x.iter().any(|x| x.is_nan());
    let amax = x.iter().fold(0.0, |amax: f32, x| amax.max(x.abs()));
    let is_special = amax.is_infinite() || (is_nan && !dialect.ignores_nan());
    (!is_special).then_some(amax)
}

/// X = 2^s.
fn choose_exponent(x: &[f32], amax: f32, first_index: u64, context: &BlockContext) -> u32 {
    let format = context.format;
    let limit = format.scale().exponent_limit().unwrap_or(0);
    let amax = if amax == 0.0 {
        format.dialect().amax_of_zeros()
    } else {
        amax
    };
    let s = if amax == 0.0 {
        -limit
    } else {
        let floor_log2 = format.dialect().floor_log2(f64::from(amax), context.source);
        let s = format.rule().exponent(amax, floor_log2, format.element());
        s.unwrap_or(-limit).max(-limit)
    };
    let s = if format.rule().is_least_error() {
        least_error_exponent(x, s, limit, first_index, context)
    } else {
        s
    };
    if s > limit {
        format.scale().nan_code()
    } else {
        (s + limit) as u32
    }
}

/// The candidate around the floor exponent s that a rule of least error takes.
fn least_error_exponent(
    x: &[f32],
    s: i32,
    limit: i32,
    first_index: u64,
    context: &BlockContext,
) -> i32 {
    let mut best = (f64::INFINITY, limit + 1);
    for candidate in [s - 1, s, s + 1] {
        let candidate = candidate.max(-limit);
        if candidate > limit {
            continue;
        }
        let mut error = 0.0;
        for (i, &x) in x.iter().enumerate() {
            let t = f64::from(x) / pow2(candidate);
            let code = encode(t, first_index + i as u64, context);
            let y = context.format.element().decode(code) * pow2(candidate) as f32;
            let x = if x.is_nan() { 0.0 } else { x };
            error += (f64::from(x) - f64::from(y)).powi(2);
        }
        if error < best.0 || best.1 > limit {
            best = (error, candidate);
        }
    }
    best.1
}

/// X is a fraction, and with it perhaps a scale of the tensor.
fn choose_fraction(x: &[f32], amax: f32, first_index: u64, context: &BlockContext) -> u32 {
    let ideal = amax / context.format.element().half_range() / context.tensor_scale;
    let six = round_fraction(ideal, amax, context);
    if context.format.rule() != ScaleRule::FourOverSix {
        return six;
    }
    let four = round_fraction(1.5 * ideal, amax, context);
    let [six_error, four_error] =
        [six, four].map(|scale| error_under(x, scale, first_index, context));
    if four_error < six_error { four } else { six }
}

/// The code of the scale nearest to a fraction.
fn round_fraction(fraction: f32, amax: f32, context: &BlockContext) -> u32 {
    let format = context.format;
    let mut scale = format.scale().encode_nearest(fraction);
    if scale == 0 && amax > 0.0 && format.rule().lifts_zero() {
        scale = format.scale().smallest_code();
    }
    let divisor = format.scale().decode(scale) * context.tensor_scale;
    if divisor == 0.0 { 0 } else { scale }
}

/// The sum of the squared errors of a block under a scale that is a fraction.
fn error_under(x: &[f32], scale: u32, first_index: u64, context: &BlockContext) -> f64 {
    let mut codes = vec![0; x.len()];
    round_block(x, scale, first_index, context, &mut codes);
    let mut error = 0.0;
    for (&x, code) in x.iter().zip(codes) {
        let value = context.format.element().decode(code);
        let y = value * context.format.scale().decode(scale) * context.tensor_scale;
        error += (f64::from(x) - f64::from(y)).powi(2);
    }
    error
}

/// The code of a scaled element under the format's rounding and the dialect's peculiarities.
fn encode(t: f64, index: u64, context: &BlockContext) -> u8 {
    let format = context.format;
    let (element, rounding, dialect) = (format.element(), format.rounding(), format.dialect());
    let t = if t.is_nan() && dialect.ignores_nan() {
        0.0
    } else {
        t
    };
    let random = rounding.random(index);
    let code = if dialect == Dialect::MicroxcalingTorch && t.is_finite() {
        encode_as_torch(t, random, context)
    } else {
        element.encode(t, rounding, random)
    };
    let loses_sign = match dialect.negative_zero() {
        NegativeZero::Kept => false,
        NegativeZero::Rounded => context.source.round(t as f32) == 0.0,
        NegativeZero::Dropped => true,
    };
    if loses_sign && element.decode(code) == 0.0 {
        return element.encode(0.0, rounding, random);
    }
    code
}

/// The element's exponent comes from a rounded logarithm, and just below a half is a half.
fn encode_as_torch(t: f64, random: u32, context: &BlockContext) -> u8 {
    let (element, rounding) = (context.format.element(), context.format.rounding());
    let dialect = context.format.dialect();
    let round = |steps: f64| {
        let adds_half = matches!(rounding, Rounding::Even | Rounding::Away);
        if adds_half && dialect.lifts_to_one_step(steps, context.source) {
            1.0
        } else {
            rounding.round(steps, random)
        }
    };
    let magnitude = t.abs();
    match element.grid() {
        Grid::Float(grid) => {
            // The exponent of zero counts as lower than any.
            let e = if exponent(magnitude) < grid.emin() {
                grid.emin()
            } else {
                dialect.floor_log2(magnitude, context.source)
            };
            let steps = round(magnitude / pow2(e - grid.mantissa_bits as i32));
            element.with_sign(grid.code_of_steps(steps, e), t)
        }
        Grid::Int(grid) => {
            let steps = round(magnitude * pow2(grid.fraction_bits as i32));
            grid.code_of_steps(steps, t.is_sign_negative()) as u8
        }
        Grid::Table(_) => element.encode(t, rounding, random),
    }
}

//! The numbers of a block variant that the templates write into PTX. Floats are given as bits.

use super::{Addressing, BlockOperation, BlockVariant, Target};
use crate::cpu::plan::{Kernel, Plan};
use crate::family::macros::chunk::Chunk;
use crate::family::macros::codes::scale_kind;
use crate::format::{
    BlockFormat, CodeLayout, Dialect, FloatType, Grid, NegativeZero, Rounding, RuleKind,
    ScaleFormat, ScaleRule, pow2,
};
use crate::kernel::ElementType;
use crate::support::conversion;
use half::bf16;
use serde::Serialize;

/// `v` in templates.
#[derive(Serialize)]
pub(crate) struct Context {
    description: String,
    version: &'static str,
    target: String,
    threads: u32,
    k: usize,
    k_log2: u32,
    lanes: u32,
    lanes_log2: u32,
    /// The `c` operand that keeps an indexed shuffle within a block's lanes.
    shuffle_segment: u32,
    is_ragged: bool,
    is_random: bool,
    /// Bf16 magnitudes two an instruction; see `pairs.j2`.
    pairs_amax: bool,
    /// Bf16 elements two an instruction; see `pairs.j2`.
    is_paired: bool,
    /// Elements are used as f32, not only as pairs of bf16.
    widens: bool,
    /// Elements by the target's conversions; see `hardware.j2`.
    is_hardware: bool,
    reads_tensor_scale: bool,
    stores_scales: bool,
    reads_scales: bool,
    rounds: bool,
    /// Codes to values.
    decodes: bool,
    /// The largest X times the largest element, which the tensor scale brings amax to.
    largest: u32,
    ignores_nan: bool,
    negative_zero: &'static str,
    /// How a magnitude and the number that aligns it are added.
    sum_rounding: &'static str,
    /// What decides whether the sum goes one step up: how its rest compares to half a step, `ge` or
    /// `gt`, a number that is `drawn`, or nothing.
    correction: Option<&'static str>,
    /// A NaN has a code of its own.
    encodes_nan: bool,
    /// Codes may be infinite or NaN.
    decodes_specials: bool,
    /// More registers than the assembler would take.
    needs_registers: bool,
    /// Just below half a step is half; see [`Dialect::lifts_to_one_step`].
    lifts_half: bool,
    dense: Dense,
    chunk: Chunk,
    element: Element,
    scale: Scale,
    rule: Rule,
}

#[derive(Serialize)]
struct Dense {
    name: &'static str,
    bytes: usize,
}

#[derive(Serialize)]
struct Element {
    /// The packed type of its conversions, as in `e2m1x2`, if a chip has any.
    conversion: Option<&'static str>,
    /// Conversions leave codes in nibbles; if not, in bytes, which may be wider than codes.
    converts_nibbles: bool,
    converts_wide: bool,
    bits: u32,
    is_int: bool,
    is_table: bool,
    has_specials: bool,
    mask: u32,
    sign_bit: u32,
    max: u32,
    max_code: u32,
    nan_code: u32,
    emax: i32,
    emin: u32,
    shift: u32,
    to_c: u32,
    decode_factor: u32,
    just_below_half: u32,
    sign_lost_up_to: u32,
    zero_word: u32,
    table: Vec<u32>,
    thresholds: Vec<u32>,
    pieces: Vec<Piece>,
    largest_pair: u32,
}

/// A straight piece of the code as a function of the magnitude, twice in a register; see
/// `pairs.j2`.
#[derive(Serialize)]
struct Piece {
    factor: u32,
    addend: u32,
}

#[derive(Serialize)]
struct Scale {
    /// How fractions are rounded to it: as `fp32`, `bf16`, `fp16` or a small `unsigned` float; a
    /// `power`.
    kind: &'static str,
    bytes: usize,
    is_power: bool,
    is_unsigned: bool,
    limit: i32,
    nan_code: u32,
    max_code: u32,
    /// The bits in use, if not all that are stored.
    mask: Option<u32>,
    max: u32,
    emin: u32,
    shift: u32,
    to_c: u32,
    decode_factor: u32,
}

#[derive(Serialize)]
struct Rule {
    is_least_error: bool,
    /// Whether an amax above zero can have a fraction of zero, which is raised to the smallest.
    lifts_zero: bool,
    /// Whether a finite amax can have a fraction above the largest scale.
    saturates: bool,
    /// Whether s can be above L for a finite amax.
    can_exceed: bool,
    /// Whether `mse` can try an s above L for a finite amax.
    tries_too_large: bool,
    /// Whether s can be 127.
    reaches_127: bool,
    /// Whether the exponent of a subnormal amax matters.
    normalises: bool,
    /// What carries into the exponent where the rule adds one.
    carry: u32,
    has_window: bool,
    windows: [u32; 2],
    window_shift: u32,
    /// The amax bits that an all-zero block is taken to have, or 0.
    zero_amax: u32,
}

const MANTISSA_BITS: u32 = 23;
const MANTISSA: u32 = (1 << MANTISSA_BITS) - 1;

impl Context {
    pub fn new(variant: &BlockVariant) -> Self {
        let format = variant.format();
        let plan = Plan::new(*format, variant.dense());
        let dialect = format.dialect();
        let lanes = variant.lanes_per_block();
        let element = Element::new(&plan);
        let operation = variant.operation();
        let (sum_rounding, correction) = match format.rounding() {
            Rounding::Even => ("rn", None),
            Rounding::Away => ("rz", Some("ge")),
            Rounding::HalfToZero => ("rz", Some("gt")),
            Rounding::TowardZero => ("rz", None),
            Rounding::Stochastic { .. } => ("rz", Some("drawn")),
        };
        let (pairs_amax, is_paired) = (pairs_amax(variant), is_paired(variant, &plan, &element));
        Self {
            description: format.to_string(),
            version: variant.target().ptx_version(),
            target: variant.target().to_string(),
            threads: variant.block_threads(),
            k: format.block_size(),
            k_log2: format.block_size().ilog2(),
            lanes,
            lanes_log2: lanes.ilog2(),
            shuffle_segment: (32 - lanes) << 8 | 31,
            is_ragged: variant.addressing() == Addressing::Ragged,
            is_random: variant.is_random(),
            pairs_amax,
            is_paired,
            widens: !(is_paired || pairs_amax && variant.operation() == BlockOperation::Scale),
            is_hardware: variant.target() != Target::Sm80,
            reads_tensor_scale: variant.reads_tensor_scale(),
            stores_scales: variant.operation().stores_scales(),
            reads_scales: variant.operation().reads_scales(),
            rounds: variant.operation().rounds(),
            decodes: matches!(
                variant.operation(),
                BlockOperation::Dequantize | BlockOperation::FakeQuantize
            ),
            largest: format.largest().to_bits(),
            ignores_nan: dialect.ignores_nan() && variant.operation() != BlockOperation::Dequantize,
            negative_zero: match dialect.negative_zero() {
                NegativeZero::Kept => "kept",
                NegativeZero::Rounded => "rounded",
                NegativeZero::Dropped => "dropped",
            },
            sum_rounding,
            correction,
            encodes_nan: match operation {
                BlockOperation::Round => true,
                BlockOperation::TensorScale
                | BlockOperation::Scale
                | BlockOperation::Quantize
                | BlockOperation::Dequantize
                | BlockOperation::FakeQuantize => false,
            },
            decodes_specials: operation == BlockOperation::Dequantize && element.has_specials,
            needs_registers: operation == BlockOperation::FakeQuantize
                && format.rule().is_least_error(),
            lifts_half: matches!(plan.kernel, Kernel::TorchEven | Kernel::TorchAway)
                || (dialect == Dialect::MicroxcalingTorch && format.rule().is_least_error()),
            dense: Dense {
                name: ElementType::from(variant.dense()).name(),
                bytes: variant.dense().bytes(),
            },
            chunk: Chunk::new(format.element().layout()),
            element,
            scale: Scale::new(format.scale()),
            rule: Rule::new(format, variant.dense()),
        }
    }
}

/// Whether amax is taken over pairs of bf16.
fn pairs_amax(variant: &BlockVariant) -> bool {
    let format = variant.format();
    variant.operation().chooses_scales()
        && variant.dense() == FloatType::Bf16
        && variant.addressing() == Addressing::Aligned
        && !format.rule().is_least_error()
        && !format.dialect().ignores_nan()
}

/// Whether elements are rounded in pairs of bf16.
fn is_paired(variant: &BlockVariant, plan: &Plan, element: &Element) -> bool {
    let packs_pairs = match plan.format.element().layout() {
        CodeLayout::Bits4 | CodeLayout::Bits6 | CodeLayout::Bits8 => true,
        CodeLayout::Bits2 | CodeLayout::Bits3 | CodeLayout::Bits5 | CodeLayout::Bits7 => false,
    };
    let rounds_in_pieces = match (plan.kernel, element.pieces.len()) {
        (Kernel::EvenSigned, 1..) => true,
        (Kernel::Even, 1..) => element.is_int,
        _ => false,
    };
    variant.operation() == BlockOperation::Quantize
        && variant.target() == Target::Sm80
        && pairs_amax(variant)
        && packs_pairs
        && rounds_in_pieces
        && plan.format.scale().is_power_of_two()
}

impl Element {
    fn new(plan: &Plan) -> Self {
        let (format, codec) = (plan.format.element(), &plan.codec);
        let bits = format.bits();
        let (is_table, has_specials, nan_code) = match format.grid() {
            Grid::Float(grid) => {
                let nan_code = grid.nan_code();
                (
                    false,
                    nan_code.is_some(),
                    nan_code.unwrap_or(grid.max_code()),
                )
            }
            Grid::Int(_) => (false, false, 0),
            Grid::Table(_) => (true, false, u32::from(format.zero_code())),
        };
        let decode_factor = match format.grid() {
            Grid::Float(grid) => pow2(127 - grid.bias),
            Grid::Int(grid) => pow2(-(grid.fraction_bits as i32)),
            Grid::Table(_) => 1.0,
        };
        let float_bits = |values: &[f32]| values.iter().map(|x| x.to_bits()).collect();
        let (table, thresholds) = if is_table {
            (float_bits(&codec.values), float_bits(&codec.thresholds))
        } else {
            (Vec::new(), Vec::new())
        };
        let (converts_nibbles, converts_wide) = match format.layout() {
            CodeLayout::Bits4 => (true, false),
            CodeLayout::Bits8 => (false, false),
            CodeLayout::Bits2
            | CodeLayout::Bits3
            | CodeLayout::Bits5
            | CodeLayout::Bits6
            | CodeLayout::Bits7 => (false, true),
        };
        Self {
            conversion: conversion(format).map(|(_, name)| name),
            converts_nibbles,
            converts_wide,
            bits,
            is_int: codec.is_int,
            is_table,
            has_specials,
            mask: format.layout().mask().into(),
            sign_bit: format.layout().top_bit().into(),
            max: codec.max.to_bits(),
            max_code: codec.max_code,
            nan_code,
            emax: format.emax(),
            emin: codec.emin,
            shift: codec.shift,
            to_c: codec.shift << MANTISSA_BITS,
            decode_factor: (decode_factor as f32).to_bits(),
            just_below_half: codec.just_below_half.to_bits(),
            sign_lost_up_to: codec.sign_lost_up_to.to_bits(),
            zero_word: u32::from(plan.zero_byte) * 0x0101_0101,
            table,
            thresholds,
            pieces: pieces(format.grid()),
            largest_pair: largest_pair(format.grid()),
        }
    }
}

/// M, the number of binades, and u = 2^-(M - emin) of a grid whose codes have at most the seven
/// bits behind bf16's leading one.
fn piece_grid(grid: Grid) -> Option<(u32, i32, f64)> {
    match grid {
        Grid::Float(grid) if grid.exponent_bits + grid.mantissa_bits <= 5 => {
            let mantissa_bits = grid.mantissa_bits;
            let u = pow2(grid.emin() - mantissa_bits as i32);
            Some((mantissa_bits, grid.emax() - grid.emin() + 1, u))
        }
        Grid::Int(grid) => Some((0, 1, pow2(-(grid.fraction_bits as i32)))),
        Grid::Float(_) | Grid::Table(_) => None,
    }
}

fn pieces(grid: Grid) -> Vec<Piece> {
    let Some((mantissa_bits, count, u)) = piece_grid(grid) else {
        return Vec::new();
    };
    let piece = |b: i32| Piece {
        factor: bf16_pair(pow2(-b)),
        addend: bf16_pair(u * (128.0 + f64::from(b << mantissa_bits))),
    };
    (0..count).map(piece).collect()
}

fn largest_pair(grid: Grid) -> u32 {
    let largest = match grid {
        Grid::Float(grid) => grid.max_code(),
        Grid::Int(grid) => grid.max_code(),
        Grid::Table(_) => 0,
    };
    piece_grid(grid).map_or(0, |(_, _, u)| bf16_pair(u * (128.0 + f64::from(largest))))
}

/// Twice the same bf16, which must hold `x` exactly.
fn bf16_pair(x: f64) -> u32 {
    let rounded = bf16::from_f64(x);
    // A kernel rendered with another constant would round every element of the format wrongly.
    assert_eq!(
        rounded.to_f64(),
        x,
        "a constant of a PTX template is no bf16"
    );
    u32::from(rounded.to_bits()) * 0x1_0001
}

impl Scale {
    fn new(scale: ScaleFormat) -> Self {
        // Those that are converted by instructions or shifts need no numbers.
        let (exponent_bits, mantissa_bits) = scale.float_bits().unwrap_or((5, 10));
        let kind = scale_kind(scale);
        let bias = (1 << (exponent_bits - 1)) - 1;
        let shift = MANTISSA_BITS - mantissa_bits;
        Self {
            kind,
            bytes: scale.storage_bytes(),
            is_power: scale.is_power_of_two(),
            is_unsigned: kind == "unsigned",
            limit: scale.exponent_limit().unwrap_or(0),
            nan_code: scale.nan_code(),
            max_code: scale.max_code(),
            mask: (!scale.bits().is_multiple_of(8)).then(|| u32::MAX >> (32 - scale.bits())),
            max: scale.max().to_bits(),
            emin: (128 - bias) << MANTISSA_BITS,
            shift,
            to_c: shift << MANTISSA_BITS,
            decode_factor: (pow2(127 - bias as i32) as f32).to_bits(),
        }
    }
}

impl Rule {
    fn new(format: &BlockFormat, source: FloatType) -> Self {
        let (rule, dialect) = (format.rule(), format.dialect());
        let rounded_log2 = dialect.rounded_log2(source);
        let rounded_log2 = rounded_log2.filter(|_| rule.follows_log2());
        // Bytes by binade, as in the dialect's definition of a rounded logarithm.
        let (windows, window_shift) = match rounded_log2 {
            Some(FloatType::F32) => ([0x0502_0100, 0x002C_160B], 0),
            Some(FloatType::Bf16) => ([0x0502_0100, 0x0028_150A], MANTISSA_BITS - 7),
            Some(FloatType::F16) | None => ([0; 2], 0),
        };
        let is_least_error = rule.is_least_error();
        let carry = match rule {
            ScaleRule::Ceil => MANTISSA,
            ScaleRule::Rceil => MANTISSA - (format.element().max_normal().to_bits() & MANTISSA),
            ScaleRule::Even => {
                1 << (MANTISSA_BITS - 1 - format.element().mantissa_bits().unwrap_or(0))
            }
            ScaleRule::Floor
            | ScaleRule::Mse
            | ScaleRule::Nearest
            | ScaleRule::NearestFlush
            | ScaleRule::FourOverSix => 0,
        };
        let (smallest, largest) = (
            source.from_bits(1),
            source.from_bits(source.to_bits(f32::INFINITY) - 1),
        );
        let scale = format.scale();
        let fraction = |amax: f32| amax / format.element().max_normal();
        let most = match rule.kind() {
            RuleKind::FourOverSix => 1.5,
            RuleKind::Exponent | RuleKind::LeastError | RuleKind::Fraction { .. } => 1.0,
        };
        // A tensor scale may bring any fraction anywhere.
        let fraction_code = |amax| match format.has_tensor_scale() {
            true => 0,
            false => scale.encode_nearest(fraction(amax)),
        };
        let emax = format.element().emax();
        let goes_up = carry != 0 || rounded_log2.is_some();
        let largest_log2 = if source == FloatType::F16 { 15 } else { 127 };
        let largest_s = largest_log2 + i32::from(goes_up) - emax;
        // Those that `mse` tries: the first decides whether there is any.
        let (first, last) = (
            largest_s - i32::from(is_least_error),
            largest_s + i32::from(is_least_error),
        );
        let limit = format.scale().exponent_limit().unwrap_or(i32::MAX);
        Self {
            can_exceed: first > limit,
            tries_too_large: last > limit,
            reaches_127: last.min(limit) >= 127,
            normalises: goes_up && emax == 0 && source != FloatType::F16,
            is_least_error,
            lifts_zero: rule.lifts_zero() && fraction_code(smallest) == 0,
            saturates: format.has_tensor_scale() || most * fraction(largest) > scale.max(),
            carry,
            has_window: windows != [0; 2],
            windows,
            window_shift,
            zero_amax: dialect.amax_of_zeros().to_bits(),
        }
    }
}

//! Products with packed weights against their definition, the chains, bit for bit on every path;
//! and that definition against sums in f64.

use mxlab_kernels::cpu::{Bf16Rows, Matmul, Panels, Path};
use mxlab_kernels::format::{
    BlockFormat, ElementFormat, FloatType, FormatError, GgmlFormat, PackedTensor, ScaleFormat,
    random_at,
};
use mxlab_kernels::reference::{self, Operand};
use proptest::prelude::*;
use proptest::sample::select;

/// Any element under any scale, with block sizes that are and are not read as words.
fn formats() -> impl Strategy<Value = BlockFormat> {
    let scales: Vec<ScaleFormat> = ScaleFormat::all().collect();
    let sizes = prop_oneof![
        5 => select(vec![8usize, 16, 32, 48, 64, 128]),
        1 => 1usize..100,
    ];
    let scales = prop_oneof![Just(ScaleFormat::E8M0), select(scales)];
    let choice = (
        select(ElementFormat::ALL.to_vec()),
        scales,
        sizes,
        any::<bool>(),
    );
    choice.prop_filter_map(
        "parts do not fit",
        |(element, scale, size, tensor_scale)| {
            let base = BlockFormat::new(element).scale(scale).block_size(size);
            let built = base.tensor_scale(tensor_scale).build();
            built.or_else(|_| base.build()).ok()
        },
    )
}

/// Columns of parts of a step, of whole steps, of more than a chain.
fn columns() -> impl Strategy<Value = usize> {
    prop_oneof![
        2 => 1usize..200,
        2 => (1usize..20).prop_map(|steps| 32 * steps),
        1 => 500usize..1200,
    ]
}

#[derive(Clone, Copy, Debug)]
enum Style {
    F32,
    Bf16,
    /// bf16 of any exponent, subnormals, infinities and NaN among them.
    AnyBf16,
    /// Of magnitudes so small that products vanish, and leave zeros of either sign.
    Tiny,
}

fn activations(len: usize, style: Style, seed: u32) -> Vec<f32> {
    let value = |i: u64| {
        let bits = random_at(seed, i);
        let bits = match style {
            Style::AnyBf16 if random_at(seed ^ 1, i).is_multiple_of(8) => {
                return f32::from_bits(bits & 0xFFFF_0000);
            }
            Style::Tiny => return f32::from_bits(bits & 0x8000_0000 | bits >> 23 & 63),
            // Exponents -8..8, and zeros.
            _ if bits >> 23 & 15 == 15 => bits & 0x8000_0000,
            _ => bits & 0x807F_FFFF | (119 + (bits >> 23 & 15)) << 23,
        };
        f32::from_bits(if matches!(style, Style::F32) {
            bits
        } else {
            bits & 0xFFFF_0000
        })
    };
    (0..len as u64).map(value).collect()
}

/// Random codes and scales: all of them, or finite elements under scales of few binades.
pub fn packed(
    format: BlockFormat,
    rows: usize,
    cols: usize,
    is_wild: bool,
    seed: u32,
) -> PackedTensor {
    let empty = PackedTensor::zeroed(format, rows, cols).unwrap();
    let element = format.element();
    let byte = |i: usize| {
        let byte = random_at(seed, i as u64) as u8;
        let is_special = element.bits() == 8 && !element.decode(byte).is_finite();
        if is_special && !is_wild { 1 } else { byte }
    };
    let mut codes: Vec<u8> = (0..empty.codes().len()).map(byte).collect();
    // As packed: what is behind a row's last code is zero.
    let behind = empty.row_code_bytes() * 8 - cols * element.bits() as usize;
    for row in codes.chunks_exact_mut(empty.row_code_bytes()) {
        row[empty.row_code_bytes() - 1] &= u8::MAX >> behind;
    }
    let scale = format.scale();
    let one = scale.encode_nearest(1.0);
    let spread = 1 << scale.bits().saturating_sub(4).min(3);
    let mut scales = Vec::new();
    for i in 0..empty.scales().len() / scale.storage_bytes() {
        let random = random_at(seed ^ 7, i as u64);
        let code = if is_wild {
            random
        } else {
            one.wrapping_add(random % (2 * spread)) - spread
        };
        scales.extend_from_slice(&code.to_le_bytes()[..scale.storage_bytes()]);
    }
    let tensor_scale = if format.has_tensor_scale() { 0.37 } else { 1.0 };
    PackedTensor::new(format, rows, cols, codes, scales, tensor_scale).unwrap()
}

/// The definition: chains of 512 fused multiply-adds, added up in order.
fn chains(x: &[f32], w: &[f32]) -> f32 {
    let chain = |(x, w): (&[f32], &[f32])| {
        x.iter()
            .zip(w)
            .fold(0.0f32, |sum, (x, w)| w.mul_add(*x, sum))
    };
    let sums = x.chunks(512).zip(w.chunks(512)).map(chain);
    sums.reduce(|total, sum| total + sum).unwrap_or(0.0)
}

pub fn bits(x: f32) -> u32 {
    if x.is_nan() {
        f32::NAN.to_bits()
    } else {
        x.to_bits()
    }
}

/// Checks every path on one problem.
fn check(x: &[f32], weights: &PackedTensor, value_type: FloatType) -> Result<(), TestCaseError> {
    let panels = Panels::new(weights);
    prop_assert_eq!(&panels.packed_rows(0..weights.rows()).unwrap(), weights);
    let what = weights.format().to_string();
    check_panels(
        x,
        &panels,
        reference::dequantize(weights),
        value_type,
        &what,
    )
}

/// The same, where the values of W are told.
fn check_panels(
    x: &[f32],
    panels: &Panels,
    mut values: Vec<f32>,
    value_type: FloatType,
    what: &str,
) -> Result<(), TestCaseError> {
    let (rows, cols) = (panels.rows(), panels.cols());
    values
        .iter_mut()
        .for_each(|value| *value = value_type.round(*value));
    let mut expected = Vec::new();
    for x in x.chunks_exact(cols) {
        expected.extend(values.chunks_exact(cols).map(|w| chains(x, w)));
    }
    for path in Path::available() {
        let mut y = vec![7.0; x.len() / cols * rows];
        let matmul = Matmul::new(panels).rounded_to(value_type).with_path(path);
        matmul.multiply(x, &mut y).unwrap();
        for (i, (&y, &expected)) in y.iter().zip(&expected).enumerate() {
            prop_assert_eq!(
                bits(y),
                bits(expected),
                "{} {} as {:?}: token {} row {}: {:e}, expected {:e}",
                path,
                what,
                value_type,
                i / rows,
                i % rows,
                y,
                expected
            );
        }
    }
    Ok(())
}

/// PROPTEST_CASES asks for more than these.
pub fn config(at_least: u32) -> ProptestConfig {
    let default = ProptestConfig::default();
    ProptestConfig {
        cases: default.cases.max(at_least),
        max_local_rejects: u32::MAX,
        failure_persistence: None,
        ..default
    }
}

proptest! {
    #![proptest_config(config(1500))]

    #[test]
    fn every_path_adds_the_chains_in_order(
        format in formats(),
        (rows, cols) in (1usize..140, columns()),
        tokens in prop_oneof![Just(1usize), 2usize..30],
        style in select(vec![Style::F32, Style::Bf16, Style::AnyBf16, Style::Tiny]),
        value_type in select(FloatType::ALL.to_vec()),
        is_wild in any::<bool>(),
        seed in any::<u32>(),
    ) {
        let weights = packed(format, rows, cols, is_wild, seed);
        check(&activations(tokens * cols, style, seed), &weights, value_type)?;
    }
}

/// Every format of the table at a shape that every part of a tile and of a chain sees.
#[test]
fn every_format_in_full_tiles() {
    for &element in ElementFormat::ALL {
        for scale in [
            ScaleFormat::E8M0,
            ScaleFormat::UE4M3,
            ScaleFormat::UE5M3,
            ScaleFormat::Fp16,
            ScaleFormat::Bf16,
            ScaleFormat::Fp32,
        ] {
            for size in [8, 16, 32, 128] {
                let format = BlockFormat::new(element)
                    .scale(scale)
                    .block_size(size)
                    .build()
                    .unwrap();
                let weights = packed(format, 129, 544, false, 3);
                for (tokens, style) in [(1, Style::F32), (1, Style::Bf16), (25, Style::Bf16)] {
                    check(
                        &activations(tokens * 544, style, 5),
                        &weights,
                        FloatType::F32,
                    )
                    .unwrap();
                }
            }
        }
    }
}

/// Blocks of zeros under the smallest scale, beside others, and scales at the ends of what is
/// rounded in registers.
#[test]
fn scales_at_the_ends_are_applied_exactly() {
    let (rows, cols) = (40, 128);
    for element in [
        ElementFormat::FP4_E2M1,
        ElementFormat::NF4,
        ElementFormat::INT8,
    ] {
        let format = BlockFormat::new(element).build().unwrap();
        let tame = packed(format, rows, cols, false, 3);
        for code in [0, 1, 20, 26, 27, 28, 30, 126, 236, 237, 238, 250, 254] {
            for has_zeros in [false, true] {
                let (mut codes, mut scales) = (tame.codes().to_vec(), tame.scales().to_vec());
                scales[5] = code;
                if has_zeros {
                    let block_bytes = tame.row_code_bytes() / 4;
                    let zero = element.zero_code() & element.layout().mask();
                    let byte = if element.bits() == 4 {
                        zero | zero << 4
                    } else {
                        zero
                    };
                    codes[5 * block_bytes..][..block_bytes].fill(byte);
                }
                let weights = PackedTensor::new(format, rows, cols, codes, scales, 1.0).unwrap();
                for style in [Style::F32, Style::Bf16] {
                    for value_type in FloatType::ALL {
                        let x = activations(3 * cols, style, 5);
                        check(&x[..cols], &weights, value_type).unwrap();
                        check(&x, &weights, value_type).unwrap();
                    }
                }
            }
        }
    }
}

/// Blocks of any bits, but scales and minima of few binades, or finite, or any.
#[test]
fn products_with_blocks_of_ggml_are_chains() {
    let mut taken = 0;
    for format in GgmlFormat::ALL {
        for (seed, (rows, cols, tokens)) in [
            (1usize, 32usize, 1usize),
            (70, 544, 1),
            (33, 1056, 1),
            (129, 544, 14),
        ]
        .into_iter()
        .enumerate()
        {
            let cols = cols.next_multiple_of(format.block_size());
            let row_bytes = format.row_bytes(cols);
            let random = |i: usize| random_at(seed as u32, i as u64);
            for exponent in [0x3C00, 0x0000, 0x7800, 0x7C00] {
                let mut blocks: Vec<u8> = (0..rows * row_bytes).map(|i| random(i) as u8).collect();
                for (i, block) in blocks.chunks_exact_mut(format.block_bytes()).enumerate() {
                    let halves = if format.block_bytes() % 4 == 0 { 2 } else { 1 };
                    for (half, bytes) in block.chunks_exact_mut(2).take(halves).enumerate() {
                        let bits = random(i) as u16 >> (8 * half) & 0x83FF | exponent;
                        bytes.copy_from_slice(&bits.to_le_bytes());
                    }
                }
                let row_of = |row: usize| &blocks[row * row_bytes..][..row_bytes];
                let Some(panels) = Panels::of_ggml(format, [rows, cols], row_of).unwrap() else {
                    continue;
                };
                taken += 1;
                let mut values = vec![0.0; rows * cols];
                format.decode(&blocks, &mut values);
                let mut decoded = vec![0.0; rows * cols];
                panels.dequantize_rows(0..rows, &mut decoded).unwrap();
                for (decoded, value) in decoded.iter().zip(&values) {
                    assert_eq!(bits(*decoded), bits(*value), "{format}");
                }
                for style in [Style::F32, Style::Bf16, Style::Tiny] {
                    for value_type in FloatType::ALL {
                        let x = activations(tokens * cols, style, 5);
                        let what = format!("{format} {exponent:x}");
                        check_panels(&x, &panels, values.clone(), value_type, &what).unwrap();
                    }
                }
            }
        }
    }
    assert_eq!(taken, 6 * 4 * 4);
    let short = Panels::of_ggml(GgmlFormat::Q8_0, [1, 64], |_| &[0; 34]);
    assert!(matches!(short, Err(FormatError::Length { .. })));
}

/// An infinity or NaN among finite codes: only its own row has a sum that is not finite.
#[test]
fn elements_that_are_not_finite_stay_so() {
    for (element, special) in [
        (ElementFormat::FP8_E4M3, 0xFF),
        (ElementFormat::FP8_E5M2, 0x7C),
        (ElementFormat::FP8_E5M2, 0xFD),
    ] {
        let format = BlockFormat::new(element).build().unwrap();
        let (rows, cols) = (70, 96);
        let tame = packed(format, rows, cols, false, 13);
        let mut codes = tame.codes().to_vec();
        codes[20 * cols + 33] = special;
        let scales = tame.scales().to_vec();
        let weights = PackedTensor::new(format, rows, cols, codes, scales, 1.0).unwrap();
        for tokens in [1, 5] {
            let x = activations(tokens * cols, Style::Bf16, 3);
            check(&x, &weights, FloatType::F32).unwrap();
        }
    }
}

/// Rows of bf16 of many magnitudes, subnormals among them.
#[test]
fn products_with_bf16_rows_are_chains() {
    let sizes = [
        (1, 1, 1),
        (33, 31, 2),
        (64, 512, 13),
        (70, 513, 5),
        (5, 1300, 30),
        (130, 64, 1),
    ];
    for (index, (rows, cols, tokens)) in sizes.into_iter().enumerate() {
        for style in [Style::F32, Style::Bf16, Style::AnyBf16] {
            // Exponents from there on; products of the last ones with bf16 x just stay normal, or
            // do not.
            for least in [
                None,
                Some(119),
                Some(23),
                Some(22),
                Some(21),
                Some(1),
                Some(0),
            ] {
                let seed = index as u32;
                let random = |i: usize| random_at(seed, i as u64) as u16;
                let weights: Vec<u16> = (0..rows * cols)
                    .map(|i| match (least, random(i)) {
                        // All but infinities and NaN.
                        (None, bits) => bits & 0xBFFF,
                        (_, bits) if bits >> 7 & 15 == 15 => bits & 0x8000,
                        (Some(least), bits) => bits & 0x807F | (least + (bits >> 7 & 15)) << 7,
                    })
                    .collect();
                let w: Vec<f32> = weights
                    .iter()
                    .map(|&bits| f32::from_bits(u32::from(bits) << 16))
                    .collect();
                let x = activations(tokens * cols, style, seed);
                let bytes: Vec<u8> = weights.iter().flat_map(|bits| bits.to_le_bytes()).collect();
                let dense = Bf16Rows::new(&bytes, cols).unwrap();
                for path in Path::available() {
                    let mut y = vec![7.0; tokens * rows];
                    Matmul::new(dense)
                        .with_path(path)
                        .multiply(&x, &mut y)
                        .unwrap();
                    for (token, x) in x.chunks_exact(cols).enumerate() {
                        for (row, w) in w.chunks_exact(cols).enumerate() {
                            let (got, expected) = (y[token * rows + row], chains(x, w));
                            assert_eq!(
                                bits(got),
                                bits(expected),
                                "{path} {rows}x{cols} {token} {row}"
                            );
                        }
                    }
                }
            }
        }
    }
    let bytes = [0; 12];
    assert!(Bf16Rows::new(&bytes, 3).is_ok());
    for (bytes, cols) in [(&bytes[..11], 3), (&bytes[..], 4), (&bytes[..], 0)] {
        let rows = Bf16Rows::new(bytes, cols);
        assert!(matches!(rows, Err(FormatError::Length { .. })), "{cols}");
    }
}

/// A sum of n products by fused steps is off by at most n u sum |p|, u = 2^-24; the chains'
/// additions are among the n. (Higham, Accuracy and Stability of Numerical Algorithms, 3.1.)
#[test]
fn chains_lie_within_the_bound_of_exact_sums() {
    let format = BlockFormat::new(ElementFormat::FP4_E2M1).build().unwrap();
    let (rows, cols, tokens) = (40, 1500, 13);
    let weights = packed(format, rows, cols, false, 11);
    for style in [Style::F32, Style::Bf16] {
        let x = activations(tokens * cols, style, 17);
        let mut y = vec![0.0; tokens * rows];
        let panels = Panels::new(&weights);
        Matmul::new(&panels).multiply(&x, &mut y).unwrap();
        let dense = |values: &[f32]| -> Vec<f64> {
            let x = Operand::Dense {
                values,
                rows: tokens,
                cols,
            };
            reference::matmul(x, Operand::Packed(&weights)).unwrap()
        };
        let magnitudes: Vec<f32> = x.iter().map(|x| x.abs()).collect();
        let positive: Vec<f32> = reference::dequantize(&weights)
            .iter()
            .map(|w| w.abs())
            .collect();
        let bounds = reference::matmul(
            Operand::Dense {
                values: &magnitudes,
                rows: tokens,
                cols,
            },
            Operand::Dense {
                values: &positive,
                rows,
                cols,
            },
        )
        .unwrap();
        for ((y, exact), bound) in y.iter().zip(dense(&x)).zip(bounds) {
            let error = (f64::from(*y) - exact).abs();
            assert!(
                error <= (cols + 3) as f64 * 2f64.powi(-24) * bound,
                "{y:e} {exact:e}"
            );
        }
    }
}

#[test]
fn threads_and_tokens_beside_change_nothing() {
    let format = BlockFormat::new(ElementFormat::FP6_E2M3).build().unwrap();
    let (rows, cols, tokens) = (300, 700, 41);
    let weights = Panels::new(&packed(format, rows, cols, false, 1));
    let x = activations(tokens * cols, Style::Bf16, 2);
    let multiply = |x: &[f32], threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .unwrap();
        let mut y = vec![0.0; x.len() / cols * rows];
        pool.install(|| Matmul::new(&weights).multiply(x, &mut y))
            .unwrap();
        y
    };
    let whole = multiply(&x, 1);
    assert_eq!(whole, multiply(&x, 3));
    for (x, y) in x.chunks_exact(cols).zip(whole.chunks_exact(rows)) {
        assert_eq!(multiply(x, 2), y);
    }
    let some = multiply(&x[..7 * cols], 2);
    assert_eq!(some, whole[..7 * rows]);
}

#[test]
fn lengths_that_do_not_fit_are_refused() {
    let format = BlockFormat::new(ElementFormat::FP4_E2M1).build().unwrap();
    let weights = Panels::new(&packed(format, 3, 40, false, 1));
    for (x, y) in [(40, 4), (39, 3), (80, 3), (0, 3)] {
        let product = Matmul::new(&weights).multiply(&vec![0.0; x], &mut vec![0.0; y]);
        assert!(
            matches!(product, Err(FormatError::Length { .. })),
            "{x} {y}"
        );
    }
    assert_eq!(Matmul::new(&weights).multiply(&[], &mut []), Ok(()));
}

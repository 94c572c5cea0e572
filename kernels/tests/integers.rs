//! Products of integers against their reference, bit for bit on every path; and that reference
//! against sums in f64.

use crate::matmul::{bits, config, packed};
use mxlab_kernels::cpu::{self, CodeRows, IntegerMatmul, IntegerPath, Panels, Quantizer};
use mxlab_kernels::format::{
    BlockFormat, ElementFormat, FloatType, FormatError, GgmlFormat, IntegerElement, IntegerPair,
    PackedTensor, ScaleFormat, random_at,
};
use mxlab_kernels::reference::{self, Operand};
use proptest::prelude::*;
use proptest::sample::select;

const ELEMENTS: [ElementFormat; 5] = [
    ElementFormat::FP4_E2M1,
    ElementFormat::FP6_E2M3,
    ElementFormat::FP6_E3M2,
    ElementFormat::INT4,
    ElementFormat::INT8,
];

fn format(element: ElementFormat, scale: ScaleFormat, k: usize, has_scale: bool) -> BlockFormat {
    let base = BlockFormat::new(element).scale(scale).block_size(k);
    let built = base.tensor_scale(has_scale).build();
    built.or_else(|_| base.build()).unwrap()
}

/// Formats of x and W, under any scales.
fn pairs() -> impl Strategy<Value = [BlockFormat; 2]> {
    let side = || {
        let scales: Vec<ScaleFormat> = ScaleFormat::all().collect();
        let scale = prop_oneof![Just(ScaleFormat::E8M0), select(scales)];
        (select(ELEMENTS.to_vec()), scale, any::<bool>())
    };
    let sizes = select(vec![16usize, 32, 48, 64, 128, 1024]);
    (side(), side(), sizes).prop_map(|(x, w, k)| [x, w].map(|(e, s, t)| format(e, s, k, t)))
}

/// Checks every path on one problem.
fn check(x: &PackedTensor, w: &PackedTensor) -> Result<(), TestCaseError> {
    check_panels(x, w, &Panels::new(w))
}

/// The same, with the panels of `w`.
fn check_panels(x: &PackedTensor, w: &PackedTensor, panels: &Panels) -> Result<(), TestCaseError> {
    let expected = reference::integer_matmul(x, w).unwrap();
    let rows = w.rows();
    for path in IntegerPath::available() {
        let mut y = vec![7.0; x.rows() * rows];
        let matmul = IntegerMatmul::new(panels).with_path(path);
        matmul.multiply(&CodeRows::from(x), &mut y).unwrap();
        for (i, (&y, &expected)) in y.iter().zip(&expected).enumerate() {
            prop_assert_eq!(
                bits(y),
                bits(expected),
                "{} {} by {}: token {} row {}: {:e}, expected {:e}",
                path,
                x.format(),
                w.format(),
                i / rows,
                i % rows,
                y,
                expected
            );
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(config(1000))]

    #[test]
    fn every_path_equals_the_reference(
        [x, w] in pairs(),
        rows in 1usize..140,
        cols in prop_oneof![1usize..200, (1usize..20).prop_map(|k| 32 * k), 500usize..1200],
        tokens in prop_oneof![Just(1usize), 2usize..30],
        is_wild in any::<bool>(),
        seed in any::<u32>(),
    ) {
        // Random codes: -128 of INT8 and scales that are NaN among them.
        let x = packed(x, tokens, cols, is_wild, seed);
        let w = packed(w, rows, cols, is_wild, seed ^ 0xABCD);
        check(&x, &w)?;
    }
}

/// Blocks of ggml that are elements under scales: the same values, and products of integers.
#[test]
fn blocks_of_ggml_are_integers_where_they_are_elements() {
    let (rows, cols) = (35, 96);
    let mut taken = 0;
    for ggml in GgmlFormat::ALL {
        let Some((format, _)) = ggml.as_blocks() else {
            continue;
        };
        taken += 1;
        let row_bytes = ggml.row_bytes(cols);
        let random = |i: usize| random_at(9, i as u64) as u8;
        let mut blocks: Vec<u8> = (0..rows * row_bytes).map(random).collect();
        for block in blocks.chunks_exact_mut(ggml.block_bytes()) {
            // A scale near 1: those of any bits are in the test of values.
            block[1] = 0x3C | block[1] & 0x83;
        }
        let row_of = |row: usize| &blocks[row * row_bytes..][..row_bytes];
        let panels = Panels::of_ggml(ggml, [rows, cols], row_of)
            .unwrap()
            .unwrap();
        assert_eq!(panels.block_format().unwrap(), &format);
        let w = panels.packed_rows(0..rows).unwrap();
        let (mut expected, mut values) = (vec![0.0; rows * cols], vec![0.0; rows * cols]);
        ggml.decode(&blocks, &mut expected);
        cpu::dequantize(&w, &mut values).unwrap();
        assert_eq!(values, expected, "{ggml}");

        let x = self::format(ElementFormat::INT8, ScaleFormat::E8M0, 32, false);
        let x = packed(x, 3, cols, false, 4);
        check_panels(&x, &w, &panels).unwrap();
    }
    assert_eq!(taken, 2);
}

/// One code everywhere: the largest integers of both signs, whose 16-bit sums are the largest.
#[test]
fn sums_of_the_largest_codes_do_not_overflow() {
    let filled = |format: BlockFormat, rows: usize, cols: usize, code: u8| {
        let layout = format.element().layout();
        let mut row = vec![0; layout.bytes(cols)];
        layout.pack(&vec![code; cols], &mut row);
        let empty = PackedTensor::zeroed(format, rows, cols).unwrap();
        let one = format.scale().encode_nearest(1.0).to_le_bytes();
        let scales = one[..format.scale().storage_bytes()].repeat(empty.scales().len());
        let scales = scales[..empty.scales().len()].to_vec();
        PackedTensor::new(format, rows, cols, row.repeat(rows), scales, 1.0).unwrap()
    };
    // Codes of the lowest and the largest integer.
    let ends = |element: ElementFormat| {
        let integers = IntegerElement::new(element).unwrap();
        let by_integer = |code: &u8| integers.integer(*code);
        [
            element.codes().min_by_key(by_integer).unwrap(),
            element.codes().max_by_key(by_integer).unwrap(),
        ]
    };
    for (x, w) in ELEMENTS.iter().flat_map(|&x| ELEMENTS.map(|w| (x, w))) {
        for k in [16, 32, 256] {
            let [of_x, of_w] = [x, w].map(|element| format(element, ScaleFormat::E8M0, k, false));
            for (code_x, code_w) in ends(x).into_iter().flat_map(|x| ends(w).map(|w| (x, w))) {
                for tokens in [1, 7] {
                    let x = filled(of_x, tokens, 512, code_x);
                    let w = filled(of_w, 33, 512, code_w);
                    check(&x, &w).unwrap();
                }
            }
        }
    }
}

/// A block's sum has an error if it has more than 24 bits, the factor's product another, and each
/// fused step one more: at most (blocks + 2) u sum |p|. Two tensor scales and their rounding in the
/// dequantised values add five. u = 2^-24. (Higham, Accuracy and Stability of Numerical Algorithms,
/// 3.1.)
#[test]
fn the_reference_lies_within_the_bound_of_exact_sums() {
    for (x, w) in ELEMENTS.iter().flat_map(|&x| ELEMENTS.map(|w| (x, w))) {
        for (scale, k) in [(ScaleFormat::E8M0, 32), (ScaleFormat::UE4M3, 16)] {
            let (tokens, rows, cols) = (3, 9, 1500);
            let x = packed(format(x, scale, k, true), tokens, cols, false, 3);
            let w = packed(format(w, scale, k, true), rows, cols, false, 5);
            let y = reference::integer_matmul(&x, &w).unwrap();
            let exact = reference::matmul(Operand::Packed(&x), Operand::Packed(&w)).unwrap();
            let magnitudes = |packed: &PackedTensor| -> Vec<f32> {
                let values = reference::dequantize(packed);
                values.into_iter().map(f32::abs).collect()
            };
            let (x_values, w_values) = (magnitudes(&x), magnitudes(&w));
            let dense = |values, rows| Operand::Dense { values, rows, cols };
            let sums = reference::matmul(dense(&x_values, tokens), dense(&w_values, rows)).unwrap();
            for ((y, exact), sum) in y.iter().zip(exact).zip(sums) {
                let error = (f64::from(*y) - exact).abs();
                let steps = (cols.div_ceil(k) + 7) as f64;
                assert!(
                    error <= 1.001 * steps * 2f64.powi(-24) * sum,
                    "{y:e} {exact:e}"
                );
            }
        }
    }
}

#[test]
fn only_integers_in_blocks_of_one_size_are_multiplied() {
    let of = |element, k| format(element, ScaleFormat::E8M0, k, false);
    let [e2m1, e2m3] = [ElementFormat::FP4_E2M1, ElementFormat::FP6_E2M3];
    assert!(IntegerPair::new(&of(e2m3, 32), &of(e2m1, 32)).is_some());
    for (x, w) in [
        (of(e2m3, 16), of(e2m1, 32)),
        (of(e2m3, 24), of(e2m1, 24)),
        (of(ElementFormat::FP8_E4M3, 32), of(e2m1, 32)),
        (of(e2m1, 32), of(ElementFormat::NF4, 32)),
        (of(ElementFormat::INT3, 32), of(e2m1, 32)),
        // A sum of a block does not fit an i32.
        (
            of(ElementFormat::INT8, 1 << 18),
            of(ElementFormat::INT8, 1 << 18),
        ),
    ] {
        assert_eq!(IntegerPair::new(&x, &w), None, "{x} {w}");
        let (x, w) = (packed(x, 2, 48, false, 1), packed(w, 3, 48, false, 1));
        let refused = reference::integer_matmul(&x, &w);
        assert!(matches!(refused, Err(FormatError::NotIntegers { .. })));
        let panels = Panels::new(&w);
        let refused = IntegerMatmul::new(&panels).multiply(&(&x).into(), &mut [0.0; 6]);
        assert!(matches!(refused, Err(FormatError::NotIntegers { .. })));
    }
}

#[test]
fn threads_and_tokens_beside_change_nothing() {
    let of = |element| format(element, ScaleFormat::E8M0, 32, false);
    let (rows, cols, tokens) = (300, 700, 41);
    let w = Panels::new(&packed(of(ElementFormat::FP4_E2M1), rows, cols, false, 1));
    let x = packed(of(ElementFormat::FP6_E2M3), tokens, cols, false, 2);
    let multiply = |x: &PackedTensor, threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
        let mut y = vec![0.0; x.rows() * rows];
        let product = || IntegerMatmul::new(&w).multiply(&x.into(), &mut y);
        pool.unwrap().install(product).unwrap();
        y
    };
    let whole = multiply(&x, 1);
    assert_eq!(whole, multiply(&x, 3));
    for (token, y) in whole.chunks_exact(rows).enumerate() {
        let (codes, scales) = (x.row_codes(token).to_vec(), x.row_scales(token).to_vec());
        let row = PackedTensor::new(*x.format(), 1, cols, codes, scales, 1.0).unwrap();
        assert_eq!(multiply(&row, 2), y);
    }
}

#[test]
fn tokens_as_codes_have_their_values() {
    let format = BlockFormat::NVFP4;
    let x: Vec<f32> = (0..3 * 70).map(|i| (i as f32 - 90.0) * 0.37).collect();
    let packed = cpu::quantize(&x, 3, 70, &format, FloatType::F32).unwrap();
    let mut values = vec![0.0; x.len()];
    CodeRows::from(&packed).dequantize(0, &mut values).unwrap();
    assert_eq!(values, reference::dequantize(&packed));
    // Row by row, each with the tensor scale of the row or of the tensor.
    for scales_rows in [false, true] {
        let of_tensor = Quantizer::for_tensor(format, FloatType::F32, &x).unwrap();
        let quantizer = of_tensor.to_byte_codes(scales_rows);
        let mut rows = CodeRows::zeroed(format, 3, 70);
        let to = rows.parts_mut();
        let parts = to.codes.chunks_mut(70).zip(to.scales.chunks_mut(5));
        for (row, (codes, scales)) in parts.enumerate() {
            let x = &x[row * 70..][..70];
            to.tensor_scales[row] = quantizer.quantize(x, row, codes, scales).unwrap();
        }
        let mut expected = reference::dequantize(&packed);
        if scales_rows {
            let of_row = |x| cpu::quantize(x, 1, 70, &format, FloatType::F32).unwrap();
            expected = x
                .chunks(70)
                .flat_map(|x| reference::dequantize(&of_row(x)))
                .collect();
        }
        rows.dequantize(0, &mut values).unwrap();
        assert_eq!(values, expected, "{scales_rows}");
        rows.select(&[2, 0])
            .dequantize(0, &mut values[..140])
            .unwrap();
        assert_eq!(
            [&values[70..140], &values[..70]],
            [&expected[..70], &expected[140..]]
        );
    }
    let refused = CodeRows::from(&packed).dequantize(0, &mut values[1..]);
    assert!(matches!(refused, Err(FormatError::Length { .. })));
}

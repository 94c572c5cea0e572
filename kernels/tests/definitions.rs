//! The reference against values worked out by hand and against properties that define it.

use mxlab_kernels::cpu::{Isa, Quantizer};
use mxlab_kernels::format::{
    BlockFormat, BlockFormatBuilder, CodeLayout, Dialect, ElementFormat, FloatType, FormatError,
    PackedTensor, Rounding, ScaleFormat, ScaleRule, ggml_mxfp4_blocks, random_at,
};
use mxlab_kernels::reference::{
    AttentionShape, Operand, attention, dequantize, fake_quantize, matmul, quantize,
};

fn fp4() -> BlockFormatBuilder {
    BlockFormat::new(ElementFormat::FP4_E2M1)
}

fn quantize_row(x: &[f32], format: BlockFormatBuilder) -> PackedTensor {
    quantize(x, 1, x.len(), &format.build().unwrap(), FloatType::F32).unwrap()
}

fn scale_of(x: &[f32], format: BlockFormatBuilder) -> f32 {
    let packed = quantize_row(x, format);
    packed.scale().decode(packed.scale_code(0, 0))
}

/// Maxima where rules change their mind: powers of two and saturation points, +- some ulp.
fn maxima(element: ElementFormat) -> Vec<f32> {
    let mut maxima = Vec::new();
    for e in -100..100 {
        let edges = [
            1.0,
            1.125,
            1.25,
            1.5,
            1.75,
            1.875,
            1.9375,
            element.half_range(),
        ];
        for edge in edges.map(|edge| edge * 2f32.powi(e)) {
            maxima.extend(
                [-1i32, 0, 1].map(|ulp| f32::from_bits(edge.to_bits().wrapping_add_signed(ulp))),
            );
        }
    }
    maxima
}

#[test]
fn power_of_two_rules_choose_the_exponent_their_name_says() {
    for &element in ElementFormat::ALL {
        let top = 2f32.powi(element.emax());
        for amax in maxima(element) {
            let scale = |rule| scale_of(&[amax, 0.0], BlockFormat::new(element).rule(rule));
            let floor = scale(ScaleRule::Floor);
            assert!(
                floor * top <= amax && amax < 2.0 * floor * top,
                "{element} floor {amax:e}"
            );
            let ceil = scale(ScaleRule::Ceil);
            assert!(
                0.5 * ceil * top < amax && amax <= ceil * top,
                "{element} ceil {amax:e}"
            );
            let rceil = scale(ScaleRule::Rceil);
            let max = element.half_range();
            assert!(
                0.5 * rceil * max < amax && amax <= rceil * max,
                "{element} rceil {amax:e}"
            );
        }
    }
}

#[test]
fn even_rule_rounds_amax_to_the_mantissa_first() {
    // One mantissa bit: 1.75 * 4 is halfway between 1.5 * 4 and 2 * 4, and the latter is even.
    let below = f32::from_bits(7f32.to_bits() - 1);
    for (amax, scale) in [(4.0, 1.0), (6.0, 1.0), (below, 1.0), (7.0, 2.0), (8.0, 2.0)] {
        assert_eq!(
            scale_of(&[amax], fp4().rule(ScaleRule::Even)),
            scale,
            "{amax}"
        );
    }
}

#[test]
fn mse_rule_takes_the_least_error_of_three() {
    for seed in 0..200 {
        let uniform = |i| random_at(seed, i) as f32 / u32::MAX as f32;
        let x: Vec<f32> = (0..32)
            .map(|i| (uniform(i) - 0.5) * (1.0 + uniform(99) * 7.0))
            .collect();
        let chosen = scale_of(&x, fp4().rule(ScaleRule::Mse));
        let floor = scale_of(&x, fp4());
        let error = |scale: f32| -> f64 {
            let terms = x.iter().map(|&x| {
                let code = ElementFormat::FP4_E2M1.encode(f64::from(x / scale), Rounding::Even, 0);
                let y = ElementFormat::FP4_E2M1.decode(code) * scale;
                f64::from(x - y) * f64::from(x - y)
            });
            terms.sum()
        };
        let best = [0.5, 1.0, 2.0].map(|factor| error(floor * factor));
        let least = best.into_iter().fold(f64::INFINITY, f64::min);
        assert!(error(chosen) <= least * (1.0 + 1e-12), "seed {seed}");
    }
}

#[test]
fn stochastic_rounding_goes_up_iff_the_fraction_beats_the_random_number() {
    let seed = 7;
    for &element in ElementFormat::ALL
        .iter()
        .filter(|element| element.mantissa_bits().is_some())
    {
        let step = element.decode(1);
        // Fractions of r, r + 1 and r + 2 parts in 2^24, where r is what the element draws.
        let offsets = |i: u64| (i % 3) as u32;
        let mut x: Vec<f32> = (0..48)
            .map(|i| ((random_at(seed, i) >> 8) + offsets(i)) as f32 / 16_777_216.0 * step)
            .collect();
        x[0] = element.half_range();
        let format = BlockFormat::new(element)
            .scale(ScaleFormat::Fp32)
            .block_size(48);
        let format = format
            .rounding(Rounding::Stochastic { seed })
            .build()
            .unwrap();
        let by_reference = quantize(&x, 1, 48, &format, FloatType::F32).unwrap();
        for i in 1..48 {
            let expected = u8::from(offsets(i) > 0);
            assert_eq!(by_reference.code(0, i as usize), expected, "{element} {i}");
        }
        for isa in Isa::available() {
            let quantizer = Quantizer::new(format, FloatType::F32)
                .unwrap()
                .with_isa(isa);
            assert_eq!(
                quantizer.quantize(&x, 1, 48).unwrap(),
                by_reference,
                "{element} {isa}"
            );
        }
    }
}

#[test]
fn stochastic_rounding_counts_positions_beyond_32_bits() {
    // The first row starts four positions before 2^32.
    let (cols, first_row) = (21, 204_522_252);
    let rounding = Rounding::Stochastic { seed: 5 };
    let element = ElementFormat::FP4_E2M1;
    let format = fp4()
        .scale(ScaleFormat::Fp32)
        .block_size(cols)
        .rounding(rounding);
    let mut x = vec![0.3; cols];
    x[0] = 6.0;
    let first_index = (first_row * cols) as u64;
    assert_eq!(first_index, (1 << 32) - 4);
    let expected: Vec<u8> = (0..cols)
        .map(|i| {
            element.encode(
                f64::from(x[i]),
                rounding,
                rounding.random(first_index + i as u64),
            )
        })
        .collect();
    for isa in Isa::available() {
        let quantizer = Quantizer::new(format.build().unwrap(), FloatType::F32).unwrap();
        let (mut codes, mut scale) = (vec![0; 11], [0; 4]);
        let quantizer = quantizer.with_isa(isa);
        quantizer
            .quantize_rows(&x, cols, first_row, &mut codes, &mut scale)
            .unwrap();
        let mut unpacked = vec![0; cols];
        CodeLayout::Bits4.unpack(&codes, &mut unpacked);
        assert_eq!(unpacked, expected, "{isa}");
    }
}

#[test]
fn stochastic_rounding_is_unbiased() {
    let x = vec![0.7; 1 << 16];
    let format = fp4()
        .scale(ScaleFormat::Fp32)
        .rounding(Rounding::Stochastic { seed: 3 });
    let mut x_with_max = x.clone();
    x_with_max.iter_mut().step_by(32).for_each(|x| *x = 6.0);
    let y = dequantize(&quantize_row(&x_with_max, format));
    let rounded: Vec<f64> = y
        .iter()
        .filter(|y| **y < 6.0)
        .map(|y| f64::from(*y))
        .collect();
    let mean = rounded.iter().sum::<f64>() / rounded.len() as f64;
    // 0.5 or 1.0 with p = 0.4: one standard error is 0.245 / sqrt(63488).
    assert!((mean - 0.7).abs() < 5.0 * 0.245 / 63488f64.sqrt(), "{mean}");
}

#[test]
fn special_values_have_one_defined_outcome() {
    let nan = f32::NAN;
    // A NaN or an infinity makes the block NaN, and no other.
    for bad in [nan, f32::INFINITY, f32::NEG_INFINITY] {
        let packed = quantize_row(&[1.0, bad, 2.0, 3.0], fp4().block_size(2));
        assert_eq!(
            (packed.scale_code(0, 0), packed.scale_code(0, 1)),
            (255, 126)
        );
        assert_eq!(packed.codes()[0], 0);
        let y = dequantize(&packed);
        assert!(y[0].is_nan() && y[1].is_nan() && y[2..] == [2.0, 3.0]);
    }
    // Zeros: the smallest scale, signs kept or not as the dialect has it.
    let zeros = |format: BlockFormatBuilder| {
        let packed = quantize_row(&[-0.0, 0.0, -1e-40, 0.0], format);
        (
            packed.scale_code(0, 0),
            packed.code(0, 0),
            packed.code(0, 2),
        )
    };
    assert_eq!(zeros(fp4()), (0, 8, 8));
    assert_eq!(zeros(fp4().dialect(Dialect::MicroxcalingCuda)), (0, 0, 0));
    assert_eq!(zeros(fp4().dialect(Dialect::MicroxcalingTorch)), (0, 0, 8));
    assert_eq!(zeros(fp4().dialect(Dialect::Ggml)), (0, 0, 0));
    assert_eq!(
        quantize_row(&[0.0; 4], fp4().dialect(Dialect::Ggml)).scale_code(0, 0),
        0
    );
    // ggml leaves NaN out.
    let packed = quantize_row(&[nan, 4.0], fp4().dialect(Dialect::Ggml));
    assert_eq!(dequantize(&packed), [0.0, 4.0]);
    // Fewer scale bits: too large is NaN, too small is the smallest.
    let six_bits = fp4().scale(ScaleFormat::E8M0 { bits: 6 });
    assert_eq!(
        quantize_row(&[2f32.powi(34)], six_bits).scale_code(0, 0),
        63
    );
    assert_eq!(
        quantize_row(&[2f32.powi(33)], six_bits).scale_code(0, 0),
        62
    );
    assert_eq!(
        quantize_row(&[2f32.powi(-60)], six_bits).scale_code(0, 0),
        0
    );
}

#[test]
fn fractional_scales_never_divide_by_zero() {
    let ue5m3 = fp4().scale(ScaleFormat::UE5M3).block_size(16);
    let tiny = [3e-5 / 4.0, -1e-5];
    assert_eq!(quantize_row(&tiny, ue5m3).scale_code(0, 0), 1);
    let flushed = quantize_row(&tiny, ue5m3.rule(ScaleRule::NearestFlush));
    assert_eq!((flushed.scale_code(0, 0), flushed.codes()[0]), (0, 0));
    assert_eq!(dequantize(&quantize_row(&[0.0, -0.0], ue5m3)), [0.0, 0.0]);
    let nf4 = BlockFormat::new(ElementFormat::NF4).scale(ScaleFormat::Fp16);
    assert_eq!(dequantize(&quantize_row(&[0.0, -0.0], nf4)), [0.0, 0.0]);
}

#[test]
fn nvfp4_scales_the_tensor_and_then_its_blocks() {
    // Tensor scale 2688 / (448 * 6) = 1; first block 2688 / 6 = 448; second 3 / 6 = 0.5.
    let mut x = vec![0.0; 32];
    (x[0], x[1], x[16], x[17]) = (2688.0, -448.0, 3.0, 0.26);
    let packed = quantize(&x, 1, 32, &BlockFormat::NVFP4, FloatType::F32).unwrap();
    assert_eq!(packed.tensor_scale(), 1.0);
    assert_eq!(
        (packed.scale_code(0, 0), packed.scale_code(0, 1)),
        (0x7E, 0x30)
    );
    let y = dequantize(&packed);
    assert_eq!((y[0], y[1], y[16], y[17]), (2688.0, -448.0, 3.0, 0.25));
    assert_eq!(packed.bytes(), 16 + 2 + 4);
}

#[test]
fn ggml_blocks_pair_elements_sixteen_apart() {
    let mut x = [0.0; 32];
    (x[0], x[16], x[15], x[31]) = (4.0, -6.0, 0.5, 1.0);
    let packed = quantize_row(&x, fp4().dialect(Dialect::Ggml));
    let blocks = ggml_mxfp4_blocks(&packed).unwrap();
    assert_eq!(blocks.len(), 17);
    assert_eq!((blocks[0], blocks[1], blocks[16]), (127, 0xF6, 0x21));
}

#[test]
fn matmul_multiplies_packed_operands_as_their_values() {
    let x = [1.0, 2.0, 3.0, -4.0, 0.5, 6.0];
    let w = [1.0, 0.0, -1.0, 0.5, 0.25, 2.0];
    let dense = |values| Operand::Dense {
        values,
        rows: 2,
        cols: 3,
    };
    let y = matmul(dense(&x), dense(&w)).unwrap();
    assert_eq!(y, [-2.0, 7.0, -10.0, 10.125]);
    let format = fp4().block_size(2).build().unwrap();
    let packed = quantize(&w, 2, 3, &format, FloatType::F32).unwrap();
    let values = dequantize(&packed);
    let expected = matmul(dense(&x), dense(&values)).unwrap();
    assert_eq!(
        matmul(dense(&x), Operand::Packed(&packed)).unwrap(),
        expected
    );
    let short = Operand::Dense {
        values: &w,
        rows: 3,
        cols: 2,
    };
    assert!(matches!(
        matmul(dense(&x), short),
        Err(FormatError::Length { .. })
    ));
}

#[test]
fn attention_is_causal_and_groups_query_heads() {
    // Two query heads read one kv head; zero queries weigh all visible keys alike.
    let shape = AttentionShape {
        heads: 2,
        kv_heads: 1,
        queries: 2,
        keys: 3,
        head_dim: 2,
    };
    let k = [1.0, 0.0, 0.0, 1.0, 1.0, 1.0];
    let v = [1.0, 2.0, 3.0, 4.0, 8.0, 0.0];
    let dense = |values| Operand::Dense {
        values,
        rows: 3,
        cols: 2,
    };
    let q = [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1000.0];
    let y = attention(&q, dense(&k), dense(&v), shape).unwrap();
    let expected = [2.0, 3.0, 4.0, 2.0, 2.0, 3.0, 5.5, 2.0];
    for (y, expected) in y.iter().zip(expected) {
        assert!((y - expected).abs() < 1e-12, "{y} {expected}");
    }
}

#[test]
fn parts_that_do_not_fit_are_refused_by_name() {
    let unknown = "fp5".parse::<ElementFormat>().unwrap_err().to_string();
    assert!(unknown.contains("fp5") && unknown.contains("fp4_e2m1") && unknown.contains("nf4"));
    assert!("e9m0".parse::<ScaleFormat>().is_err());
    for (name, same) in [("e5m3", "ue5m3"), ("ue5m0", "e5m0"), ("e6m0", "e6m0")] {
        assert_eq!(name.parse::<ScaleFormat>().unwrap().to_string(), same);
    }
    let rule = fp4().rule(ScaleRule::Nearest).build();
    assert!(matches!(rule, Err(FormatError::RuleScale { .. })));
    let rule = fp4()
        .scale(ScaleFormat::UE4M3)
        .rule(ScaleRule::Floor)
        .build();
    assert!(matches!(rule, Err(FormatError::RuleScale { .. })));
    let table = BlockFormat::new(ElementFormat::NF4)
        .rule(ScaleRule::Even)
        .build();
    assert!(matches!(table, Err(FormatError::RuleElement { .. })));
    assert!(matches!(
        fp4().block_size(0).build(),
        Err(FormatError::BlockSize { .. })
    ));
    assert!(matches!(
        fp4().tensor_scale(true).build(),
        Err(FormatError::TensorScale { .. })
    ));
    let ggml = fp4().dialect(Dialect::Ggml).block_size(16).build();
    assert!(matches!(ggml, Err(FormatError::Dialect { .. })));
    let torch = fp4().dialect(Dialect::MicroxcalingTorch).build().unwrap();
    let f16 = fake_quantize(&[1.0], 1, 1, &torch, FloatType::F16);
    assert!(matches!(f16, Err(FormatError::DialectSource { .. })));
    let format = fp4().build().unwrap();
    assert!(matches!(
        quantize(&[1.0], 1, 2, &format, FloatType::F32),
        Err(FormatError::Length { .. })
    ));
    let huge = quantize(&[], usize::MAX, 2, &format, FloatType::F32);
    assert!(matches!(huge, Err(FormatError::TooLarge { .. })));
    assert_eq!(format.to_string(), "fp4_e2m1 e8m0 k32 floor/even ocp");
}

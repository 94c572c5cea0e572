//! The CPU kernels against the reference, bit for bit, over random formats, shapes and values
//! biased to where rounding is decided; and what must hold of the reference itself.

use mxlab_kernels::cpu::{Isa, Quantizer, dequantize_with};
use mxlab_kernels::format::{
    BlockFormat, CodeLayout, Dialect, ElementFormat, FloatType, PackedTensor, Rounding,
    ScaleFormat, ScaleRule, random_at,
};
use mxlab_kernels::reference;
use proptest::prelude::*;
use proptest::sample::select;

/// Any format that can be built, and a type that its dialect takes.
fn formats() -> impl Strategy<Value = (BlockFormat, FloatType)> {
    let scales: Vec<ScaleFormat> = ScaleFormat::all().collect();
    let sizes = prop_oneof![Just(8), Just(16), Just(32), Just(64), 1usize..100];
    let rounding = prop_oneof![
        4 => select(Rounding::ALL.to_vec()),
        1 => any::<u32>().prop_map(|seed| Rounding::Stochastic { seed }),
    ];
    let choice = (
        select(ElementFormat::ALL.to_vec()),
        prop_oneof![
            Just(ScaleFormat::E8M0),
            Just(ScaleFormat::UE5M3),
            select(scales)
        ],
        proptest::option::of(select(ScaleRule::ALL.to_vec())),
        proptest::option::of(rounding),
        sizes,
        any::<bool>(),
        select(Dialect::ALL.to_vec()),
        select(FloatType::ALL.to_vec()),
    );
    let format = |(element, scale, rule, rounding, size, tensor_scale, dialect, source)| {
        let base = BlockFormat::new(element).dialect(dialect);
        let base = if dialect == Dialect::Ggml {
            base
        } else {
            base.block_size(size).scale(scale)
        };
        let base = if let Some(rounding) = rounding {
            base.rounding(rounding)
        } else {
            base
        };
        let with_rule = if let Some(rule) = rule {
            base.rule(rule)
        } else {
            base
        };
        let built = with_rule.tensor_scale(tensor_scale).build();
        let built = built.or_else(|_| base.tensor_scale(tensor_scale).build());
        let format = built.or_else(|_| base.build()).ok()?;
        dialect.check_source(source).ok().map(|()| (format, source))
    };
    choice.prop_filter_map("parts do not fit", format)
}

/// Numbers in `source`, as a mix per block of spread, ties, window edges, zeros and specials.
fn values(len: usize, format: BlockFormat, source: FloatType) -> impl Strategy<Value = Vec<f32>> {
    let block = format.block_size();
    let element = format.element();
    let one = (any::<u32>(), any::<u32>(), any::<u8>());
    let style = (0u8..8, -150i32..128);
    let styles = proptest::collection::vec(style, len.div_ceil(block).max(1) + 64);
    (proptest::collection::vec(one, len), styles).prop_map(move |(draws, styles)| {
        let value = |(i, (a, b, c)): (usize, (u32, u32, u8))| {
            let (style, e) = styles[i / block % styles.len()];
            let sign = if a & 1 == 0 { 1.0 } else { -1.0 };
            let unit = f64::from(b) / f64::from(u32::MAX);
            let scaled = |x: f64| (x * sign * 2f64.powi(e)) as f32;
            let grid = f64::from(element.decode(c));
            let next = f64::from(element.decode(c.wrapping_add(1)));
            let nudge = |x: f32| {
                let ulp = if source == FloatType::Bf16 {
                    1 << 16
                } else {
                    1
                };
                f32::from_bits(
                    x.to_bits()
                        .wrapping_add((a >> 1) % 3 * ulp)
                        .wrapping_sub(ulp),
                )
            };
            match style {
                0 | 1 => scaled(unit),
                2 => scaled(unit * 2f64.powi(-((a >> 8) as i32 % 40))),
                3 | 4 => nudge(scaled((grid + next) / 2.0)),
                5 => f32::from_bits(scaled(1.0).to_bits().wrapping_sub((a >> 8) % 100)),
                6 if b % 3 == 0 => scaled(unit),
                6 => 0.0 * sign as f32,
                _ if b % 50 == 0 => f32::NAN,
                _ if b % 50 == 1 => f32::INFINITY * sign as f32,
                _ => f32::from_bits(b),
            }
        };
        draws
            .into_iter()
            .enumerate()
            .map(value)
            .map(|x| source.round(x))
            .collect()
    })
}

#[derive(Debug, Clone)]
struct Case {
    format: BlockFormat,
    source: FloatType,
    rows: usize,
    cols: usize,
    x: Vec<f32>,
}

fn cases() -> impl Strategy<Value = Case> {
    let shapes = (
        1usize..4,
        prop_oneof![1usize..20, 1usize..200, Just(64), Just(256)],
    );
    (formats(), shapes).prop_flat_map(|((format, source), (rows, cols))| {
        let case = move |x| Case {
            format,
            source,
            rows,
            cols,
            x,
        };
        values(rows * cols, format, source).prop_map(case)
    })
}

/// Groups of blocks whose scales are made together: plain ones, but for perhaps one.
fn grouped_cases() -> impl Strategy<Value = Case> {
    let odd = prop_oneof![
        (-149i32..128).prop_map(|e| 2f64.powi(e) as f32),
        select(vec![0.0, f32::MAX, f32::INFINITY, f32::NAN]),
    ];
    let sizes = (1usize..3, 0usize..40, select(vec![16usize, 32, 48]));
    let choice = (formats(), sizes, 0usize..40, odd, any::<u32>());
    choice.prop_filter_map(
        "parts do not fit",
        |((format, source), (groups, more, size), at, odd, seed)| {
            let base = BlockFormat::new(format.element()).rounding(format.rounding());
            let base = base.scale(format.scale()).rule(format.rule());
            let base = base.tensor_scale(format.has_tensor_scale());
            let format = base.block_size(size).build().ok()?;
            let cols = 16 * size * groups + more;
            let value = |i: usize| {
                let unit = f64::from(random_at(seed, i as u64)) / 2f64.powi(31) - 1.0;
                let block = i / size;
                let exponent = random_at(!seed, block as u64) as i32 % 20;
                let scale = if block == at {
                    f64::from(odd)
                } else {
                    2f64.powi(exponent)
                };
                source.round((unit * scale) as f32)
            };
            let x = (0..2 * cols).map(value).collect();
            Some(Case {
                format,
                source,
                rows: 2,
                cols,
                x,
            })
        },
    )
}

/// Every instruction set against the reference.
fn check(case: &Case) -> Result<(), TestCaseError> {
    let Case {
        format,
        source,
        rows,
        cols,
        x,
    } = case;
    let packed = reference::quantize(x, *rows, *cols, format, *source).unwrap();
    let values = reference::dequantize(&packed);
    for isa in Isa::available() {
        let quantizer = Quantizer::new(*format, *source).unwrap();
        let quantizer = quantizer.with_isa(isa).with_scale_of(x);
        prop_assert_eq!(
            &quantizer.quantize(x, *rows, *cols).unwrap(),
            &packed,
            "{} {}",
            isa,
            format
        );
        let mut fake = x.clone();
        quantizer.fake_quantize_rows(&mut fake, *cols, 0).unwrap();
        prop_assert_eq!(bits(&fake), bits(&values), "{} fused {}", isa, format);
        let mut expanded = vec![7.0; x.len()];
        dequantize_with(isa, &packed, 0..*rows, &mut expanded).unwrap();
        prop_assert_eq!(
            bits(&expanded),
            bits(&values),
            "{} dequantize {}",
            isa,
            format
        );
    }
    Ok(())
}

/// Bits, with all NaN alike.
fn bits(values: &[f32]) -> Vec<u32> {
    let bits = |x: &f32| {
        if x.is_nan() {
            f32::NAN.to_bits()
        } else {
            x.to_bits()
        }
    };
    values.iter().map(bits).collect()
}

/// PROPTEST_CASES asks for more than these.
fn config(at_least: u32) -> ProptestConfig {
    let default = ProptestConfig::default();
    ProptestConfig {
        cases: default.cases.max(at_least),
        max_local_rejects: u32::MAX,
        failure_persistence: None,
        ..default
    }
}

proptest! {
    #![proptest_config(config(6000))]

    #[test]
    fn kernels_equal_the_reference(case in cases()) {
        check(&case)?;
    }

    #[test]
    fn scales_of_groups_equal_the_reference(case in grouped_cases()) {
        check(&case)?;
    }

    #[test]
    fn rows_are_independent(case in cases(), split in 0usize..4) {
        let Case { format, source, rows, cols, x } = &case;
        let split = split.min(*rows);
        let quantizer = Quantizer::for_tensor(*format, *source, x).unwrap();
        let whole = quantizer.quantize(x, *rows, *cols).unwrap();
        let mut codes = vec![0xAA; whole.codes().len()];
        let mut scales = vec![0xAA; whole.scales().len()];
        let mut fake = x.clone();
        for part in [0..split, split..*rows] {
            let code_bytes = part.start * whole.row_code_bytes()..part.end * whole.row_code_bytes();
            let scale_bytes =
                part.start * whole.row_scale_bytes()..part.end * whole.row_scale_bytes();
            let elements = part.start * cols..part.end * cols;
            let (codes, scales) = (&mut codes[code_bytes], &mut scales[scale_bytes]);
            let x = &x[elements.clone()];
            quantizer.quantize_rows(x, *cols, part.start, codes, scales).unwrap();
            quantizer.fake_quantize_rows(&mut fake[elements.clone()], *cols, part.start).unwrap();
            let mut expanded = vec![7.0; elements.len()];
            dequantize_with(Isa::best(), &whole, part, &mut expanded).unwrap();
            prop_assert_eq!(bits(&expanded), bits(&fake[elements]));
        }
        prop_assert_eq!(&codes[..], whole.codes());
        prop_assert_eq!(&scales[..], whole.scales());
    }

    #[test]
    fn any_bytes_expand_as_the_reference_does(
        (format, _) in formats(),
        (rows, cols) in (1usize..4, 1usize..150),
        seed in any::<u64>(),
    ) {
        let empty = PackedTensor::zeroed(format, rows, cols).unwrap();
        let byte = |i: usize| mxlab_kernels::format::random_at(seed as u32, i as u64) as u8;
        let codes = (0..empty.codes().len()).map(byte).collect();
        let scales = (0..empty.scales().len()).map(|i| byte(i + (1 << 20))).collect();
        let packed = PackedTensor::new(format, rows, cols, codes, scales, 1.0).unwrap();
        for isa in Isa::available() {
            let mut expanded = vec![7.0; rows * cols];
            dequantize_with(isa, &packed, 0..rows, &mut expanded).unwrap();
            prop_assert_eq!(bits(&expanded), bits(&reference::dequantize(&packed)), "{}", isa);
        }
    }

    /// A value on the grid stays there: amax keeps its binade, so the scale stays too. Not so
    /// INT2's -2, alone in its binade.
    #[test]
    fn quantising_again_changes_nothing(case in cases()) {
        let Case { format, rows, cols, x, .. } = &case;
        prop_assume!(format.element() != ElementFormat::INT2);
        let format = BlockFormat::new(format.element()).block_size(format.block_size());
        let format = format.build().unwrap();
        let once = reference::fake_quantize(x, *rows, *cols, &format, FloatType::F32).unwrap();
        let twice = reference::fake_quantize(&once, *rows, *cols, &format, FloatType::F32).unwrap();
        prop_assert_eq!(bits(&once), bits(&twice));
    }

    #[test]
    fn packed_size_is_what_the_format_says(case in cases()) {
        let Case { format, source, rows, cols, x } = &case;
        let packed = reference::quantize(x, *rows, *cols, format, *source).unwrap();
        let (codes, scales) = format.packed_bytes(*rows, *cols);
        prop_assert_eq!(packed.bytes(), codes + scales);
    }

    #[test]
    fn packing_round_trips(
        layout in select(CodeLayout::ALL.to_vec()),
        codes in proptest::collection::vec(any::<u8>(), 0..50),
    ) {
        let codes: Vec<u8> = codes.iter().map(|code| code & layout.mask()).collect();
        let mut packed = vec![0xAA; layout.bytes(codes.len())];
        layout.pack(&codes, &mut packed);
        let mut unpacked = vec![0xAA; codes.len()];
        layout.unpack(&packed, &mut unpacked);
        prop_assert_eq!(&unpacked, &codes);
        for (i, code) in codes.iter().enumerate() {
            prop_assert_eq!(layout.code(&packed, i), *code);
        }
    }

    #[test]
    fn formats_survive_serialisation((format, _) in formats()) {
        let json = serde_json::to_string(&format).unwrap();
        prop_assert_eq!(serde_json::from_str::<BlockFormat>(&json).unwrap(), format);
    }
}

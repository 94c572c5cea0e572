//! Every code, and every bfloat16 and float16 number, through every conversion, against a
//! definition that shares nothing with the crate's: a search in the table of values.

use mxlab_kernels::cpu::{Isa, Quantizer};
use mxlab_kernels::format::{
    BlockFormat, Dialect, ElementFormat, FloatType, FormatError, Grid, Rounding, ScaleFormat,
};
use mxlab_kernels::reference::fake_quantize;

const ROUNDINGS: [Rounding; 4] = [
    Rounding::Even,
    Rounding::Away,
    Rounding::HalfToZero,
    Rounding::TowardZero,
];

/// The finite values of one sign, ascending, with their codes.
type Table = Vec<(f64, u32)>;

/// Every number of both 16-bit types, infinities and NaN included.
fn sixteen_bit_numbers() -> impl Iterator<Item = f32> {
    let bf16 = |bits| half::bf16::from_bits(bits).to_f32();
    let f16 = |bits| half::f16::from_bits(bits).to_f32();
    (0..=u16::MAX).map(bf16).chain((0..=u16::MAX).map(f16))
}

/// The entry that a magnitude rounds to, saturating. `is_even` tells the even one of two.
fn search(table: &Table, x: f64, rounding: Rounding) -> u32 {
    let above = table.partition_point(|(value, _)| *value <= x);
    let (low, high) = (
        table[above - 1],
        *table.get(above).unwrap_or(&table[above - 1]),
    );
    let halfway = (low.0 + high.0) / 2.0;
    let is_tie = x == halfway;
    let even = if low.1 % 2 == 0 { low.1 } else { high.1 };
    match rounding {
        Rounding::TowardZero => low.1,
        Rounding::Even if is_tie => even,
        Rounding::Away if is_tie => high.1,
        _ if x > halfway => high.1,
        _ => low.1,
    }
}

/// With one significant bit, half goes up where both neighbours are powers of two.
fn rounding_of(element: ElementFormat, rounding: Rounding, magnitude: f64) -> Rounding {
    let has_one_bit = matches!(element.grid(), Grid::Float(grid) if grid.mantissa_bits == 0);
    match rounding {
        Rounding::Even if has_one_bit && magnitude >= f64::from(element.decode(1)) => {
            Rounding::Away
        }
        _ => rounding,
    }
}

/// Whether a quantiser makes the value: all but the lowest of a symmetric two's complement.
fn is_produced(element: ElementFormat, value: f32) -> bool {
    value.is_finite() && (element.lowest()..=element.max_normal()).contains(&value)
}

/// The values at or above zero (or at or below, as magnitudes) that an element format rounds to.
fn half_table(element: ElementFormat, is_negative: bool) -> Table {
    let codes = element
        .codes()
        .filter(|&code| is_produced(element, element.decode(code)))
        .map(|code| (f64::from(element.decode(code)), u32::from(code)));
    let is_kept = |(value, _): &(f64, u32)| *value == 0.0 || (*value < 0.0) == is_negative;
    let mut table: Table = codes.filter(is_kept).map(|(v, c)| (v.abs(), c)).collect();
    let has_two_zeros = table.iter().filter(|(value, _)| *value == 0.0).count() == 2;
    let other_zero = |(value, code): &(f64, u32)| {
        has_two_zeros
            && *value == 0.0
            && element.decode(*code as u8).is_sign_negative() != is_negative
    };
    table.retain(|entry| !other_zero(entry));
    table.sort_by(|a, b| a.0.total_cmp(&b.0));
    table
}

/// Values by code, scales of amax and ties of the elements that no golden table has.
#[test]
fn elements_below_four_bits_are_what_their_names_say() {
    let values = |element: ElementFormat| -> Vec<f32> {
        let codes = element.codes();
        codes.map(|code| element.decode(code)).collect()
    };
    let float = |magnitudes: [f32; 4]| [magnitudes, magnitudes.map(|x| -x)].concat();
    assert_eq!(values(ElementFormat::FP3_E2M0), float([0.0, 1.0, 2.0, 4.0]));
    assert_eq!(values(ElementFormat::FP3_E1M1), float([0.0, 1.0, 2.0, 3.0]));
    let int3 = [0.0, 0.5, 1.0, 1.5, -2.0, -1.5, -1.0, -0.5];
    assert_eq!(values(ElementFormat::INT3), int3);
    assert_eq!(values(ElementFormat::INT2), [0.0, 1.0, -2.0, -1.0]);
    assert_eq!(values(ElementFormat::TERNARY), [0.0, 1.0, -2.0, -1.0]);
    // The largest magnitude of either sign, and ties of some grids.
    let x = [1.5, -1.5, 0.5, -0.5, 0.75, -0.75];
    let fake = |element| {
        let format = BlockFormat::new(element).scale(ScaleFormat::Fp32).build();
        fake_quantize(&x, 1, x.len(), &format.unwrap(), FloatType::F32).unwrap()
    };
    // X = 1.5 / 1.5: the lowest code is used, and the largest element saturates.
    assert_eq!(fake(ElementFormat::INT2), [1.0, -2.0, 0.0, -0.0, 1.0, -1.0]);
    // X = 1.5 / 1, and half of that is a tie, to 0.
    assert_eq!(
        fake(ElementFormat::TERNARY),
        [1.5, -1.5, 0.0, 0.0, 0.0, 0.0]
    );
    // X = 1.5 / 3 and 1.5 / 1.5, of values twice as large: the same grid.
    let uniform = [1.5, -1.5, 0.5, -0.5, 1.0, -1.0];
    assert_eq!(fake(ElementFormat::FP3_E1M1), uniform);
    assert_eq!(fake(ElementFormat::INT3), uniform);
    // One significant bit: no tie but that with 0 has an even neighbour.
    let e2m0 = ElementFormat::FP3_E2M0;
    let even = |t: f64| e2m0.decode(e2m0.encode(t, Rounding::Even, 0));
    assert_eq!([0.5, 1.5, 3.0, -3.0].map(even), [0.0, 2.0, 4.0, -4.0]);
    // The original's int2 has no -2.
    let torch = BlockFormat::new(ElementFormat::INT2).dialect(Dialect::MicroxcalingTorch);
    assert!(matches!(torch.build(), Err(FormatError::Dialect { .. })));
    let torch = BlockFormat::new(ElementFormat::TERNARY).dialect(Dialect::MicroxcalingTorch);
    assert!(torch.build().is_ok());
}

#[test]
fn every_element_code_survives_a_round_trip() {
    for &element in ElementFormat::ALL {
        for rounding in ROUNDINGS {
            for code in element.codes() {
                let value = element.decode(code);
                if is_produced(element, value) {
                    assert_eq!(
                        element.encode(f64::from(value), rounding, 0),
                        code,
                        "{element} {code}"
                    );
                }
            }
        }
    }
}

#[test]
fn every_scale_code_survives_a_round_trip() {
    for scale in ScaleFormat::all().filter(|scale| *scale != ScaleFormat::Fp32) {
        for code in 0..=scale.max_code() {
            assert_eq!(
                scale.encode_nearest(scale.decode(code)),
                code,
                "{scale} {code}"
            );
        }
        assert!(scale.decode(scale.nan_code()).is_nan(), "{scale}");
        assert_eq!(scale.encode_nearest(f32::NAN), scale.nan_code(), "{scale}");
        assert_eq!(
            scale.encode_nearest(f32::INFINITY),
            scale.max_code(),
            "{scale}"
        );
    }
}

#[test]
fn elements_round_as_a_search_does() {
    for &element in ElementFormat::ALL {
        let tables = [half_table(element, false), half_table(element, true)];
        for x in sixteen_bit_numbers().filter(|x| !x.is_nan()) {
            let magnitude = f64::from(x.abs()).min(1e300);
            for rounding in ROUNDINGS {
                let expected = search(
                    &tables[usize::from(x.is_sign_negative())],
                    magnitude,
                    rounding_of(element, rounding, magnitude),
                );
                let code = u32::from(element.encode(f64::from(x), rounding, 0));
                assert_eq!(code, expected, "{element} {rounding} {x:e}");
            }
        }
    }
}

#[test]
fn scales_round_as_a_search_does() {
    for scale in ScaleFormat::all().filter(|scale| *scale != ScaleFormat::Fp32) {
        let table: Table = (0..=scale.max_code())
            .map(|code| (f64::from(scale.decode(code)), code))
            .collect();
        for x in sixteen_bit_numbers().filter(|x| !x.is_nan()) {
            let x64 = f64::from(x.max(0.0)).min(1e300);
            let expected = if x64 <= table[0].0 {
                0
            } else if scale.is_power_of_two() {
                search(&table, x64, Rounding::Away)
            } else {
                search(&table, x64, Rounding::Even)
            };
            assert_eq!(scale.encode_nearest(x), expected, "{scale} {x:e}");
        }
    }
}

/// The kernels have no conversion of a bare number, so each stands in a block whose other
/// element, what scales map the largest magnitude to, makes the scale 1.
#[test]
fn kernels_round_as_a_search_does() {
    for &element in ElementFormat::ALL {
        let tables = [half_table(element, false), half_table(element, true)];
        let numbers: Vec<f32> = sixteen_bit_numbers()
            .filter(|x| x.abs() <= element.half_range())
            .collect();
        let blocks: Vec<f32> = numbers
            .iter()
            .flat_map(|&x| [element.half_range(), x])
            .collect();
        for rounding in ROUNDINGS {
            let format = BlockFormat::new(element)
                .scale(ScaleFormat::Fp32)
                .block_size(2);
            let format = format.rounding(rounding).build().unwrap();
            for isa in Isa::available() {
                let quantizer = Quantizer::new(format, FloatType::F32)
                    .unwrap()
                    .with_isa(isa);
                let packed = quantizer.quantize(&blocks, numbers.len(), 2).unwrap();
                for (row, &x) in numbers.iter().enumerate() {
                    let table = &tables[usize::from(x.is_sign_negative())];
                    let magnitude = f64::from(x.abs());
                    let rounding = rounding_of(element, rounding, magnitude);
                    let expected = search(table, magnitude, rounding);
                    let code = u32::from(packed.code(row, 1));
                    assert_eq!(code, expected, "{element} {rounding} {isa} {x:e}");
                }
            }
        }
    }
}

//! The rule `four-over-six`: values worked out by hand, the package that its paper published, and
//! CPU kernels against the reference where two scales have nearly the same error.

use mxlab_kernels::cpu::{Isa, Quantizer};
use mxlab_kernels::format::{
    BlockFormat, BlockFormatBuilder, ElementFormat, FloatType, FormatError, PackedTensor, Rounding,
    ScaleFormat, ScaleRule, random_at,
};
use mxlab_kernels::reference::{Part, quantize, quantize_part, tensor_scale};

fn fp4() -> BlockFormatBuilder {
    BlockFormat::new(ElementFormat::FP4_E2M1)
        .scale(ScaleFormat::UE4M3)
        .rule(ScaleRule::FourOverSix)
        .block_size(16)
}

/// One row under a tensor scale.
fn quantize_row(x: &[f32], format: &BlockFormat, tensor_scale: f32) -> PackedTensor {
    let part = Part {
        rows: 1,
        cols: x.len(),
        first_row: 0,
        tensor_scale,
        source: FloatType::F32,
    };
    quantize_part(x, part, format).unwrap()
}

#[test]
fn the_scale_with_the_smaller_error_is_taken_and_the_first_of_equals() {
    let format = fp4().build().unwrap();
    let scale = |x: &[f32]| {
        let packed = quantize_row(x, &format, 1.0);
        packed.scale().decode(packed.scale_code(0, 0))
    };
    // 5 becomes 4 or 3 * 1.5; 2 becomes 2 or 1.5 * 1.5.
    assert_eq!(scale(&[6.0, 5.0]), 1.5);
    assert_eq!(scale(&[6.0, 2.0]), 1.0);
    // Both without an error.
    assert_eq!(scale(&[6.0, 3.0, -1.5, 0.0]), 1.0);
    // 0.625 is as far from 0.5 as from 0.5 * 1.5, and its neighbours are not.
    assert_eq!(scale(&[6.0, 0.625]), 1.0);
    assert_eq!(scale(&[6.0, 0.625f32.next_up()]), 1.5);
    // 448 is the largest: the second scale saturates, too, and is then the same.
    assert_eq!(scale(&[2688.0, 2240.0]), 448.0);
    // A scale that rounds to zero is raised: the first to 2^-9, the second is 2^-9 or 2 * 2^-9.
    let least = 2f32.powi(-9);
    assert_eq!(scale(&[2.9 * least, 0.5 * least]), least);
    assert_eq!(scale(&[8.0 * least, 8.0 * least]), 2.0 * least);
    assert_eq!(scale(&[0.0, -0.0]), 0.0);
}

#[test]
fn errors_are_those_of_the_rounding_in_use() {
    // Toward zero, 5 becomes 4 or 3 * 1.5; 5.9 becomes 4 or 3 * 1.5, and 6.1 6 or 4 * 1.5.
    let format = fp4().rounding(Rounding::TowardZero).build().unwrap();
    let even = fp4().build().unwrap();
    let x = [6.0, 5.9];
    assert_eq!(quantize_row(&x, &format, 1.0).scale_code(0, 0), 0x3C);
    assert_eq!(quantize_row(&x, &even, 1.0).scale_code(0, 0), 0x38);
}

#[test]
fn the_tensor_scale_leaves_room_for_half_as_much_again() {
    let x = [-1536.0, 6.0];
    for (scale, largest) in [
        (ScaleFormat::UE4M3, 256.0),
        (ScaleFormat::UE5M3, 65536.0),
        (ScaleFormat::Fp16, 32768.0),
    ] {
        let format = fp4().scale(scale).tensor_scale(true);
        assert_eq!(tensor_scale(&x, &format.build().unwrap()), 256.0 / largest);
        let nearest = format.rule(ScaleRule::Nearest).build().unwrap();
        assert_eq!(tensor_scale(&x, &nearest), 256.0 / scale.max());
    }
}

#[test]
fn other_elements_and_powers_of_two_are_refused() {
    let fp6 = BlockFormat::new(ElementFormat::FP6_E2M3).scale(ScaleFormat::UE4M3);
    let refused = fp6.rule(ScaleRule::FourOverSix).build().unwrap_err();
    assert!(matches!(refused, FormatError::RuleElement { .. }));
    let message = refused.to_string();
    for word in ["four-over-six", "fp6_e2m3", "fp4_e2m1"] {
        assert!(message.contains(word), "{message}");
    }
    let power = fp4().scale(ScaleFormat::E8M0).build();
    assert!(matches!(power, Err(FormatError::RuleScale { .. })));
}

/// Numbers that look normal: sums of four parts of a linear congruential generator.
fn normal(len: usize) -> Vec<f32> {
    let mut state = 1u32;
    let mut draw = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 16) as i32 - 32768
    };
    let mut sum = || (0..4).map(|_| draw()).sum::<i32>() as f32 / 32768.0;
    (0..len).map(|_| sum()).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What fouroversix 1.0.5 (PyPI) makes of [`normal`]'s 13 rows of 80 f32 numbers, with torch
/// 2.15.0 on a CPU: `quantize_to_fp4(x, QuantizationConfig(backend="pytorch", dtype="nvfp4",
/// scale_rule="mse"))`. Its rows and columns of padding are left out, and its scales are in the
/// order of rows.
#[test]
fn scales_and_codes_are_those_of_the_published_package() {
    let scales = concat!(
        "797372747573737a7a7673757871747978727379737770757173707770737779747276797174777678757674",
        "727978747b74727775787a75787778787476777275",
    );
    let codes = concat!(
        "994ce21951b3098d5a263ae6d31e63f449539edee485659fc43f09953e0139179b018361683d6a12",
        "6c8b169179abc5b92363f86b7d4688453245ad03522211262a923a9b0168ca15fc15202f6e95c93e",
        "761b0990d839ee9bc1c823a2110f11c1e359fdd928e2c6ab91414e4d73764d50e1b1165745e7d9a1",
        "2ecaa45a80388bd86041bbda251519a91d4225aebb9a9573a9926b59dc6e06648ea19aa3289a20ba",
        "1030c5116c1b599eed654ccd5d3584ec99699967d2972c866950d115ec4284ee42e4a075cae4ec81",
        "96e81cf3193624d0f199eeeb9345ee729d9d9e2a84bbaa3962592cc75d7621c49d4ec5fed0e4d646",
        "c81eb09c1b934c2e900ccbdb4ebc621e56b3315e0c2df9ab5551f61b531e4c69cc1ac335650a3985",
        "c380c9de8801311ae8de739ee3e26a99ee25b3c583c2a7d541ae9d6238a04d7c2d33aa90b9d06902",
        "c2458a054b4e045a7534ad6ca8d8d8c829bb33b5949e836c3a097f443ec4b2b2dd2d8dae74274f69",
        "8634a241c90c952b4bb1eba02c5b1804d15da5f49bace0bd1bac9002ec992d91d4c442eca9b91442",
        "953c8d8a4ebe1a3fe914a305d1aa10935bbd22c91e5b1b1259294e3daa8390a43d3e3db99d002ab4",
        "58011bd5b225c6e2306eeea36c2282201c3adb499db8a2e4c31e24bd30ab9632e565a53cceeb9483",
        "d46bb556d20c9a1e194443439926bd48db989c298c3b6280ab4984f6b5d67ce693c21dee2dbdccd3",
    );
    let format = BlockFormat::NVFP4.to_builder().rule(ScaleRule::FourOverSix);
    let packed = quantize(
        &normal(13 * 80),
        13,
        80,
        &format.build().unwrap(),
        FloatType::F32,
    );
    let packed = packed.unwrap();
    assert_eq!(packed.tensor_scale(), 3.639_770_5 / 1536.0);
    assert_eq!(hex(packed.scales()), scales);
    assert_eq!(hex(packed.codes()), codes);
}

/// Blocks with an element that is as far from a value under the first scale as from one under the
/// second, or nearly, and with no other error but perhaps that of one that is the largest.
fn blocks_of_ties(format: &BlockFormat, tensor_scale: f32) -> Vec<f32> {
    let (scale, k) = (format.scale(), format.block_size());
    let values = [0.0f32, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0];
    let mut x = Vec::new();
    let mut draw = {
        let mut i = 0;
        move || {
            i += 1;
            random_at(7, i)
        }
    };
    while x.len() < 400 * k {
        let code = 1 + draw() % scale.max_code();
        let six = scale.decode(code);
        let four = scale.decode(scale.encode_nearest(1.5 * six));
        let mut value = || values[draw() as usize % values.len()];
        let middle = (value() * six + value() * four) / 2.0 * tensor_scale;
        let bits = middle
            .to_bits()
            .saturating_add(draw() % 9)
            .saturating_sub(4);
        let mut block = vec![0.0; k];
        block[draw() as usize % k] = f32::from_bits(bits);
        block[draw() as usize % k] = -6.0 * six * tensor_scale;
        x.extend(block);
    }
    x
}

#[test]
fn nearly_equal_errors_decide_on_every_instruction_set_as_in_the_reference() {
    let ue5m1 = ScaleFormat::Unsigned {
        exponent_bits: 5,
        mantissa_bits: 1,
    };
    let mut seconds = 0;
    for (scale, block_size) in [
        (ScaleFormat::UE4M3, 16),
        (ScaleFormat::UE4M3, 24),
        (ScaleFormat::UE5M3, 32),
        (ScaleFormat::UE5M3, 16),
        (ScaleFormat::Fp16, 64),
        (ScaleFormat::Fp16, 16),
        (ScaleFormat::Bf16, 16),
        (ue5m1, 16),
        (ScaleFormat::UE4M3, 512),
        (ScaleFormat::UE4M3, 1024),
    ] {
        let has_tensor_scale = !matches!(scale, ScaleFormat::Bf16);
        let format = fp4().scale(scale).tensor_scale(has_tensor_scale);
        for rounding in Rounding::ALL {
            let format = format.block_size(block_size).rounding(rounding);
            let format = format.build().unwrap();
            // The least makes divisors of small scales subnormal.
            for tensor_scale in [1.0, 0.731, 2.3e-30, f32::MIN_POSITIVE] {
                let tensor_scale = if has_tensor_scale { tensor_scale } else { 1.0 };
                let x = blocks_of_ties(&format, tensor_scale);
                let expected = quantize_row(&x, &format, tensor_scale);
                for isa in Isa::available() {
                    let quantizer = Quantizer::new(format, FloatType::F32).unwrap();
                    let quantizer = quantizer.with_isa(isa).with_tensor_scale(tensor_scale);
                    let found = quantizer.quantize(&x, 1, x.len()).unwrap();
                    assert!(found == expected, "{isa} {format} {tensor_scale:e}");
                }
                let nearest = format
                    .to_builder()
                    .rule(ScaleRule::Nearest)
                    .build()
                    .unwrap();
                let nearest = quantize_row(&x, &nearest, tensor_scale);
                let blocks = x.len() / block_size;
                let codes = |packed: &PackedTensor, i| packed.scale_code(0, i);
                seconds += (0..blocks)
                    .filter(|&i| codes(&nearest, i) != codes(&expected, i))
                    .count();
            }
        }
    }
    assert!(
        seconds > 1000,
        "only {seconds} blocks took the second scale"
    );
}

//! Quantising to E2M1 against the reference where it goes a way of its own: under every scale, next
//! to every boundary between codes, and with blocks among plain ones that are not plain.

use mxlab_kernels::cpu::{Isa, Quantizer};
use mxlab_kernels::format::{
    BlockFormat, ElementFormat, FloatType, PackedTensor, ScaleFormat, random_at,
};
use mxlab_kernels::reference::{Part, quantize_part};

/// Where the code changes, in units of the scale.
const BOUNDARIES: [f32; 7] = [0.25, 0.75, 1.25, 1.75, 2.5, 3.5, 5.0];

fn format(scale: ScaleFormat, block_size: usize, tensor_scale: bool) -> BlockFormat {
    let format = BlockFormat::new(ElementFormat::FP4_E2M1).scale(scale);
    let format = format.block_size(block_size).tensor_scale(tensor_scale);
    format.build().unwrap()
}

/// One row on every instruction set.
fn check(format: &BlockFormat, x: &[f32], tensor_scale: f32) {
    let part = Part {
        rows: 1,
        cols: x.len(),
        first_row: 0,
        tensor_scale,
        source: FloatType::F32,
    };
    let expected = quantize_part(x, part, format).unwrap();
    for isa in Isa::available() {
        let quantizer = Quantizer::new(*format, FloatType::F32).unwrap();
        let quantizer = quantizer.with_isa(isa).with_tensor_scale(tensor_scale);
        let found = quantizer.quantize(x, 1, x.len()).unwrap();
        if found == expected {
            continue;
        }
        let block = |i: usize| i / format.block_size();
        let differs = |&i: &usize| {
            let at = |packed: &PackedTensor| (packed.code(0, i), packed.scale_code(0, block(i)));
            at(&found) != at(&expected)
        };
        let i = (0..x.len()).find(differs).unwrap();
        panic!(
            "{isa} {format}: element {i}, {:e} ({:#x}) of tensor scale {tensor_scale:e}: code {} \
             scale {}, expected {} {}",
            x[i],
            x[i].to_bits(),
            found.code(0, i),
            found.scale_code(0, block(i)),
            expected.code(0, i),
            expected.scale_code(0, block(i)),
        );
    }
}

/// Blocks whose scale is `divisor`, of it and of numbers around the boundaries.
fn push_blocks(x: &mut Vec<f32>, divisor: f32, block_size: usize) {
    let around = |boundary: f32| {
        let at = boundary * divisor;
        [at.next_down(), at, at.next_up()]
    };
    let mut numbers: Vec<f32> = BOUNDARIES.into_iter().flat_map(around).collect();
    numbers.extend([0.0, f32::from_bits(1), f32::MIN_POSITIVE, 4.0 * divisor]);
    let numbers: Vec<f32> = numbers.into_iter().flat_map(|x| [x, -x]).collect();
    for numbers in numbers.chunks(block_size - 1) {
        x.push(6.0 * divisor);
        x.extend(numbers);
        x.resize(x.len().next_multiple_of(block_size), divisor);
    }
}

/// A row with blocks of every scale.
fn row_of_all_scales(format: &BlockFormat, tensor_scale: f32) -> Vec<f32> {
    let mut x = Vec::new();
    let scale = format.scale();
    for code in scale.smallest_code()..=scale.max_code() {
        push_blocks(
            &mut x,
            scale.decode(code) * tensor_scale,
            format.block_size(),
        );
    }
    x
}

#[test]
fn numbers_next_to_boundaries_equal_the_reference() {
    for block_size in [16, 32, 48, 64, 128, 192] {
        let format = format(ScaleFormat::E8M0, block_size, false);
        check(&format, &row_of_all_scales(&format, 1.0), 1.0);
    }
    let floats = ScaleFormat::all().filter(|scale| !scale.is_power_of_two());
    for scale in floats.filter(|scale| scale.bits() <= 16) {
        let format = format(scale, if scale.bits() == 8 { 32 } else { 16 }, false);
        check(&format, &row_of_all_scales(&format, 1.0), 1.0);
    }
    let format = format(ScaleFormat::UE4M3, 16, true);
    for i in 0..60 {
        // Significands of every kind; exponents that are usual, and all of them.
        let bits = random_at(7, i);
        let exponent = if i < 40 {
            100 + i as u32
        } else {
            bits >> 23 & 0xFF
        };
        let tensor_scale = f32::from_bits(exponent.clamp(1, 240) << 23 | bits & 0x7F_FFFF);
        check(
            &format,
            &row_of_all_scales(&format, tensor_scale),
            tensor_scale,
        );
    }
}

#[test]
fn blocks_that_are_not_plain_stand_between_plain_ones() {
    // Under the last tensor scale all block scales saturate, and some quotients overflow.
    let formats = [
        (format(ScaleFormat::E8M0, 16, false), 1.0),
        (format(ScaleFormat::E8M0, 32, false), 1.0),
        (format(ScaleFormat::E8M0, 64, false), 1.0),
        (format(ScaleFormat::UE5M3, 16, false), 1.0),
        (format(ScaleFormat::UE5M3, 64, false), 1.0),
        (format(ScaleFormat::UE4M3, 16, true), 0.0123),
        (format(ScaleFormat::UE4M3, 16, true), 1e-33),
    ];
    let odd = [
        0.0,
        -0.0,
        f32::NAN,
        f32::NEG_INFINITY,
        f32::MAX,
        f32::MIN_POSITIVE,
        1e-45,
    ];
    for (format, tensor_scale) in &formats {
        let block_size = format.block_size();
        for (at, odd) in (0..75).zip(odd.into_iter().cycle()) {
            let value = |i: usize| {
                let unit = (f64::from(random_at(at as u32, i as u64)) / 2f64.powi(31) - 1.0) as f32;
                match i / block_size {
                    block if block == at => odd,
                    block => unit * 2f32.powi(block as i32 % 20 - 10),
                }
            };
            // The last group is not whole, nor is the last block.
            let x: Vec<f32> = (0..83 * block_size + 6).map(value).collect();
            check(format, &x, *tensor_scale);
        }
    }
}

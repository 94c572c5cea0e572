//! Packed weights on a device become what the scalar definition makes of them, in every format; or
//! the same error.

use mxlab_harness::device::{Buffer, Device, Stream};
use mxlab_kernels::family::matmul::{MatmulVariant, Weights};
use mxlab_kernels::family::shuffle::{PackedOperand, Shuffle, ShuffleError, Tiles};
use mxlab_kernels::format::{BlockFormat, ElementFormat, FloatType, PackedTensor, ScaleFormat};
use mxlab_kernels::fragment::{
    FragmentError, FragmentFormat, FragmentTensor, OperandType, WeightFormat,
};
use mxlab_kernels::kernel::{Dense, Slice};
use mxlab_kernels::reference::quantize;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

const SHAPES: [[usize; 2]; 3] = [[1, 1], [19, 200], [33, 65]];

fn whole(buffer: &Buffer) -> Slice<'_> {
    Slice { buffer, offset: 0 }
}

fn shuffled(
    device: &Device,
    stream: &Stream,
    packed: &PackedTensor,
    operand: OperandType,
) -> Result<Weights, ShuffleError> {
    let codes = device.upload("codes", packed.codes())?;
    let scales = device.upload("scales", packed.scales())?;
    let tensor_scale = device.upload("tensor scale", &[packed.tensor_scale()])?;
    let format =
        FragmentFormat::of_operand(packed.format(), operand).map_err(FragmentError::from)?;
    let packed_operand = PackedOperand {
        rows: packed.rows(),
        cols: packed.cols(),
        codes: whole(&codes),
        scales: whole(&scales),
        tensor_scale: Some(whole(&tensor_scale)),
    };
    let shuffle = Shuffle::of_format(device, WeightFormat::Packed(format))?;
    shuffle.packed(stream, "w", &packed_operand)
}

fn assert_is(weights: &Weights, expected: &FragmentTensor) {
    assert_eq!(*weights.format(), expected.format);
    assert_eq!(
        [weights.rows(), weights.cols()],
        [expected.rows, expected.cols]
    );
    assert_eq!(weights.codes().download::<u8>().unwrap(), expected.codes);
    let scales = weights
        .scales()
        .map(|scales| scales.download::<u8>().unwrap());
    assert_eq!(scales.unwrap_or_default(), expected.scales);
    assert_eq!(weights.alphas().download::<f32>().unwrap(), expected.alphas);
}

#[test]
fn weights_of_every_format_are_those_of_the_definition() {
    let device = Device::emulator();
    let stream = device.stream().unwrap();
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let mut formats: Vec<WeightFormat> = MatmulVariant::all().map(|v| *v.weights()).collect();
    formats.dedup();
    assert!(formats.len() > 100);
    for [rows, cols] in SHAPES {
        for format in &formats {
            let value = |_| rng.random_range(-1.0f32..1.0) * 2f32.powi(rng.random_range(-9..3));
            let x: Vec<f32> = (0..rows * cols).map(value).collect();
            let WeightFormat::Packed(format) = format else {
                let bits: Vec<u16> = x
                    .iter()
                    .map(|&x| FloatType::Bf16.to_bits(x) as u16)
                    .collect();
                let src = device.upload("x", &bits).unwrap();
                let shuffle = Shuffle::of_format(&device, WeightFormat::Dense).unwrap();
                let src = Dense {
                    first: whole(&src),
                    stride: cols,
                };
                let weights = shuffle.dense(&stream, "w", [rows, cols], src).unwrap();
                assert_is(&weights, &FragmentTensor::dense(&bits, rows, cols));
                continue;
            };
            let block = BlockFormat::new(format.element()).scale(format.scale());
            let block = block.block_size(format.block_size());
            let block = block
                .tensor_scale(format.has_tensor_scale())
                .build()
                .unwrap();
            let packed = quantize(&x, rows, cols, &block, FloatType::F32).unwrap();
            let operand = format.operand();
            let expected = FragmentTensor::of_operand(&packed, operand).unwrap();
            let weights = shuffled(&device, &stream, &packed, operand).unwrap();
            assert_is(&weights, &expected);
        }
    }
}

/// Two matrices interleaved in one stack, tile by tile, equal the interleaved definition.
#[test]
fn matrices_are_stacked_in_turns() {
    let device = Device::emulator();
    let stream = device.stream().unwrap();
    let mut rng = ChaCha8Rng::seed_from_u64(2);
    let (rows, cols) = (48, 200);
    let formats = [
        (ElementFormat::FP4_E2M1, ScaleFormat::E8M0, false),
        (ElementFormat::FP4_E2M1, ScaleFormat::UE4M3, true),
        (ElementFormat::INT4, ScaleFormat::Fp16, false),
    ];
    for (element, scale, has_tensor_scale) in formats {
        let format = BlockFormat::new(element).scale(scale).block_size(16);
        let format = format.tensor_scale(has_tensor_scale).build().unwrap();
        let mut matrix = |spread: f32| {
            let value = |_| spread * rng.random_range(-1.0f32..1.0);
            let x: Vec<f32> = (0..rows * cols).map(value).collect();
            quantize(&x, rows, cols, &format, FloatType::F32).unwrap()
        };
        let matrices = [matrix(1.0), matrix(300.0)];
        let fragments = FragmentFormat::new(&format).unwrap();
        let shuffle = Shuffle::of_format(&device, WeightFormat::Packed(fragments)).unwrap();
        let mut stack = shuffle.stack("w", [2 * rows, cols]).unwrap();
        for (first, packed) in matrices.iter().enumerate() {
            let codes = device.upload("codes", packed.codes()).unwrap();
            let scales = device.upload("scales", packed.scales()).unwrap();
            let tensor_scale = device.upload("tensor scale", &[packed.tensor_scale()]);
            let tensor_scale = tensor_scale.unwrap();
            let operand = PackedOperand {
                rows,
                cols,
                codes: whole(&codes),
                scales: whole(&scales),
                tensor_scale: Some(whole(&tensor_scale)),
            };
            let tiles = Tiles { first, skip: 1 };
            let put = shuffle.put_packed(&stream, &mut stack, tiles, &operand);
            put.unwrap();
        }
        let [gate, up] = matrices.map(|packed| FragmentTensor::new(&packed).unwrap());
        let expected = gate.interleaved(&up);
        let has_own = matches!(scale, ScaleFormat::Fp16);
        assert_eq!(expected.alphas[0] == expected.alphas[1], has_own);
        assert_is(&stack.weights(&device).unwrap(), &expected);
    }
}

/// Scales are told before codes of a row, and both by row.
#[test]
fn what_is_not_finite_is_the_error_of_the_definition() {
    let device = Device::emulator();
    let stream = device.stream().unwrap();
    let format = |element, scale| {
        let format = BlockFormat::new(element).scale(scale).block_size(16);
        format.build().unwrap()
    };
    let [e4m3, int8, fp4] = [
        format(ElementFormat::FP8_E4M3, ScaleFormat::UE5M3),
        format(ElementFormat::INT8, ScaleFormat::E8M0),
        format(ElementFormat::FP4_E2M1, ScaleFormat::Fp16),
    ];
    let (rows, cols) = (20, 40);
    // Codes and scales that are made wrong: (byte, what it becomes).
    type Faults<'a> = &'a [(usize, u8)];
    let cases: [(BlockFormat, Faults, Faults); 6] = [
        (e4m3, &[(17 * 40 + 33, 0xFF), (18 * 40, 0x7F)], &[]),
        (e4m3, &[(17 * 40, 0x7F)], &[(17 * 3 + 2, 0xFF)]),
        (e4m3, &[(16 * 40 + 39, 0x7F)], &[(17 * 3, 0xFF)]),
        (int8, &[(5, 0x80), (6, 0x80)], &[]),
        (int8, &[], &[(19 * 3 + 1, 0xFF), (19 * 3 + 2, 0xFF)]),
        (
            fp4,
            &[],
            &[(2 * (4 * 3 + 1), 0x01), (2 * (4 * 3 + 1) + 1, 0xFC)],
        ),
    ];
    for (format, codes, scales) in cases {
        let right = PackedTensor::zeroed(format, rows, cols).unwrap();
        let with = |bytes: &[u8], faults: Faults| {
            let mut bytes = bytes.to_vec();
            faults.iter().for_each(|&(at, byte)| bytes[at] = byte);
            bytes
        };
        let (codes, scales) = (with(right.codes(), codes), with(right.scales(), scales));
        let packed = PackedTensor::new(format, rows, cols, codes, scales, 1.0).unwrap();
        let expected = FragmentTensor::new(&packed).unwrap_err();
        match shuffled(&device, &stream, &packed, OperandType::Bf16) {
            Err(ShuffleError::Fragment(error)) => assert_eq!(error, expected),
            other => panic!("{format}: {other:?}, not {expected}"),
        }
    }
}

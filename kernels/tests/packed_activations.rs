//! Activations that a row kernel packs, times weights that a shuffle places, are the product of the
//! two packed tensors.

use mxlab_harness::device::{Buffer, Device, Stream};
use mxlab_kernels::family::matmul::{MatmulOutput, MatmulVariant, Weights};
use mxlab_kernels::family::rows::{RowOperation, RowVariant};
use mxlab_kernels::family::shuffle::{PackedOperand, Shuffle};
use mxlab_kernels::format::{BlockFormat, ElementFormat, FloatType, PackedTensor, ScaleFormat};
use mxlab_kernels::fragment::{CHUNK, FragmentFormat, OperandType, WeightFormat};
use mxlab_kernels::kernel::{Call, Dense, Kernel, LaunchError, Slice, VariantError};
use mxlab_kernels::reference::{Operand, matmul, quantize};
use mxlab_kernels::support::{Part, Taker};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// One for each regime.
const TOKENS: [usize; 4] = [5, 16, 40, 200];
const ROWS: usize = 19;
const COLS: usize = 200;

fn whole(buffer: &Buffer) -> Slice<'_> {
    Slice { buffer, offset: 0 }
}

fn format(element: ElementFormat, scale: ScaleFormat, k: usize) -> BlockFormat {
    let format = BlockFormat::new(element).scale(scale).block_size(k);
    format.build().unwrap()
}

fn shuffled(
    device: &Device,
    stream: &Stream,
    packed: &PackedTensor,
    format: WeightFormat,
) -> Weights {
    let codes = device.upload("codes", packed.codes()).unwrap();
    let scales = device.upload("scales", packed.scales()).unwrap();
    let operand = PackedOperand {
        rows: ROWS,
        cols: COLS,
        codes: whole(&codes),
        scales: whole(&scales),
        tensor_scale: None,
    };
    let shuffle = Shuffle::of_format(device, format).unwrap();
    shuffle.packed(stream, "w", &operand).unwrap()
}

/// y of x, rows of bf16 that are packed as `activations`, and W.
fn multiplied(
    x: &[f32],
    w: &PackedTensor,
    activations: BlockFormat,
    operand: OperandType,
) -> Vec<f32> {
    let count = x.len() / COLS;
    let device = Device::emulator();
    let stream = device.stream().unwrap();
    let fragments = FragmentFormat::of_operand(w.format(), operand).unwrap();
    let weights = shuffled(&device, &stream, w, WeightFormat::Packed(fragments));
    let variant = MatmulVariant::for_tokens(*weights.format(), count, MatmulOutput::F32, 0);
    // Whole groups of tokens, whole chunks of columns.
    let tokens = count.next_multiple_of(variant.regime().tokens() as usize);
    let padded = COLS.next_multiple_of(CHUNK);

    let bits: Vec<u16> = x
        .iter()
        .map(|&x| FloatType::Bf16.to_bits(x) as u16)
        .collect();
    let rows = device.upload("rows", &bits).unwrap();
    let src = device.upload("x", &vec![0u8; tokens * padded]).unwrap();
    let blocks = variant.source_blocks(padded / CHUNK);
    let scales = device
        .upload("x (scales)", &vec![0f32; tokens * blocks])
        .unwrap();
    let dense = |buffer, stride| Dense {
        first: whole(buffer),
        stride,
    };
    let pack = RowVariant::packed(RowOperation::Copy, activations, operand).unwrap();
    let call = Call::new()
        .size("rows", count)
        .size("cols", COLS)
        .rows("dst", "dst_stride", dense(&src, padded))
        .rows("dst_scales", "dst_scales_stride", dense(&scales, tokens))
        .rows("src", "src_stride", dense(&rows, COLS));
    pack.launcher(&device)
        .unwrap()
        .launch(&stream, &call)
        .unwrap();

    let y = device.upload("y", &vec![0f32; count * ROWS]).unwrap();
    let exponent = operand.activation_exponent(activations.element()).unwrap();
    let call = weights.call(&variant).unwrap();
    let call = call
        .size("tokens", count)
        .size("parts", 1)
        .rows("src", "src_stride", dense(&src, padded))
        .rows("dst", "dst_stride", dense(&y, ROWS))
        .size("src_scales_stride", tokens)
        .number("src_factor", 2f32.powi(exponent));
    let kernel = variant.launcher(&device).unwrap();
    let missing = kernel.launch(&stream, &call);
    let call = call.buffer("src_scales", whole(&scales));
    kernel.launch(&stream, &call).unwrap();
    stream.synchronize().unwrap();
    assert!(matches!(
        missing,
        Err(LaunchError::Missing {
            operand: "src_scales",
            ..
        })
    ));
    y.download().unwrap()
}

#[test]
fn packed_rows_times_packed_weights_are_the_reference() {
    use ElementFormat as E;
    let (power, half, single) = (ScaleFormat::E8M0, ScaleFormat::Fp16, ScaleFormat::Fp32);
    let cases = [
        (
            OperandType::E4m3,
            E::FP4_E2M1,
            power,
            E::FP8_E4M3,
            power,
            32,
        ),
        (
            OperandType::E4m3,
            E::FP4_E2M1,
            power,
            E::FP6_E2M3,
            power,
            32,
        ),
        (
            OperandType::E4m3,
            E::FP6_E3M2,
            power,
            E::FP6_E3M2,
            power,
            64,
        ),
        (OperandType::E4m3, E::FP8_E4M3, single, E::INT4, single, 128),
        (OperandType::S8, E::INT4, half, E::INT8, single, 128),
        (OperandType::S8, E::INT4, power, E::FP6_E2M3, power, 32),
        (OperandType::S8, E::INT8, half, E::FP4_E2M1, power, 64),
    ];
    let mut rng = ChaCha8Rng::seed_from_u64(7);
    let mut draw = |count: usize| -> Vec<f32> {
        let value = |_| rng.random_range(-1.0f32..1.0) * 2f32.powi(rng.random_range(-6..6));
        (0..count)
            .map(value)
            .map(|x| FloatType::Bf16.round(x))
            .collect()
    };
    let cases = cases
        .into_iter()
        .flat_map(|case| TOKENS.map(|tokens| (case, tokens)));
    for ((operand, weight, scale, activation, x_scale, k), tokens) in cases {
        let x = draw(tokens * COLS);
        let w = format(weight, scale, k);
        let w = quantize(&draw(ROWS * COLS), ROWS, COLS, &w, FloatType::F32).unwrap();
        let activations = format(activation, x_scale, k);
        let packed = quantize(&x, tokens, COLS, &activations, FloatType::Bf16).unwrap();
        let expected = matmul(Operand::Packed(&packed), Operand::Packed(&w)).unwrap();
        let got = multiplied(&x, &w, activations, operand);
        let magnitude = expected.iter().fold(0.0, |most: f64, y| most.max(y.abs()));
        for (got, expected) in got.into_iter().zip(expected) {
            // The emulator adds E4M3 products exactly.
            let error = (f64::from(got) - expected).abs();
            assert!(
                error <= magnitude * 1e-5,
                "{operand} {weight} {activation} k{k}, {tokens} tokens: {got}, not {expected}"
            );
        }
    }
}

#[test]
fn what_operands_do_not_hold_is_refused() {
    let weights = |element, scale, k, operand| {
        FragmentFormat::of_operand(&format(element, scale, k), operand)
    };
    let power = ScaleFormat::E8M0;
    for (element, scale, operand) in [
        (ElementFormat::FP4_E2M1, power, OperandType::S8),
        (ElementFormat::FP8_E5M2, power, OperandType::E4m3),
        (ElementFormat::NF4, ScaleFormat::Fp32, OperandType::E4m3),
        (ElementFormat::INT8, power, OperandType::E4m3),
        (ElementFormat::INT8, ScaleFormat::Fp32, OperandType::S8),
    ] {
        let refused = weights(element, scale, 32, operand).unwrap_err();
        assert_eq!(refused.taker, Taker::Weights(operand), "{element}");
        let part = match scale {
            ScaleFormat::Fp32 if element == ElementFormat::INT8 => Part::Scale,
            _ => Part::Element,
        };
        assert_eq!(refused.part, part, "{element} {operand}");
    }
    let short = weights(ElementFormat::INT8, power, 16, OperandType::S8).unwrap_err();
    let message = short.to_string();
    assert_eq!(
        message,
        "`int8 e8m0 k16 floor/even ocp` is not supported by s8 operands of weights: its block size \
         is 16, expected 32, 64 or 128; choose another block size, or use the CPU, \
         which takes every format"
    );

    let rows = |element, k, operand| {
        RowVariant::packed(RowOperation::Copy, format(element, power, k), operand)
    };
    for (element, k, operand) in [
        (ElementFormat::FP8_E4M3, 32, OperandType::S8),
        (ElementFormat::INT8, 32, OperandType::E4m3),
        (ElementFormat::INT8, 16, OperandType::S8),
    ] {
        let refused = rows(element, k, operand);
        assert!(
            matches!(
                refused,
                Err(VariantError::Unsupported(refused))
                    if refused.taker == Taker::Activations(operand)
            ),
            "{element} {operand}"
        );
    }
}

//! Rotations against exact matrices.

use mxlab_harness::device::{Buffer, Device};
use mxlab_kernels::family::rows::{RowOperation, RowVariant};
use mxlab_kernels::format::{FloatType, FormatError, Rotation, random_at};
use mxlab_kernels::kernel::{Call, Dense, Kernel, Slice, VariantError};
use mxlab_kernels::reference;

fn row(cols: usize, seed: u32) -> Vec<f32> {
    let random = |i: usize| random_at(seed, i as u64) as i32 as f32 / 2f32.powi(31);
    (0..cols).map(random).collect()
}

fn rotated(x: &[f32], rotation: &str) -> Vec<f32> {
    let rotation: Rotation = rotation.parse().unwrap();
    let mut x = x.to_vec();
    let plan = rotation.of_rows(x.len()).unwrap();
    reference::hadamard(&mut x, &plan, FloatType::F32);
    x
}

/// The matrix H of an order, from the images of unit rows, which are exact.
fn matrix(order: usize, rotation: &str) -> Vec<Vec<i64>> {
    let image = |i: usize| {
        let mut unit = vec![0.0; order];
        unit[i] = 1.0;
        let image = rotated(&unit, rotation);
        let signs = image.iter().map(|&x| {
            let size = (f64::from(x).abs() * (order as f64).sqrt() - 1.0).abs();
            assert!(size < 1e-6, "{order}: an element of {x}");
            x.signum() as i64
        });
        signs.collect()
    };
    (0..order).map(image).collect()
}

/// Sylvester's for powers of two; Paley's of both kinds, plain and doubled, for others: among them
/// the widths of Llamas (36 in 576, 12 in 1536, 28 in 14336, 44 in 5632, 140 in 8960).
#[test]
fn matrices_are_those_of_hadamard() {
    for order in [2, 4, 32, 64, 12, 20, 24, 28, 36, 44, 76, 140, 96, 144] {
        let h = matrix(order, "row");
        for a in 0..order {
            for b in 0..order {
                let product: i64 = h[a].iter().zip(&h[b]).map(|(x, y)| x * y).sum();
                assert_eq!(product, if a == b { order as i64 } else { 0 }, "{order}");
            }
        }
    }
    let sylvester = matrix(32, "32");
    for (a, row) in sylvester.iter().enumerate() {
        for (b, &element) in row.iter().enumerate() {
            assert_eq!(element, 1 - 2 * i64::from((a & b).count_ones() % 2));
        }
    }
}

#[test]
fn products_of_rotated_rows_are_those_of_rows() {
    for (cols, rotation) in [
        (96, "32"),
        (96, "16:7"),
        (96, "row:3"),
        (576, "row"),
        (64, "2:1"),
    ] {
        let (x, w) = (row(cols, 1), row(cols, 2));
        let dot = |x: &[f32], w: &[f32]| {
            let terms = x.iter().zip(w).map(|(&x, &w)| f64::from(x) * f64::from(w));
            terms.sum::<f64>()
        };
        let (exact, found) = (
            dot(&x, &w),
            dot(&rotated(&x, rotation), &rotated(&w, rotation)),
        );
        assert!(
            (exact - found).abs() < 1e-4,
            "{cols} {rotation}: {found}, not {exact}"
        );
    }
    let (plain, signed) = (rotated(&row(64, 1), "32"), rotated(&row(64, 1), "32:5"));
    assert_ne!(plain, signed);
}

#[test]
fn rotations_without_a_matrix_are_refused() {
    let parse = |text: &str| text.parse::<Rotation>().unwrap_err();
    for size in [0, 1, 24, 1 << 15] {
        assert_eq!(
            parse(&size.to_string()),
            FormatError::RotationBlock { size }
        );
    }
    for text in ["", "half", "32:", "32:-1", "row:x", ":3"] {
        let expected = FormatError::UnknownRotation { text: text.into() };
        assert_eq!(parse(text), expected);
    }
    let of_rows = |rotation: &str, cols| {
        let rotation: Rotation = rotation.parse().unwrap();
        rotation.of_rows(cols).unwrap_err()
    };
    let expected = FormatError::RotationCols { size: 64, cols: 96 };
    assert_eq!(of_rows("64", 96), expected);
    // 92 = 4 * 23 comes of no prime: 91 = 7 * 13, and 45 = 9 * 5.
    for cols in [3, 6, 92] {
        assert_eq!(of_rows("row", cols), FormatError::NoHadamard { cols });
    }
    for text in ["32", "row", "32:7", "row:0"] {
        assert_eq!(text.parse::<Rotation>().unwrap().to_string(), text);
    }
}

fn dense(buffer: &Buffer, stride: usize) -> Dense<'_> {
    Dense {
        first: Slice::whole(buffer),
        stride,
    }
}

/// Blocks within a thread, of a few lanes, and of a warp; rows longer than a thread block takes at
/// once.
#[test]
fn copies_rotate_as_the_reference() {
    let device = Device::emulator();
    let stream = device.stream().unwrap();
    let (rows, cols) = (3, 2304);
    let x: Vec<u16> = row(rows * cols, 4)
        .iter()
        .map(|&x| FloatType::Bf16.to_bits(x) as u16)
        .collect();
    for rotation in ["8", "16:3", "32", "32:9", "64:3", "128", "256", "256:1"] {
        let by: Rotation = rotation.parse().unwrap();
        let copy = RowVariant::new(RowOperation::Copy, None).unwrap();
        let copy = copy.rotated(&by).unwrap();
        let src = device.upload("x", &x).unwrap();
        let dst = device.upload("y", &vec![0u16; rows * cols]).unwrap();
        let call = Call::new()
            .size("rows", rows)
            .size("cols", cols)
            .rows("dst", "dst_stride", dense(&dst, cols))
            .rows("src", "src_stride", dense(&src, cols))
            .size("rotation_seed", by.seed().unwrap_or(0) as usize);
        let kernel = copy.launcher(&device).unwrap();
        kernel.launch(&stream, &call).unwrap();
        let narrow = call.size("cols", cols - 4);
        let refusal = kernel.launch(&stream, &narrow).unwrap_err().to_string();
        assert!(refusal.contains("cols"), "{rotation}: {refusal}");
        stream.synchronize().unwrap();
        let ours: Vec<u16> = dst.download().unwrap();
        let plan = by.of_rows(cols).unwrap();
        for (x, ours) in x.chunks(cols).zip(ours.chunks(cols)) {
            let value = |&bits: &u16| FloatType::Bf16.from_bits(bits.into());
            let mut y: Vec<f32> = x.iter().map(value).collect();
            reference::hadamard(&mut y, &plan, FloatType::Bf16);
            let ours: Vec<f32> = ours.iter().map(value).collect();
            assert_eq!(ours, y, "{rotation}");
        }
    }
}

#[test]
fn kernels_refuse_other_rotations() {
    for rotation in ["2", "4", "512", "row", "row:3"] {
        let by: Rotation = rotation.parse().unwrap();
        let copy = RowVariant::new(RowOperation::Copy, None).unwrap();
        let refusal = copy.rotated(&by).unwrap_err();
        assert_eq!(refusal, VariantError::Rotation { rotation: by });
        let message = refusal.to_string();
        assert!(message.contains(&format!("by {rotation};")), "{message}");
    }
}

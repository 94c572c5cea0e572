//! The values of every type are those of the package `gguf`, bit for bit.
//!
//! `MXLAB_GGUF` names a folder with the package; without it the comparison prints `not run`.

use std::fs;
use std::process::Command;

use mxlab::checkpoint::{Checkpoint, TensorView};
use mxlab::description::parameters::Role;
use not_run::not_run;

use super::writer::File;
use super::{open, open_in};

const ROWS: usize = 320;
const COLS: usize = 256;

/// Number, name, elements and bytes of a block.
const TYPES: [(u32, &str, usize, usize); 16] = [
    (0, "F32", 1, 4),
    (1, "F16", 1, 2),
    (30, "BF16", 1, 2),
    (2, "Q4_0", 32, 18),
    (3, "Q4_1", 32, 20),
    (6, "Q5_0", 32, 22),
    (7, "Q5_1", 32, 24),
    (8, "Q8_0", 32, 34),
    (10, "Q2_K", 256, 84),
    (11, "Q3_K", 256, 110),
    (12, "Q4_K", 256, 144),
    (13, "Q5_K", 256, 176),
    (14, "Q6_K", 256, 210),
    (20, "IQ4_NL", 32, 18),
    (39, "MXFP4", 32, 17),
    (40, "NVFP4", 64, 36),
];

/// Rows of one byte each, for scales that are zero, of either sign, tiny and large, then random
/// bytes. No scale of MXFP4 or NVFP4 is NaN.
fn bytes(kind: u32, block: usize, block_bytes: usize) -> Vec<u8> {
    let row_bytes = COLS / block * block_bytes;
    let mut state = 0x9E37_79B9u32 ^ kind;
    let mut random = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        (state >> 11) as u8
    };
    let fixed = [0u8, 0x80, 0x01, 0x7B, 0xFB, 0x3C];
    let mut bytes: Vec<u8> = fixed
        .iter()
        .flat_map(|&byte| vec![byte; row_bytes])
        .collect();
    bytes.resize_with(ROWS * row_bytes, &mut random);
    let scales = match kind {
        39 => 1,
        40 => 4,
        _ => 0,
    };
    for block in bytes.chunks_exact_mut(block_bytes) {
        for scale in block[..scales].iter_mut().filter(|scale| **scale == 0xFF) {
            *scale = 0;
        }
    }
    bytes
}

fn embedding(checkpoint: &Checkpoint) -> TensorView {
    let embedding = checkpoint.parameters().weight(None, Role::Embedding);
    checkpoint.view(embedding).expect("an embedding")
}

#[test]
fn values_are_those_of_the_gguf_package() {
    let Some(package) = std::env::var_os("MXLAB_GGUF") else {
        not_run("values of ggml's types", "MXLAB_GGUF");
        return;
    };
    let folder = tempfile::tempdir().expect("a folder");
    let mut views = Vec::new();
    for (kind, name, block, block_bytes) in TYPES {
        let file = File::llama([ROWS, COLS], kind, bytes(kind, block, block_bytes));
        let of_type = folder.path().join(name);
        fs::create_dir(&of_type).expect("writable");
        let checkpoint = open_in(&of_type, &file).expect(name);
        let view = embedding(&checkpoint);
        let is_packed = view.format().is_some() || view.dtype().is_some();
        assert_eq!(view.layout(), (!is_packed).then_some(name));
        views.push((of_type, view));
    }
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/peers/gguf_values.py");
    let mut python = Command::new("python3");
    let output = python
        .arg(script)
        .arg(folder.path())
        .env("PYTHONPATH", package);
    let output = output.output().expect("a Python");
    let message = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{message}");
    for (of_type, view) in views {
        let theirs = fs::read(of_type.join("values.f32")).expect("values");
        let (theirs, _) = theirs.as_chunks::<4>();
        let mut ours = vec![f32::NAN; view.len()];
        view.read_f32(0..view.len(), &mut ours);
        assert_eq!(ours.len(), theirs.len());
        for (index, (ours, theirs)) in ours.iter().zip(theirs).enumerate() {
            let theirs = f32::from_le_bytes(*theirs);
            let is_equal = ours.to_bits() == theirs.to_bits() || ours.is_nan() && theirs.is_nan();
            let place = of_type.file_name().expect("a name");
            assert!(
                is_equal,
                "{place:?}: element {index} is {ours:e}, not {theirs:e}"
            );
        }
    }
}

/// A scale that is NaN or infinite, where it matters.
#[test]
fn values_that_are_not_finite_are_refused() {
    for (kind, block, at, scale, expected) in [
        (
            3,
            20,
            2,
            [0x00, 0x7C],
            "`token_embd.weight` is inf at flat index 64",
        ),
        (
            14,
            210,
            208,
            [0x01, 0x7E],
            "`token_embd.weight` is NaN at flat index 0",
        ),
        (
            39,
            17,
            0,
            [0xFF, 0x11],
            "the scale of row 1, block 0 is NaN",
        ),
        (
            40,
            36,
            3,
            [0xFF, 0x11],
            "the scale of row 1, block 3 is NaN",
        ),
    ] {
        let cols = if kind == 14 { 256 } else { 64 };
        let per_row = cols
            / if kind == 40 {
                64
            } else if kind == 14 {
                256
            } else {
                32
            };
        let mut bytes = vec![0x11; ROWS * per_row * block];
        let first = if kind == 14 { 0 } else { per_row * block };
        bytes[first + at..][..2].copy_from_slice(&scale);
        let checkpoint = open(&File::llama([ROWS, cols], kind, bytes)).expect("a model");
        let embedding = checkpoint.parameters().weight(None, Role::Embedding);
        let message = checkpoint
            .tensor(embedding)
            .expect_err(expected)
            .to_string();
        assert!(message.contains(expected), "{message}");
    }
}

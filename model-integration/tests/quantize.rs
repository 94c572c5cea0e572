//! `mxlab quantize`: packed files equal the reference, and tensors are chosen, reported and
//! refused.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use mxlab_kernels::format::{BlockFormat, ElementFormat, FloatType, PackedTensor, ScaleFormat};
use mxlab_kernels::reference;
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};

use super::cli::{assert_refused, run, stderr, stdout};

/// A file with tensors of several types and shapes.
fn weights(path: &Path) -> (Vec<f32>, Vec<u8>) {
    let wave = |i: usize| ((i * 37 % 101) as f32 - 50.0) / 7.0 * 1.3_f32.powi((i % 19) as i32 - 9);
    let matrix: Vec<f32> = (0..6 * 40).map(wave).collect();
    let matrix_bytes: Vec<u8> = matrix.iter().flat_map(|x| x.to_le_bytes()).collect();
    let half: Vec<u8> = matrix[..80]
        .iter()
        .flat_map(|&x| half::bf16::from_f32(x).to_le_bytes())
        .collect();
    let integers = vec![7_u8; 12];
    let view = |dtype, shape: &[usize], bytes| {
        TensorView::new(dtype, shape.to_vec(), bytes).expect("a tensor")
    };
    let tensors: HashMap<String, TensorView> = [
        (
            "a.proj".to_owned(),
            view(Dtype::F32, &[6, 40], &matrix_bytes),
        ),
        ("b.proj".to_owned(), view(Dtype::BF16, &[2, 2, 20], &half)),
        ("norm".to_owned(), view(Dtype::BF16, &[80], &half)),
        ("ids".to_owned(), view(Dtype::U8, &[3, 4], &integers)),
    ]
    .into();
    let bytes = safetensors::serialize(tensors, None).expect("tensors");
    fs::write(path, bytes).expect("writable");
    (matrix, half)
}

#[test]
fn quantize_packs_what_the_reference_packs() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let (input, output) = (
        directory.path().join("in.safetensors"),
        directory.path().join("out.safetensors"),
    );
    let (matrix, half) = weights(&input);
    for (flags, format) in [
        ("", BlockFormat::new(ElementFormat::FP4_E2M1)),
        ("--config nvfp4", BlockFormat::NVFP4.to_builder()),
        (
            "--weights fp6_e3m2 --block-size 16",
            BlockFormat::new(ElementFormat::FP6_E3M2).block_size(16),
        ),
        (
            "--weights int3 --block-size 8 --scale ue5m3",
            BlockFormat::new(ElementFormat::INT3)
                .block_size(8)
                .scale(ScaleFormat::UE5M3),
        ),
        (
            "--weights int2 --block-size 16",
            BlockFormat::new(ElementFormat::INT2).block_size(16),
        ),
    ] {
        let format = format.build().expect("a format");
        let line = format!(
            "quantize {} --output {} {flags}",
            input.display(),
            output.display()
        );
        let done = run(&line);
        assert!(done.status.success(), "{}", stderr(&done));
        assert!(
            stdout(&done).contains("2 tensors, 1120 bytes ->"),
            "{}",
            stdout(&done)
        );
        assert!(
            stdout(&done).contains("2 other tensors"),
            "{}",
            stdout(&done)
        );

        let bytes = fs::read(&output).expect("written");
        let on_device = run(&format!("{line} --device emulator"));
        if format.element().bits() < 4 {
            let message = stderr(&on_device);
            assert!(
                !on_device.status.success() && message.contains("use the CPU"),
                "{message}"
            );
        } else {
            assert_eq!(stdout(&on_device), stdout(&done), "{}", stderr(&on_device));
        }
        assert_eq!(fs::read(&output).expect("written"), bytes);
        let packed = SafeTensors::deserialize(&bytes).expect("a safetensors file");
        let part = |name: &str| packed.tensor(name).expect(name).data().to_vec();
        let expected = reference::quantize(&matrix, 6, 40, &format, FloatType::F32).expect("fits");
        let scale = match format.has_tensor_scale() {
            true => f32::from_le_bytes(part("a.proj.tensor_scale").try_into().expect("one f32")),
            false => 1.0,
        };
        let found = PackedTensor::new(
            format,
            6,
            40,
            part("a.proj.codes"),
            part("a.proj.scales"),
            scale,
        );
        assert_eq!(found.expect("fits"), expected, "{flags}");
        assert_eq!(part("norm"), half);
        assert_eq!(part("ids"), [7; 12]);
        // Blocks run along the last axis; all other axes form the rows.
        assert_eq!(packed.tensor("b.proj.codes").expect("packed").shape()[0], 4);

        let (_, metadata) = SafeTensors::read_metadata(&bytes).expect("a header");
        let metadata = metadata.metadata().clone().expect("metadata");
        let stored: BlockFormat =
            serde_json::from_str(&metadata["mxlab.format"]).expect("a format");
        assert_eq!(stored, format);
        assert_eq!(metadata["mxlab.shape.b.proj"], "[2,2,20]");
    }
}

#[test]
fn quantize_selects_reports_and_refuses() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let input = directory.path().join("in.safetensors");
    let (matrix, _) = weights(&input);
    let file = input.display();

    let json = stdout(&run(&format!(
        "quantize {file} --include *proj --exclude b* --json --worst 3"
    )));
    let json: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    let tensors = json["tensors"].as_array().expect("tensors");
    assert_eq!(tensors.len(), 1);
    assert_eq!(tensors[0]["tensor"], "a.proj");
    assert_eq!(
        (&tensors[0]["bytes_before"], &tensors[0]["bytes_after"]),
        (&960.into(), &(120 + 12).into())
    );
    assert_eq!(tensors[0]["worst_blocks"].as_array().map(Vec::len), Some(3));
    let format = BlockFormat::new(ElementFormat::FP4_E2M1)
        .build()
        .expect("a format");
    let restored = reference::fake_quantize(&matrix, 6, 40, &format, FloatType::F32).expect("fits");
    let square = |x: f64| x * x;
    let signal: f64 = matrix.iter().map(|&x| square(f64::from(x))).sum();
    let pairs = matrix.iter().zip(&restored);
    let noise: f64 = pairs
        .map(|(&x, &y)| square(f64::from(x) - f64::from(y)))
        .sum();
    let sqnr = tensors[0]["sqnr_db"].as_f64().expect("a number");
    assert!(
        (sqnr - 10.0 * (signal / noise).log10()).abs() < 1e-9,
        "{sqnr}"
    );

    assert_refused(
        &format!("quantize {file} --include nothing*"),
        1,
        "no float tensor",
    );
    assert_refused(
        &format!("quantize {file} --output {file}/x"),
        1,
        "in.safetensors",
    );
    assert_refused(
        &format!("quantize {file} --weights none"),
        2,
        "has no weight format",
    );
    let unwritable = format!("quantize {file} --output {}", directory.path().display());
    assert_refused(&unwritable, 1, "no regular file");

    let mut bytes = fs::read(&input).expect("readable");
    let nan = f32::NAN.to_le_bytes();
    let start = bytes.len() - 12 - 160 - 160 - 960;
    bytes[start..start + 4].copy_from_slice(&nan);
    fs::write(&input, &bytes).expect("writable");
    let output = directory.path().join("out.safetensors");
    let line = format!("quantize {file} --output {}", output.display());
    assert_refused(&line, 1, "a.proj");
    assert!(!output.exists(), "nothing half-written appears");
    let left: Vec<_> = fs::read_dir(directory.path()).expect("readable").collect();
    assert_eq!(left.len(), 1, "no temporary file stays behind");
}

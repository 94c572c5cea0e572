//! Written weights read back, and a refused write leaves the old file.

use std::fs;

use half::bf16;
use mxlab::checkpoint::Checkpoint;
use mxlab::checkpoint::write::{NamedTensor, save_bf16};
use mxlab_kernels::format::FloatType;
use tempfile::tempdir;

use crate::checkpoint::tiny::{TinyModel, write};

#[test]
fn written_weights_open_as_a_checkpoint() {
    let dir = tempdir().unwrap();
    let mut files = TinyModel::new(FloatType::Bf16).files();
    write(dir.path(), &files);
    files.remove("model.safetensors");
    let parameters = Checkpoint::open(dir.path()).unwrap().parameters().clone();

    let irrational = |index: usize| ((index + 2) as f32).sqrt() - 2.0;
    let weights: Vec<Vec<f32>> = parameters
        .stored()
        .map(|parameter| (0..parameter.elements()).map(irrational).collect())
        .collect();
    let tensors: Vec<NamedTensor> = parameters
        .stored()
        .zip(&weights)
        .map(|(parameter, values)| NamedTensor {
            name: &parameter.name,
            shape: &parameter.shape,
            values,
        })
        .collect();
    let path = dir.path().join("model.safetensors");
    save_bf16(&path, &tensors).unwrap();
    let first = fs::read(&path).unwrap();
    save_bf16(&path, &tensors).unwrap();
    assert_eq!(
        fs::read(&path).unwrap(),
        first,
        "the same tensors give the same bytes"
    );

    let checkpoint = Checkpoint::open(dir.path()).unwrap();
    for (parameter, tensor) in parameters.stored().zip(&tensors) {
        let view = checkpoint.tensor(parameter).unwrap();
        let mut read = vec![0.0; view.len()];
        view.read_f32(0..view.len(), &mut read);
        let rounded: Vec<f32> = tensor
            .values
            .iter()
            .map(|&x| bf16::from_f32(x).to_f32())
            .collect();
        assert_eq!((view.dtype(), read), (Some(FloatType::Bf16), rounded));
    }
}

#[test]
fn a_refused_write_leaves_the_old_file() {
    let dir = tempdir().unwrap();
    let path = dir.path().join("model.safetensors");
    fs::write(&path, b"old").unwrap();
    let tensor = |shape, values| NamedTensor {
        name: "w",
        shape,
        values,
    };
    let fine = tensor(&[2], &[1.0, 2.0]);
    for (tensors, reason) in [
        (
            vec![tensor(&[3], &[1.0])],
            "it has 2 bytes; its shape needs 6",
        ),
        (vec![tensor(&[2], &[1.0, f32::NAN])], "NaN at flat index 1"),
        (vec![tensor(&[1], &[3.4e38])], "is not finite in bf16"),
        (vec![fine, fine], "occurs twice"),
    ] {
        let message = save_bf16(&path, &tensors).unwrap_err().to_string();
        assert!(
            message.contains(reason) && message.contains("`w`"),
            "{message}"
        );
        assert_eq!(fs::read(&path).unwrap(), b"old");
    }
    let below_a_file = path.join("model.safetensors");
    let message = save_bf16(&below_a_file, &[fine]).unwrap_err().to_string();
    assert!(message.contains("model.safetensors"), "{message}");
    assert_eq!(
        fs::read_dir(dir.path()).unwrap().count(),
        1,
        "no temporary file is left"
    );
}

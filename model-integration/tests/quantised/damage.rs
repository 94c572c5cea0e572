//! Damaged checkpoints of every layout: an error that names file and field or tensor, or a model
//! that opens. Never a panic.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};

use mxlab::checkpoint::{Checkpoint, CheckpointError};
use rand::seq::{IndexedMutRandom, IndexedRandom};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};
use tempfile::tempdir;

use super::layouts::Layout;
use crate::checkpoint::tiny::{Tensor, TinyModel, use_model, write};

/// Damaged files of each layout.
const MUTATIONS: usize = 200;

/// Values that a field or a size may have by mistake.
fn odd_values() -> Vec<Value> {
    let numbers = [-1, 0, 1, 2, 3, 5, 7, 16, 255, 1 << 24, 1 << 40, i64::MAX];
    let texts = [
        "", "float", "int", "group", "block", "channel", "tensor", "4x4", "re:(", "re:.*",
    ];
    let mut values: Vec<Value> = numbers.iter().map(|&number| json!(number)).collect();
    values.extend(texts.map(|text| json!(text)));
    values.extend([
        Value::Null,
        json!(true),
        json!(false),
        json!([]),
        json!({}),
        json!(1e300),
    ]);
    values
}

/// All places of an object, as pointers.
fn places(value: &Value, at: &str, found: &mut Vec<String>) {
    found.push(at.to_owned());
    let mut inside = |key: &str, value| places(value, &format!("{at}/{key}"), found);
    match value {
        Value::Object(object) => object.iter().for_each(|(key, value)| inside(key, value)),
        Value::Array(list) => {
            for (index, value) in list.iter().enumerate() {
                inside(&index.to_string(), value);
            }
        }
        _ => {}
    }
}

/// Changes the description of the model. The bytes of the file follow from it.
fn change(model: &mut TinyModel, weight: &str, rng: &mut ChaCha8Rng) {
    let module = weight.trim_end_matches("weight");
    let own = |tensor: &&mut Tensor| tensor.name.starts_with(module);
    let mut own: Vec<_> = model.tensors.iter_mut().filter(own).collect();
    let at = rng.random_range(0..own.len());
    let tensor = &mut own[at];
    match rng.random_range(0..6) {
        0 | 1 => {
            let mut found = Vec::new();
            let config = &mut model.config["quantization_config"];
            places(config, "", &mut found);
            let place = found.choose(rng).expect("a place").clone();
            let value = odd_values().choose(rng).expect("a value").clone();
            if let Some(field) = config.pointer_mut(&place) {
                *field = value;
            }
        }
        2 => {
            let types = [
                "F4", "U8", "I8", "I32", "I64", "F8_E4M3", "F8_E8M0", "F16", "F32",
            ];
            (*types.choose(rng).expect("a type")).clone_into(&mut tensor.dtype);
        }
        3 => {
            let axis = rng.random_range(0..=tensor.shape.len());
            let sizes = [0, 1, 2, 3, 8, 1 << 20, 1 << 40, usize::MAX];
            let size = *sizes.choose(rng).expect("a size");
            match tensor.shape.get_mut(axis) {
                Some(old) => *old = size,
                None => tensor.shape.push(size),
            }
        }
        4 => {
            let name = tensor.name.clone();
            model.remove_tensor(&name);
        }
        _ => {
            for _ in 0..3 {
                if let Some(byte) = tensor.data.choose_mut(rng) {
                    *byte = *[0, 1, 0x7f, 0x80, 0xff].choose(rng).expect("a byte");
                }
            }
        }
    }
}

/// Changes the bytes of the weight file: cut, flipped, or a number of the header replaced, so that
/// offsets overlap or leave the file.
fn damage(bytes: &mut Vec<u8>, rng: &mut ChaCha8Rng) {
    match rng.random_range(0..3) {
        0 => bytes.truncate(rng.random_range(0..bytes.len())),
        1 => {
            let at = rng.random_range(0..bytes.len());
            bytes[at] ^= 1 << rng.random_range(0..8);
        }
        _ => {
            let header = usize::from(u16::from_le_bytes([bytes[0], bytes[1]]));
            let digits = (8..8 + header).filter(|at| bytes[*at].is_ascii_digit());
            let digits: Vec<usize> = digits.collect();
            let at = *digits.choose(rng).expect("a number");
            bytes[at] = b'0' + rng.random_range(0..10);
        }
    }
}

#[test]
fn damaged_layouts_give_errors_that_name_their_place() {
    let (mut opened, mut refused) = (0, 0);
    for (number, layout) in Layout::all().iter().enumerate() {
        for mutation in 0..MUTATIONS {
            let mut rng = ChaCha8Rng::seed_from_u64((number * MUTATIONS + mutation) as u64);
            let mut model = layout.model();
            let harms_bytes = mutation % 3 == 0;
            if !harms_bytes {
                change(&mut model, &layout.weight(), &mut rng);
            }
            let folder = tempdir().expect("a folder");
            write(folder.path(), &model.files());
            if harms_bytes {
                let path = folder.path().join("model.safetensors");
                let mut bytes = fs::read(&path).expect("weights");
                damage(&mut bytes, &mut rng);
                fs::write(&path, bytes).expect("writable");
            }
            let what = format!("{}, mutation {mutation}", layout.name);
            let used = catch_unwind(AssertUnwindSafe(|| {
                use_model(folder.path())?;
                let checkpoint = Checkpoint::open(folder.path())?;
                for (_, _, weight) in checkpoint.parameters().projections() {
                    checkpoint.stored_input(weight)?;
                }
                Ok::<_, CheckpointError>(())
            }));
            match used.unwrap_or_else(|_| panic!("{what}: a panic")) {
                Ok(()) => opened += 1,
                Err(error) => {
                    let message = error.to_string();
                    let names = ["config.json", "model.safetensors"];
                    let is_named = names.iter().any(|name| message.contains(name));
                    // Fields and tensors are quoted; a cut file has neither.
                    let is_placed = message.contains('`') || harms_bytes;
                    assert!(is_named && is_placed, "{what}: {message}");
                    refused += 1;
                }
            }
        }
    }
    println!("{refused} damaged checkpoints are refused, {opened} open");
    assert!(refused > opened);
}

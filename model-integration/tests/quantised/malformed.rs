//! Malformed quantised checkpoints, and their errors.

use std::collections::HashMap;
use std::fs;

use mxlab::checkpoint::{Checkpoint, CheckpointError};
use safetensors::Dtype;
use serde_json::{Value, json};
use tempfile::tempdir;

use super::writers::{Encoding, Model, Stored};
use super::{mxfp4, tiny};

type Change = fn(&mut Value, &mut HashMap<String, Stored>);

const K: &str = "model.layers.1.self_attn.k_proj.weight";

fn tensor<'a>(tensors: &'a mut HashMap<String, Stored>, suffix: &str) -> &'a mut Stored {
    tensors.get_mut(&format!("{K}{suffix}")).expect("a tensor")
}

fn weights(config: &mut Value) -> &mut Value {
    &mut config["quantization_config"]["config_groups"]["group_0"]["weights"]
}

const CASES: [(Encoding, Change, &str); 14] = [
    (
        Encoding::CompressedTensors,
        |_, t| drop(t.remove(&format!("{K}_scale"))),
        "`model.layers.1.self_attn.k_proj.weight_scale` is missing; expected shape [32, 2]",
    ),
    (
        Encoding::CompressedTensors,
        |_, t| drop(t.remove(&format!("{K}_packed"))),
        "`model.layers.1.self_attn.k_proj.weight` is missing; expected shape [32, 64]",
    ),
    (
        Encoding::CompressedTensors,
        |_, t| tensor(t, "_scale").shape = vec![16, 4],
        "weight_scale` has shape [16, 4]; expected [32, 2]",
    ),
    (
        Encoding::CompressedTensors,
        |_, t| tensor(t, "_packed").shape = vec![64, 16],
        "weight_packed` has shape [64, 16]; expected [32, 32]",
    ),
    (
        Encoding::CompressedTensors,
        |_, t| tensor(t, "_packed").dtype = Dtype::I8,
        "weight_packed` has dtype I8; expected U8",
    ),
    (
        Encoding::CompressedTensors,
        |_, t| tensor(t, "_scale").bytes[5] = 0xff,
        "weight_scale`: the scale of row 2, block 1 is NaN; weights must be finite",
    ),
    (
        Encoding::Blocks,
        |_, t| {
            tensor(t, "_scales").bytes[0] = 0xfe;
            tensor(t, "_blocks").bytes[7] = 0x70;
        },
        "weight_scales`: the scale of row 0, block 0 is 1.7014118e38; weights must be finite",
    ),
    (
        Encoding::Blocks,
        |_, t| drop(t.remove(&format!("{K}_scales"))),
        "k_proj.weight_scales` is missing; expected shape [32, 2]",
    ),
    (
        Encoding::Own,
        |_, t| tensor(t, ".scales").shape = vec![32, 1, 2],
        "",
    ),
    (
        Encoding::CompressedTensors,
        |c, _| weights(c)["group_size"] = json!(16),
        "`weights.group_size` is 16; expected 32",
    ),
    (
        Encoding::CompressedTensors,
        |c, _| weights(c)["symmetric"] = json!(false),
        "`weights.symmetric` is false; expected true",
    ),
    (
        Encoding::CompressedTensors,
        |c, _| c["quantization_config"]["format"] = json!("marlin-24"),
        "`quantization_config.format` is \"marlin-24\"; expected \"mxfp4-pack-quantized\", ",
    ),
    (
        Encoding::CompressedTensors,
        |c, _| {
            c["quantization_config"]["config_groups"]["group_0"]["input_activations"] =
                json!({"num_bits": 4, "type": "text"});
        },
        "`input_activations.type` is \"text\"; expected \"int\" or \"float\"",
    ),
    (
        Encoding::Blocks,
        |c, _| c["quantization_config"]["quant_method"] = json!("eetq"),
        "`quantization_config.quant_method` is \"eetq\"; expected \"compressed-tensors\", ",
    ),
];

/// Opens a checkpoint and reads every tensor.
fn check(path: &std::path::Path) -> Result<(), CheckpointError> {
    let checkpoint = Checkpoint::open(path)?;
    let mut parameters = checkpoint.parameters().stored();
    parameters.try_for_each(|parameter| checkpoint.tensor(parameter).map(drop))
}

#[test]
fn what_is_wrong_is_told_with_file_and_tensor() {
    let model = Model::of(&tiny(), mxfp4());
    for (encoding, change, expected) in CASES {
        let folder = tempdir().expect("a folder");
        model.write_safetensors(folder.path(), encoding, change);
        let checked = check(folder.path());
        if expected.is_empty() {
            checked.expect("bytes may be grouped in other ways");
            continue;
        }
        let message = checked.expect_err(expected).to_string();
        assert!(
            message.contains(expected),
            "{expected:?} is not in {message:?}"
        );
        let file = if message.contains("config") {
            "config.json"
        } else {
            "model.safetensors"
        };
        assert!(message.contains(file), "{message}");
    }
}

#[test]
fn a_broken_gguf_file_is_refused_and_nothing_panics() {
    let model = Model::of(&tiny(), mxfp4());
    let whole = model.gguf();
    let refusal = |bytes: &[u8]| {
        let folder = tempdir().expect("a folder");
        let path = model.write(folder.path(), Encoding::Gguf);
        fs::write(&path, bytes).expect("writable");
        check(&path).map_err(|error| error.to_string())
    };
    assert_eq!(refusal(&whole), Ok(()));
    for length in (1..4000).step_by(37).chain([whole.len() - 1]) {
        let message = refusal(&whole[..length]).expect_err("it is cut");
        assert!(message.contains("model.gguf"), "{length}: {message}");
    }
    let find = |text: &str| {
        let mut windows = whole.windows(text.len());
        windows
            .position(|window| window == text.as_bytes())
            .expect(text)
    };
    // A tensor's name is followed by its number of axes, sizes and type.
    let kind = find("blk.0.ffn_up.weight") + "blk.0.ffn_up.weight".len() + 4 + 16;
    let scale_name = find("llama.block_count");
    for (at, byte, expected) in [
        (0, b'X', "does not begin with `GGUF`"),
        (4, 1, "GGUF version 1"),
        (
            kind,
            12,
            "`blk.0.ffn_up.weight` has rows of 64 elements; expected a multiple of 256",
        ),
        (
            kind,
            33,
            "`blk.0.ffn_up.weight` has the unknown ggml type 33; expected one of F32, F16",
        ),
        (
            kind,
            24,
            "tensor `blk.0.ffn_down.weight` overlaps tensor `blk.0.ffn_up.weight`",
        ),
        (scale_name, b'm', "`llama.block_count` is missing"),
        (
            find("general.arch") + "general.architecture".len() + 12,
            b'L',
            "`general.architecture` is \"Llama\"",
        ),
        (whole.len() - 17, 0, ""),
    ] {
        let mut bytes = whole.clone();
        bytes[at] = byte;
        match refusal(&bytes) {
            Ok(()) => assert_eq!(expected, ""),
            Err(message) => assert!(message.contains(expected), "{expected}: {message}"),
        }
    }
    // Flipping any byte of the head leads to an error or a readable file, never to a panic.
    for at in (0..2500).step_by(13) {
        let mut bytes = whole.clone();
        bytes[at] ^= 0xff;
        let _ = refusal(&bytes);
    }
}

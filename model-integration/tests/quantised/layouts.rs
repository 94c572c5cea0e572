//! One matrix of a tiny model in every packing that quantisers use, with codes that are easy to
//! follow: 0, 1, 2, ... along a row or a column.

use std::fs;

use mxlab::checkpoint::{Checkpoint, CheckpointError};
use mxlab_kernels::format::FloatType;
use safetensors::Dtype;
use serde_json::{Value, json};
use tempfile::tempdir;

use super::parts::{
    AWQ_DOWN, AWQ_UP, DOWN, FP4, FP4_ROW, UP, columns, floats, halves, rows, tensor, words,
};
use super::writers::{Encoding, Model, Stored};
use crate::checkpoint::tiny::{Tensor, TinyModel, use_model, write};

/// A matrix `[8, 8]`, or with `is_wide` `[8, 12]`, in some layout.
pub struct Layout {
    pub name: &'static str,
    quantization: Value,
    is_wide: bool,
    tensors: Vec<Tensor>,
    /// The value in a row and a column.
    value: fn(usize, usize) -> f32,
}

/// Codes of 3 bits: 0 to 7, and 0 to 3 behind them.
const DENSE3: [u32; 2] = [0x88fa_c688, 0x6];

fn compressed(format: &str, weights: Value) -> Value {
    let group = json!({"targets": ["Linear"], "weights": weights, "input_activations": null});
    json!({
        "quant_method": "compressed-tensors", "format": format,
        "config_groups": {"group_0": group}, "ignore": ["lm_head"],
    })
}

fn integers(bits: u32, symmetric: bool, group: i64) -> Value {
    json!({"num_bits": bits, "type": "int", "symmetric": symmetric, "group_size": group})
}

fn gptq(bits: u32, group: usize, format: &str) -> Value {
    json!({"quant_method": "gptq", "bits": bits, "group_size": group, "checkpoint_format": format})
}

impl Layout {
    pub fn new(
        name: &'static str,
        quantization: Value,
        tensors: Vec<Tensor>,
        value: fn(usize, usize) -> f32,
    ) -> Self {
        let is_wide = tensors[0].name.starts_with("wide.");
        let tensors = tensors.into_iter().map(|mut tensor| {
            let end = tensor.name.trim_start_matches("wide.");
            tensor.name = format!("{}.{end}", Self::module_of(is_wide));
            tensor
        });
        Self {
            name,
            quantization,
            is_wide,
            tensors: tensors.collect(),
            value,
        }
    }

    const fn module_of(is_wide: bool) -> &'static str {
        match is_wide {
            true => "model.layers.0.mlp.down_proj",
            false => "model.layers.0.self_attn.q_proj",
        }
    }

    pub fn weight(&self) -> String {
        format!("{}.weight", Self::module_of(self.is_wide))
    }

    /// The tiny model with this matrix.
    pub fn model(&self) -> TinyModel {
        let mut model = TinyModel::new(FloatType::F32);
        model.config["quantization_config"] = self.quantization.clone();
        model.remove_tensor(&self.weight());
        model.tensors.extend(self.tensors.iter().cloned());
        model
    }

    #[rustfmt::skip] // A table.
    pub fn all() -> Vec<Self> {
        let fp4 = |group: u32| json!({"num_bits": 4, "type": "float", "group_size": group});
        let fp8 = json!({"quant_method": "fp8", "weight_block_size": [3, 5]});
        let awq = |zero_point: bool| json!({
            "quant_method": "awq", "bits": 4, "group_size": 4, "zero_point": zero_point,
        });
        let quark = json!({"dtype": "fp6_e2m3", "qscheme": "per_group", "group_size": 32});
        let quark = json!({"quant_method": "quark", "global_quant_config": {"weight": quark}});
        let modelopt = json!({"quant_method": "modelopt", "quant_algo": "NVFP4"});
        let bnb = json!({"quant_method": "bitsandbytes", "load_in_4bit": true});
        let bnb_tensors = |state: &Value, absmax: Tensor| vec![
            tensor("weight", "U8", &[32, 1], rows(&[0x01, 0x23, 0x45, 0x67])),
            floats("weight.quant_map", &[16], (0..16_u8).map(f32::from)),
            absmax,
            tensor("weight.quant_state.bitsandbytes__nf4", "U8", &[state.to_string().len()],
                state.to_string().into_bytes()),
        ];
        let state = json!({"shape": [8, 8], "blocksize": 16, "quant_type": "nf4"});
        let mut nested = state.clone();
        nested["nested_blocksize"] = json!(256);
        nested["nested_offset"] = json!(1.0);
        let mut doubled = bnb_tensors(&nested, tensor("weight.absmax", "U8", &[4], [0, 1, 2, 3]));
        doubled.push(floats("weight.nested_absmax", &[1], [2.0]));
        doubled.push(floats("weight.nested_quant_map", &[256], (0..=255_u8).map(f32::from)));
        let mut all = vec![
            Self::new("3 bits across words", compressed("pack-quantized", integers(3, true, 4)), vec![
                words("wide.weight_packed", &[8, 2], rows(&DENSE3)),
                floats("wide.weight_scale", &[8, 3], rows(&[1.0, 2.0, 4.0])),
            ], |_, col| ((col % 8) as f32 - 4.0) * [1.0, 2.0, 4.0][col / 4]),
            Self::new("packed zero points", compressed("pack-quantized", integers(4, false, 4)), vec![
                words("weight_packed", &[8, 1], rows(&[UP])),
                words("weight_zero_point", &[1, 2], [UP, DOWN]),
                halves("weight_scale", &[8, 2], rows(&[0.5, 0.25])),
            ], |row, col| match col / 4 {
                0 => (col as f32 - row as f32) * 0.5,
                _ => (col as f32 - (7 - row) as f32) * 0.25,
            }),
            Self::new("groups by index", compressed("pack-quantized", integers(4, true, 4)), vec![
                words("weight_packed", &[8, 1], rows(&[UP])),
                floats("weight_scale", &[8, 2], rows(&[1.0, 16.0])),
                words("weight_g_idx", &[8], [0, 1, 0, 1, 1, 0, 1, 0]),
            ], |_, col| (col as f32 - 8.0) * [1.0, 16.0, 1.0, 16.0, 16.0, 1.0, 16.0, 1.0][col]),
            Self::new("bytes by row", compressed("int-quantized", integers(8, false, -1)), vec![
                tensor("weight", "I8", &[8, 8], rows(&[0xfc, 0xfd, 0xfe, 0xff, 0, 1, 2, 3])),
                tensor("weight_zero_point", "I8", &[8, 1], 0..8),
                floats("weight_scale", &[8, 1], rows(&[0.25])),
            ], |row, col| (col as f32 - 4.0 - row as f32) * 0.25),
            Self::new("bytes of a tensor",
                compressed("int-quantized", json!({"num_bits": 8, "type": "int", "symmetric": false})),
                vec![
                    tensor("weight", "I8", &[8, 8], rows(&[0xfc, 0xfd, 0xfe, 0xff, 0, 1, 2, 3])),
                    tensor("weight_zero_point", "I8", &[1], [0xfe]),
                    floats("weight_scale", &[1], [2.0]),
                ], |_, col| (col as f32 - 4.0 + 2.0) * 2.0),
            Self::new("GPTQ, zero points less one", gptq(4, 4, "gptq"), vec![
                words("qweight", &[1, 8], columns(&[UP])),
                words("qzeros", &[2, 1], [UP, DOWN]),
                halves("scales", &[2, 8], columns(&[1.0, 2.0])),
                words("g_idx", &[8], [1, 0, 1, 0, 0, 0, 1, 1]),
            ], |row, col| match [1, 0, 1, 0, 0, 0, 1, 1][col] {
                0 => col as f32 - (row + 1) as f32,
                _ => (col as f32 - (8 - row) as f32) * 2.0,
            }),
            Self::new("GPTQ, zero points", gptq(4, 4, "gptq_v2"), vec![
                words("qweight", &[1, 8], columns(&[UP])),
                words("qzeros", &[2, 1], [UP, DOWN]),
                halves("scales", &[2, 8], columns(&[1.0, 2.0])),
            ], |row, col| match col / 4 {
                0 => col as f32 - row as f32,
                _ => (col as f32 - (7 - row) as f32) * 2.0,
            }),
            Self::new("GPTQ, 3 bits", gptq(3, 12, "gptq_v2"), vec![
                words("wide.qweight", &[2, 8], columns(&DENSE3)),
                words("wide.qzeros", &[1, 1], [DENSE3[0]]),
                halves("wide.scales", &[1, 8], columns(&[0.5])),
            ], |row, col| ((col % 8) as f32 - row as f32) * 0.5),
            Self::new("AWQ", awq(true), vec![
                words("qweight", &[8, 1], [AWQ_UP; 8]),
                words("qzeros", &[2, 1], [AWQ_DOWN, AWQ_UP]),
                halves("scales", &[2, 8], columns(&[1.0, 2.0])),
            ], |row, col| match col / 4 {
                0 => row as f32 - (7 - row) as f32,
                _ => 0.0,
            }),
            Self::new("AWQ without zero points", awq(false), vec![
                words("qweight", &[8, 1], [AWQ_UP; 8]),
                halves("scales", &[2, 8], columns(&[1.0, 2.0])),
            ], |row, col| (row as f32 - 8.0) * [1.0, 2.0][col / 4]),
            Self::new("NVFP4, a divisor", compressed("nvfp4-pack-quantized", fp4(16)), vec![
                tensor("weight_packed", "U8", &[8, 4], rows(&FP4_ROW)),
                tensor("weight_scale", "F8_E4M3", &[8, 1], rows(&[0x38])),
                floats("weight_global_scale", &[1], [2.0]),
            ], |_, col| FP4[col] / 2.0),
            Self::new("NVFP4, a factor", modelopt, vec![
                tensor("weight", "U8", &[8, 4], rows(&FP4_ROW)),
                tensor("weight_scale", "F8_E4M3", &[8, 1], rows(&[0x38])),
                floats("weight_scale_2", &[], [2.0]),
                floats("input_scale", &[], [1.0]),
            ], |_, col| FP4[col] * 2.0),
            Self::new("types F4 and F8_E8M0", compressed("mxfp4-pack-quantized", fp4(32)), vec![
                tensor("weight_packed", "F4", &[8, 8], rows(&FP4_ROW)),
                tensor("weight_scale", "F8_E8M0", &[8, 1], rows(&[0x80])),
            ], |_, col| FP4[col] * 2.0),
            Self::new("codes of 6 bits", quark, vec![
                tensor("weight", "U8", &[8, 6], rows(&[0x40, 0x20, 0x0c, 0x44, 0x61, 0x1c])),
                tensor("weight_scale", "U8", &[8, 1], rows(&[0x7f])),
            ], |_, col| col as f32 * 0.125),
            Self::new("FP8 by blocks", fp8, vec![
                tensor("weight", "F8_E4M3", &[8, 8], rows(&[0x38; 8])),
                floats("weight_scale_inv", &[3, 2], (1..7_u8).map(f32::from)),
            ], |row, col| (1 + row / 3 * 2 + col / 5) as f32),
            Self::new("4 bits across rows", bnb.clone(),
                bnb_tensors(&state, floats("weight.absmax", &[4], [1.0, 2.0, 3.0, -4.0])),
                |row, col| col as f32 * [1.0, 2.0, 3.0, -4.0][row / 2]),
            Self::new("4 bits, scales in bytes", bnb, doubled,
                |row, col| col as f32 * [1.0, 3.0, 5.0, 7.0][row / 2]),
        ];
        all.extend(super::auto_round::layouts());
        all
    }
}

/// Opens a model and reads all of it.
pub fn open(model: &TinyModel) -> Result<Checkpoint, CheckpointError> {
    let folder = tempdir().expect("a folder");
    write(folder.path(), &model.files());
    use_model(folder.path())?;
    Checkpoint::open(folder.path())
}

#[test]
fn every_packing_is_read_as_it_is_written() {
    for layout in Layout::all() {
        let name = layout.name;
        let checkpoint = open(&layout.model()).unwrap_or_else(|error| panic!("{name}: {error}"));
        let weight = layout.weight();
        let mut parameters = checkpoint.parameters().stored();
        let parameter = parameters.find(|parameter| parameter.name == weight);
        let values = super::read(&checkpoint, parameter.expect("a weight"));
        let cols = values.len() / 8;
        for (index, value) in values.iter().enumerate() {
            let (row, col) = (index / cols, index % cols);
            assert_eq!(
                *value,
                (layout.value)(row, col),
                "{name}: row {row}, column {col}"
            );
        }
    }
}

#[test]
fn a_scale_that_no_quantiser_writes_is_an_error() {
    let find = |name: &str| {
        let mut layouts = Layout::all().into_iter();
        layouts.find(|layout| layout.name == name).expect(name)
    };
    for (name, end, data, expected) in [
        (
            "NVFP4, a divisor",
            "weight_scale",
            vec![0xb8],
            "row 0, block 0 is -1e0; scales must",
        ),
        (
            "NVFP4, a factor",
            "weight_scale",
            vec![0x7f],
            "row 0, block 0 is NaN",
        ),
        (
            "NVFP4, a factor",
            "weight_scale_2",
            (-2.0_f32).to_le_bytes().to_vec(),
            "positive finite",
        ),
        (
            "NVFP4, a divisor",
            "weight_global_scale",
            vec![0; 4],
            "positive finite",
        ),
        (
            "GPTQ, zero points",
            "scales",
            vec![0, 0x7c],
            "q_proj.qweight` is NaN at flat index 0",
        ),
        (
            "groups by index",
            "weight_g_idx",
            vec![2, 0, 0, 0],
            "g_idx names group 2; expected 0 to 1",
        ),
    ] {
        let mut model = find(name).model();
        let tensor = model.tensor(&format!("model.layers.0.self_attn.q_proj.{end}"));
        tensor.data[..data.len()].copy_from_slice(&data);
        let message = open(&model).expect_err(expected).to_string();
        assert!(
            message.contains(expected),
            "{expected:?} is not in {message:?}"
        );
    }
}

/// Early files of compressed-tensors have 10 codes of 3 bits in a word. Here they are one matrix of
/// a checkpoint with another format for the rest.
#[test]
fn codes_within_words_are_told_from_codes_across_them() {
    let model = Model::of(&super::tiny(), super::mxfp4());
    let module = "model.layers.1.self_attn.k_proj";
    let folder = tempdir().expect("a folder");
    fs::write(
        folder.path().join("tokenizer.json"),
        super::tiny().tokenizer_json(),
    )
    .expect("writable");
    model.write_safetensors(
        folder.path(),
        Encoding::CompressedTensors,
        |config, tensors| {
            let quantization = &mut config["quantization_config"];
            quantization["config_groups"]["group_0"]["format"] = json!("mxfp4-pack-quantized");
            quantization["format"] = json!("mixed-precision");
            quantization["config_groups"]["group_1"] = json!({
                "targets": ["re:(?!.*layers.0).*k_proj$"], "format": "pack-quantized",
                "weights": integers(3, true, 32),
            });
            // Codes 0 to 7 in turn, from the lowest bits on: 64 codes in 7 words.
            let word = |at: u32| (0..10).map(|i| ((10 * at + i) % 8) << (3 * i)).sum::<u32>();
            let packed: Vec<u32> = (0..7).map(word).collect();
            for new in [
                words("packed", &[32, 7], packed.repeat(32)),
                floats("scale", &[32, 2], [1.0, 2.0].repeat(32)),
            ] {
                let (dtype, bytes) = match new.dtype.as_str() {
                    "I32" => (Dtype::I32, new.data),
                    _ => (Dtype::F32, new.data),
                };
                let shape = new.shape;
                let stored = Stored {
                    dtype,
                    shape,
                    bytes,
                };
                tensors.insert(format!("{module}.weight_{}", new.name), stored);
            }
        },
    );
    let checkpoint = Checkpoint::open(folder.path()).expect("a model");
    let mut parameters = checkpoint.parameters().stored();
    let name = format!("{module}.weight");
    let weight = parameters.find(|parameter| parameter.name == name);
    let values = super::read(&checkpoint, weight.expect("a weight"));
    for (index, value) in values.iter().enumerate() {
        let col = index % 64;
        let expected = ((col % 8) as f32 - 4.0) * [1.0, 2.0][col / 32];
        assert_eq!(*value, expected, "element {index}");
    }
}

//! AutoRound's own format: its settings, over layouts of other packages.

use serde_json::{Value, json};

use super::layouts::{Layout, open};
use super::parts::{
    AWQ_DOWN, AWQ_UP, DOWN, FP4, FP4_ROW, UP, columns, floats, halves, rows, tensor, words,
};

fn auto_round(packing: &str, others: Value) -> Value {
    let mut config = json!({"quant_method": "auto-round", "packing_format": packing});
    for (name, value) in others.as_object().expect("fields") {
        config[name] = value.clone();
    }
    config
}

/// A matrix in each of its layouts.
#[rustfmt::skip] // A table.
pub fn layouts() -> Vec<Layout> {
    vec![
        Layout::new("AutoRound, zero points less one",
            auto_round("auto_round:auto_gptq", json!({"bits": 4, "group_size": 4})), vec![
                words("qweight", &[1, 8], columns(&[UP])),
                words("qzeros", &[2, 1], [UP, DOWN]),
                halves("scales", &[2, 8], columns(&[1.0, 2.0])),
            ], |row, col| match col / 4 {
                0 => col as f32 - (row + 1) as f32,
                _ => (col as f32 - (8 - row) as f32) * 2.0,
            }),
        Layout::new("AutoRound, zero points",
            auto_round("auto_round", json!({"bits": 4, "group_size": 4})), vec![
                words("qweight", &[1, 8], columns(&[UP])),
                words("qzeros", &[2, 1], [UP, DOWN]),
                halves("scales", &[2, 8], columns(&[1.0, 2.0])),
            ], |row, col| match col / 4 {
                0 => col as f32 - row as f32,
                _ => (col as f32 - (7 - row) as f32) * 2.0,
            }),
        Layout::new("AutoRound as AWQ",
            auto_round("auto_round:auto_awq", json!({"bits": 4, "group_size": 4})), vec![
                words("qweight", &[8, 1], [AWQ_UP; 8]),
                words("qzeros", &[2, 1], [AWQ_DOWN, AWQ_UP]),
                halves("scales", &[2, 8], columns(&[1.0, 2.0])),
            ], |row, col| match col / 4 {
                0 => row as f32 - (7 - row) as f32,
                _ => 0.0,
            }),
        Layout::new("AutoRound, MXFP4", auto_round("auto_round:llm_compressor",
            json!({"bits": 4, "data_type": "mx_fp", "group_size": 32})), vec![
                tensor("weight_packed", "U8", &[8, 4], rows(&FP4_ROW)),
                tensor("weight_scale", "U8", &[8, 1], rows(&[0x80])),
            ], |_, col| FP4[col] * 2.0),
        // The layer has settings of its own, one by its name and others by a pattern.
        Layout::new("AutoRound, NVFP4 of a layer", auto_round("auto_round:llm_compressor", json!({
            "bits": 8, "data_type": "mx_fp", "group_size": 32, "extra_config": {
                "layers\\.0\\..*k_proj": {"bits": 16},
                "model.layers.0.self_attn.q_proj":
                    {"bits": 4, "data_type": "nv_fp", "group_size": 16},
            },
        })), vec![
            tensor("weight_packed", "U8", &[8, 4], rows(&FP4_ROW)),
            tensor("weight_scale", "F8_E4M3", &[8, 1], rows(&[0x38])),
            floats("weight_global_scale", &[1], [2.0]),
        ], |_, col| FP4[col] / 2.0),
        Layout::new("AutoRound, MXFP8 of a pattern", auto_round("auto_round:llm_compressor", json!({
            "bits": 4, "data_type": "mx_fp", "group_size": 32,
            "extra_config": {"self_attn\\.[qk]_proj": {"bits": 8}},
        })), vec![
            tensor("weight", "F8_E4M3", &[8, 8], rows(&[0x38; 8])),
            tensor("weight_scale", "U8", &[8, 1], rows(&[0x80])),
        ], |_, _| 2.0),
    ]
}

#[test]
fn settings_of_auto_round_that_are_not_supported_are_told() {
    let mut all = layouts().into_iter();
    let layout = all.find(|layout| layout.name == "AutoRound, MXFP4");
    let layout = layout.expect("a layout");
    let change = |name: &str, value: Value| {
        let mut model = layout.model();
        model.config["quantization_config"][name] = value;
        open(&model).map(drop).map_err(|error| error.to_string())
    };
    for (name, value, expected) in [
        (
            "packing_format",
            json!("auto_round:fp8_static"),
            "expected \"auto_round:llm_comp",
        ),
        (
            "data_type",
            json!("mx_int"),
            "is \"mx_int\"; expected \"mx_fp\" or \"nv_fp\"",
        ),
        (
            "bits",
            json!(6),
            "`quantization_config.bits` is 6; expected 4 or 8",
        ),
        (
            "group_size",
            json!(16),
            "`quantization_config.group_size` is 16; expected 32",
        ),
        (
            "act_bits",
            json!(4),
            "`quantization_config.act_data_type` is missing",
        ),
        (
            "rotation_config",
            json!({"block_size": 32}),
            "inputs would have to be rotated",
        ),
        (
            "extra_config",
            json!({"(": {"bits": 16}}),
            "expected patterns",
        ),
        (
            "extra_config",
            json!({"q_proj": {"bits": 5}}),
            "`q_proj.bits` is 5; expected 4 or 8",
        ),
    ] {
        let message = change(name, value).expect_err(expected);
        assert!(
            message.contains(expected),
            "{expected:?} is not in {message:?}"
        );
        assert!(message.contains("config.json"), "{message}");
    }
    assert_eq!(
        change("extra_config", json!({"lm_head": {"bits": 16}})),
        Ok(())
    );
    // Integers have one size.
    let mut model = layout.model();
    let integers = json!({"bits": 4, "group_size": 4, "extra_config": {"o_proj": {"bits": 8}}});
    model.config["quantization_config"] = auto_round("auto_round", integers);
    let message = open(&model).map(drop).expect_err("two sizes").to_string();
    assert!(message.contains("layers of the same bits"), "{message}");
}

//! Phi-3: fused tensors equal a Llama's, and prompts do not pass the trained length.

use mxlab::checkpoint::Checkpoint;
use mxlab::config::QuantConfig;
use mxlab::engine::{Engine, Room, Sampler};
use mxlab::model::cpu::CpuEngine;
use mxlab_kernels::format::FloatType;
use mxlab_kernels::reference::Sampling;
use serde_json::{Value, json};
use tempfile::tempdir;

use crate::checkpoint::tiny::{Tensor, TinyModel, write};

/// The tiny Llama with its tensors fused.
pub fn phi3(dtype: FloatType) -> TinyModel {
    let mut model = TinyModel::new(dtype);
    model.config["model_type"] = json!("phi3");
    model.config["architectures"] = json!(["Phi3ForCausalLM"]);
    for layer in 0..2 {
        let name = |module: &str| format!("model.layers.{layer}.{module}.weight");
        for (whole, parts) in [
            (
                "self_attn.qkv_proj",
                &["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"][..],
            ),
            ("mlp.gate_up_proj", &["mlp.gate_proj", "mlp.up_proj"][..]),
        ] {
            let parts = parts.iter().map(|part| model.tensor(&name(part)).clone());
            let parts: Vec<Tensor> = parts.collect();
            let rows = parts.iter().map(|part| part.shape[0]).sum();
            for part in &parts {
                model.remove_tensor(&part.name);
            }
            model.tensors.push(Tensor {
                name: name(whole),
                dtype: parts[0].dtype.clone(),
                shape: vec![rows, parts[0].shape[1]],
                data: parts.iter().flat_map(|part| part.data.clone()).collect(),
            });
        }
    }
    model
}

fn open(model: &TinyModel) -> Checkpoint {
    let dir = tempdir().unwrap();
    write(dir.path(), &model.files());
    Checkpoint::open(dir.path()).unwrap()
}

fn refusal(model: &TinyModel) -> String {
    let dir = tempdir().unwrap();
    write(dir.path(), &model.files());
    Checkpoint::open(dir.path()).unwrap_err().to_string()
}

fn longrope() -> Value {
    json!({"type": "su", "short_factor": [1.0, 1.5], "long_factor": [2.0, 4.0]})
}

#[test]
fn parts_of_fused_tensors_are_those_of_the_llama() {
    for dtype in FloatType::ALL {
        let (llama, phi3) = (open(&TinyModel::new(dtype)), open(&phi3(dtype)));
        let parameters = llama.parameters().stored().zip(phi3.parameters().stored());
        for (of_llama, of_phi3) in parameters {
            let name = &of_llama.name;
            let read = |checkpoint: &Checkpoint, parameter| {
                let view = checkpoint.tensor(parameter).unwrap();
                assert_eq!((view.name(), view.shape()), (&**name, &*of_llama.shape));
                let mut values = vec![0.0; view.len()];
                view.read_f32(0..view.len(), &mut values);
                values
            };
            assert_eq!(read(&llama, of_llama), read(&phi3, of_phi3), "{name}");
        }
    }
}

#[test]
fn what_is_wrong_with_a_phi3_is_told() {
    type Change = fn(&mut TinyModel);
    let cases: [(Change, &[&str]); 7] = [
        (
            |m| m.remove_tensor("model.layers.1.self_attn.qkv_proj.weight"),
            &["`model.layers.1.self_attn.qkv_proj.weight` is missing; expected shape [16, 8]"],
        ),
        (
            |m| m.tensor("model.layers.0.mlp.gate_up_proj.weight").shape = vec![8, 24],
            &["gate_up_proj.weight` has shape [8, 24]; expected [24, 8]"],
        ),
        (
            |m| m.config["rope_scaling"] = json!({"type": "linear", "factor": 2}),
            &["`rope_scaling.type` is \"linear\"; expected \"default\" or \"longrope\""],
        ),
        (
            |m| {
                m.config["rope_scaling"] =
                    json!({"type": "longrope", "short_factor": [1, 1], "long_factor": [1]})
            },
            &["`rope_scaling.long_factor` is [1]; expected 2 numbers above 0"],
        ),
        (
            |m| m.config["attention_bias"] = json!(true),
            &["`attention_bias` is true; expected false"],
        ),
        (
            |m| m.config["partial_rotary_factor"] = json!(0.25),
            &["`partial_rotary_factor` is 0.25; expected a number from 0.5 to 1"],
        ),
        (
            |m| m.config["sliding_window"] = json!("long"),
            &["`sliding_window` is \"long\"; expected an integer"],
        ),
    ];
    for (change, parts) in cases {
        let mut model = phi3(FloatType::F32);
        change(&mut model);
        let message = refusal(&model);
        for part in parts {
            assert!(message.contains(part), "{part:?} is not in {message:?}");
        }
    }
}

/// Requests the continuation of a prompt of `prompt` tokens up to `end`.
fn generate(model: &TinyModel, prompt: usize, end: usize) -> anyhow::Result<Vec<u32>> {
    let engine = CpuEngine::new(open(model), None, None)?;
    let config = QuantConfig::unquantised("baseline");
    let room = Room {
        sequences: 1,
        tokens: end,
    };
    let sampler = Sampler {
        sampling: Sampling::GREEDY,
        seed: 0,
    };
    engine
        .generator(&config, room)?
        .start(&[vec![3; prompt]], &sampler)
}

#[test]
fn a_prompt_does_not_become_long_on_the_way() {
    let mut model = phi3(FloatType::F32);
    model.config["rope_scaling"] = longrope();
    model.config["original_max_position_embeddings"] = json!(16);
    for (prompt, end) in [(5, 16), (17, 30)] {
        assert!(generate(&model, prompt, end).is_ok());
    }
    let error = generate(&model, 16, 17).unwrap_err().to_string();
    assert!(error.contains("would pass 16 tokens"), "{error}");
}

//! Quantised operands, bit for bit.

use std::fs;

use mxlab::checkpoint::Checkpoint;
use mxlab_kernels::cpu;
use mxlab_kernels::format::FloatType;
use safetensors::SafeTensors;

use super::{config, models};

/// Every `*_mx` tensor of the debug files follows from its original tensor.
#[test]
fn operands_are_bit_equal() {
    for model in models() {
        let path = model.join("reference/debug/layer0_acts.safetensors");
        let bytes = fs::read(&path).expect("debug tensors");
        let file = SafeTensors::deserialize(&bytes).expect("safetensors");
        let mut compared = 0;
        for name in file.names() {
            let Some((run, operand)) = name.split_once('.') else {
                continue;
            };
            let Some(source) = operand.strip_suffix("_mx") else {
                continue;
            };
            let (name, dtype, weights) = match run.rsplit_once('_') {
                Some((name, "f32")) => (name, FloatType::F32, "f32"),
                Some((name, "bf16")) => (name, FloatType::Bf16, "."),
                _ => continue,
            };
            let config = config::named(name).expect("a known configuration");
            let (values, cols, format) = match source {
                "k" | "v" => {
                    let stored = if source == "k" { "k_rope" } else { "v" };
                    let (values, shape) = read(&file, &format!("{run}.{stored}"));
                    (values, shape[2], config.keys)
                }
                _ if source.ends_with("_weight") => {
                    let projection = source.trim_end_matches("_weight");
                    let block = if projection.starts_with('q') {
                        "self_attn"
                    } else {
                        "mlp"
                    };
                    let tensor = format!("model.layers.0.{block}.{projection}.weight");
                    let (_, shape) = read(&file, &format!("{run}.{operand}"));
                    let checkpoint = Checkpoint::open(&model.join(weights)).expect("a checkpoint");
                    let parameter = checkpoint.parameters().named(&tensor).expect("a parameter");
                    assert_eq!(parameter.shape, shape, "{tensor}");
                    let view = checkpoint.tensor(parameter).expect("the weight");
                    let mut values = vec![0.0; view.len()];
                    view.read_f32(0..view.len(), &mut values);
                    (values, shape[1], config.weights.and_then(|of| of.block()))
                }
                _ => {
                    let (values, shape) = read(&file, &format!("{run}.{source}"));
                    (values, shape[1], config.activations)
                }
            };
            let format = format.expect("the operand is quantised");
            let mut ours = values;
            cpu::fake_quantize(&mut ours, cols, &format, dtype).expect("whole rows");
            for value in &mut ours {
                *value = dtype.round(*value);
            }
            let (theirs, shape) = read(&file, &format!("{run}.{operand}"));
            if matches!(source, "k" | "v") {
                // Theirs are repeated for every query head of a group.
                let head = shape[1] * shape[2];
                let repeats = theirs.len() / ours.len();
                ours = ours
                    .chunks_exact(head)
                    .flat_map(|head| head.repeat(repeats))
                    .collect();
            }
            assert_eq!(ours.len(), theirs.len(), "{name}.{operand}");
            let differ = ours.iter().zip(&theirs).filter(|(a, b)| a != b).count();
            assert_eq!(differ, 0, "{run}.{operand} of {}", model.display());
            compared += ours.len();
        }
        println!("{}: {compared} operands bit-equal", model.display());
        assert!(compared > 10_000);
    }
}

fn read(file: &SafeTensors, name: &str) -> (Vec<f32>, Vec<usize>) {
    let view = file
        .tensor(name)
        .unwrap_or_else(|_| panic!("no tensor {name}"));
    let values = match view.dtype() {
        safetensors::Dtype::F32 => view
            .data()
            .chunks_exact(4)
            .map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]))
            .collect(),
        safetensors::Dtype::BF16 => view
            .data()
            .chunks_exact(2)
            .map(|b| half::bf16::from_le_bytes([b[0], b[1]]).to_f32())
            .collect(),
        other => panic!("{name} is {other:?}"),
    };
    (values, view.shape().to_vec())
}

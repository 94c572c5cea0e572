//! Other architectures than Llama's: small models with random weights in `$MXLAB_SHARED/cases`.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use candle_core::{Device as CandleDevice, Tensor, safetensors};
use mxlab::checkpoint::Checkpoint;
use mxlab::model::device::input::Operands;
use mxlab::model::device::plan::{Limits, Storage};
use mxlab::model::device::{DeviceEngine, Loaded};
use mxlab::model::{Batch, LlamaError};
use mxlab_harness::device::Device;
use mxlab_kernels::format::FloatType;
use not_run::not_run;

use super::{bound, config, cpu_logits, cpu_logits_in, device_logits, engine_of, relative};

/// Positions of the prompt: more than the windows of these models.
const PREFILL: usize = 96;

/// The models, or none if they are not there.
fn models() -> Vec<PathBuf> {
    let beside = concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared");
    let shared = std::env::var_os("MXLAB_SHARED").unwrap_or_else(|| beside.into());
    let folders = std::fs::read_dir(Path::new(&shared).join("cases"));
    let folders = folders.into_iter().flatten().filter_map(Result::ok);
    let is_model = |folder: &Path| {
        let name = folder.file_name().unwrap_or_default().to_string_lossy();
        name.starts_with("model-")
    };
    let folders = folders.map(|entry| entry.path());
    let mut models: Vec<PathBuf> = folders.filter(|path| is_model(path)).collect();
    models.sort();
    if models.is_empty() {
        not_run("other architectures on a device", "MXLAB_SHARED");
    }
    models.into_iter().map(|path| path.join("model")).collect()
}

fn open(folder: &Path) -> Checkpoint {
    Checkpoint::open(folder).unwrap_or_else(|error| panic!("{}: {error:#}", folder.display()))
}

fn device(checkpoint: Checkpoint) -> anyhow::Result<DeviceEngine> {
    let storage = Storage::Packed(Operands::Bf16);
    DeviceEngine::new(Device::emulator(), checkpoint, FloatType::F32, storage)
}

/// A copy of a model with parameters of `factor` times the size. The random weights of these models
/// are larger than a model's first weights are, and the differences of bf16 grow with them.
fn scaled(folder: &Path, factor: f64) -> tempfile::TempDir {
    let copy = tempfile::tempdir().expect("a folder");
    for name in ["config.json", "tokenizer.json", "tokenizer_config.json"] {
        std::fs::copy(folder.join(name), copy.path().join(name)).expect("a file");
    }
    let weights = "model.safetensors";
    let tensors = safetensors::load(folder.join(weights), &CandleDevice::Cpu).expect("tensors");
    let tensors = tensors.into_iter();
    let tensors = tensors.map(|(name, tensor)| (name, (tensor * factor).expect("a product")));
    let tensors: HashMap<String, Tensor> = tensors.collect();
    safetensors::save(&tensors, copy.path().join(weights)).expect("a file");
    copy
}

/// Windows, soft caps, norms of queries and keys, rotations of parts of heads and none, gates by
/// GELU, factors, biases: prefill and steps give the logits of the CPU engine. With large weights,
/// where every rounding of a score counts, they are as near to those in float32. What has no
/// kernels is refused before weights are read, in one line.
#[test]
fn logits_of_dense_architectures_are_those_of_the_cpu_engine() {
    let tokens: Vec<u32> = (0..PREFILL as u32 + 8).map(|i| i * 37 % 491 + 3).collect();
    let (mut run, mut worse) = (0, Vec::new());
    for folder in models() {
        let Ok(checkpoint) = Checkpoint::open(&folder) else {
            // An architecture that no engine runs.
            continue;
        };
        let architecture = checkpoint.config().architecture.model_type;
        if let Err(error) = device(checkpoint) {
            let is_lacking = matches!(error.downcast_ref(), Some(LlamaError::Parts { .. }));
            assert!(is_lacking, "{architecture}: {error:#}");
            assert!(!format!("{error:#}").contains('\n'), "{error:#}");
            continue;
        }
        let small = scaled(&folder, 0.3);
        for name in ["baseline", "mx-kv", "mx-linear"] {
            let config = config(name);
            let theirs = cpu_logits(&open(small.path()), &config, &tokens, PREFILL);
            let ours = device_logits(&engine_of(open(small.path())), &config, &tokens, PREFILL);
            let difference = relative(&ours, &theirs);
            eprintln!("{architecture}, {name}: {difference:.4}");
            if difference > bound(&config) {
                worse.push(format!("{architecture}, {name}: {difference}"));
            }
        }
        let (config, large) = (config("baseline"), open(&folder));
        let [exact, theirs] = [FloatType::F32, FloatType::Bf16]
            .map(|dtype| cpu_logits_in(dtype, &large, &config, &tokens, PREFILL));
        let ours = device_logits(&engine_of(large), &config, &tokens, PREFILL);
        let [ours, theirs] = [ours, theirs].map(|logits| relative(&logits, &exact));
        eprintln!("{architecture}, large, from float32: {ours:.4}, CPU {theirs:.4}");
        if ours > 1.2 * theirs {
            worse.push(format!("{architecture}, large: {ours}, CPU {theirs}"));
        }
        run += 1;
    }
    assert!(worse.is_empty(), "{worse:#?}");
    assert!(run == 0 || run >= 8, "{run} architectures");
}

/// What an engine allocates for them is within its plan.
#[test]
fn the_plan_has_room_for_every_architecture() {
    let tokens: Vec<u32> = (0..64).map(|i| i * 37 % 491 + 3).collect();
    for folder in models() {
        let checkpoint = Checkpoint::open(&folder).map_err(anyhow::Error::from);
        let Ok(engine) = checkpoint.and_then(device) else {
            continue;
        };
        let (config, name) = (config("mx-linear-kv"), folder.display());
        let limits = Limits::new(Device::emulator().properties(), 64, 192);
        let plan = engine.plan(&config, &limits, 96).expect("a plan");
        let loaded = engine.model(&config, limits, 96).expect("a model");
        let Loaded {
            backend,
            llama,
            mut cache,
            ..
        } = loaded;
        cache.divide(2, 96).expect("room");
        let mut batch = Batch::default();
        batch.push(1, 0, &tokens);
        let rows: Vec<u32> = (0..64).collect();
        let logits = llama.logits(&backend, &batch, &mut cache, &rows);
        drop(logits.expect("logits"));
        let (taken, planned) = (backend.bytes(), plan.activations);
        assert!(taken <= planned, "{name}: {taken} of {planned}");
    }
}

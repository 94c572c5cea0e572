//! Checkpoints written by Hugging Face transformers, and its results: models of every architecture
//! with random weights, short sequences and long ones.
//!
//! `MXLAB_PYTHON` names a Python with transformers and torch; without it the tests print `not run`.

use not_run::not_run;
use std::path::{Path, PathBuf};
use std::process::Command;

use mxlab::checkpoint::{Checkpoint, TensorFile};
use mxlab::config::QuantConfig;
use mxlab::engine::{Engine, Request};
use mxlab::model::cpu::{Cache, Cpu, CpuEngine};
use mxlab::model::device::input::Operands;
use mxlab::model::device::plan::{Limits, Storage};
use mxlab::model::device::{DeviceEngine, features};
use mxlab::model::merged::{MergeError, merged};
use mxlab::model::{Batch, context, load};
use mxlab_harness::device::Device;
use mxlab_kernels::format::FloatType;

/// A sequence, and transformers' logits `[tokens, vocabulary]`.
pub struct Sequence {
    pub tokens: Vec<u32>,
    pub logits: Vec<f32>,
    /// Those in bfloat16; nothing if they are not in the file.
    pub halves: Vec<f32>,
}

/// The model directories that transformers wrote into `folder`; none, with a message, without it.
fn models(folder: &Path) -> Vec<PathBuf> {
    let Some(python) = std::env::var_os("MXLAB_PYTHON") else {
        not_run("comparison with transformers", "MXLAB_PYTHON");
        return Vec::new();
    };
    let script = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/peers/transformers_logits.py"
    );
    let output = Command::new(python).arg(script).arg(folder).output();
    let output = output.expect("a Python");
    let message = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{message}");
    let entries = std::fs::read_dir(folder).expect("a folder");
    let mut models: Vec<_> = entries
        .map(|entry| entry.expect("an entry").path())
        .collect();
    models.sort();
    assert!(!models.is_empty());
    models
}

/// The sequences in `logits.safetensors` of a folder.
pub fn sequences(model: &Path) -> Vec<Sequence> {
    let file = TensorFile::open(&model.join("logits.safetensors")).expect("logits");
    let read = |name: String| {
        let mut tensors = file.tensors();
        tensors.find(|tensor| tensor.name() == name)
    };
    let floats = |name: String| -> Option<Vec<f32>> {
        let tensor = read(name)?;
        let (values, _) = tensor.bytes().as_chunks::<4>();
        Some(values.iter().map(|&x| f32::from_le_bytes(x)).collect())
    };
    let numbers = (0..).map_while(|number| {
        let tokens = read(format!("tokens.{number}"))?;
        let (tokens, _) = tokens.bytes().as_chunks::<4>();
        Some(Sequence {
            tokens: tokens.iter().map(|&id| u32::from_le_bytes(id)).collect(),
            logits: floats(format!("logits.{number}")).expect("logits"),
            halves: floats(format!("halves.{number}")).unwrap_or_default(),
        })
    });
    numbers.collect()
}

/// The sequence as a batch of its own, and all its rows.
fn whole(checkpoint: &Checkpoint, tokens: &[u32]) -> (Batch, Vec<u32>) {
    let mut batch = Batch::whole([tokens]);
    batch.reach = context::reach(checkpoint.config(), tokens.len());
    (batch, (0..tokens.len() as u32).collect())
}

/// Root mean square difference, relative to the logits.
fn difference(ours: &[f32], theirs: &[f32]) -> f32 {
    assert_eq!(ours.len(), theirs.len());
    let pairs = ours.iter().zip(theirs);
    let error: f32 = pairs.map(|(x, y)| (x - y) * (x - y)).sum();
    (error / theirs.iter().map(|y| y * y).sum::<f32>()).sqrt()
}

/// The largest difference of the logits of a sequence, in float32 on the CPU.
pub fn difference_on_cpu(checkpoint: &Checkpoint, sequences: &[Sequence]) -> f32 {
    let expected = sequences
        .iter()
        .map(|sequence| (sequence, &*sequence.logits));
    cpu_difference(checkpoint, FloatType::F32, expected)
}

fn cpu_difference<'a>(
    checkpoint: &Checkpoint,
    dtype: FloatType,
    expected: impl Iterator<Item = (&'a Sequence, &'a [f32])>,
) -> f32 {
    let nothing = QuantConfig::unquantised("baseline");
    let engine = Cpu::new(dtype);
    let llama = load::load(&engine, checkpoint, &nothing, 128).expect("a model");
    let differences = expected.map(|(sequence, expected)| {
        let (batch, rows) = whole(checkpoint, &sequence.tokens);
        let ours = llama.logits(&engine, &batch, &mut Cache::none(), &rows);
        difference(ours.expect("logits").values(), expected)
    });
    differences.fold(0.0, f32::max)
}

/// The same in bf16 kernels; `None` if they lack a part of the model.
fn difference_on_device(model: &Path, sequences: &[Sequence]) -> Option<f32> {
    let checkpoint = Checkpoint::open(model).expect("a checkpoint");
    let config = checkpoint.config().clone();
    let tokens = sequences.iter().map(|sequence| sequence.tokens.len());
    let longest = tokens.max().unwrap_or(0);
    features::check(&config).ok()?;
    features::check_length(&config, longest).ok()?;
    let device = Device::emulator();
    let limits = Limits::new(device.properties(), 128, 128);
    let storage = Storage::Packed(Operands::Bf16);
    let engine = DeviceEngine::new(device, checkpoint, FloatType::F32, storage);
    let engine = engine.expect("an engine");
    let nothing = QuantConfig::unquantised("baseline");
    let mut loaded = engine.model(&nothing, limits, 128).expect("a model");
    loaded.cache.divide(1, 128).expect("room");
    let checkpoint = Checkpoint::open(model).expect("a checkpoint");
    let differences = sequences.iter().map(|sequence| {
        let (batch, rows) = whole(&checkpoint, &sequence.tokens);
        let ours = (loaded.llama).logits(&loaded.backend, &batch, &mut loaded.cache, &rows);
        let ours = loaded.backend.values(&ours.expect("logits"));
        difference(&ours.expect("values"), &sequence.logits)
    });
    Some(differences.fold(0.0, f32::max))
}

#[test]
fn logits_are_those_of_transformers() {
    let folder = tempfile::tempdir().expect("a folder");
    for model in models(folder.path()) {
        let checkpoint = Checkpoint::open(&model).expect("a checkpoint");
        let sequences = sequences(&model);
        let name = model.file_name().expect("a name").to_string_lossy();
        let on_cpu = difference_on_cpu(&checkpoint, &sequences);
        let halves = sequences
            .iter()
            .map(|sequence| (sequence, &*sequence.halves));
        let in_bf16 = cpu_difference(&checkpoint, FloatType::Bf16, halves);
        let on_device = difference_on_device(&model, &sequences);
        let kernels = on_device.map_or("not supported".to_owned(), |error| format!("{error:.1e}"));
        println!("{name:34} float32 {on_cpu:.1e}, bf16 {in_bf16:.1e}, kernels {kernels}");
        assert!(on_cpu < 1e-5, "{name}: {on_cpu:e}");
        // Rounded in the same places; sums in another order move single values to neighbours.
        assert!(in_bf16 < 0.03, "{name}: {in_bf16:e}");
        // The error of two layers with 8 significant bits.
        assert!(
            on_device.is_none_or(|error| error < 0.1),
            "{name}: {on_device:?}"
        );
        a_merged_rotation_changes_no_logit(&model, &sequences);
        scores_take_the_frequencies_of_each_sequence(&model, &sequences);
        // The text model in another has names of its own.
        if !name.ends_with("with-images") {
            a_written_config_is_read_again(&checkpoint);
        }
    }
}

/// A rotation that is merged into the weights keeps the function, or is refused where it would not.
fn a_merged_rotation_changes_no_logit(model: &Path, sequences: &[Sequence]) {
    let checkpoint = Checkpoint::open(model).expect("a checkpoint");
    let model_type = checkpoint.config().architecture.model_type;
    let has_others = ["gemma2", "gemma3_text", "olmo2", "starcoder2"].contains(&model_type);
    match merged(checkpoint, &"8:3".parse().expect("a rotation")) {
        Err(MergeError::Architecture { .. }) => assert!(has_others, "{model_type}"),
        Err(error) => panic!("{model_type}: {error}"),
        Ok(checkpoint) => {
            let difference = difference_on_cpu(&checkpoint, sequences);
            println!("{:34} merged {difference:.1e}", "");
            assert!(
                !has_others && difference < 1e-5,
                "{model_type}: {difference:e}"
            );
        }
    }
}

/// What `ModelConfig::to_json` writes is the same configuration.
fn a_written_config_is_read_again(checkpoint: &Checkpoint) {
    let folder = tempfile::tempdir().expect("a folder");
    let source = Path::new(checkpoint.label());
    for name in ["model.safetensors", "tokenizer.json"] {
        std::fs::copy(source.join(name), folder.path().join(name)).expect("a copy");
    }
    let json = checkpoint.config().to_json().to_string();
    std::fs::write(folder.path().join("config.json"), &json).expect("a config");
    let again = Checkpoint::open(folder.path()).expect("a checkpoint");
    assert_eq!(again.config(), checkpoint.config(), "{json}");
}

/// Short and long sequences in one batch get transformers' scores of each alone.
fn scores_take_the_frequencies_of_each_sequence(model: &Path, sequences: &[Sequence]) {
    let checkpoint = Checkpoint::open(model).expect("a checkpoint");
    let engine = CpuEngine::new(checkpoint, Some(FloatType::F32), None).expect("an engine");
    let vocabulary = engine.vocabulary();
    let requests: Vec<Request> = sequences
        .iter()
        .rev()
        .map(|sequence| Request {
            // The last logits predict a token beyond the sequence, here its first one.
            tokens: [&sequence.tokens[..], &sequence.tokens[..1]].concat(),
            targets: 1,
        })
        .collect();
    let config = QuantConfig::unquantised("baseline");
    let mut loaded = engine.load(&config).expect("a model");
    let scores = loaded.score(&requests).expect("scores");
    for (score, sequence) in scores.iter().zip(sequences.iter().rev()) {
        let row = &sequence.logits[sequence.logits.len() - vocabulary..];
        let sum: f64 = row.iter().map(|&x| f64::from(x).exp()).sum();
        let expected = f64::from(row[sequence.tokens[0] as usize]) - sum.ln();
        let error = (score.loglikelihood - expected).abs();
        let length = sequence.tokens.len();
        assert!(
            error < 2e-4,
            "{}: {length} tokens: {error:e}",
            model.display()
        );
    }
}

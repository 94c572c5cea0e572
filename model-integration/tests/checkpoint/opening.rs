//! Valid directories: every layout and dtype gives the same weights.

use not_run::not_run;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use mxlab::checkpoint::Checkpoint;
use mxlab::description::RopeScaling;
use mxlab_kernels::format::FloatType;
use serde_json::{Value, json};
use tempfile::tempdir;

use crate::checkpoint::tiny::{Files, TinyModel, container, json_bytes, use_model, value, write};

fn open(files: &Files) -> Checkpoint {
    let dir = tempdir().unwrap();
    write(dir.path(), files);
    // On Unix, a mapping outlives the file's name.
    Checkpoint::open(dir.path()).unwrap()
}

fn assert_weights(checkpoint: &Checkpoint, dtype: FloatType) {
    let mut tensors = 0;
    for parameter in checkpoint.parameters().stored() {
        let name = &parameter.name;
        let view = checkpoint.tensor(parameter).unwrap();
        assert_eq!(
            (view.name(), view.shape(), view.dtype()),
            (&**name, &*parameter.shape, Some(dtype))
        );
        let mut read = vec![f32::NAN; view.len()];
        view.read_f32(0..view.len(), &mut read);
        let expected: Vec<f32> = (0..view.len()).map(|index| value(name, index)).collect();
        assert_eq!(read, expected, "{name}");
        let mut middle = [0.0; 2];
        view.clone().read_f32(1..3, &mut middle);
        assert_eq!(middle, expected[1..3], "{name}");
        tensors += 1;
    }
    assert!(tensors >= 20);
}

#[test]
fn every_dtype_in_one_file_or_sharded() {
    for dtype in FloatType::ALL {
        let model = TinyModel::new(dtype);
        for files in [model.files(), model.sharded_files()] {
            let checkpoint = open(&files);
            assert_eq!(checkpoint.config().dtype, dtype);
            assert_weights(&checkpoint, dtype);
        }
    }
}

#[test]
fn a_header_of_odd_length_leaves_tensors_unaligned_but_readable() {
    for dtype in FloatType::ALL {
        let mut files = TinyModel::new(dtype).files();
        let old = files["model.safetensors"].clone();
        let length = u64::from_le_bytes(old[..8].try_into().unwrap()) as usize;
        let (header, data) = old[8..].split_at(length);
        for padding in 1..=4 {
            let header = [header, &b"    "[..padding]].concat();
            files.insert("model.safetensors".to_owned(), container(&header, data));
            assert_weights(&open(&files), dtype);
        }
    }
}

#[test]
fn biases_and_tied_embeddings_change_which_tensors_are_asked_for() {
    let mut model = TinyModel::new(FloatType::F32);
    model.config["attention_bias"] = json!(true);
    model.config["mlp_bias"] = json!(true);
    model.fill(FloatType::F32);
    let checkpoint = open(&model.files());
    assert_weights(&checkpoint, FloatType::F32);
    assert!(checkpoint.contains("model.layers.1.mlp.down_proj.bias"));

    // A head beside tied embeddings is ignored, even if it is malformed.
    let mut model = TinyModel::new(FloatType::F32);
    model.config["tie_word_embeddings"] = json!(true);
    let head = model.tensor("lm_head.weight");
    head.shape = vec![head.data.len() / 4];
    head.data[..4].copy_from_slice(&f32::NAN.to_le_bytes());
    let checkpoint = open(&model.files());
    assert!(checkpoint.contains("lm_head.weight"));
    assert_eq!(checkpoint.parameters().named("lm_head.weight"), None);
    assert_weights(&checkpoint, FloatType::F32);
}

#[test]
fn an_undeclared_dtype_is_that_of_the_embedding() {
    let mut model = TinyModel::new(FloatType::F16);
    model.config["torch_dtype"] = Value::Null;
    assert_eq!(open(&model.files()).config().dtype, FloatType::F16);
}

#[test]
fn the_tokenizer_keeps_every_token_and_knows_the_special_ones() {
    let checkpoint = open(&TinyModel::new(FloatType::F32).files());
    let tokenizer = checkpoint.tokenizer().unwrap();
    // The file requests truncation to 3 tokens, which an evaluation must ignore.
    let text = "the cat sat on the mat";
    assert_eq!(tokenizer.encode(text, true).unwrap(), [1, 3, 4, 5, 6, 3, 7]);
    assert_eq!(tokenizer.encode(text, false).unwrap(), [3, 4, 5, 6, 3, 7]);
    assert_eq!(tokenizer.decode(&[1, 3, 4, 2], true).unwrap(), "the cat");
    assert_eq!(tokenizer.decode(&[1, 3, 4], false).unwrap(), "<s> the cat");
    assert_eq!((tokenizer.bos(), tokenizer.eos()), (Some(1), Some(2)));
    assert_eq!(tokenizer.prefix_token(), Some(1));
    assert_eq!(tokenizer.vocab_size(), 16);
}

#[test]
fn an_embedded_model_is_the_same_as_its_directory() {
    let mut files = TinyModel::new(FloatType::Bf16).files();
    files.remove("tokenizer_config.json");
    let safetensors: &'static [u8] = Vec::leak(files["model.safetensors"].clone());
    let embedded = Checkpoint::from_bytes(
        &files["config.json"],
        &files["tokenizer.json"],
        safetensors,
        "embedded",
    )
    .unwrap();
    let directory = open(&files);
    assert_eq!(embedded.label(), "embedded");
    assert_eq!(embedded.config(), directory.config());
    assert_eq!(embedded.fingerprint(), directory.fingerprint());
    assert_weights(&embedded, FloatType::Bf16);
    assert_eq!(
        embedded.tokenizer().unwrap().encode("dog", true).unwrap(),
        [1, 8]
    );
}

#[test]
fn the_fingerprint_depends_on_contents_only() {
    let files = TinyModel::new(FloatType::Bf16).files();
    let original = open(&files).fingerprint();
    assert_eq!(original.len(), 64);
    assert_eq!(original, open(&files).fingerprint());

    let mut model = TinyModel::new(FloatType::Bf16);
    model.tensor("model.norm.weight").data[3] ^= 1;
    let weight = open(&model.files()).fingerprint();
    let mut model = TinyModel::new(FloatType::Bf16);
    model.config["rms_norm_eps"] = json!(1e-6);
    let config = open(&model.files()).fingerprint();
    let mut model = TinyModel::new(FloatType::Bf16);
    model.tokenizer["pre_tokenizer"] = Value::Null;
    let tokenizer = open(&model.files()).fingerprint();
    let all = [original, weight, config, tokenizer];
    assert!((1..4).all(|i| !all[..i].contains(&all[i])), "{all:?}");
}

#[test]
fn a_written_config_reads_back() {
    let mut model = TinyModel::new(FloatType::Bf16);
    model.config["rope_scaling"] = json!({"type": "llama3", "factor": 32, "low_freq_factor": 1.0,
        "high_freq_factor": 4.0, "original_max_position_embeddings": 32});
    model.config["eos_token_id"] = json!([2, 3]);
    let mut files = model.files();
    let config = open(&files).config().clone();
    assert!(matches!(
        config.ropes[0].scaling,
        Some(RopeScaling::Llama3 { factor: 32.0, .. })
    ));
    files.insert("config.json".to_owned(), json_bytes(&config.to_json()));
    assert_eq!(open(&files).config(), &config);
}

/// Anonymous memory of this process in bytes.
#[cfg(target_os = "linux")]
fn anonymous_memory() -> usize {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("RssAnon:"))
        .unwrap();
    line.split_whitespace()
        .nth(1)
        .unwrap()
        .parse::<usize>()
        .unwrap()
        << 10
}

/// A model of 512 MB (a sparse file) opens, and all weights are checked and read in parts, within a
/// few MB of memory.
#[test]
#[cfg(target_os = "linux")]
fn weights_are_never_copied() {
    use std::os::unix::fs::FileExt;

    let mut model = TinyModel::new(FloatType::Bf16);
    let rows = 1 << 20;
    let hidden = 256;
    for (field, size) in [
        ("vocab_size", rows),
        ("hidden_size", hidden),
        ("intermediate_size", hidden),
        ("num_hidden_layers", 1),
        ("num_attention_heads", 1),
    ] {
        model.config[field] = json!(size);
    }
    model.config["tie_word_embeddings"] = json!(true);
    model.tensors.clear();
    let dir = tempdir().unwrap();
    let mut files = model.files();
    let layer = [
        "self_attn.q_proj",
        "self_attn.k_proj",
        "self_attn.v_proj",
        "self_attn.o_proj",
        "mlp.gate_proj",
        "mlp.up_proj",
        "mlp.down_proj",
    ];
    let mut shapes: Vec<(String, Vec<usize>)> = layer
        .iter()
        .map(|name| {
            (
                format!("model.layers.0.{name}.weight"),
                vec![hidden, hidden],
            )
        })
        .collect();
    for norm in [
        "layers.0.input_layernorm",
        "layers.0.post_attention_layernorm",
        "norm",
    ] {
        shapes.push((format!("model.{norm}.weight"), vec![hidden]));
    }
    shapes.push(("model.embed_tokens.weight".to_owned(), vec![rows, hidden]));
    let mut header = serde_json::Map::new();
    let mut end = 0;
    for (name, shape) in shapes {
        let begin = end;
        end += 2 * shape.iter().product::<usize>();
        let entry = json!({"dtype": "BF16", "shape": shape, "data_offsets": [begin, end]});
        header.insert(name, entry);
    }
    let head = container(Value::Object(header).to_string().as_bytes(), &[]);
    let length = (head.len() + end) as u64;
    files.insert("model.safetensors".to_owned(), head);
    write(dir.path(), &files);
    let weights = fs::OpenOptions::new()
        .write(true)
        .open(dir.path().join("model.safetensors"))
        .unwrap();
    weights.set_len(length).unwrap();

    let before = anonymous_memory();
    let checkpoint = Checkpoint::open(dir.path()).unwrap();
    let mut views = Vec::new();
    for parameter in checkpoint.parameters().stored() {
        views.push(checkpoint.tensor(parameter).unwrap());
    }
    let bytes: usize = views
        .iter()
        .map(|view| view.bytes().map_or(0, <[u8]>::len))
        .sum();
    let grown = anonymous_memory().saturating_sub(before);
    println!("{bytes} bytes of weights, {grown} bytes of memory");
    // Other tests run in this process, so this is a bound, not a measurement.
    assert!(
        bytes > 500 << 20 && grown < 100 << 20,
        "{grown} bytes for {bytes} of weights"
    );

    // The fingerprint of a model this large samples pages, including the last of each tensor.
    let original = checkpoint.fingerprint();
    weights.write_all_at(&[0x3f], length - 1).unwrap();
    let changed = Checkpoint::open(dir.path()).unwrap().fingerprint();
    assert_ne!(original, changed);
}

/// Real checkpoints against transformers' token ids, if the shared folder is present.
#[test]
fn real_checkpoints() {
    let default = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared"));
    let shared = env::var_os("MXLAB_SHARED").map_or(default, PathBuf::from);
    let models = shared.join("models");
    if !models.is_dir() {
        not_run("real_checkpoints", "MXLAB_SHARED");
        return;
    }
    for (name, tasks) in [
        (
            "stories260k",
            ["tinystories_cloze", "selfsampled_cloze"].as_slice(),
        ),
        ("babyllama-tok361", ["tinystories_cloze_short"].as_slice()),
    ] {
        let dir = models.join(name);
        use_model(&dir).unwrap();
        use_model(&dir.join("f32")).unwrap();
        let checkpoint = Checkpoint::open(&dir).unwrap();
        assert_eq!(checkpoint.config().dtype, FloatType::Bf16);
        assert_ne!(
            checkpoint.fingerprint(),
            Checkpoint::open(&dir.join("f32")).unwrap().fingerprint()
        );
        let tokenizer = checkpoint.tokenizer().unwrap();
        for task in tasks {
            let examples = token_examples(&dir, task);
            assert_eq!(examples.len(), 50);
            for (text, expected) in examples {
                assert!(
                    tokenizer.encode(&text, true).unwrap().ends_with(&expected),
                    "{text}"
                );
            }
        }
    }
}

/// Texts, and the tokens that transformers fed to the model plus the last target token: the end of
/// the whole text's tokens.
fn token_examples(dir: &Path, task: &str) -> Vec<(String, Vec<u32>)> {
    let texts = fs::read_to_string(dir.join(format!("{task}.jsonl"))).unwrap();
    let tokens = dir.join(format!("reference/{task}.tokens_first50.json"));
    let tokens: Vec<Value> = serde_json::from_slice(&fs::read(tokens).unwrap()).unwrap();
    let ids = |list: &Value| -> Vec<u32> { serde_json::from_value(list.clone()).unwrap() };
    texts
        .lines()
        .zip(tokens)
        .map(|(line, entry)| {
            let line: Value = serde_json::from_str(line).unwrap();
            let mut expected = ids(&entry["inp"]);
            expected.extend(ids(&entry["cont"]).last());
            (line["text"].as_str().unwrap().to_owned(), expected)
        })
        .collect()
}

//! What is unusual but harmless: it opens, and gives the same model as without it.

use mxlab::checkpoint::Checkpoint;
use mxlab::config::QuantConfig;
use mxlab::engine::{Engine, Request};
use mxlab::model::cpu::CpuEngine;
use mxlab::model::{Reach, Rope, context};
use mxlab_kernels::format::FloatType;
use serde_json::{Value, json};
use tempfile::tempdir;

use crate::checkpoint::tiny::{Files, TinyModel, container, json_bytes, write};

/// Ids of a text, and the elements of every parameter.
fn contents(files: &Files) -> (Vec<u32>, Vec<f32>, Vec<String>) {
    let dir = tempdir().unwrap();
    write(dir.path(), files);
    let checkpoint = Checkpoint::open(dir.path()).unwrap();
    let ids = checkpoint
        .tokenizer()
        .unwrap()
        .encode("the cat sat", true)
        .unwrap();
    let mut values = Vec::new();
    for parameter in checkpoint.parameters().stored() {
        let view = checkpoint.tensor(parameter).unwrap();
        let start = values.len();
        values.resize(start + view.len(), 0.0);
        view.read_f32(0..view.len(), &mut values[start..]);
    }
    (ids, values, checkpoint.notes().to_vec())
}

type Change = fn(&mut TinyModel);

#[test]
fn a_model_is_the_same_with() {
    const CHANGES: &[(&str, Change)] = &[
        ("pretraining_tp", |m| m.config["pretraining_tp"] = json!(2)),
        ("another name of silu", |m| {
            m.config["hidden_act"] = json!("swish")
        }),
        ("no end token", |m| m.config["eos_token_id"] = json!(-1)),
        ("tokens beyond the vocabulary", |m| {
            m.config["bos_token_id"] = json!(16);
            m.config["eos_token_id"] = json!([2, -1, 99])
        }),
        ("empty rope_scaling", |m| {
            m.config["rope_scaling"] = json!({})
        }),
        ("rope_scaling of nulls", |m| {
            m.config["rope_scaling"] = json!({"type": null, "factor": null})
        }),
        ("empty rope_scaling beside rope_parameters", |m| {
            m.config["rope_scaling"] = json!({});
            m.config["rope_parameters"] = json!({"rope_type": "default"})
        }),
        ("dynamic rope, as long as in the training", |m| {
            m.config["rope_scaling"] = json!({"type": "dynamic", "factor": 2.0})
        }),
        ("untyped rope_parameters", |m| {
            m.config["rope_parameters"] = json!({"rope_theta": 1e4})
        }),
        ("a token that no text has", |m| {
            m.tokenizer["model"]["vocab"]["house"] = json!(16)
        }),
        ("empty special tokens", |m| {
            m.tokenizer_config["bos_token"] = json!("");
            m.tokenizer_config["tokenizer_class"] = json!("PreTrainedTokenizerFast")
        }),
        ("an unknown special token", |m| {
            m.tokenizer_config["eos_token"] = json!("<end>")
        }),
        ("a length limit below zero", |m| {
            m.tokenizer_config["model_max_length"] = json!(-1)
        }),
    ];
    let plain = contents(&TinyModel::new(FloatType::F32).files());
    for (what, change) in CHANGES {
        let mut model = TinyModel::new(FloatType::F32);
        change(&mut model);
        assert_eq!(contents(&model.files()), plain, "{what}");
    }
}

#[test]
fn weights_are_the_same_under_unusual_names() {
    const INDEX: &str = "model.safetensors.index.json";
    let model = TinyModel::new(FloatType::F32);
    let (ids, values, _) = contents(&model.files());
    let same = |files: &Files, note: &str| {
        let (other_ids, other, notes) = contents(files);
        assert_eq!((&other_ids, &other), (&ids, &values), "{note}");
        assert_eq!(notes.concat(), note);
    };

    let mut alone = model.files();
    let weights = alone.remove("model.safetensors").unwrap();
    alone.insert("other.safetensors".to_owned(), weights);
    same(&alone, "weights are read from `other.safetensors`");

    let mut unlisted = model.sharded_files();
    unlisted.remove(INDEX);
    let names = "`model-00001-of-00002.safetensors`, `model-00002-of-00002.safetensors`";
    same(&unlisted, &format!("weights are read from {names}"));

    let mut more = model.sharded_files();
    let mut index: Value = serde_json::from_slice(&more[INDEX]).unwrap();
    index["weight_map"]["model.extra"] = json!("model-00001-of-00002.safetensors");
    more.insert(INDEX.to_owned(), json_bytes(&index));
    same(&more, "");

    let mut swapped = model.sharded_files();
    let [one, two] = [
        "model-00001-of-00002.safetensors",
        "model-00002-of-00002.safetensors",
    ];
    let first = swapped[one].clone();
    let second = swapped.insert(two.to_owned(), first).unwrap();
    swapped.insert(one.to_owned(), second);
    same(&swapped, "");

    let mut marked = model.files();
    marked
        .get_mut("config.json")
        .unwrap()
        .splice(..0, *b"\xef\xbb\xbf");
    same(&marked, "");

    let mut null = model.files();
    with_metadata(&mut null, "null");
    same(&null, "");
}

/// Dynamic scaling begins where the trained length ends, and longer sequences are not generated.
#[test]
fn dynamic_rope_is_plain_up_to_the_trained_length() {
    let config = |scaling| {
        let mut model = TinyModel::new(FloatType::F32);
        model.config["rope_scaling"] = scaling;
        let dir = tempdir().unwrap();
        write(dir.path(), &model.files());
        Checkpoint::open(dir.path()).unwrap().config().clone()
    };
    let dynamic = config(json!({"rope_type": "dynamic", "factor": 4.0}));
    let tables = |config| {
        let rope = Rope::new(config, 64);
        let tables = rope
            .tables()
            .iter()
            .map(|table| (table.cos.clone(), table.sin.clone()));
        tables.collect::<Vec<_>>()
    };
    assert_eq!(tables(&dynamic), tables(&config(Value::Null)));
    let reach = |end| context::reach_to_the_end(&dynamic, [5].into_iter(), end);
    assert_eq!(reach(64).unwrap(), Reach::Trained);
    let error = reach(65).unwrap_err().to_string();
    assert!(
        error.contains("rope_scaling `dynamic`") && error.contains("64"),
        "{error}"
    );
}

/// The stored one of two tied tensors may have either name.
#[test]
fn a_tied_head_stands_for_the_embedding() {
    let mut model = TinyModel::new(FloatType::F32);
    model.config["tie_word_embeddings"] = json!(true);
    model.fill(FloatType::F32);
    let (ids, values, notes) = contents(&model.files());
    assert!(notes.is_empty());

    let mut both = TinyModel::new(FloatType::F32);
    both.config["tie_word_embeddings"] = json!(true);
    both.tensors.clone_from(&model.tensors);
    let mut head = model.tensor("model.embed_tokens.weight").clone();
    head.name = "lm_head.weight".to_owned();
    both.tensors.push(head.clone());
    assert_eq!(
        contents(&both.files()),
        (ids.clone(), values.clone(), vec![])
    );

    // It is not noise if they differ.
    head.data[0] ^= 1;
    both.tensors.pop();
    both.tensors.push(head);
    let (_, other, notes) = contents(&both.files());
    assert_eq!(other, values);
    assert!(
        notes[0].starts_with("`lm_head.weight` is not used"),
        "{notes:?}"
    );

    model.tensor("model.embed_tokens.weight").name = "lm_head.weight".to_owned();
    assert_eq!(
        contents(&model.files()),
        (ids.clone(), values.clone(), vec![])
    );

    // `save_model` names the other one in its metadata, whatever the config says.
    model.config["tie_word_embeddings"] = json!(false);
    let mut files = model.files();
    with_metadata(
        &mut files,
        r#"{"model.embed_tokens.weight": "lm_head.weight"}"#,
    );
    let (_, untied, _) = contents(&files);
    assert_eq!(untied[..128], values[..128]);
    assert_eq!(untied.len(), values.len() + 128);
}

fn with_metadata(files: &mut Files, metadata: &str) {
    let weights = files.get_mut("model.safetensors").unwrap();
    let (length, rest) = weights.split_first_chunk::<8>().unwrap();
    let (header, data) = rest.split_at(u64::from_le_bytes(*length) as usize);
    let header = String::from_utf8(header.to_vec()).unwrap();
    let old = r#""__metadata__":{"format":"pt"}"#;
    assert!(header.contains(old), "{header}");
    let header = header.replace(old, &format!(r#""__metadata__":{metadata}"#));
    *weights = container(header.as_bytes(), data);
}

/// Tensors that the config does not use are counted and named, but not those that follow from it.
#[test]
fn unused_tensors_are_named() {
    let mut model = TinyModel::new(FloatType::F32);
    let mut add = |name: &str| {
        let mut tensor = model.tensor("model.norm.weight").clone();
        tensor.name = name.to_owned();
        model.tensors.push(tensor);
    };
    for layer in 0..2 {
        add(&format!(
            "model.layers.{layer}.self_attn.rotary_emb.inv_freq"
        ));
        add(&format!("model.layers.{layer}.self_attn.q_norm.weight"));
    }
    add("model.layers.0.self_attn.q_proj.bias");
    let (_, _, notes) = contents(&model.files());
    let expected = "3 tensors of the files are not used, because config.json does not speak of \
        them: `model.layers.*.self_attn.q_norm.weight (2)`, `model.layers.0.self_attn.q_proj.bias`";
    assert_eq!(notes, [expected]);
}

/// Biases that are there in part are used, and the others are zero.
#[test]
fn biases_in_part_are_used_and_the_others_named() {
    let mut model = TinyModel::new(FloatType::F32);
    model.config["attention_bias"] = json!(true);
    model.fill(FloatType::F32);
    let prompt = Request {
        tokens: vec![1, 3, 4, 5],
        targets: 2,
    };
    let score = |model: &TinyModel| {
        let dir = tempdir().unwrap();
        write(dir.path(), &model.files());
        let engine = CpuEngine::new(Checkpoint::open(dir.path()).unwrap(), None, None).unwrap();
        let mut loaded = engine.load(&QuantConfig::unquantised("baseline")).unwrap();
        let scores = loaded.score(std::slice::from_ref(&prompt)).unwrap();
        (scores[0].loglikelihood, engine.info().notes.clone())
    };
    let (whole, notes) = score(&model);
    assert!(notes.is_empty());
    // Zeros where a bias is missing give what a file without it gives.
    let names = [
        "model.layers.0.self_attn.o_proj.bias",
        "model.layers.1.self_attn.o_proj.bias",
    ];
    for name in names {
        model.tensor(name).data.fill(0);
    }
    let (zeros, _) = score(&model);
    for name in names {
        model.remove_tensor(name);
    }
    let (part, notes) = score(&model);
    assert_ne!(whole, zeros);
    assert_eq!(part, zeros);
    let expected = "2 biases of config.json are not in the files, and zero: \
        `model.layers.*.self_attn.o_proj.bias (2)`";
    assert_eq!(notes, [expected]);
}

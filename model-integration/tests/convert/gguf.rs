//! A written GGUF file has the scores, the codes and the tokenizer of its source.

use std::fs;
use std::path::Path;

use not_run::not_run;

use super::{NVFP4, convert, converted, refused, scores, stored, stored_codes};
use mxlab::checkpoint::{Checkpoint, SpecialTokens};
use mxlab::config::{FormatFlags, QuantConfig, load};
use mxlab::embedded;

#[test]
fn a_written_file_scores_as_its_source() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name).display().to_string();
    let mixed = format!("{NVFP4}\n[[override]]\nprojections = [\"q\"]\nweights = \"none\"\n");
    let mixed = mixed + "[[override]]\nprojections = [\"k\"]\nweights = { element = \"fp4_e2m1\", ";
    let mixed =
        mixed + "scale = \"e8m0\", block_size = 32, tensor_scale = false, dialect = \"ocp\" }";
    for (name, text) in [
        ("plain", "weights = \"none\""),
        ("mxfp4", "weights = \"fp4_e2m1\""),
        ("nvfp4", NVFP4),
        ("mixed", &mixed),
    ] {
        let (file, out) = (path("config.toml"), path(&format!("{name}.gguf")));
        fs::write(&file, text).expect("writable");
        let config = load(&file, &FormatFlags::default()).expect("a configuration");
        let expected = scores(embedded::checkpoint().expect("a model"), &config);
        converted(&["embedded", &out, "--to", "gguf", "--config", &file]);
        assert_eq!(stored(out.as_ref()), expected, "{name}");
    }
    // Codes and scales come back, and floats.
    for name in ["mxfp4", "nvfp4"] {
        let (file, own, back) = (
            path(&format!("{name}.gguf")),
            path("own"),
            path("back.gguf"),
        );
        converted(&[&file, &own, "--to", "mxlab", "--overwrite"]);
        assert_eq!(stored_codes(&own, true), stored_codes(&file, true));
        converted(&[&own, &back, "--to", "gguf", "--overwrite"]);
        assert_eq!(stored_codes(&back, true), stored_codes(&file, true));
    }
    let dense = path("dense");
    converted(&[&path("plain.gguf"), &dense, "--to", "dense"]);
    let open = |name: &str| Checkpoint::open(name.as_ref()).expect("a model");
    let (dense, original) = (open(&dense), embedded::checkpoint().expect("a model"));
    for parameter in original.parameters().stored() {
        let values = [&dense, &original].map(|checkpoint| {
            let view = checkpoint.tensor(parameter).expect("a tensor");
            let mut values = vec![0.0; view.len()];
            view.read_f32(0..view.len(), &mut values);
            values
        });
        assert!(values[0] == values[1], "{}", parameter.name);
    }
}

#[test]
fn what_gguf_cannot_say_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name).display().to_string();
    let (out, other) = (path("out.gguf"), path("notes.gguf"));
    refused(
        &["embedded", &path("out"), "--to", "gguf"],
        2,
        "ends in .gguf",
    );
    let int4 = ["embedded", &out, "--to", "gguf", "--weights", "int4"];
    refused(&int4, 1, "GGUF takes fp4_e2m1");
    fs::write(&other, "mine").expect("writable");
    refused(&["embedded", &other, "--to", "gguf"], 2, "--overwrite");
    let replacing = ["embedded", &other, "--to", "gguf", "--overwrite"];
    refused(&replacing, 2, "it is not a GGUF file");

    // A tokenizer of another kind, and one that splits text in a way without a name.
    let source = path("source");
    converted(&["embedded", &source, "--to", "dense"]);
    let tokenizer = Path::new(&source).join("tokenizer.json");
    let text = fs::read_to_string(&tokenizer).expect("a file");
    let mut json: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    json["pre_tokenizer"] = serde_json::json!({"type": "Sequence", "pretokenizers": [
        {"type": "Split", "pattern": {"Regex": "e"}, "behavior": "Isolated", "invert": false},
        {"type": "ByteLevel", "add_prefix_space": false, "use_regex": true},
    ]});
    fs::write(&tokenizer, json.to_string()).expect("writable");
    refused(&[&source, &out, "--to", "gguf"], 1, "llama.cpp has no name");
    json["model"] = serde_json::json!({
        "type": "WordLevel", "vocab": json["model"]["vocab"], "unk_token": "<s>",
    });
    fs::write(&tokenizer, json.to_string()).expect("writable");
    refused(
        &[&source, &out, "--to", "gguf"],
        1,
        "its model is WordLevel",
    );
    let left: Vec<_> = fs::read_dir(folder.path()).expect("a folder").collect();
    assert_eq!(left.len(), 2, "{left:?}");
}

/// A tokenizer of SentencePiece keeps its ids: all of a text, and the scores.
#[test]
fn a_sentencepiece_tokenizer_comes_back() {
    let beside = concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared");
    let shared = std::env::var_os("MXLAB_SHARED").unwrap_or_else(|| beside.into());
    let source = Path::new(&shared).join("models/stories260k");
    if !source.is_dir() {
        not_run("SentencePiece in a written GGUF file", "MXLAB_SHARED");
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let out = folder.path().join("out.gguf").display().to_string();
    converted(&[&source.display().to_string(), &out, "--to", "gguf"]);
    let open = |path: &Path| Checkpoint::open(path).expect("a model");
    let (written, original) = (open(out.as_ref()), open(&source));
    let [ours, theirs] = [&written, &original].map(|one| one.tokenizer().expect("a tokenizer"));
    let text = Path::new(&shared).join("data/tinystories_valid_excerpt.txt");
    let text = fs::read_to_string(text).expect("a text");
    let mut tokens = 0;
    for line in text.lines() {
        let expected = theirs.encode(line, true).expect("tokens");
        assert_eq!(ours.encode(line, true).expect("tokens"), expected, "{line}");
        tokens += expected.len();
    }
    assert!(tokens > 10_000, "{tokens}");
    let config = QuantConfig::unquantised("baseline");
    assert_eq!(scores(written, &config), scores(original, &config));
}

/// A tokenizer that adds no BOS is written as it is, and the rule that would add one is named.
#[test]
fn a_tokenizer_without_bos_is_written() {
    let folder = tempfile::tempdir().expect("a folder");
    let place = |name: &str| folder.path().join(name).display().to_string();
    converted(&["embedded", &place("model"), "--to", "dense"]);
    let file = folder.path().join("model/tokenizer.json");
    let text = fs::read_to_string(&file).expect("readable");
    let mut json: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    json["post_processor"] = serde_json::Value::Null;
    fs::write(&file, json.to_string()).expect("writable");
    // Without a class of transformers 4, the file alone says what is added.
    let settings = r#"{"tokenizer_class": "PreTrainedTokenizerFast"}"#;
    fs::write(folder.path().join("model/tokenizer_config.json"), settings).expect("writable");

    let written = place("model.gguf");
    let output = convert(&[&place("model"), &written, "--to", "gguf"]);
    let message = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{message}");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("--special-tokens tokenizer-json"), "{said}");
    let ids = |path: &str, rule| {
        let checkpoint = Checkpoint::open(Path::new(path)).expect("a model");
        let tokenizer = checkpoint.with_special_tokens(rule).tokenizer();
        let tokenizer = tokenizer.expect("a tokenizer");
        tokenizer.encode("Tom had a cat", true).expect("ids")
    };
    let rule = SpecialTokens::TokenizerJson;
    assert_eq!(ids(&place("model"), rule), ids(&written, rule));
}

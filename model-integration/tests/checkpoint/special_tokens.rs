//! BOS, EOS and end tokens, as the tokenizer's files and transformers' classes say them. Expected
//! values were seen with transformers 4.57.6 and 5.24.0 on such files.

use std::sync::atomic::AtomicBool;

use mxlab::checkpoint::{Checkpoint, SpecialTokens};
use mxlab::config::QuantConfig;
use mxlab::eval::progress::Silent;
use mxlab::eval::{Evaluation, Settings};
use mxlab::model::cpu::CpuEngine;
use mxlab::task::{FewShot, PromptStyle, jsonl};
use mxlab_kernels::format::FloatType;
use serde_json::{Value, json};
use tempfile::tempdir;

use crate::checkpoint::tiny::{TinyModel, json_bytes, write};

/// What a model says of special tokens.
#[derive(Debug, PartialEq)]
struct Seen {
    bos: Option<u32>,
    eos: Option<u32>,
    ids: Vec<u32>,
    notes: usize,
}

fn open(model: &TinyModel, files: &[(&str, Value)]) -> Checkpoint {
    let dir = tempdir().unwrap();
    let mut all = model.files();
    for (name, value) in files {
        match value {
            Value::Null => all.remove(*name),
            value => all.insert((*name).to_owned(), json_bytes(value)),
        };
    }
    write(dir.path(), &all);
    Checkpoint::open(dir.path()).unwrap()
}

fn seen(checkpoint: Checkpoint, rule: SpecialTokens) -> Seen {
    let tokenizer = checkpoint.with_special_tokens(rule).tokenizer().unwrap();
    Seen {
        bos: tokenizer.bos(),
        eos: tokenizer.eos(),
        ids: tokenizer.encode("the cat", true).unwrap(),
        notes: tokenizer.notes().len(),
    }
}

/// The file `tokenizer_config.json`; its tokenizer adds BOS or not; BOS, EOS and ids by either
/// rule; whether they disagree.
type Row = (
    Value,
    bool,
    [Option<u32>; 2],
    &'static [u32],
    [Option<u32>; 2],
    &'static [u32],
);

#[test]
fn the_rules_of_transformers_4_and_5() {
    let named = |class: &str, more: Value| {
        let mut config = json!({"tokenizer_class": class, "bos_token": "<s>", "eos_token": "</s>"});
        let more = more.as_object().unwrap().clone();
        config.as_object_mut().unwrap().extend(more);
        config
    };
    const PLAIN: &[u32] = &[3, 4];
    const BOS: &[u32] = &[1, 3, 4];
    let both = [Some(1), Some(2)];
    #[rustfmt::skip]
    let rows: Vec<Row> = vec![
        (named("LlamaTokenizer", json!({})), true, both, BOS, both, BOS),
        (named("LlamaTokenizerFast", json!({})), false, both, BOS, both, PLAIN),
        (named("LlamaTokenizer", json!({"add_bos_token": false})), true, both, PLAIN, both, BOS),
        (named("LlamaTokenizer", json!({"add_bos_token": null})), true, both, PLAIN, both, BOS),
        (named("LlamaTokenizer", json!({"add_eos_token": true})), true, both, &[1, 3, 4, 2], both,
            BOS),
        (named("GPTNeoXTokenizer", json!({})), true, both, PLAIN, both, BOS),
        (named("GPTNeoXTokenizer", json!({"add_bos_token": true})), false, both, BOS, both, PLAIN),
        (named("GemmaTokenizer", json!({})), false, both, BOS, both, PLAIN),
        (named("PreTrainedTokenizerFast", json!({"add_bos_token": true})), false, both, PLAIN, both,
            PLAIN),
        (named("GPT2Tokenizer", json!({"add_bos_token": true})), false, both, PLAIN, both, PLAIN),
        (named("TokenizersBackend", json!({"add_bos_token": false})), true, both, BOS, both, BOS),
        // Without a name, the class is that of the architecture, and so are its tokens.
        (json!({}), false, both, BOS, [Some(1), Some(2)], PLAIN),
        (json!({"add_bos_token": false}), true, both, PLAIN, [Some(1), Some(2)], BOS),
        // A tokenizer without BOS has none, whatever config.json names.
        (named("PreTrainedTokenizerFast", json!({"bos_token": null})), false,
            [None, Some(2)], PLAIN, [None, Some(2)], PLAIN),
        (named("LlamaTokenizer", json!({"bos_token": null})), true, [None, Some(2)], BOS,
            [None, Some(2)], BOS),
        // An empty token is the unknown one, and a new one gets the next id.
        (named("PreTrainedTokenizerFast", json!({"bos_token": "", "unk_token": "<unk>"})), true,
            [Some(0), Some(2)], BOS, [Some(0), Some(2)], BOS),
        (named("PreTrainedTokenizerFast", json!({"eos_token": "<end>"})), true, [Some(1), Some(12)],
            BOS, [Some(1), Some(12)], BOS),
    ];
    for (config, adds_bos, [bos, eos], ids, [new_bos, new_eos], new_ids) in rows {
        let mut model = TinyModel::new(FloatType::F32);
        if !adds_bos {
            model.tokenizer["post_processor"] = Value::Null;
        }
        model.tokenizer_config = config.clone();
        let notes = usize::from(ids != new_ids);
        let expected = |bos, eos, ids: &[u32]| Seen {
            bos,
            eos,
            ids: ids.to_vec(),
            notes,
        };
        let four = seen(open(&model, &[]), SpecialTokens::Transformers4);
        assert_eq!(four, expected(bos, eos, ids), "transformers 4, {config}");
        let five = seen(open(&model, &[]), SpecialTokens::TokenizerJson);
        assert_eq!(
            five,
            expected(new_bos, new_eos, new_ids),
            "tokenizer.json, {config}"
        );
    }
}

#[test]
fn a_disagreement_names_both_rules() {
    let mut model = TinyModel::new(FloatType::F32);
    model.tokenizer_config["add_bos_token"] = json!(false);
    let notes = |rule| {
        let checkpoint = open(&model, &[]).with_special_tokens(rule);
        checkpoint.tokenizer().unwrap().notes().concat()
    };
    let [four, five] = [SpecialTokens::Transformers4, SpecialTokens::TokenizerJson].map(notes);
    for words in [
        "add_bos_token false",
        "tokenizer.json `<s>` before a text",
        "nothing around",
    ] {
        assert!(
            four.contains(words) && five.contains(words),
            "{words}: {four} {five}"
        );
    }
    assert!(
        four.contains("--special-tokens tokenizer-json takes the latter"),
        "{four}"
    );
    assert!(
        five.contains("--special-tokens transformers-4 takes the former"),
        "{five}"
    );
}

/// special_tokens_map.json counts where tokenizer_config.json lists no added tokens.
#[test]
fn other_files_that_name_special_tokens() {
    let mut model = TinyModel::new(FloatType::F32);
    model.tokenizer_config =
        json!({"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "the"});
    let map = (
        "special_tokens_map.json",
        json!({"bos_token": "<s>", "eos_token": {"content": "cat"}}),
    );
    let of = |model: &TinyModel, files: &[_]| {
        let tokenizer = open(model, files).tokenizer().unwrap();
        [tokenizer.bos(), tokenizer.eos()]
    };
    assert_eq!(of(&model, &[]), [Some(3), None]);
    assert_eq!(of(&model, std::slice::from_ref(&map)), [Some(1), Some(4)]);
    model.tokenizer_config["added_tokens_decoder"] =
        json!({"12": {"content": "<new>", "special": true}});
    assert_eq!(of(&model, std::slice::from_ref(&map)), [Some(3), None]);
    let ids = open(&model, &[])
        .tokenizer()
        .unwrap()
        .encode("cat <new>", false)
        .unwrap();
    assert_eq!(ids, [4, 12]);

    // Without tokenizer_config.json and the tokens of the class, config.json names them.
    let mut model = TinyModel::new(FloatType::F32);
    model.config["bos_token_id"] = Value::Null;
    model.config["eos_token_id"] = json!([5, 2]);
    model.tokenizer = json!(
        model
            .tokenizer
            .to_string()
            .replace("<s>", "<b>")
            .replace("</s>", "<e>")
    );
    model.tokenizer = serde_json::from_str(model.tokenizer.as_str().unwrap()).unwrap();
    let tokenizer = open(&model, &[("tokenizer_config.json", Value::Null)])
        .tokenizer()
        .unwrap();
    assert_eq!((tokenizer.bos(), tokenizer.prefix_token()), (None, Some(5)));
}

#[test]
fn end_tokens_are_those_of_both_configs() {
    let of = |config: Value, generation: Value| {
        let mut model = TinyModel::new(FloatType::F32);
        model.config["eos_token_id"] = config;
        let checkpoint = open(&model, &[("generation_config.json", generation)]);
        checkpoint.config().eos_token_ids.clone()
    };
    assert_eq!(
        of(json!(2), json!({"eos_token_id": [5, 2, -1, 16]})),
        [2, 5]
    );
    assert_eq!(of(json!([2, 3]), json!({"eos_token_id": 4})), [2, 3, 4]);
    assert!(of(json!(-1), json!({"eos_token_id": null})).is_empty());
    assert!(of(json!(null), json!({"temperature": 0.6})).is_empty());
}

/// Evaluates a task of one line, and gives the text of the sample that is logged.
fn evaluate(model: &TinyModel, line: &str) -> anyhow::Result<String> {
    let engine = CpuEngine::new(open(model, &[]), None, None)?;
    let output = tempdir()?;
    let settings = Settings {
        style: PromptStyle::default(),
        batch_size: 1,
        limit: None,
        fewshot: FewShot {
            count: Some(0),
            ..FewShot::default()
        },
        add_bos_token: None,
        seed: 0,
        output: Some(output.path().to_owned()),
        overwrite: false,
        log_samples: true,
    };
    let task = jsonl::parse("task", "task.jsonl", line.as_bytes())?;
    let configs = vec![QuantConfig::unquantised("baseline")];
    let evaluation = Evaluation::new(&engine, vec![task], configs, settings)?;
    evaluation.run(&AtomicBool::new(false), &Silent)?;
    let samples = std::fs::read_to_string(output.path().join("samples_task_baseline.jsonl"))?;
    let sample: Value = serde_json::from_str(samples.lines().next().unwrap_or(""))?;
    Ok(sample["resps"][0][0].as_str().unwrap_or("").to_owned())
}

/// An answer ends at the tokenizer's EOS too, as in lm-evaluation-harness.
#[test]
fn answers_end_at_the_eos_of_the_tokenizer() {
    let problem = json!({"question": "the cat sat", "answer": "#### 1"}).to_string();
    let mut model = TinyModel::new(FloatType::F32);
    model.config["eos_token_id"] = Value::Null;
    model.config["max_position_embeddings"] = json!(512);
    let whole = evaluate(&model, &problem).unwrap();
    let words: Vec<&str> = whole.split(' ').collect();
    let end = words
        .iter()
        .find(|word| **word != words[0])
        .expect("two different words");
    model.tokenizer_config["eos_token"] = json!(end);
    let before: Vec<&str> = words
        .iter()
        .take_while(|word| *word != end)
        .copied()
        .collect();
    assert_eq!(evaluate(&model, &problem).unwrap(), before.join(" "));
}

/// A special token without a row in the embedding is refused where a prompt begins with it.
#[test]
fn a_prompt_with_a_special_token_of_another_model_is_refused() {
    let mut model = TinyModel::new(FloatType::F32);
    let token = |id: u32| {
        (
            id.to_string(),
            json!({"content": format!("<{id}>"), "special": true}),
        )
    };
    let tokens: serde_json::Map<String, Value> = (12..17).map(token).collect();
    model.tokenizer_config = json!({
        "tokenizer_class": "PreTrainedTokenizerFast", "added_tokens_decoder": tokens,
        "bos_token": "<16>",
    });
    let cloze = |context: &str| format!(r#"{{"context": "{context}", "target": " cat"}}"#);
    evaluate(&model, &cloze("the")).unwrap();
    let error = evaluate(&model, &cloze("")).unwrap_err().to_string();
    assert!(
        error.contains("line 1: its prompt begins with token 16"),
        "{error}"
    );
}

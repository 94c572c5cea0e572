//! Broken tokenizers, and those of another model.

use serde_json::{Value, json};

use super::mutation::{Bytes, Case, Model, case, halve, remove, set};

pub const CASES: &[Case] = &[
    case(
        "tokenizer absent",
        Bytes(|f| remove(f, "tokenizer.json")),
        &["tokenizer.json: no such file"],
    ),
    case(
        "tokenizer empty",
        Bytes(|f| set(f, "tokenizer.json", b"")),
        &["tokenizer.json: the file is empty"],
    ),
    case(
        "tokenizer cut",
        Bytes(|f| halve(f, "tokenizer.json")),
        &["tokenizer.json: not a usable tokenizer"],
    ),
    case(
        "tokenizer of another kind",
        Bytes(|f| set(f, "tokenizer.json", b"{}")),
        &["tokenizer.json: not a usable tokenizer"],
    ),
    case(
        "tokenizer without tokens",
        Model(|m| {
            m.tokenizer["model"]["vocab"] = json!({});
            m.tokenizer["added_tokens"] = json!([]);
            m.tokenizer["post_processor"] = Value::Null
        }),
        &["tokenizer.json: not a usable tokenizer: its vocabulary is empty"],
    ),
    case(
        "token beyond the embedding",
        Model(|m| m.tokenizer["model"]["vocab"]["house"] = json!(16)),
        &["tokenizer.json: token `house` has id 16, but config.json says vocab_size 16"],
    ),
    case(
        "added token beyond the embedding",
        Model(|m| {
            m.tokenizer["added_tokens"][2]["content"] = json!("<pad>");
            m.tokenizer["model"]["vocab"]["<pad>"] = json!(4_000_000_000_u32);
            m.tokenizer["added_tokens"][2]["id"] = json!(4_000_000_000_u32);
        }),
        &["tokenizer.json: token `<pad>` has id 4000000000"],
    ),
    case(
        "post-processor with a token it does not define",
        Model(|m| m.tokenizer["post_processor"]["single"][0]["SpecialToken"]["id"] = json!("<x>")),
        &["tokenizer.json: not a usable tokenizer: post_processor.single uses `<x>`"],
    ),
    case(
        "post-processor of a second text",
        Model(|m| m.tokenizer["post_processor"]["single"][1]["Sequence"]["id"] = json!("B")),
        &["post_processor.single uses sequence `B`; expected `A`"],
    ),
    case(
        "post-processor that drops the text",
        Model(|m| {
            m.tokenizer["post_processor"]["single"]
                .as_array_mut()
                .unwrap()
                .pop();
        }),
        &["post_processor.single drops the text"],
    ),
    case(
        "decoder unknown",
        Model(|m| m.tokenizer["decoder"] = json!({"type": "Magic"})),
        &["tokenizer.json: not a usable tokenizer"],
    ),
    case(
        "post-processor beyond the embedding",
        Model(|m| m.tokenizer["post_processor"]["special_tokens"]["<s>"]["ids"] = json!([99])),
        &["tokenizer.json: encoding failed: token id 99 is not below vocab_size 16"],
    ),
    case(
        "special token unknown",
        Model(|m| m.tokenizer_config["bos_token"] = json!("<bos>")),
        &["tokenizer_config.json: `bos_token` is `<bos>`, which tokenizer.json does not contain"],
    ),
    case(
        "special token a number",
        Model(|m| m.tokenizer_config["eos_token"] = json!(2)),
        &["tokenizer_config.json: `eos_token` is 2; expected a string"],
    ),
    case(
        "length limit negative",
        Model(|m| m.tokenizer_config["model_max_length"] = json!(-5)),
        &["tokenizer_config.json: `model_max_length` is -5"],
    ),
    case(
        "tokenizer settings cut",
        Bytes(|f| halve(f, "tokenizer_config.json")),
        &["tokenizer_config.json: not valid JSON"],
    ),
];

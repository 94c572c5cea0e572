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
        Model(|m| m.tokenizer["model"]["vocab"]["mat"] = json!(16)),
        &["tokenizer.json: the text has token `mat`, id 16, but the embedding has 16 rows"],
    ),
    case(
        "added token beyond the embedding",
        Model(|m| {
            m.tokenizer["added_tokens"][2]["content"] = json!("cat");
            m.tokenizer["model"]["vocab"]["cat"] = json!(4_000_000_000_u32);
            m.tokenizer["added_tokens"][2]["id"] = json!(4_000_000_000_u32);
        }),
        &["tokenizer.json: the text has token `cat`, id 4000000000"],
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
        Model(|m| {
            m.tokenizer["post_processor"]["special_tokens"]["<s>"]["ids"] = json!([99]);
            m.tokenizer_config["tokenizer_class"] = json!("PreTrainedTokenizerFast")
        }),
        &["tokenizer.json: the text has token ``, id 99, but the embedding has 16 rows"],
    ),
    case(
        "special token a number",
        Model(|m| m.tokenizer_config["eos_token"] = json!(2)),
        &["tokenizer_config.json: `eos_token` is 2; expected a string"],
    ),
    case(
        "listed tokens of another kind",
        Model(|m| m.tokenizer_config["added_tokens_decoder"] = json!(["<s>"])),
        &["tokenizer_config.json: `added_tokens_decoder` is [\"<s>\"]; expected an object"],
    ),
    case(
        "tokenizer settings cut",
        Bytes(|f| halve(f, "tokenizer_config.json")),
        &["tokenizer_config.json: not valid JSON"],
    ),
];

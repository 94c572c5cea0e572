//! Bodies that no server should accept, made of one that it would.

use serde_json::{Value, json};

use crate::load::prompts::Asked;

/// A name, and how the body is made.
type Malformed = (&'static str, fn(&Asked) -> Vec<u8>);

/// Every malformed body.
pub const MALFORMED: &[Malformed] = &[
    ("nothing", |_| Vec::new()),
    ("half a body", |asked| {
        asked.body[..asked.body.len() / 2].to_vec()
    }),
    ("a list", |_| b"[1, 2]".to_vec()),
    ("invalid UTF-8", |_| b"{\"prompt\": \"\xff\xfe\"}".to_vec()),
    ("deep nesting", |_| b"[".repeat(100_000)),
    ("a text as a number of tokens", |asked| {
        with(asked, "max_tokens", json!("many"))
    }),
    ("negative tokens", |asked| {
        with(asked, "max_tokens", json!(-1))
    }),
    ("more tokens than any model has", |asked| {
        with(asked, "max_tokens", json!(1_u64 << 60))
    }),
    ("a prompt that is a truth value", |asked| {
        prompt(asked, json!(true))
    }),
    ("an empty prompt", |asked| prompt(asked, json!([]))),
    ("a token that is none", |asked| {
        prompt(asked, json!([1, 4_294_967_295_u64]))
    }),
    ("an endless prompt", |asked| {
        prompt(asked, json!(vec![1; 200_000]))
    }),
    ("a temperature below zero", |asked| {
        with(asked, "temperature", json!(-1.0))
    }),
    ("10,000 stops", |asked| {
        with(asked, "stop", json!(vec!["stop"; 10_000]))
    }),
    ("a bias on a token that is none", |asked| {
        with(asked, "logit_bias", json!({"4294967295": 1}))
    }),
];

fn with(asked: &Asked, field: &str, value: Value) -> Vec<u8> {
    let mut body: Value = serde_json::from_slice(&asked.body).unwrap_or_default();
    body[field] = value;
    body.to_string().into_bytes()
}

/// With another prompt: of a chat, with that as its messages.
fn prompt(asked: &Asked, value: Value) -> Vec<u8> {
    let body: Value = serde_json::from_slice(&asked.body).unwrap_or_default();
    let field = match body.get("messages") {
        Some(_) => "messages",
        None => "prompt",
    };
    with(asked, field, value)
}

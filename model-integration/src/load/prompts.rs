//! Bodies of requests. The body of a request depends on the seed, the level and its number alone,
//! so that every run sends the same ones.

use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::{Map, Value, json};

use super::lengths::Lengths;
use crate::checkpoint::Tokenizer;
use crate::corpus::words;
use crate::record::load::Api;

/// Where prompts come from.
pub enum Source {
    /// Random words; a length counts words.
    Words(Lengths),
    /// Random tokens of a vocabulary: their ids, in a chat their text.
    Tokens {
        /// Tokens of a prompt.
        lengths: Lengths,
        /// Size of the vocabulary.
        vocabulary: u32,
        /// Gives the text of tokens.
        tokenizer: Box<Tokenizer>,
    },
    /// Fields of requests, used in turn.
    Listed(Vec<Map<String, Value>>),
}

/// A request.
#[derive(Clone, Debug)]
pub struct Asked {
    /// Its body.
    pub body: Bytes,
    /// Most tokens of its answer; `None` if that is left to the server.
    pub output_tokens: Option<u64>,
}

/// Makes the bodies of requests.
pub struct Prompts {
    /// What is asked for.
    pub api: Api,
    /// The model's name at the endpoint.
    pub model: String,
    /// Where prompts come from.
    pub source: Source,
    /// Tokens, or words, that all prompts begin with, beside their own.
    pub shared: usize,
    /// Most tokens of an answer.
    pub output: Lengths,
    /// Further fields; they replace others of the same name.
    pub fields: Map<String, Value>,
    /// Seed of lengths and tokens.
    pub seed: u64,
}

impl Prompts {
    /// Request `index` at `level`.
    ///
    /// # Errors
    /// If tokens have no text.
    pub fn request(&self, level: usize, index: usize) -> Result<Asked> {
        let mut random = self.random(1 + level as u64, index as u64);
        let mut body = Map::new();
        body.insert("model".to_owned(), self.model.clone().into());
        body.insert("stream".to_owned(), true.into());
        body.insert("stream_options".to_owned(), json!({"include_usage": true}));
        body.insert("temperature".to_owned(), 0.into());
        let output = self.output.of(index, &mut random);
        body.insert("max_tokens".to_owned(), output.into());
        match &self.source {
            Source::Listed(lines) => body.extend(lines[index % lines.len()].clone()),
            Source::Words(lengths) => {
                let length = lengths.of(index, &mut random);
                let shared = text(self.shared, &mut self.random(0, 0));
                let own = text(length, &mut random);
                self.put(&mut body, shared + &own);
            }
            Source::Tokens {
                lengths,
                vocabulary,
                tokenizer,
            } => {
                let length = lengths.of(index, &mut random);
                let drawn = |count, random: &mut ChaCha8Rng| -> Vec<u32> {
                    (0..count)
                        .map(|_| random.random_range(0..*vocabulary))
                        .collect()
                };
                let mut tokens = drawn(self.shared, &mut self.random(0, 0));
                tokens.extend(drawn(length, &mut random));
                match self.api {
                    Api::Completions => {
                        body.insert("prompt".to_owned(), tokens.into());
                    }
                    Api::Chat => self.put(&mut body, tokenizer.decode(&tokens, true)?),
                }
            }
        }
        body.extend(self.fields.clone());
        let most = body.get("max_completion_tokens").or(body.get("max_tokens"));
        Ok(Asked {
            output_tokens: most.and_then(Value::as_u64),
            body: serde_json::to_vec(&body)
                .context("a body is plain data")?
                .into(),
        })
    }

    fn random(&self, level: u64, index: u64) -> ChaCha8Rng {
        let mut random = ChaCha8Rng::seed_from_u64(self.seed);
        random.set_stream((level << 40) | index);
        random
    }

    fn put(&self, body: &mut Map<String, Value>, text: String) {
        match self.api {
            Api::Completions => body.insert("prompt".to_owned(), text.into()),
            Api::Chat => body.insert(
                "messages".to_owned(),
                json!([{"role": "user", "content": text}]),
            ),
        };
    }
}

/// Random words of the corpus.
fn text(count: usize, random: &mut impl Rng) -> String {
    let lists = [words::TOYS, words::PLACES, words::ANIMALS, words::FOODS];
    let mut text = String::new();
    for _ in 0..count {
        let list = lists[random.random_range(0..lists.len())];
        text += list[random.random_range(0..list.len())];
        text.push(' ');
    }
    text
}

/// Reads requests from a file: in each line a text, or an object with the fields of a request.
///
/// # Errors
/// With the line, if the file cannot be read or a line has no prompt for the API.
pub fn listed(path: &Path, api: Api) -> Result<Source> {
    let name = path.display();
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read `{name}`"))?;
    let mut requests = Vec::new();
    for (index, line) in text.lines().enumerate() {
        if line.trim().is_empty() {
            continue;
        }
        let request = request(line, api);
        requests.push(request.with_context(|| format!("`{name}` line {}", index + 1))?);
    }
    ensure!(!requests.is_empty(), "`{name}` has no request");
    Ok(Source::Listed(requests))
}

fn request(line: &str, api: Api) -> Result<Map<String, Value>> {
    let field = match api {
        Api::Completions => "prompt",
        Api::Chat => "messages",
    };
    let value: Value = serde_json::from_str(line)
        .with_context(|| format!("expected a JSON string, or an object with `{field}`"))?;
    match (value, api) {
        (Value::String(text), Api::Completions) => {
            Ok(Map::from_iter([(field.to_owned(), text.into())]))
        }
        (Value::String(text), Api::Chat) => {
            let messages = json!([{"role": "user", "content": text}]);
            Ok(Map::from_iter([(field.to_owned(), messages)]))
        }
        (Value::Object(fields), _) if fields.contains_key(field) => Ok(fields),
        _ => bail!("expected a JSON string, or an object with `{field}`"),
    }
}

//! A toy tokenizer and a toy model, small enough to predict every number.
#![allow(dead_code, reason = "each test binary uses its own part")]

use std::cell::{Cell, RefCell};
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::sync::atomic::{AtomicBool, Ordering};

use mxlab::config::QuantConfig;
use mxlab::engine::{
    CausalModel, Engine, Footprint, Generator, ModelInfo, Request, Room, Score, Tokenize,
};

/// The token of `<s>`.
pub const BOS: u32 = 1;
/// Offset of the token of a letter with the space before it, above the letter's own.
pub const JOINED: u32 = 0x0020_0000;

/// One token per character, except that a space joins the letter after it.
pub struct CharTokenizer {
    /// Whether special tokens are added on request.
    pub adds_bos: bool,
}

impl Default for CharTokenizer {
    fn default() -> Self {
        Self { adds_bos: true }
    }
}

impl Tokenize for CharTokenizer {
    fn encode(&self, text: &str, add_special_tokens: bool) -> anyhow::Result<Vec<u32>> {
        let mut tokens = Vec::new();
        if add_special_tokens && self.adds_bos {
            tokens.push(BOS);
        }
        let text = text.replace("<s>", "\u{1}");
        let mut characters = text.chars().peekable();
        while let Some(character) = characters.next() {
            let joins = character == ' ' && characters.peek().is_some_and(|c| c.is_alphabetic());
            tokens.push(match characters.next_if(|_| joins) {
                Some(letter) => JOINED + u32::from(letter),
                None => u32::from(character),
            });
        }
        Ok(tokens)
    }

    fn decode(&self, _: &[u32]) -> anyhow::Result<String> {
        anyhow::bail!("the toy does not decode")
    }

    fn prefix_token(&self) -> Option<(u32, String)> {
        Some((BOS, "<s>".into()))
    }
}

/// A real tokenizer whose BOS is `<s>`.
pub struct Hf(pub tokenizers::Tokenizer);

impl Tokenize for Hf {
    fn encode(&self, text: &str, add_special_tokens: bool) -> anyhow::Result<Vec<u32>> {
        let encoding = self.0.encode(text, add_special_tokens);
        Ok(encoding
            .map_err(anyhow::Error::from_boxed)?
            .get_ids()
            .to_vec())
    }

    fn decode(&self, tokens: &[u32]) -> anyhow::Result<String> {
        let text = self.0.decode(tokens, true);
        text.map_err(anyhow::Error::from_boxed)
    }

    fn prefix_token(&self) -> Option<(u32, String)> {
        Some((BOS, "<s>".into()))
    }
}

/// An engine whose scores are a hash of tokens, configuration and the *whole batch*, so another
/// composition of the batch gives other scores.
pub struct ToyEngine {
    info: ModelInfo,
    tokenizer: CharTokenizer,
    /// Every scored sequence, in order.
    pub scored: RefCell<Vec<Vec<u32>>>,
    /// Number of sequences after which `stop` is set, as by Ctrl-C.
    pub stop_after: Cell<usize>,
    /// The `stop` flag of the evaluation.
    pub stop: AtomicBool,
}

impl ToyEngine {
    /// An engine that takes `max_length` tokens.
    pub fn new(max_length: usize) -> Self {
        Self {
            info: ModelInfo {
                device: "toy".to_owned(),
                name: "toy/model".into(),
                fingerprint: "f00d".into(),
                parameters: 42,
                random_weights: false,
                stored_weights: None,
                stored_inputs: None,
                dtype: "float32".into(),
                softmax_dtype: "float32".into(),
                max_length,
                end_tokens: Vec::new(),
                notes: Vec::new(),
            },
            tokenizer: CharTokenizer::default(),
            scored: RefCell::new(Vec::new()),
            stop_after: Cell::new(usize::MAX),
            stop: AtomicBool::new(false),
        }
    }

    /// Changes the engine's info.
    pub fn with_info(mut self, change: impl FnOnce(&mut ModelInfo)) -> Self {
        change(&mut self.info);
        self
    }
}

impl Engine for ToyEngine {
    fn info(&self) -> &ModelInfo {
        &self.info
    }

    fn tokenizer(&self) -> &dyn Tokenize {
        &self.tokenizer
    }

    fn check(&self, config: &QuantConfig) -> anyhow::Result<()> {
        Ok(config.check_layers(2)?)
    }

    fn load(&self, config: &QuantConfig) -> anyhow::Result<Box<dyn CausalModel + '_>> {
        Ok(Box::new(ToyModel {
            engine: self,
            config: config.describe(),
        }))
    }

    fn vocabulary(&self) -> usize {
        0x0040_0000
    }

    fn eos_tokens(&self) -> &[u32] {
        &[]
    }

    fn generator(&self, _: &QuantConfig, _: Room) -> anyhow::Result<Box<dyn Generator + '_>> {
        anyhow::bail!("the toy does not generate")
    }

    fn footprint(&self, config: &QuantConfig) -> anyhow::Result<Footprint> {
        Ok(Footprint {
            weight_bytes: if config.weights.is_some() {
                1 << 19
            } else {
                1 << 21
            },
            kv_bytes_per_token: if config.keys.is_some() { 136 } else { 512 },
            kv: None,
            packed: None,
            stand_ins: Vec::new(),
            integer_products: 0,
            operands: None,
        })
    }
}

struct ToyModel<'a> {
    engine: &'a ToyEngine,
    config: String,
}

impl CausalModel for ToyModel<'_> {
    fn score(&mut self, batch: &[Request]) -> anyhow::Result<Vec<Score>> {
        let mut scored = self.engine.scored.borrow_mut();
        let score = |request: &Request| {
            let mut hasher = DefaultHasher::new();
            (&request.tokens, &self.config).hash(&mut hasher);
            for other in batch {
                other.tokens.hash(&mut hasher);
            }
            let hash = hasher.finish();
            Score {
                loglikelihood: -((hash >> 40) as f64) / 1e6,
                is_greedy: !hash.is_multiple_of(3),
                shortfall: f64::from(u8::from(hash.is_multiple_of(3))),
            }
        };
        scored.extend(batch.iter().map(|request| request.tokens.clone()));
        if scored.len() >= self.engine.stop_after.get() {
            self.engine.stop.store(true, Ordering::Relaxed);
        }
        Ok(batch.iter().map(score).collect())
    }

    fn trace(&mut self, _request: &Request) -> anyhow::Result<()> {
        Ok(())
    }
}

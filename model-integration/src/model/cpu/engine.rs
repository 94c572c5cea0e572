//! The CPU engine: a checkpoint that scores and continues token sequences under any configuration.

use anyhow::{Context, Result};
use mxlab_harness::measure::EnergyMeter;
use mxlab_kernels::cpu::Path;
use mxlab_kernels::format::FloatType;
use rayon::prelude::*;

use super::generator::CpuGenerator;
use super::stepper::CpuStepper;
use super::{Cache, Cpu};
use crate::chat::Message;
use crate::checkpoint::{Checkpoint, Tokenizer};
use crate::config::QuantConfig;
use crate::engine::{
    CacheRoom, CausalModel, Engine, Footprint, Generator, KvFootprint, ModelInfo, Request, Room,
    Score, Stepper, Tokenize,
};
use crate::model::load::{Rotating, input, load};
use crate::model::packed_weights::packed_weights;
use crate::model::score::score;
use crate::model::stored_formats::{stored_formats, with_stored_formats};
use crate::model::{Batch, Llama, Reach, Rope, context};

/// Initial length of the rotary tables; they grow with longer sequences.
const FIRST_POSITIONS: usize = 512;

/// Approximate number of tokens of the part of a batch that one thread runs through the whole
/// model: few enough that activations stay in the core's caches, enough to amortise widening the
/// weights.
const PART_TOKENS: usize = 512;

/// A checkpoint on the CPU.
pub struct CpuEngine {
    checkpoint: Checkpoint,
    tokenizer: Tokenizer,
    engine: Cpu,
    softmax_dtype: FloatType,
    info: ModelInfo,
}

impl CpuEngine {
    /// Runs `checkpoint` in `dtype` (its own if `None`), and takes log-softmax in
    /// `softmax_dtype`.
    ///
    /// # Errors
    /// When the tokenizer is broken or does not fit the model.
    pub fn new(
        checkpoint: Checkpoint,
        dtype: Option<FloatType>,
        softmax_dtype: Option<FloatType>,
    ) -> Result<Self> {
        let tokenizer = checkpoint.tokenizer()?;
        let dtype = dtype.unwrap_or(checkpoint.config().dtype);
        let softmax_dtype = softmax_dtype.unwrap_or(FloatType::F32);
        let stored = stored_formats(&checkpoint)?;
        let info = ModelInfo {
            device: "cpu".to_owned(),
            name: checkpoint.label().to_owned(),
            fingerprint: checkpoint.fingerprint(),
            parameters: checkpoint.parameters().elements(),
            random_weights: checkpoint.has_random_weights(),
            stored_weights: stored.weights,
            stored_inputs: stored.inputs,
            dtype: dtype.to_string(),
            softmax_dtype: softmax_dtype.to_string(),
            max_length: checkpoint.config().max_position_embeddings,
            end_tokens: checkpoint.config().eos_token_ids.clone(),
            notes: [checkpoint.notes(), tokenizer.notes()].concat(),
        };
        Ok(Self {
            checkpoint,
            tokenizer,
            engine: Cpu::new(dtype),
            softmax_dtype,
            info,
        })
    }

    /// The same engine, multiplying with AMX.
    #[must_use]
    pub fn with_amx(mut self) -> Self {
        self.engine = self.engine.by(Path::Amx);
        self.info.device = "cpu, amx".to_owned();
        self
    }
}

impl CpuEngine {
    /// The model under a configuration, with rotary tables for `positions` positions.
    fn llama(&self, config: &QuantConfig, positions: usize) -> Result<Llama<Cpu>> {
        self.check(config)?;
        load(&self.engine, &self.checkpoint, config, positions)
            .with_context(|| format!("loading {} as `{}`", self.info.name, config.name))
    }
}

impl Engine for CpuEngine {
    fn info(&self) -> &ModelInfo {
        &self.info
    }

    fn tokenizer(&self) -> &dyn Tokenize {
        &self.tokenizer
    }

    fn check(&self, config: &QuantConfig) -> Result<()> {
        config.check_layers(self.checkpoint.config().num_hidden_layers)?;
        let shape = self.checkpoint.config();
        (config.kv).check(shape.max_position_embeddings, shape.head_dim)?;
        let complete = with_stored_formats(&self.checkpoint, config, |_| true)?;
        packed_weights(self.checkpoint.parameters(), &complete)?;
        for format in config.formats().filter_map(|format| format.block()) {
            format
                .dialect()
                .check_source(self.engine.dtype())
                .with_context(|| format!("format {format}"))?;
        }
        Ok(())
    }

    fn load(&self, config: &QuantConfig) -> Result<Box<dyn CausalModel + '_>> {
        let llama = self.llama(config, FIRST_POSITIONS)?;
        Ok(Box::new(CpuModel { owner: self, llama }))
    }

    fn energy_meter(&self) -> Option<EnergyMeter> {
        EnergyMeter::of_cpu()
    }

    fn paths(&self) -> Option<String> {
        Some(self.engine.paths())
    }

    fn vocabulary(&self) -> usize {
        self.checkpoint.config().vocab_size
    }

    fn eos_tokens(&self) -> &[u32] {
        &self.checkpoint.config().eos_token_ids
    }

    fn generator(&self, config: &QuantConfig, room: Room) -> Result<Box<dyn Generator + '_>> {
        let shape = self.checkpoint.config();
        let llama = self.llama(config, room.tokens)?;
        Ok(Box::new(CpuGenerator::new(
            self.engine.clone(),
            llama,
            shape,
            room,
        )))
    }

    fn stepper(&self, config: &QuantConfig, room: CacheRoom) -> Result<Box<dyn Stepper + '_>> {
        let position = self.footprint(config)?.kv_bytes_per_token;
        let longest = self.info.max_length;
        let llama = self.llama(config, longest)?;
        let shape = self.checkpoint.config();
        let stepper = CpuStepper::new(self.engine.clone(), llama, shape, room, position)?;
        Ok(Box::new(stepper))
    }

    fn footprint(&self, config: &QuantConfig) -> Result<Footprint> {
        self.check(config)?;
        let shape = self.checkpoint.config();
        let given = config;
        let config = &with_stored_formats(&self.checkpoint, config, |_| true)?;
        let (mut weight_bytes, mut integer_products) = (0, 0);
        let parameters = self.checkpoint.parameters();
        for vector in parameters.stored().filter(|one| one.matrix().is_none()) {
            weight_bytes += self.checkpoint.view(vector)?.byte_len();
        }
        for (parameter, _, formats) in parameters.kept(config) {
            let configs = [given, config];
            let input = input(&self.engine, &self.checkpoint, configs, parameter, formats)?;
            integer_products += usize::from(input.is_codes());
            weight_bytes += match (formats.weight_format(config)?, parameter.matrix()) {
                (Some(format), Some([rows, cols])) => format.packed_bytes(rows, cols),
                (None, Some([rows, cols]))
                    if Rotating::new(&self.checkpoint, given, parameter)?.is_some() =>
                {
                    rows * cols * self.engine.dtype().bytes()
                }
                _ => self.checkpoint.view(parameter)?.byte_len(),
            };
        }
        let (mut kv_bytes_per_token, mut values, mut recent_bytes) = (0, 0, 0);
        for layer in 0..shape.num_hidden_layers {
            let (of_keys, of_values) = config.for_kv(layer);
            // Every head of a token is a separate row.
            let [row, rows] = [shape.head_dim, shape.num_key_value_heads];
            let exact = rows * row * self.engine.dtype().bytes();
            let [of_keys, of_values] = [of_keys, of_values].map(|format| match format {
                Some(format) => {
                    let (codes, scales) = format.packed_bytes(1, row);
                    let tensor_scale = size_of::<f32>() * usize::from(format.has_tensor_scale());
                    rows * (codes + scales + tensor_scale)
                }
                None => exact,
            });
            values += 2 * rows * row;
            kv_bytes_per_token += of_keys + of_values;
            recent_bytes += exact + of_values;
        }
        let (packed, stand_ins) = packed_weights(parameters, config)?;
        Ok(Footprint {
            weight_bytes: weight_bytes as u64,
            kv_bytes_per_token: kv_bytes_per_token as u64,
            kv: Some(KvFootprint {
                values_per_token: values as u64,
                first: config.kv.first as u64,
                recent: config.kv.key_recent as u64,
                recent_bytes_per_token: recent_bytes as u64,
                first_bytes_per_token: (values * self.engine.dtype().bytes()) as u64,
            }),
            packed,
            stand_ins,
            integer_products,
            operands: None,
        })
    }
}

/// A model under one configuration.
struct CpuModel<'a> {
    owner: &'a CpuEngine,
    llama: Llama<Cpu>,
}

impl CausalModel for CpuModel<'_> {
    fn score(&mut self, requests: &[Request]) -> Result<Vec<Score>> {
        let longest = requests.iter().map(|request| request.tokens.len()).max();
        let longest = longest.unwrap_or(1);
        self.make_room(longest);
        let mut scores = Vec::with_capacity(requests.len());
        let reach = |request: &Request| self.reach(request);
        for alike in requests.chunk_by(|a, b| reach(a) == reach(b)) {
            let parts: Vec<Vec<Score>> = alike
                .par_chunks(PART_TOKENS.div_ceil(longest))
                .map(|part| self.score_part(part))
                .collect::<Result<_>>()?;
            scores.extend(parts.into_iter().flatten());
        }
        Ok(scores)
    }

    fn trace(&mut self, request: &Request) -> Result<()> {
        self.make_room(request.tokens.len());
        let input = &request.tokens[..request.tokens.len() - 1];
        let mut batch = Batch::whole([input]);
        batch.reach = self.reach(request);
        let watching = self.owner.engine.watching();
        let rows = batch.ends();
        (self.llama).logits(&watching, &batch, &mut Cache::none(), &rows)?;
        Ok(())
    }
}

impl CpuModel<'_> {
    fn reach(&self, request: &Request) -> Reach {
        context::reach(self.owner.checkpoint.config(), request.tokens.len() - 1)
    }

    /// Scores part of a batch in one forward pass. All sequences have the same reach.
    fn score_part(&self, requests: &[Request]) -> Result<Vec<Score>> {
        let inputs = requests
            .iter()
            .map(|request| &request.tokens[..request.tokens.len() - 1]);
        let mut batch = Batch::whole(inputs);
        batch.reach = requests
            .first()
            .map(|first| self.reach(first))
            .unwrap_or_default();
        let mut rows = Vec::new();
        let mut spans = Vec::with_capacity(requests.len());
        let mut end = 0;
        for request in requests {
            end += request.tokens.len() - 1;
            let start = rows.len();
            rows.extend((end - request.targets..end).map(|row| row as u32));
            spans.push(start..rows.len());
        }
        let mut cache = Cache::none();
        let engine = &self.owner.engine;
        let logits = self.llama.logits(engine, &batch, &mut cache, &rows)?;
        let vocabulary = logits.features();
        let scores = requests.par_iter().zip(spans).map(|(request, span)| {
            let targets = &request.tokens[request.tokens.len() - request.targets..];
            let logits = &logits.values()[span.start * vocabulary..span.end * vocabulary];
            score(logits, targets, self.owner.softmax_dtype)
        });
        Ok(scores.collect())
    }

    /// Extends the rotary tables to `length` positions.
    fn make_room(&mut self, length: usize) {
        if length > self.llama.rope.positions() {
            let shape = self.owner.checkpoint.config();
            let rope = Rope::new(shape, length.next_power_of_two());
            self.llama.rope = rope.rounded(self.owner.engine.dtype());
        }
    }
}

impl Tokenize for Tokenizer {
    fn encode(&self, text: &str, add_special_tokens: bool) -> Result<Vec<u32>> {
        Ok(Tokenizer::encode(self, text, add_special_tokens)?)
    }

    fn decode(&self, tokens: &[u32]) -> Result<String> {
        Ok(Tokenizer::decode(self, tokens, true)?)
    }

    fn token_text(&self, token: u32) -> Result<String> {
        Ok(Tokenizer::decode(self, &[token], false)?)
    }

    fn chat(&self, messages: &[Message]) -> Result<String> {
        Ok(Tokenizer::chat(self, messages)?)
    }

    fn chat_template(&self) -> Option<&str> {
        Tokenizer::chat_template(self)
    }

    fn prefix_token(&self) -> Option<(u32, String)> {
        let id = Tokenizer::prefix_token(self)?;
        let text = Tokenizer::decode(self, &[id], false).ok()?;
        Some((id, text))
    }

    fn eos_token(&self) -> Option<u32> {
        self.eos()
    }
}

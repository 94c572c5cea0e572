//! A request as it is run.

use std::time::Instant;

use mxlab_kernels::format::random_at;
use mxlab_kernels::reference::Sampling;
use serde_json::Value;
use tokio::sync::mpsc::UnboundedSender;

use super::Served;
use super::error::ApiError;
use super::fields::{Fields, unexpected};
use super::prompt::{Prompt, chat, prompts};
use crate::engine::Sampler;
use crate::serve::job::{Event, Job};
use crate::serve::sampling::Choice;

/// Most answers of a request, over all its prompts.
const MOST_ANSWERS: usize = 256;
/// Most stop texts, and most bytes of one.
const MOST_STOPS: usize = 16;
const LONGEST_STOP: usize = 1024;
/// Most biases.
const MOST_BIASES: usize = 1024;
/// Most alternatives for each token.
const MOST_LIKELIEST: i64 = 20;

/// The two kinds of requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `/v1/completions`.
    Completion,
    /// `/v1/chat/completions`.
    Chat,
}

/// Fields of OpenAI's API that would change the answer and are not supported. Values that ask for
/// nothing pass.
const UNSUPPORTED: [&str; 13] = [
    "audio",
    "best_of",
    "function_call",
    "functions",
    "modalities",
    "moderation",
    "reasoning_effort",
    "response_format",
    "suffix",
    "tool_choice",
    "tools",
    "verbosity",
    "web_search_options",
];

/// Fields of OpenAI's API that change no answer.
const WITHOUT_EFFECT: [&str; 9] = [
    "metadata",
    "parallel_tool_calls",
    "prediction",
    "prompt_cache_key",
    "prompt_cache_retention",
    "safety_identifier",
    "service_tier",
    "store",
    "user",
];

/// A request as it is run.
#[derive(Clone, Debug)]
pub struct Call {
    /// What was asked.
    pub kind: Kind,
    /// Prompts.
    pub prompts: Vec<Prompt>,
    /// Answers for each prompt.
    pub answers: usize,
    /// Whether the answer comes in pieces.
    pub streams: bool,
    /// Whether the last piece has the usage.
    pub includes_usage: bool,
    /// Whether answers begin with the prompt.
    pub echoes: bool,
    /// How many alternatives each token has; `None` for no log-probabilities.
    pub log_probabilities: Option<usize>,
    /// Whether answers have token ids.
    pub returns_ids: bool,
    /// Names of fields that nobody knows.
    pub ignored: Vec<String>,
    max_tokens: Option<usize>,
    choice: Choice,
    stop: Vec<String>,
    ignore_eos: bool,
}

impl Call {
    /// Reads the body of a request. Token ids, lengths and limits fit the model then.
    ///
    /// # Errors
    /// With the field, what it has and what was expected.
    pub fn parse(kind: Kind, body: &[u8], served: &Served) -> Result<Self, ApiError> {
        let mut fields = Fields::parse(body, served)?;
        check_model(&mut fields, served)?;
        let answers = fields.integer("n", 1..=MOST_ANSWERS as i64)?.unwrap_or(1) as usize;
        for name in UNSUPPORTED {
            refuse_unless_neutral(&mut fields, name, answers)?;
        }
        let longest = served.longest as i64;
        let max_tokens = fields.integer("max_tokens", 0..=longest)?;
        let max_tokens = fields
            .integer("max_completion_tokens", 0..=longest)?
            .or(max_tokens);
        let (mut echoes, log_probabilities);
        let max_tokens = match kind {
            Kind::Completion => {
                echoes = fields.boolean("echo")?.unwrap_or(false);
                log_probabilities = fields.integer("logprobs", 0..=MOST_LIKELIEST)?;
                Some(max_tokens.unwrap_or(16))
            }
            Kind::Chat => {
                echoes = false;
                let logs = fields.boolean("logprobs")?.unwrap_or(false);
                let likeliest = fields.integer("top_logprobs", 0..=MOST_LIKELIEST)?;
                if likeliest.is_some() && !logs {
                    let message = "`top_logprobs` needs `logprobs`: true";
                    return Err(ApiError::field("top_logprobs", message));
                }
                log_probabilities = logs.then(|| likeliest.unwrap_or(0));
                max_tokens
            }
        };
        let prompts = match kind {
            Kind::Completion => prompts(&mut fields, served)?,
            Kind::Chat => vec![chat(&mut fields, served)?],
        };
        if max_tokens == Some(0) && !echoes {
            let message = "`max_tokens` is 0, which leaves nothing to answer; expected at least 1, \
                           or `echo`: true";
            return Err(ApiError::field("max_tokens", message));
        }
        if prompts.len() * answers > MOST_ANSWERS {
            let message = format!(
                "{} prompts with {answers} answers each; expected at most {MOST_ANSWERS} answers",
                prompts.len()
            );
            return Err(ApiError::field("n", message));
        }
        for prompt in &prompts {
            check_length(prompt.tokens.len(), max_tokens, served)?;
        }
        let streams = fields.boolean("stream")?.unwrap_or(false);
        let mut options = fields.inside("stream_options")?;
        if options.is_some() && !streams {
            let message = "`stream_options` needs `stream`: true";
            return Err(ApiError::field("stream_options", message));
        }
        let includes_usage = match &mut options {
            Some(options) => options.boolean("include_usage")?.unwrap_or(false),
            None => false,
        };
        echoes &= kind == Kind::Completion;
        Ok(Self {
            kind,
            prompts,
            answers,
            streams,
            includes_usage,
            echoes,
            log_probabilities: log_probabilities.map(|most| most as usize),
            returns_ids: fields.boolean("return_token_ids")?.unwrap_or(false),
            max_tokens: max_tokens.map(|most| most as usize),
            choice: choice(&mut fields, served)?,
            stop: stop(&mut fields)?,
            ignore_eos: fields.boolean("ignore_eos")?.unwrap_or(false),
            ignored: {
                let left = fields.left();
                let unknown = left.filter(|name| !WITHOUT_EFFECT.contains(name));
                unknown.map(str::to_owned).collect()
            },
        })
    }

    /// The sequences to run, whose events go to `events`.
    pub fn jobs(
        &self,
        served: &Served,
        [arrival, deadline]: [Instant; 2],
        events: &UnboundedSender<(usize, Event)>,
    ) -> Vec<Job> {
        let each = self.prompts.iter();
        let each = each.flat_map(|prompt| std::iter::repeat_n(prompt, self.answers));
        let job = |(index, prompt): (usize, &Prompt)| {
            let room = served.longest - prompt.tokens.len();
            Job {
                prompt: prompt.tokens.clone(),
                max_tokens: self.max_tokens.unwrap_or(room),
                choice: Choice {
                    number: index,
                    ..self.choice.clone()
                },
                stop: self.stop.clone(),
                ignore_eos: self.ignore_eos,
                log_probabilities: self.log_probabilities,
                scores_prompt: self.echoes && self.log_probabilities.is_some(),
                index,
                arrival,
                deadline,
                events: events.clone(),
            }
        };
        each.enumerate().map(job).collect()
    }
}

fn check_model(fields: &mut Fields, served: &Served) -> Result<(), ApiError> {
    match fields.text("model")? {
        Some(name) if name != served.name => {
            let message = format!("no model {name:?}; this server has `{}`", served.name);
            Err(ApiError {
                status: 404,
                ..ApiError::field("model", message)
            }
            .with_code("model_not_found"))
        }
        _ => Ok(()),
    }
}

fn check_length(prompt: usize, most: Option<i64>, served: &Served) -> Result<(), ApiError> {
    let longest = served.longest;
    if prompt + most.unwrap_or(1) as usize <= longest {
        return Ok(());
    }
    let asked = most.map_or_else(
        || "leaves no room for an answer".to_owned(),
        |most| format!("and `max_tokens` {most} make {}", prompt + most as usize),
    );
    let message = format!(
        "a prompt of {prompt} tokens {asked}; expected at most {longest} together: shorten one of \
         them"
    );
    Err(ApiError::field("prompt", message).with_code("context_length_exceeded"))
}

/// Refuses a field that is not supported, unless its value asks for nothing.
fn refuse_unless_neutral(fields: &mut Fields, name: &str, n: usize) -> Result<(), ApiError> {
    let Some(value) = fields.take(name) else {
        return Ok(());
    };
    let is_neutral = match &value {
        Value::Bool(value) => !value,
        Value::String(text) => {
            matches!(text.as_str(), "" | "none" | "auto") || name == "verbosity" && text == "medium"
        }
        Value::Array(items) => items
            .iter()
            .all(|item| name == "modalities" && item == "text"),
        Value::Object(map) => {
            map.is_empty() || name == "response_format" && map.get("type") == Some(&"text".into())
        }
        Value::Number(number) => name == "best_of" && number.as_u64() == Some(n as u64),
        Value::Null => true,
    };
    match is_neutral {
        true => Ok(()),
        false => {
            let message = format!("`{name}` is not supported; leave it out");
            Err(ApiError::field(name, message).with_code("unsupported_parameter"))
        }
    }
}

fn choice(fields: &mut Fields, served: &Served) -> Result<Choice, ApiError> {
    let temperature = fields.number("temperature", 0.0..=100.0)?.unwrap_or(1.0);
    let top_p = fields.number("top_p", 0.0..=1.0)?.unwrap_or(1.0);
    let seed = fields.integer("seed", i64::MIN..=i64::MAX)?;
    let seed = seed.map_or_else(rand::random, |seed| {
        let [low, high] = [seed as u32, (seed as u64 >> 32) as u32];
        match high {
            0 => low,
            // All 64 bits count.
            high => random_at(low, u64::from(high)),
        }
    });
    let top_k = fields.integer("top_k", -1..=i64::from(u32::MAX))?;
    let sampling = Sampling {
        temperature,
        // The likeliest tokens alone.
        top_p: top_p.max(f32::MIN_POSITIVE),
    };
    Ok(Choice {
        sampler: Sampler { sampling, seed },
        number: 0,
        // 0 and -1 are clients' words for all.
        top_k: top_k.filter(|&top_k| top_k > 0).map(|top_k| top_k as usize),
        min_p: fields.number("min_p", 0.0..=1.0)?.unwrap_or(0.0),
        bias: bias(fields, served)?,
        presence: fields
            .number("presence_penalty", -2.0..=2.0)?
            .unwrap_or(0.0),
        frequency: fields
            .number("frequency_penalty", -2.0..=2.0)?
            .unwrap_or(0.0),
        repetition: fields
            .number("repetition_penalty", 0.01..=100.0)?
            .unwrap_or(1.0),
    })
}

fn bias(fields: &mut Fields, served: &Served) -> Result<Vec<(u32, f32)>, ApiError> {
    let name = "logit_bias";
    let map = match fields.take(name) {
        None => return Ok(Vec::new()),
        Some(Value::Object(map)) => map,
        Some(other) => return Err(unexpected(name, &other, "an object")),
    };
    if map.len() > MOST_BIASES {
        let message = format!(
            "`{name}` has {} tokens; expected at most {MOST_BIASES}",
            map.len()
        );
        return Err(ApiError::field(name, message));
    }
    let entry = |(token, bias): (&String, &Value)| {
        let last = served.vocabulary.saturating_sub(1);
        let id = token.parse::<u32>().ok().filter(|&id| id as usize <= last);
        let id = id.ok_or_else(|| {
            let message = format!("`{name}` has {token:?}; expected token ids from 0 to {last}");
            ApiError::field(name, message)
        })?;
        let number = bias.as_f64().filter(|bias| (-100.0..=100.0).contains(bias));
        let number = number
            .ok_or_else(|| unexpected(name, bias, "biases from -100 to 100 for each token"))?;
        Ok((id, number as f32))
    };
    map.iter().map(entry).collect()
}

fn stop(fields: &mut Fields) -> Result<Vec<String>, ApiError> {
    let name = "stop";
    let stops = match fields.take(name) {
        None => return Ok(Vec::new()),
        Some(Value::Array(stops)) => stops,
        Some(one) => vec![one],
    };
    if stops.len() > MOST_STOPS {
        let message = format!(
            "`{name}` has {} texts; expected at most {MOST_STOPS}",
            stops.len()
        );
        return Err(ApiError::field(name, message));
    }
    let text = |value: Value| match value {
        Value::String(text) if (1..=LONGEST_STOP).contains(&text.len()) => Ok(text),
        Value::String(text) => {
            let message = format!(
                "`{name}` has a text of {} bytes; expected 1 to {LONGEST_STOP}",
                text.len()
            );
            Err(ApiError::field(name, message))
        }
        other => Err(unexpected(name, &other, "a text or an array of texts")),
    };
    stops.into_iter().map(text).collect()
}

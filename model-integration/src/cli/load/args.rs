//! The flags of `mxlab load`.

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::{Args, ValueEnum};
use mxlab_kernels::cpu::Isa;
use serde_json::{Map, Value};

use crate::cli::model::open_checkpoint;
use crate::load::lengths::Lengths;
use crate::load::prompts::{self, Prompts, Source};
use crate::record::load::Api;

#[derive(Args)]
pub struct LoadArgs {
    /// URL of the server; its path is /v1 if it has none
    #[arg(value_name = "URL")]
    pub url: String,
    #[command(flatten)]
    pub load: LevelArgs,
    #[command(flatten)]
    pub soak: SoakArgs,
    #[command(flatten)]
    pub request: RequestArgs,
    #[command(flatten)]
    pub output: OutputArgs,
    /// Takes the place of the flag that all commands have: load computes nothing.
    #[arg(long, hide = true)]
    pub isa: Option<Isa>,
}

#[derive(Args)]
#[command(next_help_heading = "Load")]
pub struct LevelArgs {
    /// Closed loop: so many requests in flight, one level after another [default: 1, without
    /// --rate]
    #[arg(long, value_name = "N", value_delimiter = ',', value_parser = count)]
    pub concurrency: Vec<usize>,
    /// Open loop: so many requests a second, at random times (a Poisson process). Latencies count
    /// from when a request was due. With --concurrency too, these levels follow those
    #[arg(long, value_name = "R", value_delimiter = ',', value_parser = rate,
          allow_negative_numbers = true)]
    pub rate: Vec<f64>,
    /// Measured requests at each level
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = count)]
    pub requests: usize,
    /// Seconds in which measured requests begin; ends a level before it has --requests
    #[arg(long, value_name = "S", value_parser = seconds, allow_negative_numbers = true)]
    pub duration: Option<f64>,
    /// Requests before the measured ones [default: one for each in flight, or as many as arrive in
    /// one second]
    #[arg(long, value_name = "N")]
    pub warm_up: Option<usize>,
    /// Most requests in flight of an open loop; others wait, and their time counts
    #[arg(long, value_name = "N", default_value_t = 512, value_parser = count)]
    pub most_in_flight: usize,
    /// Seconds after which a request has failed
    #[arg(long, value_name = "S", default_value_t = 600.0, value_parser = seconds,
          allow_negative_numbers = true)]
    pub timeout: f64,
    /// Send a request again after status 429 or 503, when Retry-After says, at most so often
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub retries: u32,
    /// Count the requests within these latencies, such as ttft=200ms,tpot=50ms,e2e=2s
    #[arg(long, value_name = "NAME=TIME", value_delimiter = ',', value_parser = target)]
    pub target: Vec<(Latency, f64)>,
}

#[derive(Args)]
#[command(next_help_heading = "Soak")]
pub struct SoakArgs {
    /// Soak instead: as many clients as --concurrency, by default 16, until --requests are
    /// answered. Some of them leave, are slow, send malformed bodies or are killed
    #[arg(
        long,
        conflicts_with_all = ["rate", "duration", "warm_up", "retries", "target", "fields"]
    )]
    pub soak: bool,
    /// Process of the server, on this machine, whose memory is watched
    #[arg(long, value_name = "PID", requires = "soak")]
    pub pid: Option<u32>,
    /// Fail if the server keeps so much more memory after the first tenth of the answers
    #[arg(long, value_name = "PERCENT", default_value_t = 2.0)]
    pub most_growth: f64,
}

#[derive(Args)]
#[command(next_help_heading = "Requests")]
pub struct RequestArgs {
    /// Name of the model in requests [default: the first that the server lists]
    #[arg(long, value_name = "NAME")]
    pub model: Option<String>,
    /// What is asked for
    #[arg(long, value_enum, value_name = "API", default_value = "completions")]
    pub api: Api,
    /// Length of prompts: N, LEAST-MOST, normal:MEAN:DEVIATION, lognormal:MEDIAN:SIGMA, or @FILE
    /// with a number in each line. Without --tokenizer it counts words
    #[arg(long, value_name = "LENGTH", default_value = "128")]
    pub prompt_tokens: Lengths,
    /// Tokens that all prompts begin with, beside their own
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub shared_tokens: usize,
    /// Prompts are random tokens of this model, as for `mxlab generate --model`; in a chat, the
    /// text of such tokens
    #[arg(long, value_name = "DIR|FILE|NAME")]
    pub tokenizer: Option<String>,
    /// Prompts from a file, in turn: in each line a JSON string, or an object with the fields of a
    /// request
    #[arg(
        long,
        value_name = "FILE",
        conflicts_with_all = ["prompt_tokens", "tokenizer", "shared_tokens"]
    )]
    pub prompt_file: Option<PathBuf>,
    /// Most tokens of an answer, as --prompt-tokens
    #[arg(long, value_name = "LENGTH", default_value = "64")]
    pub output_tokens: Lengths,
    /// Ask for answers of exactly --output-tokens, by the field `ignore_eos`, which mxlab, vLLM and
    /// others know
    #[arg(long)]
    pub ignore_eos: bool,
    /// Further fields of each request, a JSON object
    #[arg(long, value_name = "JSON", value_parser = fields)]
    pub fields: Option<Map<String, Value>>,
    /// Seed of lengths, tokens and times
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub seed: u64,
    /// File with the API key [default: the variable OPENAI_API_KEY, if it is set]
    #[arg(long, value_name = "FILE")]
    pub api_key_file: Option<PathBuf>,
}

#[derive(Args)]
#[command(next_help_heading = "Output")]
pub struct OutputArgs {
    /// Output: a table, or the JSON record
    #[arg(long, value_enum, default_value_t)]
    pub format: OutputFormat,
    /// Also write the JSON record here, after each level; the same command measures the levels that
    /// it lacks
    #[arg(long, value_name = "FILE")]
    pub output_path: Option<PathBuf>,
    /// Discard an existing record and start over
    #[arg(long, requires = "output_path")]
    pub overwrite: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum OutputFormat {
    #[default]
    Text,
    Json,
}

#[derive(Clone, Copy, Debug)]
pub enum Latency {
    Ttft,
    Tpot,
    E2e,
}

fn count(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(count) if (1..=1_000_000).contains(&count) => Ok(count),
        _ => Err("expected a number from 1 to 1000000".to_owned()),
    }
}

fn rate(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(rate) if (1e-3..=1e5).contains(&rate) => Ok(rate),
        _ => Err("expected requests a second, 0.001 to 100000".to_owned()),
    }
}

fn seconds(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(seconds) if (1e-3..=1e6).contains(&seconds) => Ok(seconds),
        _ => Err("expected seconds, 0.001 to 1000000".to_owned()),
    }
}

fn target(text: &str) -> Result<(Latency, f64), String> {
    let wrong =
        || "expected ttft=TIME, tpot=TIME or e2e=TIME, such as ttft=200ms or e2e=2s".to_owned();
    let (name, time) = text.split_once('=').ok_or_else(wrong)?;
    let latency = match name {
        "ttft" => Latency::Ttft,
        "tpot" => Latency::Tpot,
        "e2e" => Latency::E2e,
        _ => return Err(wrong()),
    };
    let (time, unit) = match time.strip_suffix("ms") {
        Some(time) => (time, 1e-3),
        None => (time.strip_suffix('s').ok_or_else(wrong)?, 1.0),
    };
    let time: f64 = time.parse().map_err(|_| wrong())?;
    let is_time = time.is_finite() && time > 0.0;
    is_time.then_some((latency, time * unit)).ok_or_else(wrong)
}

fn fields(text: &str) -> Result<Map<String, Value>, String> {
    let fields = serde_json::from_str(text);
    fields.map_err(|error| format!("expected a JSON object: {error}"))
}

impl RequestArgs {
    /// The API key, if there is one.
    pub fn key(&self) -> Result<Option<String>> {
        match &self.api_key_file {
            None => Ok(std::env::var("OPENAI_API_KEY").ok()),
            Some(path) => {
                let key = std::fs::read_to_string(path);
                let key = key.with_context(|| format!("--api-key-file {}", path.display()))?;
                Ok(Some(key.trim().to_owned()))
            }
        }
    }

    /// Makes the bodies of requests.
    pub fn prompts(&self, model: String) -> Result<Prompts> {
        Ok(Prompts {
            api: self.api,
            model,
            source: self.source()?,
            shared: self.shared_tokens,
            output: self.output_tokens.clone(),
            fields: self.fields(),
            seed: self.seed,
        })
    }

    fn source(&self) -> Result<Source> {
        if let Some(path) = &self.prompt_file {
            return prompts::listed(path, self.api);
        }
        let lengths = self.prompt_tokens.clone();
        let Some(name) = &self.tokenizer else {
            return Ok(Source::Words(lengths));
        };
        let checkpoint = open_checkpoint(name).with_context(|| format!("--tokenizer {name}"))?;
        let vocabulary = checkpoint.config().vocab_size;
        Ok(Source::Tokens {
            lengths,
            vocabulary: u32::try_from(vocabulary).context("`vocab_size`")?,
            tokenizer: Box::new(checkpoint.tokenizer()?),
        })
    }

    /// The source of prompts in words.
    pub fn described(&self) -> String {
        if let Some(path) = &self.prompt_file {
            return format!("of {}", path.display());
        }
        let (length, shared) = (&self.prompt_tokens, self.shared_tokens);
        let of = match &self.tokenizer {
            None => "random words".to_owned(),
            Some(name) => format!("random tokens of {name}"),
        };
        match shared {
            0 => format!("{length} {of}"),
            _ => format!("{shared} shared and {length} {of}"),
        }
    }

    /// Further fields of each request.
    pub fn fields(&self) -> Map<String, Value> {
        let mut fields = Map::new();
        if self.ignore_eos {
            fields.insert("ignore_eos".to_owned(), true.into());
        }
        fields.extend(self.fields.clone().unwrap_or_default());
        fields
    }
}

//! `mxlab load`: puts load on an endpoint and prints latencies and rates.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use clap::{Args, ValueEnum};
use mxlab_harness::record::Environment;
use serde_json::{Map, Value};

use super::Done;
use super::interrupt::stop_on_signals;
use super::model::open_checkpoint;
use super::output::{Usage, print};
use crate::columns::aligned;
use crate::load::drive::{Job, drive};
use crate::load::endpoint::Endpoint;
use crate::load::exchange::Client;
use crate::load::lengths::Lengths;
use crate::load::prompts::{self, Api, Prompts, Source};
use crate::load::summary::summarise;
use crate::record;
use crate::record::load::{CountedBy, Level, LevelRecord, LoadRecord, LoadSettings, Targets};
use crate::report::serving::{HEADER, cells};

#[derive(Args)]
pub struct LoadArgs {
    /// URL of the server; its path is /v1 if it has none
    #[arg(value_name = "URL")]
    url: String,
    #[command(flatten)]
    load: LevelArgs,
    #[command(flatten)]
    request: RequestArgs,
    #[command(flatten)]
    output: OutputArgs,
}

#[derive(Args)]
#[command(next_help_heading = "Load")]
struct LevelArgs {
    /// Closed loop: so many requests in flight, one level after another [default: 1]
    #[arg(long, value_name = "N", value_delimiter = ',', value_parser = count)]
    concurrency: Vec<usize>,
    /// Open loop: so many requests a second, at random times (a Poisson process). Latencies count
    /// from when a request was due
    #[arg(long, value_name = "R", value_delimiter = ',', value_parser = rate)]
    rate: Vec<f64>,
    /// Measured requests at each level
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = count)]
    requests: usize,
    /// Seconds in which measured requests begin; ends a level before it has --requests
    #[arg(long, value_name = "S", value_parser = seconds)]
    duration: Option<f64>,
    /// Requests before the measured ones [default: one for each in flight, or those of a second]
    #[arg(long, value_name = "N")]
    warm_up: Option<usize>,
    /// Most requests in flight of an open loop; others wait, and their time counts
    #[arg(long, value_name = "N", default_value_t = 512, value_parser = count)]
    most_in_flight: usize,
    /// Seconds after which a request has failed
    #[arg(long, value_name = "S", default_value_t = 600.0, value_parser = seconds)]
    timeout: f64,
    /// Send a request again after status 429 or 503, when Retry-After says, at most so often
    #[arg(long, value_name = "N", default_value_t = 0)]
    retries: u32,
    /// Count the requests within these latencies, such as ttft=200ms,tpot=50ms,e2e=2s
    #[arg(long, value_name = "NAME=TIME", value_delimiter = ',', value_parser = target)]
    target: Vec<(Latency, f64)>,
}

#[derive(Args)]
#[command(next_help_heading = "Requests")]
struct RequestArgs {
    /// Name of the model in requests [default: the first that the server lists]
    #[arg(long, value_name = "NAME")]
    model: Option<String>,
    /// What is asked for
    #[arg(long, value_enum, value_name = "API", default_value = "completions")]
    api: Api,
    /// Length of prompts: N, LEAST-MOST, normal:MEAN:DEVIATION, lognormal:MEDIAN:SIGMA, or @FILE
    /// with a number in each line. Without --tokenizer it counts words
    #[arg(long, value_name = "LENGTH", default_value = "128")]
    prompt_tokens: Lengths,
    /// Tokens that all prompts begin with, beside their own
    #[arg(long, value_name = "N", default_value_t = 0)]
    shared_tokens: usize,
    /// Prompts are random tokens of this model, as for `mxlab generate --model`; in a chat, the
    /// text of such tokens
    #[arg(long, value_name = "DIR|FILE|NAME")]
    tokenizer: Option<String>,
    /// Prompts from a file, in turn: in each line a JSON string, or an object with the fields of a
    /// request
    #[arg(long, value_name = "FILE", conflicts_with_all = ["prompt_tokens", "tokenizer", "shared_tokens"])]
    prompt_file: Option<PathBuf>,
    /// Most tokens of an answer, as --prompt-tokens
    #[arg(long, value_name = "LENGTH", default_value = "64")]
    output_tokens: Lengths,
    /// Ask for answers of exactly --output-tokens, by the field `ignore_eos`, which mxlab, vLLM and
    /// others know
    #[arg(long)]
    ignore_eos: bool,
    /// Further fields of each request, a JSON object
    #[arg(long, value_name = "JSON", value_parser = fields)]
    fields: Option<Map<String, Value>>,
    /// Seed of lengths, tokens and times
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    /// File with the API key [default: the variable OPENAI_API_KEY, if it is set]
    #[arg(long, value_name = "FILE")]
    api_key_file: Option<PathBuf>,
}

#[derive(Args)]
#[command(next_help_heading = "Output")]
struct OutputArgs {
    /// Output: a table, or the JSON record
    #[arg(long, value_enum, default_value_t)]
    format: OutputFormat,
    /// Also write the JSON record here, after each level; the same command measures the levels that
    /// it lacks
    #[arg(long, value_name = "FILE")]
    output_path: Option<PathBuf>,
    /// Discard an existing record and start over
    #[arg(long, requires = "output_path")]
    overwrite: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum OutputFormat {
    #[default]
    Text,
    Json,
}

#[derive(Clone, Copy, Debug)]
enum Latency {
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
        None => (time.strip_suffix('s').unwrap_or(time), 1.0),
    };
    let time: f64 = time.parse().map_err(|_| wrong())?;
    let is_time = time.is_finite() && time > 0.0;
    is_time.then_some((latency, time * unit)).ok_or_else(wrong)
}

fn fields(text: &str) -> Result<Map<String, Value>, String> {
    let fields = serde_json::from_str(text);
    fields.map_err(|error| format!("expected a JSON object: {error}"))
}

/// Measures each level, and prints a table.
pub fn run(args: &LoadArgs) -> Result<Done> {
    let key = args.request.key()?;
    let endpoint = Endpoint::new(&args.url, key.as_deref());
    let endpoint = endpoint.map_err(|error| Usage(error.to_string()))?;
    let stop = stop_on_signals("stopping; finished levels are kept")?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the timers and sockets of the generator")?;
    let client = Client::new(endpoint, Duration::from_secs_f64(args.load.timeout));
    let model = match &args.request.model {
        Some(model) => model.clone(),
        None => runtime.block_on(first_model(&client))?,
    };
    let settings = args.settings(model);
    let mut record = args.begin(settings)?;
    let job = Arc::new(args.job(client, &record.settings)?);
    let levels = record.settings.levels.clone();
    for (number, &level) in levels.iter().enumerate().skip(record.levels.len()) {
        let driven = runtime.block_on(drive(&job, (number, level), &stop))?;
        let Some(outcomes) = driven else {
            eprintln!("interrupted: the same command resumes");
            return Ok(Done::Interrupted);
        };
        let measured = summarise(level, &outcomes, record.settings.targets);
        note(&measured);
        record.levels.push(measured);
        record.is_complete = record.levels.len() == levels.len();
        args.write(&record)?;
    }
    match args.output.format {
        OutputFormat::Json => print(&record::to_json(&record))?,
        OutputFormat::Text => {
            let rows: Vec<Vec<String>> = record.levels.iter().map(cells).collect();
            print(&aligned(1, &HEADER, &rows))?;
        }
    }
    let answered = |level: &LevelRecord| level.failed < level.requests;
    Ok(match record.levels.iter().all(answered) {
        true => Done::Ok,
        false => Done::WithFindings,
    })
}

/// The first model that the server lists.
async fn first_model(client: &Client) -> Result<String> {
    let url = &client.endpoint().url;
    let models = client.get("models").await;
    let models = models.with_context(|| {
        format!("`{url}` does not list its models; start the server, or give --model")
    })?;
    let name = models.pointer("/data/0/id").and_then(Value::as_str);
    let name = name.with_context(|| format!("`{url}` lists no model; give --model"))?;
    Ok(name.to_owned())
}

/// Prints what a reader of a level's figures should know.
fn note(level: &LevelRecord) {
    for (kind, failures) in &level.failures {
        let total = failures.measured + failures.others;
        eprintln!(
            "{}: {total} failed, {kind}: {}",
            level.level, failures.example
        );
    }
    if let Some(early) = level.ended_early.filter(|early| *early > 0) {
        eprintln!(
            "{}: {early} answers are shorter than asked; --ignore-eos asks for whole ones",
            level.level
        );
    }
    if level.counted_by == CountedBy::Events && level.failed < level.requests {
        eprintln!(
            "{}: the server counts no tokens; each event is taken for one",
            level.level
        );
    }
}

impl RequestArgs {
    fn key(&self) -> Result<Option<String>> {
        match &self.api_key_file {
            None => Ok(std::env::var("OPENAI_API_KEY").ok()),
            Some(path) => {
                let key = std::fs::read_to_string(path);
                let key = key.with_context(|| format!("--api-key-file {}", path.display()))?;
                Ok(Some(key.trim().to_owned()))
            }
        }
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
    fn described(&self) -> String {
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

    fn fields(&self) -> Map<String, Value> {
        let mut fields = Map::new();
        if self.ignore_eos {
            fields.insert("ignore_eos".to_owned(), true.into());
        }
        fields.extend(self.fields.clone().unwrap_or_default());
        fields
    }
}

impl LoadArgs {
    fn settings(&self, model: String) -> LoadSettings {
        let LevelArgs {
            concurrency, rate, ..
        } = &self.load;
        let mut levels: Vec<Level> = Vec::new();
        levels.extend(concurrency.iter().copied().map(Level::Concurrency));
        levels.extend(rate.iter().copied().map(Level::Rate));
        if levels.is_empty() {
            levels.push(Level::Concurrency(1));
        }
        let mut targets = Targets::default();
        for &(latency, time) in &self.load.target {
            match latency {
                Latency::Ttft => targets.ttft = Some(time),
                Latency::Tpot => targets.tpot = Some(time),
                Latency::E2e => targets.e2e = Some(time),
            }
        }
        LoadSettings {
            model,
            api: self.request.api,
            prompts: self.request.described(),
            output_tokens: self.request.output_tokens.to_string(),
            fields: self.request.fields(),
            levels,
            requests: self.load.requests,
            duration_seconds: self.load.duration,
            warm_up: self.load.warm_up,
            retries: self.load.retries,
            most_in_flight: self.load.most_in_flight,
            timeout_seconds: self.load.timeout,
            seed: self.request.seed,
            targets,
        }
    }

    fn job(&self, client: Client, settings: &LoadSettings) -> Result<Job> {
        Ok(Job {
            client,
            prompts: Prompts {
                api: settings.api,
                model: settings.model.clone(),
                source: self.request.source()?,
                shared: self.request.shared_tokens,
                output: self.request.output_tokens.clone(),
                fields: settings.fields.clone(),
                seed: settings.seed,
            },
            requests: settings.requests,
            duration: settings.duration_seconds.map(Duration::from_secs_f64),
            warm_up: settings.warm_up,
            retries: settings.retries,
            most_in_flight: settings.most_in_flight,
            seed: settings.seed,
        })
    }

    /// The record to continue, or an empty one.
    fn begin(&self, settings: LoadSettings) -> Result<LoadRecord> {
        let environment = Environment::capture();
        let new = LoadRecord {
            environment,
            url: self.url.clone(),
            settings,
            levels: Vec::new(),
            is_complete: false,
        };
        let path = self.output.output_path.as_deref();
        match path.filter(|path| path.is_file() && !self.output.overwrite) {
            None => Ok(new),
            Some(path) => resume(path, new),
        }
    }

    fn write(&self, record: &LoadRecord) -> Result<()> {
        match &self.output.output_path {
            Some(path) => Ok(record::write(path, record)?),
            None => Ok(()),
        }
    }
}

/// The record at `path`, if the same load on the same endpoint by the same build made it.
fn resume(path: &Path, new: LoadRecord) -> Result<LoadRecord> {
    let old: LoadRecord = record::read(path)?;
    let name = path.display();
    ensure!(
        old.url == new.url && old.settings == new.settings,
        "`{name}` is of another endpoint or other settings; give another --output-path, or \
         --overwrite"
    );
    let by = |record: &LoadRecord| {
        let Environment {
            commit,
            dirty,
            machine,
            ..
        } = &record.environment;
        (commit.clone(), *dirty, machine.clone())
    };
    if by(&old) != by(&new) {
        bail!(
            "`{name}` is of another build or machine; give another --output-path, or --overwrite"
        );
    }
    Ok(old)
}

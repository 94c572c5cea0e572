//! `mxlab serve`: serves a model over HTTP.

use std::collections::BTreeMap;
use std::env::{self, VarError};
use std::ffi::OsStr;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::Args;
use clap::builder::NonEmptyStringValueParser;
use rayon::prelude::*;
use tokio::sync::Semaphore;

use super::Done;
use super::configuration::ConfigurationArgs;
use super::interrupt::stop_on_signals;
use super::model::{ModelArgs, SoftmaxDtype};
use super::output::{Usage, print};
use crate::config::{KvOptions, QuantConfig};
use crate::engine::{CacheRoom, Engine};
use crate::memory::available_memory;
use crate::serve::api::Served;
use crate::serve::http::limits::{HttpLimits, allow_connections};
use crate::serve::http::listener;
use crate::serve::http::receive::Inlet;
use crate::serve::http::route::{Service, hash};
use crate::serve::metrics::Metrics;
use crate::serve::scheduler::Limits;
use crate::serve::worker::Worker;

/// Where the key is if no flag names one.
const KEY_VARIABLE: &str = "MXLAB_API_KEY";

#[derive(Args)]
pub struct ServeArgs {
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    server: ServerArgs,
    #[command(flatten)]
    batch: BatchArgs,
    #[command(flatten)]
    limits: LimitArgs,
    #[command(flatten)]
    configuration: ConfigurationArgs,
}

#[derive(Args)]
#[command(next_help_heading = "Server")]
struct ServerArgs {
    /// Address to listen on
    #[arg(long, value_name = "IP", default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST))]
    host: IpAddr,
    /// Port to listen on; 0 takes a free one
    #[arg(long, value_name = "N", default_value_t = 8080)]
    port: u16,
    /// Key that clients must send as `Authorization: Bearer KEY` [default: the variable
    /// MXLAB_API_KEY, if it is set]
    #[arg(long, value_name = "KEY")]
    api_key: Option<String>,
    /// File with that key, which no list of processes shows then
    #[arg(long, value_name = "FILE", conflicts_with = "api_key")]
    api_key_file: Option<PathBuf>,
    /// The model's name for clients [default: that of --model, of a path the last part]
    #[arg(long, value_name = "NAME", value_parser = NonEmptyStringValueParser::new())]
    served_name: Option<String>,
    /// Log the body of every request to standard error
    #[arg(long)]
    log_requests: bool,
}

#[derive(Args)]
#[command(next_help_heading = "Batches")]
struct BatchArgs {
    /// Memory of keys and values, in MiB, taken at the start
    #[arg(long, value_name = "MIB", default_value_t = 256,
          value_parser = clap::value_parser!(u64).range(1..))]
    cache: u64,
    /// Most sequences that run at a time
    #[arg(long, value_name = "N", default_value_t = 32,
          value_parser = clap::value_parser!(u32).range(1..=1024))]
    sequences: u32,
    /// Most prompt tokens of a step; more let prompts finish sooner and others wait longer
    #[arg(long, value_name = "N", default_value_t = 128,
          value_parser = clap::value_parser!(u32).range(1..))]
    chunk: u32,
    /// Compute equal beginnings again for every sequence, as with --key-recent
    #[arg(long)]
    no_sharing: bool,
}

#[derive(Args)]
#[command(next_help_heading = "Limits")]
struct LimitArgs {
    /// Most requests at a time, running and waiting; more are answered 429
    #[arg(long, value_name = "N", default_value_t = 256,
          value_parser = clap::value_parser!(u32).range(1..))]
    max_requests: u32,
    /// Most open connections
    #[arg(long, value_name = "N", default_value_t = 4096,
          value_parser = clap::value_parser!(u32).range(1..))]
    max_connections: u32,
    /// Most KiB of a request's body
    #[arg(long, value_name = "KIB", default_value_t = 4096,
          value_parser = clap::value_parser!(u32).range(1..))]
    max_body: u32,
    /// Most tokens of a prompt and its answer [default: what the model takes and the cache holds]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(2..))]
    max_length: Option<u32>,
    /// Most seconds from a request to its last token
    #[arg(long, value_name = "SECONDS", default_value_t = 600,
          value_parser = clap::value_parser!(u32).range(1..))]
    max_time: u32,
    /// Most seconds for a client to send a head or a body, or to take what is sent
    #[arg(long, value_name = "SECONDS", default_value_t = 30,
          value_parser = clap::value_parser!(u32).range(1..))]
    client_time: u32,
}

/// Serves until a signal comes and all answers are given.
pub fn run(args: &ServeArgs) -> Result<Done> {
    let config = args.configuration.one()?;
    let listener = args.server.listen()?;
    let key = args.server.key()?;
    let room = args.batch.room()?;
    // It lives as long as the process; threads of the server use its tokenizer.
    let engine: &'static dyn Engine = Box::leak(args.model.open(SoftmaxDtype::F32)?);
    check_memory(engine, &config, room)?;
    let stepper = engine
        .stepper(&config, room)
        .with_context(|| format!("configuration `{}`", config.name))?;
    let pages = stepper.pages();
    let longest = args.limits.longest(engine, pages.positions * pages.pages)?;
    let name = match &args.server.served_name {
        Some(name) => name.clone(),
        None => short_name(&args.model.model),
    };
    let served = Served {
        name: Box::leak(name.into_boxed_str()),
        tokenizer: engine.tokenizer(),
        vocabulary: engine.vocabulary(),
        longest,
        longest_text: longest.saturating_mul(longest_token(engine)),
    };
    let metrics = Arc::new(Metrics::default());
    let (jobs, inbox) = mpsc::channel();
    let worker = Worker::new(
        stepper,
        served.tokenizer,
        engine.eos_tokens(),
        args.batch.limits(&config.kv),
        inbox,
        Arc::clone(&metrics),
    );
    let stop = stop_on_signals("finishing what was asked for")?;
    let limits = args.limits.http();
    allow_connections(limits.connections);
    let service = Arc::new(Service {
        served,
        places: Arc::new(Semaphore::new(limits.requests)),
        inlet: Inlet::new(&limits),
        limits,
        key,
        logs: args.server.log_requests,
        metrics,
        jobs,
        stop,
        ignored: Mutex::new(BTreeMap::new()),
    });
    let address = listener.local_addr().context("no address")?;
    eprint!("{}", engine.info().note_lines());
    print(&format!(
        "{}: {} positions in {:.1} MiB, {}\n{}listening on http://{address}\n",
        served.name,
        pages.positions * pages.pages,
        pages.bytes as f64 / f64::from(1 << 20),
        engine.info().describe(&config),
        engine
            .paths()
            .map_or_else(String::new, |paths| format!("CPU products: {paths}\n")),
    ))?;
    let http = thread::Builder::new().name("http".to_owned());
    let http = http.spawn(move || {
        let served = listener::serve(listener, Arc::clone(&service));
        if let Some(ignored) = service.ignored() {
            eprintln!("{ignored}");
        }
        served
    });
    let http = http.context("no thread for connections")?;
    worker.run();
    match http.join() {
        Ok(served) => served.context("connections")?,
        Err(panic) => std::panic::resume_unwind(panic),
    }
    Ok(Done::Ok)
}

impl ServerArgs {
    fn listen(&self) -> Result<TcpListener> {
        let Self { host, port, .. } = self;
        TcpListener::bind((*host, *port)).with_context(|| {
            format!("cannot listen on {host}, port {port}; choose another --port or --host")
        })
    }

    /// The hash of the key.
    fn key(&self) -> Result<Option<[u8; 32]>> {
        let (source, key) = match (&self.api_key, &self.api_key_file) {
            (Some(key), _) => ("--api-key", key.clone()),
            (None, Some(path)) => {
                let key = fs::read_to_string(path);
                let key = key.with_context(|| format!("--api-key-file {}", path.display()))?;
                ("--api-key-file", key.trim().to_owned())
            }
            (None, None) => match env::var(KEY_VARIABLE) {
                Ok(key) => (KEY_VARIABLE, key),
                Err(VarError::NotPresent) => return Ok(None),
                Err(error) => return Err(error).context(KEY_VARIABLE),
            },
        };
        match key.is_empty() {
            true => {
                let message = format!("{source}: the key is empty; set one, or drop it");
                Err(Usage(message).into())
            }
            false => Ok(Some(hash(&key))),
        }
    }
}

impl BatchArgs {
    fn room(&self) -> Result<CacheRoom> {
        let bytes = self.cache.saturating_mul(1 << 20);
        if let Some(free) = available_memory() {
            ensure!(
                bytes <= free,
                "--cache {}: the system has {} MiB of free memory; give fewer",
                self.cache,
                free >> 20
            );
        }
        Ok(CacheRoom {
            slots: self.sequences as usize,
            bytes,
        })
    }

    /// A page has the packed keys alone: who sees exact ones before its own computes them.
    fn limits(&self, kv: &KvOptions) -> Limits {
        Limits {
            slots: self.sequences as usize,
            chunk: self.chunk as usize,
            shares: !self.no_sharing && kv.key_recent <= 1,
        }
    }
}

impl LimitArgs {
    /// Most tokens of a sequence.
    fn longest(&self, engine: &dyn Engine, positions: usize) -> Result<usize> {
        ensure!(
            positions > 1,
            "the cache holds {positions} positions; expected at least a prompt and an answer: \
             give more --cache"
        );
        let possible = engine.info().max_length.min(positions);
        let longest = self.max_length.map_or(possible, |most| most as usize);
        ensure!(
            longest <= possible,
            "--max-length {longest}: the model takes {} tokens and the cache holds {positions}; \
             give fewer, or more --cache",
            engine.info().max_length
        );
        Ok(longest)
    }

    fn http(&self) -> HttpLimits {
        HttpLimits {
            body_bytes: (self.max_body as usize) << 10,
            requests: self.max_requests as usize,
            connections: self.max_connections as usize,
            answer: Duration::from_secs(self.max_time.into()),
            client: Duration::from_secs(self.client_time.into()),
        }
    }
}

/// A model's name: of a path its last part, without `.gguf`, as folders are nobody's business.
fn short_name(model: &str) -> String {
    let path = Path::new(model);
    let last = path.file_name().filter(|_| path.exists());
    let last = last.map_or_else(|| model.into(), OsStr::to_string_lossy);
    last.strip_suffix(".gguf").unwrap_or(&last).to_owned()
}

/// Refuses a model that does not fit beside its cache, before weights are loaded.
fn check_memory(engine: &dyn Engine, config: &QuantConfig, room: CacheRoom) -> Result<()> {
    let is_on_cpu = engine.paths().is_some();
    let Some(free) = available_memory().filter(|_| is_on_cpu) else {
        // A device tells when it has no more.
        return Ok(());
    };
    let footprint = engine.footprint(config);
    let footprint = footprint.with_context(|| format!("configuration `{}`", config.name))?;
    let weights = footprint.weight_bytes;
    ensure!(
        weights.saturating_add(room.bytes) <= free,
        "{} needs {} MiB for weights under `{}` and {} MiB for the cache; the system has {} MiB of \
         free memory: give a smaller --model, a --config of fewer bits, or less --cache",
        engine.info().name,
        weights >> 20,
        config.name,
        room.bytes >> 20,
        free >> 20
    );
    Ok(())
}

/// Most bytes of a token's text. One more than it shows, as a decoder may drop the space before a
/// word.
fn longest_token(engine: &dyn Engine) -> usize {
    let tokenizer = engine.tokenizer();
    let tokens = (0..engine.vocabulary() as u32).into_par_iter();
    let bytes = tokens.map(|token| tokenizer.token_text(token).map_or(0, |text| text.len()));
    1 + bytes.max().unwrap_or(0)
}

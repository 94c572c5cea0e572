//! Measures latency and throughput of a cell: `mxlab serve` with its model and configuration, under
//! load from this process.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use mxlab_harness::record::Environment;
use serde_json::{Map, Value};

use super::Study;
use super::cell::Cell;
use super::expand::{BASELINE, StudyConfig};
use super::file::Serving;
use super::folder::record_path;
use super::run::{ModelPlan, Sources};
use super::score::head;
use super::server::Server;
use super::variant::Variant;
use crate::load::drive::Job;
use crate::load::endpoint::Endpoint;
use crate::load::exchange::Client;
use crate::load::generator::Generator;
use crate::load::lengths::Lengths;
use crate::load::prompts::{Prompts, Source};
use crate::memory::peak_memory;
use crate::record::load::{Api, Level, LoadSettings, Targets};
use crate::record::study::{CellRecord, ServingRecord};

/// Most time of a request.
const TIMEOUT: Duration = Duration::from_secs(600);

/// Servers of a model, one at a time: cells of one configuration share theirs.
pub struct Servers<'a> {
    study: &'a Study,
    plan: &'a ModelPlan,
    command: &'a dyn Fn(&Variant) -> Result<std::process::Command>,
    running: Option<Running>,
}

/// A server of a configuration, and the load that it gets.
struct Running {
    config: String,
    server: Server,
    generator: Generator,
    job: Arc<Job>,
    settings: LoadSettings,
    /// Holds the file of the configuration.
    _folder: tempfile::TempDir,
}

impl<'a> Servers<'a> {
    /// No server yet.
    pub fn new(study: &'a Study, plan: &'a ModelPlan, sources: &Sources<'a>) -> Self {
        Self {
            study,
            plan,
            command: sources.server,
            running: None,
        }
    }

    /// Measures a cell and writes its record; `None` if it was stopped.
    ///
    /// # Errors
    /// If the server does not start, a request fails, or a file cannot be written.
    pub fn measure(
        &mut self,
        output: &Path,
        cell: &Cell,
        (number, concurrency): (usize, usize),
        stop: &AtomicBool,
    ) -> Result<Option<CellRecord>> {
        let name = &cell.config.config.name;
        if self.running.as_ref().is_none_or(|own| own.config != *name) {
            // The one before goes first, to make room.
            self.running = None;
            self.running = Some(self.start(&cell.config)?);
        }
        let running = self.running.as_ref().context("it has been started")?;
        let level = (number, Level::Concurrency(concurrency));
        let measured = running
            .generator
            .measure(&running.job, level, Targets::default(), stop)?;
        let Some(level) = measured else {
            return Ok(None);
        };
        if let Some((kind, failures)) = level.failures.iter().next() {
            anyhow::bail!("a request failed, {kind}: {}", failures.example);
        }
        ensure!(
            level.ended_early == Some(0),
            "answers are shorter than asked for, or the server does not count tokens"
        );
        let record = CellRecord::Serving(Box::new(ServingRecord {
            head: head(self.study, &*self.plan.engine, &cell.config)?,
            server: running.server.command.clone(),
            settings: running.settings.clone(),
            level,
            peak_memory_bytes: peak_memory(running.server.pid()),
            environment: Environment::capture(),
        }));
        record.write(&record_path(output, &cell.id()))?;
        Ok(Some(record))
    }

    fn start(&self, config: &StudyConfig) -> Result<Running> {
        let folder = tempfile::tempdir().context("no folder for the configuration")?;
        let serving = self.study.file.serving.as_ref().context("checked")?;
        let most = serving.concurrency.iter().max().context("checked")?;
        let mut command = (self.command)(&self.plan.variant)?;
        command.args(["--port", "0", "--sequences", &most.to_string()]);
        command.arg("--config");
        command.arg(self.argument(config, folder.path())?);
        let server = Server::start(command)?;
        let endpoint = Endpoint::new(&server.url, None)?;
        let client = Client::new(endpoint, TIMEOUT);
        let generator = Generator::new()?;
        let settings = settings(serving, generator.first_model(&client)?);
        let job = self.job(client, serving, &settings)?;
        Ok(Running {
            config: config.config.name.clone(),
            server,
            generator,
            job: Arc::new(job),
            settings,
            _folder: folder,
        })
    }

    /// What `--config` takes for a configuration: its name, or a file with its table.
    fn argument(&self, config: &StudyConfig, folder: &Path) -> Result<PathBuf> {
        let name = &config.config.name;
        let study: toml::Table = self.study.frozen.text.parse().context("it has been read")?;
        let own = study.get("config").and_then(|tables| tables.get(name));
        let Some(table) = own else {
            let names = self.study.file.named.iter();
            let of = |named: &&String| {
                Path::new(named)
                    .file_stem()
                    .is_some_and(|stem| stem == name.as_str())
            };
            let named = names.rev().find(of);
            return Ok(named.map_or(BASELINE, String::as_str).into());
        };
        let path = folder.join(format!("{name}.toml"));
        let text = toml::to_string(table).context("a table of a study")?;
        std::fs::write(&path, text).with_context(|| format!("`{}`", path.display()))?;
        Ok(path)
    }

    fn job(&self, client: Client, serving: &Serving, settings: &LoadSettings) -> Result<Job> {
        let fixed = |length: usize| {
            let lengths: Result<Lengths, String> = length.to_string().parse();
            lengths.map_err(anyhow::Error::msg)
        };
        let vocabulary = u32::try_from(self.plan.engine.vocabulary());
        Ok(Job {
            client,
            prompts: Prompts {
                api: settings.api,
                model: settings.model.clone(),
                source: Source::Tokens {
                    lengths: fixed(serving.prompt)?,
                    vocabulary: vocabulary.context("the vocabulary")?,
                    tokenizer: Box::new(self.plan.checkpoint.tokenizer()?),
                },
                shared: 0,
                output: fixed(serving.output)?,
                fields: settings.fields.clone(),
                seed: settings.seed,
            },
            requests: settings.requests,
            duration: None,
            warm_up: settings.warm_up,
            retries: settings.retries,
            most_in_flight: settings.most_in_flight,
            seed: settings.seed,
        })
    }
}

fn settings(serving: &Serving, model: String) -> LoadSettings {
    // With the ids of tokens, each is an event, even where characters span tokens.
    let fields = [("ignore_eos", true), ("return_token_ids", true)];
    let fields = fields.map(|(name, value)| (name.to_owned(), Value::from(value)));
    let levels = serving.concurrency.iter().copied();
    LoadSettings {
        model,
        api: Api::Completions,
        prompts: format!("{} random tokens", serving.prompt),
        output_tokens: serving.output.to_string(),
        fields: Map::from_iter(fields),
        levels: levels.map(Level::Concurrency).collect(),
        requests: serving.requests,
        duration_seconds: None,
        warm_up: None,
        retries: 0,
        most_in_flight: serving.concurrency.iter().copied().max().unwrap_or(1),
        timeout_seconds: TIMEOUT.as_secs_f64(),
        seed: 0,
        targets: Targets::default(),
    }
}

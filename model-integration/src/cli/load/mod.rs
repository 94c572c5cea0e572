//! `mxlab load`: puts load on an endpoint and prints latencies and rates.

mod args;
mod soak;
mod tables;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use anyhow::{Result, bail, ensure};
use mxlab_harness::record::Environment;

pub use self::args::LoadArgs;
use self::args::{Latency, LevelArgs, OutputFormat};
use super::Done;
use super::interrupt::stop_on_signals;
use super::output::{Usage, print};
use crate::load::drive::Job;
use crate::load::endpoint::Endpoint;
use crate::load::exchange::Client;
use crate::load::generator::Generator;
use crate::record;
use crate::record::load::{CountedBy, Level, LevelRecord, LoadRecord, LoadSettings, Targets};

/// Measures each level and prints a table, or soaks.
pub fn run(args: &LoadArgs) -> Result<Done> {
    ensure!(
        args.isa.is_none(),
        Usage("--isa: the load computes nothing; give it to the server".to_owned())
    );
    let key = args.request.key()?;
    let endpoint = Endpoint::new(&args.url, key.as_deref());
    let endpoint = endpoint.map_err(|error| Usage(error.to_string()))?;
    let stop = stop_on_signals("stopping")?;
    let generator = Generator::new()?;
    let client = Client::new(endpoint, Duration::from_secs_f64(args.load.timeout));
    let model = match &args.request.model {
        Some(model) => model.clone(),
        None => generator.first_model(&client)?,
    };
    match args.soak.soak {
        true => soak::run(args, &generator, client, model, &stop),
        false => measure(args, &generator, client, model, &stop),
    }
}

fn measure(
    args: &LoadArgs,
    generator: &Generator,
    client: Client,
    model: String,
    stop: &AtomicBool,
) -> Result<Done> {
    let settings = args.settings(model);
    let mut record = args.begin(settings)?;
    let job = Arc::new(args.job(client, &record.settings)?);
    let levels = record.settings.levels.clone();
    let mut is_interrupted = false;
    for (number, &level) in levels.iter().enumerate().skip(record.levels.len()) {
        let targets = record.settings.targets;
        let measured = generator.measure(&job, (number, level), targets, stop)?;
        let Some(measured) = measured else {
            is_interrupted = true;
            break;
        };
        note(&measured);
        record.levels.push(measured);
        record.is_complete = record.levels.len() == levels.len();
        args.write(&record)?;
    }
    match args.output.format {
        OutputFormat::Json => print(&record::to_json(&record))?,
        OutputFormat::Text if record.levels.is_empty() => {}
        OutputFormat::Text => print(&tables::of(&record))?,
    }
    if is_interrupted {
        let done = record.levels.len();
        let resumes = match args.output.output_path.is_some() {
            true => "the same command measures the others",
            false => "--output-path would let the same command measure the others",
        };
        eprintln!(
            "interrupted after {done} of {} levels: {resumes}",
            levels.len()
        );
        return Ok(Done::Interrupted);
    }
    let answered = |level: &LevelRecord| level.failed < level.requests;
    Ok(match record.levels.iter().all(answered) {
        true => Done::Ok,
        false => Done::WithFindings,
    })
}

/// Prints what a reader of a level's figures should know.
fn note(level: &LevelRecord) {
    for (kind, failures) in &level.failures {
        eprintln!("{}: {}", level.level, failures.line(kind));
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
            prompts: self.request.prompts(settings.model.clone())?,
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

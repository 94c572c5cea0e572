//! Studies: a declarative file whose every combination is evaluated. A study resumes where it was
//! interrupted, and its cells can be spread over machines.
//!
//! | module | contents |
//! |---|---|
//! | [`file`](mod@file) | the contents of a study file |
//! | [`axes`] | the axes over which a configuration varies |
//! | [`shipped`] | the studies in the binary; **a new one is a file in `studies/`** |
//! | [`expand`] | expands a study to the configurations of a model |
//! | [`explain`] | hybrids between two configurations, and shares of a gap |
//! | [`cell`] | the units of work, and which shard takes which |
//! | [`calibrated`] | models whose codes are chosen by a text |
//! | [`weights`] | errors of quantised weights |
//! | [`score`], [`speed`], [`search`] | runs a cell: accuracy, speed, largest quantised part |
//! | [`serving`], [`server`] | runs a cell: load on a server; its process |
//! | [`folder`] | the output directory: plan, records, evaluations |
//! | [`crate::record::study`] | the records of a study and its cells |
//! | [`run`](mod@run) | runs cell after cell |
//! | [`merge`] | merges the output of shards |
//! | [`pack`] | the output directory as one file |
//!
//! # Files of an output directory
//! - `study.json`: the plan: the text of the study, changes from the command line, their hash;
//! - `records/*.json`: a record per cell, with the same bytes however often it was interrupted;
//! - `cells/CELL/`: the files of `mxlab eval --output-path`: logs, results in
//!   lm-evaluation-harness' schema, times and environment.

pub mod axes;
pub mod calibrated;
pub mod cell;
pub mod expand;
pub mod explain;
pub mod file;
pub mod folder;
pub mod merge;
pub mod pack;
pub mod run;
pub mod score;
pub mod search;
pub mod server;
pub mod serving;
pub mod shipped;
pub mod speed;
pub mod variant;
pub mod weights;

use std::path::Path;

use anyhow::{Context, Result, ensure};
use mxlab_harness::record::build_version;
use sha2::{Digest, Sha256};

use self::file::StudyFile;
use crate::calibrate::source::TextPart;
use crate::config::file::Source;
use crate::eval::plan::Limit;
use crate::file_name::file_name;
pub use crate::record::study::{Changes, Frozen};

/// A study with its plan.
#[derive(Clone, Debug)]
pub struct Study {
    /// Its name, in file names.
    pub name: String,
    /// Its file, with the changes of the command line.
    pub file: StudyFile,
    /// How many examples of each task.
    pub limit: Option<Limit>,
    /// Its plan.
    pub frozen: Frozen,
}

impl Study {
    /// Reads a study by name or file, and makes its plan.
    ///
    /// # Errors
    /// With the file and what is wrong with it.
    pub fn open(name: &str, changes: Changes) -> Result<Self> {
        let (file, text) = shipped::text(name)?;
        let stem = Path::new(name).file_stem().unwrap_or_default();
        Self::parse(&file, file_name(&stem.to_string_lossy()), text, changes)
    }

    /// The study of a plan.
    ///
    /// # Errors
    /// If its text is not a study of this build.
    pub fn of(plan: &Frozen) -> Result<Self> {
        let file = format!("study {}", plan.name);
        let (name, text) = (plan.name.clone(), plan.text.clone());
        let study = Self::parse(&file, name, text, plan.changes.clone())?;
        Ok(Self {
            frozen: plan.clone(),
            ..study
        })
    }

    fn parse(file: &str, name: String, text: String, changes: Changes) -> Result<Self> {
        let source = Source { file, text: &text };
        let mut study: StudyFile = source.parse()?;
        let of_file = || format!("`{file}`");
        if let Some(models) = &changes.models {
            study.models.clone_from(models);
            if let Some(workload) = &mut study.workload {
                workload.models.clear();
            }
        }
        if let Some(tasks) = &changes.tasks {
            study.tasks.clone_from(tasks);
        }
        if let (Some(texts), Some(calibration)) = (&changes.texts, &mut study.calibration) {
            calibration.text.clone_from(texts);
        }
        let limit = match &changes.limit {
            Some(limit) => Some(limit.parse()),
            None => study.limit.map(file::LimitSpec::limit),
        };
        let limit = limit.transpose().map_err(anyhow::Error::msg);
        let limit = limit.context("`limit`").with_context(of_file)?;
        ensure!(
            changes.texts.is_none() || study.calibration.is_some(),
            "--text: `{file}` has no `calibration`, whose text it would be"
        );
        check(&study).with_context(of_file)?;
        let mut frozen = Frozen {
            name: name.clone(),
            title: study.title.clone(),
            question: study.question.clone(),
            mxlab: build_version(),
            text,
            changes,
            hash: String::new(),
        };
        let plain = serde_json::to_vec(&frozen).context("a study is plain data")?;
        frozen.hash = format!("{:x}", Sha256::digest(plain));
        Ok(Self {
            name,
            file: study,
            limit,
            frozen,
        })
    }
}

/// Checks that need no model.
fn check(study: &StudyFile) -> Result<()> {
    ensure!(!study.models.is_empty(), "`models` is empty");
    ensure!(
        !study.tasks.is_empty() || study.workload.is_some() || study.serving.is_some(),
        "`tasks` is empty, and there is neither `workload` nor `serving`"
    );
    ensure!(!study.seeds.is_empty(), "`seeds` is empty");
    let has = |name: &str| study.config.0.iter().any(|(own, _)| own == name);
    for name in study.vary.keys() {
        ensure!(has(name), "`vary.{name}`: the file has no `config.{name}`");
    }
    if let Some(explain) = &study.explain {
        for (field, name) in [("from", &explain.from), ("to", &explain.to)] {
            ensure!(
                has(name) && !study.vary.contains_key(name),
                "`explain.{field}`: `{name}` is not a configuration of this file, or is varied; \
                 name one without `vary`"
            );
        }
    }
    if let Some(search) = &study.search {
        let each = study.vary.get(&search.config).and_then(|axes| axes.each);
        ensure!(
            each == Some(axes::Each::LayerProjection),
            "`search.config`: `vary.{}` does not say `each = \"layer-projection\"`",
            search.config
        );
        ensure!(
            (0.0..1.0).contains(&search.most_lost),
            "`search.most_lost`: {} is not a fraction between 0 and 1",
            search.most_lost
        );
    }
    check_calibrate(study)?;
    for (ladder, steps) in &study.ladders {
        ensure!(steps.len() > 1, "`ladders.{ladder}`: fewer than two steps");
    }
    if let Some(serving) = &study.serving {
        check_serving(study, serving)?;
    }
    if let Some(workload) = &study.workload {
        ensure!(workload.repeats > 0, "`workload.repeats` is 0");
        let lengths = workload.prompt.iter().chain(&workload.output);
        ensure!(
            lengths.clone().all(|&length| length > 0),
            "`workload`: a prompt or an output of 0 tokens"
        );
        ensure!(
            workload.output.iter().all(|&output| output > 1),
            "`workload.output`: timing a token needs 2 or more tokens"
        );
        ensure!(
            !workload.prompt.is_empty() && !workload.output.is_empty(),
            "`workload`: `prompt` or `output` is empty"
        );
    }
    Ok(())
}

fn check_calibrate(study: &StudyFile) -> Result<()> {
    let has = |name: &str| study.config.0.iter().any(|(own, _)| own == name);
    ensure!(
        study.calibrate.is_empty() || study.calibration.is_some(),
        "`calibrate`: there is no `calibration` with the text to choose codes by"
    );
    for text in study.calibration.iter().flat_map(|own| &own.text) {
        let parsed = text.parse::<TextPart>().map_err(anyhow::Error::msg);
        parsed.with_context(|| format!("`calibration.text`: `{text}`"))?;
    }
    for (name, own) in &study.calibrate {
        ensure!(
            has(name),
            "`calibrate.{name}`: the file has no `config.{name}`"
        );
        ensure!(
            own.bits.is_some() != own.weights.is_empty(),
            "`calibrate.{name}`: `bits` and `weights`, the formats to choose from, go together"
        );
        let each = study.vary.get(name).and_then(|axes| axes.each);
        ensure!(
            each.is_none() && (own.bits.is_none() || !study.vary.contains_key(name)),
            "`calibrate.{name}`: parts of a model are not calibrated one at a time, and formats \
             for a budget are not varied"
        );
    }
    if !study.calibrate.is_empty() {
        ensure!(
            study.workload.is_none() && study.serving.is_none() && study.explain.is_none(),
            "`calibrate` goes with `tasks` alone, not with `workload`, `serving` or `explain`: \
             codes do not change speed"
        );
        ensure!(
            !study.weight_error,
            "`weight_error` is of nearest codes, not of `calibrate`"
        );
    }
    Ok(())
}

fn check_serving(study: &StudyFile, serving: &file::Serving) -> Result<()> {
    ensure!(
        study.vary.is_empty() && study.explain.is_none() && study.search.is_none(),
        "`serving`: `vary`, `explain` and `search` make configurations that a server cannot be \
         given; name each in a table of its own"
    );
    let Some(most) = serving.concurrency.iter().max() else {
        anyhow::bail!("`serving.concurrency` is empty");
    };
    ensure!(
        serving
            .concurrency
            .iter()
            .all(|&count| (1..=256).contains(&count)),
        "`serving.concurrency`: expected numbers from 1 to 256"
    );
    ensure!(
        serving.requests >= *most,
        "`serving.requests` is {}; expected at least {most}, the highest concurrency",
        serving.requests
    );
    ensure!(
        serving.prompt > 0 && serving.output > 1,
        "`serving`: expected a prompt of 1 token or more and an output of 2 or more"
    );
    Ok(())
}

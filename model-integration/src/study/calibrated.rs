//! Models whose codes a study chooses by a text, each in the folder of its cell.
//!
//! | file | contents |
//! |---|---|
//! | `weights.toml` | the configuration; after `mxlab allocate`, with formats by projection |
//! | `allocate.json`, `calibrate.json` | the records of both commands |
//! | `model` | the model, until the cell is scored |

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::ValueEnum;
use mxlab_harness::record::write_atomic;
use mxlab_kernels::format::Rotation;
use serde::Deserialize;

use crate::calibrate::{ColumnOrder, ScaleChoice, TokenWeight};
use crate::config::{FormatFlags, OperandSpec, QuantConfig, load};
use crate::record;
use crate::record::calibrate::{AllocateRecord, CalibrateRecord};
use crate::record::study::Calibrated;

/// The text by which codes are chosen.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Calibration {
    /// As `--text` of `mxlab calibrate` takes it.
    pub text: Vec<String>,
    /// Number of sequences.
    #[serde(default)]
    pub sequences: Option<usize>,
    /// Tokens of a sequence.
    #[serde(default)]
    pub length: Option<usize>,
}

/// How the codes of a configuration are chosen: flags of `mxlab calibrate`, and a budget of bits
/// for `mxlab allocate` before it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Calibrate {
    token_weight: Option<TokenWeight>,
    order: Option<ColumnOrder>,
    scales: Option<ScaleChoice>,
    damping: Option<f64>,
    merge_rotation: Option<Rotation>,
    /// Most bits a weight.
    pub bits: Option<f64>,
    /// The formats to choose from.
    pub weights: Vec<OperandSpec>,
}

impl Calibrate {
    /// The rotation that is merged into weights, in words.
    fn merged(&self) -> Option<String> {
        self.merge_rotation.map(|rotation| rotation.to_string())
    }

    fn flags(&self) -> Vec<String> {
        fn word(value: &impl ValueEnum) -> Option<String> {
            Some(value.to_possible_value()?.get_name().to_owned())
        }
        let flags = [
            ("--token-weight", self.token_weight.as_ref().and_then(word)),
            ("--order", self.order.as_ref().and_then(word)),
            ("--scales", self.scales.as_ref().and_then(word)),
            ("--damping", self.damping.map(|damping| damping.to_string())),
            ("--merge-rotation", self.merged()),
        ];
        let given = flags
            .into_iter()
            .filter_map(|(flag, value)| Some([flag.to_owned(), value?]));
        given.flatten().collect()
    }
}

/// What is made: a model with codes of its own.
pub struct Job<'a> {
    /// The model that it is made of.
    pub model: &'a str,
    /// The configuration.
    pub config: &'a QuantConfig,
    /// How codes are chosen.
    pub calibrate: &'a Calibrate,
    /// The text.
    pub calibration: &'a Calibration,
    /// The folder of the cell.
    pub folder: &'a Path,
    /// Makes a command of this program with the engine's flags, given its name.
    pub command: &'a dyn Fn(&str) -> Result<Command>,
}

/// A model with codes of its own.
pub struct Made {
    /// Its configuration, formats by projection included.
    pub config: QuantConfig,
    /// How its codes were chosen.
    pub how: Calibrated,
}

impl Job<'_> {
    /// Makes the model in `folder/model`, if it is not there yet; `None` if `stop` was set before
    /// the end. Finished layers are kept.
    ///
    /// # Errors
    /// If a command fails, with what it printed; if a file cannot be read or written.
    pub fn run(&self, stop: &AtomicBool) -> Result<Option<Made>> {
        let path = |name: &str| self.folder.join(name);
        fs::create_dir_all(self.folder)
            .with_context(|| format!("cannot make `{}`", self.folder.display()))?;
        let (config, record) = (path("weights.toml"), path("calibrate.json"));
        if !config.exists() && !self.configuration(&config, stop)? {
            return Ok(None);
        }
        if !record.exists() {
            let mut command = (self.command)("calibrate")?;
            command
                .arg(self.model)
                .arg(path("model"))
                .arg("--overwrite");
            command.arg("--config").arg(&config);
            command.arg("--output-path").arg(&record);
            for text in &self.calibration.text {
                command.args(["--text", text]);
            }
            let Calibration {
                sequences, length, ..
            } = self.calibration;
            for (flag, number) in [("--sequences", sequences), ("--length", length)] {
                if let Some(number) = number {
                    command.args([flag, &number.to_string()]);
                }
            }
            command.args(self.calibrate.flags());
            if !ends(command, stop)? {
                return Ok(None);
            }
        }
        let config = config.to_str().context("a path in UTF-8")?;
        let mut config = load(config, &FormatFlags::default())?;
        config.name.clone_from(&self.config.name);
        let CalibrateRecord { run, .. } = record::read(&record)?;
        let wrong = |field: &str| format!("`{}`: no `run.{field}`", record.display());
        let number = |field: &str| {
            let number = run[field].as_u64().with_context(|| wrong(field))?;
            anyhow::Ok(number as usize)
        };
        let hash = run["tokens_sha256"].as_str();
        let hash = hash.with_context(|| wrong("tokens_sha256"))?;
        Ok(Some(Made {
            config,
            how: Calibrated {
                flags: self.calibrate.flags(),
                texts: self.calibration.text.clone(),
                tokens_sha256: hash.to_owned(),
                tokens: number("sequences")? * number("length")?,
            },
        }))
    }

    /// Writes the configuration, with formats for a budget if there is one.
    fn configuration(&self, file: &Path, stop: &AtomicBool) -> Result<bool> {
        let Some(bits) = self.calibrate.bits else {
            write_atomic(file, self.config.to_toml().as_bytes())?;
            return Ok(true);
        };
        let whole = self.folder.join("whole.toml");
        write_atomic(&whole, self.config.to_toml().as_bytes())?;
        let mut command = (self.command)("allocate")?;
        command.arg(self.model).arg(file);
        command.arg("--config").arg(&whole);
        command.args(["--bits", &bits.to_string()]);
        if let Some(rotation) = self.calibrate.merged() {
            command.args(["--merge-rotation", &rotation]);
        }
        for weights in &self.calibrate.weights {
            command.args(["--weights", &weights.to_string()]);
        }
        command
            .arg("--output-path")
            .arg(self.folder.join("allocate.json"));
        for text in &self.calibration.text {
            command.args(["--text", text]);
        }
        ends(command, stop)
    }
}

/// Removes the model of a scored cell; its records stay.
///
/// # Errors
/// If it cannot be removed.
pub fn remove_model(folder: &Path) -> Result<()> {
    let model = folder.join("model");
    fs::remove_dir_all(&model).with_context(|| format!("cannot remove `{}`", model.display()))
}

/// The records of a cell's calibration.
///
/// # Errors
/// If one cannot be read.
pub fn records(folder: &Path) -> Result<(Option<AllocateRecord>, Option<CalibrateRecord>)> {
    let (allocate, calibrate) = (folder.join("allocate.json"), folder.join("calibrate.json"));
    let allocation = allocate
        .exists()
        .then(|| record::read(&allocate))
        .transpose()?;
    let calibration = calibrate
        .exists()
        .then(|| record::read(&calibrate))
        .transpose()?;
    Ok((allocation, calibration))
}

/// Runs a command to its end; `false` if `stop` was set before. What it had finished is kept.
fn ends(mut command: Command, stop: &AtomicBool) -> Result<bool> {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let words: Vec<_> = words.map(|word| word.to_string_lossy()).collect();
    let shown = words.join(" ");
    command.stdin(Stdio::null()).stdout(Stdio::null());
    command.stderr(Stdio::piped());
    let mut child = command.spawn().with_context(|| format!("`{shown}`"))?;
    let mut stderr = child.stderr.take().context("it is piped")?;
    let errors = thread::spawn(move || {
        let mut errors = Vec::new();
        let _ = std::io::Read::read_to_end(&mut stderr, &mut errors);
        String::from_utf8_lossy(&errors).trim().to_owned()
    });
    let status = loop {
        if let Some(status) = child.try_wait().with_context(|| format!("`{shown}`"))? {
            break status;
        }
        if stop.load(Ordering::Relaxed) {
            // Finished layers appear at once, so it may end at any moment.
            let _ = child.kill();
            let _ = child.wait();
            return Ok(false);
        }
        thread::sleep(Duration::from_millis(50));
    };
    if status.success() {
        return Ok(true);
    }
    // Ctrl-C reaches both.
    if stop.load(Ordering::Relaxed) {
        return Ok(false);
    }
    bail!(
        "`{shown}` failed, {status}: {}",
        errors.join().unwrap_or_default()
    )
}

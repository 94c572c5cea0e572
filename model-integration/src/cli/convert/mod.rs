//! `mxlab convert`: writes a model with quantised or plain weights.

mod carried;
mod compressed_tensors;
mod directory;
mod gguf;
mod modelopt;
mod output;
mod own;
mod piece;
mod source;
mod tensors;
mod values;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use anyhow::{Context, Result};
use clap::{Args, ValueEnum};

use self::directory::NewDirectory;
pub use self::source::Calibrated;
pub use self::tensors::Interrupted;
use self::tensors::Plan;
use super::Done;
use super::configuration::ConfigurationArgs;
use super::interrupt::stop_on_signals;
use super::merge::MergeArgs;
use super::output::{Usage, print};
use crate::checkpoint::encoding::StoredInput;
use crate::checkpoint::{Checkpoint, packed_file};
use crate::config::QuantConfig;

/// Layout of quantised weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Target {
    /// For vLLM, and for transformers with compressed-tensors
    CompressedTensors,
    /// As NVIDIA's ModelOpt exports, for TensorRT-LLM, vLLM and SGLang
    Modelopt,
    /// One file for llama.cpp, with the tokenizer in it
    Gguf,
    /// Codes and scales of any format, as `mxlab quantize --output` writes them
    Mxlab,
    /// Dequantised floats
    Dense,
}

impl Target {
    /// Its name in messages.
    pub fn name(self) -> &'static str {
        match self {
            Self::CompressedTensors => "compressed-tensors",
            Self::Modelopt => "ModelOpt",
            Self::Gguf => "GGUF",
            Self::Mxlab => "mxlab",
            Self::Dense => "dense",
        }
    }

    /// Whether nothing is to be written without quantised weights.
    pub fn packs(self) -> bool {
        !matches!(self, Self::Dense | Self::Gguf)
    }

    /// Whether what is written says how inputs are quantised.
    pub fn says_inputs(self) -> bool {
        matches!(self, Self::CompressedTensors | Self::Modelopt | Self::Mxlab)
    }

    /// Whether it says so of this input.
    fn says(self, input: &StoredInput) -> bool {
        match self {
            // A format of ours, as the configuration has it.
            Self::Mxlab => matches!(input, StoredInput::Block(_, None)),
            _ => self.says_inputs(),
        }
    }
}

#[derive(Args)]
pub struct ConvertArgs {
    /// Model directory, GGUF file, hub name, `embedded` or `synthetic:NAME`
    model: String,
    /// Directory to write; for gguf, the file
    output: PathBuf,
    /// Layout of quantised weights
    #[arg(long, value_name = "WHAT")]
    to: Target,
    /// Replace an existing model
    #[arg(long)]
    overwrite: bool,
    #[command(flatten)]
    merge: MergeArgs,
    #[command(flatten)]
    configuration: ConfigurationArgs,
}

/// Writes tensor after tensor, so that memory holds only one at a time.
pub fn run(args: &ConvertArgs) -> Result<Done> {
    let config = args.configuration.one()?;
    let stop = stop_on_signals("stopping after this tensor")?;
    check_storable(&config, args.to)?;
    check_apart(&args.model, &args.output)?;
    let checkpoint = args.merge.open(&args.model, &config)?;
    let new = NewModel {
        model: &args.model,
        checkpoint: &checkpoint,
        output: &args.output,
        to: args.to,
        overwrite: args.overwrite,
    };
    print(&new.write(&config, None, &stop)?)?;
    Ok(Done::Ok)
}

/// A model to write.
pub struct NewModel<'a> {
    /// The name of the source.
    pub model: &'a str,
    pub checkpoint: &'a Checkpoint,
    pub output: &'a Path,
    pub to: Target,
    pub overwrite: bool,
}

impl NewModel<'_> {
    /// Checks what can be checked before codes are chosen for a configuration. Returns the names
    /// of weights that need one tensor scale.
    ///
    /// # Errors
    /// An output that exists; a model or formats that the target does not store.
    pub fn check(&self, config: &QuantConfig) -> Result<Vec<Vec<String>>> {
        match self.to {
            Target::Gguf => {
                gguf::check_output(self.output, self.overwrite)?;
                gguf::model::metadata(self.checkpoint)?;
                gguf::tokenizer::metadata(self.checkpoint)?;
            }
            _ => NewDirectory::check(self.output, self.overwrite)?,
        }
        self.check_head(config)?;
        Ok(Plan::new(self.checkpoint, config, self.to)?.together())
    }

    fn check_head(&self, config: &QuantConfig) -> Result<()> {
        if config.head.is_some() && self.checkpoint.config().tie_word_embeddings {
            let message = "the head is the embedding, whose rows are not quantised: leave out \
                --head, and give it again when the model runs";
            return Err(Usage(message.to_owned()).into());
        }
        Ok(())
    }

    /// Writes it under a configuration, with codes that calibration chose if there are any. Returns
    /// what was written, in words.
    ///
    /// # Errors
    /// What the target does not store; an output that exists; a file that cannot be written.
    pub fn write(
        &self,
        config: &QuantConfig,
        calibrated: Option<&Calibrated>,
        stop: &AtomicBool,
    ) -> Result<String> {
        let checkpoint = self.checkpoint;
        config.check_layers(checkpoint.config().num_hidden_layers)?;
        self.check_head(config)?;
        let mut notes = Vec::new();
        let (plan, bytes) = match self.to {
            Target::Gguf => {
                gguf::check_output(self.output, self.overwrite)?;
                let plan = Plan::new(checkpoint, config, self.to)?.calibrated(calibrated);
                let (bytes, read) = gguf::write(checkpoint, &plan, self.output, stop)?;
                notes = read;
                (plan, bytes)
            }
            _ => self.write_directory(config, calibrated, stop)?,
        };
        let mut text = format!(
            "{}: {} tensors, {} of them quantised, {bytes} bytes\n",
            self.output.display(),
            plan.tensors(),
            plan.quantised(),
        );
        let widened = plan.widened();
        if let [first, ..] = widened.as_slice() {
            text += &format!(
                "written as floats, though the source has codes: {} tensors, `{first}` the first\n",
                widened.len()
            );
        }
        for note in notes {
            text += &format!("{note}\n");
        }
        let dropped = plan.dropped_inputs();
        if !dropped.is_empty() {
            text += &format!(
                "the source quantises inputs ({}), which {} does not store: what is written has \
                 them as `stored-weights` has\n",
                dropped.join("; "),
                self.to.name(),
            );
        }
        Ok(text)
    }

    /// Writes a model directory. Returns its tensors and their bytes.
    fn write_directory<'a>(
        &'a self,
        config: &QuantConfig,
        calibrated: Option<&'a Calibrated>,
        stop: &AtomicBool,
    ) -> Result<(Plan<'a>, usize)> {
        let checkpoint = self.checkpoint;
        let directory = NewDirectory::create(self.output, self.overwrite)?;
        let plan = Plan::new(checkpoint, config, self.to)?.calibrated(calibrated);

        let mut settings = carried::settings(checkpoint)?;
        match self.to {
            Target::CompressedTensors => {
                let config = compressed_tensors::quantization_config(&plan);
                settings.insert("quantization_config".to_owned(), config);
            }
            Target::Modelopt => {
                let (config, sidecar) = modelopt::configs(&plan);
                settings.insert("quantization_config".to_owned(), config);
                let text = format!("{sidecar:#}\n");
                directory.write("hf_quant_config.json", text.as_bytes())?;
            }
            Target::Gguf | Target::Mxlab | Target::Dense => {}
        }
        let text = format!("{:#}\n", serde_json::Value::Object(settings));
        directory.write("config.json", text.as_bytes())?;
        carried::copy(self.model, checkpoint, &directory)?;
        let path = directory.path().join("model.safetensors");
        let mut file = packed_file::create(&path, &plan.parts(), plan.metadata()?)?;
        let mut bytes = 0;
        plan.write(stop, |name, content| {
            bytes += content.len();
            Ok(file.write(name, content)?)
        })?;
        file.commit()?;
        Checkpoint::open(directory.path()).context(
            "what was written cannot be opened, so nothing is kept; give weights and activations \
             formats that the target has together, or use --to mxlab",
        )?;
        directory.commit()?;
        Ok((plan, bytes))
    }
}

/// Checks that a configuration has only what the target can store.
pub fn check_storable(config: &QuantConfig, target: Target) -> Result<()> {
    let inputs = config.activations.is_some()
        || (config.overrides.iter()).any(|change| change.activations.flatten().is_some());
    let cache = config.keys.is_some()
        || config.values.is_some()
        || config.overrides.iter().any(|change| {
            let others = [change.keys, change.values];
            others.into_iter().flatten().flatten().next().is_some()
        });
    let what = match (inputs && !target.says_inputs(), cache) {
        (_, true) => "the cache, which a model directory does not store",
        (true, _) => "activations, which this target does not store",
        (false, false) if config.head_activations.is_some() => {
            "the head's input, which no target stores"
        }
        (false, false) => return Ok(()),
    };
    let message = format!(
        "configuration `{}` quantises {what}: use a configuration of weights{}, and quantise the \
         rest when the model runs",
        config.name,
        if target.says_inputs() {
            " and activations"
        } else {
            " alone"
        },
    );
    Err(Usage(message).into())
}

/// Checks that the output is not the model that is read, and holds no part of it.
pub fn check_apart(model: &str, output: &Path) -> Result<()> {
    let (Ok(source), Ok(target)) = (fs::canonicalize(model), fs::canonicalize(output)) else {
        return Ok(());
    };
    if source.starts_with(&target) {
        let message = format!(
            "`{}` is the model to convert, or holds it; choose another output",
            output.display()
        );
        return Err(Usage(message).into());
    }
    Ok(())
}

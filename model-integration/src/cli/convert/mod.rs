//! `mxlab convert`: writes a model with quantised or plain weights.

mod compressed_tensors;
mod directory;
mod tensors;

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::{Args, ValueEnum};
use serde_json::{Value, json};

use self::directory::NewDirectory;
use self::tensors::Plan;
use super::Done;
use super::configuration::ConfigurationArgs;
use super::model::open_checkpoint;
use super::output::{Usage, print};
use super::quantize::packed_file::PackedFile;
use crate::checkpoint::Checkpoint;

/// Layout of quantised weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Target {
    /// MXFP4 or MXFP6 for vLLM, and for transformers with compressed-tensors
    CompressedTensors,
    /// Codes and scales of any format, as `mxlab quantize --output` writes them
    Mxlab,
    /// Dequantised floats
    Dense,
}

#[derive(Args)]
pub struct ConvertArgs {
    /// Model directory, GGUF file, hub name, `embedded` or `synthetic:NAME`
    model: String,
    /// Directory to write
    output: PathBuf,
    /// Layout of quantised weights
    #[arg(long, value_name = "WHAT")]
    to: Target,
    /// Replace an existing model directory
    #[arg(long)]
    overwrite: bool,
    #[command(flatten)]
    configuration: ConfigurationArgs,
}

/// Writes tensor after tensor, so that memory holds only one at a time.
pub fn run(args: &ConvertArgs) -> Result<Done> {
    let config = args.configuration.one()?;
    let quantises_more = config.activations.is_some()
        || config.keys.is_some()
        || config.values.is_some()
        || config.head.is_some()
        || config.overrides.iter().any(|change| {
            let others = [change.activations, change.keys, change.values];
            others.into_iter().flatten().flatten().next().is_some()
        });
    if quantises_more {
        let message = format!(
            "configuration `{}` quantises activations, the cache or the head, which are not \
             written: use a configuration of weights alone, and quantise the rest when the model \
             runs",
            config.name
        );
        return Err(Usage(message).into());
    }
    let checkpoint = open_checkpoint(&args.model)?;
    config.check_layers(checkpoint.config().num_hidden_layers)?;
    let directory = NewDirectory::create(&args.output, args.overwrite)?;
    let plan = Plan::new(&checkpoint, &config, args.to)?;

    let mut settings = model_settings(&checkpoint)?;
    if args.to == Target::CompressedTensors {
        settings["quantization_config"] = compressed_tensors::quantization_config(&plan)?;
    }
    let text = format!("{settings:#}\n");
    directory.write("config.json", text.as_bytes())?;
    directory.write("tokenizer.json", checkpoint.tokenizer_json())?;
    if let Some(json) = checkpoint.tokenizer_config_json() {
        directory.write("tokenizer_config.json", json)?;
    }
    let path = directory.path().join("model.safetensors");
    let mut file = PackedFile::create(&path, &plan.parts(), plan.metadata()?)?;
    let mut bytes = 0;
    plan.write(|name, content| {
        bytes += content.len();
        file.write(name, content)
    })?;
    file.commit()?;
    directory.commit()?;
    print(&format!(
        "{}: {} tensors, {} of them quantised, {bytes} bytes\n",
        args.output.display(),
        plan.tensors(),
        plan.quantised(),
    ))?;
    Ok(Done::Ok)
}

/// The model's config without its quantisation, and with the type of the model's arithmetic.
fn model_settings(checkpoint: &Checkpoint) -> Result<Value> {
    let settings: Value = serde_json::from_slice(checkpoint.config_json())
        .with_context(|| format!("config.json of {}", checkpoint.label()))?;
    let mut settings = settings;
    if let Some(fields) = settings.as_object_mut() {
        fields.remove("quantization_config");
        let is_said = |name: &str| fields.get(name).is_some_and(|value| !value.is_null());
        if !is_said("dtype") && !is_said("torch_dtype") {
            let dtype = checkpoint.config().dtype.name();
            fields.insert("torch_dtype".to_owned(), json!(dtype));
        }
    }
    Ok(settings)
}

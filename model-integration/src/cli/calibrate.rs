//! `mxlab calibrate`: chooses the codes of weights for what they multiply, and writes the model.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::Result;
use clap::Args;
use mxlab_harness::record::{Environment, build_version};
use serde_json::json;

use super::Done;
use super::configuration::ConfigurationArgs;
use super::convert::{Calibrated, Interrupted, NewModel, Target, check_apart, check_storable};
use super::estimate::words;
use super::interrupt::stop_on_signals;
use super::merge::MergeArgs;
use super::model::use_threads;
use super::output::{Usage, print};
use super::text::{TextArgs, progress};
use crate::calibrate::estimate::{Estimate, Sizes};
use crate::calibrate::layers::Calibration;
use crate::calibrate::rates::Timing;
use crate::calibrate::store::Store;
use crate::calibrate::{ColumnOrder, Recipe, ScaleChoice, TokenWeight};
use crate::checkpoint::Checkpoint;
use crate::config::QuantConfig;
use crate::description::parameters::Parameters;
use crate::memory::{available_memory, peak_memory};
use crate::record;
use crate::record::calibrate::CalibrateRecord;

#[derive(Args)]
pub struct CalibrateArgs {
    /// Model directory, GGUF file, hub name, `embedded` or `synthetic:NAME`
    model: String,
    /// Directory to write; for gguf, the file. Finished layers are kept beside it until the end,
    /// and the same command goes on with them
    output: PathBuf,
    /// Layout of quantised weights
    #[arg(long, value_name = "WHAT", default_value = "mxlab")]
    to: Target,
    /// Replace an existing model
    #[arg(long)]
    overwrite: bool,
    /// JSON file for the record, compressed if it ends in .gz
    #[arg(long, value_name = "FILE")]
    output_path: Option<PathBuf>,
    /// Only print how long it takes, and how much memory and disk
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    text: TextArgs,
    /// Sequences
    #[arg(long, value_name = "N", default_value = "32", help_heading = "Text")]
    sequences: NonZeroUsize,
    /// Tokens of a sequence
    #[arg(long, value_name = "N", default_value_t = 512, help_heading = "Text")]
    length: usize,
    /// Weight of a token in H, the sum of x x^T over the inputs x of a layer
    #[arg(
        long,
        value_name = "WEIGHT",
        default_value = "norm",
        help_heading = "Method"
    )]
    token_weight: TokenWeight,
    /// The order in which columns are rounded
    #[arg(
        long,
        value_name = "ORDER",
        default_value = "activation",
        help_heading = "Method"
    )]
    order: ColumnOrder,
    /// How the scales of blocks are chosen
    #[arg(
        long,
        value_name = "HOW",
        default_value = "rule",
        help_heading = "Method"
    )]
    scales: ScaleChoice,
    /// Added to the diagonal of H, times its mean
    #[arg(long, value_name = "X", value_parser = damping, default_value = "0.01",
          help_heading = "Method")]
    damping: f64,
    /// Most MiB of memory for the inputs of a layer; more are kept in a file beside the output
    /// [default: half of the available memory]
    #[arg(long, value_name = "MIB", help_heading = "Method")]
    hidden_memory: Option<u64>,
    #[command(flatten)]
    merge: MergeArgs,
    #[command(flatten)]
    configuration: ConfigurationArgs,
}

impl CalibrateArgs {
    /// Most bytes of memory for the inputs of a layer.
    fn hidden_memory(&self) -> u64 {
        match self.hidden_memory {
            Some(mebibytes) => mebibytes.saturating_mul(1 << 20),
            None => available_memory().map_or(u64::MAX, |available| available / 2),
        }
    }
}

/// Calibrates layer by layer, then writes the model.
pub fn run(args: &CalibrateArgs) -> Result<Done> {
    let config = args.configuration.one()?;
    let written = match args.to.says_inputs() {
        true => config.without_cache(),
        false => config.without_cache().without_inputs(),
    };
    check_storable(&written, args.to)?;
    check_apart(&args.model, &args.output)?;
    use_threads(args.text.threads)?;
    let stop = stop_on_signals("stopping; the same command goes on with what is finished")?;
    let checkpoint = args.merge.open(&args.model, &config)?;
    let layers = checkpoint.config().num_hidden_layers;
    config.check_layers(layers)?;
    check_formats(checkpoint.parameters(), &config)?;
    check_codes(&checkpoint, &config)?;
    let new = NewModel {
        model: &args.model,
        checkpoint: &checkpoint,
        output: &args.output,
        to: args.to,
        overwrite: args.overwrite,
    };
    let together = new.check(&written)?;

    let cut = args.text.cut(&checkpoint, args.sequences, args.length)?;
    let dtype = args.text.dtype.0.unwrap_or(checkpoint.config().dtype);
    let recipe = Recipe {
        tokens: args.token_weight,
        order: args.order,
        damping: args.damping,
        scales: args.scales,
    };
    let mut run = json!({
        "method": "second-order",
        "recipe": recipe,
        "configuration": config,
        "model": checkpoint.fingerprint(),
        "dtype": dtype.to_string(),
        "sequences": args.sequences,
        "length": args.length,
        "tokens_sha256": cut.sha256(),
        "sequences_of_the_model": cut.own(),
        "weights_with_one_tensor_scale": together.iter().map(Vec::len).collect::<Vec<_>>(),
        "version": build_version(),
    });
    if let Some(rotation) = args.merge.merge_rotation {
        run["merged_rotation"] = json!(rotation);
    }
    let timing = Timing {
        checkpoint: &checkpoint,
        config: &config,
        dtype,
        recipe,
    };
    let sizes = Sizes {
        sequences: args.sequences.get(),
        length: args.length,
        own: cut.own(),
        hidden_memory: args.hidden_memory(),
    };
    let expected = words(&Estimate::new(&timing, &sizes)?, &args.output);
    if args.dry_run {
        print(&expected)?;
        return Ok(Done::Ok);
    }
    eprint!("{expected}");
    let store = Store::open(&folder(&args.output)?, layers, &run)?;
    let layers_before = (0..layers).filter(|&layer| store.has(layer)).count();

    let begin = Instant::now();
    let sequences = (args.text).complete(cut, &args.model, args.length, Some(&store), &stop)?;
    let Some(sequences) = sequences else {
        return Ok(Done::Interrupted);
    };
    let bar = progress("calibrating", layers, "layers");
    let calibration = Calibration {
        checkpoint: &checkpoint,
        config: &config,
        dtype,
        recipe,
        sequences: &sequences,
        memory: sizes.hidden_memory,
        together: &together,
    };
    let is_complete = calibration.run(&store, &stop, |_| bar.inc(1))?;
    bar.finish_and_clear();
    if !is_complete {
        return Ok(Done::Interrupted);
    }
    let calibrated = Calibrated {
        layers: &store,
        run: run.clone(),
    };
    let text = match new.write(&written, Some(&calibrated), &stop) {
        Err(error) if error.is::<Interrupted>() => return Ok(Done::Interrupted),
        text => text?,
    };
    store.remove()?;
    let seconds = begin.elapsed().as_secs_f64();
    if let Some(path) = &args.output_path {
        let record = CalibrateRecord {
            environment: Environment::capture(),
            run,
            seconds,
            layers_before,
            peak_memory_bytes: peak_memory(std::process::id()),
            threads: rayon::current_num_threads(),
        };
        record::write(path, &record)?;
    }
    let mut text = format!(
        "calibrated by {} tokens in {seconds:.0} s\n{text}",
        sequences.len() * args.length
    );
    let is_dropped = |kept: QuantConfig| kept != config;
    let mut dropped = Vec::new();
    if !args.to.says_inputs() && is_dropped(config.without_inputs()) {
        dropped.push("inputs");
    }
    if is_dropped(config.without_cache()) {
        dropped.push("keys, values or the head's input");
    }
    if !dropped.is_empty() {
        text += &format!(
            "not stored by {}: formats of {}; give them again when the model runs\n",
            args.to.name(),
            dropped.join(", and of "),
        );
    }
    print(&text)?;
    Ok(Done::Ok)
}

/// Where finished layers are kept: beside the output.
fn folder(output: &Path) -> Result<PathBuf> {
    let name = output.file_name().ok_or_else(|| {
        let message = format!("`{}` is no name for a new model", output.display());
        Usage(message)
    })?;
    let mut name = name.to_owned();
    name.push(".calibration");
    Ok(output.with_file_name(name))
}

/// Checks that weights have formats, and that these are in blocks of the lab's.
fn check_formats(parameters: &Parameters, config: &QuantConfig) -> Result<()> {
    let formats = parameters
        .projections()
        .map(|(_, _, weight)| weight.weight_format(config));
    let formats = formats.collect::<Result<Vec<_>, _>>()?;
    if formats.iter().all(Option::is_none) {
        let message = "there is nothing to calibrate: the configuration quantises no weights; add \
            --weights or --config";
        return Err(Usage(message.to_owned()).into());
    }
    if let Some(other) = formats
        .iter()
        .flatten()
        .find(|format| format.block().is_none())
    {
        let message = format!(
            "codes of {other} cannot be chosen: expected an element with block scales, such as \
             mxfp4, nvfp4 or int4"
        );
        return Err(Usage(message).into());
    }
    Ok(())
}

/// Checks that weights which a configuration rotates are not stored as codes: what is measured
/// begins with their values.
pub fn check_codes(checkpoint: &Checkpoint, config: &QuantConfig) -> Result<()> {
    for (_, projection, weight) in checkpoint.parameters().projections() {
        if config.rotation_of(projection).is_some()
            && checkpoint.view(weight)?.format().is_some()
            && checkpoint.stored_rotation(weight)?.is_none()
        {
            let message = format!(
                "`{}` is stored as codes, which are not rotated; write a model of floats first \
                 (`mxlab convert MODEL FLOATS --to dense`), and give that one",
                weight.name
            );
            return Err(Usage(message).into());
        }
    }
    Ok(())
}

fn damping(text: &str) -> Result<f64, String> {
    let number = text.parse().ok();
    let number = number.filter(|x: &f64| *x >= 0.0 && x.is_finite());
    number.ok_or_else(|| "expected zero or a positive number".to_owned())
}

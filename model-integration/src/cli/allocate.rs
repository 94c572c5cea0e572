//! `mxlab allocate`: formats of weights by layer and projection for a budget of bits.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

use anyhow::Result;
use clap::Args;
use mxlab_harness::record::write_atomic;
use mxlab_kernels::format::{BlockFormat, MatrixFormat};

use super::Done;
use super::calibrate::{check_codes, layer_progress};
use super::configuration::ConfigurationsArgs;
use super::interrupt::stop_on_signals;
use super::model::{Dtype, open_checkpoint, threads, use_threads};
use super::output::{Usage, print};
use crate::calibrate::allocate::{Allocation, Costs, choose};
use crate::calibrate::text::{TextPart, sequences};
use crate::config::{LayerSet, Override, Projection, QuantConfig};
use crate::memory::available_memory;

#[derive(Args)]
pub struct AllocateArgs {
    /// Model directory, GGUF file, hub name, `embedded` or `synthetic:NAME`
    model: String,
    /// Configuration file to write
    output: PathBuf,
    /// Most bits a weight, scales included, on average over the projections
    #[arg(long, value_name = "BITS", value_parser = bits)]
    bits: f64,
    /// Replace an existing file
    #[arg(long)]
    overwrite: bool,
    /// Text to measure by, or some of its characters: `FILE` or `FILE#FROM..TO`. Repeat it: each
    /// text gives as many sequences as the others
    #[arg(long, value_name = "FILE", required = true, help_heading = "Text")]
    text: Vec<TextPart>,
    /// Sequences
    #[arg(long, value_name = "N", default_value = "4", help_heading = "Text")]
    sequences: NonZeroUsize,
    /// Tokens of a sequence
    #[arg(long, value_name = "N", default_value_t = 64, help_heading = "Text")]
    length: usize,
    /// Type of the unquantised arithmetic: auto (the checkpoint's), float32, bfloat16, float16
    #[arg(
        long,
        value_name = "DTYPE",
        default_value = "auto",
        help_heading = "Model"
    )]
    dtype: Dtype,
    /// Compute threads [default: all processors]
    #[arg(long, value_name = "N", value_parser = threads, help_heading = "Model")]
    threads: Option<usize>,
    #[command(flatten)]
    configuration: ConfigurationsArgs,
}

/// Measures what each projection costs under each format, and writes the configuration.
pub fn run(args: &AllocateArgs) -> Result<Done> {
    let (config, choices) = choices(&args.configuration.all()?)?;
    if args.output.exists() && !args.overwrite {
        let message = format!(
            "`{}` exists already; replace it with --overwrite, or choose another file",
            args.output.display()
        );
        return Err(Usage(message).into());
    }
    let folder = args
        .output
        .parent()
        .filter(|folder| *folder != Path::new(""));
    if args.output.is_dir() || folder.is_some_and(|folder| !folder.is_dir()) {
        let message = format!(
            "`{}` is no file that can be written; give a name in a folder that exists",
            args.output.display()
        );
        return Err(Usage(message).into());
    }
    use_threads(args.threads)?;
    let stop = stop_on_signals("stopping; nothing is kept")?;
    let checkpoint = open_checkpoint(&args.model)?;
    let most = checkpoint.config().max_position_embeddings;
    if args.length > most {
        let message = format!("--length {}: the model takes {most} tokens", args.length);
        return Err(Usage(message).into());
    }
    let texts = args.text.iter().map(TextPart::read);
    let texts = texts.collect::<Result<Vec<String>>>()?;
    let tokenizer = checkpoint.tokenizer()?;
    let sequences = sequences(&texts, &tokenizer, [args.sequences.get(), args.length])?;
    check_codes(&checkpoint, &config)?;
    // Original logits, their probabilities, and those of a change.
    let logits = args.sequences.get() * args.length * checkpoint.config().vocab_size;
    let bytes = 3 * 4 * logits as u64;
    if let Some(available) = available_memory().filter(|available| *available < bytes) {
        let message = format!(
            "logits of {} sequences of {} tokens take {} MiB, and {} are available; lower \
             --sequences or --length",
            args.sequences,
            args.length,
            bytes >> 20,
            available >> 20,
        );
        return Err(Usage(message).into());
    }
    let allocation = Allocation {
        checkpoint: &checkpoint,
        config: &config,
        choices: &choices,
        dtype: args.dtype.0.unwrap_or(checkpoint.config().dtype),
        sequences: &sequences,
    };
    let bar = layer_progress("measuring", checkpoint.config().num_hidden_layers);
    let costs = allocation.costs(&stop, |_| bar.inc(1))?;
    bar.finish_and_clear();
    let Some(costs) = costs else {
        return Ok(Done::Interrupted);
    };
    let Some(chosen) = choose(&costs, args.bits) else {
        let smallest = costs.iter().map(|of| of.bytes.iter().min().unwrap_or(&0));
        let message = format!(
            "--bits {}: the smallest formats need {:.3} bits a weight; raise it, or add a smaller \
             format to --weights",
            args.bits,
            8.0 * smallest.sum::<usize>() as f64 / elements(&costs) as f64,
        );
        return Err(Usage(message).into());
    };
    let mixed = mixed(&config, &choices, &costs, &chosen);
    let mut text = format!(
        "# Of {} for at most {} bits a weight.\n",
        args.model, args.bits
    );
    text += &mixed.to_toml();
    let summary = summary(&allocation, &mixed, &costs, &chosen)?;
    if stop.load(Ordering::Relaxed) {
        return Ok(Done::Interrupted);
    }
    write_atomic(&args.output, text.as_bytes())?;
    print(&summary)?;
    Ok(Done::Ok)
}

/// The configuration without formats of weights, and those to choose from.
fn choices(all: &[QuantConfig]) -> Result<(QuantConfig, Vec<BlockFormat>)> {
    let mut choices: Vec<BlockFormat> = Vec::new();
    let mut first = None;
    for config in all {
        let has_own = (config.overrides.iter()).any(|change| change.weights.is_some());
        if has_own {
            let message = "the configuration gives weights formats by layer or projection, which \
                is what this command chooses; give formats with --weights";
            return Err(Usage(message.to_owned()).into());
        }
        match config.weights {
            None => continue,
            Some(MatrixFormat::Ggml(format)) => {
                let message = format!(
                    "{format} is no format to choose: expected elements with block scales, such as \
                     mxfp4, nvfp4 or fp6_e2m3"
                );
                return Err(Usage(message).into());
            }
            Some(MatrixFormat::Block(format)) if !choices.contains(&format) => choices.push(format),
            Some(MatrixFormat::Block(_)) => {}
        }
        let others = |config: &QuantConfig| QuantConfig {
            name: String::new(),
            ..config.without_weights()
        };
        let known: &QuantConfig = first.get_or_insert_with(|| config.clone());
        if others(known) != others(config) {
            let message = format!(
                "`{}` and `{}` differ in more than the format of weights; give one configuration, \
                 or none, and the formats with --weights",
                known.name, config.name
            );
            return Err(Usage(message).into());
        }
    }
    match first {
        Some(config) if choices.len() > 1 => Ok((config, choices)),
        _ => {
            let message = "there is nothing to choose: give at least two formats of weights, as in \
                --weights mxfp4,fp6_e2m3";
            Err(Usage(message.to_owned()).into())
        }
    }
}

/// The configuration with the format that most weights have, and exceptions.
fn mixed(
    config: &QuantConfig,
    choices: &[BlockFormat],
    costs: &[Costs],
    chosen: &[usize],
) -> QuantConfig {
    let elements = |place: usize| {
        let of = costs.iter().zip(chosen).filter(|(_, at)| **at == place);
        of.map(|(of, _)| of.elements).sum::<usize>()
    };
    let base = (0..choices.len()).max_by_key(|&place| elements(place));
    let base = base.unwrap_or(0);
    let mut mixed = config.clone();
    mixed.weights = Some(choices[base].into());
    for (place, format) in choices
        .iter()
        .enumerate()
        .filter(|(place, _)| *place != base)
    {
        for projection in Projection::ALL {
            let is_it = |(of, at): &(&Costs, &usize)| of.projection == projection && **at == place;
            let of = costs.iter().zip(chosen).filter(is_it);
            if let Some(layers) = LayerSet::of(of.map(|(of, _)| of.layer)) {
                mixed.overrides.push(Override {
                    layers: Some(layers),
                    projections: Some(vec![projection]),
                    weights: Some(Some((*format).into())),
                    activations: None,
                    keys: None,
                    values: None,
                });
            }
        }
    }
    mixed
}

fn elements(costs: &[Costs]) -> usize {
    costs.iter().map(|of| of.elements).sum()
}

/// What was chosen, and what its sum of costs is worth.
fn summary(
    allocation: &Allocation,
    mixed: &QuantConfig,
    costs: &[Costs],
    chosen: &[usize],
) -> Result<String> {
    let all = elements(costs) as f64;
    let of = |chosen: &dyn Fn(usize) -> usize| {
        let places = (0..costs.len()).map(|number| (&costs[number], chosen(number)));
        let bits = places.clone().map(|(of, at)| of.bytes[at]).sum::<usize>() as f64 * 8.0 / all;
        (bits, places.map(|(of, at)| of.nats[at]).sum::<f64>())
    };
    let mut text = String::from("weights                        bits   nats, summed   measured\n");
    let mut line = |name: &str, (bits, sum): (f64, f64), config: &QuantConfig| -> Result<()> {
        let measured = allocation.measured(config)?;
        text += &format!("{name:<30} {bits:>4.2} {sum:>14.4} {measured:>10.4}\n");
        Ok(())
    };
    for (place, format) in allocation.choices.iter().enumerate() {
        let mut config = allocation.config.clone();
        config.weights = Some((*format).into());
        let name = format!(
            "{} {} k{}",
            format.element(),
            format.scale(),
            format.block_size()
        );
        line(&name, of(&|_| place), &config)?;
    }
    line("chosen", of(&|number| chosen[number]), mixed)?;
    for (place, format) in allocation.choices.iter().enumerate() {
        let of = costs.iter().zip(chosen).filter(|(_, at)| **at == place);
        let share = of.clone().map(|(of, _)| of.elements).sum::<usize>() as f64 / all;
        text += &format!(
            "{}: {} projections, {:.1} % of weights\n",
            format,
            of.count(),
            100.0 * share
        );
    }
    text += "nats a token by which the logits diverge, inputs as they are: summed over \
             projections, each alone in codes; measured, all together\n";
    Ok(text)
}

fn bits(text: &str) -> Result<f64, String> {
    let number = text.parse().ok();
    let number = number.filter(|x: &f64| (0.0..=64.0).contains(x));
    number.ok_or_else(|| "expected bits a weight, such as 4.75".to_owned())
}

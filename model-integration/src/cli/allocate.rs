//! `mxlab allocate`: formats of weights by layer and projection for a budget of bits.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::time::Instant;

use anyhow::Result;
use clap::Args;
use mxlab_harness::record::{Environment, write_atomic};
use mxlab_kernels::format::{BlockFormat, MatrixFormat};

use super::Done;
use super::calibrate::check_codes;
use super::configuration::ConfigurationArgs;
use super::interrupt::stop_on_signals;
use super::merge::MergeArgs;
use super::model::use_threads;
use super::output::{Usage, print};
use super::text::{TextArgs, progress};
use crate::calibrate::allocate::{Allocation, Measuring};
use crate::calibrate::budget::{Costs, choose};
use crate::config::{LayerSet, Override, Projection, QuantConfig};
use crate::memory::available_memory;
use crate::model::stored_formats::stored_name;
use crate::record;
use crate::record::calibrate::{AllocateRecord, Assignment};

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
    /// JSON file for the record, compressed if it ends in .gz
    #[arg(long, value_name = "FILE")]
    output_path: Option<PathBuf>,
    #[command(flatten)]
    text: TextArgs,
    /// Sequences
    #[arg(long, value_name = "N", default_value = "4", help_heading = "Text")]
    sequences: NonZeroUsize,
    /// Tokens of a sequence
    #[arg(long, value_name = "N", default_value_t = 64, help_heading = "Text")]
    length: usize,
    #[command(flatten)]
    merge: MergeArgs,
    #[command(flatten)]
    configuration: ConfigurationArgs,
}

/// Measures what each projection costs under each format, and writes the configuration.
pub fn run(args: &AllocateArgs) -> Result<Done> {
    let (config, choices) = choices(args.configuration.each()?)?;
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
    use_threads(args.text.threads)?;
    let stop = stop_on_signals("stopping; nothing is kept")?;
    let checkpoint = args.merge.open(&args.model, &config)?;
    let cut = args.text.cut(&checkpoint, args.sequences, args.length)?;
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
    let Some(sequences) = args
        .text
        .complete(cut, &args.model, args.length, None, &stop)?
    else {
        return Ok(Done::Interrupted);
    };
    let allocation = Allocation {
        checkpoint: &checkpoint,
        config: &config,
        choices: &choices,
        dtype: args.text.dtype.0.unwrap_or(checkpoint.config().dtype),
        sequences: &sequences,
    };
    let begin = Instant::now();
    let mut measuring = allocation.measure()?;
    let layers = checkpoint.config().num_hidden_layers;
    let bar = progress("measuring", layers, "layers");
    let costs = measuring.costs(&stop, |_| bar.inc(1))?;
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
    let (assignments, summary) = summary(&measuring, &allocation, &mixed, &costs, &chosen)?;
    if stop.load(Ordering::Relaxed) {
        return Ok(Done::Interrupted);
    }
    write_atomic(&args.output, text.as_bytes())?;
    if let Some(path) = &args.output_path {
        let record = AllocateRecord {
            environment: Environment::capture(),
            most_bits: args.bits,
            assignments,
            seconds: begin.elapsed().as_secs_f64(),
        };
        record::write(path, &record)?;
    }
    print(&summary)?;
    Ok(Done::Ok)
}

/// The first of configurations that differ in the format of weights, and those formats.
fn choices(each: Vec<QuantConfig>) -> Result<(QuantConfig, Vec<BlockFormat>)> {
    let refused = |message: String| Err(Usage(message).into());
    let mut choices: Vec<BlockFormat> = Vec::new();
    for config in &each {
        if config
            .overrides
            .iter()
            .any(|change| change.weights.is_some())
        {
            return refused(format!(
                "`{}` gives weights formats by layer or projection, which is what this command \
                 chooses; give formats with --weights",
                config.name
            ));
        }
        match config.weights {
            Some(MatrixFormat::Block(format)) if choices.contains(&format) => {}
            Some(MatrixFormat::Block(format)) => choices.push(format),
            Some(MatrixFormat::Ggml(format)) => {
                return refused(format!(
                    "{format} is no format to choose: expected elements with block scales, such as \
                     mxfp4, nvfp4 or fp6_e2m3"
                ));
            }
            None => {
                return refused(format!(
                    "`{}` has no format of weights; name at least two, as in --weights \
                     mxfp4,fp6_e2m3",
                    config.name
                ));
            }
        }
    }
    match (each.into_iter().next(), choices.len()) {
        (Some(config), 2..) => Ok((config, choices)),
        _ => refused(
            "there is nothing to choose: give at least two formats of weights, as in --weights \
             mxfp4,fp6_e2m3"
                .to_owned(),
        ),
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
    measuring: &Measuring,
    allocation: &Allocation,
    mixed: &QuantConfig,
    costs: &[Costs],
    chosen: &[usize],
) -> Result<(Vec<Assignment>, String)> {
    let all = elements(costs) as f64;
    let of = |chosen: &dyn Fn(usize) -> usize| {
        let places = (0..costs.len()).map(|number| (&costs[number], chosen(number)));
        let bits = places.clone().map(|(of, at)| of.bytes[at]).sum::<usize>() as f64 * 8.0 / all;
        (bits, places.map(|(of, at)| of.nats[at]).sum::<f64>())
    };
    let mut text = String::from("weights                        bits   nats, summed   measured\n");
    let mut assignments = Vec::new();
    let mut line = |name: &str, (bits, sum): (f64, f64), config: &QuantConfig| -> Result<()> {
        let measured = measuring.measured(config)?;
        text += &format!("{name:<30} {bits:>4.2} {sum:>14.4} {measured:>10.4}\n");
        assignments.push(Assignment {
            name: name.to_owned(),
            bits,
            summed_nats: sum,
            measured_nats: measured,
        });
        Ok(())
    };
    for (place, format) in allocation.choices.iter().enumerate() {
        let mut config = allocation.config.clone();
        config.weights = Some((*format).into());
        let name = stored_name(format);
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
    Ok((assignments, text))
}

fn bits(text: &str) -> Result<f64, String> {
    let number = text.parse().ok();
    let number = number.filter(|x: &f64| (0.0..=64.0).contains(x));
    number.ok_or_else(|| "expected bits a weight, such as 4.75".to_owned())
}

//! `mxlab train`: trains the embedded model from a seed.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Args;
use mxlab_harness::record::write_atomic;

use super::Done;
use crate::corpus::heldout;
use crate::train::{Recipe, train};

/// Number of held-out stories in the task.
const EXAMPLES: usize = 1200;

#[derive(Args)]
pub struct TrainArgs {
    /// Folder to write the model and its task into
    #[arg(long, value_name = "DIR")]
    output_path: PathBuf,
    /// Seed of weights and stories
    #[arg(long, value_name = "N", default_value_t = Recipe::default().seed)]
    seed: u64,
    /// Optimiser steps
    #[arg(long, value_name = "N", default_value_t = Recipe::default().steps as u32,
          value_parser = clap::value_parser!(u32).range(1..))]
    steps: u32,
    /// Threads; they do not change the result [default: one per core]
    #[arg(long, value_name = "N", value_parser = super::model::threads)]
    threads: Option<usize>,
}

/// Trains, then writes `config.json`, `model.safetensors`, `tokenizer.json` and `task.jsonl`.
pub fn run(args: &TrainArgs) -> Result<Done> {
    // SAFETY: no other thread exists yet, so none reads the environment meanwhile. Each worker
    // trains on one thread; candle, which reads this variable, must not add its own.
    unsafe { std::env::set_var("RAYON_NUM_THREADS", "1") };
    let directory = &args.output_path;
    // An unwritable directory is reported before the training, not after.
    fs::create_dir_all(directory).with_context(|| format!("creating {}", directory.display()))?;
    let task = heldout::write(args.seed, EXAMPLES);
    write_atomic(&directory.join("task.jsonl"), task.as_bytes())?;
    let mut recipe = Recipe {
        seed: args.seed,
        steps: args.steps as usize,
        ..Recipe::default()
    };
    if let Some(threads) = args.threads {
        recipe.threads = threads;
    }
    train(&recipe, directory)?;
    Ok(Done::Ok)
}

//! The text that a model runs on to be measured, and how the CPU runs it.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;

use anyhow::Result;
use clap::Args;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::data::data_sources;
use super::model::{Dtype, open_checkpoint, threads};
use super::output::Usage;
use crate::calibrate::Stopped;
use crate::calibrate::own_text::write;
use crate::calibrate::source::{TextPart, names};
use crate::calibrate::store::Store;
use crate::calibrate::text::{Cut, cut};
use crate::checkpoint::Checkpoint;
use crate::model::cpu::CpuEngine;

/// Help for `--text`.
fn text_help() -> String {
    format!(
        "Text to measure by: a file, `self` for what the model writes itself, `embedded` for \
         stories of the embedded model's kind, or the training split of a task ({}). \
         `FILE#FROM..TO` takes some of its characters. Repeat it: each text gives as many \
         sequences as the others",
        names()[2..].join(", ")
    )
}

#[derive(Args, Clone, Debug)]
pub struct TextArgs {
    #[arg(long, help = text_help(), value_name = "FILE|NAME", required = true,
          help_heading = "Text")]
    text: Vec<TextPart>,
    /// Folder with the files of named tasks; missing files are downloaded from the hub
    #[arg(long, value_name = "DIR", env = "MXLAB_DATA", help_heading = "Text")]
    data_dir: Option<PathBuf>,
    /// Type of the unquantised arithmetic: auto (the checkpoint's), float32, bfloat16, float16
    #[arg(
        long,
        value_name = "DTYPE",
        default_value = "auto",
        help_heading = "Model"
    )]
    pub dtype: Dtype,
    /// Compute threads [default: all processors]
    #[arg(long, value_name = "N", value_parser = threads, help_heading = "Model")]
    pub threads: Option<usize>,
}

impl TextArgs {
    /// `count` sequences of `length` tokens of the model, without those that it writes itself.
    ///
    /// # Errors
    /// A text that cannot be read or is too short; sequences that the model does not take.
    pub fn cut(&self, checkpoint: &Checkpoint, count: NonZeroUsize, length: usize) -> Result<Cut> {
        let most = checkpoint.config().max_position_embeddings;
        if length > most {
            let message = format!("--length {length}: the model takes {most} tokens");
            return Err(Usage(message).into());
        }
        let sources = data_sources(self.data_dir.as_deref());
        let sizes = [count.get(), length];
        cut(&self.text, &sources, &checkpoint.tokenizer()?, sizes)
    }

    /// All sequences, once the model has written its own; `None` if `stop` was set before. Those
    /// that are written are kept in `store`.
    ///
    /// # Errors
    /// If the model cannot be run; files of the store.
    pub fn complete(
        &self,
        cut: Cut,
        model: &str,
        length: usize,
        store: Option<&Store>,
        stop: &AtomicBool,
    ) -> Result<Option<Vec<Vec<u32>>>> {
        let count = cut.own();
        if count == 0 {
            return cut.with(Vec::new()).map(Some);
        }
        let engine = CpuEngine::new(open_checkpoint(model)?, self.dtype.0, None)?;
        let bar = progress("writing text", count * (length - 1), "tokens");
        let own = write(&engine, [count, length], store, stop, &|| bar.inc(1));
        bar.finish_and_clear();
        match own {
            Err(error) if error.is::<Stopped>() => Ok(None),
            own => cut.with(own?).map(Some),
        }
    }
}

/// A bar with the time left.
pub fn progress(doing: &str, count: usize, of: &str) -> ProgressBar {
    let template =
        format!("{{msg:18}} [{{bar:30}}] {{pos}}/{{len}} {of}, {{elapsed}} elapsed, {{eta}} left");
    let style = ProgressStyle::with_template(&template).expect("a well-formed template");
    let bar = ProgressBar::with_draw_target(Some(count as u64), ProgressDrawTarget::stderr());
    bar.set_style(style.progress_chars("=> "));
    bar.with_message(doing.to_owned())
}

//! The text that a model runs on to be measured, and how the CPU runs it.

use std::num::NonZeroUsize;

use anyhow::Result;
use clap::Args;

use super::model::{Dtype, threads};
use super::output::Usage;
use crate::calibrate::text::sequences;
use crate::checkpoint::Checkpoint;
use crate::excerpt::Excerpt;

#[derive(Args, Clone, Debug)]
pub struct TextArgs {
    /// Text to measure by, or some of its characters: `FILE` or `FILE#FROM..TO`. Repeat it: each
    /// text gives as many sequences as the others
    #[arg(long, value_name = "FILE", required = true, help_heading = "Text")]
    text: Vec<Excerpt>,
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
    /// `count` sequences of `length` tokens of the model.
    ///
    /// # Errors
    /// A text that cannot be read or is too short; sequences that the model does not take.
    pub fn sequences(
        &self,
        checkpoint: &Checkpoint,
        count: NonZeroUsize,
        length: usize,
    ) -> Result<Vec<Vec<u32>>> {
        let most = checkpoint.config().max_position_embeddings;
        if length > most {
            let message = format!("--length {length}: the model takes {most} tokens");
            return Err(Usage(message).into());
        }
        let texts = self.text.iter().map(Excerpt::read);
        let texts = texts.collect::<Result<Vec<String>>>()?;
        sequences(&texts, &checkpoint.tokenizer()?, [count.get(), length])
    }
}

//! Text that a model writes itself: sequences from the token that texts begin with, each next token
//! drawn by the model's own probabilities.

use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result, ensure};
use mxlab_kernels::reference::Sampling;

use super::Stopped;
use super::store::Store;
use crate::config::QuantConfig;
use crate::engine::{Engine, Sampler};
use crate::generate::{self, Listener, Prompt, Settings};

/// Sequences that are written together.
pub const BATCH: usize = 32;
/// Seed of the first batch; each has the next one.
pub const SEED: u32 = 0x7365_6c66;

/// `count` sequences of `length` tokens, the first token included. The ends of texts are tokens like
/// others, and another text follows them. A batch that `store` has is taken from there; a new one
/// is kept there. `written` is called with each token.
///
/// # Errors
/// If the model has no token that texts begin with, takes fewer tokens, or cannot be run;
/// [`Stopped`]; a file that cannot be read or written.
pub fn write(
    engine: &dyn Engine,
    [count, length]: [usize; 2],
    store: Option<&Store>,
    stop: &AtomicBool,
    written: &dyn Fn(),
) -> Result<Vec<Vec<u32>>> {
    let first = engine.tokenizer().prefix_token().map(|(token, _)| token);
    let first = first.context(
        "the model cannot write a text itself: its tokenizer has neither BOS nor EOS, with which \
         texts begin",
    )?;
    let mut sequences: Vec<Vec<u32>> = Vec::with_capacity(count);
    for batch in 0..count.div_ceil(BATCH) {
        if let Some(kept) = store.map(|store| store.text(batch)).transpose()?.flatten() {
            (0..kept.len() * (length - 1)).for_each(|_| written());
            sequences.extend(kept);
            continue;
        }
        let size = BATCH.min(count - sequences.len());
        let prompts: Vec<Prompt> = (0..size)
            .map(|_| Prompt {
                source: "the text of the model".to_owned(),
                tokens: vec![first],
                is_text: true,
            })
            .collect();
        let settings = Settings {
            max_tokens: length - 1,
            sampler: Sampler {
                sampling: Sampling {
                    temperature: 1.0,
                    top_p: 1.0,
                },
                seed: SEED + batch as u32,
            },
            ignore_eos: true,
            warm_up: false,
        };
        let mut listener = Watching { stop, written };
        let baseline = QuantConfig::unquantised("baseline");
        let (texts, _) = generate::run(engine, &baseline, &prompts, &settings, &mut listener)?;
        let texts = texts
            .into_iter()
            .map(|text| [vec![first], text.tokens].concat());
        let texts: Vec<Vec<u32>> = texts.collect();
        if let Some(store) = store {
            store.keep_text(batch, &texts)?;
        }
        sequences.extend(texts);
    }
    Ok(sequences)
}

/// Counts tokens, until it is to stop.
struct Watching<'a> {
    stop: &'a AtomicBool,
    written: &'a dyn Fn(),
}

impl Listener for Watching<'_> {
    fn token(&mut self, _: usize, _: u32) -> Result<()> {
        ensure!(!self.stop.load(Ordering::Relaxed), Stopped);
        (self.written)();
        Ok(())
    }

    fn end(&mut self, _: usize) -> Result<()> {
        Ok(())
    }
}

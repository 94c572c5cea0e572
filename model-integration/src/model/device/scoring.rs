//! Scoring by a model on a device.

use anyhow::Result;
use mxlab_kernels::format::FloatType;

use super::engine::Loaded;
use super::features;
use crate::description::ModelConfig;
use crate::engine::{CausalModel, Request, Score};
use crate::model::score::score_targets;
use crate::model::{Batch, Reach, context};

/// A model under one configuration.
pub(super) struct DeviceModel<'a> {
    pub shape: &'a ModelConfig,
    /// Type of log-softmax.
    pub softmax_dtype: FloatType,
    pub loaded: Loaded,
}

impl CausalModel for DeviceModel<'_> {
    fn score(&mut self, requests: &[Request]) -> Result<Vec<Score>> {
        let mut scores = Vec::with_capacity(requests.len());
        let mut rest = requests;
        while !rest.is_empty() {
            let (part, others) = rest.split_at(self.fitting(rest));
            scores.extend(self.score_part(part)?);
            rest = others;
        }
        Ok(scores)
    }

    fn trace(&mut self, request: &Request) -> Result<()> {
        self.loaded.backend.set_watching(true);
        let traced = self.score_part(std::slice::from_ref(request));
        self.loaded.backend.set_watching(false);
        traced.map(|_| ())
    }
}

impl DeviceModel<'_> {
    /// How many of the requests fit into one pass; at least one.
    fn fitting(&self, requests: &[Request]) -> usize {
        let limits = &self.loaded.limits;
        let (mut tokens, mut longest, mut count) = (0, 0, 0);
        for request in requests {
            tokens += request.tokens.len() - 1;
            longest = longest.max(request.tokens.len() - 1);
            let is_alike = self.reach(request) == self.reach(&requests[0]);
            let has_room = self.loaded.cache.fits(count + 1, longest);
            if !is_alike || tokens > limits.tokens || !has_room {
                break;
            }
            count += 1;
        }
        count.max(1)
    }

    fn reach(&self, request: &Request) -> Reach {
        context::reach(self.shape, request.tokens.len() - 1)
    }

    /// Scores part of a batch, whose sequences have the same reach. It takes one forward pass, or
    /// several for a single sequence that is longer than one pass.
    fn score_part(&mut self, requests: &[Request]) -> Result<Vec<Score>> {
        for request in requests {
            features::check_length(self.shape, request.tokens.len() - 1)?;
        }
        let reach = requests
            .first()
            .map(|first| self.reach(first))
            .unwrap_or_default();
        let Loaded {
            backend,
            llama,
            cache,
            limits,
        } = &mut self.loaded;
        let inputs: Vec<&[u32]> = requests
            .iter()
            .map(|request| &request.tokens[..request.tokens.len() - 1])
            .collect();
        let longest = inputs.iter().map(|input| input.len()).max().unwrap_or(0);
        cache.divide(inputs.len(), longest)?;
        let mut batches = Vec::new();
        match inputs.as_slice() {
            [input] if input.len() > limits.tokens => {
                for (piece, tokens) in input.chunks(limits.tokens).enumerate() {
                    let mut batch = Batch::default();
                    batch.push(0, piece * limits.tokens, tokens);
                    batches.push(batch);
                }
            }
            _ => batches.push(Batch::whole(inputs.iter().copied())),
        }
        let mut targets: Vec<Vec<_>> = requests.iter().map(|_| Vec::new()).collect();
        for mut batch in batches {
            batch.reach = reach;
            let (mut rows, mut wanted, mut of) = (Vec::new(), Vec::new(), Vec::new());
            let mut first = 0;
            for sequence in &batch.sequences {
                let request = &requests[sequence.slot];
                // Row `i` of the logits predicts the token at position `i + 1`.
                let scored = request.tokens.len() - request.targets;
                for position in sequence.past..sequence.end() {
                    if position + 1 >= scored {
                        rows.push((first + position - sequence.past) as u32);
                        wanted.push(request.tokens[position + 1]);
                        of.push(sequence.slot);
                    }
                }
                first += sequence.length;
            }
            if rows.is_empty() {
                // Only keys and values are needed; one row stands for all.
                rows.push(first.saturating_sub(1) as u32);
                llama.logits(backend, &batch, cache, &rows)?;
                backend.synchronize()?;
                continue;
            }
            let logits = llama.logits(backend, &batch, cache, &rows)?;
            let scored = backend.target_logits(&logits, &wanted)?;
            for (slot, target) in of.into_iter().zip(scored) {
                targets[slot].push(target);
            }
        }
        let dtype = self.softmax_dtype;
        let targets = targets.into_iter();
        Ok(targets
            .map(|targets| score_targets(targets, dtype))
            .collect())
    }
}

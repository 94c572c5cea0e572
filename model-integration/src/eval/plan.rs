//! The examples to evaluate, their order and their batches. A plan depends only on the arguments,
//! so a resumed run has the same batches as an undisturbed one.

use std::cmp::Reverse;
use std::ops::Range;
use std::str::FromStr;

use anyhow::{Context, Result};
use sha2::{Digest, Sha256};

use crate::engine::Request;
use crate::task::{Content, Example, FewShot, Kind, PromptEncoder, PromptStyle, Protocol, Task};

/// How many examples of a task are evaluated; the first ones are taken.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Limit {
    /// This many.
    Count(usize),
    /// This fraction of them, rounded up.
    Fraction(f64),
}

impl Limit {
    /// The number of examples out of `total`.
    pub fn of(self, total: usize) -> usize {
        match self {
            Self::Count(count) => count.min(total),
            Self::Fraction(fraction) => (total as f64 * fraction).ceil() as usize,
        }
    }
}

impl FromStr for Limit {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.parse::<f64>() {
            Ok(count) if count >= 1.0 && count.fract() == 0.0 && count < 1e15 => {
                Ok(Self::Count(count as usize))
            }
            Ok(fraction) if fraction > 0.0 && fraction < 1.0 => Ok(Self::Fraction(fraction)),
            _ => Err("neither a count of at least 1 nor a fraction between 0 and 1".into()),
        }
    }
}

/// The requests of a task.
pub struct Plan {
    /// The prompts of all examples, in the order of the task.
    pub prompts: Vec<Prompt>,
    /// Index of each example's first prompt, and the end of the last.
    starts: Vec<usize>,
    /// Indices into `prompts`, in the order of evaluation.
    order: Vec<usize>,
    batch_size: usize,
}

/// One prompt of an example: a whole cloze, one choice, or one window of a document.
pub struct Prompt {
    /// Index of the example.
    pub example: usize,
    /// Index of the prompt in the example.
    pub part: usize,
    /// Text before the target, solved examples included; empty for a document.
    pub context: String,
    /// The scored text: the target, a choice behind its delimiter, or the document; empty for a
    /// problem.
    pub target: String,
    /// Its tokens.
    pub request: Request,
    /// Tokens that did not fit and were dropped from the left.
    pub dropped_tokens: usize,
}

impl Plan {
    /// Encodes the examples within `limit` and orders them as lm-evaluation-harness does: longest
    /// first, then by tokens. So memory runs out at once or never, a batch has examples of similar
    /// length, and the remaining time is not underestimated.
    ///
    /// # Errors
    /// With the file and line of an example that cannot be encoded.
    pub fn new(
        task: &Task,
        encoder: &PromptEncoder,
        fewshot: &FewShot,
        style: &PromptStyle,
        limit: Option<Limit>,
        batch_size: usize,
    ) -> Result<Self> {
        fewshot.check(task)?;
        let count = limit.map_or(task.examples.len(), |limit| limit.of(task.examples.len()));
        let (mut prompts, mut starts) = (Vec::new(), vec![0]);
        let shots = fewshot.of(task).take(count).enumerate();
        for ((index, shots), example) in shots.zip(&task.examples) {
            let place = || format!("`{}` line {}", task.source, example.line);
            let context = shots.and_then(|shots| match task.kind() {
                Kind::Document => Ok(String::new()),
                _ => style.context(encoder.tokenizer, &shots, example),
            });
            let delimiter = style.choice_delimiter();
            let parts = context
                .and_then(|context| parts(task, example, index, context, delimiter, encoder));
            prompts.extend(parts.with_context(place)?);
            starts.push(prompts.len());
        }
        let mut order: Vec<usize> = (0..prompts.len()).collect();
        // Dropped tokens count, because the harness sorts before it truncates.
        order.sort_by_key(|&index| {
            let prompt = &prompts[index];
            let length = prompt.request.tokens.len() + prompt.dropped_tokens;
            (Reverse(length), &prompt.request.tokens)
        });
        Ok(Self {
            order,
            batch_size,
            prompts,
            starts,
        })
    }

    /// Number of examples.
    pub fn count(&self) -> usize {
        self.starts.len() - 1
    }

    /// The range of each example's prompts.
    pub fn examples(&self) -> impl Iterator<Item = Range<usize>> {
        self.starts.windows(2).map(|ends| ends[0]..ends[1])
    }

    /// Batches of indices into [`Self::prompts`], in the order of evaluation.
    pub fn batches(&self) -> impl Iterator<Item = &[usize]> {
        self.order.chunks(self.batch_size)
    }

    /// Indices into [`Self::prompts`], in the order of evaluation.
    pub fn order(&self) -> &[usize] {
        &self.order
    }

    /// How many of the first `count` prompts, in the order of evaluation, form whole batches.
    pub fn whole_batches(&self, count: usize) -> usize {
        if count >= self.order.len() {
            self.order.len()
        } else {
            count / self.batch_size * self.batch_size
        }
    }

    /// SHA-256 of the tokens of all prompts, in hexadecimal.
    pub fn sha256(&self) -> String {
        let mut hash = Sha256::new();
        for Prompt { request, .. } in &self.prompts {
            hash.update((request.tokens.len() as u64).to_le_bytes());
            hash.update((request.targets as u64).to_le_bytes());
            hash.update(bytemuck::cast_slice::<u32, u8>(&request.tokens));
        }
        format!("{:x}", hash.finalize())
    }

    /// The first prompt with a token that is not below `vocabulary`, and that token.
    pub fn beyond(&self, vocabulary: usize) -> Option<(&Prompt, u32)> {
        self.prompts.iter().find_map(|prompt| {
            let mut tokens = prompt.request.tokens.iter();
            let beyond = tokens.find(|&&token| token as usize >= vocabulary);
            beyond.map(|&token| (prompt, token))
        })
    }

    /// Number of examples with a truncated prompt.
    pub fn truncated(&self) -> usize {
        let did_not_fit = |prompt: &Prompt| prompt.dropped_tokens > 0;
        let examples = self.examples();
        examples
            .filter(|prompts| self.prompts[prompts.clone()].iter().any(did_not_fit))
            .count()
    }

    /// The number of tokens of each prompt, and of its targets, whose keys and values are cached.
    pub fn cached(&self) -> impl Iterator<Item = u64> {
        (0..self.prompts.len()).map(|prompt| self.tokens(&[prompt]))
    }

    /// Number of tokens that go through the model for these prompts.
    pub fn tokens(&self, indices: &[usize]) -> u64 {
        let inputs = |&index: &usize| {
            let Request { tokens, targets } = &self.prompts[index].request;
            tokens.len() as u64 - u64::from(*targets > 0)
        };
        indices.iter().map(inputs).sum()
    }
}

/// The prompts of an example.
fn parts(
    task: &Task,
    example: &Example,
    index: usize,
    context: String,
    delimiter: &str,
    encoder: &PromptEncoder,
) -> Result<Vec<Prompt>> {
    let scored = |context: &str, part: usize, target: String| {
        let encoded = encoder.encode(context, &target)?;
        Ok(Prompt {
            example: index,
            part,
            context: context.to_owned(),
            target,
            request: encoded.request,
            dropped_tokens: encoded.dropped_tokens,
        })
    };
    match &example.content {
        Content::Cloze { target, .. } => Ok(vec![scored(&context, 0, target.clone())?]),
        Content::Choices { choices, .. } => {
            let choices = choices.iter().enumerate();
            choices
                .map(|(part, choice)| scored(&context, part, format!("{delimiter}{choice}")))
                .collect()
        }
        Content::Problem { .. } => {
            let Protocol {
                name, generation, ..
            } = task.protocol;
            let generation = generation.as_ref().with_context(|| {
                format!("protocol `{name}` does not say how answers are generated")
            })?;
            let encoded = encoder.prompt(&context, generation.max_tokens)?;
            Ok(vec![Prompt {
                example: index,
                part: 0,
                context,
                target: String::new(),
                request: encoded.request,
                dropped_tokens: encoded.dropped_tokens,
            }])
        }
        Content::Document { text, .. } => {
            let windows = encoder.windows(text)?.into_iter().enumerate();
            let window = |(part, request)| Prompt {
                example: index,
                part,
                context: String::new(),
                target: text.clone(),
                request,
                dropped_tokens: 0,
            };
            Ok(windows.map(window).collect())
        }
    }
}

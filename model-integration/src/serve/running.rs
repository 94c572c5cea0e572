//! A sequence on its way from logits to text.

use std::ops::Range;
use std::time::Instant;

use anyhow::Result;

use super::job::{Event, Finish, Job};
use super::log_probability::TokenLog;
use super::metrics::Metrics;
use super::scheduler::Part;
use super::stop::StopText;
use crate::engine::Tokenize;
use crate::generate::text::TextStream;

/// A sequence, and what has been sent of it.
pub(super) struct Running {
    pub job: Job,
    tokens: Vec<u32>,
    text: TextStream<'static>,
    stop: StopText,
    /// When the first and the last token were chosen.
    times: Option<[Instant; 2]>,
    has_prompt_logs: bool,
}

/// What comes after a step.
pub(super) enum Next {
    /// More of the prompt.
    Wait,
    /// A chosen token, which runs in the next step.
    Token(u32),
    /// Nothing. A last token may have been chosen.
    End { token: bool },
}

impl Running {
    /// Nothing sent yet.
    pub fn new(mut job: Job, tokenizer: &'static dyn Tokenize) -> Self {
        Self {
            tokens: job.prompt.clone(),
            text: TextStream::new(tokenizer, &job.prompt),
            stop: StopText::new(std::mem::take(&mut job.stop)),
            times: None,
            has_prompt_logs: false,
            job,
        }
    }

    /// Nobody may be there to receive it; the next step then ends the sequence.
    pub fn send(&self, event: Event) {
        let _ = self.job.events.send((self.job.index, event));
    }

    /// Takes the logits of a part.
    pub fn receive(
        &mut self,
        part: &Part,
        logits: &[f32],
        vocabulary: usize,
        eos: &[u32],
        metrics: &Metrics,
    ) -> Result<Next> {
        let first = part.positions.end - part.logits;
        let is_at_end = part.positions.end == self.tokens.len();
        if self.job.scores_prompt && first < self.job.prompt.len() {
            self.score_prompt(first..part.positions.end, logits, vocabulary);
        }
        if !is_at_end {
            return Ok(Next::Wait);
        }
        if self.job.max_tokens == 0 {
            self.finish(Finish::Length, String::new(), metrics);
            return Ok(Next::End { token: false });
        }
        let last = &logits[logits.len() - vocabulary..];
        let (job, prompt) = (&self.job, self.job.prompt.len());
        let token = job.choice.choose(last, &self.tokens, prompt)?;
        let now = Instant::now();
        match &mut self.times {
            Some([_, last]) => *last = now,
            None => {
                metrics.time_to_first_token.add(now - job.arrival);
                self.times = Some([now, now]);
            }
        }
        if !job.ignore_eos && eos.contains(&token) {
            let (rest, _) = self.rest()?;
            self.finish(Finish::Stop, rest, metrics);
            return Ok(Next::End { token: false });
        }
        self.tokens.push(token);
        let (text, is_stopped) = self.stop.push(&self.text.push(token)?);
        let most = self.job.log_probabilities;
        let log = most.map(|most| TokenLog::new(last, token, most));
        self.send(Event::Token { token, text, log });
        let end = match self.tokens.len() - self.job.prompt.len() == self.job.max_tokens {
            _ if is_stopped => Finish::Stop,
            true => Finish::Length,
            false => return Ok(Next::Token(token)),
        };
        let (rest, end) = match is_stopped {
            true => (String::new(), end),
            false => match self.rest()? {
                (rest, true) => (rest, Finish::Stop),
                (rest, false) => (rest, end),
            },
        };
        self.finish(end, rest, metrics);
        Ok(Next::End { token: true })
    }

    /// Text inside a character at the end, and what a stop might have begun with; and whether a
    /// stop is in there.
    fn rest(&mut self) -> Result<(String, bool)> {
        let (mut text, is_stopped) = self.stop.push(&self.text.pending()?);
        if !is_stopped {
            text += &self.stop.finish();
        }
        Ok((text, is_stopped))
    }

    fn finish(&self, end: Finish, text: String, metrics: &Metrics) {
        let chosen = self.tokens.len() - self.job.prompt.len();
        if let Some([first, last]) = self.times
            && chosen > 1
        {
            let time = (last - first) / (chosen - 1) as u32;
            metrics.time_per_output_token.add(time);
        }
        self.send(Event::End { text, end });
    }

    /// Sends the log-probabilities of the prompt's tokens behind `positions`.
    fn score_prompt(&mut self, positions: Range<usize>, logits: &[f32], vocabulary: usize) {
        let Some(most) = self.job.log_probabilities else {
            return;
        };
        let prompt = &self.job.prompt;
        let mut logs = Vec::new();
        if !std::mem::replace(&mut self.has_prompt_logs, true) {
            logs.push(TokenLog::first(prompt[0]));
        }
        let next = positions.start + 1..prompt.len().min(positions.end + 1);
        let rows = &logits[..next.len() * vocabulary];
        logs.extend(TokenLog::of_rows(rows, &prompt[next], most));
        self.send(Event::Prompt(logs));
    }
}

//! A sequence that the model fails on, or that panics, harms no other.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use mxlab::engine::{PageCount, Piece, Sampler, Stepper, Tokenize};
use mxlab::serve::job::{Event, Failure, Finish, Job};
use mxlab::serve::metrics::Metrics;
use mxlab::serve::sampling::Choice;
use mxlab::serve::scheduler::Limits;
use mxlab::serve::worker::Worker;
use mxlab_kernels::reference::Sampling;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

const VOCABULARY: usize = 64;
/// Tokens of prompts that the model does not take.
const FAILS: u32 = 60;
const PANICS: u32 = 61;
const NANS: u32 = 62;

/// The token behind each is the next number.
struct Counting(Vec<f32>);

impl Stepper for Counting {
    fn pages(&self) -> PageCount {
        PageCount {
            positions: 4,
            pages: 40,
            bytes: 0,
        }
    }

    fn class(&self, prompt: usize, _: usize) -> Result<usize> {
        match prompt {
            7 => bail!("no prompts of 7"),
            _ => Ok(0),
        }
    }

    fn step(&mut self, pieces: &[Piece]) -> Result<&[f32]> {
        self.0.clear();
        for piece in pieces {
            for &token in &piece.tokens[piece.tokens.len() - piece.logits..] {
                if token == FAILS {
                    bail!("token {FAILS} is not for this model");
                }
                assert_ne!(token, PANICS, "a token to panic at");
                let mut row = vec![0.0; VOCABULARY];
                row[token as usize + 1] = if token == NANS { f32::NAN } else { 1.0 };
                self.0.extend(row);
            }
        }
        Ok(&self.0)
    }
}

/// Tokens are numbers in words of their own.
struct Numbers;

impl Tokenize for Numbers {
    fn encode(&self, text: &str, _: bool) -> Result<Vec<u32>> {
        Ok(text
            .split_whitespace()
            .map(str::parse)
            .collect::<Result<_, _>>()?)
    }

    fn decode(&self, tokens: &[u32]) -> Result<String> {
        Ok(tokens.iter().map(|token| format!("{token} ")).collect())
    }

    fn prefix_token(&self) -> Option<(u32, String)> {
        None
    }
}

fn tokens(events: &mut UnboundedReceiver<(usize, Event)>) -> (Vec<u32>, Option<Event>) {
    let mut tokens = Vec::new();
    while let Ok((_, event)) = events.try_recv() {
        match event {
            Event::Token { token, .. } => tokens.push(token),
            Event::Prompt(_) => {}
            last => return (tokens, Some(last)),
        }
    }
    (tokens, None)
}

#[test]
fn what_fails_fails_alone() {
    let (sender, inbox) = mpsc::channel();
    let metrics = Arc::new(Metrics::default());
    let now = Instant::now();
    let hour = Duration::from_secs(3600);
    let job = |prompt: Vec<u32>, deadline: Instant| {
        let (events, received) = unbounded_channel();
        let sampler = Sampler {
            sampling: Sampling::GREEDY,
            seed: 0,
        };
        let job = Job {
            prompt,
            max_tokens: 9,
            choice: Choice::by(sampler),
            stop: Vec::new(),
            ignore_eos: false,
            log_probabilities: None,
            scores_prompt: false,
            index: 0,
            arrival: now,
            deadline,
            events,
        };
        sender.send(job).expect("a worker");
        received
    };
    let mut good = [1, 2].map(|first| job(vec![first; 10], now + hour));
    let mut bad = [FAILS, PANICS, NANS].map(|token| job(vec![5, token], now + hour));
    let mut refused = job(vec![1; 7], now + hour);
    let mut late = job(vec![1; 5], now);
    drop(job(vec![1; 6], now + hour));
    let mut ended = job(vec![40], now + hour);
    drop(sender);
    let limits = Limits {
        slots: 8,
        chunk: 6,
        shares: true,
    };
    let stepper = Box::new(Counting(Vec::new()));
    Worker::new(
        stepper,
        &Numbers,
        &[45],
        limits,
        inbox,
        Arc::clone(&metrics),
    )
    .run();

    for (first, good) in (1..).zip(&mut good) {
        let (tokens, last) = tokens(good);
        assert_eq!(tokens, (first + 1..first + 10).collect::<Vec<u32>>());
        assert!(matches!(
            last,
            Some(Event::End {
                end: Finish::Length,
                ..
            })
        ));
    }
    let says = [
        "token 60 is not for this model",
        "a token to panic at",
        "NaN",
    ];
    for (bad, says) in bad.iter_mut().zip(says) {
        let (tokens, last) = tokens(bad);
        assert!(tokens.is_empty());
        match last {
            Some(Event::Failed(Failure::Model(reason))) => {
                assert!(reason.contains(says), "{reason}");
            }
            other => panic!("{says}: {other:?}"),
        }
    }
    let refusal = Failure::Refused("no prompts of 7".to_owned());
    for (events, failure) in [(&mut refused, refusal), (&mut late, Failure::Deadline)] {
        match tokens(events).1 {
            Some(Event::Failed(found)) => assert_eq!(found, failure),
            other => panic!("{failure:?}: {other:?}"),
        }
    }
    let (tokens, last) = tokens(&mut ended);
    assert_eq!(tokens, [41, 42, 43, 44]);
    assert!(matches!(
        last,
        Some(Event::End {
            end: Finish::Stop,
            ..
        })
    ));
    for (metric, count) in [
        (&metrics.sequences_answered_total, 3),
        (&metrics.sequences_failed_total, 3),
        (&metrics.sequences_cancelled_total, 1),
        (&metrics.sequences_expired_total, 1),
        (&metrics.cache_pages_used, 0),
    ] {
        assert_eq!(metric.load(Relaxed), count);
    }
}

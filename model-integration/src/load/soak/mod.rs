//! A soak: many clients, some of which misbehave, for as long as it takes to see whether a server
//! answers everyone, forgets nobody and keeps its memory.
//!
//! | module | contents |
//! |---|---|
//! | [`act`] | what a client does, right or wrong |
//! | [`malformed`] | bodies that no server should accept |
//! | [`raw`] | clients that are slow, or that are killed |
//! | [`crate::record::soak`] | the record |

pub mod act;
pub mod malformed;
pub mod raw;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Result;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use serde_json::Value;
use tokio::task::JoinSet;
use tokio::time::sleep;

use self::act::{Act, End};
use super::exchange::Client;
use super::prompts::Prompts;
use crate::memory::memory;
use crate::record::load::Failures;
use crate::record::soak::{ActRecord, MemorySample, Soaked};

/// Failures after which a soak is given up.
const MOST_FAILURES: usize = 100;
/// How often progress is looked at.
const LOOK: Duration = Duration::from_millis(20);
/// How long a server may take to notice that clients are gone.
const SETTLE: Duration = Duration::from_secs(10);
/// Samples of memory.
const SAMPLES: usize = 200;

/// What a soak sends.
pub struct Soak {
    /// Sends requests.
    pub client: Client,
    /// Makes their bodies.
    pub prompts: Prompts,
    /// Answered requests after which it ends.
    pub requests: usize,
    /// Clients at a time.
    pub clients: usize,
    /// The process of the server, whose memory is watched.
    pub pid: Option<u32>,
    /// Seed of what clients do.
    pub seed: u64,
}

/// What clients have done so far.
#[derive(Default)]
struct Tally {
    acts: BTreeMap<&'static str, ActRecord>,
    failures: BTreeMap<String, Failures>,
    answered: usize,
    failed: usize,
}

/// Runs a soak; `None` if it was stopped.
///
/// # Errors
/// If a request cannot be made.
pub async fn soak(soak: &Arc<Soak>, stop: &AtomicBool) -> Result<Option<Soaked>> {
    let begin = Instant::now();
    let tally = Arc::new(Mutex::new(Tally::default()));
    let next = Arc::new(AtomicUsize::new(0));
    let is_over = Arc::new(AtomicBool::new(false));
    let mut clients = JoinSet::new();
    for _ in 0..soak.clients {
        let (soak, tally) = (soak.clone(), tally.clone());
        let (next, is_over) = (next.clone(), is_over.clone());
        clients.spawn(async move {
            while !is_over.load(Ordering::Relaxed) {
                let index = next.fetch_add(1, Ordering::Relaxed);
                soak.one(index, &tally).await?;
            }
            anyhow::Ok(())
        });
    }
    let mut samples: Vec<MemorySample> = Vec::new();
    let every = soak.requests.div_ceil(SAMPLES);
    while !is_over.load(Ordering::Relaxed) {
        sleep(LOOK).await;
        if stop.load(Ordering::Relaxed) {
            return Ok(None);
        }
        let (answered, failed) = {
            let tally = lock(&tally);
            (tally.answered, tally.failed)
        };
        if let Some(bytes) = soak.pid.and_then(memory) {
            let place = (answered / every + 1) * every;
            match samples.last_mut().filter(|last| last.answered == place) {
                Some(last) => {
                    last.least_bytes = last.least_bytes.min(bytes);
                    last.most_bytes = last.most_bytes.max(bytes);
                }
                None => samples.push(MemorySample {
                    answered: place,
                    seconds: begin.elapsed().as_secs_f64(),
                    least_bytes: bytes,
                    most_bytes: bytes,
                }),
            }
        }
        let has_ended = clients.try_join_next();
        if let Some(Ok(Err(error))) = has_ended {
            return Err(error);
        }
        let is_enough = answered >= soak.requests || failed >= MOST_FAILURES;
        is_over.store(is_enough, Ordering::Relaxed);
    }
    while let Some(client) = clients.join_next().await {
        client??;
    }
    let unfinished = soak.unfinished().await;
    let mut tally = lock(&tally);
    Ok(Some(Soaked {
        seconds: begin.elapsed().as_secs_f64(),
        answered: tally.answered,
        failed: tally.failed,
        acts: std::mem::take(&mut tally.acts)
            .into_iter()
            .map(|(name, act)| (name.to_owned(), act))
            .collect(),
        failures: std::mem::take(&mut tally.failures),
        growth: growth(&samples, soak.requests),
        memory: samples,
        unfinished,
    }))
}

fn lock(tally: &Mutex<Tally>) -> MutexGuard<'_, Tally> {
    tally.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The memory that a server keeps in a tenth of `requests` answers, numbered from 0: the median of
/// the least memory at a time, so that bodies which come and go do not count.
pub fn kept(samples: &[MemorySample], requests: usize, tenth: usize) -> Option<u64> {
    let is_of = |sample: &&MemorySample| {
        let last = sample.answered.saturating_sub(1);
        (tenth * requests..(tenth + 1) * requests).contains(&(10 * last))
    };
    let of = samples.iter().filter(is_of);
    let mut bytes: Vec<u64> = of.map(|sample| sample.least_bytes).collect();
    bytes.sort_unstable();
    bytes.get(bytes.len() / 2).copied()
}

/// How much more a server keeps in any later tenth than in the second one, as a part.
fn growth(samples: &[MemorySample], requests: usize) -> Option<f64> {
    let first = kept(samples, requests, 1)?;
    let later = (2..10).filter_map(|tenth| kept(samples, requests, tenth));
    Some(later.max()? as f64 / first as f64 - 1.0)
}

impl Soak {
    async fn one(&self, index: usize, tally: &Mutex<Tally>) -> Result<()> {
        let mut random = ChaCha8Rng::seed_from_u64(self.seed);
        random.set_stream(index as u64);
        let act = Act::draw(&mut random);
        let asked = self.prompts.request(0, index)?;
        let end = act.perform(self, &asked, &mut random).await;
        let mut tally = lock(tally);
        tally.answered += usize::from(matches!(end, End::Answered));
        let of_act = tally.acts.entry(act.name()).or_default();
        of_act.begun += 1;
        match end {
            End::Answered => of_act.answered += 1,
            End::Refused => of_act.refused += 1,
            End::Gone => of_act.gone += 1,
            End::Overloaded => of_act.overloaded += 1,
            End::Failed { kind, example } => {
                of_act.failed += 1;
                tally.failed += 1;
                let failures = tally.failures.entry(kind).or_insert_with(|| Failures {
                    measured: 0,
                    others: 0,
                    example,
                });
                failures.measured += 1;
            }
        }
        Ok(())
    }

    /// Sequences that the server still waits for or runs when no client is left, if it tells; it
    /// gets some time to notice.
    async fn unfinished(&self) -> Option<u64> {
        let until = Instant::now() + SETTLE;
        loop {
            let left = self.in_server().await?;
            if left == 0 || Instant::now() > until {
                return Some(left);
            }
            sleep(Duration::from_millis(100)).await;
        }
    }

    async fn in_server(&self) -> Option<u64> {
        let metrics = self.client.text("/metrics").await.ok()?;
        let of = |name: &str| {
            let line = metrics.lines().find_map(|line| line.strip_prefix(name))?;
            line.trim().parse::<f64>().ok()
        };
        let waiting = of("mxlab_sequences_waiting ")?;
        Some((waiting + of("mxlab_sequences_running ")?) as u64)
    }
}

/// Whether a value is an error in OpenAI's form.
fn is_error(body: &[u8]) -> bool {
    let value: Option<Value> = serde_json::from_slice(body).ok();
    let message = value
        .as_ref()
        .and_then(|value| value.pointer("/error/message"));
    message.is_some_and(Value::is_string)
}

#[cfg(test)]
mod tests {
    use super::{MemorySample, growth};

    /// Growth at the beginning and peaks do not count, a slow leak does.
    #[test]
    fn growth_is_of_what_is_kept() {
        let samples = |kept: fn(usize) -> u64| -> Vec<MemorySample> {
            let all = (1..=100).map(|place| MemorySample {
                answered: 10 * place,
                seconds: 0.0,
                least_bytes: kept(place),
                most_bytes: 1000,
            });
            all.collect()
        };
        let flat = samples(|place| match place {
            0..10 => 1,
            50 => 150,
            _ => 100,
        });
        assert_eq!(growth(&flat, 1000), Some(0.0));
        let leak = samples(|place| 1000 + place as u64);
        let found = growth(&leak, 1000).expect("samples");
        assert!((found - 80.0 / 1016.0).abs() < 1e-12, "{found}");
        assert_eq!(growth(&flat[..20], 1000), None);
    }
}

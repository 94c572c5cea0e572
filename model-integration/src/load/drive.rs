//! Drives requests at one level of load: warm-up, then the measured requests, then more of the same
//! until each measured one has its answer, so that all of them meet the same load.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Result;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::{JoinSet, yield_now};
use tokio::time::{sleep, timeout};

use super::answer::{Answer, TokenLog};
use super::exchange::Client;
use super::failure::Failure;
use super::prompts::{Asked, Prompts};
use crate::record::load::Level;

/// Longest wait that a server's `Retry-After` brings about.
const LONGEST_WAIT: Duration = Duration::from_secs(60);
/// Wait after a failure without `Retry-After`, so that a closed loop does not spin.
const AFTER_FAILURE: Duration = Duration::from_millis(100);
/// Most requests that begin before those before them have their turn.
const AT_ONCE: usize = 16;
/// How often the loops look whether they are to stop.
const LOOK: Duration = Duration::from_millis(100);

/// What is sent, and how much of it.
pub struct Job {
    /// Sends requests.
    pub client: Client,
    /// Makes their bodies.
    pub prompts: Prompts,
    /// Measured requests.
    pub requests: usize,
    /// Time in which measured requests begin, if there are not as many before.
    pub duration: Option<Duration>,
    /// Requests before them; by default one for each in flight, or those of a second.
    pub warm_up: Option<usize>,
    /// How often a request is sent again after status 429 or 503.
    pub retries: u32,
    /// Most requests in flight of an open loop; others wait here, and their time counts.
    pub most_in_flight: usize,
    /// Seed of arrivals.
    pub seed: u64,
}

/// The part of a run that a request belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Before the measured requests.
    WarmUp,
    /// Measured.
    Measured,
    /// After them, for the sake of the load.
    After,
}

/// What became of a request.
#[derive(Debug)]
pub struct Outcome {
    /// Its part of the run.
    pub phase: Phase,
    /// Most tokens of its answer, if it names a number.
    pub asked: Option<u64>,
    /// When it was due.
    pub due: Instant,
    /// When it was sent.
    pub sent: Instant,
    /// When it ended.
    pub end: Instant,
    /// What came.
    pub answer: Answer,
    /// Why it failed.
    pub failure: Option<Failure>,
    /// How often it was sent again.
    pub retries: u32,
}

/// The outcomes at a level.
#[derive(Debug, Default)]
pub struct Outcomes {
    /// Requests that ended, in this order.
    pub ended: Vec<Outcome>,
    /// The tokens of all requests.
    pub tokens: Arc<TokenLog>,
    /// Most requests that were due and had no outcome.
    pub most_waiting: usize,
}

enum Event {
    Ended(Box<Outcome>),
    /// Another request may take the place of one that ended.
    Free,
}

/// Drives level number `number`; `None` if it was stopped.
///
/// # Errors
/// If a body cannot be made.
pub async fn drive(
    job: &Arc<Job>,
    (number, level): (usize, Level),
    stop: &AtomicBool,
) -> Result<Option<Outcomes>> {
    let (sender, mut events) = mpsc::unbounded_channel();
    let mut run = Run::new(job, number, level, sender);
    let mut arrivals = Arrivals::new(job.seed, number, level);
    if let Level::Concurrency(count) = level {
        for _ in 0..count {
            run.start(Instant::now())?;
        }
    }
    while !run.is_done() {
        if stop.load(Ordering::Relaxed) {
            return Ok(None);
        }
        for due in arrivals.due_by(Instant::now()).take(AT_ONCE) {
            run.arrive(due)?;
        }
        // The requests have their turn, even if more are always due.
        yield_now().await;
        let wait = arrivals.wait(Instant::now());
        match timeout(wait, events.recv()).await {
            Ok(Some(Event::Ended(outcome))) => run.ended(*outcome),
            Ok(Some(Event::Free)) => run.start(Instant::now())?,
            Ok(None) | Err(_) => {}
        }
        while run.tasks.try_join_next().is_some() {}
    }
    // Requests without an outcome are cancelled with their tasks.
    Ok(Some(run.outcomes))
}

struct Run<'a> {
    job: &'a Arc<Job>,
    number: usize,
    is_closed: bool,
    warm_up: usize,
    places: Arc<Semaphore>,
    sender: mpsc::UnboundedSender<Event>,
    tasks: JoinSet<()>,
    outcomes: Outcomes,
    started: usize,
    waiting: usize,
    /// When the first measured request was due.
    first: Option<Instant>,
    /// Measured requests: all, and those without an outcome.
    measured: usize,
    unanswered: usize,
    /// Whether no more requests are measured.
    is_over: bool,
}

impl<'a> Run<'a> {
    fn new(
        job: &'a Arc<Job>,
        number: usize,
        level: Level,
        sender: mpsc::UnboundedSender<Event>,
    ) -> Self {
        let (is_closed, places, warm_up) = match level {
            Level::Concurrency(count) => (true, count, count),
            Level::Rate(rate) => (false, job.most_in_flight, rate.ceil() as usize),
        };
        Self {
            job,
            number,
            is_closed,
            warm_up: job.warm_up.unwrap_or(warm_up),
            places: Arc::new(Semaphore::new(places)),
            sender,
            tasks: JoinSet::new(),
            outcomes: Outcomes::default(),
            started: 0,
            waiting: 0,
            first: None,
            measured: 0,
            unanswered: 0,
            is_over: false,
        }
    }

    const fn is_done(&self) -> bool {
        self.is_over && self.unanswered == 0
    }

    /// The part of the run that the next request belongs to.
    fn phase(&mut self, due: Instant) -> Phase {
        if self.started < self.warm_up {
            return Phase::WarmUp;
        }
        let since = due.saturating_duration_since(*self.first.get_or_insert(due));
        self.is_over |= self.job.duration.is_some_and(|most| since >= most);
        if self.is_over {
            return Phase::After;
        }
        self.measured += 1;
        self.unanswered += 1;
        self.is_over = self.measured == self.job.requests;
        Phase::Measured
    }

    /// Starts a request of an open loop, unless it would only wait for the last measured ones.
    fn arrive(&mut self, due: Instant) -> Result<()> {
        match self.is_over && self.waiting >= self.job.most_in_flight {
            true => Ok(()),
            false => self.start(due),
        }
    }

    fn start(&mut self, due: Instant) -> Result<()> {
        let asked = self.job.prompts.request(self.number, self.started)?;
        let phase = self.phase(due);
        self.started += 1;
        self.waiting += 1;
        let most = &mut self.outcomes.most_waiting;
        *most = self.waiting.max(*most);
        let (job, places, sender) = (self.job.clone(), self.places.clone(), self.sender.clone());
        let answer = Answer::logged(self.outcomes.tokens.clone());
        let is_closed = self.is_closed;
        self.tasks.spawn(async move {
            // It is never closed, and serves requests in the order in which they were due.
            let Ok(_place) = places.acquire().await else {
                return;
            };
            let outcome = job.request(phase, due, asked, answer).await;
            let wait = outcome.failure.as_ref().map(wait_after);
            // The receiver is gone only if nobody waits for the outcome.
            let _ = sender.send(Event::Ended(Box::new(outcome)));
            if is_closed {
                if let Some(wait) = wait {
                    sleep(wait).await;
                }
                let _ = sender.send(Event::Free);
            }
        });
        Ok(())
    }

    fn ended(&mut self, outcome: Outcome) {
        self.waiting -= 1;
        self.unanswered -= usize::from(outcome.phase == Phase::Measured);
        self.outcomes.ended.push(outcome);
    }
}

fn wait_after(failure: &Failure) -> Duration {
    let wait = failure.retry_after().unwrap_or(AFTER_FAILURE);
    wait.min(LONGEST_WAIT)
}

impl Job {
    /// Sends a request, again where the server is overloaded and retries are left.
    async fn request(
        &self,
        phase: Phase,
        due: Instant,
        asked: Asked,
        mut answer: Answer,
    ) -> Outcome {
        let sent = Instant::now();
        let path = self.prompts.api.path();
        let mut retries = 0;
        let failure = loop {
            let done = self
                .client
                .stream(path, asked.body.clone(), &mut answer)
                .await;
            let Err(failure) = done else {
                break None;
            };
            let is_overload = matches!(
                failure,
                Failure::Status {
                    status: 429 | 503,
                    ..
                }
            );
            if !is_overload || retries == self.retries {
                break Some(failure);
            }
            retries += 1;
            sleep(wait_after(&failure)).await;
        };
        let end = answer.end.filter(|_| failure.is_none());
        Outcome {
            phase,
            asked: asked.output_tokens,
            due,
            sent,
            end: end.unwrap_or_else(Instant::now),
            answer,
            failure,
            retries,
        }
    }
}

/// When the requests of an open loop are due: a Poisson process.
struct Arrivals {
    next: Option<Instant>,
    rate: f64,
    random: ChaCha8Rng,
}

impl Arrivals {
    fn new(seed: u64, number: usize, level: Level) -> Self {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        // The streams of prompts are below.
        random.set_stream(u64::MAX - number as u64);
        let (next, rate) = match level {
            Level::Concurrency(_) => (None, 0.0),
            Level::Rate(rate) => (Some(Instant::now()), rate),
        };
        Self { next, rate, random }
    }

    /// When requests are due, up to `now`.
    fn due_by(&mut self, now: Instant) -> impl Iterator<Item = Instant> {
        std::iter::from_fn(move || {
            let due = self.next.filter(|next| *next <= now)?;
            let uniform: f64 = self.random.random();
            let gap = -(1.0 - uniform).ln() / self.rate;
            self.next = Some(due + Duration::from_secs_f64(gap));
            Some(due)
        })
    }

    /// How long to wait for something else, at most.
    fn wait(&self, now: Instant) -> Duration {
        let next = self.next.map(|next| next.saturating_duration_since(now));
        next.map_or(LOOK, |next| next.min(LOOK))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The gaps of a Poisson process have a standard deviation equal to their mean.
    #[test]
    fn arrivals_are_a_poisson_process() {
        let gaps = |seed| {
            let mut arrivals = Arrivals::new(seed, 0, Level::Rate(50.0));
            let far = Instant::now() + Duration::from_secs(3600);
            let due: Vec<Instant> = arrivals.due_by(far).take(4001).collect();
            let gaps = due.windows(2).map(|pair| (pair[1] - pair[0]).as_secs_f64());
            gaps.collect::<Vec<f64>>()
        };
        let own = gaps(7);
        let mean = own.iter().sum::<f64>() / 4000.0;
        let variance = own.iter().map(|gap| (gap - mean).powi(2)).sum::<f64>() / 4000.0;
        assert!((mean * 50.0 - 1.0).abs() < 0.05, "{mean}");
        assert!((variance.sqrt() / mean - 1.0).abs() < 0.07, "{variance}");
        assert_eq!(own, gaps(7));
        assert_ne!(own, gaps(8));
    }
}

//! Worker processes: started, watched, and started again behind the job that ended them.
//!
//! A worker tells its events to its journal, which the supervisor reads as it grows. An empty line
//! on its standard output is a sign of life while a job lasts. Its standard input is a pipe that
//! ends with the supervisor, and so does it.

use super::process::{Beat, Place};
use super::{
    Event, Folder, Job, Journal, JournalError, Outcome, Plan, Verdict, Visit, read_folder,
};
use std::io;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

/// How often processes are looked after.
const TICK: Duration = Duration::from_millis(50);
/// How often others are told how far it is.
const OBSERVE_EVERY: Duration = Duration::from_millis(500);
/// How long after the time limit a worker that does not end is killed.
const LATE: Duration = Duration::from_secs(4);
/// Jobs in a row that may crash, none having another verdict in between, before the device counts
/// as unusable.
const MOST_CRASHES: u32 = 16;
/// Workers in a row that may end without any event before the campaign is given up.
const MOST_IDLE: u32 = 3;

/// Exit codes of a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum WorkerExit {
    /// It has done what there was to do, or the time is up.
    Done = 0,
    /// It cannot go on, and no job is to blame: its standard error says why.
    Failed = 1,
    /// A job cost it the device.
    DeviceLost = 3,
    /// It has no device: its standard error says why.
    NoDevice = 4,
    /// It cannot write its journal.
    NoJournal = 5,
}

/// How a campaign ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// Every job has a verdict.
    Finished,
    /// The time limit was reached.
    TimeIsUp,
    /// The user stopped it.
    Interrupted,
    /// It could not go on, for this reason.
    Failed(String),
}

/// Starts and watches workers.
pub struct Supervisor<'c> {
    plan: &'c Plan,
    folder: &'c Path,
    /// Verdicts that a worker could not give.
    journal: Journal,
    outcome: Outcome,
    /// Jobs in a row that crashed.
    crashes: u32,
    damaged: Vec<String>,
}

impl<'c> Supervisor<'c> {
    /// Gets ready to run jobs with journals in `folder`. What is there already counts.
    ///
    /// # Errors
    /// If a journal cannot be read or written.
    pub fn new(
        jobs: &[Box<dyn Job>],
        plan: &'c Plan,
        folder: &'c Folder,
    ) -> Result<Self, JournalError> {
        let folder = folder.path();
        let path = (1..)
            .map(|number| folder.join(format!("supervisor-{number}.jsonl")))
            .find(|path| !path.exists());
        let path = path.unwrap_or_else(|| folder.join("supervisor.jsonl"));
        let mut outcome = Outcome::new(jobs);
        let told = read_folder(folder)?;
        told.events.iter().for_each(|event| outcome.take(event));
        Ok(Self {
            plan,
            folder,
            journal: Journal::create(&path)?,
            outcome,
            crashes: 0,
            damaged: told.damaged,
        })
    }

    /// Lines of journals that are no events, for people: their jobs are done again.
    pub fn damaged(&self) -> &[String] {
        &self.damaged
    }

    /// What is known so far.
    pub const fn outcome(&self) -> &Outcome {
        &self.outcome
    }

    /// Runs the jobs with `workers` processes, each made by `command` of its number and the path of
    /// its journal. The time limit counts from `begun`. `stop` ends it; `observe` is called every
    /// now and then.
    ///
    /// # Errors
    /// If a process cannot be started, a journal cannot be read or written, or `observe` fails.
    pub fn run<E: From<io::Error> + From<JournalError>>(
        &mut self,
        workers: usize,
        begun: Instant,
        command: &dyn Fn(usize, &Path) -> Command,
        stop: &AtomicBool,
        observe: &mut dyn FnMut(&Outcome) -> Result<(), E>,
    ) -> Result<End, E> {
        let left = || {
            let limit = self.plan.time_limit?;
            Some(limit.saturating_sub(begun.elapsed()))
        };
        let (sender, receiver) = channel();
        let place = |_| Place {
            worker: None,
            generation: 0,
            idle: 0,
            next: Some(begun),
        };
        let mut places: Vec<Place> = (0..workers).map(place).collect();
        let (mut failed, mut observed) = (None, begun);
        loop {
            let is_stopped = stop.load(Ordering::Relaxed);
            let is_late = self
                .plan
                .time_limit
                .is_some_and(|limit| begun.elapsed() > limit.saturating_add(LATE));
            if is_stopped || failed.is_some() || is_late {
                break;
            }
            for (number, place) in places.iter_mut().enumerate() {
                if place.next.is_some_and(|next| next <= Instant::now()) {
                    place.next = None;
                    if left() != Some(Duration::ZERO) {
                        place.start(self.folder, number, &sender, |journal| {
                            command(number, journal)
                        })?;
                    }
                }
            }
            Self::listen(&receiver, &mut places);
            for place in &mut places {
                if let Some(reason) = self.look_after(place)? {
                    failed = Some(reason);
                }
            }
            if self.crashes >= MOST_CRASHES {
                failed = Some(format!(
                    "{MOST_CRASHES} kernels in a row crashed; is the device still usable?"
                ));
            }
            if observed.elapsed() > OBSERVE_EVERY {
                observed = Instant::now();
                self.read_news(&mut places)?;
                observe(&self.outcome)?;
            }
            let is_over = |place: &Place| place.worker.is_none() && place.next.is_none();
            if places.iter().all(is_over) {
                break;
            }
        }
        for place in &mut places {
            if let Some(mut worker) = place.worker.take() {
                worker.end();
                // What was under way is not to blame.
                self.take(worker.news()?);
            }
        }
        let not_run = self.outcome.total().not_run;
        Ok(match (failed, stop.load(Ordering::Relaxed)) {
            (_, true) => End::Interrupted,
            (Some(reason), _) => End::Failed(reason),
            (None, false) if not_run == 0 => End::Finished,
            (None, false) if left().is_some() => End::TimeIsUp,
            (None, false) => End::Failed(format!("workers left out {not_run} jobs")),
        })
    }

    /// Takes signs of life until the next look at the processes.
    fn listen(receiver: &Receiver<Beat>, places: &mut [Place]) {
        let until = Instant::now() + TICK;
        loop {
            let wait = until.saturating_duration_since(Instant::now());
            let (number, generation) = match receiver.recv_timeout(wait) {
                Ok(beat) => beat,
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => return,
            };
            if places[number].generation == generation
                && let Some(worker) = &mut places[number].worker
            {
                worker.heard = Instant::now();
            }
        }
    }

    /// Takes what workers have told since the last time.
    fn read_news(&mut self, places: &mut [Place]) -> Result<(), JournalError> {
        for worker in places.iter_mut().filter_map(|place| place.worker.as_mut()) {
            self.take(worker.news()?);
        }
        Ok(())
    }

    /// Takes events, and counts crashes in a row.
    fn take(&mut self, events: impl IntoIterator<Item = Event>) {
        for event in events {
            if let Event::Ended { visit, .. } = &event {
                self.crashes = match visit.verdict {
                    Verdict::Crashed { .. } => self.crashes + 1,
                    _ => 0,
                };
            }
            self.outcome.take(&event);
        }
    }

    /// Whether the worker of a place still works. If it has ended, what it left is noted and the
    /// next one is planned; what comes back is why there can be none.
    fn look_after(&mut self, place: &mut Place) -> Result<Option<String>, JournalError> {
        let Some(worker) = &mut place.worker else {
            return Ok(None);
        };
        let status = worker.status();
        if status.is_none() && !worker.is_given_up(self.plan.watchdog) {
            return Ok(None);
        }
        let Some(mut worker) = place.worker.take() else {
            return Ok(None);
        };
        self.take(worker.news()?);
        let under_way = worker.under_way.take();
        place.idle = match worker.has_told || under_way.is_some() {
            true => 0,
            false => place.idle + 1,
        };
        let stderr = worker.last_words();
        let code = status.and_then(|status| status.code());
        match code {
            Some(code) if code == WorkerExit::Done as i32 => return Ok(None),
            Some(code) if code == WorkerExit::Failed as i32 => return Ok(Some(stderr)),
            Some(code) if code == WorkerExit::NoJournal as i32 => {
                let journal = worker.journal().display();
                return Ok(Some(match stderr.as_str() {
                    "" => format!("cannot write `{journal}`: is the disk full?"),
                    stderr => stderr.to_owned(),
                }));
            }
            Some(code) if code == WorkerExit::NoDevice as i32 => {
                if place.idle > MOST_IDLE {
                    return Ok(Some(stderr));
                }
                // A device that was lost may need a moment.
                place.next = Some(Instant::now() + Duration::from_secs(1));
                return Ok(None);
            }
            _ => {}
        }
        if let Some((job, round)) = under_way {
            let failure = worker.how_it_ended(status, &stderr);
            let verdict = Verdict::Crashed {
                failure,
                seed: None,
            };
            let event = Event::Ended {
                job,
                round,
                visit: Visit::without_problems(verdict),
            };
            self.journal.append(&event)?;
            self.take([event]);
        } else if place.idle > MOST_IDLE {
            return Ok(Some(format!(
                "workers end before they begin a job: {}",
                worker.how_it_ended(status, &stderr)
            )));
        }
        place.next = Some(Instant::now());
        Ok(None)
    }
}

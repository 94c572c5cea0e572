//! Worker processes: started, watched, and started again behind the job that ended them.
//!
//! A worker tells its events to its journal, which the supervisor reads as it grows. An empty line on
//! its standard output is a sign of life while a job lasts. Its standard input is a pipe that ends
//! with the supervisor, and so does it.

use super::journal::read;
use super::{
    Event, Folder, Job, Journal, JournalError, Outcome, Plan, Verdict, Visit, read_folder,
};
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

/// How often processes are looked after.
const TICK: Duration = Duration::from_millis(50);
/// How often others are told how far it is.
const OBSERVE_EVERY: Duration = Duration::from_millis(500);
/// How long after the time limit a worker that does not end is killed.
const LATE: Duration = Duration::from_secs(4);
/// How long a worker may take to end once it should have, before it is killed, or given up.
const GRACE: Duration = Duration::from_secs(10);
/// How long a worker may take before its first event.
const START_UP: Duration = Duration::from_secs(60);
/// Jobs in a row that may crash, none having another verdict in between, before the device counts as
/// unusable.
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

/// A worker process.
struct Worker {
    child: Child,
    journal: PathBuf,
    /// Bytes of the journal that were read.
    read: u64,
    stderr: PathBuf,
    /// When it was last heard of.
    heard: Instant,
    /// Why it was killed, and when.
    killed: Option<(String, Instant)>,
    has_told: bool,
}

/// A place for a worker; the processes that were there share a part of the jobs.
struct Place {
    worker: Option<Worker>,
    generation: u32,
    /// Workers in a row that ended without any event.
    idle: u32,
    /// When the next one is started.
    next: Option<Instant>,
}

/// A sign of life: of which place, and of which generation there.
type Beat = (usize, u32);

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
    /// its journal. The time limit counts from `begun`. `stop` ends it; `observe` is called every now
    /// and then.
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
                self.take_journal(&worker)?;
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
            for event in worker.news()? {
                self.count(&event);
                self.outcome.take(&event);
            }
        }
        Ok(())
    }

    /// Counts crashes in a row.
    fn count(&mut self, event: &Event) {
        if let Event::Ended { visit, .. } = event {
            self.crashes = match visit.verdict {
                Verdict::Crashed { .. } => self.crashes + 1,
                _ => 0,
            };
        }
    }

    /// Whether the worker of a place still works. If it has ended, what it left is noted and the next
    /// one is planned; what comes back is why there can be none.
    fn look_after(&mut self, place: &mut Place) -> Result<Option<String>, JournalError> {
        let Some(worker) = &mut place.worker else {
            return Ok(None);
        };
        let status = worker.child.try_wait().ok().flatten();
        if status.is_none() && !worker.is_given_up(self.plan.watchdog) {
            return Ok(None);
        }
        let Some(mut worker) = place.worker.take() else {
            return Ok(None);
        };
        for event in worker.news()? {
            self.count(&event);
        }
        let under_way = self.take_journal(&worker)?;
        place.idle = match worker.has_told || under_way.is_some() {
            true => 0,
            false => place.idle + 1,
        };
        let stderr = last_lines(&worker.stderr);
        let code = status.and_then(|status| status.code());
        match code {
            Some(code) if code == WorkerExit::Done as i32 => return Ok(None),
            Some(code) if code == WorkerExit::Failed as i32 => return Ok(Some(stderr)),
            Some(code) if code == WorkerExit::NoJournal as i32 => {
                let journal = worker.journal.display();
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
            self.count(&event);
            self.outcome.take(&event);
        } else if place.idle > MOST_IDLE {
            return Ok(Some(format!(
                "workers end before they begin a job: {}",
                worker.how_it_ended(status, &stderr)
            )));
        }
        place.next = Some(Instant::now());
        Ok(None)
    }

    /// Takes what the journal of a worker that has ended holds; the job that was under way.
    fn take_journal(&mut self, worker: &Worker) -> Result<Option<(String, u32)>, JournalError> {
        if !worker.journal.exists() {
            return Ok(None);
        }
        let events = read(&worker.journal)?.events;
        events.iter().for_each(|event| self.outcome.take(event));
        Ok(match events.into_iter().next_back() {
            Some(Event::Begun { job, round }) => Some((job, round)),
            _ => None,
        })
    }
}

impl Place {
    /// Starts the next worker there.
    fn start(
        &mut self,
        folder: &Path,
        number: usize,
        sender: &Sender<Beat>,
        command: impl Fn(&Path) -> Command,
    ) -> io::Result<()> {
        let path = |generation: u32| folder.join(format!("worker-{number}-{generation}.jsonl"));
        self.generation += 1;
        while path(self.generation).exists() {
            self.generation += 1;
        }
        let generation = self.generation;
        let journal = path(generation);
        let stderr = journal.with_extension("err");
        let mut child = command(&journal)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(File::create(&stderr)?)
            .spawn()?;
        let sender = sender.clone();
        if let Some(stdout) = child.stdout.take() {
            thread::spawn(move || {
                for _ in BufReader::new(stdout).lines().map_while(Result::ok) {
                    if sender.send((number, generation)).is_err() {
                        return;
                    }
                }
            });
        }
        self.worker = Some(Worker {
            child,
            journal,
            read: 0,
            stderr,
            heard: Instant::now(),
            killed: None,
            has_told: false,
        });
        Ok(())
    }
}

impl Worker {
    /// Events that its journal has got since the last time.
    fn news(&mut self) -> Result<Vec<Event>, JournalError> {
        let failed = |reason| JournalError::Read {
            path: self.journal.clone(),
            reason,
        };
        let mut text = Vec::new();
        match File::open(&self.journal) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            file => {
                let mut file = file.map_err(failed)?;
                file.seek(SeekFrom::Start(self.read)).map_err(failed)?;
                file.read_to_end(&mut text).map_err(failed)?;
            }
        }
        // The last line may not be whole yet.
        let end = text
            .iter()
            .rposition(|&byte| byte == b'\n')
            .map_or(0, |end| end + 1);
        if end > 0 {
            self.heard = Instant::now();
            self.read += end as u64;
        }
        // The head is no event; what else is none is told when the journal is read as a whole.
        let lines = text[..end].split(|&byte| byte == b'\n');
        let events: Vec<Event> = lines
            .filter_map(|l| serde_json::from_slice(l).ok())
            .collect();
        self.has_told |= !events.is_empty();
        Ok(events)
    }

    /// Kills it if it was silent for too long; whether it does not even end then.
    fn is_given_up(&mut self, watchdog: Duration) -> bool {
        if let Some((_, when)) = self.killed {
            return when.elapsed() > GRACE;
        }
        // Its own watchdog comes first, and knows more.
        let limit = watchdog.saturating_add(watchdog / 2) + Duration::from_secs(1);
        let limit = match self.has_told {
            true => limit,
            false => limit.max(START_UP),
        };
        if self.heard.elapsed() > limit {
            let reason = format!("no sign of life for {:.0} s", limit.as_secs_f64());
            self.killed = Some((reason, Instant::now()));
            // It may just have ended by itself.
            let _ = self.child.kill();
        }
        false
    }

    /// Ends it, and waits as long as that may take.
    fn end(&mut self) {
        let _ = self.child.kill();
        let begun = Instant::now();
        while begun.elapsed() < GRACE && matches!(self.child.try_wait(), Ok(None)) {
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// For people.
    fn how_it_ended(&self, status: Option<ExitStatus>, stderr: &str) -> String {
        if let Some((reason, _)) = &self.killed {
            let ended = match status {
                Some(_) => "it was killed",
                None => "it does not end though it was killed",
            };
            return format!("the worker gave {reason}; {ended}");
        }
        let how = match status.map(|status| (status.signal(), status.code())) {
            Some((Some(signal), _)) => match signal_name(signal) {
                Some(name) => format!("was ended by signal {signal} ({name})"),
                None => format!("was ended by signal {signal}"),
            },
            Some((_, Some(code))) => format!("ended with exit code {code}"),
            _ => "ended".to_owned(),
        };
        match stderr {
            "" => format!("the worker {how}"),
            said => format!("the worker {how}: {said}"),
        }
    }
}

/// The name of a signal that ends processes.
const fn signal_name(signal: i32) -> Option<&'static str> {
    Some(match signal {
        4 => "SIGILL, an instruction that this processor lacks",
        6 => "SIGABRT",
        7 => "SIGBUS",
        8 => "SIGFPE",
        9 => "SIGKILL, as when memory runs out",
        11 => "SIGSEGV",
        15 => "SIGTERM",
        _ => return None,
    })
}

/// What a worker said last, in one line.
fn last_lines(path: &Path) -> String {
    let text = fs::read(path).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    let lines: Vec<&str> = lines.into_iter().filter(|line| !line.is_empty()).collect();
    let last = &lines[lines.len().saturating_sub(2)..];
    last.join(" ").trim_start_matches("error: ").to_owned()
}

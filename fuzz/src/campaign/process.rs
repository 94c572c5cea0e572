//! A worker process, and the place where the next one is started when it ends.

use super::journal::Reader;
use super::{Event, JournalError};
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::Sender;
use std::thread;
use std::time::{Duration, Instant};

/// How long a worker may take to end once it should have, before it is killed, or given up.
const GRACE: Duration = Duration::from_secs(10);
/// How long a worker may take before its first event.
const START_UP: Duration = Duration::from_secs(60);

/// A worker process.
pub(super) struct Worker {
    child: Child,
    journal: Reader,
    stderr: PathBuf,
    /// When it was last heard of.
    pub heard: Instant,
    /// Why it was killed, and when.
    killed: Option<(String, Instant)>,
    /// Whether it has told anything.
    pub has_told: bool,
    /// The job that it does, and its round.
    pub under_way: Option<(String, u32)>,
}

/// A place for a worker; the processes that were there share a part of the jobs.
pub(super) struct Place {
    pub worker: Option<Worker>,
    pub generation: u32,
    /// Workers in a row that ended without any event.
    pub idle: u32,
    /// When the next one is started.
    pub next: Option<Instant>,
}

/// A sign of life: of which place, and of which generation there.
pub(super) type Beat = (usize, u32);

impl Place {
    /// Starts the next worker there.
    pub fn start(
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
            journal: Reader::new(journal),
            stderr,
            heard: Instant::now(),
            killed: None,
            has_told: false,
            under_way: None,
        });
        Ok(())
    }
}

impl Worker {
    /// Events that its journal has got since the last time.
    pub fn news(&mut self) -> Result<Vec<Event>, JournalError> {
        // Lines that are no events are told when the journal is read as a whole.
        let events = self.journal.news()?.events;
        if let Some(last) = events.last() {
            self.heard = Instant::now();
            self.has_told = true;
            self.under_way = match last {
                Event::Begun { job, round } => Some((job.clone(), *round)),
                Event::Ended { .. } => None,
            };
        }
        Ok(events)
    }

    /// The path of its journal.
    pub fn journal(&self) -> &Path {
        &self.journal.path
    }

    /// How it has ended, if it has.
    pub fn status(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// Kills it if it was silent for too long; whether it does not even end then.
    pub fn is_given_up(&mut self, watchdog: Duration) -> bool {
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
    pub fn end(&mut self) {
        let _ = self.child.kill();
        let begun = Instant::now();
        while begun.elapsed() < GRACE && matches!(self.child.try_wait(), Ok(None)) {
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// What it said last, in one line.
    pub fn last_words(&self) -> String {
        let text = fs::read(&self.stderr).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
        let lines: Vec<&str> = lines.collect();
        let last = &lines[lines.len().saturating_sub(2)..];
        last.join(" ").trim_start_matches("error: ").to_owned()
    }

    /// For people.
    pub fn how_it_ended(&self, status: Option<ExitStatus>, stderr: &str) -> String {
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

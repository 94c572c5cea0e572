//! A worker process of a campaign: started by `mxlab verify`, never by hand.

use std::io::{Read, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Mutex;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use mxlab_fuzz::campaign::{
    Event, Journal, JournalError, Order, Outcome, Plan, Stop, WorkError, WorkerExit, read_folder,
    work,
};
use mxlab_harness::device::{DeviceChoice, DeviceError};
use mxlab_harness::shard::Shard;
use serde::{Deserialize, Serialize};

use super::open;
use crate::cli::images::ImagesArgs;
use crate::record::verify::Selection;

/// What a worker is to do.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Task {
    /// The jobs of the campaign.
    pub selection: Selection,
    /// The shard of the campaign.
    pub shard: Shard,
    /// Its part of the jobs of the shard.
    pub part: Shard,
    /// When it is to end, in milliseconds since 1970.
    pub deadline_ms: Option<u64>,
    /// Where kernels run.
    pub device: String,
    /// A folder of images.
    pub images: Option<PathBuf>,
    /// The plan. Its time limit is that of the campaign; the deadline counts.
    pub plan: Plan,
    /// The folder of the campaign: what its journals have is done.
    pub folder: PathBuf,
    /// A file with the order of the jobs.
    pub order: PathBuf,
    /// Its own journal.
    pub journal: PathBuf,
}

/// How often it gives a sign of life.
const BEAT: Duration = Duration::from_millis(100);

/// Does a task, and exits as [`WorkerExit`] says.
pub fn run(task: &str) -> ExitCode {
    // It ends with its supervisor, whatever ends that.
    std::thread::spawn(|| {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        leave(WorkerExit::Failed);
    });
    let error = match do_task(task) {
        Ok(Stop::Finished | Stop::TimeIsUp) => return ExitCode::from(WorkerExit::Done as u8),
        Ok(Stop::DeviceLost) => leave(WorkerExit::DeviceLost),
        Err(error) => error,
    };
    // The disk of this file may be full too.
    let _ = writeln!(std::io::stderr(), "error: {error:#}");
    leave(
        match (error.is::<DeviceError>(), error.is::<JournalError>()) {
            (true, _) => WorkerExit::NoDevice,
            (_, true) => WorkerExit::NoJournal,
            _ => WorkerExit::Failed,
        },
    )
}

/// Ends the process at once: what the driver does at an orderly end waits for a kernel that hangs.
fn leave(exit: WorkerExit) -> ! {
    // SAFETY: ends the process and returns never; every line was flushed when it was written.
    unsafe { libc::_exit(exit as i32) }
}

fn do_task(task: &str) -> Result<Stop> {
    let task: Task = serde_json::from_str(task).context("--worker: no task of a worker")?;
    // One thread, this one: other workers have the other cores.
    rayon::ThreadPoolBuilder::new()
        .num_threads(1)
        .use_current_thread()
        .build_global()?;
    let choice: DeviceChoice = task.device.parse()?;
    let images = ImagesArgs {
        images: task.images,
    };
    let device = open(choice, images.open()?)?;
    let jobs = task.selection.jobs(device.properties(), task.shard)?;
    let order = std::fs::read(&task.order).context("cannot read the order of the jobs")?;
    let order: Order = serde_json::from_slice(&order).context("no order of jobs")?;
    let mut outcome = Outcome::new(&jobs.jobs);
    let told = read_folder(&task.folder)?;
    told.events.iter().for_each(|event| outcome.take(event));
    let mut journal = Journal::create(&task.journal)?;
    let mut tell = |event: &Event| -> Result<(), JournalError> { journal.append(event) };
    let last = Mutex::new(Instant::now());
    let beat = || {
        if let Ok(mut last) = last.lock()
            && last.elapsed() > BEAT
        {
            *last = Instant::now();
            // A supervisor that is gone is told of by standard input.
            let _ = writeln!(std::io::stdout().lock());
        }
    };
    let own = order.of(task.part);
    let open = || Ok(device.clone());
    let left = task.deadline_ms.map(|deadline| {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        Duration::from_millis(deadline).saturating_sub(now)
    });
    let plan = Plan {
        time_limit: left,
        ..task.plan
    };
    let stop = work(
        &jobs.jobs,
        &own,
        &plan,
        &mut outcome,
        open,
        &mut tell,
        &beat,
    );
    stop.map_err(|error| match error {
        WorkError::Device(error) => anyhow::Error::new(error),
        WorkError::Journal(error) => anyhow::Error::new(error),
    })
}

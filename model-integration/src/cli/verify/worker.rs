//! A worker process of a campaign. `mxlab verify` starts it, never a user.

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

/// The task of a worker.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Task {
    /// The jobs of the campaign.
    pub selection: Selection,
    /// The shard of the campaign.
    pub shard: Shard,
    /// This worker's part of the shard's jobs.
    pub part: Shard,
    /// Deadline in milliseconds since 1970.
    pub deadline_ms: Option<u64>,
    /// The device that runs the kernels.
    pub device: String,
    /// A folder of images.
    pub images: Option<PathBuf>,
    /// The plan. Its time limit is the campaign's; the deadline takes precedence.
    pub plan: Plan,
    /// The folder of the campaign. Jobs in its journals are done.
    pub folder: PathBuf,
    /// A file with the order of the jobs.
    pub order: PathBuf,
    /// Its own journal.
    pub journal: PathBuf,
}

/// Interval between signs of life.
const BEAT: Duration = Duration::from_millis(100);

/// Runs a task, and exits as [`WorkerExit`] says.
pub fn run(task: &str) -> ExitCode {
    // A worker ends with its supervisor, however that ends.
    std::thread::spawn(|| {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        leave(WorkerExit::Failed);
    });
    let error = match do_task(task) {
        Ok(Stop::Finished | Stop::TimeIsUp) => return ExitCode::from(WorkerExit::Done as u8),
        Ok(Stop::DeviceLost) => leave(WorkerExit::DeviceLost),
        Err(error) => error,
    };
    // The disk of this file may be full, too.
    let _ = writeln!(std::io::stderr(), "error: {error:#}");
    leave(
        match (error.is::<DeviceError>(), error.is::<JournalError>()) {
            (true, _) => WorkerExit::NoDevice,
            (_, true) => WorkerExit::NoJournal,
            _ => WorkerExit::Failed,
        },
    )
}

/// Ends the process at once: an orderly end of the driver waits for a hanging kernel.
fn leave(exit: WorkerExit) -> ! {
    // SAFETY: ends the process and never returns; every line was flushed when it was written.
    unsafe { libc::_exit(exit as i32) }
}

fn do_task(task: &str) -> Result<Stop> {
    let task: Task = serde_json::from_str(task).context("--worker: no task of a worker")?;
    // Only this thread: other workers use the other cores.
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
            // Standard input closes when the supervisor is gone.
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

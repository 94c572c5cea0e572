//! A campaign: worker processes that verify kernels, their verdicts, and the record.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::thread::available_parallelism;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use std::{env, fs};

use anyhow::{Context, Result, anyhow, ensure};
use indicatif::{HumanDuration, ProgressBar, ProgressDrawTarget, ProgressStyle};
use mxlab_fuzz::campaign::{
    End, Folder, Identity, Outcome, Plan, Supervisor, Until, Verdict, time_of_all,
};
use mxlab_fuzz::regression::Regression;
use mxlab_harness::device::{DeviceChoice, DeviceKind, Images, Properties};
use mxlab_harness::record::{Environment, build_version, write_atomic};
use mxlab_harness::shard::Shard;

use super::record::{Circumstances, summary, text};
use super::worker::Task;
use super::{VerifyArgs, open};
use crate::cli::Done;
use crate::cli::interrupt::stop_on_signals;
use crate::cli::output::{Usage, print};
use crate::record;
use crate::record::verify::{Selection, VerifyRecord};

/// Default limit of worker processes; each has its own context on the GPU.
const MOST_WORKERS: usize = 16;
/// Interval between writes of a running campaign's record.
const RECORD_EVERY: Duration = Duration::from_secs(10);
/// Seconds without progress, for problems of the default size.
const WATCHDOG_S: f64 = 60.0;
/// Longest campaign in minutes: a year.
const MOST_MINUTES: f64 = 525_600.0;
/// Longest watchdog in seconds: a day.
const MOST_WATCHDOG_S: f64 = 86_400.0;
/// Elements per second that the slowest kernel and its reference reach on the emulator.
const ELEMENTS_PER_S: f64 = 1e5;

/// Runs the campaign, prints its findings, and writes the record.
pub fn run(args: &VerifyArgs) -> Result<Done> {
    let (begun, environment) = (Instant::now(), Environment::capture());
    let plan = plan(args)?;
    let deadline_ms = plan.time_limit.map(|limit| {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let deadline = now.unwrap_or_default().saturating_add(limit);
        u64::try_from(deadline.as_millis()).unwrap_or(u64::MAX)
    });
    let selection = selection(args)?;
    let images = args.images.open()?;
    let (choice, device) = device(args, images.clone())?;
    let jobs = selection.jobs(&device, args.shard)?;
    let workers = match (&selection.faults, args.workers) {
        // Faults run one after another.
        (Some(_), _) => 1,
        (None, Some(workers)) => workers.get(),
        (None, None) => available_parallelism()
            .map_or(1, NonZero::get)
            .min(MOST_WORKERS),
    };
    let workers = workers.min(jobs.jobs.len());
    let kept = Kept::open(args, &selection, &plan)?;
    let order = jobs.order(args.seed, images.as_deref());
    let order_file = kept.folder.path().join("order.json");
    write_atomic(&order_file, &serde_json::to_vec(&order)?)?;
    let circumstances = Circumstances {
        environment: &environment,
        device: &device,
        selection: &selection,
        shard: args.shard.to_string(),
        seed: args.seed,
        problem_size: args.problem_size,
        workers,
        for_other_chips: jobs.for_other_chips,
        images: images.as_deref(),
    };
    let mut supervisor = Supervisor::new(&jobs.jobs, &plan, &kept.folder)?;
    for line in supervisor.damaged() {
        eprintln!("{line}");
    }
    if kept.folder.is_resumed() {
        eprintln!(
            "going on: {} of {} have verdicts in `{}`; delete it to begin again",
            supervisor.outcome().total().done,
            jobs.jobs.len(),
            kept.folder.path().display()
        );
    }
    let program = env::current_exe().context("cannot find this program to start workers")?;
    let command = |number: usize, journal: &Path| {
        let task = Task {
            selection: selection.clone(),
            shard: args.shard,
            part: Shard::WHOLE.part(number, workers),
            deadline_ms,
            device: choice.to_string(),
            images: args.images.images.clone(),
            order: order_file.clone(),
            plan,
            folder: kept.folder.path().to_owned(),
            journal: journal.to_owned(),
        };
        worker(&program, &task)
    };
    let seconds = || begun.elapsed().as_secs_f64();
    let keep =
        |outcome: &Outcome, end: &str| kept.write(&circumstances.record(outcome, seconds(), end));
    keep(supervisor.outcome(), "running")?;
    let bar = progress_bar(jobs.jobs.len());
    let (before, all) = (supervisor.outcome().total().done, jobs.jobs.len() as u64);
    // Time of the first problems; with --minutes or --elements the user chose the length.
    let mut is_estimated = args.minutes.is_some() || args.elements.is_some();
    let mut written = Instant::now();
    let stop = stop_on_signals("stopping; with --output-path the same command resumes")?;
    let mut observe = |outcome: &Outcome| -> Result<()> {
        let done = outcome.total().done;
        bar.set_position(done);
        if !is_estimated && let Some(time) = time_of_all(begun.elapsed(), before, done, all) {
            is_estimated = true;
            let line = format!(
                "{} kernels take about {}",
                all - before,
                HumanDuration(time)
            );
            bar.suspend(|| eprintln!("{line} on this machine"));
        }
        if written.elapsed() > RECORD_EVERY {
            written = Instant::now();
            keep(outcome, "running")?;
        }
        Ok(())
    };
    let end = supervisor.run(workers, begun, &command, &stop, &mut observe);
    let end = end.unwrap_or_else(|error| End::Failed(format!("{error:#}")));
    bar.finish_and_clear();
    let outcome = supervisor.outcome();
    let words = match &end {
        End::Finished => "finished".to_owned(),
        End::TimeIsUp => "time is up".to_owned(),
        End::Interrupted => "interrupted".to_owned(),
        End::Failed(reason) => format!("failed: {reason}"),
    };
    let recorded = keep(outcome, &words);
    tell(args, &selection, &circumstances, outcome, &end)?;
    print(&summary(
        outcome,
        selection.instructions,
        &device.name,
        seconds(),
    ))?;
    let is_right = outcome.findings().is_empty();
    match end {
        End::Failed(reason) => {
            let journals = kept.folder.path().display();
            return Err(anyhow!(
                "the campaign ended early: {reason}; {}",
                match (&kept.record, &recorded) {
                    (None, _) => "with --output-path it could be resumed".to_owned(),
                    (Some(_), Err(_)) => format!(
                        "`{journals}` has the results so far; free space there, and run the same \
                         command again to resume"
                    ),
                    (Some(record), Ok(())) => format!(
                        "`{}` has the results so far; fix the cause (free space if the disk is \
                         full), and run the same command again to resume",
                        record.display()
                    ),
                }
            ));
        }
        End::Interrupted => return Ok(Done::Interrupted),
        End::Finished | End::TimeIsUp => recorded?,
    }
    if end == End::Finished {
        kept.finish()?;
    }
    Ok(match is_right {
        true => Done::Ok,
        false => Done::WithFindings,
    })
}

/// The kernels' device and its properties. Workers have their own contexts, so this process's is
/// closed: it would only take memory from them.
fn device(args: &VerifyArgs, images: Option<Arc<Images>>) -> Result<(DeviceChoice, Properties)> {
    let device = open(args.device, images)?;
    args.images.warn_unfit(&device);
    let properties = device.properties().clone();
    let choice = match (args.faults, properties.kind) {
        // A fault must cost a worker its device.
        (Some(_), DeviceKind::Emulator) => DeviceChoice::EmulatorLostByFaults,
        _ => args.device,
    };
    Ok((choice, properties))
}

/// Prints the findings, and the jobs that were not run unless a record lists them.
fn tell(
    args: &VerifyArgs,
    selection: &Selection,
    circumstances: &Circumstances,
    outcome: &Outcome,
    end: &End,
) -> Result<()> {
    print(&text(outcome, selection.instructions, &again(args)))?;
    if circumstances.for_other_chips > 0 {
        let count = circumstances.for_other_chips;
        print(&format!("not run: {count} for other chips\n"))?;
    }
    if *end != End::Finished && args.output_path.is_none() {
        for id in outcome.not_run() {
            print(&format!("not run: {id}\n"))?;
        }
    }
    match &args.save {
        Some(folder) => save(outcome, folder),
        None => Ok(()),
    }
}

fn plan(args: &VerifyArgs) -> Result<Plan> {
    let time = |flag: &str, value: Option<f64>, unit: f64, most: f64| -> Result<Option<Duration>> {
        let Some(value) = value else {
            return Ok(None);
        };
        ensure!(
            value > 0.0 && value <= most,
            Usage(format!(
                "{flag}: not a time: {value:e}; expected more than 0 and at most {most}"
            ))
        );
        Ok(Some(Duration::from_secs_f64(value * unit)))
    };
    ensure!(
        args.problems != Some(0) && args.elements != Some(0),
        Usage("--problems and --elements: must be positive".to_owned())
    );
    let rounds = time("--minutes", args.minutes, 60.0, MOST_MINUTES)?;
    let limit = time("--time-limit", args.time_limit, 60.0, MOST_MINUTES)?;
    let watchdog = args
        .watchdog
        .unwrap_or(WATCHDOG_S + args.problem_size as f64 / ELEMENTS_PER_S);
    let watchdog = time("--watchdog", Some(watchdog), 1.0, MOST_WATCHDOG_S)?;
    Ok(Plan {
        seed: args.seed,
        elements: args.problem_size,
        until: match (rounds, args.elements) {
            (Some(_), _) => Until::TimeLimit,
            (_, Some(elements)) => Until::Elements(elements),
            (None, None) => Until::Problems(args.problems.unwrap_or(4)),
        },
        time_limit: rounds.into_iter().chain(limit).min(),
        watchdog: watchdog.unwrap_or(Duration::from_secs(60)),
    })
}

fn selection(args: &VerifyArgs) -> Result<Selection> {
    let absolute = |path: &PathBuf| {
        let absolute = fs::canonicalize(path);
        absolute.with_context(|| format!("cannot read `{}`", path.display()))
    };
    Ok(Selection {
        patterns: args.kernel.iter().map(|p| p.as_str().to_owned()).collect(),
        ptx: args.ptx.iter().map(absolute).collect::<Result<_>>()?,
        every: args.every.get(),
        instructions: args.instructions,
        faults: args.faults,
    })
}

/// The folder of a running campaign, and the path of its record.
struct Kept<'a> {
    folder: Folder,
    record: Option<&'a Path>,
    /// The parent of a temporary folder.
    _temporary: Option<tempfile::TempDir>,
}

impl<'a> Kept<'a> {
    /// Opens the folder: beside the record, so that the same command resumes there, or a temporary
    /// one.
    fn open(args: &'a VerifyArgs, selection: &Selection, plan: &Plan) -> Result<Self> {
        let record = args.output_path.as_deref();
        let (path, temporary) = match record {
            Some(record) => {
                ensure!(
                    !record.is_dir(),
                    "`{}` is a folder; --output-path needs the name of a file",
                    record.display()
                );
                let mut name = record.as_os_str().to_owned();
                name.push(".journal");
                (PathBuf::from(name), None)
            }
            None => {
                let temporary = tempfile::Builder::new().prefix("mxlab-verify-").tempdir();
                let temporary = temporary.context("cannot create a temporary folder")?;
                (temporary.path().join("journal"), Some(temporary))
            }
        };
        Ok(Self {
            folder: Folder::open(&path, &identity(args, selection, plan)?)?,
            record,
            _temporary: temporary,
        })
    }

    fn write(&self, record: &VerifyRecord) -> Result<()> {
        if let Some(path) = self.record {
            record::write(path, record).context(
                "the record cannot be written; free space or choose another --output-path, and run \
                 the same command again",
            )?;
        }
        Ok(())
    }

    /// Deletes the journals.
    fn finish(self) -> Result<()> {
        Ok(self.folder.remove()?)
    }
}

/// The settings that must be equal for a campaign to resume.
fn identity(args: &VerifyArgs, selection: &Selection, plan: &Plan) -> Result<Identity> {
    let mut hasher = DefaultHasher::new();
    let program = env::current_exe().context("cannot find this program")?;
    let metadata = fs::metadata(&program).context("cannot read this program")?;
    (metadata.len(), metadata.modified().ok()).hash(&mut hasher);
    for path in &selection.ptx {
        let files = super::jobs::ptx_files(path)?;
        for file in files {
            fs::read(file)?.hash(&mut hasher);
        }
    }
    let json = serde_json::to_string(selection)?;
    let images = args.images.images.as_deref();
    let images = images.map_or("none".to_owned(), |path| path.display().to_string());
    Ok(Identity::from([
        ("folder of images".to_owned(), images),
        ("selection".to_owned(), json),
        ("shard".to_owned(), args.shard.to_string()),
        ("device".to_owned(), args.device.to_string()),
        ("seed".to_owned(), plan.seed.to_string()),
        ("problem size".to_owned(), plan.elements.to_string()),
        ("length".to_owned(), format!("{:?}", plan.until)),
        (
            "program".to_owned(),
            format!("{}, {:016x}", build_version(), hasher.finish()),
        ),
    ]))
}

/// The worker process of a task.
fn worker(program: &Path, task: &Task) -> Command {
    let mut command = Command::new(program);
    let task = serde_json::to_string(task).unwrap_or_default();
    command.args(["verify", "--worker", &task]);
    // Results must not depend on earlier compilations by the driver.
    command.env("CUDA_CACHE_DISABLE", "1");
    // The supervisor handles Ctrl-C and ends the workers.
    std::os::unix::process::CommandExt::process_group(&mut command, 0);
    command
}

fn progress_bar(kernels: usize) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(Some(kernels as u64), ProgressDrawTarget::stderr());
    let template = "{spinner} {human_pos} of {human_len} kernels, {elapsed}, {eta} left";
    bar.set_style(ProgressStyle::with_template(template).expect("a well-formed template"));
    bar
}

/// The flags that reproduce the same problems and texts.
fn again(args: &VerifyArgs) -> String {
    let ptx = args.ptx.iter();
    let ptx = ptx.map(|path| format!(" --ptx {}", path.display()));
    format!(
        " --problem-size {}{}",
        args.problem_size,
        ptx.collect::<String>()
    )
}

/// Writes the minimised problems of failures.
fn save(outcome: &Outcome, folder: &Path) -> Result<()> {
    for finding in outcome.findings() {
        if let Verdict::Wrong {
            failure,
            problem: Some(problem),
            ..
        } = finding.verdict
        {
            let regression = Regression {
                kernel: finding.job.to_owned(),
                was: failure.clone(),
                problem: problem.clone(),
            };
            let path = regression.write(folder)?;
            print(&format!("kept: mxlab verify --replay {}\n", path.display()))?;
        }
    }
    Ok(())
}

//! A campaign: worker processes over kernels, their verdicts, and the record of it.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::available_parallelism;
use std::time::{Duration, Instant};
use std::{env, fs};

use anyhow::{Context, Result, anyhow, ensure};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use mxlab_fuzz::campaign::{End, Folder, Identity, Outcome, Plan, Supervisor, Until, Verdict};
use mxlab_fuzz::regression::Regression;
use mxlab_harness::record::{Environment, build_version, write_atomic};

use super::jobs::Selection;
use super::record::{Circumstances, Record, summary, text};
use super::worker::Task;
use super::{VerifyArgs, open};
use crate::cli::Done;
use crate::cli::interrupt::stop_on_signals;
use crate::cli::output::{Usage, print};

/// Worker processes at most, unless told otherwise: each has a context on the GPU.
const MOST_WORKERS: usize = 16;
/// How often the record of a campaign that goes on is written.
const RECORD_EVERY: Duration = Duration::from_secs(10);
/// Seconds without a sign of life, for problems of the default size.
const WATCHDOG_S: f64 = 60.0;
/// Elements that the slowest kernel and its reference do in a second, at least, on the emulator.
const ELEMENTS_PER_S: f64 = 1e5;

/// Runs the campaign, prints what it found, and keeps it.
pub fn run(args: &VerifyArgs) -> Result<Done> {
    let environment = Environment::capture();
    let plan = plan(args)?;
    let selection = selection(args)?;
    let images = args.images.open()?;
    let device = {
        // Workers have contexts of their own; this one would only take memory from them.
        let device = open(args.device, images.clone())?;
        args.images.tell_unfit(&device);
        device.properties().clone()
    };
    let jobs = selection.jobs(&device)?;
    let order = jobs.order(args.seed, images.as_deref());
    let own = order.of(args.shard);
    ensure!(
        !own.is_empty(),
        Usage(format!(
            "--shard {}: there are {} kernels, which is too few for so many shards",
            args.shard,
            jobs.jobs.len()
        ))
    );
    let workers = match (&selection.faults, args.workers) {
        // Faults come one after the other.
        (Some(_), _) => 1,
        (None, Some(workers)) => workers.get(),
        (None, None) => available_parallelism()
            .map_or(1, NonZero::get)
            .min(MOST_WORKERS),
    };
    let workers = workers.min(own.len());
    let kept = Kept::open(args, &selection, &plan)?;
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
    // Only the jobs of this shard: the others are no business of this run.
    let numbers: std::collections::HashSet<usize> = own.into_iter().collect();
    let jobs = jobs.jobs.into_iter().enumerate();
    let jobs = jobs.filter(|(number, _)| numbers.contains(number));
    let jobs: Vec<_> = jobs.map(|(_, job)| job).collect();

    let mut supervisor = Supervisor::new(&jobs, &plan, &kept.folder)?;
    let known = supervisor.outcome().total().done;
    if kept.folder.is_resumed() {
        eprintln!(
            "going on: {known} of {} kernels have verdicts in `{}`; delete it to begin again",
            jobs.len(),
            kept.folder.path().display()
        );
    }
    let program = env::current_exe().context("cannot find this program to start workers")?;
    let command = |number: usize, journal: &Path, left: Option<Duration>| {
        let task = Task {
            selection: selection.clone(),
            shard: args.shard.part(number, workers),
            device: args.device.to_string(),
            images: args.images.images.clone(),
            order: order_file.clone(),
            plan: Plan {
                time_limit: left,
                ..plan
            },
            folder: kept.folder.path().to_owned(),
            journal: journal.to_owned(),
        };
        worker(&program, &task)
    };
    let begun = Instant::now();
    let seconds = || begun.elapsed().as_secs_f64();
    let bar = progress_bar(jobs.len());
    let mut written = Instant::now();
    let stop = stop_on_signals("stopping; with --output-path the same command goes on")?;
    let mut observe = |outcome: &Outcome| -> Result<()> {
        let total = outcome.total();
        bar.set_position(total.done);
        if written.elapsed() > RECORD_EVERY {
            written = Instant::now();
            let record = Record::new(&circumstances, outcome, seconds(), "running".to_owned());
            kept.write(&record)?;
        }
        Ok(())
    };
    let end = supervisor.run(workers, &command, &stop, &mut observe)?;
    bar.finish_and_clear();
    let (outcome, seconds) = (supervisor.outcome(), seconds());

    let words = match &end {
        End::Finished => "finished".to_owned(),
        End::TimeIsUp => "time is up".to_owned(),
        End::Interrupted => "interrupted".to_owned(),
        End::Failed(reason) => format!("failed: {reason}"),
    };
    kept.write(&Record::new(&circumstances, outcome, seconds, words))?;
    print(&text(outcome, selection.instructions, &again(args)))?;
    if circumstances.for_other_chips > 0 {
        let count = circumstances.for_other_chips;
        print(&format!("not run: {count} kernels for other chips\n"))?;
    }
    if end != End::Finished && kept.record.is_none() {
        for id in outcome.not_run() {
            print(&format!("not run: {id}\n"))?;
        }
    }
    if let Some(folder) = &args.save {
        save(outcome, folder)?;
    }
    print(&summary(
        outcome,
        selection.instructions,
        &device.name,
        seconds,
    ))?;
    let has_findings = !outcome.findings().is_empty();
    match end {
        End::Finished => kept.finish()?,
        End::TimeIsUp => {}
        End::Interrupted => return Ok(Done::Interrupted),
        End::Failed(reason) => {
            let kept = match &kept.record {
                Some(record) => format!("; `{}` has what was found until then", record.display()),
                None => String::new(),
            };
            return Err(anyhow!("the campaign ended early: {reason}{kept}"));
        }
    }
    Ok(match has_findings {
        false => Done::Well,
        true => Done::WithFindings,
    })
}

fn plan(args: &VerifyArgs) -> Result<Plan> {
    let minutes = |flag: &str, minutes: Option<f64>| -> Result<Option<Duration>> {
        let Some(minutes) = minutes else {
            return Ok(None);
        };
        let duration = Duration::try_from_secs_f64(60.0 * minutes).ok();
        let duration = duration.filter(|duration| !duration.is_zero());
        let wrong = || {
            Usage(format!(
                "{flag}: not a time: {minutes}; expected minutes above 0"
            ))
        };
        Ok(Some(duration.ok_or_else(wrong)?))
    };
    ensure!(
        args.problems != Some(0) && args.elements != Some(0),
        Usage("--problems and --elements: must be positive".to_owned())
    );
    let rounds = minutes("--minutes", args.minutes)?;
    let limit = minutes("--time-limit", args.time_limit)?;
    let watchdog = args
        .watchdog
        .unwrap_or(WATCHDOG_S + args.problem_size as f64 / ELEMENTS_PER_S);
    let watchdog = Duration::try_from_secs_f64(watchdog).ok();
    let watchdog = watchdog.filter(|watchdog| !watchdog.is_zero());
    Ok(Plan {
        seed: args.seed,
        elements: args.problem_size,
        until: match (rounds, args.elements) {
            (Some(_), _) => Until::TimeLimit,
            (_, Some(elements)) => Until::Elements(elements),
            (None, None) => Until::Problems(args.problems.unwrap_or(4)),
        },
        time_limit: rounds.into_iter().chain(limit).min(),
        watchdog: watchdog.ok_or_else(|| Usage("--watchdog: not a time".to_owned()))?,
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

/// Where a campaign is kept while it goes, and where its record goes.
struct Kept<'a> {
    folder: Folder,
    record: Option<&'a Path>,
    /// The parent of a folder that nobody asked for.
    _temporary: Option<tempfile::TempDir>,
}

impl<'a> Kept<'a> {
    /// Beside the record, so that the same command goes on there; or for this run alone.
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

    fn write(&self, record: &Record) -> Result<()> {
        if let Some(path) = self.record {
            let json = serde_json::to_vec_pretty(record);
            write_atomic(path, &json.context("cannot write the record as JSON")?)?;
        }
        Ok(())
    }

    /// Its journals are no longer needed.
    fn finish(self) -> Result<()> {
        Ok(self.folder.remove()?)
    }
}

/// What must be the same for a campaign to go on.
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
    Ok(Identity::from([
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

/// The process of a task.
fn worker(program: &Path, task: &Task) -> Command {
    let mut command = Command::new(program);
    let task = serde_json::to_string(task).unwrap_or_default();
    command.args(["verify", "--worker", &task]);
    // Nothing depends on what the driver compiled before.
    command.env("CUDA_CACHE_DISABLE", "1");
    // Ctrl-C is for the supervisor, which ends the workers.
    std::os::unix::process::CommandExt::process_group(&mut command, 0);
    command
}

fn progress_bar(kernels: usize) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(Some(kernels as u64), ProgressDrawTarget::stderr());
    let template = "{spinner} {human_pos} of {human_len} kernels, {elapsed}, {eta} left";
    bar.set_style(ProgressStyle::with_template(template).expect("a well-formed template"));
    bar
}

/// The flags that choose the same problems and texts again.
fn again(args: &VerifyArgs) -> String {
    let ptx = args.ptx.iter();
    let ptx = ptx.map(|path| format!(" --ptx {}", path.display()));
    format!(
        " --problem-size {}{}",
        args.problem_size,
        ptx.collect::<String>()
    )
}

/// Keeps the problems of failures that were made small.
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

//! `mxlab study`: runs, merges, packs and reports studies.

use std::cell::{OnceCell, RefCell};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use anyhow::{Context, Result};
use clap::{Args, Subcommand};
use mxlab_harness::device::Device;
use mxlab_harness::shard::Shard;
use mxlab_kernels::format::FloatType;

use super::Done;
use super::data::data_sources;
use super::eval::print_matched_rule;
use super::interrupt::stop_on_signals;
use super::model::{EngineArgs, SoftmaxDtype, open_checkpoint};
use super::output::print;
use crate::checkpoint::Checkpoint;
use crate::columns::aligned;
use crate::engine::Engine;
use crate::eval::plan::Limit;
use crate::eval::progress::{Bar, Progress, Silent};
use crate::model::device::input::Operands;
use crate::record;
use crate::report;
use crate::study::cell::{Cell, Work};
use crate::study::expand::BASELINE;
use crate::study::folder::{cell_path, check_frozen, find};
use crate::study::run::{ModelPlan, Sources, Summary, run as run_study};
use crate::study::score::Scored;
use crate::study::shipped::{SHIPPED, text};
use crate::study::variant::{Variant, variants};
use crate::study::{Changes, Study, merge, pack};
use crate::task::{self, FewShot, Task};

/// Run studies: every combination of settings in one file, resumable, sharded, reported
#[derive(Args)]
pub struct StudyArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// List the built-in studies
    List,
    /// Print the file of a study, to start your own from
    Show {
        /// Name or file
        #[arg(value_name = "NAME|FILE")]
        study: String,
    },
    /// Check a study and print how much there is to run
    Check(StudyRunArgs),
    /// Run the unfinished cells
    Run(RunArgs),
    /// Print what is finished; exits with 1 while cells are left
    Status(StudyRunArgs),
    /// Copy the output of shards into one directory
    Merge {
        /// Output directories of shards
        #[arg(value_name = "DIR", required = true)]
        shards: Vec<PathBuf>,
        /// Output directory
        #[arg(long, value_name = "DIR")]
        output_path: PathBuf,
    },
    /// Write the output directory of a study as one file, which reports read like the directory
    Pack(PackArgs),
    /// Write the report of a study
    Report {
        /// Its output directory, or the file that `pack` wrote
        #[arg(value_name = "DIR|FILE")]
        output: PathBuf,
        /// Folder for the report [default: the same; for a file, a folder of its name]
        #[arg(long, value_name = "DIR")]
        output_path: Option<PathBuf>,
        /// JSON file of published results, shown as a column of its own
        #[arg(long, value_name = "FILE")]
        reference: Option<PathBuf>,
    },
}

#[derive(Args)]
struct StudyRunArgs {
    /// Name of a shipped study (`mxlab study list`), or a TOML file
    #[arg(value_name = "NAME|FILE")]
    study: String,
    /// Output directory [default: studies/NAME]
    #[arg(long, value_name = "DIR")]
    output_path: Option<PathBuf>,
    /// Models instead of the study's own, repeated or separated by commas
    #[arg(long, value_name = "DIR|NAME", value_delimiter = ',')]
    model: Vec<String>,
    /// Tasks instead of the study's own, repeated or separated by commas
    #[arg(long, value_name = "NAME|FILE", value_delimiter = ',')]
    tasks: Vec<String>,
    /// Only the first N examples of each task; below 1, that fraction of them
    #[arg(long, value_name = "N|FRACTION")]
    limit: Option<String>,
    /// Text by which codes are chosen instead of the study's own, as `mxlab calibrate` takes it;
    /// repeat it
    #[arg(long, value_name = "TEXT")]
    text: Vec<String>,
    /// Examples per batch
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = batch_size)]
    batch_size: usize,
    /// Folder with the files of named tasks; missing files are downloaded from the hub
    #[arg(long, value_name = "DIR", env = "MXLAB_DATA")]
    data_dir: Option<PathBuf>,
    #[command(flatten)]
    engine: EngineArgs,
}

#[derive(Args)]
struct RunArgs {
    #[command(flatten)]
    study: StudyRunArgs,
    /// Only part i of n: every n-th cell
    #[arg(long, value_name = "I/N", default_value_t = Shard::WHOLE)]
    shard: Shard,
    /// No progress bar
    #[arg(long, short)]
    quiet: bool,
}

#[derive(Args)]
struct PackArgs {
    /// Output directory of a study
    #[arg(value_name = "DIR")]
    folder: PathBuf,
    /// The file, compressed if its name ends in .gz [default: DIR.json.gz]
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Pack the finished cells of an unfinished study
    #[arg(long)]
    unfinished: bool,
    #[command(flatten)]
    engine: EngineArgs,
}

fn batch_size(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(size) if size > 0 => Ok(size),
        _ => Err("not a number of at least 1".into()),
    }
}

/// Runs a subcommand.
pub fn run(args: &StudyArgs) -> Result<Done> {
    match &args.command {
        Command::List => list(),
        Command::Show { study } => {
            print(&text(study)?.1)?;
            Ok(Done::Ok)
        }
        Command::Check(args) => args.check(),
        Command::Run(args) => args.run(),
        Command::Status(args) => args.status(),
        Command::Pack(args) => args.run(),
        Command::Merge {
            shards,
            output_path,
        } => {
            let records = merge::merge(shards, output_path)?;
            let path = output_path.display();
            print(&format!("{records} records in `{path}`\n"))?;
            Ok(Done::Ok)
        }
        Command::Report {
            output,
            output_path,
            reference,
        } => {
            let default = || match output.is_file() {
                true => PathBuf::from(record::stem(output)),
                false => output.clone(),
            };
            let folder = output_path.clone().unwrap_or_else(default);
            for path in report::write(output, &folder, reference.as_deref())? {
                print(&format!("{}\n", path.display()))?;
            }
            Ok(Done::Ok)
        }
    }
}

fn list() -> Result<Done> {
    let mut rows = Vec::new();
    for (name, _) in SHIPPED {
        let study = Study::open(name, Changes::default())?;
        rows.push(vec![name.to_owned(), study.file.title]);
    }
    print(&aligned(2, &["study", "what"], &rows))?;
    Ok(Done::Ok)
}

/// Opens models and tasks according to the arguments.
fn with_sources<T>(
    args: &EngineArgs,
    data_dir: Option<&Path>,
    then: impl FnOnce(&Sources) -> Result<T>,
) -> Result<T> {
    args.use_threads()?;
    let data = data_sources(data_dir);
    let devices = RefCell::new(Vec::new());
    let opened = |device: &Device| devices.borrow_mut().push(device.clone());
    let engine = |checkpoint: Checkpoint, dtype: Option<FloatType>| -> Result<Box<dyn Engine>> {
        let args = match dtype {
            None => args.clone(),
            Some(dtype) => args.with_dtype(dtype)?,
        };
        args.open_noting(checkpoint, SoftmaxDtype::F32, &opened)
    };
    let server = |variant: &Variant| {
        let args = match variant.dtype {
            None => args.clone(),
            Some(dtype) => args.with_dtype(dtype)?,
        };
        let program = std::env::current_exe().context("where is this program?")?;
        let mut command = std::process::Command::new(program);
        command.args(["serve", "--model", &variant.model]);
        command.args(args.arguments());
        // Nobody else finds its port.
        command.env_remove("MXLAB_API_KEY");
        Ok(command)
    };
    let text_command = |name: &str, variant: &Variant| {
        let program = std::env::current_exe().context("where is this program?")?;
        let mut command = std::process::Command::new(program);
        command.arg(name).args(args.of_text(variant.dtype));
        if let Some(folder) = data_dir {
            command.arg("--data-dir").arg(folder);
        }
        Ok(command)
    };
    let done = then(&Sources {
        text_command: &text_command,
        server: &server,
        checkpoint: &open_checkpoint,
        engine: &engine,
        task: &|name| {
            let task = task::load(name, &FewShot::default(), &data)?;
            print_matched_rule(&task);
            Ok(task)
        },
    });
    let loads: Vec<_> = devices.borrow().iter().map(Device::loads).collect();
    args.images.report(&loads);
    done
}

impl PackArgs {
    fn run(&self) -> Result<Done> {
        let study = pack::read(&self.folder)?;
        if !self.unfinished {
            with_sources(&self.engine, None, |sources| {
                pack::check_done(&study, &self.folder, sources)
            })?;
        }
        let default = || pack::default_path(&self.folder);
        let path = self.output.clone().unwrap_or_else(default);
        pack::write(&study, &path)?;
        let cells = study.cells.len();
        print(&format!("{cells} cells in `{}`\n", path.display()))?;
        Ok(Done::Ok)
    }
}

impl StudyRunArgs {
    fn open(&self) -> Result<Study> {
        if let Some(limit) = &self.limit {
            let checked = limit.parse::<Limit>();
            checked.map_err(|error| super::output::Usage(format!("--limit {limit}: {error}")))?;
        }
        let some = |names: &[String]| (!names.is_empty()).then(|| names.to_vec());
        let EngineArgs {
            dtype,
            device,
            fake_quantize,
            operands,
            amx,
            ..
        } = &self.engine;
        let dtype = dtype.0.map_or("auto".to_owned(), |dtype| dtype.to_string());
        let how = match (amx, fake_quantize, operands) {
            (true, ..) => ", amx",
            (_, true, _) => ", fake-quantised",
            (_, _, Operands::Bytes) => ", 8-bit operands",
            (_, _, Operands::Bf16) => "",
        };
        let changes = Changes {
            models: some(&self.model),
            tasks: some(&self.tasks),
            limit: self.limit.clone(),
            texts: some(&self.text),
            engine: format!("{device}, {dtype}{how}"),
            batch_size: self.batch_size,
        };
        Study::open(&self.study, changes)
    }

    fn output(&self, study: &Study) -> PathBuf {
        let default = || Path::new("studies").join(&study.name);
        self.output_path.clone().unwrap_or_else(default)
    }

    fn with_sources<T>(&self, then: impl FnOnce(&Sources) -> Result<T>) -> Result<T> {
        with_sources(&self.engine, self.data_dir.as_deref(), then)
    }

    fn check(&self) -> Result<Done> {
        let study = self.open()?;
        let output = self.output(&study);
        check_frozen(&study.frozen, &output)?;
        let text = self.with_sources(|sources| {
            let tasks = study.file.tasks.iter();
            let tasks: Vec<Task> = tasks
                .map(|name| (sources.task)(name))
                .collect::<Result<_>>()?;
            let mut rows = Vec::new();
            let mut notes = String::new();
            for variant in variants(&study) {
                let plan = ModelPlan::new(&study, &variant, sources)?;
                let scored = Scored {
                    study: &study,
                    engine: &*plan.engine,
                    checkpoint: &plan.checkpoint,
                    tasks: &tasks,
                    add_bos_token: variant.add_bos_token,
                    output: &output,
                    prompts: OnceCell::new(),
                    calibrated: &|_, _| Ok(None),
                };
                rows.push(counts(&plan, &scored)?);
                for unfit in plan.unfit {
                    notes += &format!("left out: {unfit}\n");
                }
            }
            let header = [
                "model",
                "configurations",
                "scored",
                "timed",
                "steps of a search",
                "examples",
                "tokens",
            ];
            Ok(aligned(1, &header, &rows) + &notes)
        })?;
        print(&text)?;
        Ok(Done::Ok)
    }

    fn status(&self) -> Result<Done> {
        let study = self.open()?;
        let output = self.output(&study);
        let (text, is_done) = self.with_sources(|sources| {
            let mut rows = Vec::new();
            let mut is_done = true;
            for variant in variants(&study) {
                let plan = ModelPlan::new(&study, &variant, sources)?;
                let ids = plan.ids(&study);
                let mut done = 0;
                let mut begun = Vec::new();
                for id in &ids {
                    match find(&output, id, &study.frozen)? {
                        Some(_) => done += 1,
                        None if cell_path(&output, id).exists() => begun.push(id.clone()),
                        None => {}
                    }
                }
                is_done &= done == ids.len();
                rows.push(vec![
                    variant.label(),
                    format!("{done} of {}", ids.len()),
                    begun.join(", "),
                ]);
            }
            Ok((aligned(1, &["model", "done", "begun"], &rows), is_done))
        })?;
        print(&text)?;
        Ok(match is_done {
            true => Done::Ok,
            false => Done::WithFindings,
        })
    }
}

/// The number of cells, examples and tokens of a model.
fn counts(plan: &ModelPlan, scored: &Scored) -> Result<Vec<String>> {
    let is_score = |cell: &&Cell| matches!(cell.work, Work::Score { .. });
    let scores = plan.cells.iter().filter(is_score).count();
    let steps = plan.search_steps(scored.study);
    let (mut tokens, mut examples) = (0, 0);
    let is_baseline = |cell: &&Cell| is_score(cell) && cell.config.config.name == BASELINE;
    if let Some(cell) = plan.cells.iter().find(is_baseline) {
        let size = scored.evaluation(&cell.config, 0, &cell.id())?.size();
        (tokens, examples) = (size.0 * (scores + steps) as u64, size.1 * (scores + steps));
    }
    let mut configs: Vec<&str> = plan
        .cells
        .iter()
        .map(|cell| cell.config.config.name.as_str())
        .collect();
    configs.sort_unstable();
    configs.dedup();
    Ok(vec![
        plan.variant.label(),
        configs.len().to_string(),
        scores.to_string(),
        (plan.cells.len() - scores).to_string(),
        steps.to_string(),
        examples.to_string(),
        tokens.to_string(),
    ])
}

impl RunArgs {
    fn run(&self) -> Result<Done> {
        let study = self.study.open()?;
        let output = self.study.output(&study);
        let stop: Arc<AtomicBool> = stop_on_signals("stopping after this batch")?;
        let watch = |tokens: u64, examples: usize| -> Box<dyn Progress> {
            match self.quiet {
                true => Box::new(Silent),
                false => Box::new(Bar::new(tokens, examples)),
            }
        };
        let summary = self.study.with_sources(|sources| {
            run_study(&study, sources, (&output, self.shard), &stop, &watch)
        })?;
        let Summary { before, now, .. } = summary;
        let path = output.display();
        print(&format!(
            "{now} cells done, {before} were done before: `{path}`\n"
        ))?;
        for unfit in &summary.unfit {
            eprintln!("left out: {unfit}");
        }
        if summary.searches_wait {
            eprintln!(
                "the search needs the records of all shards; then run the same command without \
                 --shard"
            );
        }
        if summary.is_interrupted {
            eprintln!("interrupted: the same command resumes");
            return Ok(Done::Interrupted);
        }
        Ok(Done::Ok)
    }
}

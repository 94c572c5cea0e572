//! `mxlab eval`: evaluates tasks under configurations.

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Args;

use super::Done;
use super::configuration::ConfigurationsArgs;
use super::data::data_sources;
use super::interrupt::stop_on_signals;
use super::model::{ModelArgs, SoftmaxDtype};
use super::output::{Usage, print};
use crate::engine::ModelInfo;
use crate::eval::plan::Limit;
use crate::eval::progress::{Bar, Progress, Silent};
use crate::eval::table::{TableFormat, render};
use crate::eval::{Evaluation, Outcome, Settings};
use crate::excerpt::Excerpt;
use crate::task::named::NAMED;
use crate::task::shape::{SHAPES, quoted};
use crate::task::{self, FewShot, PromptStyle, Sampler, Task, Turns};

const DEFAULT_BATCH_SIZE: usize = 16;

#[derive(Args)]
pub struct EvalArgs {
    #[command(flatten)]
    model: ModelArgs,
    /// Type of log-softmax: float32, or `model` for the model's own type, as in
    /// lm-evaluation-harness
    #[arg(
        long,
        value_name = "DTYPE",
        default_value = "float32",
        help_heading = "Model"
    )]
    softmax_dtype: SoftmaxDtype,
    #[command(flatten)]
    task: TaskArgs,
    #[command(flatten)]
    configurations: ConfigurationsArgs,
    #[command(flatten)]
    output: OutputArgs,
}

/// The named tasks, and the rules for files.
fn tasks_help() -> String {
    let mut help = "Tasks; repeat, or separate by commas:\n".to_owned();
    for task in NAMED {
        help += &format!("  {}: {}\n", task.name, task.about);
    }
    help += "  a file of JSON lines or Parquet rows, read by the fields of its first:\n";
    for shape in SHAPES {
        help += &format!("    {}: {}\n", quoted(shape.fields), shape.about);
    }
    help + "  a text, .txt or .raw: documents, its articles"
}

#[derive(Args)]
#[command(next_help_heading = "Tasks")]
struct TaskArgs {
    /// Task names or files, repeated or separated by commas
    #[arg(
        long,
        help = tasks_help(),
        value_name = "NAME|FILE",
        value_delimiter = ',',
        default_value = "embedded"
    )]
    tasks: Vec<String>,
    /// Only the first N examples of each task; below 1, that fraction of them
    #[arg(long, value_name = "N|FRACTION")]
    limit: Option<Limit>,
    /// Examples per batch, or `auto`
    #[arg(long, value_name = "N", value_parser = batch_size, default_value = "auto")]
    batch_size: usize,
    /// Solved examples before each question [default: that of the task: 5 for gsm8k, else 0]
    #[arg(long, value_name = "N")]
    num_fewshot: Option<usize>,
    /// File of solved examples [default: the task's training split, else its other examples]
    #[arg(long, value_name = "FILE")]
    fewshot_file: Option<PathBuf>,
    /// How to choose them: at random for each example, as lm-evaluation-harness draws them, or the
    /// first
    #[arg(long, value_enum, value_name = "SAMPLER", default_value_t)]
    fewshot_sampler: Sampler,
    /// Whether contexts begin with BOS [default: that of the tokenizer]
    #[arg(long, value_name = "BOOL")]
    add_bos_token: Option<bool>,
    /// Put each prompt into the model's chat template, without a space before choices, as in
    /// lm-evaluation-harness
    #[arg(long)]
    apply_chat_template: bool,
    /// Solved examples are turns of the chat [default: true; false puts them into one turn]
    #[arg(long, value_name = "BOOL", requires = "apply_chat_template", num_args = 0..=1,
          default_missing_value = "true")]
    fewshot_as_multiturn: Option<bool>,
    /// Text before each prompt; in a chat the system's message
    #[arg(long, value_name = "TEXT")]
    system_instruction: Option<String>,
    /// Folder with the files of named tasks; missing files are downloaded from the hub
    #[arg(long, value_name = "DIR", env = "MXLAB_DATA")]
    data_dir: Option<PathBuf>,
    /// Seed of stochastic rounding
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u32,
}

#[derive(Args)]
#[command(next_help_heading = "Output")]
struct OutputArgs {
    /// Write results here, and every score as it is computed: the same command resumes an
    /// interrupted run. Without it nothing is written
    #[arg(long, value_name = "DIR")]
    output_path: Option<PathBuf>,
    /// Also write each sample in lm-evaluation-harness' schema
    #[arg(long, requires = "output_path")]
    log_samples: bool,
    /// Discard existing scores in the output directory and start over
    #[arg(long, requires = "output_path")]
    overwrite: bool,
    /// Format of the printed table
    #[arg(long, value_enum, default_value_t)]
    format: TableFormat,
    /// No progress bar
    #[arg(long, short)]
    quiet: bool,
}

fn batch_size(text: &str) -> Result<usize, String> {
    match (text, text.parse()) {
        ("auto", _) => Ok(DEFAULT_BATCH_SIZE),
        (_, Ok(0)) => Err("a batch has at least one example; give a whole number or `auto`".into()),
        (_, Ok(size)) => Ok(size),
        _ => Err("neither a whole number nor `auto`".into()),
    }
}

/// Evaluates and prints the table.
pub fn run(args: &EvalArgs) -> Result<Done> {
    // Cheap checks come first.
    let configs = args.configurations.all()?;
    args.model.check()?;
    let fewshot = args.task.fewshot()?;
    let tasks = args.task.load(&fewshot)?;
    let engine = args.model.open(args.softmax_dtype)?;
    let settings = Settings {
        batch_size: args.task.batch_size,
        limit: args.task.limit,
        fewshot,
        add_bos_token: args.task.add_bos_token,
        style: args.task.style(),
        seed: args.task.seed,
        output: args.output.output_path.clone(),
        overwrite: args.output.overwrite,
        log_samples: args.output.log_samples,
    };
    let evaluation = Evaluation::new(&*engine, tasks, configs, settings)?;

    let stop = stop_on_signals("stopping after this batch")?;
    let outcome = evaluation.run(&stop, &*args.output.progress(&evaluation))?;
    args.output.print(engine.info(), &outcome)?;
    args.model.engine.images.report(&engine.kernel_loads());
    if !outcome.is_interrupted {
        return Ok(Done::Ok);
    }
    match &args.output.output_path {
        Some(path) => eprintln!(
            "interrupted: finished scores are in `{}`; the same command resumes",
            path.display()
        ),
        None => {
            eprintln!("interrupted: nothing was written; with --output-path a run can be resumed")
        }
    }
    Ok(Done::Interrupted)
}

/// Prints the rule that matched the user's file.
pub(super) fn print_matched_rule(task: &Task) {
    if let Some(reading) = &task.read_as {
        eprintln!("task {}: {reading}", task.source);
    }
}

impl TaskArgs {
    fn load(&self, fewshot: &FewShot) -> Result<Vec<Task>> {
        let sources = data_sources(self.data_dir.as_deref());
        let load = |name: &String| {
            let task = task::load(name, fewshot, &sources)?;
            print_matched_rule(&task);
            Ok(task)
        };
        self.tasks.iter().map(load).collect()
    }

    fn style(&self) -> PromptStyle {
        let turns = match self.fewshot_as_multiturn {
            Some(false) => Turns::Single,
            Some(true) | None => Turns::Multi,
        };
        PromptStyle {
            chat: self.apply_chat_template.then_some(turns),
            system: self.system_instruction.clone(),
        }
    }

    fn fewshot(&self) -> Result<FewShot> {
        let count = self.num_fewshot;
        if count == Some(0) && self.fewshot_file.is_some() {
            return Err(Usage(
                "--fewshot-file is unused: --num-fewshot is 0; drop one of them".into(),
            )
            .into());
        }
        let pool = self.fewshot_file.as_deref().map(Excerpt::whole);
        let pool = pool.as_ref().map(task::file::read);
        let pool = pool.transpose().context("--fewshot-file")?;
        pool.iter().for_each(print_matched_rule);
        Ok(FewShot {
            count,
            pool,
            sampler: self.fewshot_sampler,
        })
    }
}

impl OutputArgs {
    fn progress(&self, evaluation: &Evaluation) -> Box<dyn Progress> {
        if self.quiet {
            return Box::new(Silent);
        }
        let (tokens, examples) = evaluation.size();
        Box::new(Bar::new(tokens, examples))
    }

    fn print(&self, model: &ModelInfo, outcome: &Outcome) -> Result<()> {
        if outcome.results.is_empty() {
            return Ok(());
        }
        let table = render(self.format, &outcome.results, &outcome.timings);
        let head = match self.format {
            TableFormat::Csv | TableFormat::Json => String::new(),
            TableFormat::Table | TableFormat::Md => model.head() + "\n",
        };
        print(&(head + &table))
    }
}

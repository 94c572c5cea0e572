//! `mxlab generate`: continues prompts.

use std::fmt::Write;
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::{Args, ValueEnum};
use mxlab_kernels::reference::{SampleError, Sampling};

use super::Done;
use super::configuration::ConfigurationArgs;
use super::model::{ModelArgs, SoftmaxDtype};
use super::output::{Usage, print};
use crate::chat::{Message, Role};
use crate::engine::{Engine, Footprint, OperandCounts, Sampler, Tokenize};
use crate::generate::text::TextStream;
use crate::generate::{self, Listener, Prompt, Settings, Timings};
use crate::record;

#[derive(Args)]
pub struct GenerateArgs {
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    prompt: PromptArgs,
    #[command(flatten)]
    chat: ChatArgs,
    #[command(flatten)]
    sampling: SamplingArgs,
    #[command(flatten)]
    configuration: ConfigurationArgs,
    #[command(flatten)]
    output: OutputArgs,
}

#[derive(Args)]
#[command(next_help_heading = "Prompts")]
#[group(required = true, multiple = true)]
struct PromptArgs {
    /// Text to continue; repeat it for a batch
    #[arg(long, value_name = "TEXT")]
    prompt: Vec<String>,
    /// File whose whole text is a prompt, `-` for standard input; repeat it for a batch
    #[arg(long, value_name = "FILE")]
    prompt_file: Vec<PathBuf>,
    /// Prompt of N random tokens, drawn by the seed; token ids are printed. Repeat it, or separate
    /// by commas, for a batch
    #[arg(long, value_name = "N", value_delimiter = ',',
          value_parser = clap::value_parser!(u32).range(1..))]
    prompt_tokens: Vec<u32>,
}

#[derive(Args)]
#[command(next_help_heading = "Prompts")]
struct ChatArgs {
    /// Each text is a user's message, put into the model's chat template
    #[arg(long, conflicts_with = "prompt_tokens")]
    chat: bool,
    /// The system's message of each chat
    #[arg(long, value_name = "TEXT", requires = "chat")]
    system: Option<String>,
}

#[derive(Args)]
#[command(next_help_heading = "Sampling")]
struct SamplingArgs {
    /// Maximum number of new tokens of each prompt
    #[arg(long, value_name = "N", default_value_t = 64,
          value_parser = clap::value_parser!(u32).range(1..))]
    max_tokens: u32,
    /// Sampling temperature; 0 takes the likeliest token
    #[arg(
        long,
        value_name = "T",
        default_value_t = 0.0,
        allow_negative_numbers = true
    )]
    temperature: f32,
    /// Nucleus sampling: choose among the likeliest tokens with this total probability
    #[arg(
        long,
        value_name = "P",
        default_value_t = 1.0,
        allow_negative_numbers = true
    )]
    top_p: f32,
    /// Seed of sampling and of stochastic rounding
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u32,
    /// Continue after an end-of-text token
    #[arg(long)]
    ignore_eos: bool,
    /// Run the prompts and one step before timing, so that kernels are loaded
    #[arg(long)]
    warm_up: bool,
}

#[derive(Args)]
#[command(next_help_heading = "Output")]
struct OutputArgs {
    /// Output: text as it is generated, or the JSON record at the end
    #[arg(long, value_enum, default_value_t)]
    format: OutputFormat,
    /// Also write the JSON record here
    #[arg(long, value_name = "FILE")]
    output_path: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum OutputFormat {
    #[default]
    Text,
    Json,
}

/// Generates, and prints the text and the timings.
pub fn run(args: &GenerateArgs) -> Result<Done> {
    // Cheap checks come first.
    let settings = args.sampling.settings()?;
    let seed = settings.sampler.seed;
    let config = args.configuration.one()?.with_seed(seed);
    let texts = args.prompt.texts()?;
    let engine = args.model.open(SoftmaxDtype::F32)?;
    let footprint = engine
        .footprint(&config)
        .with_context(|| format!("configuration `{}`", config.name))?;
    let encode = |(source, text): (String, String)| {
        let tokens = args.chat.tokens(engine.tokenizer(), text);
        let tokens = tokens.with_context(|| source.clone())?;
        Ok(Prompt {
            source,
            tokens,
            is_text: true,
        })
    };
    let mut prompts: Vec<Prompt> = texts.into_iter().map(encode).collect::<Result<_>>()?;
    for &length in &args.prompt.prompt_tokens {
        let source = format!("--prompt-tokens {length}");
        let (vocabulary, sequence) = (engine.vocabulary(), prompts.len());
        let sampler = &settings.sampler;
        let length = length as usize;
        prompts.push(Prompt::random(
            source, length, vocabulary, sampler, sequence,
        ));
    }

    let mut printer = Printer::new(&*engine, &prompts, args.output.format);
    let (continuations, timings) =
        generate::run(&*engine, &config, &prompts, &settings, &mut printer)?;
    eprint!("{}", engine.info().note_lines());
    eprint!("{}", statistics(&prompts, &timings, footprint));
    args.model.engine.images.report(&engine.kernel_loads());
    if args.output.format == OutputFormat::Json || args.output.output_path.is_some() {
        let device = args.model.engine.device.to_string();
        let made = (continuations.as_slice(), &timings);
        let record = generate::record::of(&*engine, &device, &config, &settings, &prompts, made)?;
        if let Some(path) = &args.output.output_path {
            record::write(path, &record)?;
        }
        if args.output.format == OutputFormat::Json {
            print(&record::to_json(&record))?;
        }
    }
    Ok(Done::Ok)
}

impl ChatArgs {
    /// The tokens of a text, or of the chat that it begins.
    fn tokens(&self, tokenizer: &dyn Tokenize, text: String) -> Result<Vec<u32>> {
        if !self.chat {
            return tokenizer.encode(&text, true);
        }
        let system = self.system.iter();
        let mut messages: Vec<Message> = system
            .map(|text| Message::new(Role::System, text))
            .collect();
        messages.push(Message::new(Role::User, text));
        tokenizer.encode(&tokenizer.chat(&messages)?, false)
    }
}

impl PromptArgs {
    /// The origin and the text of each prompt.
    fn texts(&self) -> Result<Vec<(String, String)>> {
        let given = self.prompt.iter().enumerate().map(|(index, text)| {
            let source = match self.prompt.len() {
                1 => "--prompt".to_owned(),
                _ => format!("--prompt number {}", index + 1),
            };
            Ok((source, text.clone()))
        });
        let files = self.prompt_file.iter().map(|path| {
            let source = format!("--prompt-file {}", path.display());
            let text = read(path).with_context(|| source.clone())?;
            Ok((source, text))
        });
        let texts: Vec<(String, String)> = given.chain(files).collect::<Result<_>>()?;
        match texts.iter().find(|(_, text)| text.is_empty()) {
            Some((source, _)) => Err(Usage(format!("{source}: the prompt is empty")).into()),
            None => Ok(texts),
        }
    }
}

/// The whole text of a file, or of standard input for `-`.
fn read(path: &Path) -> Result<String> {
    if path != Path::new("-") {
        return Ok(fs::read_to_string(path)?);
    }
    let mut text = String::new();
    io::stdin().read_to_string(&mut text)?;
    Ok(text)
}

impl SamplingArgs {
    fn settings(&self) -> Result<Settings> {
        let sampling = Sampling {
            temperature: self.temperature,
            top_p: self.top_p,
        };
        sampling.check().map_err(|error| {
            let flag = match error {
                SampleError::Temperature { .. } => "--temperature",
                _ => "--top-p",
            };
            Usage(format!("{flag}: {error}"))
        })?;
        Ok(Settings {
            max_tokens: self.max_tokens as usize,
            sampler: Sampler {
                sampling,
                seed: self.seed,
            },
            ignore_eos: self.ignore_eos,
            warm_up: self.warm_up,
        })
    }
}

/// How the tokens of a sequence are printed.
enum Stream<'a> {
    Text(TextStream<'a>),
    /// As ids, with a separator.
    Ids(&'static str),
}

/// Prints texts as they are generated, one after another. The first unfinished sequence streams;
/// later ones wait.
struct Printer<'a> {
    format: OutputFormat,
    /// The stream of each sequence; `None` once it has ended.
    streams: Vec<Option<Stream<'a>>>,
    /// Text that waits to be printed.
    waiting: Vec<String>,
    /// The streaming sequence.
    current: usize,
}

impl<'a> Printer<'a> {
    fn new(engine: &'a dyn Engine, prompts: &[Prompt], format: OutputFormat) -> Self {
        let stream = |prompt: &Prompt| {
            Some(match prompt.is_text {
                true => Stream::Text(TextStream::new(engine.tokenizer(), &prompt.tokens)),
                false => Stream::Ids(""),
            })
        };
        Self {
            format,
            streams: prompts.iter().map(stream).collect(),
            waiting: vec![String::new(); prompts.len()],
            current: 0,
        }
    }

    /// Prints everything that need not wait.
    fn flush(&mut self) -> Result<()> {
        let mut text = String::new();
        while let Some(waiting) = self.waiting.get_mut(self.current) {
            text += &std::mem::take(waiting);
            if self.streams[self.current].is_some() {
                break;
            }
            self.current += 1;
            let is_last = self.current == self.waiting.len();
            text += if is_last { "\n" } else { "\n\n" };
        }
        match self.format == OutputFormat::Text && !text.is_empty() {
            true => print(&text),
            false => Ok(()),
        }
    }
}

impl Listener for Printer<'_> {
    fn token(&mut self, sequence: usize, token: u32) -> Result<()> {
        match &mut self.streams[sequence] {
            Some(Stream::Text(stream)) => self.waiting[sequence] += &stream.push(token)?,
            Some(Stream::Ids(before)) => {
                self.waiting[sequence] += &format!("{before}{token}");
                *before = " ";
            }
            None => {}
        }
        self.flush()
    }

    fn end(&mut self, sequence: usize) -> Result<()> {
        if let Some(Stream::Text(stream)) = self.streams[sequence].take() {
            self.waiting[sequence] += &stream.finish()?;
        }
        self.flush()
    }
}

/// Sizes of the prompts, timings, and memory of the model.
fn statistics(prompts: &[Prompt], timings: &Timings, footprint: Footprint) -> String {
    let tokens: usize = prompts.iter().map(|prompt| prompt.tokens.len()).sum();
    let plural = if prompts.len() == 1 { "" } else { "s" };
    let mut text = format!(
        "{} prompt{plural}, {tokens} tokens: first token after {:.1} ms (model loaded in {:.2} \
         s)\n",
        prompts.len(),
        timings.first_token * 1e3,
        timings.load,
    );
    if let (Some(token), Some(speed)) = (timings.token(), timings.tokens_per_second()) {
        let _ = writeln!(
            text,
            "then {:.2} ms per token (median of {}), {speed:.1} tokens/s",
            token * 1e3,
            timings.steps.len(),
        );
    }
    let _ = match timings.joules_per_token() {
        Some(joules) => writeln!(text, "{joules:.3} J per token"),
        None => writeln!(text, "energy not measured"),
    };
    let _ = writeln!(
        text,
        "weights {} bytes, keys and values {} bytes per token",
        footprint.weight_bytes, footprint.kv_bytes_per_token
    );
    if let Some(OperandCounts { s8, e4m3, bf16 }) = footprint.operands {
        let _ = writeln!(
            text,
            "operands of {s8} projections s8, of {e4m3} e4m3, of {bf16} bf16"
        );
    }
    text
}

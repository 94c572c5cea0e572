//! Generation as targets: the tokens of a prompt, and those after it, one by one.

use std::rc::Rc;
use std::time::Instant;

use anyhow::{Result, ensure};
use mxlab_benches::suite::Generation;
use mxlab_benches::{BenchError, Case, Opened, Target};
use mxlab_harness::measure::Timed;
use mxlab_kernels::format::ElementFormat;
use mxlab_kernels::reference::Sampling;

use super::args::BenchArgs;
use crate::cli::model::{EngineArgs, SoftmaxDtype, open_checkpoint};
use crate::cli::output::Usage;
use crate::config::{FormatFlags, FormatSpec, OperandSpec, QuantConfig, load};
use crate::engine::{Engine, Generator, Room, Sampler};
use crate::generate::Prompt;

/// The likeliest token, of random prompts.
const SAMPLER: Sampler = Sampler {
    sampling: Sampling {
        temperature: 0.0,
        top_p: 1.0,
    },
    seed: 0,
};

/// Prompt and decode of a model under each configuration.
///
/// # Errors
/// If the model or a configuration is wrong, or they do not fit together.
pub fn targets(
    args: &BenchArgs,
    asked: &Generation,
    engine: EngineArgs,
) -> Result<Vec<Box<dyn Target>>> {
    ensure!(
        args.kernel.is_empty() && args.shape.is_empty() && args.tokens.is_empty(),
        Usage("--model times generation; drop --kernel, --shape and --tokens".to_owned())
    );
    let flags = FormatFlags::default();
    let named = args.config.iter().map(|name| load(name, &flags));
    let named: Vec<QuantConfig> = named.collect::<Result<_, _>>()?;
    let engine: Rc<dyn Engine> = engine
        .open(open_checkpoint(&asked.model)?, SoftmaxDtype::F32)?
        .into();
    let configs = match named.is_empty() {
        true => usual(&*engine)?,
        false => named,
    };
    let mut targets: Vec<Box<dyn Target>> = Vec::new();
    for config in configs {
        engine.check(&config)?;
        let weight_bytes = engine.footprint(&config)?.weight_bytes;
        for part in [Part::Prompt, Part::Decode] {
            let (name, tokens) = match part {
                Part::Prompt => ("prompt", asked.prompt),
                Part::Decode => ("decode", asked.decode),
            };
            let case = Case {
                kernel: format!("generate_{name}__{}", config.name),
                family: "generate".to_owned(),
                tokens: Some(tokens),
                ..Case::default()
            };
            targets.push(Box::new(GenerationTarget {
                engine: engine.clone(),
                config: config.clone(),
                asked: asked.clone(),
                memory: weight_bytes as u64,
                part,
                case,
            }));
        }
    }
    Ok(targets)
}

/// The model as stored. And where products of integers result, the same with inputs of all products
/// in 8 bits, as llama.cpp has them.
fn usual(engine: &dyn Engine) -> Result<Vec<QuantConfig>> {
    let int8 = Some(OperandSpec::Format(FormatSpec {
        element: Some(ElementFormat::INT8),
        ..FormatSpec::default()
    }));
    let flags = FormatFlags {
        activations: int8.clone(),
        head_activations: int8,
        ..FormatFlags::default()
    };
    let mut configs = vec![load("baseline", &FormatFlags::default())?];
    let of_bytes = flags.config()?;
    if engine.footprint(&of_bytes)?.integer_products > 0 {
        configs.push(of_bytes);
    }
    Ok(configs)
}

/// What is timed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Prompt,
    Decode,
}

struct GenerationTarget {
    engine: Rc<dyn Engine>,
    config: QuantConfig,
    asked: Generation,
    memory: u64,
    part: Part,
    case: Case,
}

/// A loaded model and its prompt.
struct Open<'t> {
    generator: Box<dyn Generator + 't>,
    prompt: Vec<u32>,
    target: &'t GenerationTarget,
}

fn failed(error: &anyhow::Error) -> BenchError {
    BenchError::Model(format!("{error:#}"))
}

impl Target for GenerationTarget {
    fn case(&self) -> &Case {
        &self.case
    }

    fn memory(&self) -> u64 {
        self.memory
    }

    /// What a model computes is verified elsewhere, against a reference.
    fn open(&self) -> Result<Box<dyn Opened + '_>, BenchError> {
        let Generation { prompt, decode, .. } = self.asked;
        let room = Room {
            sequences: 1,
            tokens: prompt + decode + 1,
        };
        let generator = self.engine.generator(&self.config, room);
        let vocabulary = self.engine.vocabulary();
        Ok(Box::new(Open {
            generator: generator.map_err(|error| failed(&error))?,
            prompt: Prompt::random(String::new(), prompt, vocabulary, &SAMPLER, 0).tokens,
            target: self,
        }))
    }
}

impl Timed for Open<'_> {
    type Error = BenchError;

    fn time(&mut self, runs: u32) -> Result<f64, BenchError> {
        let mut seconds = 0.0;
        for _ in 0..runs {
            seconds += self.run().map_err(|error| failed(&error))?;
        }
        Ok(seconds)
    }
}

impl Open<'_> {
    /// Seconds of the prompt, or of the tokens after it.
    fn run(&mut self) -> Result<f64> {
        let start = Instant::now();
        self.generator
            .start(std::slice::from_ref(&self.prompt), &SAMPLER)?;
        let prompt = start.elapsed().as_secs_f64();
        if self.target.part == Part::Prompt {
            return Ok(prompt);
        }
        let start = Instant::now();
        for _ in 0..self.target.asked.decode {
            self.generator.step(&[0])?;
        }
        Ok(start.elapsed().as_secs_f64())
    }
}

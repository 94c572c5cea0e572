//! The flags of `mxlab bench`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use mxlab_benches::suite::{Generation, Selection};
use mxlab_harness::device::DeviceChoice;

use crate::cli::images::ImagesArgs;
use crate::cli::model::{Dtype, EngineArgs, threads};
use crate::model::device::input::Operands;

/// Time kernels, each verified against its reference first
///
/// Without --kernel it times the operations of a model in the common formats: on a GPU the PTX
/// kernels beside cuBLAS, otherwise the SIMD kernels of the CPU.
#[derive(Args)]
pub struct BenchArgs {
    /// Only kernels whose name matches, such as 'matmul_fp4_*' or 'cpu_quantize_*'. Those of the
    /// CPU go the fastest path alone, unless the path is named: 'cpu_matmul_*__portable'
    #[arg(long, value_name = "GLOB")]
    pub kernel: Vec<glob::Pattern>,
    /// Only these families, such as matmul,attention; `vendor` is cuBLAS, `peer` is --peer
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    pub family: Vec<String>,
    /// Rows and columns, such as 4096x4096
    #[arg(long, value_name = "ROWSxCOLS", value_parser = shape)]
    pub shape: Vec<[usize; 2]>,
    /// Numbers of tokens of products, such as 1,16,64
    #[arg(long, value_name = "N", value_delimiter = ',', value_parser = positive)]
    pub tokens: Vec<usize>,
    /// Time generation with this model in place of kernels: tokens of a prompt and after it. Peers
    /// such as benches/peers/llama_cpp.py are given it too
    #[arg(long, value_name = "DIR|FILE|NAME", help_heading = "Generation",
          conflicts_with_all = ["kernel", "family", "shape", "tokens", "roofs_only"])]
    pub model: Option<String>,
    /// Named configuration or TOML file; several are timed beside each other [default: baseline,
    /// and INT8 inputs of all products if the weights make them products of integers]
    #[arg(
        long,
        value_name = "NAME|FILE",
        value_delimiter = ',',
        requires = "model",
        help_heading = "Generation"
    )]
    pub config: Vec<String>,
    /// Type of the unquantised arithmetic: auto (the checkpoint's), float32, bfloat16, float16
    #[arg(
        long,
        value_name = "DTYPE",
        default_value = "auto",
        requires = "model",
        help_heading = "Generation"
    )]
    pub dtype: Dtype,
    /// Tokens of the prompt, which are random
    #[arg(long, value_name = "N", default_value_t = 64, requires = "model",
          value_parser = clap::value_parser!(u32).range(1..=1 << 20), help_heading = "Generation")]
    pub prompt_tokens: u32,
    /// Tokens after the prompt, one by one
    #[arg(long, value_name = "N", default_value_t = 32, requires = "model",
          value_parser = clap::value_parser!(u32).range(1..=1 << 20), help_heading = "Generation")]
    pub decode_tokens: u32,
    /// Device: cpu, cuda, cuda:N or emulator [default: a GPU if there is one, else cpu]
    #[arg(long, value_name = "DEVICE")]
    pub device: Option<DeviceChoice>,
    #[command(flatten)]
    pub images: ImagesArgs,
    /// Threads of CPU kernels [default: all processors]
    #[arg(long, value_name = "N", value_parser = threads)]
    pub threads: Option<usize>,
    /// Rounds; each times every kernel once
    #[arg(
        long,
        value_name = "N",
        default_value_t = 5,
        value_parser = clap::value_parser!(u32).range(1..=1000)
    )]
    pub rounds: u32,
    /// Samples of each kernel in a round
    #[arg(
        long,
        value_name = "N",
        default_value_t = 10,
        value_parser = clap::value_parser!(u32).range(1..=10_000)
    )]
    pub samples: u32,
    /// Minimum milliseconds of a sample
    #[arg(long, value_name = "MS", default_value_t = 5.0, value_parser = milliseconds)]
    pub sample_ms: f64,
    /// Milliseconds that each kernel runs before its samples, in each round
    #[arg(long, value_name = "MS", default_value_t = 20.0, value_parser = milliseconds)]
    pub warm_up_ms: f64,
    /// Program that times other implementations in the same rounds, such as benches/peers/cpu.py
    #[arg(long, value_name = "FILE")]
    pub peer: Vec<PathBuf>,
    /// Python that runs the peers
    #[arg(
        long,
        value_name = "FILE",
        env = "MXLAB_PYTHON",
        default_value = "python3"
    )]
    pub python: PathBuf,
    /// Seconds over which to measure the energy of each kernel after timing; 0 measures none
    #[arg(long, value_name = "S", default_value_t = 0.0)]
    pub energy: f64,
    /// Seed of the tensors
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub seed: u64,
    /// Time only the limits of the machine: memory and arithmetic, and on a GPU an empty kernel
    #[arg(
        long,
        conflicts_with_all = ["kernel", "family", "shape", "tokens", "peer", "energy", "list"]
    )]
    pub roofs_only: bool,
    /// List the kernels and shapes, and time nothing
    #[arg(long)]
    pub list: bool,
    /// Write the record here, after each group of kernels
    #[arg(long, value_name = "FILE")]
    pub output_path: Option<PathBuf>,
    /// Format of the printed table
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
    /// Time nothing; compare two records, the older first, and fail if a kernel became slower
    #[arg(
        long,
        value_name = "FILE",
        num_args = 2,
        conflicts_with_all = [
            "kernel", "family", "shape", "tokens", "model", "device", "images", "peer",
            "roofs_only", "list", "output_path"
        ]
    )]
    pub compare: Vec<PathBuf>,
    /// Differences below this percentage count as equal
    #[arg(
        long,
        value_name = "PERCENT",
        default_value_t = 5.0,
        requires = "compare",
        value_parser = percent
    )]
    pub threshold: f64,
}

/// How a table is printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Aligned columns
    #[default]
    Table,
    /// Markdown
    Md,
    /// Comma-separated values
    Csv,
    /// The record itself
    Json,
}

fn shape(text: &str) -> Result<[usize; 2], String> {
    let sizes = text.split_once('x').and_then(|(rows, cols)| {
        let size = |text: &str| text.parse().ok().filter(|&size| size > 0);
        Some([size(rows)?, size(cols)?])
    });
    sizes.ok_or_else(|| "not ROWSxCOLS, such as 4096x4096".to_owned())
}

fn positive(text: &str) -> Result<usize, String> {
    let number = text.parse().ok().filter(|&number| number > 0);
    number.ok_or_else(|| "not a number from 1 on".to_owned())
}

fn milliseconds(text: &str) -> Result<f64, String> {
    let number = text.parse().ok();
    let number = number.filter(|number| (1e-3..=60_000.0).contains(number));
    number.ok_or_else(|| "not a time, 0.001 to 60000 ms".to_owned())
}

fn percent(text: &str) -> Result<f64, String> {
    let number = text
        .parse()
        .ok()
        .filter(|number| (0.0..100.0).contains(number));
    number.ok_or_else(|| "not a percentage, 0 to 100".to_owned())
}

impl BenchArgs {
    /// The generation to time, if a model is given.
    pub fn generation(&self) -> Option<Generation> {
        self.model.as_ref().map(|model| Generation {
            model: model.clone(),
            prompt: self.prompt_tokens as usize,
            decode: self.decode_tokens as usize,
        })
    }

    /// How the model computes on a device.
    pub fn engine(&self, device: DeviceChoice) -> EngineArgs {
        EngineArgs {
            dtype: self.dtype,
            device,
            fake_quantize: false,
            operands: Operands::Bf16,
            amx: false,
            // Set for the whole bench.
            threads: None,
            images: self.images.clone(),
        }
    }

    /// The selected kernels and shapes.
    pub fn selection(&self) -> Selection {
        Selection {
            kernels: self.kernel.clone(),
            families: self.family.clone(),
            shapes: self.shape.clone(),
            tokens: self.tokens.clone(),
            seed: self.seed,
            model: self.generation(),
        }
    }
}

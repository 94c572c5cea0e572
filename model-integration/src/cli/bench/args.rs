//! The flags of `mxlab bench`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use mxlab_benches::suite::Selection;
use mxlab_harness::device::DeviceChoice;

use crate::cli::images::ImagesArgs;
use crate::cli::model::threads;

/// Time kernels, each verified against its reference first
///
/// Without --kernel: the operations of models in the formats that they are asked for in; on a GPU the PTX kernels and cuBLAS
/// beside them, else the SIMD kernels of the CPU.
#[derive(Args)]
pub struct BenchArgs {
    /// Only kernels whose name matches, such as 'matmul_fp4_*' or 'cpu_quantize_*'
    #[arg(long, value_name = "GLOB")]
    pub kernel: Vec<glob::Pattern>,
    /// Only these families of them, such as matmul,attention; vendor is cuBLAS, peer are those of --peer
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    pub family: Vec<String>,
    /// Rows and columns, such as 4096x4096
    #[arg(long, value_name = "ROWSxCOLS", value_parser = shape)]
    pub shape: Vec<[usize; 2]>,
    /// Tokens that weights are multiplied by, such as 1,16,64
    #[arg(long, value_name = "N", value_delimiter = ',', value_parser = positive)]
    pub tokens: Vec<usize>,
    /// What runs the kernels: cpu, cuda, cuda:N or emulator [default: a GPU if there is one, else cpu]
    #[arg(long, value_name = "DEVICE")]
    pub device: Option<DeviceChoice>,
    #[command(flatten)]
    pub images: ImagesArgs,
    /// Threads of kernels on the CPU [default: all processors]
    #[arg(long, value_name = "N", value_parser = threads)]
    pub threads: Option<usize>,
    /// Rounds in which every kernel has its turn
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub rounds: u32,
    /// Samples of a kernel in each round
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub samples: u32,
    /// Milliseconds of a sample, at least
    #[arg(long, value_name = "MS", default_value_t = 5.0, value_parser = milliseconds)]
    pub sample_ms: f64,
    /// Milliseconds that a kernel runs before its samples, each round
    #[arg(long, value_name = "MS", default_value_t = 20.0, value_parser = milliseconds)]
    pub warm_up_ms: f64,
    /// A program that times other people's implementations in the same rounds, such as benches/peers/cpu.py
    #[arg(long, value_name = "FILE")]
    pub peer: Vec<PathBuf>,
    /// The Python that runs peers
    #[arg(
        long,
        value_name = "FILE",
        env = "MXLAB_PYTHON",
        default_value = "python3"
    )]
    pub python: PathBuf,
    /// Seconds over which the energy of each kernel is measured, after its times; 0 for not
    #[arg(long, value_name = "S", default_value_t = 0.0)]
    pub energy: f64,
    /// Chooses what is in tensors
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub seed: u64,
    /// Time only what bounds kernels: a copy, a product, and on a GPU an empty kernel
    #[arg(long, conflicts_with_all = ["kernel", "family", "shape", "tokens", "peer", "energy", "list"])]
    pub roofs_only: bool,
    /// List what would be timed, and time nothing
    #[arg(long)]
    pub list: bool,
    /// Write the record there, group by group
    #[arg(long, value_name = "FILE")]
    pub output_path: Option<PathBuf>,
    /// How to print it
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
    /// Time nothing; compare two records, the older first. Fails if anything became slower
    #[arg(long, value_name = "FILE", num_args = 2, conflicts_with_all = ["kernel", "family", "shape", "tokens", "device", "images", "peer", "roofs_only", "list", "output_path"])]
    pub compare: Vec<PathBuf>,
    /// A time that differs by less, in percent, is the same
    #[arg(long, value_name = "PERCENT", default_value_t = 5.0, requires = "compare", value_parser = percent)]
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
    /// Which kernels on which shapes.
    pub fn selection(&self) -> Selection {
        Selection {
            kernels: self.kernel.clone(),
            families: self.family.clone(),
            shapes: self.shape.clone(),
            tokens: self.tokens.clone(),
            seed: self.seed,
        }
    }
}

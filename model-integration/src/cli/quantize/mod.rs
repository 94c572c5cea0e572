//! `mxlab quantize`: quantisation errors of the tensors in a safetensors file.

mod glob;
mod on_device;

use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use clap::Args;
use mxlab_harness::device::DeviceChoice;
use mxlab_kernels::cpu;
use mxlab_kernels::format::{BlockFormat, FloatType, PackedTensor};

use self::on_device::OnDevice;
use super::Done;
use super::output::{Usage, print};
use crate::checkpoint::packed_file::{self, Part, format_metadata};
use crate::checkpoint::{StoredTensor, TensorFile};
use crate::columns::aligned;
use crate::config::{FormatFlags, load};
use crate::quantization_error::{self, Statistics, WorstBlock};

#[derive(Args)]
pub struct QuantizeArgs {
    /// Safetensors file
    file: PathBuf,
    /// Only tensors whose names match; `*` is any text, `?` any character; can be repeated
    #[arg(long, value_name = "GLOB", default_value = "*")]
    include: Vec<String>,
    /// Not the tensors whose names match
    #[arg(long, value_name = "GLOB")]
    exclude: Vec<String>,
    /// Write the tensors here: the quantised ones packed, the others unchanged
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Blocks with the largest error to print for each tensor
    #[arg(long, value_name = "N", default_value_t = 1)]
    worst: usize,
    /// Device: cpu, or for PTX kernels auto, cuda, cuda:N or emulator; all give the same bytes
    #[arg(long, value_name = "DEVICE", default_value_t = DeviceChoice::Cpu)]
    device: DeviceChoice,
    /// Print JSON, unrounded
    #[arg(long)]
    json: bool,
    /// Use the weight format of this named configuration or TOML file
    #[arg(
        long,
        value_name = "NAME|FILE",
        help_heading = "Formats",
        conflicts_with = "weights"
    )]
    config: Option<String>,
    #[command(flatten)]
    formats: FormatFlags,
}

/// A tensor, and how it is written.
struct Plan {
    tensor: StoredTensor,
    /// Rows and columns if it is quantised; blocks run along the columns.
    matrix: Option<(usize, usize)>,
}

/// A quantised tensor.
#[derive(serde::Serialize)]
struct Report {
    tensor: String,
    shape: Vec<usize>,
    bytes_before: usize,
    bytes_after: usize,
    #[serde(flatten)]
    statistics: Statistics,
}

/// Quantises tensor after tensor, so that memory holds only one at a time.
pub fn run(args: &QuantizeArgs) -> Result<Done> {
    let format = args.format()?;
    let device = OnDevice::open(args.device)?;
    let file = TensorFile::open(&args.file)?;
    if args.output.is_some() && file.tensors().any(|one| one.name().ends_with(".codes")) {
        bail!(
            "`{}` has packed tensors, whose formats and rotation a new file would not say; use \
             `mxlab convert` with the model, or leave out --output",
            args.file.display()
        );
    }
    let plans: Vec<Plan> = file.tensors().map(|tensor| args.plan(tensor)).collect();
    if plans.iter().all(|plan| plan.matrix.is_none()) {
        bail!(
            "`{}` has no float tensor with two or more axes that --include and --exclude select",
            args.file.display()
        );
    }
    let mut output = match &args.output {
        None => None,
        Some(path) => {
            let parts = parts(&plans, &format);
            Some(packed_file::create(path, &parts, format_metadata(&parts)?)?)
        }
    };
    let mut reports = Vec::new();
    for plan in &plans {
        let name = plan.tensor.name();
        let Some((rows, cols)) = plan.matrix else {
            if let Some(output) = &mut output {
                output.write(name, plan.tensor.bytes())?;
            }
            continue;
        };
        let Some((floats, dtype)) = plan.tensor.floats()? else {
            continue;
        };
        let mut values = vec![0.0; floats.len()];
        floats.read_f32(0..floats.len(), &mut values);
        let packed = match &device {
            Some(device) => {
                let bytes = plan.tensor.bytes();
                device.quantize(bytes, rows, cols, &format, dtype)
            }
            None => cpu::quantize(&values, rows, cols, &format, dtype).map_err(Into::into),
        };
        let of_tensor = || format!("`{}`: tensor `{name}`", args.file.display());
        let packed: PackedTensor = packed.with_context(of_tensor)?;
        let statistics =
            quantization_error::measure(&values, &packed, args.worst).with_context(of_tensor)?;
        if let Some(output) = &mut output {
            output.write(&format!("{name}.codes"), packed.codes())?;
            output.write(&format!("{name}.scales"), packed.scales())?;
            if format.has_tensor_scale() {
                let scale = packed.tensor_scale().to_le_bytes();
                output.write(&format!("{name}.tensor_scale"), &scale)?;
            }
        }
        reports.push(Report {
            tensor: name.to_owned(),
            shape: plan.tensor.shape().to_vec(),
            bytes_before: plan.tensor.bytes().len(),
            bytes_after: packed.bytes(),
            statistics,
        });
    }
    if let Some(output) = output {
        output.commit()?;
    }
    let copied = plans.len() - reports.len();
    print(&match args.json {
        true => json(&format, &reports)?,
        false => text(&format, &reports, copied),
    })?;
    Ok(Done::Ok)
}

impl QuantizeArgs {
    fn format(&self) -> Result<BlockFormat> {
        if self.formats.names_beyond_weights() {
            let message = "the tensors of a file are weights: give their format with --weights";
            return Err(Usage(message.into()).into());
        }
        let config = match &self.config {
            Some(name) => load(name, &self.formats)?,
            None if !self.formats.weights.is_empty() => self.formats.config()?,
            None => load("mxfp4-weights", &self.formats)?,
        };
        if config.rotation.is_some() {
            let message = "rotations belong to a model, whose inputs are rotated too: use `mxlab \
                convert` or `mxlab calibrate`";
            return Err(Usage(message.into()).into());
        }
        if !config.overrides.is_empty() {
            let message = format!(
                "configuration `{}` has overrides for layers or projections; quantize uses one \
                 format for all tensors of a file (see --include)",
                config.name
            );
            return Err(Usage(message).into());
        }
        let none = || {
            Usage(format!(
                "configuration `{}` has no weight format",
                config.name
            ))
        };
        let format = config.weights.ok_or_else(none)?;
        let ggml = || {
            Usage(format!(
                "{format} is stored in GGUF files alone: use `mxlab convert --to gguf`, or an \
                 element such as fp4_e2m1 here"
            ))
        };
        Ok(format.block().ok_or_else(ggml)?)
    }

    fn plan(&self, tensor: StoredTensor) -> Plan {
        let matches = |pattern: &String| glob::matches(pattern, tensor.name());
        let is_selected = self.include.iter().any(matches) && !self.exclude.iter().any(matches);
        let is_float = FloatType::ALL
            .into_iter()
            .any(|dtype| packed_file::dtype_of(dtype) == tensor.dtype());
        let shape = tensor.shape();
        let matrix = match shape.split_last() {
            Some((&cols, outer)) if is_selected && is_float && !outer.is_empty() => {
                let rows = outer.iter().product();
                (rows > 0 && cols > 0).then_some((rows, cols))
            }
            _ => None,
        };
        Plan { tensor, matrix }
    }
}

/// The tensors of the packed file.
fn parts(plans: &[Plan], format: &BlockFormat) -> Vec<Part> {
    let mut parts = Vec::new();
    for Plan { tensor, matrix } in plans {
        match *matrix {
            None => parts.push(Part::copied(tensor)),
            Some((rows, cols)) => {
                let (name, shape) = (tensor.name(), tensor.shape());
                parts.extend(Part::packed(name, shape, [rows, cols], format));
            }
        }
    }
    parts
}

fn json(format: &BlockFormat, reports: &[Report]) -> Result<String> {
    let json = serde_json::json!({"format": format, "tensors": reports});
    Ok(format!("{json:#}\n"))
}

fn text(format: &BlockFormat, reports: &[Report], copied: usize) -> String {
    let header = [
        "tensor",
        "shape",
        "SQNR dB",
        "saturated",
        "to zero",
        "worst block",
        "its dB",
        "bytes",
        "packed",
    ];
    let mut rows = Vec::new();
    let (mut before, mut after) = (0, 0);
    for report in reports {
        let Report { statistics, .. } = report;
        (before, after) = (before + report.bytes_before, after + report.bytes_after);
        let shape: Vec<String> = report.shape.iter().map(usize::to_string).collect();
        let first = statistics.worst_blocks.first();
        rows.push(vec![
            report.tensor.clone(),
            shape.join("x"),
            decibels(statistics.sqnr_db),
            count(statistics.saturated, statistics.elements),
            count(statistics.to_zero, statistics.elements),
            first.map_or_else(|| "-".into(), place),
            first.map_or_else(|| "-".into(), |block| decibels(block.sqnr_db)),
            report.bytes_before.to_string(),
            report.bytes_after.to_string(),
        ]);
        for block in statistics.worst_blocks.iter().skip(1) {
            let mut row = vec![String::new(); header.len()];
            (row[5], row[6]) = (place(block), decibels(block.sqnr_db));
            rows.push(row);
        }
    }
    let bits =
        8.0 * after as f64 / reports.iter().map(|r| r.statistics.elements).sum::<u64>() as f64;
    let copied = match copied {
        0 => String::new(),
        count => format!("; {count} other tensors are left as they are"),
    };
    format!(
        "{format}\n\n{}\n{} tensors, {before} bytes -> {after} bytes, {bits:.3} bits an element\
         {copied}\n\
         worst block: row, block and amax of the block with the least SQNR\n",
        aligned(2, &header, &rows),
        reports.len(),
    )
}

fn place(block: &WorstBlock) -> String {
    format!("[{}, {}] {:.3e}", block.row, block.block, block.amax)
}

fn decibels(sqnr: f64) -> String {
    match sqnr.is_infinite() && sqnr > 0.0 {
        true => "exact".to_owned(),
        false => format!("{sqnr:.2}"),
    }
}

fn count(some: u64, all: u64) -> String {
    match some {
        0 => "0".to_owned(),
        _ => format!("{some} ({:.2} %)", 100.0 * some as f64 / all as f64),
    }
}

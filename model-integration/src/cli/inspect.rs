//! `mxlab inspect`: the predicted cost of a kernel on a chip, from its machine code.

use std::fmt::Write as _;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::str::FromStr;

use anyhow::Result;
use clap::Args;
use mxlab_harness::assemble::{Assembler, Disassembler, Job, Resources, Target};
use mxlab_harness::roofline::{
    BUSY_FRACTION, CHIPS, Chip, Limiter, Occupancy, Prediction, Work, predict,
};
use mxlab_harness::sass::{Body, Direction, Function, Pipe, Space, parse};
use mxlab_kernels::registry::{Entry, Shape};

use super::Done;
use super::output::{Usage, print};
use super::verify::{kernel_of, of_file};
use crate::columns::aligned;

/// Print the registers and instructions of a kernel, and its predicted time on a chip
///
/// ptxas assembles the kernel, nvdisasm reads the machine code back, and nothing runs. The
/// predicted times are a roofline: boost clocks, coalesced accesses, data in device memory.
#[derive(Args)]
pub struct InspectArgs {
    /// Kernel id, as `mxlab list` prints it
    #[arg(required_unless_present = "ptx")]
    kernel: Option<String>,
    /// Inspect the kernel in this PTX file instead of the lab's
    #[arg(long, value_name = "FILE")]
    ptx: Option<PathBuf>,
    /// Assemble for this compute capability, such as 90 or 90a [default: the chip's]
    #[arg(long, value_name = "SM")]
    sm: Option<Target>,
    /// Predict for this chip [default: H200, or the first that runs code for --sm]
    #[arg(long, value_name = "CHIP")]
    chip: Option<Chip>,
    /// Rows and columns of the tensor, weights or cache [default: the kernel's typical shape]
    #[arg(long, value_name = "ROWSxCOLS")]
    shape: Option<Size>,
    /// Tokens of a product [default: those of a thread block]
    #[arg(long, value_name = "N")]
    tokens: Option<NonZeroU32>,
}

/// Rows and columns.
#[derive(Clone, Copy)]
struct Size {
    rows: usize,
    cols: usize,
}

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let error = || format!("invalid shape `{text}`; expected ROWSxCOLS, such as 8192x8192");
        let (rows, cols) = text.split_once('x').ok_or_else(error)?;
        // A launcher takes no more of either, and products fit 64 bits.
        let size = |text: &str| {
            text.parse()
                .ok()
                .filter(|n| (1..=i32::MAX as usize).contains(n))
        };
        Ok(Self {
            rows: size(rows).ok_or_else(error)?,
            cols: size(cols).ok_or_else(error)?,
        })
    }
}

/// Prints everything about one kernel.
pub fn run(args: &InspectArgs) -> Result<Done> {
    let entry = entry(args)?;
    let (id, ptx) = (entry.id(), entry.ptx());
    let (target, chip) = choose(args, &*entry, &ptx)?;
    let assembler = Assembler::find()?;
    let disassembler = Disassembler::find(&assembler)?;
    let job = Job {
        module: id.to_string(),
        ptx,
        target,
    };
    let assembled = assembler.assemble(&job)?;
    let functions = parse(&disassembler.listing(&id, &assembled.cubin)?)?;
    let body = Function::named(&functions, &id)?.body();
    let resources = assembled.resources;
    let occupancy = Occupancy::new(
        &chip,
        entry.signature().threads(),
        resources.registers,
        resources.static_shared_bytes + entry.signature().shared_bytes(),
    )?;
    let mut shape = entry.shape();
    if let Some(Size { rows, cols }) = args.shape {
        (shape.rows, shape.cols) = (rows, cols);
    }
    if let Some(tokens) = args.tokens {
        shape.tokens = Some(tokens.get() as usize);
    }
    let work = work(&*entry, &body, shape);
    let prediction = predict(&chip, &occupancy, &body, &work);

    let mut text = format!(
        "{id}\nassembled for {target}, predicted for {}\n\n",
        chip.name
    );
    text.push_str(&taken(&*entry, &resources, &occupancy));
    text.push_str(&issued(&body));
    let [rows, cols] = entry.axes();
    let (m, n, chip) = (shape.rows, shape.cols, chip.name);
    let _ = writeln!(text, "\npredicted for {m} {rows} x {n} {cols} on {chip}:");
    text.push_str(&predicted(&work, &prediction));
    if let Some(tensor) = Some(prediction.limit_s(Limiter::Pipe(Pipe::Tensor))).filter(|s| *s > 0.0)
    {
        let _ = writeln!(
            text,
            "tensor cores busy       {:.0} % of the time",
            100.0 * tensor * BUSY_FRACTION / prediction.time_s
        );
    }
    print(&text)?;
    Ok(Done::Ok)
}

/// The requested kernel, with the requested text.
fn entry(args: &InspectArgs) -> Result<Box<dyn Entry>> {
    let entries = args.ptx.as_deref().map(of_file).transpose()?;
    match (&args.kernel, entries) {
        (None, Some(mut entries)) if entries.len() == 1 => Ok(entries.remove(0)),
        (None, entries) => {
            let ids: Vec<String> = entries
                .iter()
                .flatten()
                .map(|entry| entry.id().into())
                .collect();
            Err(Usage(format!(
                "the file has several kernels; name one of {}",
                ids.join(", ")
            ))
            .into())
        }
        (Some(id), None) => kernel_of(id),
        (Some(id), Some(entries)) => {
            let same = entries.into_iter().find(|entry| entry.id() == *id);
            same.ok_or_else(|| Usage(format!("--ptx: the file has no `.entry {id}`")).into())
        }
    }
}

/// The targets of assembly and prediction. Each follows from the other if only one is given;
/// without either, the first chip that runs the kernel.
fn choose(args: &InspectArgs, entry: &dyn Entry, ptx: &str) -> Result<(Target, Chip), Usage> {
    let own = Target::from_ptx(ptx).unwrap_or(entry.id().target());
    let default = || CHIPS.into_iter().find(|chip| own.takes(chip.sm));
    let given = args.sm.or_else(|| {
        let chip = args.chip.or_else(default)?;
        // A kernel with instructions of one chip is assembled for that chip only.
        Some(if own.sm() == chip.sm {
            own
        } else {
            Target::new(chip.sm)
        })
    });
    let target = given.unwrap_or(own);
    if target.sm() < entry.id().target().sm() {
        let (id, min) = (entry.id(), entry.id().target());
        return Err(Usage(format!("{id} needs {min}, not {target}")));
    }
    match args.chip {
        Some(chip) if target.runs_on(chip.sm) => Ok((target, chip)),
        Some(chip) => Err(Usage(format!(
            "--chip: {} is sm_{}, which runs no code for {target}",
            chip.name, chip.sm
        ))),
        None => {
            let chip = CHIPS.into_iter().find(|chip| target.runs_on(chip.sm));
            let unknown = || Usage(format!("--sm: no chip known to run code for {target}"));
            Ok((target, chip.ok_or_else(unknown)?))
        }
    }
}

/// The work of a launch. A pass of a loop handles the elements of the bytes that it moves, unless
/// the kernel says otherwise.
fn work(entry: &dyn Entry, body: &Body, shape: Shape) -> Work {
    let (bytes, elements) = (entry.bytes(shape), shape.rows as u64 * shape.cols as u64);
    let elements_per_pass = match (entry.elements_per_pass(shape), body.is_loop) {
        (Some(elements), _) => elements,
        (None, true) => body.global_bytes() * elements as f64 / bytes as f64,
        (None, false) => f64::from(entry.elements_per_thread()),
    };
    Work {
        bytes,
        elements,
        elements_per_pass,
    }
}

fn taken(entry: &dyn Entry, resources: &Resources, occupancy: &Occupancy) -> String {
    format!(
        "registers      {}\n\
         spills         {} bytes\n\
         local memory   {} bytes\n\
         shared memory  {} bytes\n\
         barriers       {}\n\
         occupancy      {:.0} %: {} of {} warps, {} thread blocks of {}, limited by {}\n",
        resources.registers,
        resources.spill_store_bytes + resources.spill_load_bytes,
        resources.stack_bytes,
        resources.static_shared_bytes + entry.signature().shared_bytes(),
        resources.barriers,
        100.0 * occupancy.fraction(),
        occupancy.warps,
        occupancy.max_warps,
        occupancy.blocks,
        entry.signature().threads(),
        occupancy.limit,
    )
}

fn issued(body: &Body) -> String {
    let what = if body.is_loop {
        "main loop"
    } else {
        "whole body"
    };
    let mut text = format!("\n{what}: {} instructions", body.slots());
    let notes = [
        (body.inner_loops, "inner loops gone through once"),
        (body.calls, "calls of subroutines not followed"),
    ];
    for (count, note) in notes.into_iter().filter(|(count, _)| *count > 0) {
        let _ = write!(text, ", {count} {note}");
    }
    text.push('\n');
    let row = |(class, count): (mxlab_harness::sass::Class, usize)| {
        let share = 100.0 * count as f64 / body.slots() as f64;
        vec![
            class.pipe().to_string(),
            class.to_string(),
            count.to_string(),
            format!("{share:.0} %"),
        ]
    };
    let rows: Vec<_> = body.mix().present().map(row).collect();
    text.push_str(&aligned(
        2,
        &["pipe", "class", "instructions", "share"],
        &rows,
    ));
    let global = |direction| {
        let accesses = body
            .accesses()
            .filter(|access| access.space == Space::Global);
        let bits = accesses.filter(|access| access.direction == direction);
        let bits: Vec<String> = bits.map(|access| access.bits.to_string()).collect();
        if bits.is_empty() {
            "none".to_owned()
        } else {
            format!("{} bits", bits.join(", "))
        }
    };
    let _ = writeln!(text, "\nglobal loads   {}", global(Direction::Load));
    let _ = writeln!(text, "global stores  {}", global(Direction::Store));
    text
}

fn predicted(work: &Work, prediction: &Prediction) -> String {
    let us = |seconds: f64| format!("{:.1}", seconds * 1e6);
    let row = |&(limit, seconds): &(Limiter, f64)| vec![limit.to_string(), us(seconds)];
    let mut rows: Vec<_> = prediction.limits.iter().map(row).collect();
    rows.push(vec!["fill".to_owned(), us(prediction.fill_s)]);
    let mut text = aligned(1, &["limit", "predicted us"], &rows);
    let _ = write!(
        text,
        "\nbytes an element        {:.3}\n\
         issue slots an element  {:.2}\n\
         predicted time          {} us, limited by {}\n\
         predicted bandwidth     {:.0} % of a copy's, {:.0} % when many follow each other\n",
        work.bytes as f64 / work.elements as f64,
        prediction.slots_per_element,
        us(prediction.time_s),
        prediction.limiter,
        100.0 * prediction.copy_fraction,
        100.0 * prediction.limit_s(Limiter::Memory) / (prediction.time_s - prediction.fill_s),
    );
    text
}

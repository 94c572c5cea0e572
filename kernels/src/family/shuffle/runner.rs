//! Running a shuffle kernel on a problem.

use super::problems::outputs;
use super::{ShuffleFault, ShuffleKernel, ShuffleOperands, ShuffleVariant};
use crate::fragment::WeightFormat;
use crate::launch::Slice;
use crate::registry::{EntryError, Image, Outputs, Prepared, Problem, Runner, Task, UNTOUCHED};
use mxlab_harness::device::{Buffer, Device, Stream};

/// A shuffle kernel on a device.
pub(super) struct ShuffleRunner {
    pub variant: ShuffleVariant,
    pub device: Device,
    pub kernel: ShuffleKernel,
}

impl Runner for ShuffleRunner {
    fn prepare(&self, problem: &Problem) -> Result<Prepared<'_>, EntryError> {
        let (rows, cols) = (problem.size("rows")?, problem.size("cols")?);
        let (format, src_stride) = (self.variant.format(problem)?, problem.size("src_stride")?);
        let [dst_bytes, _] = self.variant.dst_bytes(problem)?;
        let skip = problem.size("skip")?;
        let dst = Image::untouched("dst", dst_bytes);
        // That of all scales, which a scan finds.
        let scales = problem.tensor("src")?.bits.iter().copied();
        let largest = match self.variant {
            ShuffleVariant::Scan(_) => 0,
            _ => scales.max().unwrap_or(0),
        };
        let src = Image::of(problem, "src")?;
        Ok(Prepared::new(move || {
            Ok(ShuffleTask {
                variant: self.variant,
                kernel: self.kernel.clone(),
                format,
                rows,
                cols,
                src_stride,
                skip,
                src: src.upload(&self.device)?,
                dst: dst.upload(&self.device)?,
                fault: self.device.upload("fault", &[ShuffleFault::NONE.0])?,
                largest: self.device.upload("largest", &[largest])?,
            })
        }))
    }
}

/// A shuffle kernel and its buffers.
struct ShuffleTask {
    variant: ShuffleVariant,
    kernel: ShuffleKernel,
    format: WeightFormat,
    rows: usize,
    cols: usize,
    src_stride: usize,
    skip: usize,
    src: Buffer,
    dst: Buffer,
    fault: Buffer,
    largest: Buffer,
}

impl Task for ShuffleTask {
    fn launch(&self, stream: &Stream) -> Result<(), EntryError> {
        let operands = ShuffleOperands {
            format: self.format,
            rows: self.rows,
            cols: self.cols,
            src: Slice::whole(&self.src),
            src_stride: self.src_stride,
            dst: Some(Slice::whole(&self.dst)),
            skip: self.skip,
            fault: Some(Slice::whole(&self.fault)),
            largest: Some(Slice::whole(&self.largest)),
        };
        Ok(self.kernel.launch(stream, &operands)?)
    }

    fn written(&self) -> Vec<&Buffer> {
        vec![&self.dst]
    }

    fn outputs(&self) -> Result<Outputs, EntryError> {
        let fault = ShuffleFault(self.fault.download::<u64>()?[0]);
        let dst = match fault == ShuffleFault::NONE {
            true => self.dst.download::<u8>()?,
            false => vec![UNTOUCHED; self.dst.bytes()],
        };
        let largest = self.largest.download::<u32>()?[0];
        Ok(outputs(&self.variant, dst, fault, largest))
    }
}

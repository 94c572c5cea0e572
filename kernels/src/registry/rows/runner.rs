//! Running a row kernel on a problem.

use super::len;
use crate::launch::{Dense, RowFactor, RowKernel, RowOperands, Slice};
use crate::ptx::{RowOperation, RowVariant};
use crate::registry::task::{Image, download};
use crate::registry::{ElementType, EntryError, Outputs, Prepared, Problem, Runner, Task};
use mxlab_harness::device::{Buffer, Device, Stream};

/// A row kernel on a device.
pub(super) struct RowRunner {
    pub variant: RowVariant,
    pub device: Device,
    pub kernel: RowKernel,
}

impl Runner for RowRunner {
    fn prepare(&self, problem: &Problem) -> Result<Prepared<'_>, EntryError> {
        let size = |name| problem.size(name);
        let (rows, cols, seed) = (size("rows")?, size("cols")?, size("seed")? as u32);
        let strides = [size("dst_stride")?, size("src_stride")?, size("up_stride")?];
        let operation = self.variant.operation();
        let src = Image::of(problem, "src")?;
        let positions = Image::of(problem, "positions")?;
        let factor = match operation {
            RowOperation::Norm => Some(Image::of(problem, "gain")?),
            RowOperation::Swiglu => Some(Image::of(problem, "up")?),
            RowOperation::Copy => None,
        };
        let eps = match operation {
            RowOperation::Norm => problem.tensor("eps")?.values()[0],
            RowOperation::Swiglu | RowOperation::Copy => 0.0,
        };
        let dst = Image::untouched("dst", 2 * len(rows, cols, strides[0]));
        Ok(Prepared::new(move || {
            let upload = |image: &Image| image.upload(&self.device);
            Ok(RowTask {
                kernel: self.kernel.clone(),
                operation,
                rows,
                cols,
                strides,
                seed,
                eps,
                dst: upload(&dst)?,
                src: upload(&src)?,
                factor: factor.as_ref().map(upload).transpose()?,
                positions: upload(&positions)?,
            })
        }))
    }
}

/// A row kernel and its buffers.
struct RowTask {
    kernel: RowKernel,
    operation: RowOperation,
    rows: usize,
    cols: usize,
    /// Of dst, src and up.
    strides: [usize; 3],
    seed: u32,
    eps: f32,
    dst: Buffer,
    src: Buffer,
    factor: Option<Buffer>,
    positions: Buffer,
}

impl Task for RowTask {
    fn launch(&self, stream: &Stream) -> Result<(), EntryError> {
        let matrix = |buffer, stride| Dense {
            first: Slice::whole(buffer),
            stride,
        };
        let [dst, src, up] = self.strides;
        let by = match (self.operation, &self.factor) {
            (RowOperation::Norm, Some(gain)) => RowFactor::Gain(Slice::whole(gain), self.eps),
            (RowOperation::Swiglu, Some(factor)) => RowFactor::Up(matrix(factor, up)),
            _ => RowFactor::One,
        };
        let operands = RowOperands {
            rows: self.rows,
            cols: self.cols,
            dst: matrix(&self.dst, dst),
            src: matrix(&self.src, src),
            by,
            positions: Some(Slice::whole(&self.positions)),
            seed: self.seed,
        };
        Ok(self.kernel.launch(stream, &operands)?)
    }

    fn outputs(&self) -> Result<Outputs, EntryError> {
        let dst = download(&self.dst, ElementType::Bf16)?;
        Ok(Outputs::from([("dst", dst)]))
    }
}

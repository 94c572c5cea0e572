//! Running a row kernel on a problem.

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
        let (element, dst_len) = self.variant.dst(rows, cols, strides[0]);
        let dst = Image::untouched("dst", dst_len);
        let scales_stride = size("dst_scales_stride")?;
        let scales = self.variant.scale_bytes(rows, cols, scales_stride);
        let scales = Image::untouched("dst_scales", scales);
        Ok(Prepared::new(move || {
            let upload = |image: &Image| image.upload(&self.device);
            Ok(RowTask {
                variant: self.variant,
                kernel: self.kernel.clone(),
                element,
                rows,
                cols,
                strides,
                seed,
                eps,
                dst: upload(&dst)?,
                scales: upload(&scales)?,
                scales_stride,
                src: upload(&src)?,
                factor: factor.as_ref().map(upload).transpose()?,
                positions: upload(&positions)?,
            })
        }))
    }
}

/// A row kernel and its buffers.
struct RowTask {
    variant: RowVariant,
    kernel: RowKernel,
    /// What dst is of.
    element: ElementType,
    rows: usize,
    cols: usize,
    /// Of dst, src and up.
    strides: [usize; 3],
    seed: u32,
    eps: f32,
    dst: Buffer,
    /// Of packed rows.
    scales: Buffer,
    scales_stride: usize,
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
        let by = match (self.variant.operation(), &self.factor) {
            (RowOperation::Norm, Some(gain)) => RowFactor::Gain(Slice::whole(gain), self.eps),
            (RowOperation::Swiglu, Some(factor)) => RowFactor::Up(matrix(factor, up)),
            _ => RowFactor::One,
        };
        let operands = RowOperands {
            rows: self.rows,
            cols: self.cols,
            dst: matrix(&self.dst, dst),
            dst_scales: (self.variant.is_packed())
                .then(|| matrix(&self.scales, self.scales_stride)),
            src: matrix(&self.src, src),
            by,
            positions: Some(Slice::whole(&self.positions)),
            seed: self.seed,
        };
        Ok(self.kernel.launch(stream, &operands)?)
    }

    fn written(&self) -> Vec<&Buffer> {
        let scales = self.variant.is_packed().then_some(&self.scales);
        std::iter::once(&self.dst).chain(scales).collect()
    }

    fn outputs(&self) -> Result<Outputs, EntryError> {
        let dst = download(&self.dst, self.element)?;
        let scales = download(&self.scales, ElementType::F32)?;
        Ok(self.variant.outputs(dst, scales))
    }
}

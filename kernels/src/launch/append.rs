//! Launcher of the kernels that put keys and values into the cache.

use super::{Dense, LaunchError, Slice};
use crate::ptx::AppendVariant;
use mxlab_harness::device::{Argument, Device, Geometry, Kernel, Stream};

/// What an append works on: heads of tokens, and where they go.
#[derive(Clone, Copy, Debug)]
pub struct AppendOperands<'a> {
    /// Tokens.
    pub tokens: usize,
    /// Heads of a token.
    pub heads: usize,
    /// Features of a head; even where heads are rotated.
    pub head_dim: usize,
    /// bf16 [tokens, heads * head_dim].
    pub src: Dense<'a>,
    /// Cosines and sines, f32 [positions, head_dim / 2] each, of all positions that occur; for kernels that rotate.
    pub rope: Option<[Slice<'a>; 2]>,
    /// The position of each token, u32; below `capacity`.
    pub positions: Slice<'a>,
    /// The slot of each token's sequence, u32; below `slots`.
    pub slot_of: Slice<'a>,
    /// Sequences that the cache holds.
    pub slots: usize,
    /// Positions of a sequence that the cache holds.
    pub capacity: usize,
    /// Codes: [`AppendVariant::row_bytes`] for each of [slots, heads, capacity].
    pub codes: Slice<'a>,
    /// Scales: [`AppendVariant::row_scale_bytes`] for each; none for a cache in bf16.
    pub scales: Option<Slice<'a>>,
    /// Chooses the random numbers of stochastic rounding.
    pub seed: u32,
}

/// One kernel, loaded.
#[derive(Debug)]
pub struct AppendKernel {
    variant: AppendVariant,
    id: String,
    kernel: Kernel,
}

impl AppendKernel {
    /// Renders a kernel and loads it.
    ///
    /// # Errors
    /// If the device does not take it.
    pub fn load(device: &Device, variant: AppendVariant) -> Result<Self, LaunchError> {
        Self::of_text(device, variant, &variant.render())
    }

    /// Loads a kernel from a text that stands for [`AppendVariant::render`]'s.
    ///
    /// # Errors
    /// If the device does not take it, or the text has no entry of that name.
    pub fn of_text(
        device: &Device,
        variant: AppendVariant,
        ptx: &str,
    ) -> Result<Self, LaunchError> {
        let id = variant.id();
        let kernel = device.load(&id, ptx)?.kernel(&id)?;
        Ok(Self {
            variant,
            id,
            kernel,
        })
    }

    /// Launches it; nothing happens without tokens.
    ///
    /// # Errors
    /// [`LaunchError`] if an operand is missing, too small or not laid out as the kernel needs.
    pub fn launch(&self, stream: &Stream, operands: &AppendOperands) -> Result<(), LaunchError> {
        let AppendOperands {
            tokens,
            heads,
            head_dim,
            capacity,
            ..
        } = *operands;
        if tokens == 0 || heads == 0 || head_dim == 0 {
            return Ok(());
        }
        if self.variant.rotates() && head_dim % 2 == 1 {
            return Err(self.layout(format!("heads of {head_dim} features have no halves")));
        }
        let stride = operands.src.stride;
        if stride < heads * head_dim {
            return Err(self.layout(format!("rows of src are {stride} elements apart")));
        }
        let rows = operands.slots * heads * capacity;
        let missing = |operand| LaunchError::Missing {
            kernel: self.id.clone(),
            operand,
        };
        let mut arguments = vec![operands.codes.argument(
            &self.id,
            "codes",
            rows * self.variant.row_bytes(head_dim),
            16,
        )?];
        if let Some(format) = self.variant.format() {
            let scales = operands.scales.ok_or_else(|| missing("scales"))?;
            let bytes = rows * self.variant.row_scale_bytes(head_dim);
            let alignment = format.scale().storage_bytes();
            arguments.push(scales.argument(&self.id, "scales", bytes, alignment)?);
        }
        let src = 2 * ((tokens - 1) * stride + heads * head_dim);
        arguments.push(operands.src.first.argument(&self.id, "src", src, 2)?);
        if self.variant.rotates() {
            let [cos, sin] = operands.rope.ok_or_else(|| missing("rope"))?;
            let bytes = 4 * (head_dim / 2);
            arguments.push(cos.argument(&self.id, "cos", bytes, 4)?);
            arguments.push(sin.argument(&self.id, "sin", bytes, 4)?);
        }
        arguments.push(
            operands
                .positions
                .argument(&self.id, "positions", 4 * tokens, 4)?,
        );
        arguments.push(
            operands
                .slot_of
                .argument(&self.id, "slots", 4 * tokens, 4)?,
        );
        for n in [tokens, heads, head_dim, stride, capacity] {
            arguments.push(Argument::U32(self.number(n)?));
        }
        if self.variant.is_random() {
            arguments.push(Argument::U32(operands.seed));
        }
        let threads = tokens * heads * self.variant.head_threads(head_dim);
        let geometry = Geometry {
            grid: [self.number(threads.div_ceil(256))?, 1, 1],
            block: [256, 1, 1],
            dynamic_shared: 0,
        };
        Ok(stream.launch(&self.kernel, geometry, &arguments)?)
    }

    fn layout(&self, reason: String) -> LaunchError {
        LaunchError::Layout {
            kernel: self.id.clone(),
            reason,
        }
    }

    fn number(&self, n: usize) -> Result<u32, LaunchError> {
        u32::try_from(n).map_err(|_| self.layout(format!("{n} is too many")))
    }
}

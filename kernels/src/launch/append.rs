//! Launcher of the kernels that put keys and values into the cache, and rotate queries.

use super::loaded::Loaded;
use super::{Cache, Dense, LaunchError, Slice};
use crate::fragment::cache::CacheFormat;
use crate::ptx::{AppendVariant, HeadKind};
use mxlab_harness::device::{Argument, Device, Geometry, Stream};

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
    /// Cosines and sines, f32 [positions, head_dim / 2] each, of all positions that occur;
    /// for kernels that rotate.
    pub rope: Option<[Slice<'a>; 2]>,
    /// The position of each token, u32; below the capacity of a cache.
    pub positions: Slice<'a>,
    /// Where rows go.
    pub dst: Destination<'a>,
    /// Chooses the random numbers of stochastic rounding.
    pub seed: u32,
}

/// Where the rows of heads go.
#[derive(Clone, Copy, Debug)]
pub enum Destination<'a> {
    /// Queries: bf16 [tokens, heads, head_dim padded to runs of 16].
    Rows(Slice<'a>),
    /// Keys or values.
    Cache {
        /// The rows.
        cache: Cache<'a>,
        /// The slot of each token's sequence, u32; below `slots`.
        slot_of: Slice<'a>,
        /// Sequences that the cache holds.
        slots: usize,
        /// Positions of a sequence that the cache holds.
        capacity: usize,
    },
}

/// One kernel, loaded.
#[derive(Clone, Debug)]
pub struct AppendKernel {
    variant: AppendVariant,
    loaded: Loaded,
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
        let loaded = Loaded::of_text(device, variant.id(), ptx)?;
        Ok(Self { variant, loaded })
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
            ..
        } = *operands;
        let loaded = &self.loaded;
        if tokens == 0 || heads == 0 || head_dim == 0 {
            return Ok(());
        }
        if self.variant.rotates() && head_dim % 2 == 1 {
            return Err(loaded.layout(format!("heads of {head_dim} features have no halves")));
        }
        let stride = operands.src.stride;
        if stride < heads * head_dim {
            return Err(loaded.layout(format!("rows of src are {stride} elements apart")));
        }
        let format = self.variant.cache();
        let mut arguments = Vec::new();
        match operands.dst {
            Destination::Rows(rows) => {
                let bytes = tokens * heads * format.row_bytes(head_dim);
                arguments.push(loaded.pointer("dst", rows, bytes, 16)?);
            }
            Destination::Cache {
                cache,
                slots,
                capacity,
                ..
            } => {
                let rows = slots * heads * capacity;
                let bytes = rows * format.row_bytes(head_dim);
                arguments.push(loaded.pointer("codes", cache.codes, bytes, 16)?);
                if let CacheFormat::Packed { scale, .. } = format {
                    let scales = loaded.required("scales", cache.scales)?;
                    let bytes = rows * format.row_scale_bytes(head_dim);
                    arguments.push(loaded.pointer(
                        "scales",
                        scales,
                        bytes,
                        scale.storage_bytes(),
                    )?);
                }
            }
        }
        let src = 2 * ((tokens - 1) * stride + heads * head_dim);
        arguments.push(loaded.pointer("src", operands.src.first, src, 2)?);
        if self.variant.rotates() {
            let [cos, sin] = loaded.required("rope", operands.rope)?;
            let bytes = 4 * (head_dim / 2);
            arguments.push(loaded.pointer("cos", cos, bytes, 4)?);
            arguments.push(loaded.pointer("sin", sin, bytes, 4)?);
        }
        let mut numbers = vec![tokens, heads, head_dim, stride];
        arguments.push(loaded.pointer("positions", operands.positions, 4 * tokens, 4)?);
        match (self.variant.kind(), operands.dst) {
            (HeadKind::Queries, Destination::Rows(_)) => {}
            (
                HeadKind::Keys | HeadKind::Values,
                Destination::Cache {
                    slot_of, capacity, ..
                },
            ) => {
                arguments.push(loaded.pointer("slots", slot_of, 4 * tokens, 4)?);
                numbers.push(capacity);
            }
            _ => {
                return Err(
                    loaded.layout("queries go to rows, keys and values to a cache".to_owned())
                );
            }
        }
        for n in numbers {
            arguments.push(Argument::U32(loaded.number("elements", n)?));
        }
        if self.variant.is_random() {
            arguments.push(Argument::U32(operands.seed));
        }
        let threads = tokens * heads * self.variant.head_threads(head_dim);
        // Threads are numbered in 32 bits.
        loaded.number("threads", threads)?;
        let geometry = Geometry {
            grid: [loaded.number("threads", threads.div_ceil(256))?, 1, 1],
            block: [256, 1, 1],
            dynamic_shared: 0,
        };
        Ok(stream.launch(&loaded.kernel, geometry, &arguments)?)
    }
}

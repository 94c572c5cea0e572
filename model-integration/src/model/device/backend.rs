//! The operations of the forward pass as PTX kernels.

use std::cell::Cell;

use mxlab_harness::device::{Buffer, Device, DeviceError, Graph, Stream};
use mxlab_kernels::family::append::{AppendVariant, HeadKind};
use mxlab_kernels::family::attention::{AttentionRegime, AttentionVariant};
use mxlab_kernels::family::matmul::MatmulOutput;
use mxlab_kernels::family::rows::RowOperation;
use mxlab_kernels::format::BlockFormat;
use mxlab_kernels::fragment::cache::RUN;
use mxlab_kernels::kernel::{Call, Dense, LaunchError, Slice};

use super::activations::{Activation, Pool};
use super::cache::CacheRows;
use super::input::Input;
use super::kernels::Kernels;
use super::plan::{Limits, Storage};
use super::staging::Staging;
use super::{DeviceCache, DeviceMatrix, DeviceStack, features};
use crate::description::kinds::{ActivationFunction, NormKind};
use crate::model::error::check_finite;
use crate::model::{Attention, Backend, Batch, LlamaError, Map, Norm, Rope};

/// A gain or a bias: bf16, padded with zeros to 8.
pub type DeviceVector = Buffer;

/// A device, and the engine's buffers except weights, keys and values.
pub struct DeviceBackend {
    pub(super) device: Device,
    pub(super) stream: Stream,
    pub(super) kernels: Kernels,
    pub(super) pool: Pool,
    pub(super) staging: Staging,
    pub(super) limits: Limits,
    pub(super) storage: Storage,
    /// Cosines and sines.
    rope: Vec<[Buffer; 2]>,
    /// Partial sums of split products and attentions.
    workspace: Buffer,
    arrivals: Buffer,
    /// Results of scoring and sampling, one or two words per row.
    pub(super) results: [Buffer; 5],
    /// Whether it fails at the first value that is not finite.
    watches: Cell<bool>,
}

pub(super) fn whole(buffer: &Buffer) -> Slice<'_> {
    Slice { buffer, offset: 0 }
}

impl DeviceBackend {
    /// Allocates the buffers within `limits`, and the rotary tables.
    ///
    /// # Errors
    /// If the device has no room.
    pub fn new(
        device: &Device,
        limits: Limits,
        rope: &Rope,
        storage: Storage,
    ) -> Result<Self, DeviceError> {
        let tokens = limits.tokens.max(1);
        let results = ["max", "argmax", "sum", "target", "random"];
        let results: Vec<Buffer> = results
            .into_iter()
            .map(|name| device.upload(name, &vec![0u64; tokens]))
            .collect::<Result<_, _>>()?;
        Ok(Self {
            device: device.clone(),
            stream: device.stream()?,
            kernels: Kernels::new(device),
            pool: Pool::new(device, limits.tokens),
            staging: Staging::new(device, limits.tokens)?,
            rope: (rope.tables().iter())
                .map(|table| {
                    Ok([
                        device.upload("cosines", &table.cos)?,
                        device.upload("sines", &table.sin)?,
                    ])
                })
                .collect::<Result<_, DeviceError>>()?,
            workspace: device.upload("workspace", &vec![0u8; limits.split.workspace])?,
            arrivals: device.upload("arrivals", &vec![0u32; limits.split.arrivals])?,
            results: results
                .try_into()
                .unwrap_or_else(|_| unreachable!("one each")),
            limits,
            storage,
            watches: Cell::new(false),
        })
    }

    /// Bytes allocated, without weights, keys and values.
    pub fn bytes(&self) -> usize {
        let buffers = self.rope.iter().flatten().chain(&self.results);
        let buffers = buffers.chain([&self.workspace, &self.arrivals]);
        let buffers: usize = buffers.map(Buffer::bytes).sum();
        buffers + self.pool.free_bytes() + Staging::bytes(self.limits.tokens)
    }

    /// The device.
    pub const fn device(&self) -> &Device {
        &self.device
    }

    /// Adds the workspace of thread blocks that share work.
    pub(super) fn shared<'a>(&'a self, call: Call<'a>) -> Call<'a> {
        call.buffer("workspace", whole(&self.workspace))
            .buffer("arrivals", whole(&self.arrivals))
    }

    /// Rotates queries; or rotates, quantises and appends keys or values. `dst` has the
    /// destination.
    fn place_heads(
        &self,
        kind: HeadKind,
        src: &Activation,
        attention: &Attention<Buffer>,
        batch: &Batch,
        dst: Call,
        format: Option<&BlockFormat>,
    ) -> Result<(), LlamaError> {
        let variant = match (format, self.storage) {
            (Some(format), Storage::Fake) => AppendVariant::fake(kind, *format),
            _ => AppendVariant::new(kind, format.copied()),
        };
        let variant = variant.map_err(LaunchError::from)?;
        let [positions, _, _] = self.staging.places(batch)?;
        let seed = format.map_or(0, |format| format.rounding().seed());
        let mut call = dst
            .size("tokens", src.rows())
            .size("heads", src.cols() / attention.head_dim)
            .size("head_dim", attention.head_dim)
            .rows("src", "src_stride", src.dense())
            .buffer("positions", positions)
            .size("seed", seed as usize);
        if variant.rotates() {
            // One table serves all sequences.
            let table = attention.rope.and_then(|rope| self.rope.get(rope.number?));
            let [cos, sin] = table.ok_or(LlamaError::Layout)?;
            call = call.buffer("cos", whole(cos)).buffer("sin", whole(sin));
        }
        let kernel = self.kernels.append(variant)?;
        Ok(kernel.launch(&self.stream, &call)?)
    }

    /// Looks up the rows of a table [vocabulary, cols], one for each token.
    fn look_up(
        &self,
        table: Dense,
        [vocabulary, cols]: [usize; 2],
        tokens: Slice,
        dst: Activation,
    ) -> Result<Activation, LlamaError> {
        let call = Call::new()
            .size("rows", dst.rows())
            .size("vocabulary", vocabulary)
            .size("cols", cols)
            .size("padded", dst.dense().stride)
            .rows("dst", "dst_stride", dst.dense())
            .buffer("status", self.staging.status())
            .rows("table", "table_stride", table)
            .buffer("tokens", tokens);
        self.kernels.embed()?.launch(&self.stream, &call)?;
        Ok(dst)
    }

    /// The values of an activation, row by row, after all launched work has finished.
    ///
    /// # Errors
    /// An error of an earlier launch.
    pub fn values(&self, x: &Activation) -> Result<Vec<f32>, LlamaError> {
        self.stream.synchronize()?;
        Ok(x.read()?)
    }

    /// Sets whether it fails at the first value that is not finite.
    pub fn set_watching(&self, watches: bool) {
        self.watches.set(watches);
    }

    /// Waits for all launched work.
    ///
    /// # Errors
    /// An error of that work.
    pub fn synchronize(&self) -> Result<(), LlamaError> {
        Ok(self.stream.synchronize()?)
    }

    /// Records the launches of `launch` as a graph.
    pub(super) fn record(
        &self,
        launch: impl FnOnce() -> Result<(), LlamaError>,
    ) -> Result<Graph, LlamaError> {
        self.stream.record_graph(|_| launch())
    }

    /// Launches a graph again.
    pub(super) fn replay(&self, graph: &Graph) -> Result<(), LlamaError> {
        Ok(self.stream.replay(graph)?)
    }

    /// Writes the tables of a batch that kernels read.
    pub(super) fn stage(&self, batch: &Batch, rows: &[u32]) -> Result<(), LlamaError> {
        self.staging.tokens(&batch.tokens)?;
        self.staging.places(batch)?;
        self.staging.rows(rows)?;
        Ok(())
    }
}

/// Makes a call append to `rows` of a cache.
fn append_to<'a>(place: &Call<'a>, rows: CacheRows<'a>) -> Call<'a> {
    let call = place.clone().buffer("dst", rows.codes);
    call.optional("dst_scales", rows.scales)
}

impl Backend for DeviceBackend {
    type Activation = Activation;
    type Matrix = DeviceMatrix;
    type Stack = DeviceStack;
    type Input = Input;
    type Vector = DeviceVector;
    type Cache = DeviceCache;
    type Error = LlamaError;

    fn embed(&self, table: &DeviceMatrix, tokens: &[u32]) -> Result<Activation, LlamaError> {
        let vocabulary = table.rows;
        if let Some(&token) = tokens.iter().find(|&&token| token as usize >= vocabulary) {
            return Err(LlamaError::Token { token, vocabulary });
        }
        let rows = table.table.as_ref().ok_or(LlamaError::Layout)?;
        let cols = table.cols;
        let dst = self.pool.take(tokens.len(), cols)?;
        let dense = Dense {
            first: whole(rows),
            stride: cols,
        };
        let tokens = self.staging.tokens(tokens)?;
        self.look_up(dense, [vocabulary, cols], tokens, dst)
    }

    fn norm(
        &self,
        x: &Activation,
        norm: &Norm<Buffer>,
        batch: &Batch,
        input: &Input,
    ) -> Result<Activation, LlamaError> {
        if norm.kind != NormKind::Rms {
            return Err(features::lacks("such norms"));
        }
        let by = Call::new()
            .buffer("gain", whole(&norm.gain))
            .number("eps", norm.eps as f32);
        self.make_rows(RowOperation::Norm, x, by, batch, input)
    }

    fn as_input(
        &self,
        x: &Activation,
        batch: &Batch,
        input: &Input,
    ) -> Result<Activation, LlamaError> {
        self.make_rows(RowOperation::Copy, x, Call::new(), batch, input)
    }

    fn linear(
        &self,
        x: &Activation,
        weight: &DeviceMatrix,
        bias: Option<&Buffer>,
        residual: Option<&Activation>,
    ) -> Result<Activation, LlamaError> {
        let weights = weight.weights.as_ref().ok_or(LlamaError::Layout)?;
        self.product(x, weights, MatmulOutput::Bf16, bias, residual)
    }

    fn linear_stack<const N: usize>(
        &self,
        x: &Activation,
        stack: &DeviceStack,
    ) -> Result<[Activation; N], LlamaError> {
        let bias = stack.bias.as_ref();
        let outputs = self.product(x, &stack.weights, MatmulOutput::Bf16, bias, None)?;
        let mut first = 0;
        let parts = stack.rows.iter().map(|rows| {
            let features = first..first + rows;
            first = features.end;
            outputs.part(features)
        });
        let parts: Vec<Activation> = parts.collect();
        parts.try_into().map_err(|_| LlamaError::Layout)
    }

    fn linear_swiglu(
        &self,
        x: &Activation,
        stack: &DeviceStack,
        batch: &Batch,
        input: &Input,
        name: impl Fn(usize) -> String,
    ) -> Result<Activation, LlamaError> {
        if self.watches.get() {
            self.watch_gate_up(x, stack, name)?;
        }
        let bias = stack.bias.as_ref();
        let inner = self.product(x, &stack.weights, MatmulOutput::Swiglu, bias, None)?;
        self.quantized(inner, batch, input)
    }

    fn attend(
        &self,
        [query, key, value]: [Activation; 3],
        attention: Attention<Buffer>,
        cache: &mut DeviceCache,
        batch: &Batch,
        input: &Input,
    ) -> Result<Activation, LlamaError> {
        let Attention {
            layer,
            heads,
            kv_heads,
            head_dim,
            scale,
            ..
        } = attention;
        cache.check(&batch.sequences)?;
        let [_, slot_of, table] = self.staging.places(batch)?;
        let tokens = query.rows();
        let rotated = self
            .pool
            .take_compact(tokens, heads * head_dim.next_multiple_of(RUN))?;
        let [keys, values] = cache.layer(layer);
        let place = Call::new()
            .buffer("slot_of", slot_of)
            .size("slots", cache.slots())
            .size("capacity", cache.capacity());
        let rows = Call::new().buffer("dst", rotated.slice());
        self.place_heads(HeadKind::Queries, &query, &attention, batch, rows, None)?;
        let (to, of) = (append_to(&place, keys), attention.keys);
        self.place_heads(HeadKind::Keys, &key, &attention, batch, to, of)?;
        let (to, of) = (append_to(&place, values), attention.values);
        self.place_heads(HeadKind::Values, &value, &attention, batch, to, of)?;
        drop([query, key, value]);

        let longest = batch.sequences.iter().map(|sequence| sequence.length).max();
        let (longest, group) = (longest.unwrap_or(0), heads / kv_heads);
        let regime = match longest {
            0..=2 => AttentionRegime::Decode,
            _ => AttentionRegime::Prefill,
        };
        let kept = [attention.keys, attention.values].map(|format| self.storage.keeps(format));
        let variant = AttentionVariant::new(kept, head_dim, regime);
        let variant = variant.map_err(LaunchError::from)?;
        let kernel = self.kernels.attention(variant)?;
        let sequences = batch.sequences.len();
        let blocks = variant.blocks(sequences, longest, kv_heads, group);
        let splits = variant.splits(&self.limits.split, blocks, cache.capacity());
        let dst = self.pool.take(tokens, heads * head_dim)?;
        let call = Call::new()
            .size("sequence_count", sequences)
            .size("longest", longest)
            .size("tokens", tokens)
            .size("kv_heads", kv_heads)
            .size("group", group)
            .size("head_dim", head_dim)
            .size("slots", cache.slots())
            .size("capacity", cache.capacity())
            .size("splits", splits)
            .number("score_factor", variant.score_factor(scale, 0.0))
            .number("value_factor", variant.value_factor())
            .buffer("src", rotated.slice())
            .rows("dst", "dst_stride", dst.dense())
            .buffer("keys", keys.codes)
            .optional("key_scales", keys.scales)
            .buffer("values", values.codes)
            .optional("value_scales", values.scales)
            .buffer("sequences", table);
        let call = match regime {
            AttentionRegime::Decode => self.shared(call),
            AttentionRegime::Prefill => call,
        };
        kernel.launch(&self.stream, &call)?;
        self.quantized(dst, batch, input)
    }

    fn gate(
        &self,
        [gate, up]: [Activation; 2],
        function: ActivationFunction,
        batch: &Batch,
        input: &Input,
    ) -> Result<Activation, LlamaError> {
        if function != ActivationFunction::Silu {
            return Err(features::lacks("such gates"));
        }
        let by = Call::new().rows("up", "up_stride", up.dense());
        self.make_rows(RowOperation::Swiglu, &gate, by, batch, input)
    }

    fn activate(
        &self,
        _: Activation,
        _: ActivationFunction,
        _: &Batch,
        _: &Input,
    ) -> Result<Activation, LlamaError> {
        Err(features::lacks("an MLP without gate"))
    }

    fn map(&self, _: Activation, _: Map) -> Result<Activation, LlamaError> {
        Err(features::lacks("factors and caps"))
    }

    fn add(&self, _: Activation, _: &Activation) -> Result<Activation, LlamaError> {
        Err(features::lacks("norms after attention and MLP"))
    }

    fn watch(&self, x: &Activation, what: impl FnOnce() -> String) -> Result<(), LlamaError> {
        match self.watches.get() {
            true => check_finite(&self.values(x)?, x.cols(), what),
            false => Ok(()),
        }
    }

    fn select(&self, x: &Activation, rows: &[u32]) -> Result<Activation, LlamaError> {
        let dst = self.pool.take(rows.len(), x.cols())?;
        self.look_up(
            x.dense(),
            [x.rows(), x.cols()],
            self.staging.rows(rows)?,
            dst,
        )
    }
}

//! The operations of the forward pass as PTX kernels.

use std::cell::Cell;

use mxlab_harness::device::{Buffer, Device, DeviceError, Graph, Stream};
use mxlab_kernels::family::matmul::MatmulOutput;
use mxlab_kernels::family::rows::RowOperation;
use mxlab_kernels::kernel::{Call, Dense, Slice};

use super::activations::{Activation, Pool};
use super::input::Input;
use super::kernels::Kernels;
use super::plan::{Limits, Storage};
use super::staging::Staging;
use super::{DeviceCache, DeviceMatrix, DeviceStack, features};
use crate::description::Routing;
use crate::description::kinds::ActivationFunction;
use crate::model::error::check_finite;
use crate::model::ops::Chosen;
use crate::model::{Attention, Backend, Batch, LlamaError, Map, Norm, Rope};

/// A gain or a bias: bf16, padded with zeros to 8.
pub struct DeviceVector {
    pub(super) values: Buffer,
    /// Number of values.
    pub(super) len: usize,
}

impl DeviceVector {
    /// Bytes allocated.
    pub fn bytes(&self) -> usize {
        self.values.bytes()
    }
}

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
    pub(super) rope: Vec<[Buffer; 2]>,
    /// Partial sums of split products and attentions.
    pub(super) workspace: Buffer,
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
        norm: &Norm<DeviceVector>,
        batch: &Batch,
        input: &Input,
    ) -> Result<Activation, LlamaError> {
        self.normed(x, norm, batch, input)
    }

    fn as_input(
        &self,
        x: &Activation,
        batch: &Batch,
        input: &Input,
    ) -> Result<Activation, LlamaError> {
        self.quantized(x.part(0..x.cols()), batch, input)
    }

    fn linear(
        &self,
        x: &Activation,
        weight: &DeviceMatrix,
        bias: Option<&DeviceVector>,
        residual: Option<&Activation>,
    ) -> Result<Activation, LlamaError> {
        let bias = bias.map(|bias| &bias.values);
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
        query_key_value: [Activation; 3],
        attention: Attention<DeviceVector>,
        cache: &mut DeviceCache,
        batch: &Batch,
        input: &Input,
    ) -> Result<Activation, LlamaError> {
        let context = self.attention(query_key_value, &attention, cache, batch)?;
        self.quantized(context, batch, input)
    }

    fn gate(
        &self,
        [gate, up]: [Activation; 2],
        function: ActivationFunction,
        batch: &Batch,
        input: &Input,
    ) -> Result<Activation, LlamaError> {
        let operation = match function {
            ActivationFunction::Silu => RowOperation::Swiglu,
            ActivationFunction::GeluTanh => RowOperation::Geglu,
            other => return Err(features::lacks(other.name())),
        };
        let by = Call::new().rows("up", "up_stride", up.dense());
        self.make_rows(operation, &gate, by, batch, input)
    }

    fn activate(
        &self,
        x: Activation,
        function: ActivationFunction,
        batch: &Batch,
        input: &Input,
    ) -> Result<Activation, LlamaError> {
        match function {
            ActivationFunction::GeluTanh => {
                self.make_rows(RowOperation::Gelu, &x, Call::new(), batch, input)
            }
            other => Err(features::lacks(other.name())),
        }
    }

    fn map(&self, x: Activation, map: Map) -> Result<Activation, LlamaError> {
        self.mapped(&x, map)
    }

    fn add(&self, x: Activation, residual: &Activation) -> Result<Activation, LlamaError> {
        self.sum(&x, None, 1.0, residual)
    }

    fn add_normed(
        &self,
        x: Activation,
        norm: Option<&Norm<DeviceVector>>,
        factor: f32,
        residual: &Activation,
        _: &Batch,
    ) -> Result<Activation, LlamaError> {
        self.sum(&x, norm, factor, residual)
    }

    fn add_bias(&self, _: Activation, _: &DeviceVector) -> Result<Activation, LlamaError> {
        Err(features::lacks("experts"))
    }

    fn route(&self, _: &Activation, _: Routing) -> Result<Vec<Chosen>, LlamaError> {
        Err(features::lacks("experts"))
    }

    fn mix(&self, _: usize, _: Vec<(Chosen, Activation)>) -> Result<Activation, LlamaError> {
        Err(features::lacks("experts"))
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

//! The device engine: a checkpoint that scores and continues token sequences on a device.

use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use mxlab_harness::device::{Device, Loads};
use mxlab_harness::measure::{EnergyMeter, GpuMonitor};
use mxlab_kernels::family::append::{AppendVariant, HeadKind};
use mxlab_kernels::family::attention::{AttentionRegime, AttentionVariant};
use mxlab_kernels::family::rows::{RowOperation, RowVariant};
use mxlab_kernels::format::{BlockFormat, FloatType, MatrixFormat};
use mxlab_kernels::fragment::OperandType;
use mxlab_kernels::support::{Taker, check_matrix};

use super::generator::DeviceGenerator;
use super::input::{Input, Operands, convertible_weights};
use super::plan::{Limits, Plan, Storage};
use super::scoring::DeviceModel;
use super::stepper::DeviceStepper;
use super::store::takes;
use super::{DeviceBackend, DeviceCache, features};
use crate::checkpoint::{Checkpoint, Tokenizer};
use crate::config::QuantConfig;
use crate::engine::{
    CacheRoom, CausalModel, Engine, Footprint, Generator, KvFootprint, ModelInfo, OperandCounts,
    Room, Stepper, Tokenize,
};
use crate::model::load::load;
use crate::model::packed_weights::packed_weights;
use crate::model::stored_formats::{stored_formats, with_stored_formats};
use crate::model::{Llama, Rope};

/// Tokens of one pass through the model.
const BATCH_TOKENS: usize = 4096;

/// A checkpoint on a device.
pub struct DeviceEngine {
    device: Device,
    checkpoint: Checkpoint,
    tokenizer: Tokenizer,
    softmax_dtype: FloatType,
    storage: Storage,
    /// Free bytes when it was opened.
    free: u64,
    info: ModelInfo,
}

/// A loaded model with its backend and cache.
pub struct Loaded {
    /// The backend that runs it.
    pub backend: DeviceBackend,
    /// The model.
    pub llama: Llama<DeviceBackend>,
    /// Keys and values.
    pub cache: DeviceCache,
    /// Limits of one pass.
    pub limits: Limits,
}

impl DeviceEngine {
    /// Runs `checkpoint` on `device` in bf16 and takes log-softmax in `softmax_dtype`. `storage`
    /// says how quantised tensors are stored.
    ///
    /// # Errors
    /// When the tokenizer is broken or does not fit the model.
    pub fn new(
        device: Device,
        checkpoint: Checkpoint,
        softmax_dtype: FloatType,
        storage: Storage,
    ) -> Result<Self> {
        features::check(checkpoint.config())?;
        let tokenizer = checkpoint.tokenizer()?;
        let stored = stored_formats(&checkpoint)?;
        let info = ModelInfo {
            device: match storage {
                Storage::Packed(Operands::Bf16) => device.properties().name.clone(),
                Storage::Packed(Operands::Bytes) => {
                    format!("{}, 8-bit operands", device.properties().name)
                }
                Storage::Fake => format!("{}, fake-quantised", device.properties().name),
            },
            name: checkpoint.label().to_owned(),
            fingerprint: checkpoint.fingerprint(),
            parameters: checkpoint.parameters().elements(),
            random_weights: checkpoint.has_random_weights(),
            stored_weights: stored.weights,
            stored_inputs: stored.inputs,
            dtype: FloatType::Bf16.to_string(),
            softmax_dtype: softmax_dtype.to_string(),
            max_length: checkpoint.config().max_position_embeddings,
            end_tokens: checkpoint.config().eos_token_ids.clone(),
            notes: [checkpoint.notes(), tokenizer.notes()].concat(),
        };
        let free = device.free_memory()?;
        Ok(Self {
            device,
            checkpoint,
            tokenizer,
            softmax_dtype,
            storage,
            free,
            info,
        })
    }

    /// Limits of a scoring pass: keys and values for the model's longest sequence, halved until
    /// they fit, but at least for a batch of short sequences.
    fn scoring_limits(&self, config: &QuantConfig) -> Result<Limits> {
        let properties = self.device.properties();
        let longest = self.info.max_length;
        let tokens = BATCH_TOKENS.min(longest.max(512));
        let mut positions = (2 * tokens).max(longest);
        loop {
            let limits = Limits::new(properties, tokens, positions);
            let fits = self.plan(config, &limits, longest)?.check(self.free);
            if fits.is_ok() || positions == 2 * tokens {
                return Ok(limits);
            }
            positions = (positions / 2).max(2 * tokens);
        }
    }

    /// The memory plan of a model under a configuration.
    ///
    /// # Errors
    /// If no kernel supports a format.
    pub fn plan(&self, config: &QuantConfig, limits: &Limits, positions: usize) -> Result<Plan> {
        Ok(Plan::new(
            self.checkpoint.config(),
            &with_stored_formats(&self.checkpoint, config, takes)?,
            limits,
            positions,
            self.storage,
            self.device.properties(),
        )?)
    }

    /// Number of projections by operand type; and whether 8-bit operands were requested and some
    /// projection has formats for both weights and activations.
    fn operand_counts(&self, config: &QuantConfig) -> Result<(OperandCounts, bool)> {
        let config = with_stored_formats(&self.checkpoint, config, takes)?;
        let operands = self.storage.operands();
        let (mut counts, mut wanted) = (OperandCounts::default(), false);
        for (_, _, weight) in self.checkpoint.parameters().projections() {
            let (weights, activations) = weight.formats(&config);
            let (weights, activations) = (weights.as_ref(), activations.as_ref());
            wanted |= operands == Operands::Bytes && weights.is_some() && activations.is_some();
            let input = Input::new(operands, self.device.properties(), weights, activations);
            *match input.operand {
                OperandType::S8 => &mut counts.s8,
                OperandType::E4m3 => &mut counts.e4m3,
                OperandType::Bf16 => &mut counts.bf16,
            } += 1;
        }
        Ok((counts, wanted))
    }

    /// The model under a configuration, with room for `limits` and rotary tables for `positions`
    /// positions.
    ///
    /// # Errors
    /// As [`Engine::load`].
    pub fn model(&self, config: &QuantConfig, limits: Limits, positions: usize) -> Result<Loaded> {
        self.check(config)?;
        let shape = self.checkpoint.config();
        let loading = || format!("loading {} as `{}`", self.info.name, config.name);
        let plan = self.plan(config, &limits, positions)?;
        let free = self.device.free_memory().with_context(loading)?;
        plan.check(free).with_context(loading)?;
        let rope = Rope::new(shape, positions).rounded(FloatType::Bf16);
        let backend =
            DeviceBackend::new(&self.device, limits, &rope, self.storage).with_context(loading)?;
        let llama = load(&backend, &self.checkpoint, config, positions).with_context(loading)?;
        let formats: Vec<[Option<BlockFormat>; 2]> = (llama.layers.iter())
            .map(|layer| [layer.keys, layer.values].map(|format| self.storage.keeps(format)))
            .collect();
        let heads = [shape.num_key_value_heads, shape.head_dim];
        let exact = limits.exact(&config.kv);
        let cache = DeviceCache::new(&self.device, &formats, heads, limits.positions, exact)
            .with_context(loading)?;
        Ok(Loaded {
            backend,
            llama,
            cache,
            limits,
        })
    }
}

impl Engine for DeviceEngine {
    fn info(&self) -> &ModelInfo {
        &self.info
    }

    fn tokenizer(&self) -> &dyn Tokenize {
        &self.tokenizer
    }

    fn check(&self, config: &QuantConfig) -> Result<()> {
        config.check_layers(self.checkpoint.config().num_hidden_layers)?;
        for format in config.formats() {
            let MatrixFormat::Block(format) = format else {
                check_matrix(&format, Taker::Weights(OperandType::Bf16))?;
                continue;
            };
            format
                .dialect()
                .check_source(FloatType::Bf16)
                .with_context(|| format!("format {format}"))?;
        }
        ensure!(
            config.kv.key_recent == 0,
            "`key_recent`: the kernels of the cache pack every position, found {}; expected 0, or \
             --device cpu",
            config.kv.key_recent
        );
        if let Some(rotation) = &config.rotation {
            Input::default().rotated(rotation)?;
        }
        // Unsupported formats are found without loading weights.
        self.scoring_limits(config)?;
        let shape = self.checkpoint.config();
        let head_dim = shape.head_dim;
        config.kv.check(shape.max_position_embeddings, head_dim)?;
        if let Some(rotation) = config.kv.rotation_of_keys(head_dim)? {
            AppendVariant::new(HeadKind::Queries, None)?
                .mixed(&rotation)
                .context("`key_rotation`; --device cpu has the others")?;
        }
        for layer in 0..shape.num_hidden_layers {
            let (keys, values) = config.for_kv(layer);
            let formats = [keys.as_ref(), values.as_ref()];
            let attention = AttentionVariant::new(formats, head_dim, AttentionRegime::Decode);
            attention.with_context(|| format!("layer {layer}"))?;
            for (kind, format) in [(HeadKind::Keys, keys), (HeadKind::Values, values)] {
                AppendVariant::new(kind, format).with_context(|| format!("layer {layer}"))?;
            }
        }
        let complete = with_stored_formats(&self.checkpoint, config, takes)?;
        for (layer, projection, _) in self.checkpoint.parameters().projections() {
            let (_, activations) = complete.for_projection(layer, projection);
            let rows = RowVariant::new(RowOperation::Copy, activations);
            rows.with_context(|| format!("layer {layer}, {projection:?}"))?;
        }
        RowVariant::new(RowOperation::Copy, complete.head_activations)
            .context("the head's input")?;
        let (counts, wanted) = self.operand_counts(config)?;
        let device = self.device.properties();
        ensure!(
            counts.s8 + counts.e4m3 > 0 || !wanted,
            "no projection has weights and activations that both convert to 8-bit operands on {} \
             (sm_{}); expected equal blocks of 32, 64 or 128, and for s8 (sm_80 to sm_90) {}, for \
             e4m3 (sm_89 and sm_120) {}",
            device.name,
            device.sm,
            convertible_weights(OperandType::S8),
            convertible_weights(OperandType::E4m3)
        );
        Ok(())
    }

    fn load(&self, config: &QuantConfig) -> Result<Box<dyn CausalModel + '_>> {
        let loaded = self.model(config, self.scoring_limits(config)?, self.info.max_length)?;
        Ok(Box::new(DeviceModel {
            shape: self.checkpoint.config(),
            softmax_dtype: self.softmax_dtype,
            loaded,
        }))
    }

    fn energy_meter(&self) -> Option<EnergyMeter> {
        let monitor = GpuMonitor::open(self.device.properties())?;
        EnergyMeter::of_gpu(&Arc::new(monitor))
    }

    fn kernel_loads(&self) -> Option<Loads> {
        Some(self.device.loads())
    }

    fn vocabulary(&self) -> usize {
        self.checkpoint.config().vocab_size
    }

    fn eos_tokens(&self) -> &[u32] {
        &self.checkpoint.config().eos_token_ids
    }

    fn generator(&self, config: &QuantConfig, room: Room) -> Result<Box<dyn Generator + '_>> {
        let shape = self.checkpoint.config();
        features::check_length(shape, room.tokens)?;
        let positions = room.sequences * room.tokens;
        // A step has one token of each sequence.
        let tokens = BATCH_TOKENS.min(positions.max(1)).max(room.sequences);
        let limits = Limits::new(self.device.properties(), tokens, positions);
        let limits = limits.of_sequences(room.sequences);
        let loaded = self.model(config, limits, room.tokens)?;
        Ok(Box::new(DeviceGenerator::new(loaded, shape, room)?))
    }

    fn stepper(&self, config: &QuantConfig, room: CacheRoom) -> Result<Box<dyn Stepper + '_>> {
        let shape = self.checkpoint.config();
        let position = self.footprint(config)?.kv_bytes_per_token;
        let of_slot = room.bytes / room.slots as u64 / position.max(1);
        // Rows of first positions come on top, as on the CPU.
        let longest = self.info.max_length;
        let longest = usize::try_from(of_slot).map_or(longest, |tokens| tokens.min(longest));
        let positions = room.slots * longest;
        let tokens = BATCH_TOKENS.min(positions.max(1)).max(room.slots);
        let limits = Limits::new(self.device.properties(), tokens, positions);
        let limits = limits.of_sequences(room.slots);
        let loaded = self.model(config, limits, longest)?;
        let stepper = DeviceStepper::new(loaded, shape, [room.slots, longest])?;
        Ok(Box::new(stepper))
    }

    fn footprint(&self, config: &QuantConfig) -> Result<Footprint> {
        self.check(config)?;
        let plan = self.plan(config, &self.scoring_limits(config)?, 0)?;
        let shape = self.checkpoint.config();
        let values = 2 * shape.num_hidden_layers * shape.num_key_value_heads * shape.head_dim;
        let complete = with_stored_formats(&self.checkpoint, config, takes)?;
        let (packed, stand_ins) = packed_weights(self.checkpoint.parameters(), &complete)?;
        Ok(Footprint {
            weight_bytes: plan.weights as u64,
            kv_bytes_per_token: plan.position as u64,
            kv: Some(KvFootprint {
                values_per_token: values as u64,
                first: config.kv.first as u64,
                first_bytes_per_token: (values * FloatType::Bf16.bytes()) as u64,
                ..KvFootprint::default()
            }),
            packed,
            stand_ins,
            integer_products: 0,
            operands: match self.storage.operands() {
                Operands::Bf16 => None,
                Operands::Bytes => Some(self.operand_counts(config)?.0),
            },
        })
    }
}

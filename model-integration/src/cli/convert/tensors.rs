//! The tensors of the new directory, and their bytes.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result, ensure};
use mxlab_kernels::cpu;
use mxlab_kernels::format::{BlockFormat, FloatType, GgmlFormat, PackedTensor};
use serde_json::{Map, Value};

use super::output::Output;
use super::piece::{Codes, Layout};
use super::source::{Calibrated, Source, input, say_inputs};
use super::values::{append_floats, interleaved, packed};
use super::{Target, gguf};
use crate::checkpoint::packed_file::{Part, format_metadata};
use crate::checkpoint::{Checkpoint, TensorView};
use crate::cli::output::Usage;
use crate::config::QuantConfig;
use crate::description::parameters::{GATE_UP, Parameter, QKV, Role, outer_name};
use crate::model::load::Rotating;
use crate::model::ops::narrow;
use crate::model::stored_formats::with_stored_formats;

/// Most tensors between two parts of one tensor.
const NEAR: usize = 16;

/// The program was asked to stop.
#[derive(Debug, thiserror::Error)]
#[error("interrupted: nothing is kept")]
pub struct Interrupted;

/// The tensors to write.
pub struct Plan<'a> {
    checkpoint: &'a Checkpoint,
    target: Target,
    outputs: Vec<Output<'a>>,
    calibrated: Option<&'a Calibrated<'a>>,
}

/// Key of [`Calibrated::run`] in a file's metadata.
const CALIBRATION_KEY: &str = "mxlab.calibration";

impl<'a> Plan<'a> {
    /// The plan for a checkpoint under a configuration.
    ///
    /// # Errors
    /// Formats that the target does not support; nothing to pack.
    pub fn new(checkpoint: &'a Checkpoint, given: &QuantConfig, target: Target) -> Result<Self> {
        let mut config = with_stored_formats(checkpoint, given, |_| true)?;
        // Below: a stored head stays quantised where it may.
        config.head = given.head;
        let is_stack =
            |one: &Parameter| one.fused.as_ref().is_some_and(|one| one.experts.is_some());
        ensure!(
            target == Target::Mxlab || !checkpoint.parameters().stored().any(is_stack),
            "experts that are stacked in one tensor are not written by {}; use --to mxlab",
            target.name(),
        );
        let mut outputs: Vec<Output> = Vec::new();
        for parameter in checkpoint.parameters().stored() {
            let view = checkpoint.view(parameter)?;
            let projection = parameter.projection();
            let format = parameter.formats(&config).0.or_else(|| {
                // Quantised weights besides projections stay quantised where they may.
                let stored = view.format().filter(|_| projection.is_none());
                stored.filter(|format| match (target, parameter.matrix()) {
                    (Target::Mxlab, _) => true,
                    (Target::Gguf, Some(matrix)) => gguf::layout("", format, matrix).is_ok(),
                    _ => false,
                })
            });
            let name = match (&parameter.fused, target) {
                (_, Target::Gguf) => &parameter.gguf_name,
                // Our own layout stores every projection separately, in its own format.
                (Some(whole), _) if target != Target::Mxlab => &whole.name,
                _ => &parameter.name,
            };
            let of_config = parameter
                .weight_format(&config)?
                .and_then(|format| format.ggml());
            let stored = view
                .ggml()
                .filter(|_| target == Target::Gguf && format.is_none());
            let source = Source {
                parameter,
                stored: view.dtype(),
                format,
                ggml: of_config.or(stored),
                input: input(checkpoint, given, parameter)?,
                rotating: Rotating::new(checkpoint, given, parameter)?,
            };
            source.check_rotation(target)?;
            // Parts of a tensor follow each other, up to other parts of their layer.
            let mut near = outputs.iter_mut().rev().take(NEAR);
            match near.find(|output| output.name == name) {
                Some(output) => output.sources.push(source),
                None => outputs.push(Output {
                    name,
                    sources: vec![source],
                    packed: None,
                    ggml: None,
                    is_linear: projection.is_some() || parameter.role == Role::Head,
                    interleaved: (parameter.gguf_interleaved).filter(|_| target == Target::Gguf),
                }),
            }
        }
        if target != Target::Dense {
            for output in &mut outputs {
                output.pack(target)?;
            }
            if target.packs() && outputs.iter().all(|output| !output.in_codes()) {
                return Err(nothing_to_pack(checkpoint)?.into());
            }
        }
        Ok(Self {
            checkpoint,
            target,
            outputs,
            calibrated: None,
        })
    }

    /// The same with the codes that calibration chose for projections.
    pub fn calibrated(self, calibrated: Option<&'a Calibrated<'a>>) -> Self {
        Self { calibrated, ..self }
    }

    /// Names of weights that need one tensor scale: parts of one tensor, and what vLLM and
    /// TensorRT-LLM run as one product, which takes the largest of its scales for all.
    pub fn together(&self) -> Vec<Vec<String>> {
        let is_run_together = matches!(self.target, Target::CompressedTensors | Target::Modelopt);
        let mut together: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for output in &self.outputs {
            let format = output.packed.as_ref().map(|(format, _)| format);
            if !format.is_some_and(BlockFormat::has_tensor_scale) {
                continue;
            }
            for Source { parameter, .. } in &output.sources {
                let product = parameter.projection().and_then(|(_, projection)| {
                    let products = [&QKV[..], &GATE_UP];
                    products
                        .iter()
                        .position(|product| product.contains(&projection))
                });
                let key = match product {
                    Some(product) if is_run_together && output.sources.len() == 1 => {
                        format!("{:?} {:?} {product}", parameter.layer, parameter.expert)
                    }
                    _ => output.name.to_owned(),
                };
                together
                    .entry(key)
                    .or_default()
                    .push(parameter.name.clone());
            }
        }
        together
            .into_values()
            .filter(|names| names.len() > 1)
            .collect()
    }

    /// Number of tensors.
    pub fn tensors(&self) -> usize {
        self.outputs.len()
    }

    /// The format of ggml that the tensor `name` is written in.
    pub fn ggml(&self, name: &str) -> Option<GgmlFormat> {
        let output = self.outputs.iter().find(|output| output.name == name);
        output?.ggml.filter(|&format| format != GgmlFormat::F16)
    }

    /// Number of tensors that are written as codes.
    pub fn quantised(&self) -> usize {
        let outputs = self.outputs.iter();
        outputs.filter(|output| output.in_codes()).count()
    }

    /// The tensors that the source has in codes and a target of codes gets as floats.
    pub fn widened(&self) -> Vec<&str> {
        if self.target == Target::Dense {
            return Vec::new();
        }
        let in_codes = |output: &&Output| {
            let mut sources = output.sources.iter();
            !output.in_codes() && sources.any(|source| source.stored.is_none())
        };
        let outputs = self.outputs.iter().filter(in_codes);
        outputs.map(|output| output.name).collect()
    }

    /// The quantisations of inputs that the target does not say, in words.
    pub fn dropped_inputs(&self) -> Vec<String> {
        let mut names: Vec<String> = Vec::new();
        let sources = self.outputs.iter().flat_map(|output| &output.sources);
        let inputs = sources.filter_map(|source| source.input.as_ref());
        for input in inputs.filter(|input| !self.target.says(input)) {
            let name = input.name();
            if !names.contains(&name) {
                names.push(name);
            }
        }
        names
    }

    /// The schemes of packed matrices, and the modules that have them.
    pub fn schemes(&self) -> Vec<(Value, Vec<String>)> {
        let mut schemes: Vec<(Value, Vec<String>)> = Vec::new();
        for output in &self.outputs {
            let Some((_, Layout { scheme, .. })) = &output.packed else {
                continue;
            };
            match schemes.iter_mut().find(|(known, _)| known == scheme) {
                Some((_, modules)) => modules.push(output.module()),
                None => schemes.push((scheme.clone(), vec![output.module()])),
            }
        }
        schemes
    }

    /// Modules with an unquantised matrix that activations are multiplied by.
    pub fn plain_modules(&self) -> Vec<String> {
        // A tied head is a module, too.
        let head = outer_name(Role::Head).to_owned();
        let is_tied = self.checkpoint.config().tie_word_embeddings;
        let plain = self.outputs.iter();
        let plain = plain.filter(|output| output.is_linear && output.packed.is_none());
        let plain = plain.map(Output::module);
        is_tied.then_some(head).into_iter().chain(plain).collect()
    }

    /// The tensors of the file.
    pub fn parts(&self) -> Vec<Part> {
        let outputs = self.outputs.iter();
        outputs
            .flat_map(|output| {
                output.parts(self.target, output.float_type(self.target, self.dtype()))
            })
            .collect()
    }

    /// The file's metadata.
    ///
    /// # Errors
    /// None: formats are plain data.
    pub fn metadata(&self) -> Result<Map<String, Value>> {
        let mut metadata = match self.target {
            Target::Mxlab => {
                let mut metadata = format_metadata(&self.parts())?;
                let packed = self.outputs.iter().filter(|output| output.packed.is_some());
                let inputs = packed.map(|output| (output.name, output.sources[0].input));
                say_inputs(inputs, &mut metadata)?;
                metadata
            }
            _ => Map::new(),
        };
        if let Some(calibrated) = self.calibrated {
            metadata.insert(
                CALIBRATION_KEY.to_owned(),
                calibrated.run.to_string().into(),
            );
        }
        // transformers requires the framework of the tensors.
        metadata.insert("format".to_owned(), "pt".into());
        Ok(metadata)
    }

    /// Makes the tensors one by one and calls `write` with the name and bytes of each.
    ///
    /// # Errors
    /// A tensor that is not finite; values that their format does not accept; errors of `write`; an
    /// interruption.
    pub fn write(
        &self,
        stop: &AtomicBool,
        mut write: impl FnMut(&str, &[u8]) -> Result<()>,
    ) -> Result<()> {
        let dtype = self.dtype();
        for output in &self.outputs {
            ensure!(!stop.load(Ordering::Relaxed), Interrupted);
            let context = || format!("tensor `{}`", output.name);
            let Some((format, layout)) = &output.packed else {
                let mut bytes = Vec::new();
                for source in &output.sources {
                    let mut view = source.tensor(self.checkpoint)?;
                    if let Some(ggml) = source.ggml {
                        view = view.in_ggml(ggml, dtype)?;
                    }
                    if output.ggml.is_some() {
                        bytes.extend(view.ggml_blocks());
                        continue;
                    }
                    let of = output.float_type(self.target, self.dtype());
                    let packed = source
                        .format
                        .filter(|format| view.format() != Some(*format));
                    let packed = packed.map(|format| self.packed(source, &view, &format));
                    let packed = packed.transpose().with_context(context)?;
                    let rounded = source.format.map(|_| dtype);
                    append_floats(&mut bytes, &view, packed.as_ref(), rounded, of)
                        .with_context(context)?;
                }
                if let Some(head_dim) = output.interleaved {
                    let row_bytes = bytes.len() / output.shape()[0];
                    bytes = interleaved(&bytes, row_bytes, head_dim);
                }
                write(output.name, &bytes)?;
                continue;
            };
            let codes = self.codes(output, format).with_context(context)?;
            for piece in &layout.pieces {
                write(&piece.name, &piece.bytes(&codes).with_context(context)?)?;
            }
        }
        Ok(())
    }

    /// The codes of a part: those that calibration chose, if there are any.
    fn packed(
        &self,
        source: &Source,
        view: &TensorView,
        format: &BlockFormat,
    ) -> Result<PackedTensor> {
        match self.calibrated {
            Some(calibrated) if source.parameter.projection().is_some() => {
                calibrated.layers.read(source.parameter, format)
            }
            _ => packed(view, format, self.dtype()),
        }
    }

    /// The codes of an output: those that the checkpoint stores, or else of its values.
    fn codes(&self, output: &Output, format: &BlockFormat) -> Result<Codes> {
        let dtype = self.dtype();
        let views = output.sources.iter();
        let views = views.map(|source| source.tensor(self.checkpoint));
        let views = views.collect::<Result<Vec<_>>>()?;
        let parts = output.sources.iter().zip(&views);
        let parts = parts.map(|(source, view)| self.packed(source, view, format));
        let parts = parts.collect::<Result<Vec<_>>>()?;
        let same = |a: f32, b: f32| a.to_bits() == b.to_bits();
        let (first, divisor) = (parts[0].tensor_scale(), views[0].divisor());
        ensure!(
            format.has_tensor_scale() || first == 1.0,
            "it has the factor {first} beside the scales of its blocks, which {} does not store; \
             use --to dense",
            self.target.name(),
        );
        let is_one = parts.iter().all(|part| same(part.tensor_scale(), first));
        if is_one {
            let (mut codes, mut scales) = (Vec::new(), Vec::new());
            for part in &parts {
                codes.extend_from_slice(part.codes());
                scales.extend_from_slice(part.scales());
            }
            let [rows, cols] = output.matrix();
            if let Some(head_dim) = output.interleaved {
                codes = interleaved(&codes, format.row_code_bytes(cols), head_dim);
                scales = interleaved(&scales, format.row_scale_bytes(cols), head_dim);
            }
            let packed = PackedTensor::new(*format, rows, cols, codes, scales, first)?;
            let divisor = divisor.filter(|_| views.iter().all(|view| view.divisor() == divisor));
            return Ok(Codes { packed, divisor });
        }
        // One tensor has one scale, which its values give.
        ensure!(
            views.iter().all(|view| view.packed(format).is_none()),
            "its rows are stored with several tensor scales, and {} takes one; use --to mxlab",
            self.target.name(),
        );
        let mut values = Vec::new();
        for view in &views {
            let start = values.len();
            values.resize(start + view.len(), 0.0);
            view.read_f32(0..view.len(), &mut values[start..]);
        }
        narrow(&mut values, dtype);
        let [rows, cols] = output.matrix();
        Ok(Codes {
            packed: cpu::quantize(&values, rows, cols, format, dtype)?,
            divisor: None,
        })
    }

    fn dtype(&self) -> FloatType {
        self.checkpoint.config().dtype
    }
}

/// The error for a model without weights in a format of ours.
fn nothing_to_pack(checkpoint: &Checkpoint) -> Result<Usage> {
    let mut stored = String::new();
    for (_, _, weight) in checkpoint.parameters().projections() {
        if let Some(layout) = checkpoint.view(weight)?.layout() {
            stored = format!(" in a format of this program ({layout} is decoded)");
            break;
        }
    }
    Ok(Usage(format!(
        "no weight is quantised{stored}: give a format (--weights, --config), or use --to dense"
    )))
}

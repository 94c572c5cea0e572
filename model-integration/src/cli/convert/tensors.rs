//! The tensors of the new directory, and their bytes.

use anyhow::{Context, Result, bail, ensure};
use mxlab_kernels::cpu;
use mxlab_kernels::format::{BlockFormat, FloatType, PackedTensor};
use serde_json::{Map, Value};

use super::Target;
use super::compressed_tensors::format_name;
use crate::checkpoint::{Checkpoint, TensorView};
use crate::cli::output::Usage;
use crate::cli::quantize::packed_file::{Part, dtype_of, format_metadata};
use crate::config::QuantConfig;
use crate::description::parameters::{Parameter, Role, module_name};
use crate::model::load::with_stored_formats;
use crate::model::ops::narrow;

/// A tensor to write: rows of one or more parameters, one after another.
struct Output<'a> {
    name: &'a str,
    sources: Vec<Source<'a>>,
    /// Format of its codes; `None` for floats.
    packed: Option<BlockFormat>,
    is_linear: bool,
}

struct Source<'a> {
    parameter: &'a Parameter,
    /// Type of its elements in the checkpoint; `None` if they are codes.
    stored: Option<FloatType>,
    /// Format to which its values are quantised first.
    format: Option<BlockFormat>,
}

/// The tensors to write.
pub struct Plan<'a> {
    checkpoint: &'a Checkpoint,
    target: Target,
    outputs: Vec<Output<'a>>,
}

impl<'a> Plan<'a> {
    /// The plan for a checkpoint under a configuration.
    ///
    /// # Errors
    /// Formats that the target does not support; nothing to pack.
    pub fn new(checkpoint: &'a Checkpoint, config: &QuantConfig, target: Target) -> Result<Self> {
        let config = with_stored_formats(checkpoint, config, |_| true)?;
        let mut outputs: Vec<Output> = Vec::new();
        for parameter in checkpoint.parameters().stored() {
            let view = checkpoint.view(parameter)?;
            let projection = parameter.projection();
            let format = match projection {
                Some(_) => parameter.formats(&config).0,
                // Quantised weights besides projections stay quantised only in our own layout.
                None => view.format().filter(|_| target == Target::Mxlab),
            };
            let name = match (&parameter.fused, target) {
                (Some(whole), Target::CompressedTensors | Target::Dense) => &whole.name,
                // Our own layout stores every projection separately, in its own format.
                _ => &parameter.name,
            };
            let source = Source {
                parameter,
                stored: view.dtype(),
                format,
            };
            match outputs.iter_mut().find(|output| output.name == name) {
                Some(output) => output.sources.push(source),
                None => outputs.push(Output {
                    name,
                    sources: vec![source],
                    packed: None,
                    is_linear: projection.is_some(),
                }),
            }
        }
        if target != Target::Dense {
            for output in &mut outputs {
                output.pack(target)?;
            }
            if outputs.iter().all(|output| output.packed.is_none()) {
                let message = "no weight is quantised: give a format (--weights, --config), or use \
                               --to dense";
                return Err(Usage(message.to_owned()).into());
            }
        }
        Ok(Self {
            checkpoint,
            target,
            outputs,
        })
    }

    /// Number of tensors.
    pub fn tensors(&self) -> usize {
        self.outputs.len()
    }

    /// Number of quantised tensors.
    pub fn quantised(&self) -> usize {
        let outputs = self.outputs.iter();
        outputs
            .filter(|output| output.sources.iter().any(|source| source.format.is_some()))
            .count()
    }

    /// The formats that are packed.
    pub fn formats(&self) -> Vec<BlockFormat> {
        let mut formats: Vec<BlockFormat> = Vec::new();
        for format in self.outputs.iter().filter_map(|output| output.packed) {
            // Formats that differ only in how codes are chosen are written alike.
            if !formats
                .iter()
                .any(|known| format_name(known) == format_name(&format))
            {
                formats.push(format);
            }
        }
        formats
    }

    /// Modules with an unquantised matrix that activations are multiplied by.
    pub fn plain_modules(&self) -> Vec<String> {
        let plain = self.outputs.iter();
        let plain = plain.filter(|output| output.is_linear && output.packed.is_none());
        let names = plain.map(|output| output.name.trim_end_matches(".weight").to_owned());
        std::iter::once(module_name(None, Role::Head))
            .chain(names)
            .collect()
    }

    /// The tensors of the file.
    pub fn parts(&self) -> Vec<Part> {
        let outputs = self.outputs.iter();
        outputs
            .flat_map(|output| output.parts(self.target, self.dtype()))
            .collect()
    }

    /// The file's metadata.
    ///
    /// # Errors
    /// None: formats are plain data.
    pub fn metadata(&self) -> Result<Map<String, Value>> {
        let mut metadata = match self.target {
            Target::Mxlab => format_metadata(&self.parts())?,
            Target::CompressedTensors | Target::Dense => Map::new(),
        };
        // transformers requires the framework of the tensors.
        metadata.insert("format".to_owned(), "pt".into());
        Ok(metadata)
    }

    /// Makes the tensors one by one and calls `write` with the name and bytes of each.
    ///
    /// # Errors
    /// A tensor that is not finite; values that their format does not accept; errors of `write`.
    pub fn write(&self, mut write: impl FnMut(&str, &[u8]) -> Result<()>) -> Result<()> {
        let dtype = self.dtype();
        for output in &self.outputs {
            let context = || format!("tensor `{}`", output.name);
            match output.packed {
                None => {
                    let mut bytes = Vec::new();
                    for source in &output.sources {
                        let view = self.checkpoint.tensor(source.parameter)?;
                        let appended =
                            output.append_floats(&mut bytes, &view, source.format, dtype);
                        appended.with_context(context)?;
                    }
                    write(output.name, &bytes)?;
                }
                Some(format) => {
                    let (mut codes, mut scales, mut tensor_scale) = (Vec::new(), Vec::new(), 1.0);
                    for source in &output.sources {
                        let view = self.checkpoint.tensor(source.parameter)?;
                        let packed = packed(&view, &format, dtype).with_context(context)?;
                        codes.extend_from_slice(packed.codes());
                        scales.extend_from_slice(packed.scales());
                        tensor_scale = packed.tensor_scale();
                    }
                    let [of_codes, of_scales] = names(self.target);
                    write(&format!("{}{of_codes}", output.name), &codes)?;
                    write(&format!("{}{of_scales}", output.name), &scales)?;
                    if format.has_tensor_scale() {
                        let name = format!("{}.tensor_scale", output.name);
                        write(&name, &f32::to_le_bytes(tensor_scale))?;
                    }
                }
            }
        }
        Ok(())
    }

    fn dtype(&self) -> FloatType {
        self.checkpoint.config().dtype
    }
}

/// Suffixes of the names of a matrix's codes and scales.
const fn names(target: Target) -> [&'static str; 2] {
    match target {
        Target::CompressedTensors => ["_packed", "_scale"],
        Target::Mxlab | Target::Dense => [".codes", ".scales"],
    }
}

impl Output<'_> {
    /// Determines the packed format.
    fn pack(&mut self, target: Target) -> Result<()> {
        let Source {
            parameter,
            format: first,
            ..
        } = &self.sources[0];
        for other in &self.sources {
            ensure!(
                other.format == *first,
                "`{}` and `{}` are rows of one tensor but have different formats, which \
                 compressed-tensors does not support; use --to mxlab or --to dense",
                parameter.name,
                other.parameter.name
            );
        }
        if let (Some(format), Target::CompressedTensors) = (first, target) {
            if format_name(format).is_none() {
                bail!(
                    "`{}` is in {format}; compressed-tensors takes fp4_e2m1 or fp6_e2m3 with \
                     scales e8m0 and blocks of 32",
                    self.name
                );
            }
            let cols = parameter.shape[1];
            ensure!(
                cols.is_multiple_of(format.block_size()),
                "`{}` has {cols} columns; compressed-tensors takes whole blocks of {}",
                self.name,
                format.block_size()
            );
        }
        self.packed = *first;
        Ok(())
    }

    fn shape(&self) -> Vec<usize> {
        let shapes = self.sources.iter().map(|source| &source.parameter.shape);
        let mut shape = self.sources[0].parameter.shape.clone();
        shape[0] = shapes.map(|shape| shape[0]).sum();
        shape
    }

    /// The type of written floats: the stored one if nothing changes.
    fn float_type(&self, dtype: FloatType) -> FloatType {
        let of = |source: &Source| match source.format {
            None => source.stored.unwrap_or(dtype),
            Some(_) => dtype,
        };
        let first = of(&self.sources[0]);
        match self.sources.iter().all(|source| of(source) == first) {
            true => first,
            false => FloatType::F32,
        }
    }

    fn parts(&self, target: Target, dtype: FloatType) -> Vec<Part> {
        let shape = self.shape();
        let Some(format) = self.packed else {
            let dtype = self.float_type(dtype);
            return vec![Part::floats(
                self.name,
                dtype_of(dtype),
                &shape,
                dtype.bytes(),
            )];
        };
        let size = [shape[0], shape[1]];
        match target {
            Target::CompressedTensors => {
                let parts = names(target).map(|suffix| format!("{}{suffix}", self.name));
                Part::flat(parts, size, &format)
            }
            Target::Mxlab | Target::Dense => Part::packed(self.name, &shape, size, &format),
        }
    }

    fn append_floats(
        &self,
        bytes: &mut Vec<u8>,
        view: &TensorView,
        format: Option<BlockFormat>,
        dtype: FloatType,
    ) -> Result<()> {
        let written = self.float_type(dtype);
        if let (None, Some(stored)) = (format, view.bytes())
            && view.dtype() == Some(written)
        {
            bytes.extend_from_slice(stored);
            return Ok(());
        }
        let mut values = vec![0.0; view.len()];
        match format {
            Some(format) => {
                cpu::dequantize(&packed(view, &format, dtype)?, &mut values)?;
                narrow(&mut values, dtype);
            }
            None => view.read_f32(0..view.len(), &mut values),
        }
        for value in values {
            let bits = written.to_bits(value).to_le_bytes();
            bytes.extend_from_slice(&bits[..written.bytes()]);
        }
        Ok(())
    }
}

/// The codes and scales that a loaded model has: the stored ones if they have this format, else
/// those of the values in the type of the model's arithmetic.
fn packed(view: &TensorView, format: &BlockFormat, dtype: FloatType) -> Result<PackedTensor> {
    if let Some(stored) = view.packed(format) {
        return Ok(stored);
    }
    let mut values = vec![0.0; view.len()];
    view.read_f32(0..values.len(), &mut values);
    narrow(&mut values, dtype);
    let (rows, cols) = (view.shape()[0], view.shape()[1]);
    Ok(cpu::quantize(&values, rows, cols, format, dtype)?)
}

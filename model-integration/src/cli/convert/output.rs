//! A tensor of the new file, of one or more parameters.

use anyhow::{Result, bail, ensure};
use mxlab_kernels::format::{BlockFormat, FloatType, GgmlFormat};
use safetensors::Dtype;

use super::piece::Layout;
use super::source::Source;
use super::{Target, compressed_tensors, gguf, modelopt};
use crate::checkpoint::encoding::StoredFormat;
use crate::checkpoint::packed_file::{Part, dtype_of};

/// A tensor to write: rows of one or more parameters, one after another.
pub struct Output<'a> {
    pub name: &'a str,
    pub sources: Vec<Source<'a>>,
    /// Format and tensors of its codes; `None` for floats, and for a format of ggml.
    pub packed: Option<(BlockFormat, Layout)>,
    /// The format of ggml that it is written in.
    pub ggml: Option<GgmlFormat>,
    pub is_linear: bool,
    /// Width of a head, if the two halves of each are interleaved.
    pub interleaved: Option<usize>,
}

impl Output<'_> {
    /// Determines the packed format, and the tensors that hold it.
    pub fn pack(&mut self, target: Target) -> Result<()> {
        let first = &self.sources[0];
        for other in &self.sources {
            ensure!(
                (other.format, other.ggml, &other.input)
                    == (first.format, first.ggml, &first.input),
                "`{}` and `{}` are rows of one tensor but have different formats, which {} does \
                 not support; use --to mxlab or --to dense",
                first.parameter.name,
                other.parameter.name,
                target.name(),
            );
        }
        let input = first.input.as_ref();
        if let Some(format) = first.ggml {
            ensure!(
                target == Target::Gguf,
                "`{}` is in {format}, which {} does not have; use --to gguf or --to dense",
                self.name,
                target.name(),
            );
            self.ggml = Some(format);
            return Ok(());
        }
        let Some(format) = first.format else {
            if let Some(input) = input.filter(|input| target.says(input)) {
                bail!(
                    "`{}` is not quantised, but its input is, in {}; {} takes inputs only beside \
                     quantised weights",
                    self.name,
                    input.name(),
                    target.name(),
                );
            }
            return Ok(());
        };
        let matrix = self.matrix();
        let layout = match target {
            Target::CompressedTensors => {
                compressed_tensors::layout(self.name, &format, matrix, input)?
            }
            Target::Modelopt => modelopt::layout(self.name, &format, matrix, input)?,
            Target::Gguf => gguf::layout(self.name, &format, matrix)?,
            Target::Mxlab | Target::Dense => super::own::layout(self.name, &format, matrix),
        };
        self.packed = Some((format, layout));
        Ok(())
    }

    /// Whether it is written in codes.
    pub const fn in_codes(&self) -> bool {
        self.packed.is_some() || self.ggml.is_some()
    }

    /// The name of the module.
    pub fn module(&self) -> String {
        self.name.trim_end_matches(".weight").to_owned()
    }

    /// Sizes, slowest axis first.
    pub fn shape(&self) -> Vec<usize> {
        let shapes = self.sources.iter().map(|source| &source.parameter.shape);
        let mut shape = self.sources[0].parameter.shape.clone();
        shape[0] = shapes.map(|shape| shape[0]).sum();
        shape
    }

    /// Rows and columns of a matrix.
    pub fn matrix(&self) -> [usize; 2] {
        let shape = self.shape();
        [shape[0], shape[1..].iter().product()]
    }

    /// The type of written floats: the stored one if nothing changes. llama.cpp takes gains and
    /// biases in float32 alone.
    pub fn float_type(&self, target: Target, dtype: FloatType) -> FloatType {
        let of = |source: &Source| match source.format {
            _ if target == Target::Gguf && source.parameter.matrix().is_none() => FloatType::F32,
            None => source.stored.unwrap_or(dtype),
            Some(_) => dtype,
        };
        let first = of(&self.sources[0]);
        match self.sources.iter().all(|source| of(source) == first) {
            true => first,
            false => FloatType::F32,
        }
    }

    /// The tensors of the file that hold it.
    pub fn parts(&self, target: Target, of_floats: FloatType) -> Vec<Part> {
        if let Some(format) = self.ggml.filter(|&format| format != GgmlFormat::F16) {
            let [rows, cols] = self.matrix();
            let blocks = cols / format.block_size();
            let shape = vec![rows, blocks, format.block_bytes()];
            return vec![Part::new(self.name.to_owned(), Dtype::U8, shape)];
        }
        let Some((format, layout)) = &self.packed else {
            let of_floats = self.ggml.map_or(of_floats, |_| FloatType::F16);
            let dtype = dtype_of(of_floats);
            return vec![Part::new(self.name.to_owned(), dtype, self.shape())];
        };
        match target {
            Target::Mxlab => {
                let rotating = &self.sources[0].rotating;
                let stored = StoredFormat {
                    format: *format,
                    rotation: rotating.as_ref().map(|rotating| rotating.rotation),
                };
                Part::packed(self.name, &self.shape(), self.matrix(), stored)
            }
            _ => {
                let pieces = layout.pieces.iter();
                pieces
                    .map(|piece| Part::new(piece.name.clone(), piece.dtype, piece.shape.clone()))
                    .collect()
            }
        }
    }
}

//! `mx_*` and `def_*` files: quantised blocks.

use super::GoldenError;
use super::archive::{Archive, float_type};
use super::report::{Engine, Place, Report};
use crate::cpu::{Isa, Quantizer, dequantize_with};
use crate::format::{
    BlockFormat, Dialect, ElementFormat, FloatType, FormatError, PackedTensor, Rounding,
    ScaleFormat, ScaleRule,
};
use crate::reference;

/// The formats that a file is about.
#[derive(Clone, Copy)]
pub(super) struct Subject {
    element: ElementFormat,
    /// A definition's scale; `mx_*` files name the bits of theirs tensor by tensor.
    scale: Option<ScaleFormat>,
}

impl Subject {
    /// What `mx_<element>` or `def_<element>_<scale>` is about; there the element may be cut to
    /// its first word, as in `def_fp4_ue5m3`.
    pub fn of_file(stem: &str) -> Option<Self> {
        if let Some(element) = stem.strip_prefix("mx_") {
            return Some(Self {
                element: element.parse().ok()?,
                scale: None,
            });
        }
        let (element, scale) = stem.strip_prefix("def_")?.rsplit_once('_')?;
        let is_named = |known: &&ElementFormat| {
            known.name() == element || known.name().split('_').next() == Some(element)
        };
        let element = *ElementFormat::ALL.iter().find(is_named)?;
        Some(Self {
            element,
            scale: Some(scale.parse().ok()?),
        })
    }
}

/// What a tensor holds.
#[derive(Clone, Copy, PartialEq)]
enum Content {
    Values,
    Scales,
    Codes,
}

/// An expected result: which input, under which format, gives it.
struct Expectation {
    content: Content,
    input: String,
    source: FloatType,
    /// The name of the section it counts in.
    path: String,
    format: BlockFormat,
}

impl Expectation {
    /// `None` for a name of another pattern, or of a format that cannot be built.
    fn of_tensor(name: &str, subject: Subject) -> Option<Self> {
        let words: Vec<&str> = name.split('.').collect();
        let (&kind, &case, &path) = (words.first()?, words.get(1)?, words.get(2)?);
        let content = match kind {
            "out" => Content::Values,
            "scale" => Content::Scales,
            "code" => Content::Codes,
            _ => return None,
        };
        let block_size = words.get(3)?.strip_prefix('b')?.parse().ok()?;
        let parameters = &words[4..];
        let builder = BlockFormat::new(subject.element).block_size(block_size);
        let (builder, source, section) = match (subject.scale, content, parameters) {
            (Some(scale), _, [zero]) => {
                let rule = match *zero {
                    "min" => ScaleRule::Nearest,
                    "flush" => ScaleRule::NearestFlush,
                    _ => return None,
                };
                let section = format!("{kind} {path} {zero}");
                (builder.scale(scale).rule(rule), path, section)
            }
            (None, Content::Values, [bits, rounding]) => {
                let bits = bits.strip_prefix('s')?.parse().ok()?;
                let rounding = match *rounding {
                    "nearest" => Rounding::Away,
                    "floor" => Rounding::TowardZero,
                    "even" => Rounding::Even,
                    _ => return None,
                };
                let (dialect, source) = match path.split_at_checked(1)? {
                    ("T", source) => (Dialect::MicroxcalingTorch, source),
                    ("C", source) => (Dialect::MicroxcalingCuda, source),
                    _ => return None,
                };
                let builder = builder.scale(ScaleFormat::E8M0 { bits });
                (
                    builder.rounding(rounding).dialect(dialect),
                    source,
                    path.to_owned(),
                )
            }
            (None, Content::Scales | Content::Codes, []) => {
                (builder, path, format!("{kind} {path}"))
            }
            _ => return None,
        };
        let input = format!("in.{case}.{source}");
        let source = float_type(source)?;
        let has_source = |format: &BlockFormat| format.dialect().check_source(source).is_ok();
        Some(Self {
            content,
            input,
            source,
            path: section,
            format: builder.build().ok().filter(has_source)?,
        })
    }
}

/// Verifies every `out`, `scale` and `code` tensor of a file.
pub(super) fn verify(
    archive: &Archive,
    subject: Subject,
    isas: &[Isa],
    report: &mut Report,
) -> Result<(), GoldenError> {
    let mut engines = vec![Engine::Reference];
    engines.extend(
        isas.iter()
            .flat_map(|&isa| [Engine::Packed(isa), Engine::Fused(isa)]),
    );
    for (name, tensor) in &archive.tensors {
        let is_input =
            name.starts_with("in.") && name.rsplit('.').next().and_then(float_type).is_some();
        if is_input {
            continue;
        }
        let Some(expectation) = Expectation::of_tensor(name, subject) else {
            report.unknown.push(format!("{}: {name}", archive.file));
            continue;
        };
        let format_error = |reason| GoldenError::Format {
            file: archive.file.clone(),
            tensor: name.clone(),
            reason,
        };
        let format = expectation.format;
        let input = archive.input(name, &expectation.input)?;
        let x = archive.floats(&expectation.input, input)?;
        let &[rows, cols] = input.shape.as_slice() else {
            archive.check_shape(&expectation.input, &input.shape, &[1, x.len()])?;
            continue;
        };
        let width = match expectation.content {
            Content::Scales => format.blocks_per_row(cols),
            _ => cols,
        };
        archive.check_shape(name, &tensor.shape, &[rows, width])?;

        for &engine in &engines {
            let place = Place {
                file: &archive.file,
                path: &expectation.path,
                tensor: name,
                engine,
            };
            let matrix = Matrix {
                x: &x,
                rows,
                cols,
                source: expectation.source,
            };
            if expectation.content == Content::Values {
                let got = matrix.values(&format, engine).map_err(format_error)?;
                report.record_values(&place, &archive.floats(name, tensor)?, &got);
            } else if let Some(packed) = matrix.packed(&format, engine).map_err(format_error)? {
                let got = if expectation.content == Content::Codes {
                    all_codes(&packed)
                } else {
                    all_scales(&packed)
                };
                report.record(&place, &archive.codes(name, tensor)?, &got, |a, b| a == b);
            }
        }
    }
    Ok(())
}

/// An input.
struct Matrix<'a> {
    x: &'a [f32],
    rows: usize,
    cols: usize,
    source: FloatType,
}

impl Matrix<'_> {
    /// Quantised and dequantised again, in the input's type.
    fn values(&self, format: &BlockFormat, engine: Engine) -> Result<Vec<f32>, FormatError> {
        let values = match engine {
            Engine::Fused(isa) => {
                let mut x = self.x.to_vec();
                let quantizer = Quantizer::for_tensor(*format, self.source, self.x)?;
                quantizer
                    .with_isa(isa)
                    .fake_quantize_rows(&mut x, self.cols, 0)?;
                x
            }
            Engine::Packed(isa) => {
                let mut x = vec![0.0; self.x.len()];
                if let Some(packed) = self.packed(format, engine)? {
                    dequantize_with(isa, &packed, 0..self.rows, &mut x)?;
                }
                x
            }
            Engine::Reference => {
                reference::fake_quantize(self.x, self.rows, self.cols, format, self.source)?
            }
        };
        Ok(values
            .into_iter()
            .map(|value| self.source.round(value))
            .collect())
    }

    /// Quantised; `None` for an engine that has no packed form.
    fn packed(
        &self,
        format: &BlockFormat,
        engine: Engine,
    ) -> Result<Option<PackedTensor>, FormatError> {
        match engine {
            Engine::Fused(_) => Ok(None),
            Engine::Packed(isa) => {
                let quantizer = Quantizer::for_tensor(*format, self.source, self.x)?;
                quantizer
                    .with_isa(isa)
                    .quantize(self.x, self.rows, self.cols)
                    .map(Some)
            }
            Engine::Reference => {
                reference::quantize(self.x, self.rows, self.cols, format, self.source).map(Some)
            }
        }
    }
}

fn all_codes(packed: &PackedTensor) -> Vec<u32> {
    let cols = packed.cols();
    let row = |row| (0..cols).map(move |col| u32::from(packed.code(row, col)));
    (0..packed.rows()).flat_map(row).collect()
}

fn all_scales(packed: &PackedTensor) -> Vec<u32> {
    let blocks = packed.format().blocks_per_row(packed.cols());
    let row = |row| (0..blocks).map(move |block| packed.scale_code(row, block));
    (0..packed.rows()).flat_map(row).collect()
}

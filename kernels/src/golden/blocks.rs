//! `mx_*` and `def_*` files: quantised blocks.

use super::GoldenError;
use super::archive::{Archive, float_type};
use super::ptx::{Matrix, Ptx};
use super::report::{Engine, Place, Report};
use crate::cpu::{Isa, Quantizer, dequantize_with};
use crate::format::{
    BlockFormat, Dialect, ElementFormat, FloatType, PackedTensor, Rounding, ScaleFormat, ScaleRule,
};
use crate::kernel::{LaunchError, VariantError};
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
    ptx: Option<&Ptx>,
    report: &mut Report,
) -> Result<(), GoldenError> {
    let mut engines = vec![Engine::Reference];
    if ptx.is_some() {
        engines.extend([Engine::PtxPacked, Engine::PtxFused]);
    }
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
        let error = |reason| GoldenError::Launch {
            file: archive.file.clone(),
            tensor: name.clone(),
            reason: Box::new(reason),
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
        if x.is_empty() {
            // Rows without elements may be any number; nothing of them is verified.
            report.unknown.push(format!("{}: {name}", archive.file));
            continue;
        }

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
            let run = Run { engine, ptx };
            if expectation.content == Content::Values {
                let got = run.values(matrix, &format).map_err(&error)?;
                match got {
                    Some(got) => {
                        report.record_values(&place, &archive.floats(name, tensor)?, &got)?;
                    }
                    None => report.without_kernel(&format),
                }
            } else if let Some(packed) = run.packed(matrix, &format).map_err(&error)? {
                let got = if expectation.content == Content::Codes {
                    all_codes(&packed)
                } else {
                    all_scales(&packed)
                };
                report.record(&place, &archive.codes(name, tensor)?, &got, |a, b| a == b)?;
            } else if engine == Engine::PtxPacked {
                report.without_kernel(&format);
            }
        }
    }
    Ok(())
}

/// An engine, and what it runs on.
struct Run<'a> {
    engine: Engine,
    ptx: Option<&'a Ptx<'a>>,
}

impl Run<'_> {
    /// Quantised and dequantised again, in the input's type; `None` without a kernel for it.
    fn values(&self, x: Matrix, format: &BlockFormat) -> Result<Option<Vec<f32>>, LaunchError> {
        let values = match self.engine {
            Engine::Fused(isa) => {
                let mut values = x.x.to_vec();
                let quantizer = Quantizer::for_tensor(*format, x.source, x.x);
                let quantizer = quantizer.map_err(VariantError::from)?.with_isa(isa);
                let quantized = quantizer.fake_quantize_rows(&mut values, x.cols, 0);
                quantized.map_err(VariantError::from)?;
                values
            }
            Engine::PtxFused => match self.ptx {
                Some(ptx) => return ptx.fake_quantize(x, format),
                None => return Ok(None),
            },
            Engine::Packed(isa) => match self.packed(x, format)? {
                Some(packed) => {
                    let mut values = vec![0.0; x.x.len()];
                    let expanded = dequantize_with(isa, &packed, 0..x.rows, &mut values);
                    expanded.map_err(VariantError::from)?;
                    values
                }
                None => return Ok(None),
            },
            Engine::PtxPacked => match self.packed(x, format)? {
                Some(packed) => reference::dequantize(&packed),
                None => return Ok(None),
            },
            Engine::Reference => reference::fake_quantize(x.x, x.rows, x.cols, format, x.source)
                .map_err(VariantError::from)?,
        };
        let round = |value| x.source.round(value);
        Ok(Some(values.into_iter().map(round).collect()))
    }

    /// Quantised; `None` for an engine that has no packed form, or no kernel for it.
    fn packed(&self, x: Matrix, format: &BlockFormat) -> Result<Option<PackedTensor>, LaunchError> {
        let packed = match self.engine {
            Engine::Fused(_) | Engine::PtxFused => return Ok(None),
            Engine::PtxPacked => match self.ptx {
                Some(ptx) => return ptx.quantize(x, format),
                None => return Ok(None),
            },
            Engine::Packed(isa) => Quantizer::for_tensor(*format, x.source, x.x)
                .and_then(|quantizer| quantizer.with_isa(isa).quantize(x.x, x.rows, x.cols)),
            Engine::Reference => reference::quantize(x.x, x.rows, x.cols, format, x.source),
        };
        Ok(Some(packed.map_err(VariantError::from)?))
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

//! `convert.safetensors`: conversions of bare numbers.

use super::GoldenError;
use super::archive::Archive;
use super::report::{Engine, Place, Report};
use crate::cpu::{Isa, Quantizer};
use crate::format::{BlockFormat, ElementFormat, FloatType, FormatError, Rounding, ScaleFormat};

/// A conversion that a tensor's name asks for.
enum Conversion {
    Element(ElementFormat),
    Scale(ScaleFormat, fn(ScaleFormat, f32) -> Option<u32>),
}

impl Conversion {
    fn named(kind: &str, format: &str, how: &str) -> Option<Self> {
        match (kind, how) {
            ("elem", "rne_sat") => Some(Self::Element(format.parse().ok()?)),
            ("scale", _) => {
                let convert: fn(ScaleFormat, f32) -> Option<u32> = match how {
                    "rne_sat" => |scale, x| Some(scale.encode_nearest(x)),
                    "rne_nan" => |scale, x| Some(scale.encode_nearest_or_nan(x)),
                    "floor" => ScaleFormat::encode_floor,
                    "ceil" => ScaleFormat::encode_ceil,
                    _ => return None,
                };
                let scale: ScaleFormat = format.parse().ok()?;
                // A rounding that the format does not have is none that can be verified.
                convert(scale, 1.0)?;
                Some(Self::Scale(scale, convert))
            }
            _ => None,
        }
    }
}

/// Verifies every conversion in the file.
pub(super) fn verify(
    archive: &Archive,
    isas: &[Isa],
    report: &mut Report,
) -> Result<(), GoldenError> {
    for (name, tensor) in &archive.tensors {
        let words: Vec<&str> = name.split('.').collect();
        if let [kind, format, "in"] = words[..]
            && is_known(kind, format)
        {
            continue;
        }
        let conversion = match words[..] {
            [kind, format, how] => Conversion::named(kind, format, how),
            _ => None,
        };
        let (Some(conversion), Some((prefix, _))) = (conversion, name.rsplit_once('.')) else {
            report.unknown.push(format!("{}: {name}", archive.file));
            continue;
        };
        let input_name = format!("{prefix}.in");
        let input = archive.input(name, &input_name)?;
        let x = archive.floats(&input_name, input)?;
        archive.check_shape(name, &tensor.shape, &input.shape)?;
        let expected = archive.codes(name, tensor)?;
        if expected.is_empty() {
            report.unknown.push(format!("{}: {name}", archive.file));
            continue;
        }
        let place = |engine| Place {
            file: &archive.file,
            path: name,
            tensor: name,
            engine,
        };

        let got: Vec<u32> = match &conversion {
            Conversion::Element(element) => {
                let encode = |&x: &f32| u32::from(element.encode(f64::from(x), Rounding::Even, 0));
                x.iter().map(encode).collect()
            }
            Conversion::Scale(scale, convert) => {
                // An element that is not converted must not move those behind it up.
                let all = x.iter().map(|&x| convert(*scale, x));
                match all.collect::<Option<Vec<u32>>>() {
                    Some(codes) => codes,
                    None => {
                        report.unknown.push(format!("{}: {name}", archive.file));
                        continue;
                    }
                }
            }
        };
        report.record(&place(Engine::Reference), &expected, &got, |a, b| a == b)?;
        if let Conversion::Element(element) = conversion {
            for &isa in isas {
                let pinned =
                    through_blocks(element, &x, isa).map_err(|reason| GoldenError::Format {
                        file: archive.file.clone(),
                        tensor: name.clone(),
                        reason,
                    })?;
                let (at, got): (Vec<usize>, Vec<u32>) = pinned.into_iter().unzip();
                let expected: Vec<u32> = at.into_iter().map(|at| expected[at]).collect();
                report.record(&place(Engine::Packed(isa)), &expected, &got, |a, b| a == b)?;
            }
        }
    }
    Ok(())
}

fn is_known(kind: &str, format: &str) -> bool {
    match kind {
        "elem" => format.parse::<ElementFormat>().is_ok(),
        "scale" => format.parse::<ScaleFormat>().is_ok(),
        _ => false,
    }
}

/// The numbers that fit the format, quantised by a CPU kernel in blocks of two whose other
/// element, the format's largest, makes the scale 1. Position and code of each.
fn through_blocks(
    element: ElementFormat,
    x: &[f32],
    isa: Isa,
) -> Result<Vec<(usize, u32)>, FormatError> {
    let scale = ScaleFormat::Fp32;
    let format = BlockFormat::new(element)
        .scale(scale)
        .block_size(2)
        .build()?;
    let fitting = x
        .iter()
        .enumerate()
        .filter(|(_, x)| x.abs() <= element.max_normal());
    let (at, fitting): (Vec<usize>, Vec<f32>) = fitting.unzip();
    let blocks: Vec<f32> = fitting
        .iter()
        .flat_map(|&x| [element.max_normal(), x])
        .collect();
    let quantizer = Quantizer::for_tensor(format, FloatType::F32, &blocks)?.with_isa(isa);
    let packed = quantizer.quantize(&blocks, fitting.len(), 2)?;
    let codes = (0..fitting.len()).map(|row| u32::from(packed.code(row, 1)));
    Ok(at.into_iter().zip(codes).collect())
}

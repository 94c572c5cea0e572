//! `codes.json`: the value of every code, and where rounding changes its mind.

use super::GoldenError;
use super::report::{Engine, Place, Report};
use crate::cpu::{Isa, dequantize_with};
use crate::format::{BlockFormat, ElementFormat, FormatError, PackedTensor, Rounding, ScaleFormat};
use serde_json::Value;
use std::collections::BTreeMap;

#[derive(serde::Deserialize)]
struct File {
    formats: BTreeMap<String, BTreeMap<String, Value>>,
}

/// Verifies every table of a format that exists here.
pub(super) fn verify(
    file: &str,
    bytes: &[u8],
    isas: &[Isa],
    report: &mut Report,
) -> Result<(), GoldenError> {
    let parsed: File = serde_json::from_slice(bytes).map_err(|reason| GoldenError::Json {
        file: file.to_owned(),
        reason,
    })?;
    for (name, fields) in &parsed.formats {
        let numbers = |field| numbers(file, name, field, fields.get(field));
        let (values, boundaries) = (numbers("values")?, numbers("rne_boundaries")?);
        let place = |path, engine| Place {
            file,
            path,
            tensor: name,
            engine,
        };
        let check_count = |bits: u32| {
            let expected = 1u64 << bits;
            if values.len() as u64 == expected {
                return Ok(());
            }
            Err(GoldenError::CodeTable {
                file: file.to_owned(),
                format: name.clone(),
                field: "values",
                problem: format!("{} entries, expected {expected}", values.len()),
            })
        };
        // One between each two magnitudes; without this a table that lacks them compares nothing.
        let check_boundaries = || {
            let mut magnitudes: Vec<f64> = values.iter().copied().filter(|x| *x >= 0.0).collect();
            magnitudes.retain(|x| x.is_finite());
            magnitudes.sort_by(f64::total_cmp);
            magnitudes.dedup();
            let expected = magnitudes.len().saturating_sub(1);
            if boundaries.len() == expected {
                return Ok(());
            }
            Err(GoldenError::CodeTable {
                file: file.to_owned(),
                format: name.clone(),
                field: "rne_boundaries",
                problem: format!("{} entries, expected {expected}", boundaries.len()),
            })
        };
        if let Ok(element) = name.parse::<ElementFormat>() {
            check_count(element.bits())?;
            let (expected, got) = element_values(element, &values);
            report.record_values(&place("values", Engine::Reference), &expected, &got)?;
            for &isa in isas {
                let packed =
                    dequantized_codes(element, isa).map_err(|reason| GoldenError::Format {
                        file: file.to_owned(),
                        tensor: name.clone(),
                        reason,
                    })?;
                let got = &packed[..expected.len()];
                report.record_values(&place("values", Engine::Packed(isa)), &expected, got)?;
            }
            let encode = |x: f64| u32::from(element.encode(x, Rounding::Even, 0));
            check_boundaries()?;
            let (expected, got) = boundary_codes(&boundaries, encode);
            let boundaries = place("boundaries", Engine::Reference);
            report.record(&boundaries, &expected, &got, |a, b| a == b)?;
        } else if let Ok(scale) = name.parse::<ScaleFormat>() {
            check_count(scale.bits())?;
            let expected: Vec<f32> = values.iter().map(|&value| value as f32).collect();
            let got: Vec<f32> = (0..values.len())
                .map(|code| scale.decode(code as u32))
                .collect();
            report.record_values(&place("values", Engine::Reference), &expected, &got)?;
            let encode = |x: f64| scale.encode_nearest(x as f32);
            // Between powers of two alone there is no one convention: see the notes of the file.
            if !(scale.is_power_of_two() && boundaries.is_empty()) {
                check_boundaries()?;
                let (expected, got) = boundary_codes(&boundaries, encode);
                let boundaries = place("boundaries", Engine::Reference);
                report.record(&boundaries, &expected, &got, |a, b| a == b)?;
            }
        } else {
            report.unknown.push(format!("{file}: {name}"));
        }
    }
    Ok(())
}

fn element_values(element: ElementFormat, values: &[f64]) -> (Vec<f32>, Vec<f32>) {
    let expected: Vec<f32> = values.iter().map(|&value| value as f32).collect();
    let got = (0..=u8::MAX)
        .map(|code| element.decode(code))
        .take(values.len());
    (expected, got.collect())
}

/// Halfway between magnitude codes i and i + 1 belongs to the even one.
fn boundary_codes(boundaries: &[f64], encode: impl Fn(f64) -> u32) -> (Vec<u32>, Vec<u32>) {
    let even = (0..boundaries.len() as u32).map(|i| i + i % 2);
    (
        even.collect(),
        boundaries.iter().map(|&x| encode(x)).collect(),
    )
}

/// Every code of an element format under a scale of 1, expanded by a CPU kernel; repeated to
/// 256 values.
fn dequantized_codes(element: ElementFormat, isa: Isa) -> Result<Vec<f32>, FormatError> {
    let format = BlockFormat::new(element).scale(ScaleFormat::Fp32).build()?;
    let codes: Vec<u8> = element.codes().cycle().take(256).collect();
    let mut packed = vec![0; element.layout().bytes(codes.len())];
    element.layout().pack(&codes, &mut packed);
    let scales = 1f32.to_le_bytes().repeat(codes.len() / format.block_size());
    let tensor = PackedTensor::new(format, 1, codes.len(), packed, scales, 1.0)?;
    let mut values = vec![0.0; codes.len()];
    dequantize_with(isa, &tensor, 0..1, &mut values)?;
    Ok(values)
}

/// A list of numbers, `"NaN"`, `"Inf"` and `"-Inf"`; empty if the format has no such field.
fn numbers(
    file: &str,
    format: &str,
    field: &'static str,
    value: Option<&Value>,
) -> Result<Vec<f64>, GoldenError> {
    let problem = |problem: String| GoldenError::CodeTable {
        file: file.to_owned(),
        format: format.to_owned(),
        field,
        problem,
    };
    let Some(value) = value else {
        return Ok(Vec::new());
    };
    let list = value
        .as_array()
        .ok_or_else(|| problem("not a list".to_owned()))?;
    let number = |entry: &Value| match entry.as_str() {
        Some("NaN") => Ok(f64::NAN),
        Some("Inf") => Ok(f64::INFINITY),
        Some("-Inf") => Ok(f64::NEG_INFINITY),
        _ => entry
            .as_f64()
            .ok_or_else(|| problem(format!("{entry} is not a number"))),
    };
    list.iter().map(number).collect()
}

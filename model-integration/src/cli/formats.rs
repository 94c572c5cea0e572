//! `mxlab formats`: the contents of each number format, and its support.

use std::fmt::Write;

use anyhow::Result;
use clap::Args;
use mxlab_kernels::format::{
    BlockFormat, Dialect, ElementFormat, GgmlFormat, Rounding, ScaleFormat, ScaleRule,
};
use mxlab_kernels::fragment::OperandType;
use mxlab_kernels::support::{ConversionSet, Support, Taker, support};

use super::Done;
use super::output::{Usage, print};
use crate::columns::aligned;
use crate::did_you_mean::did_you_mean;

/// Codes up to this width are listed.
const LISTED_BITS: u32 = 16;

#[derive(Args)]
pub struct FormatsArgs {
    /// Element or scale format whose codes to list
    name: Option<String>,
}

/// Prints the tables, or the codes of one format.
pub fn run(args: &FormatsArgs) -> Result<Done> {
    match &args.name {
        None => print(&tables())?,
        Some(name) => print(&codes(name)?)?,
    }
    Ok(Done::Ok)
}

fn tables() -> String {
    let elements: Vec<_> = ElementFormat::ALL
        .iter()
        .map(|&format| element_row(format))
        .collect();
    let scales: Vec<_> = ScaleFormat::all().map(scale_row).collect();
    let header = [
        "",
        "bits",
        "codes",
        "smallest > 0",
        "largest",
        "special codes",
        "out of range",
    ];
    let names = |names: &mut dyn Iterator<Item = String>| names.collect::<Vec<_>>().join(", ");
    let dialects = Dialect::ALL.map(|dialect| {
        vec![
            dialect.name().to_owned(),
            dialect.default_rule(ScaleFormat::E8M0).to_string(),
            dialect.default_rounding().to_string(),
        ]
    });
    let title = |name| [&[name], &header[1..]].concat();
    format!(
        "{}\n{}\n{}\nscale rules       {}\nroundings         {}\n\n{}\n{}",
        aligned(1, &title("element format"), &elements),
        aligned(1, &title("scale format"), &scales),
        ggml(),
        names(&mut ScaleRule::ALL.iter().map(ToString::to_string)),
        names(&mut Rounding::ALL.iter().map(|rounding| match rounding {
            Rounding::Stochastic { .. } => "stochastic[:SEED]".to_owned(),
            rounding => rounding.to_string(),
        })),
        aligned(3, &["dialect", "e8m0 rule", "rounding"], &dialects),
        supported(),
    )
}

/// ggml's formats, which weights may have on the CPU.
fn ggml() -> String {
    let rows = GgmlFormat::ALL.map(|format| {
        let (block, bits) = (format.block_size(), format.bits());
        vec![
            format.name().to_owned(),
            bits.to_string(),
            block.to_string(),
        ]
    });
    let header = ["of ggml, for weights", "bits a weight", "block"];
    aligned(1, &header, &rows)
}

/// The support of each element with E8M0 scales and k = 32.
fn supported() -> String {
    let header = [
        "taken, e8m0 k32, by",
        "CPU",
        "PTX",
        "weights as",
        "activations as",
        "KV cache",
        "conversions",
    ];
    let rows = ElementFormat::ALL.iter().map(|&element| {
        let format = BlockFormat::new(element).build();
        support_row(
            element,
            support(&format.expect("every element has E8M0 scales")),
        )
    });
    aligned(header.len(), &header, &rows.collect::<Vec<_>>())
}

fn support_row(element: ElementFormat, support: Support) -> Vec<String> {
    let all = |takers: &[Taker]| match takers.iter().all(|&taker| support.has(taker)) {
        true => "yes".to_owned(),
        false => "no".to_owned(),
    };
    let operands = |taker: fn(OperandType) -> Taker| {
        let operands = OperandType::ALL.into_iter();
        let names = operands
            .filter(|&operand| support.has(taker(operand)))
            .map(OperandType::name);
        names_or_none(names.collect())
    };
    let conversions = ConversionSet::ALL.into_iter().filter_map(|set| {
        let has = |rounds| support.has(Taker::Conversion { set, rounds });
        (has(false) && has(true)).then_some(set.chips())
    });
    vec![
        element.name().to_owned(),
        all(&[Taker::Cpu]),
        all(&[Taker::Quantize, Taker::Dequantize]),
        operands(Taker::Weights),
        operands(Taker::Activations),
        all(&[Taker::CacheWrite, Taker::CacheRead]),
        names_or_none(conversions.collect()),
    ]
}

fn names_or_none(names: Vec<&str>) -> String {
    match names.is_empty() {
        true => "no".to_owned(),
        false => names.join(", "),
    }
}

fn element_row(format: ElementFormat) -> Vec<String> {
    let values: Vec<f32> = format.codes().map(|code| format.decode(code)).collect();
    let smallest = values
        .iter()
        .copied()
        .filter(|&value| value > 0.0)
        .fold(f32::MAX, f32::min);
    // Saturating; the largest value stands for NaN in formats without a NaN code.
    let nan = format.decode(format.encode(f64::NAN, Rounding::Even, 0));
    vec![
        format.name().to_owned(),
        format.bits().to_string(),
        values.len().to_string(),
        number(smallest),
        number(format.max_normal()),
        specials(&values),
        match nan.is_nan() {
            true => "saturates, NaN stays".to_owned(),
            false => format!("saturates, NaN is {}", number(nan)),
        },
    ]
}

fn scale_row(format: ScaleFormat) -> Vec<String> {
    let codes = match format.bits() {
        32 => "2^32".to_owned(),
        bits => (1_u32 << bits).to_string(),
    };
    let special = match format {
        ScaleFormat::E8M0 { .. } => "NaN",
        ScaleFormat::Unsigned { .. } => "0, NaN",
        ScaleFormat::Fp16 | ScaleFormat::Bf16 | ScaleFormat::Fp32 => "0, Inf, NaN, signs",
    };
    vec![
        format.to_string(),
        format.bits().to_string(),
        codes,
        number(format.smallest()),
        number(format.max()),
        special.to_owned(),
        match format.is_power_of_two() {
            true => "too large is NaN".to_owned(),
            false => "saturates".to_owned(),
        },
    ]
}

/// How many codes are zeros, infinities or NaNs.
fn specials(values: &[f32]) -> String {
    let count = |is: fn(f32) -> bool| values.iter().filter(|&&value| is(value)).count();
    let kinds = [
        ("0", count(|value| value == 0.0)),
        ("Inf", count(f32::is_infinite)),
        ("NaN", count(f32::is_nan)),
    ];
    let words = kinds.into_iter().filter(|&(_, count)| count > 0);
    let words: Vec<String> = words
        .map(|(kind, count)| format!("{count}×{kind}"))
        .collect();
    words.join(", ")
}

fn codes(name: &str) -> Result<String> {
    if let Ok(format) = name.parse::<ElementFormat>() {
        let codes = format
            .codes()
            .map(|code| (u32::from(code), format.decode(code)));
        return Ok(listing(format.bits(), codes));
    }
    if let Ok(format) = name.parse::<GgmlFormat>() {
        return Ok(format!(
            "{format}: a format of ggml for weights; a block has {} elements in {} bytes, {} bits \
             a weight\n",
            format.block_size(),
            format.block_bytes(),
            format.bits(),
        ));
    }
    let Ok(format) = name.parse::<ScaleFormat>() else {
        let elements = ElementFormat::ALL.iter().map(ToString::to_string);
        let all: Vec<_> = elements
            .chain(ScaleFormat::all().map(|f| f.to_string()))
            .collect();
        let known = all.join(", ");
        return Err(Usage(format!(
            "unknown format `{name}`; known: {known}{}",
            did_you_mean(name, &all)
        ))
        .into());
    };
    if format.bits() > LISTED_BITS {
        let bits = format.bits();
        return Err(Usage(format!("`{format}` has 2^{bits} codes, too many to list")).into());
    }
    let codes = (0..1_u32 << format.bits()).map(|code| (code, format.decode(code)));
    Ok(listing(format.bits(), codes))
}

fn listing(bits: u32, codes: impl Iterator<Item = (u32, f32)>) -> String {
    let (width, digits) = (bits as usize, bits.div_ceil(4) as usize);
    let mut text = String::new();
    for (code, value) in codes {
        let value = number(value);
        let _ = writeln!(text, "0x{code:0digits$X}  {code:0width$b}  {value:>14}");
    }
    text
}

/// The exact decimal, or a power of two if that is shorter.
fn number(value: f32) -> String {
    let magnitude = f64::from(value.abs());
    let exponent = magnitude.log2();
    let is_power = value != 0.0 && value.is_finite() && exponent.fract() == 0.0;
    if is_power && exponent.abs() > 9.0 {
        return format!("{}2^{exponent}", if value < 0.0 { "-" } else { "" });
    }
    match value.is_finite() && value != 0.0 && !(1e-4..1e7).contains(&value.abs()) {
        true => format!("{value:e}"),
        false => value.to_string(),
    }
}

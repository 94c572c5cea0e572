//! Finds the tensors of a matrix whose codes lie row by row.

use safetensors::Dtype;

use super::super::CheckpointError;
use super::super::packed::{Place, bytes};
use super::super::weights::Weights;
use super::code_table::{CodeTable, Order};
use super::grouped::{Grouped, Groups, Zeros};
use super::module;
use super::scale_table::ScaleTable;
use super::scheme::{CodeKind, Factor, Group, WeightScheme};

/// The matrix `name` by a scheme; `None` if its weight is stored as floats.
///
/// # Errors
/// `MissingTensor`, `Shape`, `PackedDtype`, `PackedFormat`.
pub(super) fn find(
    weights: &Weights,
    name: &str,
    shape: [usize; 2],
    scheme: &WeightScheme,
    writer: &str,
) -> Result<Option<Grouped>, CheckpointError> {
    let [rows, cols] = shape;
    let [of_codes, of_scales] = scheme.suffixes;
    let codes = weights.place(&format!("{name}{of_codes}"));
    let Some(codes) = codes.filter(|place| !is_float(place)) else {
        return Ok(None);
    };
    let before = format!("{}.pre_quant_scale", module(name));
    if weights.find(&before).is_some() {
        let reason = format!("`{before}` scales the inputs, which is not supported");
        return Err(refused(weights, name, reason));
    }
    let bits = scheme.kind.bits();
    let codes = CodeTable::by_lines(codes, bits, shape, types(scheme.kind))?;
    let width = match scheme.group {
        Group::Tensor | Group::Row => cols.max(1),
        Group::Columns(width) | Group::Block([_, width]) => width,
    };
    let scales = weights.required(&format!("{name}{of_scales}"), &[rows, cols.div_ceil(width)])?;
    let scales = ScaleTable::new(scales, scheme.group, shape)?;
    let factor = match scheme.factor {
        None => None,
        Some((suffix, factor)) => Some((factor, scalar(weights, &format!("{name}{suffix}"))?)),
    };
    let groups = match weights.place(&format!("{name}_g_idx")) {
        None => Groups::Width(width),
        Some(index) => group_index(weights, name, index, cols, width)?,
    };
    let zeros = match scheme.has_zero_points {
        false => Zeros::Middle,
        true => zero_points(weights, name, scheme, [rows, cols.div_ceil(width)])?,
    };
    let kind = match scheme.kind {
        CodeKind::Float(element) => element.name().to_owned(),
        CodeKind::Int(bits) => format!("int{bits}"),
    };
    Ok(Some(Grouped {
        layout: format!("{writer} {kind}"),
        rows,
        cols,
        kind: scheme.kind,
        values: Grouped::values(scheme.kind),
        codes,
        scales,
        groups,
        factor,
        zeros,
        // compressed-tensors decompresses NVFP4 to bf16, whatever the model's type. AutoRound, which
        // has the same tensors, does not.
        is_rounded: matches!(factor, Some((Factor::Divides, _))) && writer != "AutoRound",
    }))
}

/// The types that tensors with such codes have.
const fn types(kind: CodeKind) -> &'static [Dtype] {
    match (kind, kind.bits()) {
        (CodeKind::Int(_), _) => &[Dtype::I8, Dtype::U8, Dtype::I32],
        (CodeKind::Float(_), 8) => &[Dtype::F8_E4M3, Dtype::U8],
        (CodeKind::Float(_), 4) => &[Dtype::U8, Dtype::F4],
        (CodeKind::Float(_), _) => &[Dtype::U8],
    }
}

fn is_float((file, tensor): &Place) -> bool {
    let dtype = file.tensors()[*tensor].1.dtype;
    matches!(dtype, Dtype::F32 | Dtype::BF16 | Dtype::F16)
}

/// Zero points of groups, packed along the rows or a byte each.
fn zero_points(
    weights: &Weights,
    name: &str,
    scheme: &WeightScheme,
    [rows, groups]: [usize; 2],
) -> Result<Zeros, CheckpointError> {
    let bits = scheme.kind.bits();
    let height = match scheme.group {
        Group::Tensor => rows.max(1),
        Group::Row | Group::Columns(_) => 1,
        Group::Block([height, _]) => height,
    };
    let lines = rows.div_ceil(height);
    let place = weights.required(&format!("{name}_zero_point"), &[lines, groups])?;
    let is_words = place.0.tensors()[place.1].1.dtype == Dtype::I32;
    let table = match is_words {
        true => {
            let order = Order::Strided { lines: groups };
            let words = (lines * bits as usize).div_ceil(32);
            CodeTable::of_words(place, bits, order, [words, groups])?
        }
        // A byte each; they are below 2^bits like the codes.
        false => {
            let bytes = [Dtype::I8, Dtype::U8];
            CodeTable::by_lines(place, 8, [lines, groups], &bytes)?.narrowed(bits)
        }
    };
    Ok(Zeros::Stored {
        table,
        by_groups: is_words,
        rows: height,
        add: 0,
    })
}

/// The group of every column from a tensor `[cols]` of I32.
///
/// # Errors
/// `Shape`, `PackedDtype`, `PackedFormat` for a group that does not exist.
pub(super) fn group_index(
    weights: &Weights,
    name: &str,
    place: Place,
    cols: usize,
    width: usize,
) -> Result<Groups, CheckpointError> {
    let info = &place.0.tensors()[place.1].1;
    if info.dtype != Dtype::I32 {
        return Err(super::code_table::dtype_error(&place, &[Dtype::I32]));
    }
    if info.shape != [cols] {
        return Err(super::code_table::shape_error(&place, vec![cols]));
    }
    let (words, _) = bytes(&place).as_chunks::<4>();
    let index: Vec<u32> = words.iter().map(|word| u32::from_le_bytes(*word)).collect();
    let most = cols.div_ceil(width);
    if let Some(group) = index.iter().find(|&&group| group as usize >= most) {
        let reason = format!("its g_idx names group {group}; expected 0 to {}", most - 1);
        return Err(refused(weights, name, reason));
    }
    let in_turn = index.iter().enumerate();
    let in_turn = in_turn
        .into_iter()
        .all(|(col, &group)| group as usize == col / width);
    Ok(match in_turn {
        true => Groups::Width(width),
        false => Groups::Index(index),
    })
}

/// The one value of a tensor.
///
/// # Errors
/// `MissingTensor`; `PackedFormat` unless it is a positive finite float.
pub(super) fn scalar(weights: &Weights, name: &str) -> Result<f32, CheckpointError> {
    let place = weights.required(name, &[1])?;
    let info = &place.0.tensors()[place.1].1;
    let bytes = bytes(&place);
    let value = match (info.dtype, bytes.len()) {
        (Dtype::F32, 4) => Some(f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])),
        (Dtype::BF16, 2) => Some(half::bf16::from_le_bytes([bytes[0], bytes[1]]).to_f32()),
        (Dtype::F16, 2) => Some(half::f16::from_le_bytes([bytes[0], bytes[1]]).to_f32()),
        _ => None,
    };
    let value =
        value.filter(|value| value.is_finite() && *value > 0.0 && value.recip().is_finite());
    value.ok_or_else(|| {
        let (dtype, shape) = (info.dtype, &info.shape);
        let reason = format!("it is {dtype} {shape:?}; expected one positive finite float");
        refused(weights, name, reason)
    })
}

/// The error for a tensor in codes that cannot be read.
pub(super) fn refused(weights: &Weights, name: &str, reason: String) -> CheckpointError {
    CheckpointError::PackedFormat {
        file: weights.listing().to_owned(),
        tensor: name.to_owned(),
        reason,
    }
}

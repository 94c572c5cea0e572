//! The expected outputs of an append: rows of a cache or of queries, one for each head of each
//! token.

use super::{AppendVariant, HeadKind};
use crate::format::{BlockFormat, FloatType, Hadamard, PackedTensor};
use crate::fragment::bits::StoredBits;
use crate::fragment::cache::CacheFormat;
use crate::reference::{Part, dequantize, hadamard, quantize_part, rotate};
use crate::registry::{
    ElementType, Elements, EntryError, Expected, Outputs, Place, Problem, Sampled, Tensor,
    UNTOUCHED, exactly,
};

/// The expected rows of all heads of tokens.
pub(super) fn expected(variant: &AppendVariant, problem: &Problem) -> Result<Expected, EntryError> {
    let heads = Heads::of(variant, problem)?;
    let [code_bytes, scale_bytes] = heads.row_bytes;
    let mut codes = vec![UNTOUCHED; heads.rows * code_bytes];
    let mut scales = vec![UNTOUCHED; heads.rows * scale_bytes];
    let mut exact = vec![UNTOUCHED; heads.exact_rows * heads.exact_bytes];
    for token in 0..problem.size("tokens")? {
        for head in 0..heads.heads {
            let row = heads.row(token, head)?;
            if let Some((index, values)) = &row.exact {
                exact[index * heads.exact_bytes..][..heads.exact_bytes].copy_from_slice(values);
            }
            codes[row.index * code_bytes..][..code_bytes].copy_from_slice(&row.codes);
            scales[row.index * scale_bytes..][..scale_bytes].copy_from_slice(&row.scales);
        }
    }
    let mut outputs =
        Outputs::from([("dst", Tensor::from_bytes(variant.cache().stored(), &codes)?)]);
    if variant.cache() != CacheFormat::Dense {
        outputs.insert("dst_scales", Tensor::of_bytes(&scales));
    }
    if variant.has_exact_rows() {
        let exact = Tensor::from_bytes(ElementType::Bf16, &exact)?;
        outputs.insert("dst_exact", exact);
    }
    Ok(exactly(outputs))
}

/// The expected rows of some heads of tokens.
pub(super) fn expected_at(
    variant: &AppendVariant,
    problem: &Problem,
    places: &[Place],
) -> Result<Sampled, EntryError> {
    let heads = Heads::of(variant, problem)?;
    let ([code_bytes, scale_bytes], stored) = (heads.row_bytes, variant.cache().stored());
    let row_codes = code_bytes / stored.bytes();
    let mut codes = Elements::exactly(heads.rows * row_codes, stored);
    let mut scales = Elements::exactly(heads.rows * scale_bytes, ElementType::U8);
    let exact_features = heads.exact_bytes / 2;
    let mut exact = Elements::exactly(heads.exact_rows * exact_features, ElementType::Bf16);
    for &[token, head] in places {
        let row = heads.row(token, head)?;
        let bits = Tensor::from_bytes(stored, &row.codes)?.bits;
        codes.add_bits(row.index * row_codes, 1, &bits);
        let bits = Tensor::of_bytes(&row.scales).bits;
        scales.add_bits(row.index * scale_bytes, 1, &bits);
        if let Some((index, values)) = &row.exact {
            let bits = Tensor::from_bytes(ElementType::Bf16, values)?.bits;
            exact.add_bits(index * exact_features, 1, &bits);
        }
    }
    let mut sampled = Sampled::default();
    sampled.insert("dst", codes);
    if variant.cache() != CacheFormat::Dense {
        sampled.insert("dst_scales", scales);
    }
    if variant.has_exact_rows() {
        sampled.insert("dst_exact", exact);
    }
    Ok(sampled)
}

/// The heads of a problem's tokens.
struct Heads<'p> {
    variant: &'p AppendVariant,
    problem: &'p Problem,
    heads: usize,
    head_dim: usize,
    capacity: usize,
    src_stride: usize,
    /// Rows that are written.
    rows: usize,
    /// Bytes of codes and of scales of a row.
    row_bytes: [usize; 2],
    /// Positions that stay as they are, rows of these beside the others, and bytes of one.
    exact: usize,
    exact_rows: usize,
    exact_bytes: usize,
    format: Option<BlockFormat>,
    mixing: Option<Hadamard>,
}

/// The row of one head of one token.
struct Row {
    /// Its number in the cache, or among queries.
    index: usize,
    codes: Vec<u8>,
    scales: Vec<u8>,
    /// The number and bytes of the row beside it, if it has one.
    exact: Option<(usize, Vec<u8>)>,
}

impl<'p> Heads<'p> {
    fn of(variant: &'p AppendVariant, problem: &'p Problem) -> Result<Self, EntryError> {
        let (head_dim, cache) = (problem.size("head_dim")?, variant.cache());
        let exact = match variant.keeps_first() {
            true => problem.size("exact")?,
            false => 0,
        };
        Ok(Self {
            variant,
            problem,
            heads: problem.size("heads")?,
            head_dim,
            capacity: problem.size("capacity")?,
            src_stride: problem.size("src_stride")?,
            rows: variant.rows(problem)?,
            row_bytes: [cache.row_bytes(head_dim), cache.row_scale_bytes(head_dim)],
            exact,
            exact_rows: problem.size("slots")? * problem.size("heads")? * exact,
            exact_bytes: CacheFormat::Dense.row_bytes(head_dim),
            format: variant.seeded_format(problem.size("seed")? as u32),
            mixing: variant.mixing(problem)?,
        })
    }

    fn row(&self, token: usize, head: usize) -> Result<Row, EntryError> {
        let Self {
            heads,
            head_dim,
            capacity,
            ..
        } = *self;
        let values = |name, first, len| -> Result<Vec<f32>, EntryError> {
            Ok(self.problem.part(name, first..first + len)?.values())
        };
        let word = |name| -> Result<usize, EntryError> {
            Ok(self.problem.part(name, token..token + 1)?.bits[0] as usize)
        };
        let (position, slot) = (word("positions")?, word("slot_of")?);
        let start = token * self.src_stride + head * head_dim;
        let mut x = values("src", start, head_dim)?;
        if self.variant.rotates() {
            let half = match self.variant.is_partial() {
                true => self.problem.size("rotary")? / 2,
                false => head_dim / 2,
            };
            let [cos, sin] = ["cos", "sin"].map(|name| values(name, position * half, half));
            x = rotate(&x, &cos?, &sin?);
        }
        if let Some(mixing) = &self.mixing {
            hadamard(&mut x, mixing, FloatType::Bf16);
        }
        let drawn = position * heads + head;
        let is_exact = position < self.exact;
        let (codes, scales) = match is_exact && self.variant.is_fake() {
            true => (dense_row(&x), Vec::new()),
            false => self.variant.row(&x, drawn, self.format.as_ref())?,
        };
        let beside = (slot * heads + head) * self.exact + position;
        let exact = is_exact && self.variant.has_exact_rows();
        let index = match self.variant.kind() {
            HeadKind::Queries => token * heads + head,
            HeadKind::Keys | HeadKind::Values => (slot * heads + head) * capacity + position,
        };
        Ok(Row {
            index,
            codes,
            scales,
            exact: exact.then(|| (beside, dense_row(&x))),
        })
    }
}

/// The bytes of a row in bf16, padded with zeros to whole runs.
fn dense_row(x: &[f32]) -> Vec<u8> {
    let mut bits: Vec<u16> = x
        .iter()
        .map(|&x| FloatType::Bf16.to_bits(x) as u16)
        .collect();
    bits.resize(x.len().next_multiple_of(16), 0);
    bits.into_iter().flat_map(u16::to_le_bytes).collect()
}

impl AppendVariant {
    /// A row of the cache: codes and scales.
    fn row(
        &self,
        x: &[f32],
        row: usize,
        format: Option<&BlockFormat>,
    ) -> Result<(Vec<u8>, Vec<u8>), EntryError> {
        let Some(format) = format else {
            return Ok((dense_row(x), Vec::new()));
        };
        let part = Part {
            rows: 1,
            cols: x.len(),
            first_row: row,
            tensor_scale: 1.0,
            source: FloatType::Bf16,
        };
        let packed = quantize_part(x, part, format)?;
        if self.is_fake() {
            return Ok((fake_row(&packed, format.block_size()), Vec::new()));
        }
        let element = format.element();
        let zero = element.zero_code();
        let code = |col: usize| match col < x.len() {
            true => packed.code(0, col),
            // Of a block that is NaN as a whole, all codes are 0.
            false => {
                let block = packed.scale_code(0, (x.len() - 1) / format.block_size());
                let is_nan = packed.scale().decode(block).is_nan();
                let is_of_it = col / format.block_size() == (x.len() - 1) / format.block_size();
                if is_nan && is_of_it { 0 } else { zero }
            }
        };
        let codes: Vec<u8> = (0..x.len().next_multiple_of(16)).map(code).collect();
        let words = StoredBits::of(element).store(element, &codes);
        let bytes = words.into_iter().flat_map(u32::to_le_bytes).collect();
        Ok((bytes, packed.scales().to_vec()))
    }
}

/// The bf16 values of a packed row, padded with zeros to whole runs. The padding of a block that is
/// NaN is NaN too.
fn fake_row(packed: &PackedTensor, k: usize) -> Vec<u8> {
    let mut values = dequantize(packed);
    let cols = values.len();
    let is_nan = values[(cols - 1) / k * k].is_nan();
    let end = cols.next_multiple_of(k);
    let padding = |col: usize| if is_nan && col < end { f32::NAN } else { 0.0 };
    values.extend((cols..cols.next_multiple_of(16)).map(padding));
    let bits = values.iter().map(|&x| FloatType::Bf16.to_bits(x) as u16);
    bits.flat_map(u16::to_le_bytes).collect()
}

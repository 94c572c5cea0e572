//! A problem as the operands of a kernel.

use super::AttentionVariant;
use super::problems::{Sequence, Side, Sizes};
use crate::format::FloatType;
use crate::fragment::bits::StoredBits;
use crate::fragment::cache::{CacheFormat, RUN};
use crate::registry::{ElementType, EntryError, Problem, ProblemError, Tensor, check_elements};

/// The operands: codes in the layout of the cache, the table of sequences, factors.
pub(super) fn of(variant: &AttentionVariant, problem: &Problem) -> Result<Problem, EntryError> {
    let sizes = Sizes::of(problem)?;
    let sequences = Sequence::all(problem)?;
    let longest = sequences.iter().map(|sequence| sequence.tokens).max();
    let longest = longest.unwrap_or(0);
    let mut operands = problem.clone();
    let counts = [("sequence_count", sequences.len()), ("longest", longest)];
    for (name, count) in counts {
        operands.sizes.insert(name.to_owned(), count as u64);
    }
    let mut insert = |name: &str, tensor| operands.tensors.insert(name.to_owned(), tensor);
    for side in variant.sides() {
        let bytes = side.stored(problem, sizes.head_dim)?;
        insert(
            side.codes,
            Tensor::from_bytes(side.format.stored(), &bytes)?,
        );
        if let Some(exact) = side.exact {
            let rows = padded(&problem.tensor(exact)?.bits, sizes.head_dim).flatten();
            let element = ElementType::Bf16;
            let bits = rows.collect();
            insert(exact, Tensor { element, bits });
        }
    }
    let number = |x: f32| Tensor::of_values(&[x], FloatType::F32);
    insert("score_factor", number(variant.score_factor(sizes.scale)));
    if variant.form().has_cap() {
        for (name, factor) in variant.cap_factors(sizes.scale, sizes.cap) {
            insert(name, number(factor));
        }
    }
    insert("value_factor", number(variant.value_factor()));
    let blocks = variant.blocks(sequences.len(), longest, sizes.kv_heads, sizes.group);
    check_elements("arrivals", 1, blocks.max(1))?;
    let arrivals = Tensor {
        element: ElementType::U32,
        bits: vec![0; blocks.max(1)],
    };
    insert("arrivals", arrivals);
    Ok(operands)
}

/// Rows of a head, padded to whole runs.
fn padded(bits: &[u32], head_dim: usize) -> impl Iterator<Item = Vec<u32>> {
    bits.chunks(head_dim).map(move |row| {
        let mut row = row.to_vec();
        row.resize(head_dim.next_multiple_of(RUN), 0);
        row
    })
}

impl Side {
    /// The rows in the layout of the cache.
    fn stored(&self, problem: &Problem, head_dim: usize) -> Result<Vec<u8>, ProblemError> {
        let tensor = problem.tensor(self.codes)?;
        let mut bytes = Vec::new();
        for row in padded(&tensor.bits, head_dim) {
            match self.format {
                CacheFormat::Dense => {
                    bytes.extend(row.iter().flat_map(|&bits| (bits as u16).to_le_bytes()));
                }
                CacheFormat::Packed { element, .. } => {
                    let codes: Vec<u8> = row.iter().map(|&code| code as u8).collect();
                    let words = StoredBits::of(element).store(element, &codes).into_iter();
                    bytes.extend(words.flat_map(u32::to_le_bytes));
                }
            }
        }
        Ok(bytes)
    }
}

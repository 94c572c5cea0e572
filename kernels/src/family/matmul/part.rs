//! Some rows of W and some tokens as a problem of their own, whose sums are those of the whole.

use super::MatmulVariant;
use super::problems::{Matrix, Sizes};
use crate::fragment::CHUNK;
use crate::registry::{EntryError, Place, Problem, ProblemError, Tensor};

/// Rows of W and tokens that are picked, and the sums that are wanted of them.
pub(super) struct Pick {
    /// The problem of these rows and tokens. It has no residual.
    pub problem: Problem,
    pub sizes: Sizes,
    /// Of each token that is picked, the rows that are wanted; both by their number in `problem`.
    pub pairs: Vec<(usize, Vec<usize>)>,
    /// The places in the order of `pairs`, of the whole problem.
    pub places: Vec<Place>,
}

impl Pick {
    /// The problem of the rows and tokens of some places, [token, row].
    ///
    /// A row with the largest scale of its matrix is always in it: stored scales are relative to
    /// that.
    pub fn new(
        variant: &MatmulVariant,
        problem: &Problem,
        places: &[Place],
    ) -> Result<Self, EntryError> {
        let whole = Sizes::of(problem)?;
        let mut places = places.to_vec();
        places.sort_unstable();
        places.dedup();
        let mut tokens: Vec<usize> = places.iter().map(|place| place[0]).collect();
        tokens.dedup();
        let mut rows: Vec<usize> = places.iter().map(|place| place[1]).collect();
        for &matrix in variant.matrices() {
            rows.extend(largest_scale(variant, problem, matrix, &whole)?);
        }
        rows.sort_unstable();
        rows.dedup();
        let outside = |name: &str, most: Option<&usize>, count| match most {
            Some(&most) if most >= count => Err(ProblemError::Unfit {
                name: name.to_owned(),
                reason: format!("place {most} is wanted of {count}"),
            }),
            _ => Ok(()),
        };
        outside("tokens", tokens.last(), whole.tokens)?;
        outside("rows", rows.last(), whole.rows)?;
        let number = |of: &[usize], at| of.partition_point(|&before| before < at);
        let pair = |&token: &usize| {
            let of_token = places.iter().filter(|place| place[0] == token);
            let rows = of_token.map(|place| number(&rows, place[1])).collect();
            (number(&tokens, token), rows)
        };
        let pairs = tokens.iter().map(pair).collect();
        let problem = picked(variant, problem, &whole, &tokens, &rows)?;
        Ok(Self {
            sizes: Sizes::of(&problem)?,
            problem,
            pairs,
            places,
        })
    }
}

/// A row with the largest scale of a matrix; `None` without scales.
fn largest_scale(
    variant: &MatmulVariant,
    problem: &Problem,
    matrix: Matrix,
    sizes: &Sizes,
) -> Result<Option<usize>, ProblemError> {
    let Some(format) = variant.format() else {
        return Ok(None);
    };
    let scales = &problem.tensor(&matrix.name("scales"))?.bits;
    let largest = scales.iter().enumerate().max_by_key(|(_, scale)| **scale);
    let blocks = format.blocks_per_row(sizes.cols);
    Ok(largest.map(|(index, _)| index / blocks))
}

/// The problem of these rows and tokens.
fn picked(
    variant: &MatmulVariant,
    problem: &Problem,
    whole: &Sizes,
    tokens: &[usize],
    rows: &[usize],
) -> Result<Problem, ProblemError> {
    let (cols, src_stride) = (whole.cols, whole.cols.next_multiple_of(CHUNK));
    let mut part = Problem {
        sizes: problem.sizes.clone(),
        ..Problem::default()
    };
    for (name, size) in [
        ("rows", rows.len()),
        ("tokens", tokens.len()),
        ("src_stride", src_stride),
        ("dst_stride", rows.len()),
        ("in_place", 0),
    ] {
        part.sizes.insert(name.to_owned(), size as u64);
    }
    let tensors = &mut part.tensors;
    let mut pick = |name: String, at: &[usize], stride: usize, len: usize| {
        let tensor = problem.tensor(&name)?;
        let element = tensor.element;
        let mut bits = Vec::with_capacity(at.len() * len);
        for &at in at {
            bits.extend(problem.part(&name, at * stride..at * stride + len)?.bits);
        }
        tensors.insert(name, Tensor { element, bits });
        Ok::<_, ProblemError>(())
    };
    for matrix in variant.matrices() {
        match variant.format() {
            None => pick(matrix.name("weights"), rows, cols, cols)?,
            Some(format) => {
                let bytes = format.row_code_bytes(cols);
                pick(matrix.name("codes"), rows, bytes, bytes)?;
                let blocks = format.blocks_per_row(cols);
                pick(matrix.name("scales"), rows, blocks, blocks)?;
                if format.has_tensor_scale() {
                    pick(matrix.name("tensor_scale"), &[0], 1, 1)?;
                }
            }
        }
        if problem.tensors.contains_key(&matrix.name("bias")) {
            pick(matrix.name("bias"), rows, 1, 1)?;
        }
    }
    pick("src".to_owned(), tokens, whole.src_stride, src_stride)?;
    if problem.tensors.contains_key("src_scales") {
        pick("src_factor".to_owned(), &[0], 1, 1)?;
        let scales = problem.tensor("src_scales")?;
        let stride = problem.size("src_scales_stride")?;
        let block = |block: &[u32]| -> Option<Vec<u32>> {
            tokens
                .iter()
                .map(|&token| block.get(token).copied())
                .collect()
        };
        let bits: Option<Vec<Vec<u32>>> = scales.bits.chunks(stride.max(1)).map(block).collect();
        let bits = bits.ok_or_else(|| ProblemError::Unfit {
            name: "src_scales".to_owned(),
            reason: "it has no scale of a token".to_owned(),
        })?;
        let (element, bits) = (scales.element, bits.concat());
        let stride = tokens.len() as u64;
        part.tensors
            .insert("src_scales".to_owned(), Tensor { element, bits });
        part.sizes.insert("src_scales_stride".to_owned(), stride);
    }
    Ok(part)
}

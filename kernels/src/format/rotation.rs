//! Rotations of rows by Hadamard matrices, which spread a large value over its block.

use super::error::serde_as_name;
use super::{FormatError, random_at};
use std::fmt;
use std::str::FromStr;

/// How many columns are mixed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RotationSpan {
    /// Consecutive columns, a power of two.
    Block(usize),
    /// A whole row.
    Row,
}

/// A rotation x D H / sqrt(n) of each n consecutive columns: H is a [`Hadamard`] matrix, and D has
/// signs on its diagonal. An input and a weight that are both rotated have the product they had.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Rotation {
    span: RotationSpan,
    seed: Option<u32>,
}

impl Rotation {
    /// The largest block.
    pub const LARGEST_BLOCK: usize = 1 << 14;

    /// A rotation. Column c of a row changes its sign if the highest bit of
    /// [`random_at`]`(seed, c)` is set; without a seed none does.
    ///
    /// # Errors
    /// [`FormatError::RotationBlock`] for a block that is no power of two from 2 on.
    pub fn new(span: RotationSpan, seed: Option<u32>) -> Result<Self, FormatError> {
        if let RotationSpan::Block(size) = span
            && !(size.is_power_of_two() && (2..=Self::LARGEST_BLOCK).contains(&size))
        {
            return Err(FormatError::RotationBlock { size });
        }
        Ok(Self { span, seed })
    }

    /// How many columns are mixed.
    pub const fn span(&self) -> RotationSpan {
        self.span
    }

    /// The seed of the signs; `None` if no column changes its sign.
    pub const fn seed(&self) -> Option<u32> {
        self.seed
    }

    /// The rotation of rows of `cols` columns.
    ///
    /// # Errors
    /// [`FormatError::RotationCols`] if they are no whole blocks; [`FormatError::NoHadamard`] if no
    /// known construction gives a matrix for a whole row.
    pub fn of_rows(&self, cols: usize) -> Result<Hadamard, FormatError> {
        let size = match self.span {
            RotationSpan::Row => cols,
            RotationSpan::Block(size) if cols.is_multiple_of(size) => size,
            RotationSpan::Block(size) => return Err(FormatError::RotationCols { size, cols }),
        };
        let base = paley(size).ok_or(FormatError::NoHadamard { cols: size })?;
        let signs = self.seed.map(|seed| {
            let sign = |col| match random_at(seed, col as u64) >> 31 {
                0 => 1.0,
                _ => -1.0,
            };
            (0..cols).map(sign).collect()
        });
        Ok(Hadamard {
            size,
            base,
            seed: self.seed,
            signs,
        })
    }
}

/// A rotation of rows of one length.
///
/// Its matrix is P x S, the Kronecker product of a base P and of the Sylvester matrix S of order
/// 2^j, whose element (a, b) is -1 to the number of ones in a AND b.
#[derive(Clone, Debug, PartialEq)]
pub struct Hadamard {
    size: usize,
    /// Rows of P, 1 and -1; one 1 for a power of two.
    base: Vec<Vec<f32>>,
    seed: Option<u32>,
    /// The diagonal of D for a row; `None` for ones.
    signs: Option<Vec<f32>>,
}

impl Hadamard {
    /// n, the columns that are mixed.
    pub const fn size(&self) -> usize {
        self.size
    }

    /// Rows of the base P.
    pub fn base(&self) -> &[Vec<f32>] {
        &self.base
    }

    /// The seed of the signs; `None` if no column changes its sign.
    pub const fn seed(&self) -> Option<u32> {
        self.seed
    }

    /// The sign of every column; `None` if none changes.
    pub fn signs(&self) -> Option<&[f32]> {
        self.signs.as_deref()
    }

    /// 1 / sqrt(n), rounded to f32.
    pub fn factor(&self) -> f32 {
        factor(self.size)
    }
}

/// 1 / sqrt(size), rounded to f32.
pub(crate) fn factor(size: usize) -> f32 {
    (1.0 / (size as f64).sqrt()) as f32
}

/// The smallest base for order `size`: Paley's constructions over a prime q give q + 1 for q = 3
/// modulo 4, and 2 (q + 1) for q = 1 modulo 4.
fn paley(size: usize) -> Option<Vec<Vec<f32>>> {
    if size.is_power_of_two() {
        return Some(vec![vec![1.0]]);
    }
    let mut order = size >> size.trailing_zeros();
    // Orders above 2 are multiples of 4.
    order *= 4;
    while size.is_multiple_of(order) {
        if order.is_multiple_of(4) && is_prime(order - 1) {
            return Some(paley_one(order - 1));
        }
        let q = order / 2 - 1;
        if q % 4 == 1 && is_prime(q) {
            return Some(paley_two(q));
        }
        order *= 2;
    }
    None
}

fn is_prime(q: usize) -> bool {
    q > 1
        && (2..)
            .take_while(|d| d * d <= q)
            .all(|d| !q.is_multiple_of(d))
}

/// Whether x is a square modulo q, as 1, or not, as -1; 0 for 0.
fn quadratic_character(x: usize, q: usize) -> f32 {
    match x % q {
        0 => 0.0,
        x if (1..q).any(|root| root * root % q == x) => 1.0,
        _ => -1.0,
    }
}

/// I + S, where S has ones in its first row, -1 in its first column, and characters of differences.
fn paley_one(q: usize) -> Vec<Vec<f32>> {
    let characters: Vec<f32> = (0..q).map(|x| quadratic_character(x, q)).collect();
    let element = |row: usize, col: usize| match (row, col) {
        (row, col) if row == col => 1.0,
        (0, _) => 1.0,
        (_, 0) => -1.0,
        (row, col) => characters[(q + row - col) % q],
    };
    let row = |row| (0..=q).map(|col| element(row, col)).collect();
    (0..=q).map(row).collect()
}

/// C x [[1, 1], [1, -1]] + I x [[1, -1], [-1, -1]] with the symmetric C of ones and characters.
fn paley_two(q: usize) -> Vec<Vec<f32>> {
    let characters: Vec<f32> = (0..q).map(|x| quadratic_character(x, q)).collect();
    let of_c = |row: usize, col: usize| match (row, col) {
        (row, col) if row == col => 0.0,
        (0, _) | (_, 0) => 1.0,
        (row, col) => characters[(q + row - col) % q],
    };
    let element = |row: usize, col: usize| {
        let (outer, inner) = ((row / 2, col / 2), (row % 2, col % 2));
        if outer.0 == outer.1 {
            if inner == (0, 0) { 1.0 } else { -1.0 }
        } else {
            let sign = if inner == (1, 1) { -1.0 } else { 1.0 };
            of_c(outer.0, outer.1) * sign
        }
    };
    let row = |row| (0..2 * (q + 1)).map(|col| element(row, col)).collect();
    (0..2 * (q + 1)).map(row).collect()
}

impl fmt::Display for Rotation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let span = match self.span {
            RotationSpan::Block(size) => size.to_string(),
            RotationSpan::Row => "row".to_owned(),
        };
        match self.seed {
            None => f.pad(&span),
            Some(seed) => f.pad(&format!("{span}:{seed}")),
        }
    }
}

impl FromStr for Rotation {
    type Err = FormatError;

    /// A block or `row`; a seed of signs after a colon.
    fn from_str(text: &str) -> Result<Self, FormatError> {
        let unknown = || FormatError::UnknownRotation {
            text: text.to_owned(),
        };
        let (span, seed) = match text.split_once(':') {
            None => (text, None),
            Some((span, seed)) => (span, Some(seed.parse().map_err(|_| unknown())?)),
        };
        let span = match span {
            "row" => RotationSpan::Row,
            size => RotationSpan::Block(size.parse().map_err(|_| unknown())?),
        };
        Self::new(span, seed)
    }
}

serde_as_name!(Rotation);

//! How many elements an operand has, as a function of a launch's sizes.

use super::Sizes;
use std::fmt;
use std::ops::{Add, Mul};

/// A number of elements or thread blocks, as a formula over named sizes. It prints as that formula.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Extent {
    /// A number.
    Constant(usize),
    /// A size.
    Size(&'static str),
    /// The sum of two.
    Sum(Box<[Self; 2]>),
    /// The product of two.
    Product(Box<[Self; 2]>),
    /// A value rounded up to a multiple of a number.
    MultipleOf(Box<Self>, usize),
    /// The lesser of two.
    Min(Box<[Self; 2]>),
    /// A number divided by another, rounded up.
    DivCeil(Box<[Self; 2]>),
    /// The span from the first element of the first row to the last element of the last row: rows,
    /// stride, columns.
    Rows(Box<[Self; 3]>),
}

/// The size `name`.
pub const fn size(name: &'static str) -> Extent {
    Extent::Size(name)
}

/// Elements of `rows` rows of `cols` columns that lie `stride` elements apart.
pub fn rows(rows: Extent, stride: Extent, cols: Extent) -> Extent {
    Extent::Rows(Box::new([rows, stride, cols]))
}

impl Extent {
    /// Rounded up to a multiple of `step`.
    #[must_use]
    pub fn next_multiple_of(self, step: usize) -> Self {
        Self::MultipleOf(Box::new(self), step)
    }

    /// Divided by `n`, rounded up.
    #[must_use]
    pub fn div_ceil(self, n: impl Into<Self>) -> Self {
        Self::DivCeil(Box::new([self, n.into()]))
    }

    /// The lesser of it and another.
    #[must_use]
    pub fn min(self, other: impl Into<Self>) -> Self {
        Self::Min(Box::new([self, other.into()]))
    }

    /// What it counts, as a shape: `[rows, cols], rows stride apart`.
    pub fn shape(&self) -> String {
        match self {
            Self::Rows(shape) => {
                let [rows, stride, cols] = shape.as_ref();
                format!("[{rows}, {cols}], rows {stride} apart")
            }
            _ => format!("[{self}]"),
        }
    }

    /// Its value; `None` if a size is missing or the number too large.
    pub fn value(&self, sizes: &Sizes) -> Option<usize> {
        match self {
            Self::Constant(n) => Some(*n),
            Self::Size(name) => sizes.get(name),
            Self::Sum(terms) => terms[0].value(sizes)?.checked_add(terms[1].value(sizes)?),
            Self::Product(factors) => factors[0]
                .value(sizes)?
                .checked_mul(factors[1].value(sizes)?),
            Self::Min(terms) => Some(terms[0].value(sizes)?.min(terms[1].value(sizes)?)),
            Self::MultipleOf(n, step) => n.value(sizes)?.checked_next_multiple_of(*step),
            Self::DivCeil(parts) => match parts[1].value(sizes)? {
                0 => None,
                by => Some(parts[0].value(sizes)?.div_ceil(by)),
            },
            Self::Rows(shape) => {
                let [rows, stride, cols] = shape.as_ref();
                let (rows, cols) = (rows.value(sizes)?, cols.value(sizes)?);
                match rows.checked_sub(1) {
                    None => Some(0),
                    Some(before) => before.checked_mul(stride.value(sizes)?)?.checked_add(cols),
                }
            }
        }
    }

    /// The first size of the formula that `sizes` lacks.
    pub fn missing(&self, sizes: &Sizes) -> Option<&'static str> {
        let first = |parts: &[Self]| parts.iter().find_map(|part| part.missing(sizes));
        match self {
            Self::Constant(_) => None,
            Self::Size(name) => sizes.get(name).is_none().then_some(name),
            Self::Sum(parts) | Self::Product(parts) | Self::Min(parts) | Self::DivCeil(parts) => {
                first(parts.as_ref())
            }
            Self::MultipleOf(n, _) => n.missing(sizes),
            Self::Rows(parts) => first(parts.as_ref()),
        }
    }
}

impl From<usize> for Extent {
    fn from(n: usize) -> Self {
        Self::Constant(n)
    }
}

impl<T: Into<Self>> Add<T> for Extent {
    type Output = Self;

    fn add(self, other: T) -> Self {
        Self::Sum(Box::new([self, other.into()]))
    }
}

impl<T: Into<Self>> Mul<T> for Extent {
    type Output = Self;

    fn mul(self, other: T) -> Self {
        Self::Product(Box::new([self, other.into()]))
    }
}

impl fmt::Display for Extent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // What stands in a product and is a sum.
        let factor = |f: &mut fmt::Formatter<'_>, part: &Self| match part {
            Self::Sum(_) | Self::Rows(_) | Self::MultipleOf(..) | Self::DivCeil(..) => {
                write!(f, "({part})")
            }
            _ => write!(f, "{part}"),
        };
        match self {
            Self::Constant(n) => write!(f, "{n}"),
            Self::Size(name) => f.write_str(name),
            Self::Sum(terms) => write!(f, "{} + {}", terms[0], terms[1]),
            Self::Product(factors) if factors[1] == Self::Constant(1) => factors[0].fmt(f),
            Self::Product(factors) => {
                factor(f, &factors[0])?;
                f.write_str(" * ")?;
                factor(f, &factors[1])
            }
            Self::Min(terms) => write!(f, "min({}, {})", terms[0], terms[1]),
            Self::MultipleOf(n, step) => {
                factor(f, n)?;
                write!(f, " up to a multiple of {step}")
            }
            Self::DivCeil(parts) => {
                factor(f, &parts[0])?;
                f.write_str(" / ")?;
                factor(f, &parts[1])?;
                f.write_str(" rounded up")
            }
            Self::Rows(shape) => {
                let [rows, stride, cols] = shape.as_ref();
                write!(f, "({rows} - 1) * {stride} + {cols}")
            }
        }
    }
}

//! Products of two elements as products of integers.
//!
//! The values of some elements are small integers times a power of two, the *unit*. A block's dot
//! product of two such elements is then a sum of products of small integers, which is exact.
//!
//! | element | unit | integers |
//! |---|---|---|
//! | E2M1 | 2^-1 | -12..=12 |
//! | E2M3 | 2^-3 | -60..=60 |
//! | E3M2 | 2^-4 | -448..=448 |
//! | INT4 | 2^-2 | -8..=7 |
//! | INT8 | 2^-6 | -128..=127 |

use super::{BlockFormat, CodeLayout, ElementFormat, FormatError, Grid, pow2};
use std::sync::LazyLock;

/// The block size is a multiple of it.
const COLUMNS: usize = 16;
/// The largest magnitude of an integer: it fits ten bits with its sign.
const MOST: f32 = 511.0;

/// The integers that the values of an element are, in units.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IntegerElement {
    element: ElementFormat,
    /// log2 of the integer of 1.
    shift: u32,
    /// The largest magnitude of an integer.
    most: u32,
}

/// The integers of each element that has any, by code.
static TABLES: LazyLock<Vec<(IntegerElement, [i32; 256])>> = LazyLock::new(|| {
    let elements = ElementFormat::ALL.iter().copied();
    let integers = elements.filter_map(IntegerElement::measure);
    let table = |element: IntegerElement| std::array::from_fn(|code| element.integer(code as u8));
    integers.map(|element| (element, table(element))).collect()
});

impl IntegerElement {
    /// `None` for FP8, tables, and elements of 2 and 3 bits. Measured once.
    pub fn new(element: ElementFormat) -> Option<Self> {
        let mut elements = TABLES.iter().map(|(integers, _)| *integers);
        elements.find(|integers| integers.element == element)
    }

    fn measure(element: ElementFormat) -> Option<Self> {
        let shift = match element.grid() {
            Grid::Float(grid) => u32::try_from(grid.mantissa_bits as i32 - grid.emin()).ok()?,
            Grid::Int(grid) => grid.fraction_bits,
            Grid::Table(_) => return None,
        };
        let values = element.codes().map(|code| element.decode(code).abs());
        // Infinity and NaN are above all.
        let most = values.fold(0.0, |most: f32, value| match value <= most {
            true => most,
            false => value,
        });
        let most = most * pow2(shift as i32) as f32;
        // Codes of eight bits are two's complement.
        let is_decoded = match element.layout() {
            CodeLayout::Bits2 | CodeLayout::Bits3 | CodeLayout::Bits7 => false,
            CodeLayout::Bits4 | CodeLayout::Bits5 | CodeLayout::Bits6 => true,
            CodeLayout::Bits8 => matches!(element.grid(), Grid::Int(_)),
        };
        (is_decoded && most <= MOST).then_some(Self {
            element,
            shift,
            most: most as u32,
        })
    }

    /// The integer of a code; bits above those of a code are ignored.
    pub fn integer(self, code: u8) -> i32 {
        (self.element.decode(code) * pow2(self.shift as i32) as f32) as i32
    }

    /// By code; bits above those of a code are ignored. Made once.
    pub fn integers(self) -> &'static [i32; 256] {
        let own = TABLES.iter().find(|(element, _)| *element == self);
        &own.expect("an element of the table of elements").1
    }

    /// The value of 1.
    pub fn unit(self) -> f32 {
        pow2(-(self.shift as i32)) as f32
    }

    /// The largest magnitude.
    pub const fn most(self) -> u32 {
        self.most
    }

    /// Whether every integer fits an i8.
    pub fn fits_byte(self) -> bool {
        self.integers()
            .iter()
            .all(|&integer| i8::try_from(integer).is_ok())
    }
}

/// Two formats whose products are products of integers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IntegerPair {
    /// Of activations.
    pub x: IntegerElement,
    /// Of weights.
    pub w: IntegerElement,
    /// k of both.
    pub block_size: usize,
}

impl IntegerPair {
    /// The pair of the formats of activations and weights. `None` unless both elements are
    /// integers, k is the same multiple of 16, and every sum of a block fits an i32.
    pub fn new(x: &BlockFormat, w: &BlockFormat) -> Option<Self> {
        let block_size = x.block_size();
        let pair = Self {
            x: IntegerElement::new(x.element())?,
            w: IntegerElement::new(w.element())?,
            block_size,
        };
        let most = u64::from(pair.x.most * pair.w.most) * block_size as u64;
        let is_pair = block_size == w.block_size() && block_size.is_multiple_of(COLUMNS);
        (is_pair && most <= i32::MAX as u64).then_some(pair)
    }

    /// As [`IntegerPair::new`].
    ///
    /// # Errors
    /// [`FormatError::NotIntegers`] if there is no such pair.
    pub fn of(x: &BlockFormat, w: &BlockFormat) -> Result<Self, FormatError> {
        Self::new(x, w).ok_or_else(|| {
            let name = |format: &BlockFormat| {
                format!("{} (k = {})", format.element(), format.block_size())
            };
            FormatError::NotIntegers {
                pair: format!("{} and {}", name(x), name(w)),
            }
        })
    }
}

//! Expectations for some elements of a kernel's outputs, and their check.

use super::{ElementType, Expectation, Expected, Mismatch, Outputs, Range, Tensor};
use crate::format::FloatType;
use std::collections::BTreeMap;

/// Expectations for some elements, by output.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sampled(BTreeMap<&'static str, Elements>);

/// Some elements of an output.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Elements {
    /// Elements of the whole output.
    len: usize,
    /// Which of them, in the order of `expected`.
    places: Vec<usize>,
    expected: Expectation,
}

/// Why outputs are wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SampledError {
    /// The kernel has no such output.
    #[error("output `{0}` is missing")]
    Missing(&'static str),
    /// The output has another length.
    #[error("output `{output}` has {got} elements, expected {expected}")]
    Length {
        /// The output.
        output: &'static str,
        /// Its elements by the reference.
        expected: usize,
        /// Its elements by the kernel.
        got: usize,
    },
    /// An element differs; counts are of the elements that were recomputed.
    #[error("{0}")]
    Mismatch(Mismatch),
}

impl Elements {
    /// No elements yet of an output of `len` elements with exact expectations.
    pub fn exactly(len: usize, element: ElementType) -> Self {
        let bits = Vec::new();
        Self::new(len, Expectation::Exactly(Tensor { element, bits }))
    }

    /// No elements yet of an output of `len` elements with ranges.
    pub fn within(len: usize, element: FloatType) -> Self {
        let ranges = Vec::new();
        Self::new(len, Expectation::Within { element, ranges })
    }

    const fn new(len: usize, expected: Expectation) -> Self {
        Self {
            len,
            places: Vec::new(),
            expected,
        }
    }

    /// Adds elements that lie `step` apart from `first` on, to an output with exact expectations.
    ///
    /// # Panics
    /// If the output has ranges.
    pub fn add_bits(&mut self, first: usize, step: usize, added: &[u32]) {
        let Expectation::Exactly(tensor) = &mut self.expected else {
            panic!("bits for an output that has ranges");
        };
        let places = (0..added.len()).map(|i| first + i * step);
        self.places.extend(places);
        tensor.bits.extend_from_slice(added);
    }

    /// Adds consecutive elements to an output with ranges.
    ///
    /// # Panics
    /// If the output has exact expectations.
    pub fn add_ranges(&mut self, first: usize, added: &[Range]) {
        let Expectation::Within { ranges, .. } = &mut self.expected else {
            panic!("ranges for an output whose bits are known");
        };
        self.places.extend(first..first + added.len());
        ranges.extend_from_slice(added);
    }

    /// The first element that differs.
    fn check(&self, output: &'static str, got: &Tensor) -> Result<(), SampledError> {
        if got.bits.len() != self.len {
            return Err(SampledError::Length {
                output,
                expected: self.len,
                got: got.bits.len(),
            });
        }
        let indexed = self.places.iter().enumerate();
        let mut differing =
            indexed.filter(|&(i, &place)| !self.expected.accepts(i, got.bits[place]));
        let Some((i, &index)) = differing.next() else {
            return Ok(());
        };
        Err(SampledError::Mismatch(Mismatch {
            output,
            index,
            expected: self.expected.describe(i).to_string(),
            got: got.bits[index],
            element: self.expected.element(),
            count: 1 + differing.count(),
            of: self.places.len(),
        }))
    }
}

impl Sampled {
    /// Every element.
    pub fn whole(expected: Expected) -> Self {
        let whole = |(name, expected): (&'static str, Expectation)| {
            let len = expected.len();
            let places = (0..len).collect();
            let elements = Elements {
                len,
                places,
                expected,
            };
            (name, elements)
        };
        Self(expected.into_iter().map(whole).collect())
    }

    /// Adds the expectations for some elements of an output.
    pub(crate) fn insert(&mut self, output: &'static str, elements: Elements) {
        self.0.insert(output, elements);
    }

    /// Adds the exact outputs of a part of the problem. For each output, `place` gives the position
    /// of its first element in the whole output, and the distance between elements there.
    pub(crate) fn add_part(&mut self, part: Expected, place: impl Fn(&str) -> [usize; 2]) {
        for (name, expected) in part {
            if let (Some(elements), Expectation::Exactly(tensor)) = (self.0.get_mut(name), expected)
            {
                let [first, step] = place(name);
                elements.add_bits(first, step, &tensor.bits);
            }
        }
    }

    /// Elements with an expectation, of all outputs.
    pub fn len(&self) -> usize {
        self.0.values().map(|output| output.places.len()).sum()
    }

    /// Whether no element has an expectation.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Checks that every output is present, has the expected length, and is right at every element
    /// with an expectation.
    ///
    /// # Errors
    /// [`SampledError`] of the first wrong output.
    pub fn check(&self, outputs: &Outputs) -> Result<(), SampledError> {
        self.0.iter().try_for_each(|(&output, elements)| {
            let got = outputs.get(output).ok_or(SampledError::Missing(output))?;
            elements.check(output, got)
        })
    }

    /// Checks that these expectations equal the full reference.
    ///
    /// # Errors
    /// Output and index of the first element whose expectation differs; index 0 of an output that
    /// one side lacks or has in another length.
    pub fn check_against(&self, expected: &Expected) -> Result<(), (&'static str, usize)> {
        let others = expected.keys().filter(|name| !self.0.contains_key(*name));
        if let Some(&lacking) = others.into_iter().next() {
            return Err((lacking, 0));
        }
        for (&name, elements) in &self.0 {
            let whole = expected.get(name).ok_or((name, 0))?;
            if whole.len() != elements.len || whole.element() != elements.expected.element() {
                return Err((name, 0));
            }
            let same = |i: usize, place: usize| match (&elements.expected, whole) {
                (Expectation::Exactly(some), Expectation::Exactly(all)) => {
                    all.is_same(all.bits[place], some.bits[i])
                }
                (
                    Expectation::Within { ranges: some, .. },
                    Expectation::Within { ranges: all, .. },
                ) => match (some[i], all[place]) {
                    (Range::Bits(some), Range::Bits(all)) => some == all,
                    (Range::Between(a, b), Range::Between(c, d)) => {
                        [a, b].map(f32::to_bits) == [c, d].map(f32::to_bits)
                    }
                    _ => false,
                },
                (Expectation::Unspecified { .. }, Expectation::Unspecified { .. }) => true,
                _ => false,
            };
            let mut places = elements.places.iter().enumerate();
            if let Some((_, &place)) = places.find(|&(i, &place)| !same(i, place)) {
                return Err((name, place));
            }
        }
        Ok(())
    }
}

//! Compares a kernel with its reference on one problem.

use super::{
    ElementType, Entry, EntryError, Expectation, Expected, Outputs, Problem, Runner, Tensor,
};
use mxlab_harness::device::Stream;
use std::fmt;

/// Why verification failed.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// A result differs.
    #[error("{0}")]
    Mismatch(Mismatch),
    /// The outputs cannot be compared with the reference.
    #[error(transparent)]
    Output(#[from] OutputError),
    /// The kernel or its reference has no result.
    #[error(transparent)]
    Entry(#[from] EntryError),
}

/// Outputs that differ from the reference in name, length or type; or a reference that no output
/// can contradict.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OutputError {
    /// An output of the reference was not returned.
    #[error(
        "output `{output}` is missing: found {found}, expected {expected} elements of it; return \
         every output of the reference"
    )]
    Missing {
        /// The output.
        output: &'static str,
        /// Its elements by the reference.
        expected: usize,
        /// Names of the outputs that were returned.
        found: String,
    },
    /// An output was returned that the reference does not have.
    #[error(
        "output `{output}` of {found} elements has no reference, which has {expected}; return only \
         outputs that are compared, or add it to the reference"
    )]
    Unexpected {
        /// The output.
        output: &'static str,
        /// Its elements.
        found: usize,
        /// Names of the outputs of the reference.
        expected: String,
    },
    /// An output is too short or too long.
    #[error(
        "output `{output}` has {found} elements, expected {expected}; return the whole buffer and \
         nothing beyond it"
    )]
    Length {
        /// The output.
        output: &'static str,
        /// Elements by the reference.
        expected: usize,
        /// Elements that were returned.
        found: usize,
    },
    /// An output's bits mean something else than the reference's.
    #[error("output `{output}` is of {found:?} elements, expected {expected:?}")]
    Type {
        /// The output.
        output: &'static str,
        /// By the reference.
        expected: ElementType,
        /// That was returned.
        found: ElementType,
    },
    /// The reference has no element to compare.
    #[error(
        "nothing to compare: the reference has no output element for this problem, expected at \
         least one; correct the problem's sizes or the reference"
    )]
    Nothing,
    /// The reference's range for an element accepts everything, or nothing.
    #[error(
        "the reference of {output}[{index}] is {range}, which tells no right value from a wrong \
         one; draw operands whose sums are finite"
    )]
    Meaningless {
        /// The output.
        output: &'static str,
        /// Position in its buffer, in elements.
        index: usize,
        /// The range.
        range: String,
    },
}

/// The first element that differs, and how many do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mismatch {
    /// The output.
    pub output: &'static str,
    /// Position in its buffer, in elements.
    pub index: usize,
    /// The values that the reference allows.
    pub expected: String,
    /// The kernel's bits.
    pub got: u32,
    /// What they mean.
    pub element: ElementType,
    /// Elements of the output that differ.
    pub count: usize,
    /// Elements of the output.
    pub of: usize,
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            output,
            index,
            expected,
            got,
            element,
            count,
            of,
        } = self;
        write!(f, "{output}[{index}] is {got:#x}")?;
        if let Some(float) = element.float_type() {
            write!(f, " ({:e})", float.from_bits(*got))?;
        }
        write!(f, ", by the reference {expected}; {count} of {of} differ")
    }
}

/// Runs a kernel on a problem and compares every byte of its buffers with the reference.
///
/// # Errors
/// The first difference, outputs that cannot be compared, or why there is no result.
pub fn verify(
    entry: &dyn Entry,
    runner: &dyn Runner,
    stream: &Stream,
    problem: &Problem,
) -> Result<(), Failure> {
    verify_against(&entry.reference(problem)?, runner, stream, problem)
}

/// [`verify`] with given outputs of the reference, which many kernels may share.
///
/// # Errors
/// As [`verify`].
pub fn verify_against(
    expected: &Expected,
    runner: &dyn Runner,
    stream: &Stream,
    problem: &Problem,
) -> Result<(), Failure> {
    let got = runner.run(stream, problem)?;
    check_outputs(expected, &got)?;
    // The same names in the same order, by `check_outputs`.
    for ((&output, expected), got) in expected.iter().zip(got.values()) {
        if let Some(mismatch) = first_mismatch(output, expected, got) {
            return Err(Failure::Mismatch(mismatch));
        }
    }
    Ok(())
}

/// Checks that both have the same outputs, of the same lengths and types, and that at least one
/// element can differ.
fn check_outputs(expected: &Expected, got: &Outputs) -> Result<(), OutputError> {
    let names = |names: &mut dyn Iterator<Item = &&'static str>| match names
        .map(|name| format!("`{name}`"))
        .collect::<Vec<_>>()
        .join(", ")
    {
        none if none.is_empty() => "no output".to_owned(),
        names => names,
    };
    for (&output, expected) in expected {
        let found = got.get(output).ok_or_else(|| OutputError::Missing {
            output,
            expected: expected.len(),
            found: names(&mut got.keys()),
        })?;
        if found.bits.len() != expected.len() {
            return Err(OutputError::Length {
                output,
                expected: expected.len(),
                found: found.bits.len(),
            });
        }
        if found.element != expected.element() {
            return Err(OutputError::Type {
                output,
                expected: expected.element(),
                found: found.element,
            });
        }
        if let Some(index) = expected.meaningless() {
            return Err(OutputError::Meaningless {
                output,
                index,
                range: expected.describe(index).to_string(),
            });
        }
    }
    if let Some((&output, found)) = got.iter().find(|(name, _)| !expected.contains_key(*name)) {
        return Err(OutputError::Unexpected {
            output,
            found: found.bits.len(),
            expected: names(&mut expected.keys()),
        });
    }
    match expected.values().all(Expectation::takes_anything) {
        true => Err(OutputError::Nothing),
        false => Ok(()),
    }
}

/// The first element that the reference does not accept. Both have the same length.
fn first_mismatch(output: &'static str, expected: &Expectation, got: &Tensor) -> Option<Mismatch> {
    let results = got.bits.iter().enumerate();
    let mut differing = results.filter(|&(i, &bits)| !expected.accepts(i, bits));
    let (index, &bits) = differing.next()?;
    Some(Mismatch {
        output,
        index,
        expected: expected.describe(index).to_string(),
        got: bits,
        element: expected.element(),
        count: 1 + differing.count(),
        of: got.bits.len(),
    })
}

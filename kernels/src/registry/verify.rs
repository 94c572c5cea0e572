//! A kernel against its reference, on one problem.

use super::{ElementType, Entry, EntryError, Expected, Outputs, Problem, Runner};
use mxlab_harness::device::Stream;
use std::fmt;

/// Why a kernel is not right.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// A result differs.
    #[error("{0}")]
    Mismatch(Mismatch),
    /// It has no result.
    #[error(transparent)]
    Entry(#[from] EntryError),
}

/// The first element that differs, and how many do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mismatch {
    /// The output.
    pub output: &'static str,
    /// Position in its buffer, in elements.
    pub index: usize,
    /// What it may be by the reference.
    pub expected: String,
    /// Bits by the kernel.
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
/// The first difference, or why there is no result.
pub fn verify(
    entry: &dyn Entry,
    runner: &dyn Runner,
    stream: &Stream,
    problem: &Problem,
) -> Result<(), Failure> {
    verify_against(&entry.reference(problem)?, runner, stream, problem)
}

/// [`verify`] with the reference's outputs, which many kernels may share.
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
    match first_mismatch(expected, &got) {
        Some(mismatch) => Err(Failure::Mismatch(mismatch)),
        None => Ok(()),
    }
}

fn first_mismatch(expected: &Expected, got: &Outputs) -> Option<Mismatch> {
    debug_assert!(expected.keys().eq(got.keys()));
    expected.iter().find_map(|(&output, expected)| {
        let got = &got.get(output)?.bits;
        debug_assert_eq!(expected.len(), got.len());
        let results = got.iter().enumerate();
        let mut differing = results.filter(|&(i, &bits)| !expected.accepts(i, bits));
        let (index, &bits) = differing.next()?;
        Some(Mismatch {
            output,
            index,
            expected: expected.describe(index).to_string(),
            got: bits,
            element: expected.element(),
            count: 1 + differing.count(),
            of: got.len(),
        })
    })
}

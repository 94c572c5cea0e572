//! What verification must not take: outputs that are missing, left over, short, long or of another
//! type, and references that no output contradicts. A runner that returns what a test tells it
//! stands for a kernel.

use mxlab_harness::device::{Buffer, Device, Stream};
use mxlab_kernels::format::FloatType;
use mxlab_kernels::registry::{
    ElementType, EntryError, Expectation, Expected, Failure, OutputError, Outputs, Prepared,
    Problem, Range, Runner, Task, Tensor, exactly, verify_against,
};

/// A kernel that leaves these outputs.
struct Leaves(Outputs);

impl Runner for Leaves {
    fn prepare(&self, _problem: &Problem) -> Result<Prepared<'_>, EntryError> {
        Ok(Prepared::new(|| Ok(Left(self.0.clone()))))
    }
}

struct Left(Outputs);

impl Task for Left {
    fn launch(&self, _stream: &Stream) -> Result<(), EntryError> {
        Ok(())
    }

    fn written(&self) -> Vec<&Buffer> {
        Vec::new()
    }

    fn outputs(&self) -> Result<Outputs, EntryError> {
        Ok(self.0.clone())
    }
}

/// Verification of a kernel that leaves `got`.
fn verified(expected: &Expected, got: Outputs) -> Result<(), Failure> {
    let stream = Device::emulator().stream().unwrap();
    verify_against(expected, &Leaves(got), &stream, &Problem::default())
}

/// The outputs' error, which there must be.
fn refused(expected: &Expected, got: Outputs) -> OutputError {
    match verified(expected, got) {
        Err(Failure::Output(error)) => error,
        other => panic!("{other:?}"),
    }
}

fn words(bits: &[u32]) -> Tensor {
    Tensor {
        element: ElementType::U32,
        bits: bits.to_vec(),
    }
}

/// Two outputs, as most kernels have.
fn outputs() -> Outputs {
    Outputs::from([("codes", words(&[1, 2, 3])), ("scales", words(&[7, 8]))])
}

fn within(ranges: Vec<Range>) -> Expected {
    let element = FloatType::F32;
    Expected::from([("dst", Expectation::Within { element, ranges })])
}

fn floats(values: &[f32]) -> Outputs {
    Outputs::from([("dst", Tensor::of_values(values, FloatType::F32))])
}

#[test]
fn the_same_outputs_pass_and_a_wrong_element_does_not() {
    let expected = exactly(outputs());
    assert!(verified(&expected, outputs()).is_ok());
    let mut wrong = outputs();
    wrong.insert("scales", words(&[7, 9]));
    match verified(&expected, wrong) {
        Err(Failure::Mismatch(mismatch)) => {
            assert_eq!((mismatch.output, mismatch.index), ("scales", 1));
            assert_eq!((mismatch.count, mismatch.of), (1, 2));
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_missing_output_is_an_error() {
    for output in ["codes", "scales"] {
        let mut got = outputs();
        got.remove(output);
        let error = refused(&exactly(outputs()), got);
        let is_it = matches!(error, OutputError::Missing { output: name, .. } if name == output);
        assert!(is_it, "{error:?}");
        assert!(
            error.to_string().contains(&format!("`{output}`")),
            "{error}"
        );
    }
    let error = refused(&exactly(outputs()), Outputs::new());
    assert!(error.to_string().contains("found no output"), "{error}");
}

#[test]
fn an_output_without_a_reference_is_an_error() {
    let mut got = outputs();
    got.insert("arrivals", words(&[0]));
    let error = refused(&exactly(outputs()), got);
    assert_eq!(
        error,
        OutputError::Unexpected {
            output: "arrivals",
            found: 1,
            expected: "`codes`, `scales`".to_owned(),
        }
    );
    // Neither is one under another name.
    let mut got = outputs();
    let scales = got.remove("scales").unwrap();
    got.insert("scale", scales);
    assert!(matches!(
        refused(&exactly(outputs()), got),
        OutputError::Missing {
            output: "scales",
            ..
        }
    ));
}

#[test]
fn a_short_and_a_long_output_are_errors() {
    for bits in [&[7][..], &[], &[7, 8, 9]] {
        let mut got = outputs();
        got.insert("scales", words(bits));
        let error = refused(&exactly(outputs()), got);
        assert_eq!(
            error,
            OutputError::Length {
                output: "scales",
                expected: 2,
                found: bits.len(),
            }
        );
    }
    // Of an output with ranges too.
    let expected = within(vec![Range::Between(0.0, 1.0); 2]);
    for values in [&[0.5][..], &[0.5, 0.5, 0.5]] {
        let error = refused(&expected, floats(values));
        assert!(matches!(error, OutputError::Length { .. }), "{error:?}");
    }
}

#[test]
fn an_output_of_another_type_is_an_error() {
    let mut got = outputs();
    let bits = got["scales"].bits.clone();
    let element = ElementType::F32;
    got.insert("scales", Tensor { element, bits });
    assert_eq!(
        refused(&exactly(outputs()), got),
        OutputError::Type {
            output: "scales",
            expected: ElementType::U32,
            found: element,
        }
    );
}

#[test]
fn a_reference_without_elements_is_an_error() {
    assert_eq!(
        refused(&Expected::new(), Outputs::new()),
        OutputError::Nothing
    );
    let empty = Outputs::from([("codes", words(&[]))]);
    assert_eq!(
        refused(&exactly(empty.clone()), empty),
        OutputError::Nothing
    );
}

/// What an output holds that another one says not to read; there must be the other one.
#[test]
fn an_unspecified_output_must_be_there_and_not_be_all() {
    let unspecified = |len| Expectation::Unspecified {
        element: ElementType::U32,
        len,
    };
    let mut expected = exactly(outputs());
    expected.insert("codes", unspecified(3));
    let mut got = outputs();
    got.insert("codes", words(&[4, 5, 6]));
    assert!(verified(&expected, got.clone()).is_ok());
    got.insert("codes", words(&[4, 5]));
    let error = refused(&expected, got);
    assert!(matches!(error, OutputError::Length { .. }), "{error:?}");
    expected.remove("scales");
    let alone = Outputs::from([("codes", words(&[1, 2, 3]))]);
    assert_eq!(refused(&expected, alone), OutputError::Nothing);
}

#[test]
fn a_range_that_tells_nothing_is_an_error() {
    let (inf, nan) = (f32::INFINITY, f32::NAN);
    let ranges = [(-inf, inf), (nan, 1.0), (nan, inf), (0.0, nan), (1.0, 0.5)];
    for (low, high) in ranges {
        let ranges = vec![Range::Between(0.0, 1.0), Range::Between(low, high)];
        for value in [0.75, nan, inf] {
            let error = refused(&within(ranges.clone()), floats(&[0.5, value]));
            let is_it = matches!(
                error,
                OutputError::Meaningless {
                    output: "dst",
                    index: 1,
                    ..
                }
            );
            assert!(is_it, "{low} to {high}: {error:?}");
        }
    }
    // NaN is what must come out here, and nothing else.
    let expected = within(vec![Range::Between(nan, nan)]);
    assert!(verified(&expected, floats(&[nan])).is_ok());
    for value in [0.0, inf] {
        let differs = verified(&expected, floats(&[value]));
        assert!(matches!(differs, Err(Failure::Mismatch(_))));
    }
    // Overflow is a result: from a number to infinity.
    let expected = within(vec![Range::Between(1.0, inf)]);
    assert!(verified(&expected, floats(&[inf])).is_ok());
    assert!(verified(&expected, floats(&[nan])).is_err());
}

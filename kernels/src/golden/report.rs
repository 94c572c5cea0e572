//! What a verification found.

use super::GoldenError;
use crate::cpu::Isa;
use crate::format::BlockFormat;
use std::collections::BTreeSet;
use std::fmt;

/// Who computed what was compared with the golden vectors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Engine {
    /// The scalar definition.
    Reference,
    /// A CPU kernel that quantises to packed form (and one that expands it).
    Packed(Isa),
    /// A CPU kernel that quantises and dequantises in one pass.
    Fused(Isa),
    /// The PTX kernel that quantises to packed form.
    PtxPacked,
    /// The PTX kernel that quantises and dequantises in one pass.
    PtxFused,
}

impl fmt::Display for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Reference => f.pad("reference"),
            Self::Packed(isa) => f.pad(&format!("{isa} packed")),
            Self::Fused(isa) => f.pad(&format!("{isa} fused")),
            Self::PtxPacked => f.pad("ptx packed"),
            Self::PtxFused => f.pad("ptx fused"),
        }
    }
}

/// The comparisons of one kind in one file with one engine.
#[derive(Clone, Debug, PartialEq)]
pub struct Section {
    /// File name, relative to the folder.
    pub file: String,
    /// What was compared: a path such as `Tf32`, a definition such as `scale bf16`, or a
    /// conversion such as `elem.fp4_e2m1.rne_sat`.
    pub path: String,
    /// Who computed it.
    pub engine: Engine,
    /// Tensors (or tables) compared.
    pub tensors: usize,
    /// Elements compared.
    pub elements: u64,
    /// Elements that differ; NaN equals NaN, -0 equals 0.
    pub mismatches: u64,
    /// The first of them, in words.
    pub first_mismatch: Option<String>,
}

/// Everything that a folder's verification found.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Report {
    /// In the order of files and tensor names.
    pub sections: Vec<Section>,
    /// Files and tensors that could not be interpreted or hold no element, and so were not
    /// verified.
    pub unknown: Vec<String>,
    /// Formats that have no PTX kernel, where there was a device; not verified with it.
    pub without_kernel: BTreeSet<String>,
}

impl Report {
    /// Elements compared in all.
    pub fn elements(&self) -> u64 {
        self.sections.iter().map(|section| section.elements).sum()
    }

    /// Mismatches in all.
    pub fn mismatches(&self) -> u64 {
        self.sections.iter().map(|section| section.mismatches).sum()
    }

    /// Records the comparison of one tensor.
    ///
    /// # Errors
    /// [`GoldenError::Count`] if the engine gave more or fewer elements than there are.
    pub(super) fn record<T: Copy + fmt::Debug>(
        &mut self,
        place: &Place,
        expected: &[T],
        got: &[T],
        is_equal: impl Fn(T, T) -> bool,
    ) -> Result<(), GoldenError> {
        if expected.len() != got.len() {
            return Err(GoldenError::Count {
                file: place.file.to_owned(),
                tensor: place.tensor.to_owned(),
                engine: place.engine,
                expected: expected.len(),
                found: got.len(),
            });
        }
        let differs = |i: &usize| !is_equal(expected[*i], got[*i]);
        let mismatches = (0..expected.len()).filter(differs).count() as u64;
        let first = (0..expected.len()).find(differs).map(|i| {
            format!(
                "{}[{i}]: expected {:?}, got {:?}",
                place.tensor, expected[i], got[i]
            )
        });
        let section = self.section(place);
        section.tensors += 1;
        section.elements += expected.len() as u64;
        section.mismatches += mismatches;
        section.first_mismatch = section.first_mismatch.take().or(first);
        Ok(())
    }

    /// Records a comparison of values: NaN equals NaN, -0 equals 0.
    ///
    /// # Errors
    /// As [`Report::record`].
    pub(super) fn record_values(
        &mut self,
        place: &Place,
        expected: &[f32],
        got: &[f32],
    ) -> Result<(), GoldenError> {
        self.record(place, expected, got, |a, b| {
            a == b || (a.is_nan() && b.is_nan())
        })
    }

    pub(super) fn without_kernel(&mut self, format: &BlockFormat) {
        self.without_kernel.insert(format.to_string());
    }

    fn section(&mut self, place: &Place) -> &mut Section {
        let found = self.sections.iter().position(|section| {
            section.engine == place.engine
                && section.path == place.path
                && section.file == place.file
        });
        let index = found.unwrap_or_else(|| {
            self.sections.push(Section {
                file: place.file.to_owned(),
                path: place.path.to_owned(),
                engine: place.engine,
                tensors: 0,
                elements: 0,
                mismatches: 0,
                first_mismatch: None,
            });
            self.sections.len() - 1
        });
        &mut self.sections[index]
    }
}

/// Where a comparison belongs.
pub(super) struct Place<'a> {
    pub file: &'a str,
    pub path: &'a str,
    pub tensor: &'a str,
    pub engine: Engine,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_or_fewer_elements_than_expected_are_an_error() {
        let place = Place {
            file: "f",
            path: "p",
            tensor: "t",
            engine: Engine::Reference,
        };
        let mut report = Report::default();
        for got in [&[1u32, 2][..], &[1, 2, 3, 4], &[]] {
            let recorded = report.record(&place, &[1, 2, 3], got, |a, b| a == b);
            let error = recorded.unwrap_err();
            let is_it = matches!(
                error,
                GoldenError::Count { expected: 3, found, .. } if found == got.len()
            );
            assert!(is_it, "{error:?}");
        }
        let recorded = report.record_values(&place, &[1.0], &[1.0, 1.0]);
        assert!(matches!(recorded, Err(GoldenError::Count { .. })));
        // A comparison that was not made is not counted.
        assert_eq!(report, Report::default());
    }
}

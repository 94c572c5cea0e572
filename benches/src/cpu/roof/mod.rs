//! The bounds of kernels on this CPU, measured: what memory and its caches give, and what each
//! kind of arithmetic reaches.
//!
//! | module | what |
//! |---|---|
//! | [`memory`], [`pass`], [`register`] | reading, writing, copying and updating at each level |
//! | [`caches`] | the sizes that make levels |
//! | [`arithmetic`], [`loops`] | f32, bf16 and 8-bit integers out of registers |
//!
//! Which of them bounds a kernel follows from its case: [`crate::record::RoofRecord::bound`].

mod arithmetic;
mod caches;
mod loops;
mod memory;
mod pass;
mod register;

pub use arithmetic::Arithmetic;

use self::arithmetic::Rate;
use self::caches::Caches;
use self::memory::{Level, Memory, levels};
use self::pass::Traffic;
use super::{Timer, rows_of_part};
use crate::target::level_of;
use crate::{BenchError, Case, Opened, Roof, Target};
use rayon::prelude::*;

/// The bounds that some cases need; without cases, all bounds of this CPU.
pub fn roof<'c>(cases: impl Iterator<Item = &'c Case> + Clone) -> Roof {
    let threads = rayon::current_num_threads();
    let levels = levels(Caches::capture(), threads);
    let is_of_all = cases.clone().next().is_none();
    let sets = levels.map(|level| level.working_set as u64);
    let needs = |level: &Level| {
        let set = Some(level.working_set as u64);
        let of_case = |case: &Case| case.bytes > 0 && level_of(sets, case) == set;
        is_of_all || level.is_memory || cases.clone().any(of_case)
    };
    let mut memory: Vec<Box<dyn Target>> = Vec::new();
    for level in levels.into_iter().filter(needs) {
        let kinds = Traffic::ALL.into_iter();
        for traffic in kinds.filter(|traffic| level.is_memory || !traffic.is_streaming()) {
            memory.push(Box::new(Memory::new(traffic, level, threads)));
        }
    }
    let names = |kind: &Arithmetic| {
        let name = Some(kind.name());
        let of_case = |case: &Case| case.arithmetic.as_deref() == name;
        is_of_all || cases.clone().any(of_case)
    };
    let arithmetic = Arithmetic::available().filter(names);
    let rate = |kind| -> Box<dyn Target> { Box::new(Rate::new(kind, threads)) };
    Roof {
        copy: Box::new(Copy::default()),
        product: None,
        // Nothing is launched.
        empty: None,
        memory,
        arithmetic: arithmetic.map(rate).collect(),
    }
}

/// f32 elements of the copy: far more than caches hold.
const COPIED: usize = 1 << 25;
const COLS: usize = 1024;

/// `memcpy` beyond the caches, in whatever way the system's library copies so much: what a kernel's
/// bandwidth is compared with.
struct Copy(Case);

impl Default for Copy {
    fn default() -> Self {
        Self(Case {
            kernel: "cpu_copy".to_owned(),
            family: "roof".to_owned(),
            rows: COPIED / COLS,
            cols: COLS,
            bytes: 8 * COPIED as u64,
            written: Some(4 * COPIED as u64),
            ..Case::default()
        })
    }
}

impl Target for Copy {
    fn case(&self) -> &Case {
        &self.0
    }

    fn memory(&self) -> u64 {
        self.0.bytes
    }

    fn open(&self) -> Result<Box<dyn Opened + '_>, BenchError> {
        let from = vec![1f32; COPIED];
        let mut to = vec![2f32; COPIED];
        let part = rows_of_part(self.0.rows) * COLS;
        Ok(Box::new(Timer(move || {
            let parts = to.par_chunks_mut(part).zip(from.par_chunks(part));
            parts.for_each(|(to, from)| to.copy_from_slice(from));
            std::hint::black_box(&mut to);
            Ok(())
        })))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::suite::{self, Selection};

    #[test]
    fn every_case_of_the_suite_has_its_roofs() {
        let all = Selection {
            kernels: vec![glob::Pattern::new("*").expect("a pattern")],
            ..Selection::default()
        };
        let targets = suite::cpu(&all).targets;
        let roof = roof(targets.iter().map(|target| target.case()));
        for target in &targets {
            let case = target.case();
            let mut roofs = roof.memory.iter().map(|roof| roof.case().working_set());
            assert!(roofs.any(|set| set <= case.working_set()), "{case:?}");
            let mut kinds = roof.arithmetic.iter().map(|roof| &roof.case().kernel);
            let needs = case.operations > 0;
            let has = kinds.any(|name| case.arithmetic.as_ref() == Some(name));
            assert_eq!(needs, has, "{case:?}");
        }
    }

    #[test]
    fn roofs_run_and_are_named_apart() {
        let roof = roof(std::iter::empty());
        let targets = roof.memory.iter().chain(&roof.arithmetic);
        let mut names: Vec<String> = targets
            .map(|target| {
                let seconds = target.open().and_then(|mut opened| opened.time(1));
                assert!(seconds.is_ok_and(|seconds| seconds > 0.0));
                target.case().kernel.clone()
            })
            .collect();
        let count = names.len();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), count);
        assert!(count > 4 * 4 + 2);
    }
}

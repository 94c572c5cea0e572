//! A kernel of the registry with another PTX text, such as an edited dump.

use super::{Entry, EntryError, Expected, Grid, Place, Problem, Sampled, Shape, kernels};
use crate::kernel::{Kernel, KernelId, Signature};
use rand_chacha::ChaCha8Rng;
use std::collections::BTreeMap;

/// An entry with another PTX text.
pub struct Substitute {
    entry: Box<dyn Entry>,
    ptx: String,
}

impl Substitute {
    /// `entry` with `ptx` for its own text.
    pub fn new(entry: Box<dyn Entry>, ptx: String) -> Self {
        Self { entry, ptx }
    }

    /// The kernels of the registry whose entries the texts define, each with its text; and the
    /// names of entries that belong to no kernel, sorted.
    pub fn all(texts: &[String]) -> (Vec<Self>, Vec<String>) {
        let is_of_name = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '$';
        let name = |rest: &str| {
            let rest = rest.trim_start();
            rest[..rest.find(|c| !is_of_name(c)).unwrap_or(rest.len())].to_owned()
        };
        let names_of =
            |text: &str| -> Vec<String> { text.split(".entry").skip(1).map(name).collect() };
        let mut text_of: BTreeMap<String, &String> = BTreeMap::new();
        for text in texts {
            text_of.extend(names_of(text).into_iter().map(|name| (name, text)));
        }
        let with_text = |entry: Box<dyn Entry>| {
            let text = text_of.remove(&*entry.id())?;
            Some(Self::new(entry, text.clone()))
        };
        let known = kernels().filter_map(with_text).collect();
        (known, text_of.into_keys().collect())
    }
}

impl Kernel for Substitute {
    fn id(&self) -> KernelId {
        self.entry.id()
    }

    fn family(&self) -> &'static str {
        self.entry.family()
    }

    fn signature(&self) -> Signature {
        self.entry.signature()
    }

    fn ptx(&self) -> String {
        self.ptx.clone()
    }

    fn runs_on(&self, sm: u32) -> bool {
        self.entry.runs_on(sm)
    }

    fn elements_per_thread(&self) -> u32 {
        self.entry.elements_per_thread()
    }

    fn shape(&self) -> Shape {
        self.entry.shape()
    }

    fn axes(&self) -> [&'static str; 2] {
        self.entry.axes()
    }

    fn bytes(&self, shape: Shape) -> u64 {
        self.entry.bytes(shape)
    }

    fn operations(&self, shape: Shape) -> u64 {
        self.entry.operations(shape)
    }

    fn elements_per_pass(&self, shape: Shape) -> Option<f64> {
        self.entry.elements_per_pass(shape)
    }
}

impl Entry for Substitute {
    fn problem(&self, rng: &mut ChaCha8Rng, elements: usize) -> Problem {
        self.entry.problem(rng, elements)
    }

    fn problem_of(
        &self,
        rng: &mut ChaCha8Rng,
        shape: Shape,
        thread_blocks: usize,
    ) -> Result<Problem, EntryError> {
        self.entry.problem_of(rng, shape, thread_blocks)
    }

    fn elements(&self, problem: &Problem) -> u64 {
        self.entry.elements(problem)
    }

    fn reference(&self, problem: &Problem) -> Result<Expected, EntryError> {
        self.entry.reference(problem)
    }

    fn grid(&self, problem: &Problem) -> Result<Option<Grid>, EntryError> {
        self.entry.grid(problem)
    }

    fn reference_at(&self, problem: &Problem, places: &[Place]) -> Result<Sampled, EntryError> {
        self.entry.reference_at(problem, places)
    }

    fn lower(&self, problem: &Problem) -> Result<Problem, EntryError> {
        self.entry.lower(problem)
    }

    fn smaller(&self, problem: &Problem) -> Vec<Problem> {
        self.entry.smaller(problem)
    }
}

//! A kernel of the registry on a shape.

use super::check::{check, expected};
use super::{Gpu, Launches, case};
use crate::{BenchError, Case, Opened, Target};
use mxlab_fuzz::campaign::{case_seed, problem_of};
use mxlab_kernels::kernel::thread_blocks;
use mxlab_kernels::registry::{Entry, Failure, Shape, Task, verify};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use std::rc::Rc;

/// Random problems that a kernel is verified on before it is timed.
const PROBLEMS: u32 = 12;
/// Their elements, about.
const ELEMENTS: usize = 4096;

/// A kernel on a device.
pub struct KernelTarget {
    gpu: Rc<Gpu>,
    entry: Rc<dyn Entry>,
    shape: Shape,
    seed: u64,
    case: Case,
}

impl KernelTarget {
    /// The kernel on that shape; `seed` chooses what is in its tensors.
    pub fn new(gpu: Rc<Gpu>, entry: Rc<dyn Entry>, shape: Shape, seed: u64) -> Self {
        let costs = [entry.bytes(shape), entry.operations(shape)];
        let case = case(entry.id().into(), entry.family(), shape, costs);
        Self {
            gpu,
            entry,
            shape,
            seed,
            case,
        }
    }
}

impl Target for KernelTarget {
    fn case(&self) -> &Case {
        &self.case
    }

    fn memory(&self) -> u64 {
        self.case.bytes * self.gpu.copies(self.case.bytes) as u64
    }

    fn open(&self) -> Result<Box<dyn Opened + '_>, BenchError> {
        let Gpu { device, stream } = &*self.gpu;
        let entry = &*self.entry;
        let sm = device.properties().sm;
        if !self.gpu.is_emulator() && !entry.runs_on(sm) {
            return Err(BenchError::Shape {
                kernel: entry.id().into(),
                reason: format!("it does not run on sm_{sm}"),
            });
        }
        let wrong = |failure| match failure {
            Failure::Mismatch(mismatch) => BenchError::Wrong(mismatch.to_string()),
            Failure::Output(error) => BenchError::Wrong(error.to_string()),
            failure => failure.into(),
        };
        let runner = entry.load(device, &entry.ptx())?;
        for number in 0..PROBLEMS {
            let seed = case_seed(self.seed, &entry.id(), number);
            let problem = problem_of(entry, seed, ELEMENTS);
            verify(entry, &*runner, stream, &problem).map_err(wrong)?;
        }
        let mut rng = ChaCha8Rng::seed_from_u64(self.seed);
        let problem = entry.problem_of(&mut rng, self.shape, thread_blocks(device.properties()))?;
        if problem.sizes.get("in_place").is_some_and(|&is| is != 0) {
            return Err(BenchError::Shape {
                kernel: entry.id().into(),
                reason: "it works in place: each launch would take what the one before has written"
                    .to_owned(),
            });
        }
        let expected = expected(entry, &problem, self.case.operations, self.seed)?;
        let copies = self.gpu.copies(self.case.bytes);
        let prepared = runner.prepare(&problem)?;
        let tasks: Vec<Box<dyn Task>> = (0..copies)
            .map(|_| prepared.copy())
            .collect::<Result<_, _>>()?;
        drop(prepared);
        let mut launches = Launches::new(&self.gpu, copies, |count| {
            let record = |stream: &_| -> Result<(), BenchError> {
                let mut tasks = tasks.iter().cycle().take(count);
                Ok(tasks.try_for_each(|task| task.launch(stream))?)
            };
            stream.record_graph(record)
        })?;
        check(|| launches.replay(1).map(drop), &tasks, &expected)?;
        // The graph keeps the buffers.
        Ok(Box::new(launches))
    }
}

//! Checks the timed launches against the reference: the same graph, on the same buffers.

use crate::BenchError;
use mxlab_kernels::registry::{Entry, EntryError, Outputs, Problem, Sampled, SampledError, Task};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

/// Elements of outputs that are recomputed, at least.
const OUTPUTS: usize = 512;
/// Multiplications, or elements, of a problem up to which all of its outputs are recomputed.
const CHEAP: u64 = 1 << 20;
/// Times that the graph is replayed, each on outputs that nothing has written yet.
const REPLAYS: u32 = 2;

/// The expected outputs of a problem: of [`OUTPUTS`] elements with every edge and a random rest, or
/// of all elements where these are few or cheap.
pub(super) fn expected(
    entry: &dyn Entry,
    problem: &Problem,
    operations: u64,
    seed: u64,
) -> Result<Sampled, EntryError> {
    let grid = entry.grid(problem)?;
    match grid.filter(|_| entry.elements(problem).max(operations / 2) > CHEAP) {
        None => Ok(Sampled::whole(entry.reference(problem)?)),
        Some(grid) => {
            let rng = &mut ChaCha8Rng::seed_from_u64(seed);
            entry.reference_at(problem, &grid.places(rng, OUTPUTS))
        }
    }
}

/// Replays the graph twice, by `replay`. The outputs of the first set of buffers must be right. All
/// other sets, and all sets after the second replay, must have the same bits.
pub(super) fn check(
    mut replay: impl FnMut() -> Result<(), BenchError>,
    tasks: &[Box<dyn Task>],
    expected: &Sampled,
) -> Result<(), BenchError> {
    let mut first: Option<Outputs> = None;
    for number in 1..=REPLAYS {
        tasks.iter().try_for_each(|task| task.clear())?;
        replay()?;
        for (set, task) in tasks.iter().enumerate() {
            let got = task.outputs()?;
            match &first {
                Some(first) => same(first, &got).map_err(|difference| {
                    BenchError::Unsteady(format!(
                        "{difference} in replay {number}, buffers {}",
                        set + 1
                    ))
                })?,
                None => {
                    expected.check(&got).map_err(wrong)?;
                    first = Some(got);
                }
            }
        }
    }
    Ok(())
}

fn wrong(error: SampledError) -> BenchError {
    BenchError::Wrong(match error {
        SampledError::Mismatch(mismatch) => {
            format!("{mismatch} (of those that were recomputed, in the launch to be timed)")
        }
        other => other.to_string(),
    })
}

/// Whether two launches gave the same bits.
fn same(first: &Outputs, second: &Outputs) -> Result<(), String> {
    if !first.keys().eq(second.keys()) {
        return Err("other outputs".to_owned());
    }
    for ((name, first), second) in first.iter().zip(second.values()) {
        let mut pairs = first.bits.iter().zip(&second.bits);
        if let Some(index) = pairs.position(|(first, second)| first != second) {
            let [before, after] = [first.bits[index], second.bits[index]];
            return Err(format!(
                "{name}[{index}] was {before:#x} at first, then {after:#x}"
            ));
        }
        if first.bits.len() != second.bits.len() {
            return Err(format!("{name} has another length"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use mxlab_harness::device::{Buffer, Device, DeviceError, Stream};
    use mxlab_kernels::registry::{ElementType, Expectation, Expected, Tensor, UNTOUCHED};
    use std::cell::Cell;
    use std::rc::Rc;

    /// A buffer of four bytes that replays write.
    struct Fake(Rc<Buffer>);

    impl Task for Fake {
        fn launch(&self, _stream: &Stream) -> Result<(), EntryError> {
            Ok(())
        }

        fn written(&self) -> Vec<&Buffer> {
            vec![&*self.0]
        }

        fn outputs(&self) -> Result<Outputs, EntryError> {
            let bytes = self.0.download::<u8>()?;
            Ok(Outputs::from([("dst", Tensor::of_bytes(&bytes))]))
        }
    }

    /// Checks two sets of buffers; `writes` gives what each replay, from 0 on, writes to each of
    /// them.
    fn checked(writes: impl Fn(u32, usize) -> Option<[u8; 4]>) -> Result<(), BenchError> {
        let device = Device::emulator();
        let buffer = |_| device.upload("dst", &[UNTOUCHED; 4]).map(Rc::new);
        let buffers: Vec<Rc<Buffer>> = (0..2).map(buffer).collect::<Result<_, DeviceError>>()?;
        let tasks = buffers
            .iter()
            .map(|buffer| -> Box<dyn Task> { Box::new(Fake(buffer.clone())) });
        let tasks: Vec<Box<dyn Task>> = tasks.collect();
        let right = Tensor {
            element: ElementType::U8,
            bits: vec![1, 2, 3, 4],
        };
        let expected = Expected::from([("dst", Expectation::Exactly(right))]);
        let replays = Cell::new(0);
        let replay = || -> Result<(), BenchError> {
            for (set, buffer) in buffers.iter().enumerate() {
                if let Some(bytes) = writes(replays.get(), set) {
                    buffer.write(0, &bytes)?;
                }
            }
            replays.set(replays.get() + 1);
            Ok(())
        };
        check(replay, &tasks, &Sampled::whole(expected))
    }

    const RIGHT: [u8; 4] = [1, 2, 3, 4];

    #[test]
    fn launches_that_are_right_and_steady_pass() {
        checked(|_, _| Some(RIGHT)).expect("right");
    }

    #[test]
    fn a_replay_that_differs_or_writes_nothing_is_refused() {
        let wrong = checked(|_, _| Some([1, 2, 3, 5])).expect_err("wrong");
        assert!(
            matches!(&wrong, BenchError::Wrong(what) if what.contains("dst[3]")),
            "{wrong}"
        );
        let unsteady = |error: Result<(), BenchError>, part: &str| {
            let error = error.expect_err("unsteady").to_string();
            assert!(
                error.contains("different outputs") && error.contains(part),
                "{error}"
            );
        };
        // The second set of buffers; the second replay; nothing written by it.
        let set = checked(|_, set| Some([1, 2, 3 + set as u8, 4]));
        unsteady(
            set,
            "dst[2] was 0x3 at first, then 0x4 in replay 1, buffers 2",
        );
        let later = checked(|replay, set| Some([1 + replay as u8 * set as u8, 2, 3, 4]));
        unsteady(
            later,
            "dst[0] was 0x1 at first, then 0x2 in replay 2, buffers 2",
        );
        let once = checked(|replay, _| (replay == 0).then_some(RIGHT));
        unsteady(once, "then 0xa5 in replay 2, buffers 1");
    }
}

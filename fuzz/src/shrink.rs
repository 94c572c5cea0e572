//! The smallest problem on which a kernel is still wrong.

use mxlab_kernels::registry::{Entry, Problem};

/// Tries of smaller problems, at most.
const TRIES: u32 = 4000;

/// Makes `problem` smaller as long as `fails` says that it still fails: fewer rows and blocks as
/// the entry cuts them, then zeros for elements, in halves down to single ones.
pub fn shrink(
    entry: &dyn Entry,
    problem: Problem,
    mut fails: impl FnMut(&Problem) -> bool,
) -> Problem {
    let mut tries = 0;
    let mut still_fails = |candidate: &Problem| {
        tries += 1;
        tries <= TRIES && fails(candidate)
    };
    let mut smallest = problem;
    while let Some(smaller) = entry.smaller(&smallest).into_iter().find(&mut still_fails) {
        smallest = smaller;
    }
    let names: Vec<String> = smallest.tensors.keys().cloned().collect();
    for name in names {
        let len = smallest.tensors[&name].bits.len();
        let mut width = len;
        while width > 0 {
            for first in (0..len).step_by(width) {
                let mut zeroed = smallest.clone();
                let Some(tensor) = zeroed.tensors.get_mut(&name) else {
                    continue;
                };
                let bits = &mut tensor.bits[first..len.min(first + width)];
                if bits.iter().any(|&bits| bits != 0) {
                    bits.fill(0);
                    if still_fails(&zeroed) {
                        smallest = zeroed;
                    }
                }
            }
            width /= 2;
        }
    }
    smallest
}

//! Results that are recomputed one by one: the same as by the full reference, and faults in them
//! show.

use mxlab_kernels::registry::{
    Entry, Expectation, Grid, Outputs, Sampled, SampledError, Tensor, kernels,
};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use std::collections::BTreeMap;

/// Kernels of each family, spread over all of it, and problems of each.
const KERNELS: usize = 60;
const PROBLEMS: u64 = 8;
/// Elements of a problem, about.
const ELEMENTS: usize = 1500;

fn families() -> BTreeMap<&'static str, Vec<Box<dyn Entry>>> {
    let mut families: BTreeMap<&str, Vec<Box<dyn Entry>>> = BTreeMap::new();
    for entry in kernels() {
        families.entry(entry.family()).or_default().push(entry);
    }
    let few = |mut of: Vec<Box<dyn Entry>>| {
        let step = of.len().div_ceil(KERNELS);
        let mut index = 0;
        of.retain(|_| {
            index += 1;
            (index - 1) % step == 0
        });
        of
    };
    families
        .into_iter()
        .map(|(name, of)| (name, few(of)))
        .collect()
}

/// Some places of a grid, fewer than all where there are many.
fn some(grid: &Grid, rng: &mut ChaCha8Rng) -> Vec<[usize; 2]> {
    let places = grid.places(rng, 24 * grid.outputs);
    assert!(places.len() <= 24.max(grid.size.iter().product()));
    places
}

#[test]
fn results_one_by_one_are_those_of_the_full_reference() {
    let (mut gridded, mut parts) = (0, 0);
    for (family, entries) in families() {
        for entry in entries {
            let id = entry.id();
            for seed in 0..PROBLEMS {
                let rng = &mut ChaCha8Rng::seed_from_u64(seed);
                let problem = entry.problem(rng, ELEMENTS);
                let whole = entry.reference(&problem).unwrap();
                let grid = entry.grid(&problem).unwrap();
                let is_whole = matches!(family, "tensor_scale" | "shuffle");
                assert_eq!(grid.is_none(), is_whole, "{id}");
                let places = grid.map(|grid| some(&grid, rng)).unwrap_or_default();
                let sampled = entry.reference_at(&problem, &places).unwrap();
                let compared = sampled.check_against(&whole);
                assert_eq!(compared, Ok(()), "{id}, seed {seed}");
                assert!(!sampled.is_empty(), "{id}");
                let Some(grid) = grid else { continue };
                gridded += 1;
                let all = grid.size[0] * grid.size[1];
                parts += usize::from(places.len() < all);
                assert!(sampled.len() >= places.len(), "{id}");
            }
        }
    }
    // Most problems of most families are small: enough of them were recomputed in part.
    assert!(gridded > 2000 && parts > 400, "{gridded} {parts}");
}

/// Outputs that are right.
fn right(sampled_of: &BTreeMap<&'static str, Expectation>) -> Outputs {
    let tensor = |(&name, expected): (&&'static str, &Expectation)| {
        let Expectation::Exactly(tensor) = expected else {
            panic!("{name} has ranges");
        };
        (name, tensor.clone())
    };
    sampled_of.iter().map(tensor).collect()
}

#[test]
fn what_differs_is_missing_or_short_is_told() {
    let entry = kernels()
        .find(|entry| entry.id() == "copy_bf16__sm80")
        .or_else(|| kernels().find(|entry| entry.family() == "copy"))
        .unwrap();
    let rng = &mut ChaCha8Rng::seed_from_u64(3);
    let shape = mxlab_kernels::registry::Shape {
        rows: 100,
        cols: 64,
        tokens: None,
    };
    let problem = entry.problem_of(rng, shape, 8).unwrap();
    let grid = entry.grid(&problem).unwrap().unwrap();
    let places = grid.places(rng, 64 * 20);
    assert_eq!(places.len(), 20);
    let sampled = entry.reference_at(&problem, &places).unwrap();
    assert_eq!(sampled.len(), 20 * 64);
    let outputs = right(&entry.reference(&problem).unwrap());
    assert_eq!(sampled.check(&outputs), Ok(()));

    // The last element of the last row.
    let mut wrong = outputs.clone();
    let last = wrong["dst"].bits.len() - 1;
    wrong.get_mut("dst").unwrap().bits[last] ^= 1;
    let Err(SampledError::Mismatch(mismatch)) = sampled.check(&wrong) else {
        panic!("the fault was not seen");
    };
    assert_eq!(
        (mismatch.index, mismatch.count, mismatch.of),
        (last, 1, 1280)
    );

    let mut short = outputs.clone();
    short.get_mut("dst").unwrap().bits.pop();
    let length = SampledError::Length {
        output: "dst",
        expected: last + 1,
        got: last,
    };
    assert_eq!(sampled.check(&short), Err(length));
    let missing = sampled.check(&Outputs::new());
    assert_eq!(missing, Err(SampledError::Missing("dst")));

    // A reference that knows other bits, or lacks an output, is told too.
    let mut other = entry.reference(&problem).unwrap();
    if let Some(Expectation::Exactly(Tensor { bits, .. })) = other.get_mut("dst") {
        bits[last] ^= 1;
    }
    assert_eq!(sampled.check_against(&other), Err(("dst", last)));
    assert_eq!(Sampled::default().check_against(&other), Err(("dst", 0)));
}

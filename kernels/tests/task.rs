//! Problems of a shape: right by the reference, and the same on every launch.

use mxlab_harness::device::{Device, Statistics, Stream};
use mxlab_kernels::family::attention::{AttentionRegime, AttentionVariant};
use mxlab_kernels::family::matmul::MatmulVariant;
use mxlab_kernels::kernel::Kernel;
use mxlab_kernels::registry::{Entry, EntryError, Problem, ProblemError, Shape, kernels, verify};
use ptx_emulator::launch::Kernels;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use std::collections::BTreeMap;

/// Thread blocks of a device that products and attentions are split for.
const THREAD_BLOCKS: usize = 64;

/// The first, the middle and the last kernel of each kind: of names that begin with the same two
/// words.
fn sample() -> Vec<Box<dyn Entry>> {
    let mut kinds: BTreeMap<String, Vec<Box<dyn Entry>>> = BTreeMap::new();
    for entry in kernels() {
        let id = entry.id();
        let kind: Vec<&str> = id.split('_').take(2).collect();
        kinds.entry(kind.join("_")).or_default().push(entry);
    }
    let few = |mut of: Vec<Box<dyn Entry>>| {
        let (middle, last) = (of.len() / 2, of.len() - 1);
        let mut index = 0;
        of.retain(|_| {
            index += 1;
            [0, middle, last].contains(&(index - 1))
        });
        of
    };
    kinds.into_values().flat_map(few).collect()
}

/// One that is small, and long enough for thread blocks to share it.
fn small(entry: &dyn Entry) -> Shape {
    let (rows, cols, tokens) = match entry.family() {
        "attention" if entry.id().contains("decode") => (2 * 299, 64, None),
        "attention" => (8 * 40, 64, None),
        "append" => (12, 128, None),
        // Whole tiles of gate and up.
        "matmul" if entry.id().contains("swiglu") => (32, 1100, Some(9)),
        "matmul" => (19, 1100, Some(9)),
        // Of more rows than are drawn.
        _ => (35, 256, None),
    };
    Shape { rows, cols, tokens }
}

fn problem_of(entry: &dyn Entry, shape: Shape) -> Result<Problem, EntryError> {
    let rng = &mut ChaCha8Rng::seed_from_u64(1);
    entry.problem_of(rng, shape, THREAD_BLOCKS)
}

#[test]
fn problems_of_a_shape_are_right_and_the_same_on_every_launch() {
    let device = Device::emulator();
    let stream = device.stream().unwrap();
    let (mut families, mut shared) = (BTreeMap::<&str, usize>::new(), 0);
    for entry in sample() {
        let (id, entry) = (entry.id(), &*entry);
        let problem = problem_of(entry, small(entry)).unwrap();
        let parts = ["parts", "splits"].map(|name| problem.sizes.get(name).copied());
        shared += usize::from(parts.into_iter().flatten().any(|parts| parts > 1));
        let runner = entry.load(&device, &entry.ptx()).unwrap();
        verify(entry, &*runner, &stream, &problem).unwrap_or_else(|error| panic!("{id}: {error}"));

        let prepared = runner.prepare(&problem).unwrap();
        let [once, often, graph] = [(); 3].map(|()| prepared.copy().unwrap());
        once.launch(&stream).unwrap();
        let expected = once.outputs().unwrap();
        assert!(!expected.is_empty(), "{id}");
        for _ in 0..3 {
            often.launch(&stream).unwrap();
            assert_eq!(often.outputs().unwrap(), expected, "{id}");
        }
        let recorded = stream.record_graph(|stream| {
            graph.launch(stream)?;
            graph.launch(stream)
        });
        let recorded = recorded.unwrap();
        assert_ne!(
            graph.outputs().unwrap(),
            expected,
            "{id} ran while recorded"
        );
        stream.replay(&recorded).unwrap();
        stream.replay(&recorded).unwrap();
        assert_eq!(graph.outputs().unwrap(), expected, "{id}");
        *families.entry(entry.family()).or_default() += 1;
    }
    let all: BTreeMap<&str, usize> = kernels().map(|entry| (entry.family(), 0)).collect();
    assert!(all.keys().eq(families.keys()), "{families:?}");
    assert!(shared > 8, "{shared} were shared by thread blocks");
}

/// Multiplications and additions of the tensor core instructions of a launch.
fn executed(entry: &dyn Entry, statistics: &Statistics) -> u64 {
    let kernels = Kernels::load(&entry.ptx()).unwrap();
    let instructions = &kernels.programs()[0].instructions;
    let operations = |text: &str| {
        let size = text.strip_prefix("mma.")?.split(".m16n8k").nth(1)?;
        let k: u64 = size.split('.').next()?.parse().ok()?;
        Some(2 * 16 * 8 * k)
    };
    let counts = instructions.iter().zip(&statistics.executed);
    let counts = counts.filter_map(|(i, count)| Some(count * operations(&i.text)?));
    counts.sum()
}

fn run(entry: &dyn Entry, shape: Shape, stream: &Stream, device: &Device) -> u64 {
    let problem = problem_of(entry, shape).unwrap();
    let runner = entry.load(device, &entry.ptx()).unwrap();
    runner.run(stream, &problem).unwrap();
    executed(entry, &stream.statistics().unwrap())
}

#[test]
fn operations_are_those_of_the_tensor_core_instructions() {
    let device = Device::emulator();
    let stream = device.stream().unwrap();
    for variant in MatmulVariant::all().step_by(41) {
        // Whole thread blocks.
        let shape = Shape {
            rows: variant.regime().shape().rows() as usize,
            cols: 512,
            tokens: None,
        };
        let operations = variant.operations(shape);
        assert_eq!(
            operations,
            run(&variant, shape, &stream, &device),
            "{variant}"
        );
    }
    for variant in AttentionVariant::all().step_by(37) {
        // The rows of a warp are all there, or none; what is masked is done nevertheless.
        let shape = Shape {
            rows: 8 * 512,
            cols: variant.max_head_dim(),
            tokens: Some(match variant.regime() {
                AttentionRegime::Decode => 2,
                AttentionRegime::Prefill => 16,
            }),
        };
        let operations = variant.operations(shape) as f64;
        let share = operations / run(&variant, shape, &stream, &device) as f64;
        assert!(0.97 < share && share <= 1.0, "{variant}: {share}");
    }
}

#[test]
fn a_shape_that_is_none_is_refused() {
    let attention = AttentionVariant::all().next().unwrap();
    let none = Shape {
        rows: 0,
        cols: 64,
        tokens: None,
    };
    let many = Shape {
        rows: 8,
        cols: 64,
        tokens: Some(2),
    };
    let huge = Shape {
        rows: usize::MAX,
        ..many
    };
    for (shape, wrong) in [(none, "rows"), (many, "tokens"), (huge, "rows")] {
        match problem_of(&attention, shape) {
            Err(EntryError::Problem(ProblemError::Unfit { name, .. })) => assert_eq!(name, wrong),
            other => panic!("{other:?}"),
        }
    }
    for entry in sample() {
        for shape in [none, huge] {
            assert!(problem_of(&*entry, shape).is_err(), "{}", entry.id());
        }
    }
}

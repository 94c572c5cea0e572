//! What `sample` chooses, against probabilities in f64; launches of its kernel that are refused.

use mxlab_harness::device::Device;
use mxlab_kernels::family::sample::Sample;
use mxlab_kernels::kernel::{Call, Kernel, Slice};
use mxlab_kernels::reference::{MOST_LOGITS, SampleError, Sampling, sample};
use proptest::prelude::*;

const ALL: Sampling = Sampling {
    temperature: 1.0,
    top_p: 1.0,
};

/// How many of the 2^32 random numbers choose each token: the numbers of a token follow each other.
fn counts(logits: &[f32], sampling: &Sampling) -> Vec<u64> {
    let token = |random: u32| sample(logits, sampling, random).unwrap() as usize;
    // The first random number that chooses a token behind `last`.
    let behind = |last: usize| {
        let (mut low, mut high) = (0u64, 1u64 << 32);
        while low < high {
            let middle = (low + high) / 2;
            match token(middle as u32) > last {
                true => high = middle,
                false => low = middle + 1,
            }
        }
        low
    };
    let ends: Vec<u64> = (0..logits.len()).map(behind).collect();
    let starts = std::iter::once(0).chain(ends.iter().copied());
    ends.iter()
        .zip(starts)
        .map(|(end, start)| end - start)
        .collect()
}

/// Probabilities in f64.
fn softmax(logits: &[f32], temperature: f32) -> Vec<f64> {
    let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let weight = |&x: &f32| (f64::from((x - max) / temperature)).exp();
    let sum: f64 = logits.iter().map(weight).sum();
    logits.iter().map(|x| weight(x) / sum).collect()
}

fn logits() -> impl Strategy<Value = Vec<f32>> {
    let coarse = (-4i8..4).prop_map(f32::from);
    let fine = -8.0f32..8.0;
    let never = Just(f32::NEG_INFINITY);
    let row = prop::collection::vec(prop_oneof![4 => coarse, 8 => fine, 1 => never], 1..40);
    let is_finite = |row: &Vec<f32>| row.iter().any(|x| x.is_finite());
    row.prop_filter("a finite logit", is_finite)
}

proptest! {
    #[test]
    fn tokens_are_as_frequent_as_they_are_probable(
        logits in logits(),
        temperature in 0.25f32..4.0,
    ) {
        let sampling = Sampling { temperature, top_p: 1.0 };
        let expected = softmax(&logits, temperature);
        for (count, p) in counts(&logits, &sampling).into_iter().zip(expected) {
            let expected = p * 2f64.powi(32);
            prop_assert!((count as f64 - expected).abs() <= 2.0, "{count} of {expected}");
        }
    }

    /// The nucleus is the likeliest tokens, ties together, no more of them than p takes; within it
    /// they are as frequent as without it; with a greater p it has no token less.
    #[test]
    fn the_nucleus_is_the_likeliest_tokens(
        logits in logits(),
        temperature in 0.25f32..4.0,
        [p, other] in [0.001f32..=1.0, 0.001f32..=1.0],
    ) {
        let probabilities = softmax(&logits, temperature);
        let chosen = |top_p| counts(&logits, &Sampling { temperature, top_p });
        let counts = chosen(p);
        let least = logits.iter().zip(&counts).filter(|&(_, &count)| count > 0).map(|(&x, _)| x);
        let least = least.fold(f32::INFINITY, f32::min);
        let sum = |is_in: &dyn Fn(f32) -> bool| -> f64 {
            let tokens = logits.iter().zip(&probabilities);
            tokens.filter(|&(&x, _)| is_in(x)).map(|(_, p)| p).sum()
        };
        let share = sum(&|x| x >= least);
        prop_assert!(share >= f64::from(p) - 1e-9);
        prop_assert!(sum(&|x| x > least) <= f64::from(p) + 1e-9);
        for ((&x, &count), probability) in logits.iter().zip(&counts).zip(&probabilities) {
            let expected = if x >= least { probability / share * 2f64.powi(32) } else { 0.0 };
            prop_assert!((count as f64 - expected).abs() <= 2.0, "{count} of {expected}");
        }
        let [fewer, more] = [p.min(other), p.max(other)].map(chosen);
        prop_assert!(fewer.iter().zip(&more).all(|(&fewer, &more)| fewer == 0 || more > 0));
    }

    #[test]
    fn at_temperature_0_it_is_the_first_of_the_greatest(logits in logits(), random: u32) {
        let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let first = logits.iter().position(|&x| x == max).map(|i| i as u32);
        prop_assert_eq!(sample(&logits, &Sampling::GREEDY, random).ok(), first);
        let cold = Sampling { temperature: f32::MIN_POSITIVE, top_p: 1.0 };
        let coldest = sample(&logits, &cold, 0).ok();
        prop_assert_eq!(coldest, first);
    }
}

/// Sums just below p, and exactly p.
#[test]
fn a_threshold_that_p_meets_exactly_is_enough() {
    let logits = [3.0, 1.0, 3.0, -0.0, 3.0, 0.0, 3.0];
    let nucleus = |top_p: f32| {
        let sampling = Sampling {
            temperature: 0.25,
            top_p,
        };
        let counts = counts(&logits, &sampling);
        let tokens = (0..).zip(counts).filter(|&(_, count)| count > 0);
        tokens.map(|(token, _)| token).collect::<Vec<u32>>()
    };
    // Of 4 + e^-8 + 2 e^-12 the four have 0.99991.
    assert_eq!(nucleus(0.0001), [0, 2, 4, 6]);
    assert_eq!(nucleus(0.9999), [0, 2, 4, 6]);
    assert_eq!(nucleus(0.99999), [0, 1, 2, 4, 6]);
    // -0 and 0 are one logit.
    assert_eq!(nucleus(0.999998), [0, 1, 2, 3, 4, 5, 6]);
    // A second weight of zero: the first has all of the sum.
    let two = [0.0, -(60.0 * std::f32::consts::LN_2)];
    let half = Sampling { top_p: 0.5, ..ALL };
    assert_eq!(counts(&two, &half), [1 << 32, 0]);
    assert_eq!(counts(&[7.0; 4], &half), [1 << 30; 4]);
    // 1, 1, 1 and 1/4.
    let four = [0.0, 0.0, 0.0, -(2.0 * std::f32::consts::LN_2)];
    let quarter = |top_p| counts(&four, &Sampling { top_p, ..ALL })[3];
    assert_eq!(quarter(12.0 / 13.0 - 1e-6), 0);
    assert!(quarter(12.0 / 13.0 + 1e-6) > 0);
}

#[test]
fn rows_without_a_choice_are_errors() {
    let nan = sample(&[0.0, 1.0, f32::NAN, f32::NAN], &ALL, 0).unwrap_err();
    assert!(matches!(nan, SampleError::Logit { token: 2, .. }), "{nan}");
    let infinite = sample(&[f32::INFINITY], &Sampling::GREEDY, 0).unwrap_err();
    assert_eq!(
        infinite.to_string(),
        "the logit of token 0 is inf; expected a finite number or -inf"
    );
    for row in [&[][..], &[f32::NEG_INFINITY; 3]] {
        assert_eq!(sample(row, &ALL, 0), Err(SampleError::NoneFinite));
    }
    for temperature in [-1.0, f32::INFINITY, f32::NAN] {
        let wrong = Sampling { temperature, ..ALL };
        let error = sample(&[0.0], &wrong, 0).unwrap_err();
        assert!(matches!(error, SampleError::Temperature { .. }), "{error}");
    }
    for top_p in [0.0, -0.5, 1.5, f32::NAN] {
        let error = sample(&[0.0], &Sampling { top_p, ..ALL }, 0).unwrap_err();
        assert!(matches!(error, SampleError::TopP { .. }), "{error}");
    }
}

/// The sums of the longest row fit.
#[test]
fn the_longest_row_is_sampled_evenly() {
    let mut row = vec![1.0; MOST_LOGITS];
    let sampled = |random| sample(&row, &ALL, random).unwrap();
    assert_eq!(sampled(0), 0);
    assert_eq!(sampled(1 << 31), 1 << 19);
    assert_eq!(sampled(u32::MAX), (1 << 20) - 1);
    row.push(1.0);
    let error = sample(&row, &ALL, 0).unwrap_err();
    assert!(matches!(error, SampleError::TooMany { .. }), "{error}");
}

/// The kernel launches nothing that it could not sample.
#[test]
fn a_launch_that_is_none_is_refused() {
    let device = Device::emulator();
    let stream = device.stream().unwrap();
    let kernel = Sample.launcher(&device).unwrap();
    let src = device.upload("src", &[0u16; 16]).unwrap();
    let [random, tokens] = ["random", "tokens"].map(|name| device.upload(name, &[7u32]).unwrap());
    let call = |cols, stride, sampling: Sampling| {
        Call::new()
            .size("rows", 1)
            .size("cols", cols)
            .size("src_stride", stride)
            .buffer("src", Slice::whole(&src))
            .buffer("random", Slice::whole(&random))
            .number("temperature", sampling.temperature)
            .number("top_p", sampling.top_p)
            .buffer("dst", Slice::whole(&tokens))
    };
    let refused = |call, expected: &str| {
        let error = kernel.launch(&stream, &call).unwrap_err().to_string();
        assert_eq!(error, format!("sample_bf16__sm80: {expected}"));
    };
    let hot = Sampling {
        temperature: f32::NAN,
        ..ALL
    };
    let most = f32::MAX;
    refused(
        call(16, 16, hot),
        &format!("temperature is NaN; expected a number from 0.0 to {most:?}"),
    );
    refused(
        call(0, 16, ALL),
        "cols is 0; expected at least 1 and at most 1048576",
    );
    for (cols, stride, least) in [(16, 8, 16), (12, 12, 16)] {
        refused(
            call(cols, stride, ALL),
            &format!(
                "src_stride is {stride}; expected a multiple of 8 and at least cols up to a \
                 multiple of 8, which is {least}"
            ),
        );
    }
    refused(
        call(MOST_LOGITS + 1, 1 << 21, ALL),
        "cols is 1048577; expected at least 1 and at most 1048576",
    );
    refused(
        call(17, 24, ALL),
        "src needs bytes 0..48, its buffer has 32",
    );
    let nothing = Call::new().size("rows", 1).size("cols", 1);
    refused(nothing, "no src_stride given");
    kernel.launch(&stream, &call(13, 16, ALL)).unwrap();
    assert_eq!(tokens.download::<u32>().unwrap(), [0]);
}

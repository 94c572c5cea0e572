//! `.approx` and `.full`: within the error that PTX ISA 9.7.3 and 9.7.4 documents, and exact
//! where it lists a result.

use crate::conformance::float::{any_nan, row};
use crate::conformance::inputs::{Random, floats, grid, low, singles};
use crate::conformance::numbers::{BF16, F16, F32, F64, Format};
use crate::conformance::suite::{Expected, Suite, lanes};

/// The largest error of a result.
#[derive(Clone, Copy)]
enum Error {
    Relative(f64),
    Absolute(f64),
    /// In units of the last place of the true result.
    Ulps(f64),
}
use Error::{Absolute, Relative, Ulps};

impl Error {
    fn of(self, format: Format, truth: f64) -> f64 {
        match self {
            Absolute(error) => error,
            Relative(error) => truth.abs() * error,
            Ulps(count) => {
                let smallest = 2f64.powi(2 - (1 << (format.exponent - 1)));
                let binade = truth.abs().max(smallest).log2().floor();
                count * 2f64.powi(binade as i32 - format.mantissa as i32)
            }
        }
    }
}

/// A result near to the true one. The bound is widened by half a unit for the rounding to the
/// format, and a result below the normal numbers may be flushed.
fn near(format: Format, truth: f64, error: Error, flushes: bool) -> Expected {
    if truth.is_nan() {
        return any_nan(format);
    }
    let largest = format.value(format.largest());
    let smallest = format.value(format.smallest_normal());
    let bound = error.of(format, truth) + Ulps(0.5).of(format, truth);
    let what = format!("{truth:e} +- {bound:e}");
    Expected::matching(what, move |code| {
        let x = format.value(code);
        let overflows = truth.abs() + bound > largest && x.is_infinite();
        let underflows = flushes && truth.abs() < smallest + bound && x == 0.0;
        let is_signed_right = truth == 0.0 || x == 0.0 || (x < 0.0) == (truth < 0.0);
        let is_near = x == truth || truth.is_finite() && (x - truth).abs() <= bound;
        (is_near || overflows && is_signed_right || underflows) && !x.is_nan()
    })
}

/// The reciprocal of the root.
fn reciprocal_root(x: f64) -> f64 {
    if x == 0.0 { 1.0 / x } else { 1.0 / x.sqrt() }
}

/// A function of one argument: its name, itself, its error, and where that is documented.
type Function = (
    &'static str,
    fn(f64) -> f64,
    fn(f64) -> Error,
    fn(f64) -> bool,
);

const SINGLE: [Function; 7] = [
    ("rcp", |x| 1.0 / x, |_| Ulps(1.0), |_| true),
    ("sqrt", f64::sqrt, |_| Relative(1.0 / 8_388_608.0), |_| true),
    ("rsqrt", reciprocal_root, |_| Relative(1.28e-7), |_| true),
    ("sin", f64::sin, |_| Absolute(6.75e-7), is_in_two_pi),
    ("cos", f64::cos, |_| Absolute(6.75e-7), is_in_two_pi),
    ("lg2", f64::log2, error_of_logarithm, |_| true),
    ("ex2", f64::exp2, |_| Relative(1.69e-7), |_| true),
];

fn is_in_two_pi(x: f64) -> bool {
    x.abs() <= std::f64::consts::TAU || !x.is_finite()
}

fn error_of_logarithm(x: f64) -> Error {
    if x > 0.5 && x < 2.0 {
        Absolute(2.4e-7)
    } else {
        Relative(2.4e-7)
    }
}

/// Edges, and numbers of all sizes with more of them near one.
fn samples(format: Format) -> Vec<u64> {
    let mut random = Random(19);
    let mut codes = floats(format);
    for _ in 0..2048 {
        codes.push(low(random.bits(), format.bits()));
        let small = random.below(1 << 20) as f64 / 32768.0 - 16.0;
        codes.push(format.nearest(small));
        codes.push(format.nearest(0.4 + random.below(1 << 20) as f64 / 524_288.0));
    }
    codes
}

pub fn rows() -> Suite {
    let mut suite = Suite::new();
    let rows = singles(&samples(F32));
    for (name, truth, error, holds) in SINGLE {
        for (ftz, flushes) in FLUSHES {
            lanes! { suite, &rows;
                "{name}.approx{ftz}.f32", "f32 -> f32", |[a]| match value(F32, a, flushes) {
                    x if holds(x) => near(F32, truth(x), error(x), flushes),
                    _ => near(F32, 0.0, Absolute(1.01), flushes),
                };
            }
        }
    }
    lanes! { suite, &rows;
        "tanh.approx.f32", "f32 -> f32",
            |[a]| near(F32, F32.value(a).tanh(), Relative(2f64.powi(-11)), false);
    }
    halves(&mut suite);
    quotients(&mut suite);
    doubles(&mut suite);
    suite
}

const FLUSHES: [(&str, bool); 2] = [("", false), (".ftz", true)];

/// The value of an operand.
fn value(format: Format, code: u64, flushes: bool) -> f64 {
    format.value(if flushes { format.flushed(code) } else { code })
}

fn halves(suite: &mut Suite) {
    type Half = (
        &'static str,
        &'static str,
        Format,
        fn(f64) -> f64,
        Error,
        bool,
    );
    let functions: [Half; 4] = [
        (
            "ex2.approx",
            "f16",
            F16,
            f64::exp2,
            Relative(0.001_046),
            false,
        ),
        (
            "ex2.approx.ftz",
            "bf16",
            BF16,
            f64::exp2,
            Relative(0.007_813),
            true,
        ),
        (
            "tanh.approx",
            "f16",
            F16,
            f64::tanh,
            Absolute(0.000_493),
            false,
        ),
        (
            "tanh.approx",
            "bf16",
            BF16,
            f64::tanh,
            Absolute(0.003_907),
            false,
        ),
    ];
    let codes: Vec<u64> = (0..1 << 16).step_by(3).collect();
    for (name, ty, format, truth, error, flushes) in functions {
        suite.target(if ty == "bf16" { "sm_90" } else { "sm_80" });
        let half =
            move |code: u64| near(format, truth(value(format, code, flushes)), error, flushes);
        for ty in [ty.to_owned(), format!("{ty}x2")] {
            row(suite, name, &ty, &singles(&codes), move |[a]| half(a));
        }
    }
    suite.target("sm_80");
}

fn quotients(suite: &mut Suite) {
    let codes = samples(F32);
    let mut rows = grid(&floats(F32), &floats(F32));
    rows.extend(codes.windows(2).map(|pair| [pair[0], pair[1]]));
    for kind in ["approx", "full"] {
        for (ftz, flushes) in FLUSHES {
            lanes! { suite, &rows;
                "div.{kind}{ftz}.f32", "f32 f32 -> f32", |[a, b]| {
                    let [x, y] = [a, b].map(|x| value(F32, x, flushes));
                    let is_huge = y.abs() > 2f64.powi(126) && y.is_finite();
                    match kind {
                        // The reciprocal of such a divisor is below the normal numbers.
                        "approx" if is_huge && x.is_infinite() => any_nan(F32),
                        "approx" if is_huge && x.is_finite() => {
                            near(F32, 0.0, Absolute(0.0), flushes)
                        }
                        // And that of a subnormal one is infinite.
                        "approx" if F32.is_subnormal(b) && !flushes => Expected::open(),
                        _ => near(F32, x / y, Ulps(2.0), flushes),
                    }
                };
            }
        }
    }
}

fn doubles(suite: &mut Suite) {
    let rows = singles(&samples(F64));
    lanes! { suite, &rows;
        "rsqrt.approx.f64", "f64 -> f64",
            |[a]| near(F64, reciprocal_root(F64.value(a)), Relative(2f64.powf(-20.9)), true);
    }
    for (name, truth) in [
        ("rcp", (|x| 1.0 / x) as fn(f64) -> f64),
        ("rsqrt", reciprocal_root),
    ] {
        lanes! { suite, &rows;
            "{name}.approx.ftz.f64", "f64 -> f64", |[a]| {
                let truth = truth(value(F64, a, true));
                // The upper word alone has 20 bits of mantissa; the lower one is zero.
                match near(F64, truth, Relative(2f64.powi(-19)), true) {
                    Expected::Where(what, holds) => Expected::matching(what, move |code| {
                        holds(code) && (F64.is_nan(code) || code & 0xffff_ffff == 0)
                    }),
                    bits => bits,
                }
            };
        }
    }
}

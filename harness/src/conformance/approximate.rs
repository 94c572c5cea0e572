//! `.approx` and `.full`: within the error that PTX ISA 9.7.3 and 9.7.4 documents, and exact
//! where it lists a result.

use crate::conformance::float::{any_nan, both};
use crate::conformance::inputs::{Random, floats, grid, low, singles};
use crate::conformance::numbers::{BF16, F16, F32, F64, Format};
use crate::conformance::suite::{Expected, Suite};

/// How far a result may be from the true one.
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

/// A function of one argument with its error.
struct Function {
    name: &'static str,
    truth: fn(f64) -> f64,
    error: fn(f64) -> Error,
    /// Where the error is documented.
    holds: fn(f64) -> bool,
}

const ANYWHERE: fn(f64) -> bool = |_| true;
const IN_TWO_PI: fn(f64) -> bool = |x| x.abs() <= std::f64::consts::TAU || !x.is_finite();

const SINGLE: [Function; 7] = [
    Function {
        name: "rcp",
        truth: |x| 1.0 / x,
        error: |_| Ulps(1.0),
        holds: ANYWHERE,
    },
    Function {
        name: "sqrt",
        truth: f64::sqrt,
        error: |_| Relative(1.0 / 8_388_608.0),
        holds: ANYWHERE,
    },
    Function {
        name: "rsqrt",
        truth: |x| if x == 0.0 { 1.0 / x } else { 1.0 / x.sqrt() },
        error: |_| Relative(1.28e-7),
        holds: ANYWHERE,
    },
    Function {
        name: "sin",
        truth: f64::sin,
        error: |_| Absolute(6.75e-7),
        holds: IN_TWO_PI,
    },
    Function {
        name: "cos",
        truth: f64::cos,
        error: |_| Absolute(6.75e-7),
        holds: IN_TWO_PI,
    },
    Function {
        name: "lg2",
        truth: f64::log2,
        error: |x| {
            if x > 0.5 && x < 2.0 {
                Absolute(2.4e-7)
            } else {
                Relative(2.4e-7)
            }
        },
        holds: ANYWHERE,
    },
    Function {
        name: "ex2",
        truth: f64::exp2,
        error: |_| Relative(1.69e-7),
        holds: ANYWHERE,
    },
];

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
    for function in &SINGLE {
        for flushes in [false, true] {
            let ftz = if flushes { ".ftz" } else { "" };
            let Function {
                name,
                truth,
                error,
                holds,
            } = *function;
            let text = format!("{name}.approx{ftz}.f32 d, a;");
            suite.lanes(text, "f32 -> f32", &rows, move |[a]| {
                let x = F32.value(if flushes { F32.flushed(a) } else { a });
                match holds(x) {
                    true => near(F32, truth(x), error(x), flushes),
                    false => near(F32, 0.0, Absolute(1.01), flushes),
                }
            });
        }
    }
    suite.lanes("tanh.approx.f32 d, a;", "f32 -> f32", &rows, |[a]| {
        let x = F32.value(a);
        near(F32, x.tanh(), Relative(2f64.powi(-11)), false)
    });
    halves(&mut suite);
    quotients(&mut suite);
    doubles(&mut suite);
    suite
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
    for (name, ty, format, truth, error, flushes) in functions {
        suite.target(if ty == "bf16" { "sm_90" } else { "sm_80" });
        let half = move |code: u64| {
            let code = if flushes { format.flushed(code) } else { code };
            near(format, truth(format.value(code)), error, flushes)
        };
        let codes: Vec<u64> = (0..1 << 16).step_by(3).collect();
        suite.lanes(
            format!("{name}.{ty} d, a;"),
            "b16 -> b16",
            &singles(&codes),
            move |[a]| half(a),
        );
        let rows: Vec<[u64; 1]> = codes.iter().map(|&a| [a << 16 | (a ^ 0x3ff)]).collect();
        suite.lanes(
            format!("{name}.{ty}x2 d, a;"),
            "b32 -> b32",
            &rows,
            move |[a]| both(half(a & 0xffff), half(a >> 16), 16),
        );
    }
    suite.target("sm_80");
}

fn quotients(suite: &mut Suite) {
    let codes = samples(F32);
    let mut rows = grid(&floats(F32), &floats(F32));
    rows.extend(
        codes
            .iter()
            .zip(codes.iter().skip(1))
            .map(|(&a, &b)| [a, b]),
    );
    for kind in ["approx", "full"] {
        for flushes in [false, true] {
            let ftz = if flushes { ".ftz" } else { "" };
            let text = format!("div.{kind}{ftz}.f32 d, a, b;");
            suite.lanes(text, "f32 f32 -> f32", &rows, move |[a, b]| {
                let [x, y] = [a, b].map(|x| F32.value(if flushes { F32.flushed(x) } else { x }));
                let is_huge = y.abs() > 2f64.powi(126) && y.is_finite();
                match kind {
                    // The reciprocal of such a divisor is below the normal numbers.
                    "approx" if is_huge && x.is_infinite() => any_nan(F32),
                    "approx" if is_huge && x.is_finite() => near(F32, 0.0, Absolute(0.0), flushes),
                    // And that of a subnormal one is infinite.
                    "approx" if F32.is_subnormal(b) && !flushes => Expected::open(),
                    _ => near(F32, x / y, Ulps(2.0), flushes),
                }
            });
        }
    }
}

fn doubles(suite: &mut Suite) {
    let rows = singles(&samples(F64));
    suite.lanes("rsqrt.approx.f64 d, a;", "f64 -> f64", &rows, |[a]| {
        let x = F64.value(a);
        let truth = if x == 0.0 { 1.0 / x } else { 1.0 / x.sqrt() };
        near(F64, truth, Relative(2f64.powf(-20.9)), true)
    });
    for name in ["rcp", "rsqrt"] {
        suite.lanes(
            format!("{name}.approx.ftz.f64 d, a;"),
            "f64 -> f64",
            &rows,
            move |[a]| {
                let x = F64.value(F64.flushed(a));
                let truth = match (name, x == 0.0) {
                    ("rcp", _) | (_, true) => 1.0 / x,
                    _ => 1.0 / x.sqrt(),
                };
                // The upper word alone has 20 bits of mantissa; the lower one is zero.
                let near = near(F64, truth, Relative(2f64.powi(-19)), true);
                match near {
                    Expected::Where(what, holds) => Expected::Where(
                        what,
                        Box::new(move |code| {
                            holds(code) && (F64.is_nan(code) || code & 0xffff_ffff == 0)
                        }),
                    ),
                    bits => bits,
                }
            },
        );
    }
}

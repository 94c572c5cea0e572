//! `f16`, `bf16` and pairs of them. PTX ISA 9.7.4.

use crate::conformance::float::{Flags, arithmetic, signs};
use crate::conformance::numbers::Mode;
use crate::conformance::suite::Suite;

pub fn rows() -> Suite {
    let mut suite = Suite::new();
    for ty in ["f16", "f16x2", "bf16", "bf16x2"] {
        // Only f16 has `.ftz` and `.sat`; `.relu` is of fma and goes without `.sat`.
        let choices: &[bool] = if ty.starts_with('b') {
            &[false]
        } else {
            &[false, true]
        };
        for &flushes in choices {
            for &saturates in choices {
                let flags = Flags::new(flushes, saturates, false);
                // `add`, `sub` and `mul` of bf16 are newer than those of f16.
                suite.target(if ty.starts_with('b') {
                    "sm_90"
                } else {
                    "sm_80"
                });
                for rounding in ["", ".rn"] {
                    arithmetic(
                        &mut suite,
                        &["add", "sub", "mul"],
                        ty,
                        rounding,
                        Mode::Rn,
                        flags,
                    );
                }
                suite.target("sm_80");
                arithmetic(&mut suite, &["fma"], ty, ".rn", Mode::Rn, flags);
            }
            let rectified = Flags::new(flushes, false, true);
            arithmetic(&mut suite, &["fma"], ty, ".rn", Mode::Rn, rectified);
        }
        signs(&mut suite, ty, choices, true);
    }
    suite
}

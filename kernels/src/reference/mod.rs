//! The scalar definition of every operation: plain loops, no SIMD, no unsafe.

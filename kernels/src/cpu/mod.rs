//! SIMD kernels with run-time dispatch, bitwise equal to [`crate::reference`].

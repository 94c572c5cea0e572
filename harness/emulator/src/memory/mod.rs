//! Memory with the sanitizer's knowledge: which bytes exist, which were written, and which thread
//! touched them.

pub mod global;
pub mod local;
pub mod log;
pub mod shared;

/// Generic addresses of shared memory start here.
pub const SHARED_WINDOW: u64 = 1 << 56;
/// Generic addresses of local memory start here.
pub const LOCAL_WINDOW: u64 = 2 << 56;
/// Generic addresses of kernel parameters start here.
pub const PARAM_WINDOW: u64 = 3 << 56;
/// Generic addresses of constants start here.
pub const CONST_WINDOW: u64 = 4 << 56;
/// Bytes that a window spans.
pub const WINDOW_BYTES: u64 = 1 << 32;

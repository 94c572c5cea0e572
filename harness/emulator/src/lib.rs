//! A PTX emulator that is also a sanitizer.
//!
//! [`launch::Kernels::load`] reads PTX; [`launch::Kernels::launch`] runs a kernel of it on
//! [`memory::global::GlobalMemory`], block by block over the cores of the host, and stops at the
//! first access, race, barrier or lane mask that is wrong. It knows PTX and nothing else.
//!
//! | module | what |
//! |---|---|
//! | [`syntax`] | PTX text to a syntax tree |
//! | [`lower`] | the tree of a kernel to a [`program`] |
//! | [`alu`] | instructions that compute each lane's result from its own registers |
//! | [`numeric`] | the numbers of PTX and the functions that instructions compute |
//! | [`registers`] | the registers of a warp |
//! | [`memory`] | memories that know who wrote and read what |
//! | `exec` | warps, blocks, and everything that is not lane-local |
//! | [`launch`] | the way in |
//! | [`report`] | what stops a launch, and where |
//! | [`statistics`] | what a launch did, counted |

pub mod alu;
mod exec;
pub mod launch;
pub mod lower;
pub mod memory;
pub mod numeric;
pub mod program;
pub mod registers;
pub mod report;
pub mod statistics;
pub mod syntax;

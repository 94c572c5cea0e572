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
//! | [`memory`] | memories that track who wrote and read each byte |
//! | `exec` | warps, blocks, and everything that is not lane-local |
//! | [`launch`] | the entry point |
//! | [`report`] | what stops a launch, and where |
//! | [`statistics`] | what a launch did, counted |
//!
//! # What it models, and what it does not
//!
//! - Results are those that PTX defines, bit for bit. `.approx` instructions, where PTX leaves
//!   room, give the function rounded once; [`numeric::approximate`] lists the error that hardware
//!   may have instead. Products of matrices sum in f64 and are rounded once: chips sum in other
//!   orders with fewer bits, so tests of them need a bound.
//! - The lanes of a warp run in lockstep until they diverge, and the warps of a block take turns
//!   between barriers. This is one order of many that a chip may have. A program that depends on it
//!   has a race, which the sanitizer looks for. Two blocks that wait for each other end only by the
//!   instruction budget. Atomic operations of blocks on other host cores come in any order.
//! - Memory is sequentially consistent; fences are not checked. Racing accesses of two blocks are
//!   found if both happen in one launch, those of two threads of a block in shared memory only, and
//!   lanes of one store that overlap are not found.
//! - It runs every instruction that it knows, whatever `.target` says. Of the limits of chips it
//!   knows only those of [`launch`]. Instructions that it does not know are errors at load time, as
//!   are calls of functions.
//! - There is no time: sleeping returns at once. [`statistics`] counts what a kernel does, as input
//!   for a cost model.

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

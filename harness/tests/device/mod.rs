//! The device interface, on the emulator and on a GPU if there is one.

mod bench;
mod faults;
mod graphs;
mod refusals;
mod works;

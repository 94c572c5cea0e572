//! Drivers of all kinds, simulated by a stub library, and machine code made ahead of time.

use crate::stub_driver;

mod bundle;
mod drivers;
mod images;
mod sample;

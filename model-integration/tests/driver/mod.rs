//! Drivers of all kinds, by a stub in the place of the system's, and machine code made ahead of
//! time.

use crate::stub_driver;

mod bundle;
mod drivers;
mod images;
mod sample;

//! Drivers of all kinds, by a stub in the place of the system's, and machine code made ahead of
//! time.

#[path = "../stub_driver/mod.rs"]
mod stub_driver;

mod bundle;
mod drivers;
mod images;
mod sample;

//! Block-scaled number formats: their definitions, the scalar reference that is the law,
//! and the CPU kernels that must equal it bit for bit.

pub mod cpu;
pub mod family;
pub mod format;
pub mod fragment;
pub mod golden;
pub mod kernel;
pub mod reference;
pub mod registry;
pub mod support;

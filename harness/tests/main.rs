//! Tests of devices, conformance, measurement and records.

mod conformance;
mod device;
mod record;
mod roofline;
mod sass;

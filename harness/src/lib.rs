//! What a kernel is strapped into: devices that run it, the tools that assemble and read it, a
//! static model of what it costs, statistics of measurements, the capture of the environment they
//! were taken in, and the records they are kept as.

pub mod assemble;
pub mod bundle;
pub mod conformance;
pub mod device;
pub mod measure;
pub mod record;
pub mod roofline;
pub mod sass;
pub mod shard;
pub mod tensor_core;

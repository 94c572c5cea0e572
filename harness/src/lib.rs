//! What a kernel is strapped into: statistics of measurements, the capture of the
//! environment they were taken in, and the records they are kept as.

pub mod device;
pub mod measure;
pub mod record;

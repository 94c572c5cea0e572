//! Numbers as PTX has them: formats, rounding, and the functions that instructions compute.
//! Nothing here knows of registers or instructions.

pub mod approximate;
pub mod bits;
pub mod exact;
pub mod float;
pub mod format;
pub mod half;
pub mod scale;

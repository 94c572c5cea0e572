//! Lane-local instructions against definitions written here for themselves.

mod assembles;
mod bit_fields;
mod compares;
mod conversions;
mod floats;
mod formats;
mod forms;
mod halves;
mod integers;
mod lanes;
mod machine;
mod oracle;

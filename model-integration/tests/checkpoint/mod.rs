//! Model directories: valid ones open with the right contents, malformed ones fail with the right
//! message, and nothing panics.

mod corruption;
mod hub;
mod local_hub;
mod malformed;
mod opening;
mod phi3;
mod tiny;
mod writing;

//! Model directories: valid ones open with the right contents, malformed ones fail with the right
//! message, and nothing panics.

mod accepted;
mod corruption;
mod hub;
mod local_hub;
mod malformed;
mod opening;
pub mod phi3;
mod special_tokens;
pub mod tiny;
mod writing;

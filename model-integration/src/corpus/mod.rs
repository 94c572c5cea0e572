//! The generated stories that the embedded model is trained and judged on.

pub mod heldout;
pub mod story;
mod words;

pub use story::{Difficulty, Story};

//! The generated stories that train and test the embedded model.

pub mod heldout;
pub mod story;
pub mod words;

pub use story::{Difficulty, Story};

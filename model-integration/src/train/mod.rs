//! Training of the embedded model: a small Llama on generated stories.
//!
//! The seed determines everything: the tokenizer, the initial weights, every story. The gradient of
//! a step is the sum over a fixed number of shards in a fixed order, so the result does not depend
//! on the number of threads.

mod adamw;
mod autograd;
mod fused;
mod model;
mod recipe;
mod step;
mod tokenizer;

pub use recipe::{Recipe, train};

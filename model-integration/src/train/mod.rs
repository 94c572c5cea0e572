//! Training of the embedded model: a small Llama on stories written on the fly.
//!
//! Everything follows from the seed: the tokenizer, the initial weights, every story. A step's
//! gradient is the sum over a fixed number of shards, added in a fixed order, so the result
//! does not depend on how many threads computed them.

mod adamw;
mod autograd;
mod fused;
mod model;
mod recipe;
mod step;
mod tokenizer;

pub use recipe::{Recipe, train};

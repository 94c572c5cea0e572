//! Statistics of samples: means with their standard errors, perplexity, and differences
//! paired on the same examples.

mod statistics;

pub use statistics::{Estimate, mean, paired_difference, perplexity};

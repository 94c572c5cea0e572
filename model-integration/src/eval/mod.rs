//! Evaluation: batching, resuming, statistics, records and the table.

pub mod model;

//! Evaluation: batching, resuming, statistics, records and the table.

//! Tasks: examples, and how each becomes a scored token sequence.

//! The generated stories that the embedded model is trained and judged on.

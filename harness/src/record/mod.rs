//! Result records: the environment they were made in, their schema, and writing them atomically.

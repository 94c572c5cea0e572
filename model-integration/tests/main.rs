//! Tests of the library and of the `mxlab` binary.

mod bench;
mod checkpoint;
mod cli;
mod config;
mod convert;
mod device;
mod driver;
mod embedded;
mod eval;
mod generate;
mod inspect;
mod kernels;
mod layers;
mod lm_eval;
mod parameters;
mod parquet;
mod quantised;
mod record;
mod reference;
mod slurm;
mod stub_driver;
mod study;
mod synthetic;
mod task;
mod toy;
mod transformers;

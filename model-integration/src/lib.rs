//! From kernel speed to model accuracy: Llama checkpoints, tasks, evaluation under any
//! block-scaled configuration, and the command line that ties them together.
//!
//! | module | what |
//! |---|---|
//! | [`checkpoint`] | model directories: config.json, safetensors, tokenizer.json, the hub |
//! | [`config`] | which operand is quantised how: named configurations, TOML files, flags |
//! | [`description`] | what a model is: architectures, sizes, parameters as data |
//! | [`model`] | the one forward pass and the engines that run it |
//! | [`embedded`] | the model and the task in the binary |
//! | [`engine`] | requests, scores, generation, and the trait that engines implement |
//! | [`task`] | examples and how they become scored token sequences |
//! | [`eval`] | running tasks over configurations: batching, resuming, records, the table |
//! | [`generate`] | continuing prompts: streaming text, timings, records |
//! | [`study`] | many configurations of many models, by one file |
//! | [`record`] | every record: what commands write and reports read |
//! | [`report`] | REPORT.md, a page and charts, of records alone |
//! | [`quantization_error`] | what quantising did to a tensor |
//! | [`corpus`] | the generated stories of the embedded model and task |
//! | [`train`] | how the embedded model was trained |
//! | [`columns`], [`file_name`](mod@file_name) | tables in plain text, names of files |
//! | [`did_you_mean`](mod@did_you_mean) | suggestions for misspelt names |
//! | [`cli`] | the `mxlab` command line |

pub mod checkpoint;
pub mod cli;
pub mod columns;
pub mod config;
pub mod corpus;
pub mod description;
pub mod did_you_mean;
pub mod embedded;
pub mod engine;
pub mod eval;
pub mod file_name;
pub mod generate;
pub mod model;
pub mod quantization_error;
pub mod record;
pub mod report;
pub mod study;
pub mod task;
pub mod train;

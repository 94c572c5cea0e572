//! Llama checkpoints, tasks and evaluation under any block-scaled configuration, and the `mxlab`
//! command line.
//!
//! | module | contents |
//! |---|---|
//! | [`calibrate`] | codes of weights chosen for what they multiply |
//! | [`chat`] | chat templates |
//! | [`checkpoint`] | model directories: config.json, safetensors, tokenizer.json, the hub |
//! | [`config`] | how each operand is quantised: named configurations, TOML files, flags |
//! | [`description`] | the description of a model: architecture, sizes, parameters |
//! | [`model`] | the forward pass and the engines that run it |
//! | [`embedded`] | the model and the task in the binary |
//! | [`engine`] | requests, scores, generation, and the trait that engines implement |
//! | [`task`] | examples and how they become scored token sequences |
//! | [`eval`] | tasks under configurations: batches, resumption, records, the table |
//! | [`generate`] | continuing prompts: streaming text, timings, records |
//! | [`load`] | load on an OpenAI-compatible endpoint |
//! | [`serve`] | continuing prompts of clients: batches, pages, HTTP |
//! | [`study`] | many configurations of many models, declared in one file |
//! | [`record`] | the records that commands write and reports read |
//! | [`report`] | REPORT.md, an HTML page and charts, from records alone |
//! | [`quantization_error`] | the quantisation error of a tensor |
//! | [`memory`] | memory of processes |
//! | [`corpus`] | the generated stories of the embedded model and task |
//! | [`train`] | training of the embedded model |
//! | [`columns`], [`file_name`](mod@file_name) | plain-text tables, safe file names |
//! | [`excerpt`] | some of the characters of a text file |
//! | [`did_you_mean`](mod@did_you_mean) | suggestions for misspelt names |
//! | [`cli`] | the `mxlab` command line |

pub mod calibrate;
pub mod chat;
pub mod checkpoint;
pub mod cli;
pub mod columns;
pub mod config;
pub mod corpus;
pub mod description;
pub mod did_you_mean;
pub mod disk;
pub mod embedded;
pub mod engine;
pub mod eval;
pub mod excerpt;
pub mod file_name;
pub mod generate;
pub mod load;
pub mod memory;
pub mod model;
pub mod quantization_error;
pub mod record;
pub mod report;
pub mod serve;
pub mod study;
pub mod task;
pub mod train;

//! Serving: sequences that come and go while others run, asked for over HTTP.
//!
//! | module | contents |
//! |---|---|
//! | [`pages`] | who uses which page of the cache, and what pages hold |
//! | [`scheduler`] | what runs in the next step |
//! | [`worker`], `running` | runs steps, chooses tokens, sends events |
//! | [`job`] | what a worker is asked for, and its events |
//! | [`sampling`], [`stop`], [`log_probability`] | what becomes of logits |
//! | [`api`] | requests and answers in OpenAI's form |
//! | [`http`] | connections, limits, routes |
//! | [`metrics`] | counts and times |
//!
//! `pages` and `scheduler` know neither models nor clients.

pub mod api;
pub mod http;
pub mod job;
pub mod log_probability;
pub mod metrics;
pub mod pages;
mod running;
pub mod sampling;
pub mod scheduler;
pub mod stop;
pub mod worker;

//! Load on an OpenAI-compatible endpoint: streams of answers, timed token by token.
//!
//! A closed loop keeps a number of requests in flight. An open loop sends requests at random times,
//! whatever becomes of those before, as many independent users do. Its latencies count from the
//! time at which a request was due, so that a server that stalls cannot hide the wait of those who
//! came meanwhile.
//!
//! | module | contents |
//! |---|---|
//! | [`endpoint`], [`connection`] | URL, key; TCP, TLS and kept connections |
//! | [`events`], [`answer`] | server-sent events; an answer of them |
//! | [`exchange`] | a request and its answer |
//! | [`failure`] | why requests fail, by kind |
//! | [`lengths`], [`prompts`] | numbers of tokens; bodies of requests |
//! | [`drive`] | warm-up, closed and open loop |
//! | [`generator`] | runs both on one thread |
//! | [`summary`] | percentiles, rates, goodput |
//! | [`soak`] | many clients, some of which misbehave, and the server's memory |
//! | [`crate::record::load`] | the record |

pub mod answer;
pub mod connection;
pub mod drive;
pub mod endpoint;
pub mod events;
pub mod exchange;
pub mod failure;
pub mod generator;
pub mod lengths;
pub mod prompts;
pub mod soak;
pub mod summary;

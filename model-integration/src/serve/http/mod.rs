//! Connections, limits and routes.
//!
//! | module | contents |
//! |---|---|
//! | [`limits`] | what a client may take |
//! | [`listener`] | connections, from the first to the last |
//! | [`route`] | one request |
//! | [`receive`] | bodies on their way in |
//! | [`body`] | answers on their way |
//! | [`activity`] | what a connection has to do |
//! | [`stalled`] | ends connections that do not move |

pub mod activity;
pub mod body;
pub mod limits;
pub mod listener;
pub mod receive;
pub mod route;
pub mod stalled;

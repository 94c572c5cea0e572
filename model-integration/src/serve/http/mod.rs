//! Connections, limits and routes.
//!
//! | module | contents |
//! |---|---|
//! | [`limits`] | what a client may take |
//! | [`listener`] | connections, from the first to the last |
//! | [`route`] | one request |
//! | [`body`] | answers on their way |
//! | [`stalled`] | ends connections that do not move |

pub mod body;
pub mod limits;
pub mod listener;
pub mod route;
pub mod stalled;

//! `mxlab serve` from the binary, by requests as clients send them.

mod answers;
mod bad_input;
mod client;
mod load;

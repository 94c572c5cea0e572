//! `mxlab serve` from the binary, by requests as clients send them.

mod answers;
mod bad_input;
mod client;
mod isolation;
mod load;
mod python;
mod scheduling;

//! Tests of the PTX front end and of the machine that runs it.

mod limits;
mod machine;
mod syntax;

use std::process::ExitCode;

fn main() -> ExitCode {
    mxlab::cli::main()
}

use std::process::ExitCode;

/// Every operation of a forward pass allocates its result; the system's allocator would map and
/// clear fresh pages for each.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    mxlab::cli::main()
}

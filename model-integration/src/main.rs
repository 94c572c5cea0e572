use std::process::ExitCode;

use mxlab_harness::record::Build;

/// Every operation of a forward pass allocates its result. The system's allocator would map and
/// clear fresh pages for each.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let build = Build {
        commit: option_env!("MXLAB_COMMIT"),
        is_dirty: option_env!("MXLAB_DIRTY").map(|dirty| dirty == "true"),
        rustc: option_env!("MXLAB_RUSTC"),
        target: option_env!("MXLAB_TARGET"),
    };
    build.declare();
    mxlab::cli::main()
}

//! PTX: what the emulator parses, prints, lowers and runs.

use mxlab_kernels::family::block::{Addressing, BlockOperation, BlockVariant};
use mxlab_kernels::kernel::Kernel;
use ptx_emulator::launch::{Geometry, Kernels};
use ptx_emulator::memory::global::GlobalMemory;
use ptx_emulator::syntax::parse;

/// Threads of a block, at most: registers of 65536 names take 16 MB a warp.
const MAX_THREADS: u32 = 64;
/// Warp instructions that a kernel may run.
const BUDGET: u64 = 1 << 10;

/// Parses; what parses is printed, and what is printed is the same module.
pub fn ptx(data: &[u8]) -> bool {
    let Ok(module) = parse(&String::from_utf8_lossy(data)) else {
        return false;
    };
    let printed = module.to_string();
    match parse(&printed) {
        Ok(again) => assert!(
            again.without_positions() == module.without_positions(),
            "printing changed the module:\n{printed}"
        ),
        Err(error) => panic!("what was printed is no PTX: {error}\n{printed}"),
    }
    true
}

/// Parses, lowers and runs each kernel for a block, with zeros for parameters.
pub fn emulated_ptx(data: &[u8]) -> bool {
    let Ok(kernels) = Kernels::load(&String::from_utf8_lossy(data)) else {
        return false;
    };
    for program in kernels.programs() {
        let block = program.required_threads.unwrap_or([32, 1, 1]);
        let threads = block
            .iter()
            .try_fold(1, |n: u32, &size| n.checked_mul(size));
        if threads.is_none_or(|threads| threads > MAX_THREADS) {
            continue;
        }
        let geometry = Geometry {
            grid: [1, 1, 1],
            block,
            dynamic_shared: 256,
        };
        let last = program.parameters.last();
        let parameters = vec![0; last.map_or(0, |last| (last.offset + last.bytes) as usize)];
        let mut memory = GlobalMemory::new(1 << 20);
        // Most kernels reach memory that is not there, which is a report.
        let _ = kernels.launch(&program.name, geometry, &parameters, &mut memory, BUDGET);
    }
    true
}

/// A kernel of each operation and addressing, and what kernels of the project do not use.
pub fn ptx_seeds() -> Vec<Vec<u8>> {
    let mut seeds = vec![include_bytes!("../seeds/constructs.ptx").to_vec()];
    for operation in BlockOperation::ALL {
        for addressing in Addressing::ALL {
            let mut variants = BlockVariant::all()
                .filter(|v| v.operation() == operation && v.addressing() == addressing);
            seeds.extend(variants.nth(40).map(|variant| variant.ptx().into_bytes()));
        }
    }
    seeds
}

//! Every kernel of the registry on the emulator, sanitizer on, against the scalar reference.

use mxlab_harness::device::Device;
use mxlab_kernels::registry::{kernels, verify};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

#[test]
fn probe() {
    let stride: usize = std::env::var("STRIDE").map_or(97, |s| s.parse().unwrap());
    let begun = std::time::Instant::now();
    let (mut n, mut bad) = (0, 0);
    for entry in kernels().step_by(stride) {
        n += 1;
        let device = Device::emulator();
        let stream = device.stream().unwrap();
        let runner = match entry.load(&device, &entry.ptx()) {
            Ok(runner) => runner,
            Err(error) => {
                println!("{error}");
                bad += 1;
                continue;
            }
        };
        for seed in 0..3 {
            let problem = entry.problem(&mut ChaCha8Rng::seed_from_u64(seed), 600);
            if let Err(failure) = verify(&*entry, &*runner, &stream, &problem) {
                println!("{} seed {seed}: {failure} {:?}", entry.id(), problem.sizes);
                bad += 1;
                break;
            }
        }
        if bad > 400 {
            break;
        }
    }
    println!("{n} kernels, {bad} bad, {:?}", begun.elapsed());
    assert_eq!(bad, 0);
}

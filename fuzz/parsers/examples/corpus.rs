//! Writes the seeds of every target to `DIR/<target>/`, where libFuzzer starts from.

use std::path::PathBuf;

use mxlab_parser_fuzz::TARGETS;

fn main() -> std::io::Result<()> {
    let Some(directory) = std::env::args_os().nth(1).map(PathBuf::from) else {
        eprintln!("usage: corpus DIR");
        std::process::exit(2);
    };
    for target in TARGETS {
        let folder = directory.join(target.name);
        std::fs::create_dir_all(&folder)?;
        for (number, seed) in (target.seeds)().iter().enumerate() {
            std::fs::write(folder.join(format!("seed-{number}")), seed)?;
        }
    }
    Ok(())
}

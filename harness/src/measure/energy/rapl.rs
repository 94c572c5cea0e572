//! Energy of CPU packages by Linux' powercap (`Documentation/power/powercap/powercap.rst`).

use std::fs;
use std::path::{Path, PathBuf};

/// The counters of all packages.
#[derive(Debug)]
pub(super) struct Rapl(Vec<Package>);

#[derive(Debug)]
struct Package {
    counter: PathBuf,
    /// Microjoules at which it begins again at 0.
    range: u64,
}

fn number(path: &Path) -> Option<u64> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

impl Rapl {
    /// The packages below `root`; `None` if there is none that can be read.
    pub fn open(root: &Path) -> Option<Self> {
        let mut packages = Vec::new();
        for zone in fs::read_dir(root).ok()?.filter_map(Result::ok) {
            // A zone `intel-rapl:0` is a package or the whole platform, `intel-rapl:0:1` a part of
            // one.
            let is_whole = zone.file_name().to_string_lossy().matches(':').count() == 1;
            let name = fs::read_to_string(zone.path().join("name")).unwrap_or_default();
            if !is_whole || !name.starts_with("package") {
                continue;
            }
            let counter = zone.path().join("energy_uj");
            number(&counter)?;
            packages.push(Package {
                range: number(&zone.path().join("max_energy_range_uj"))?,
                counter,
            });
        }
        (!packages.is_empty()).then_some(Self(packages))
    }

    /// Microjoules of each package.
    pub fn read(&self) -> Option<Vec<u64>> {
        self.0
            .iter()
            .map(|package| number(&package.counter))
            .collect()
    }

    /// Joules of all packages since they read so, if no counter went round twice.
    pub fn joules_since(&self, before: &[u64]) -> Option<f64> {
        let now = self.read()?;
        let packages = self.0.iter().zip(before.iter().zip(now));
        let used = packages.map(|(package, (&before, now))| match now >= before {
            true => now - before,
            false => package.range - before + now,
        });
        Some(used.sum::<u64>() as f64 / 1e6)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_are_added_and_counters_go_round() {
        let root = tempfile::tempdir().expect("a folder");
        let zone = |zone: &str, name: &str, energy: &str| {
            let path = root.path().join(zone);
            fs::create_dir_all(&path).expect("a folder");
            for (file, text) in [
                ("name", name),
                ("energy_uj", energy),
                ("max_energy_range_uj", "10000000"),
            ] {
                fs::write(path.join(file), format!("{text}\n")).expect("a file");
            }
        };
        zone("intel-rapl:0", "package-0", "1000000");
        zone("intel-rapl:1", "package-1", "9000000");
        zone("intel-rapl:0:0", "core", "7");
        zone("intel-rapl:2", "psys", "5");
        let rapl = Rapl::open(root.path()).expect("packages");
        let before = rapl.read().expect("numbers");
        assert_eq!(before.len(), 2);
        zone("intel-rapl:0", "package-0", "3000000");
        zone("intel-rapl:1", "package-1", "500000");
        // 2 J, and 1.5 J over the end of the range.
        assert_eq!(rapl.joules_since(&before), Some(3.5));
        assert!(Rapl::open(&root.path().join("none")).is_none());
        zone("intel-rapl:1", "package-1", "not a number");
        assert!(rapl.joules_since(&before).is_none());
    }
}

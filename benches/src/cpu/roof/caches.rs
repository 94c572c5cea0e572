//! Sizes of this CPU's data caches.

use std::fs;
use std::path::Path;

/// Bytes of the data caches of a core, the innermost first. The last is shared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caches(pub [usize; 3]);

/// Sizes of common cores, where the system does not tell.
const USUAL: Caches = Caches([32 << 10, 1 << 20, 32 << 20]);

impl Caches {
    /// Asks Linux. Elsewhere, or where a level is missing, [`USUAL`] sizes stand in: a roof is
    /// then measured on another working set, which its record names.
    pub fn capture() -> Self {
        Self::below(Path::new("/sys/devices/system/cpu/cpu0/cache"))
    }

    fn below(folder: &Path) -> Self {
        let mut found = USUAL;
        for index in fs::read_dir(folder).into_iter().flatten().flatten() {
            let field = |name: &str| fs::read_to_string(index.path().join(name)).ok();
            let is_data = field("type").is_some_and(|kind| kind.trim() != "Instruction");
            let level = field("level").and_then(|level| level.trim().parse::<usize>().ok());
            let bytes = field("size").and_then(|size| bytes(size.trim()));
            if let (true, Some(level @ 1..=3), Some(bytes)) = (is_data, level, bytes) {
                found.0[level - 1] = bytes;
            }
        }
        // Without a third level the second is the last.
        let [first, second, third] = found.0;
        Self([first, second.max(first), third.max(second)])
    }
}

/// The number of `48K`.
fn bytes(size: &str) -> Option<usize> {
    let (digits, unit) = match size.strip_suffix('K') {
        Some(digits) => (digits, 1 << 10),
        None => match size.strip_suffix('M') {
            Some(digits) => (digits, 1 << 20),
            None => (size, 1),
        },
    };
    digits.parse::<usize>().ok()?.checked_mul(unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_as_linux_shows_them() {
        let folder = tempfile::tempdir().expect("a folder");
        let levels = [
            ("index0", "1", "Data", "48K"),
            ("index1", "1", "Instruction", "64K"),
            ("index2", "2", "Unified", "2048K"),
            ("index3", "3", "Unified", "105M"),
        ];
        for (index, level, kind, size) in levels {
            let index = folder.path().join(index);
            fs::create_dir(&index).expect("a folder");
            for (name, text) in [("level", level), ("type", kind), ("size", size)] {
                fs::write(index.join(name), format!("{text}\n")).expect("writable");
            }
        }
        let expected = Caches([48 << 10, 2 << 20, 105 << 20]);
        assert_eq!(Caches::below(folder.path()), expected);
        assert_eq!(Caches::below(&folder.path().join("none")), USUAL);
    }
}

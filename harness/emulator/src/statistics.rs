//! Counts what a launch did.

/// Counts of one launch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Statistics {
    /// For each instruction of the kernel, how often a warp executed it.
    pub executed: Vec<u64>,
    /// For each instruction of the kernel, how many lanes it ran on.
    pub lanes: Vec<u64>,
    /// Branches at which a warp's lanes parted.
    pub divergent_branches: u64,
    /// Bytes that threads loaded from global memory.
    pub global_load_bytes: u64,
    /// Bytes that threads stored to global memory.
    pub global_store_bytes: u64,
    /// Warp-wide requests to global memory.
    pub global_requests: u64,
    /// 32-byte sectors that these requests touch.
    pub global_sectors: u64,
    /// Warp-wide requests to shared memory.
    pub shared_requests: u64,
    /// Passes that these requests take: one each without bank conflicts.
    pub shared_passes: u64,
}

impl Statistics {
    /// Zero counts, for a kernel of `instructions` instructions.
    pub fn new(instructions: usize) -> Self {
        Self {
            executed: vec![0; instructions],
            lanes: vec![0; instructions],
            ..Self::default()
        }
    }

    /// Adds the counts of another block.
    pub fn add(&mut self, other: &Self) {
        for (sum, &count) in self.executed.iter_mut().zip(&other.executed) {
            *sum += count;
        }
        for (sum, &count) in self.lanes.iter_mut().zip(&other.lanes) {
            *sum += count;
        }
        self.divergent_branches += other.divergent_branches;
        self.global_load_bytes += other.global_load_bytes;
        self.global_store_bytes += other.global_store_bytes;
        self.global_requests += other.global_requests;
        self.global_sectors += other.global_sectors;
        self.shared_requests += other.shared_requests;
        self.shared_passes += other.shared_passes;
    }

    /// Instructions executed by warps.
    pub fn warp_instructions(&self) -> u64 {
        self.executed.iter().sum()
    }

    /// Instructions executed by threads.
    pub fn thread_instructions(&self) -> u64 {
        self.lanes.iter().sum()
    }
}

/// 32-byte sectors that accesses of `bytes` at some addresses touch.
pub(crate) fn sectors(addresses: impl Iterator<Item = u64>, bytes: u64) -> u64 {
    let mut list = [0u64; 64];
    let mut count = 0usize;
    let mut is_sorted = true;
    for address in addresses {
        for sector in address / 32..=(address + bytes - 1) / 32 {
            match count.checked_sub(1).map(|last| list[last]) {
                Some(last) if last == sector => continue,
                Some(last) => is_sorted &= last < sector,
                None => {}
            }
            list[count] = sector;
            count += 1;
        }
    }
    if is_sorted {
        return count as u64;
    }
    list[..count].sort_unstable();
    1 + list[..count]
        .windows(2)
        .filter(|pair| pair[0] != pair[1])
        .count() as u64
}

/// Passes that a request to shared memory takes: a quarter of a warp at a time for 16 bytes a
/// lane, half for 8, all for less; in each, as many as the busiest of 32 banks has words.
pub(crate) fn bank_passes(lanes: impl Iterator<Item = (usize, u64)>, bytes: u64) -> u64 {
    // Lanes move multiples of a unit, which neighbouring banks hold that nothing tells apart.
    let unit = bytes.clamp(4, 16).next_power_of_two();
    let lanes_at_once = 128 / unit as usize;
    let mut passes = 0;
    let mut banks = Banks {
        count: 128 / unit,
        first: [0; 32],
        used: 0,
        others: [0; 32],
        more: 0,
    };
    let mut group = 0;
    for (lane, offset) in lanes {
        if lane / lanes_at_once != group {
            passes += banks.passes();
            (banks.used, banks.more) = (0, 0);
            group = lane / lanes_at_once;
        }
        for at in offset / unit..=(offset + bytes - 1) / unit {
            banks.add(at);
        }
    }
    passes + banks.passes()
}

/// The units that are wanted at once of each bank.
struct Banks {
    /// How many banks there are, a power of two.
    count: u64,
    /// The first unit of each bank in `used`.
    first: [u64; 32],
    used: u32,
    /// Other units, some perhaps more than once.
    others: [u64; 32],
    more: usize,
}

impl Banks {
    #[inline(always)]
    fn add(&mut self, unit: u64) {
        let bank = (unit & (self.count - 1)) as usize;
        if self.used >> bank & 1 == 0 {
            self.used |= 1 << bank;
            self.first[bank] = unit;
        } else if self.first[bank] != unit {
            self.others[self.more] = unit;
            self.more += 1;
        }
    }

    fn passes(&mut self) -> u64 {
        let others = &mut self.others[..self.more];
        others.sort_unstable_by_key(|unit| (unit & (self.count - 1), *unit));
        let mut most = u64::from(self.used != 0);
        let mut units = most;
        for (i, &unit) in others.iter().enumerate() {
            let before = i.checked_sub(1).map(|before| others[before]);
            units = match before {
                Some(before) if before == unit => continue,
                Some(before) if before & (self.count - 1) == unit & (self.count - 1) => units + 1,
                _ => 2,
            };
            most = most.max(units);
        }
        most
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sectors_and_passes_by_hand() {
        assert_eq!(sectors((0..32).map(|lane| 4 * lane), 4), 4);
        assert_eq!(sectors((0..32).map(|lane| 128 * lane), 4), 32);
        assert_eq!(sectors((0..32).rev().map(|lane| 4 * lane), 4), 4);
        assert_eq!(sectors((0..32).map(|lane| 16 * lane), 16), 16);
        assert_eq!(sectors(std::iter::once(28), 8), 2);
        let every = |stride: u64| (0..32).map(move |lane| (lane, stride * lane as u64));
        assert_eq!(bank_passes(every(4), 4), 1);
        assert_eq!(bank_passes(every(8), 4), 2);
        assert_eq!(bank_passes(every(128), 4), 32);
        assert_eq!(bank_passes(every(0), 4), 1);
        assert_eq!(bank_passes(every(16), 16), 4);
        assert_eq!(bank_passes(every(1), 1), 1);
        // Words 0, 32 and 64 of bank 0, the first two twice; word 1 and 33 of bank 1.
        let words = [32, 0, 1, 64, 32, 33, 0].into_iter().enumerate();
        assert_eq!(
            bank_passes(words.map(|(lane, word)| (lane, 4 * word)), 4),
            3
        );
    }
}

//! Global memory: allocations, their bytes, and which bytes were ever written.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};

/// Where the first allocation lies.
const FIRST_ADDRESS: u64 = 0x1000_0000;
/// Alignment of allocations, as the CUDA driver's.
const ALIGNMENT: u64 = 256;
/// Unused bytes between two allocations.
const GUARD: u64 = 4096;

/// Freed allocations that are remembered, for reports.
const REMEMBERED: usize = 4096;

/// All allocations. Addresses are never reused, so an access to freed memory is detected: by name
/// for the last few thousand allocations, as out of bounds for earlier ones.
#[derive(Debug)]
pub struct GlobalMemory {
    allocations: BTreeMap<u64, Allocation>,
    /// Those of them that were freed, the oldest first.
    freed: VecDeque<u64>,
    next: u64,
    capacity: u64,
    used: u64,
}

/// A piece of memory.
///
/// It is kept in words that any thread of the host may read and write at once: a kernel that
/// races has no defined result, but the emulator stays sound and reports it.
#[derive(Debug)]
pub struct Allocation {
    base: u64,
    bytes: u64,
    label: String,
    is_freed: bool,
    words: Vec<AtomicU32>,
    /// A bit for each byte that the host or an earlier launch has written.
    written: Vec<u32>,
}

/// Errors of the host's use of memory.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MemoryError {
    /// The memory is full.
    #[error("out of memory: {asked} bytes asked for, {free} of {capacity} free")]
    OutOfMemory {
        /// Requested bytes.
        asked: u64,
        /// Bytes left.
        free: u64,
        /// Bytes in all.
        capacity: u64,
    },
    /// There is no allocation at the address.
    #[error("{bytes} bytes at {address:#x} are not inside one allocation")]
    Outside {
        /// First byte.
        address: u64,
        /// How many.
        bytes: u64,
    },
    /// It starts no allocation, or it was freed before.
    #[error("{address:#x} is not the start of an allocation that could be freed")]
    NotAllocated {
        /// The address.
        address: u64,
    },
    /// The host reads bytes that were never written.
    #[error("byte {offset} of {label} was read by the host but never written")]
    NeverWritten {
        /// Offset of the first such byte.
        offset: u64,
        /// The allocation.
        label: String,
    },
}

impl GlobalMemory {
    /// Memory of `capacity` bytes.
    pub fn new(capacity: u64) -> Self {
        Self {
            allocations: BTreeMap::new(),
            freed: VecDeque::new(),
            next: FIRST_ADDRESS,
            capacity,
            used: 0,
        }
    }

    /// Bytes in all.
    pub fn capacity(&self) -> u64 {
        self.capacity
    }

    /// Bytes allocated.
    pub fn used(&self) -> u64 {
        self.used
    }

    /// Allocates `bytes` that nobody has written, and returns their address. `label` names them
    /// in reports.
    ///
    /// # Errors
    /// When that many are not left.
    pub fn allocate(&mut self, bytes: u64, label: &str) -> Result<u64, MemoryError> {
        let free = self.capacity - self.used;
        if bytes > free {
            return Err(MemoryError::OutOfMemory {
                asked: bytes,
                free,
                capacity: self.capacity,
            });
        }
        let base = self.next;
        self.next += bytes.next_multiple_of(ALIGNMENT) + GUARD;
        self.used += bytes;
        let words = bytes.div_ceil(4) as usize;
        self.allocations.insert(
            base,
            Allocation {
                base,
                bytes,
                label: label.to_owned(),
                is_freed: false,
                words: std::iter::repeat_with(AtomicU32::default)
                    .take(words)
                    .collect(),
                written: vec![0; bytes.div_ceil(32) as usize],
            },
        );
        Ok(base)
    }

    /// Frees an allocation.
    ///
    /// # Errors
    /// When there is none at `address`, or no longer.
    pub fn free(&mut self, address: u64) -> Result<(), MemoryError> {
        match self.allocations.get_mut(&address) {
            Some(allocation) if !allocation.is_freed => {
                allocation.is_freed = true;
                allocation.words = Vec::new();
                allocation.written = Vec::new();
                self.used -= allocation.bytes;
                self.freed.push_back(address);
                if self.freed.len() > REMEMBERED
                    && let Some(oldest) = self.freed.pop_front()
                {
                    self.allocations.remove(&oldest);
                }
                Ok(())
            }
            _ => Err(MemoryError::NotAllocated { address }),
        }
    }

    /// Copies bytes from the host.
    ///
    /// # Errors
    /// When they do not lie in one allocation.
    pub fn write(&mut self, address: u64, bytes: &[u8]) -> Result<(), MemoryError> {
        let allocation = self.inside_mut(address, bytes.len() as u64)?;
        let offset = address - allocation.base;
        for (index, chunk) in split(offset, bytes) {
            allocation.merge(index, chunk);
        }
        allocation.mark_written(offset, bytes.len() as u64);
        Ok(())
    }

    /// Copies bytes to the host.
    ///
    /// # Errors
    /// When they do not lie in one allocation, or were never written.
    pub fn read(&self, address: u64, bytes: &mut [u8]) -> Result<(), MemoryError> {
        let allocation = self.inside(address, bytes.len() as u64)?;
        let offset = address - allocation.base;
        if let Some(offset) = allocation.first_unwritten(offset, bytes.len() as u64) {
            return Err(MemoryError::NeverWritten {
                offset,
                label: allocation.to_string(),
            });
        }
        let mut word = (offset / 4) as usize;
        let mut skip = (offset % 4) as usize;
        let mut rest = bytes;
        while !rest.is_empty() {
            let value = allocation.words[word].load(Ordering::Relaxed).to_le_bytes();
            let count = rest.len().min(4 - skip);
            let (head, tail) = rest.split_at_mut(count);
            head.copy_from_slice(&value[skip..skip + count]);
            rest = tail;
            skip = 0;
            word += 1;
        }
        Ok(())
    }

    /// The allocation, freed or not, whose bytes contain `address` or that ends last before it.
    pub fn nearest(&self, address: u64) -> Option<&Allocation> {
        let below = self.allocations.range(..=address).next_back();
        below
            .or_else(|| self.allocations.iter().next())
            .map(|(_, a)| a)
    }

    /// The allocation that holds all of `bytes` at `address`, unless it was freed.
    #[inline]
    pub fn find(&self, address: u64, bytes: u64) -> Option<&Allocation> {
        let (_, allocation) = self.allocations.range(..=address).next_back()?;
        allocation.holds(address, bytes).then_some(allocation)
    }

    /// Notes bytes that a launch has written.
    pub(crate) fn mark_written(&mut self, start: u64, end: u64) {
        if let Some((_, allocation)) = self.allocations.range_mut(..=start).next_back() {
            allocation.mark_written(start - allocation.base, end - start);
        }
    }

    fn inside(&self, address: u64, bytes: u64) -> Result<&Allocation, MemoryError> {
        self.find(address, bytes)
            .ok_or(MemoryError::Outside { address, bytes })
    }

    fn inside_mut(&mut self, address: u64, bytes: u64) -> Result<&mut Allocation, MemoryError> {
        let below = self.allocations.range_mut(..=address).next_back();
        below
            .map(|(_, allocation)| allocation)
            .filter(|allocation| allocation.holds(address, bytes))
            .ok_or(MemoryError::Outside { address, bytes })
    }
}

impl Allocation {
    /// Address of the first byte.
    pub fn base(&self) -> u64 {
        self.base
    }

    /// Size in bytes.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Whether it is gone.
    pub fn is_freed(&self) -> bool {
        self.is_freed
    }

    /// Whether all of `bytes` at `address` belong to it.
    #[inline(always)]
    pub fn holds(&self, address: u64, bytes: u64) -> bool {
        !self.is_freed
            && address >= self.base
            && address - self.base <= self.bytes
            && bytes <= self.bytes - (address - self.base)
    }

    /// Loads `bytes` (1, 2 or 4, aligned) that it holds.
    #[inline(always)]
    pub fn load(&self, address: u64, bytes: u32) -> u32 {
        let offset = address - self.base;
        let word = self.words[(offset / 4) as usize].load(Ordering::Relaxed);
        match bytes {
            4 => word,
            _ => word >> (offset % 4 * 8) & ((1 << (bytes * 8)) - 1),
        }
    }

    /// Loads an aligned double word that it holds.
    #[inline(always)]
    pub fn load_double(&self, address: u64) -> u64 {
        u64::from(self.load(address, 4)) | u64::from(self.load(address + 4, 4)) << 32
    }

    /// Stores an aligned double word that it holds.
    #[inline(always)]
    pub fn store_double(&self, address: u64, value: u64) {
        self.store(address, 4, value as u32);
        self.store(address + 4, 4, (value >> 32) as u32);
    }

    /// Some aligned words that it holds.
    #[inline(always)]
    pub(crate) fn words(&self, address: u64, count: usize) -> &[AtomicU32] {
        &self.words[((address - self.base) / 4) as usize..][..count]
    }

    /// Stores `bytes` (1, 2 or 4, aligned) that it holds.
    #[inline(always)]
    pub fn store(&self, address: u64, bytes: u32, value: u32) {
        let offset = address - self.base;
        let word = &self.words[(offset / 4) as usize];
        if bytes == 4 {
            word.store(value, Ordering::Relaxed);
        } else {
            let shift = (offset % 4 * 8) as u32;
            let mask = ((1u32 << (bytes * 8)) - 1) << shift;
            // Another block may write the bytes beside these: that is no race.
            let merge = |old: u32| Some(old & !mask | value << shift & mask);
            let _ = word.fetch_update(Ordering::Relaxed, Ordering::Relaxed, merge);
        }
    }

    /// Replaces an aligned word by `f` of it, as one step, and returns what it was.
    #[inline]
    pub fn update(&self, address: u64, mut f: impl FnMut(u32) -> u32) -> u32 {
        let word = &self.words[((address - self.base) / 4) as usize];
        let updated = word.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |old| Some(f(old)));
        updated.unwrap_or_else(|old| old)
    }

    /// As [`Allocation::update`], for an aligned double word. Its halves are two words, so one
    /// update at a time is made of any.
    pub fn update_double(&self, address: u64, f: impl FnOnce(u64) -> u64) -> u64 {
        static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
        let _guard = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
        let old = self.load_double(address);
        self.store_double(address, f(old));
        old
    }

    /// Whether the host or an earlier launch wrote all of `bytes` at `address`.
    #[inline(always)]
    pub fn is_written(&self, address: u64, bytes: u64) -> bool {
        let offset = address - self.base;
        if offset % 32 + bytes <= 32 {
            let mask = (((1u64 << bytes) - 1) << (offset % 32)) as u32;
            self.written[(offset / 32) as usize] & mask == mask
        } else {
            self.first_unwritten(offset, bytes).is_none()
        }
    }

    fn first_unwritten(&self, offset: u64, bytes: u64) -> Option<u64> {
        let mut at = offset;
        while at < offset + bytes {
            let bits = self.written[(at / 32) as usize];
            if at.is_multiple_of(32) && bits == u32::MAX {
                at += 32;
            } else if bits >> (at % 32) & 1 == 1 {
                at += 1;
            } else {
                return Some(at);
            }
        }
        None
    }

    fn mark_written(&mut self, offset: u64, bytes: u64) {
        let mut at = offset;
        let end = offset + bytes;
        while at < end {
            let count = (32 - at % 32).min(end - at);
            let mask = (((1u64 << count) - 1) << (at % 32)) as u32;
            self.written[(at / 32) as usize] |= mask;
            at += count;
        }
    }

    /// Writes up to four bytes at byte `index` (which do not leave their word).
    fn merge(&mut self, index: u64, bytes: &[u8]) {
        let word = self.words[(index / 4) as usize].get_mut();
        let mut value = word.to_le_bytes();
        value[(index % 4) as usize..][..bytes.len()].copy_from_slice(bytes);
        *word = u32::from_le_bytes(value);
    }
}

impl fmt::Display for Allocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "`{}` ({} bytes at {:#x})",
            self.label, self.bytes, self.base
        )
    }
}

/// Pieces of `bytes` that lie in one word each, with the offset of each from `offset` on.
fn split(offset: u64, bytes: &[u8]) -> impl Iterator<Item = (u64, &[u8])> {
    let head = bytes
        .len()
        .min((offset.next_multiple_of(4) - offset) as usize);
    let (head, body) = bytes.split_at(head);
    let start = offset + head.len() as u64;
    let body = body.chunks(4).enumerate();
    let body = body.map(move |(i, chunk)| (start + 4 * i as u64, chunk));
    (!head.is_empty())
        .then_some((offset, head))
        .into_iter()
        .chain(body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn freed_memory_is_remembered_for_a_while_and_its_addresses_never_used_again() {
        let mut memory = GlobalMemory::new(64);
        let first = memory.allocate(16, "first").expect("free");
        memory.free(first).expect("allocated");
        let mut last = first;
        for _ in 0..REMEMBERED {
            let nearest = memory.nearest(first).map(ToString::to_string);
            assert!(nearest.is_some_and(|near| near.starts_with("`first`")));
            let address = memory.allocate(64, "later").expect("free");
            assert!(address > last);
            last = address;
            memory.free(address).expect("allocated");
        }
        assert_eq!(memory.allocations.len(), REMEMBERED);
        assert_eq!(memory.used(), 0);
        assert!(memory.find(first, 1).is_none());
        let gone = MemoryError::NotAllocated { address: first };
        assert_eq!(memory.free(first), Err(gone));
    }
}

//! The accesses that the lanes of a warp make together, sorted by where they go.

use super::block::Block;
use super::warp::Warp;
use super::{At, Checked, count_of, lanes_of};
use crate::memory::global::Allocation;
use crate::memory::{CONST_WINDOW, LOCAL_WINDOW, PARAM_WINDOW, SHARED_WINDOW, WINDOW_BYTES};
use crate::program::{Address, Space};
use crate::registers::{Aligned, LANES};
use crate::statistics::{bank_passes, sectors};

/// The space that an address is in, and the address in it.
fn place(space: Space, address: u64) -> (Space, u64) {
    if space != Space::Generic {
        return (space, address);
    }
    let windows = [
        (SHARED_WINDOW, Space::Shared),
        (LOCAL_WINDOW, Space::Local),
        (PARAM_WINDOW, Space::Param),
        (CONST_WINDOW, Space::Const),
    ];
    let found = windows
        .into_iter()
        .find(|(start, _)| address.wrapping_sub(*start) < WINDOW_BYTES);
    found.map_or((Space::Global, address), |(start, space)| {
        (space, address - start)
    })
}

/// The accesses of the lanes of an instruction.
pub(super) struct Accesses {
    space: Space,
    /// Lanes whose accesses have not been taken as part of a [`Request`].
    rest: u32,
    addresses: Aligned<[u64; LANES]>,
    bytes: u32,
    /// Whether all 32 lanes follow each other without gaps.
    is_contiguous: bool,
}

/// Accesses of some lanes to one space, and there to one allocation. Never to
/// [`Space::Generic`].
pub(super) struct Request<'a, 'b> {
    pub space: Space,
    /// The lanes.
    pub lanes: u32,
    addresses: &'b [u64; LANES],
    /// Where the space starts, if the addresses are generic.
    start: u64,
    /// Bytes of each lane.
    pub bytes: u32,
    /// Whether all 32 lanes follow each other without gaps.
    pub is_contiguous: bool,
    /// The allocation that holds all of it, if it is in global memory and one does.
    pub allocation: Option<&'a Allocation>,
}

impl Request<'_, '_> {
    /// The first lane.
    pub fn first(&self) -> usize {
        self.lanes.trailing_zeros() as usize & 31
    }

    /// The address in the space that a lane reaches, a multiple of `bytes`.
    #[inline(always)]
    pub fn address(&self, lane: usize) -> u64 {
        self.addresses[lane] - self.start
    }
}

impl Accesses {
    /// `bytes` of each active lane.
    #[inline(always)]
    pub fn new(warp: &Warp, space: Space, address: Address, active: u32, bytes: u32) -> Self {
        let addresses = warp.addresses(address);
        let (first, step) = (addresses.0[0], u64::from(bytes));
        let mut gaps = 0;
        for (lane, address) in addresses.0.iter().enumerate() {
            gaps |= address ^ first.wrapping_add(lane as u64 * step);
        }
        Self {
            space,
            rest: active,
            addresses,
            bytes,
            is_contiguous: active == u32::MAX
                && gaps == 0
                && first.checked_add(LANES as u64 * step).is_some(),
        }
    }

    /// A lane's access to one byte of global memory.
    pub fn single_byte(lane: usize, address: u64) -> Self {
        Self {
            space: Space::Global,
            rest: 1 << lane,
            addresses: Aligned([address; LANES]),
            bytes: 1,
            is_contiguous: false,
        }
    }

    /// Removes lanes from the request.
    pub fn leave_out(&mut self, lanes: u32) {
        self.is_contiguous &= self.rest & lanes == 0;
        self.rest &= !lanes;
    }

    /// The lanes of a mask whose address `is_kept` accepts.
    fn lanes_where(&self, mask: u32, is_kept: impl Fn(u64) -> bool) -> u32 {
        let kept = lanes_of(mask).filter(|&lane| is_kept(self.addresses.0[lane]));
        kept.fold(0, |lanes, lane| lanes | 1 << lane)
    }
}

impl<'a> Block<'a> {
    /// Checks the alignment of an instruction's accesses, and counts them.
    #[inline(always)]
    pub(super) fn admit(&mut self, at: At, accesses: &Accesses, is_load: bool) -> Checked {
        let mut all = 0;
        for address in &accesses.addresses.0 {
            all |= address;
        }
        if all & (u64::from(accesses.bytes) - 1) != 0 {
            for lane in lanes_of(accesses.rest) {
                let (space, address) = place(accesses.space, accesses.addresses.0[lane]);
                self.check_alignment(at, lane, space, address, accesses.bytes)?;
            }
        }
        self.count(accesses, is_load);
        Ok(())
    }

    /// Takes those accesses that go where the first of the rest goes.
    #[inline]
    pub(super) fn next_request<'b>(
        &mut self,
        accesses: &'b mut Accesses,
    ) -> Option<Request<'a, 'b>> {
        let Accesses {
            mut space,
            rest: mut lanes,
            bytes,
            ..
        } = *accesses;
        if lanes == 0 {
            return None;
        }
        let first = accesses.addresses.0[lanes.trailing_zeros() as usize];
        let mut start = 0;
        if space == Space::Generic {
            let (own, offset) = place(Space::Generic, first);
            (space, start) = (own, first - offset);
            let is_own = |address| place(Space::Generic, address).0 == own;
            lanes = accesses.lanes_where(lanes, is_own);
        }
        let mut allocation = None;
        if space == Space::Global {
            let bytes = u64::from(bytes);
            allocation = self.allocation_of(first, bytes);
            let (base, end) = match allocation {
                Some(allocation) => (allocation.base(), allocation.base() + allocation.bytes()),
                None => (0, 0),
            };
            // Aligned as they are, addresses are too far from the end to overflow.
            let is_held = |address: u64| address >= base && address.wrapping_add(bytes - 1) < end;
            let mut are_held = true;
            for &address in &accesses.addresses.0 {
                are_held &= is_held(address);
            }
            if !are_held {
                let held = accesses.lanes_where(lanes, is_held);
                lanes = held | 1 << lanes.trailing_zeros();
            }
        }
        let is_contiguous = accesses.is_contiguous && lanes == accesses.rest;
        accesses.rest &= !lanes;
        Some(Request {
            space,
            lanes,
            addresses: &accesses.addresses.0,
            start,
            bytes,
            is_contiguous,
            allocation,
        })
    }

    /// The allocation that holds all of `bytes` at `address`; most often that of the last time.
    #[inline(always)]
    pub(super) fn allocation_of(&mut self, address: u64, bytes: u64) -> Option<&'a Allocation> {
        let recent = self.recent_allocation;
        recent
            .filter(|allocation| allocation.holds(address, bytes))
            .or_else(|| {
                let found = self.environment.memory.find(address, bytes);
                self.recent_allocation = found.or(recent);
                found
            })
    }

    /// Counts the accesses of an instruction.
    #[inline(always)]
    fn count(&mut self, accesses: &Accesses, is_load: bool) {
        let Accesses {
            space,
            rest: active,
            addresses: Aligned(ref addresses),
            is_contiguous,
            bytes,
        } = *accesses;
        let bytes = u64::from(bytes);
        let first = addresses[active.trailing_zeros() as usize & 31];
        let statistics = &mut self.statistics;
        match place(space, first).0 {
            Space::Generic | Space::Global => {
                let moved = u64::from(count_of(active)) * bytes;
                if is_load {
                    statistics.global_load_bytes += moved;
                } else {
                    statistics.global_store_bytes += moved;
                }
                statistics.global_requests += 1;
                statistics.global_sectors += if is_contiguous {
                    (first + (moved - 1)) / 32 - first / 32 + 1
                } else {
                    sectors(lanes_of(active).map(|lane| addresses[lane]), bytes)
                };
            }
            Space::Shared => {
                statistics.shared_requests += 1;
                statistics.shared_passes += if is_contiguous {
                    (bytes / 4).max(1)
                } else if bytes == 4 && are_in_different_banks(addresses, active) {
                    1
                } else {
                    let offset = |lane: usize| place(space, addresses[lane]).1;
                    bank_passes(lanes_of(active).map(|lane| (lane, offset(lane))), bytes)
                };
            }
            Space::Local | Space::Param | Space::Const => {}
        }
    }
}

/// Whether no two active lanes reach the same bank of shared memory. Windows start at bank 0.
#[inline(always)]
fn are_in_different_banks(addresses: &[u64; LANES], active: u32) -> bool {
    let mut banks = 0u32;
    for (lane, address) in addresses.iter().enumerate() {
        banks |= (active >> lane & 1) << (address / 4 % 32);
    }
    count_of(banks) == count_of(active)
}

//! The accesses that the lanes of a warp make together, sorted by where they go.

use super::block::Block;
use super::lanes_of;
use crate::memory::global::Allocation;
use crate::memory::{CONST_WINDOW, LOCAL_WINDOW, PARAM_WINDOW, SHARED_WINDOW, WINDOW_BYTES};
use crate::program::{Address, Space};
use crate::registers::LANES;
use crate::report::Report;
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

/// Accesses of some lanes to one space, and there to one allocation. Never to
/// [`Space::Generic`].
pub(super) struct Request<'a> {
    pub space: Space,
    /// The lanes.
    pub lanes: u32,
    /// For each lane, the address in the space, a multiple of `bytes`.
    pub addresses: [u64; LANES],
    /// Bytes of each lane.
    pub bytes: u32,
    /// Whether all 32 lanes follow each other without gaps.
    pub is_contiguous: bool,
    /// The allocation that holds all of it, if it is in global memory and one does.
    pub allocation: Option<&'a Allocation>,
}

impl Request<'_> {
    /// The first lane.
    pub fn first(&self) -> usize {
        self.lanes.trailing_zeros() as usize & 31
    }
}

/// What is left of an instruction's accesses.
pub(super) struct Requests {
    space: Space,
    rest: u32,
    addresses: [u64; LANES],
    bytes: u32,
    is_contiguous: bool,
}

impl Requests {
    /// Leaves lanes to somebody else.
    pub fn leave_out(&mut self, lanes: u32) {
        self.is_contiguous &= self.rest & lanes == 0;
        self.rest &= !lanes;
    }
}

impl<'a> Block<'a> {
    /// A lane's access to one byte of global memory.
    pub(super) fn single_byte(&self, lane: usize, address: u64) -> Request<'a> {
        Request {
            space: Space::Global,
            lanes: 1 << lane,
            addresses: [address; LANES],
            bytes: 1,
            is_contiguous: false,
            allocation: self.environment.memory.find(address, 1),
        }
    }

    /// Checks the alignment of an instruction's accesses, and counts them.
    #[allow(clippy::too_many_arguments, reason = "all of an access")]
    pub(super) fn requests(
        &mut self,
        warp: usize,
        pc: u32,
        space: Space,
        address: Address,
        active: u32,
        bytes: u32,
        is_load: bool,
    ) -> Result<Requests, Box<Report>> {
        let addresses = self.warps[warp].addresses(address);
        let mask = u64::from(bytes) - 1;
        if addresses.iter().fold(0, |all, address| all | address) & mask != 0 {
            for lane in lanes_of(active) {
                let (space, address) = place(space, addresses[lane]);
                self.check_alignment(pc, self.warps[warp].thread(lane), space, address, bytes)?;
            }
        }
        let (first, step) = (addresses[0], u64::from(bytes));
        let following = |lane: usize| first.wrapping_add(lane as u64 * step);
        let gaps = (0..LANES).fold(0, |gaps, lane| gaps | (addresses[lane] ^ following(lane)));
        let requests = Requests {
            space,
            rest: active,
            addresses,
            bytes,
            is_contiguous: active == u32::MAX
                && gaps == 0
                && first.checked_add(LANES as u64 * step).is_some(),
        };
        self.count(&requests, is_load);
        Ok(requests)
    }

    /// Takes those accesses that go where the first of the rest goes.
    #[inline]
    pub(super) fn next_request(&self, requests: &mut Requests) -> Option<Request<'a>> {
        if requests.rest == 0 {
            return None;
        }
        let mut request = Request {
            space: requests.space,
            lanes: requests.rest,
            addresses: requests.addresses,
            bytes: requests.bytes,
            is_contiguous: requests.is_contiguous,
            allocation: None,
        };
        if request.space == Space::Generic {
            let places = requests.addresses.map(|a| place(Space::Generic, a));
            request.space = places[request.first()].0;
            request.addresses = places.map(|(_, address)| address);
            let space = request.space;
            request.retain(|lane| places[lane].0 == space);
        }
        if request.space == Space::Global {
            let bytes = u64::from(request.bytes);
            let memory = self.environment.memory;
            let first = request.first();
            request.allocation = memory.find(request.addresses[first], bytes);
            let (base, end) = match request.allocation {
                Some(allocation) => (allocation.base(), allocation.base() + allocation.bytes()),
                None => (0, 0),
            };
            // Aligned as they are, addresses are too far from the end to overflow.
            let is_held = |address: u64| address >= base && address.wrapping_add(bytes - 1) < end;
            let addresses = request.addresses;
            let are_held = addresses
                .iter()
                .fold(true, |all, &address| all & is_held(address));
            if !are_held {
                request.retain(|lane| lane == first || is_held(addresses[lane]));
            }
        }
        requests.rest &= !request.lanes;
        Some(request)
    }

    /// Counts the accesses of an instruction.
    fn count(&mut self, requests: &Requests, is_load: bool) {
        let Requests {
            space,
            rest: active,
            addresses,
            ..
        } = *requests;
        let bytes = u64::from(requests.bytes);
        let first = addresses[active.trailing_zeros() as usize & 31];
        let statistics = &mut self.statistics;
        match place(space, first).0 {
            Space::Generic | Space::Global => {
                let moved = u64::from(active.count_ones()) * bytes;
                if is_load {
                    statistics.global_load_bytes += moved;
                } else {
                    statistics.global_store_bytes += moved;
                }
                statistics.global_requests += 1;
                statistics.global_sectors += if requests.is_contiguous {
                    (first + (moved - 1)) / 32 - first / 32 + 1
                } else {
                    sectors(lanes_of(active).map(|lane| addresses[lane]), bytes)
                };
            }
            Space::Shared => {
                statistics.shared_requests += 1;
                statistics.shared_passes += if requests.is_contiguous {
                    (bytes / 4).max(1)
                } else {
                    let mut lanes = [(0usize, 0u64); LANES];
                    let mut count = 0;
                    for lane in lanes_of(active) {
                        lanes[count] = (lane, place(space, addresses[lane]).1);
                        count += 1;
                    }
                    bank_passes(&lanes[..count], bytes)
                };
            }
            Space::Local | Space::Param | Space::Const => {}
        }
    }
}

impl Request<'_> {
    /// Keeps some of the lanes.
    fn retain(&mut self, keeps: impl Fn(usize) -> bool) {
        let all = self.lanes;
        let kept = lanes_of(all).filter(|&lane| keeps(lane));
        self.lanes = kept.fold(0, |lanes, lane| lanes | 1 << lane);
        self.is_contiguous &= self.lanes == all;
    }
}

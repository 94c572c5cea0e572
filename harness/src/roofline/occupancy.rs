//! Occupancy: how many thread blocks are resident on a multiprocessor.

use super::Chip;
use std::fmt;

const WARP: u32 = 32;
/// The unit in which a warp gets registers (CUDA's cuda_occupancy.h, from compute capability 8.0
/// on).
const REGISTER_UNIT: u32 = 256;
/// The schedulers over which a multiprocessor's registers and warps are split.
const SCHEDULERS: u32 = 4;
/// Bytes of shared memory that the system reserves for each thread block (CUDA C++ Programming
/// Guide, from compute capability 8.0 on).
const RESERVED_SHARED: u32 = 1024;
/// The unit of shared memory, bytes.
const SHARED_UNIT: u32 = 128;
/// Registers of a thread, at most.
const MAX_REGISTERS: u32 = 255;
/// Threads of a thread block, at most.
const MAX_BLOCK_THREADS: u32 = 1024;

/// The resource of a multiprocessor that is exhausted first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OccupancyLimit {
    /// Threads.
    Threads,
    /// Thread blocks.
    Blocks,
    /// Registers.
    Registers,
    /// Shared memory.
    SharedMemory,
}

/// The resident blocks and warps of a multiprocessor.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Occupancy {
    /// Thread blocks.
    pub blocks: u32,
    /// Warps.
    pub warps: u32,
    /// Warps that the chip could hold.
    pub max_warps: u32,
    /// The resource that limits it.
    pub limit: OccupancyLimit,
}

/// A thread block that no multiprocessor holds.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a thread block of {threads} threads, {registers} registers each and {shared_bytes} bytes of \
     shared memory does not fit a multiprocessor of {chip}: {limit}"
)]
pub struct OccupancyError {
    chip: &'static str,
    threads: u32,
    registers: u32,
    shared_bytes: u32,
    limit: OccupancyLimit,
}

impl Occupancy {
    /// The occupancy of thread blocks of `threads` threads with `registers` registers each and
    /// `shared_bytes` of static and dynamic shared memory.
    ///
    /// # Errors
    /// If not one of them fits, or there are no threads.
    pub fn new(
        chip: &Chip,
        threads: u32,
        registers: u32,
        shared_bytes: u32,
    ) -> Result<Self, OccupancyError> {
        let error = |limit| OccupancyError {
            chip: chip.name,
            threads,
            registers,
            shared_bytes,
            limit,
        };
        if threads == 0 || threads > MAX_BLOCK_THREADS {
            return Err(error(OccupancyLimit::Threads));
        }
        if registers > MAX_REGISTERS {
            return Err(error(OccupancyLimit::Registers));
        }
        let warps = threads.div_ceil(WARP);
        let warp_registers = (registers.max(1) * WARP).next_multiple_of(REGISTER_UNIT);
        let register_warps = chip.registers / SCHEDULERS / warp_registers * SCHEDULERS;
        let shared = shared_bytes
            .saturating_add(RESERVED_SHARED)
            .checked_next_multiple_of(SHARED_UNIT)
            .unwrap_or(u32::MAX);
        let limits = [
            (chip.threads / (warps * WARP), OccupancyLimit::Threads),
            (chip.blocks, OccupancyLimit::Blocks),
            (register_warps / warps, OccupancyLimit::Registers),
            (
                chip.shared_kib * 1024 / shared,
                OccupancyLimit::SharedMemory,
            ),
        ];
        // The first of equals.
        let [first, rest @ ..] = limits;
        let least = |a: (u32, _), b: (u32, _)| if b.0 < a.0 { b } else { a };
        let (blocks, limit) = rest.into_iter().fold(first, least);
        if blocks == 0 {
            return Err(error(limit));
        }
        Ok(Self {
            blocks,
            warps: blocks * warps,
            max_warps: chip.threads / WARP,
            limit,
        })
    }

    /// Resident warps of those that the chip could hold.
    pub fn fraction(&self) -> f64 {
        f64::from(self.warps) / f64::from(self.max_warps)
    }
}

impl fmt::Display for OccupancyLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Threads => "threads",
            Self::Blocks => "thread blocks",
            Self::Registers => "registers",
            Self::SharedMemory => "shared memory",
        })
    }
}

//! Tables of a batch that kernels read: tokens, positions, slots, sequences.

use std::cell::RefCell;

use mxlab_harness::device::{Buffer, Device, DeviceError};
use mxlab_kernels::family::embed::Embed;
use mxlab_kernels::kernel::Slice;

use crate::model::{Batch, LlamaError, Sequence};

/// The buffers and their contents, so that nothing is written twice.
pub(super) struct Staging {
    most: usize,
    tokens: Staged<u32>,
    rows: Staged<u32>,
    sequences: Staged<Sequence>,
    positions: Buffer,
    slots: Buffer,
    status: Buffer,
}

/// A buffer and its content.
struct Staged<T> {
    buffer: Buffer,
    held: RefCell<Vec<T>>,
}

impl<T: Clone + PartialEq> Staged<T> {
    fn new(device: &Device, name: &str, words: usize) -> Result<Self, DeviceError> {
        Ok(Self {
            buffer: device.upload(name, &vec![0u32; words.max(1)])?,
            held: RefCell::default(),
        })
    }

    /// Whether it has to be written. Its recorded content becomes `values`.
    fn changes(&self, values: &[T]) -> bool {
        let mut held = self.held.borrow_mut();
        let changes = *held != values;
        if changes {
            held.clear();
            held.extend_from_slice(values);
        }
        changes
    }
}

fn whole(buffer: &Buffer) -> Slice<'_> {
    Slice { buffer, offset: 0 }
}

impl Staging {
    /// Bytes for `most` tokens.
    pub const fn bytes(most: usize) -> usize {
        4 * (4 * most + 4 * most + 1)
    }

    /// Buffers for `most` tokens and as many sequences.
    pub fn new(device: &Device, most: usize) -> Result<Self, DeviceError> {
        Ok(Self {
            most,
            tokens: Staged::new(device, "tokens", most)?,
            rows: Staged::new(device, "rows", most)?,
            sequences: Staged::new(device, "sequences", 4 * most)?,
            positions: device.upload("positions", &vec![0u32; most.max(1)])?,
            slots: device.upload("slots", &vec![0u32; most.max(1)])?,
            status: device.upload("status", &[Embed::ALL_KNOWN])?,
        })
    }

    fn check(&self, tokens: usize, sequences: usize) -> Result<(), LlamaError> {
        let most = self.most;
        match tokens.max(sequences) <= most {
            true => Ok(()),
            false => Err(LlamaError::Batch {
                tokens,
                sequences,
                most,
            }),
        }
    }

    /// Token ids.
    pub fn tokens(&self, tokens: &[u32]) -> Result<Slice<'_>, LlamaError> {
        self.check(tokens.len(), 1)?;
        if self.tokens.changes(tokens) {
            self.tokens.buffer.write(0, tokens)?;
        }
        Ok(whole(&self.tokens.buffer))
    }

    /// Row indices.
    pub fn rows(&self, rows: &[u32]) -> Result<Slice<'_>, LlamaError> {
        self.check(rows.len(), 1)?;
        if self.rows.changes(rows) {
            self.rows.buffer.write(0, rows)?;
        }
        Ok(whole(&self.rows.buffer))
    }

    /// A status word that says that all tokens are known; they are checked earlier.
    pub fn status(&self) -> Slice<'_> {
        whole(&self.status)
    }

    /// Positions and slots of tokens, and the table of sequences, four u32 each.
    pub fn places(&self, batch: &Batch) -> Result<[Slice<'_>; 3], LlamaError> {
        self.check(batch.tokens.len(), batch.sequences.len())?;
        if self.sequences.changes(&batch.sequences) {
            let positions: Vec<u32> = batch.positions().map(|position| position as u32).collect();
            let mut slots = Vec::with_capacity(positions.len());
            let mut table = Vec::with_capacity(4 * batch.sequences.len());
            for sequence in &batch.sequences {
                let numbers = [slots.len(), sequence.length, sequence.slot, sequence.past];
                table.extend(numbers.map(|n| n as u32));
                slots.extend(std::iter::repeat_n(sequence.slot as u32, sequence.length));
            }
            self.positions.write(0, &positions)?;
            self.slots.write(0, &slots)?;
            self.sequences.buffer.write(0, &table)?;
        }
        Ok([&self.positions, &self.slots, &self.sequences.buffer].map(whole))
    }
}

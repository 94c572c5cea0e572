//! The inputs of a layer for all sequences: in memory, or where memory is short in a file.
//!
//! A file has the same f32 values, so nothing depends on where they are kept.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::model::cpu::Activation;

/// The inputs of a layer, sequence by sequence.
pub enum Hidden {
    /// In memory.
    Memory(Vec<Activation>),
    /// In a file.
    File(Spilled),
}

/// Values one sequence after another in a file that has no name, so that no end of the process
/// leaves it behind.
pub struct Spilled {
    folder: PathBuf,
    file: File,
    features: usize,
    /// Tokens of each sequence.
    lengths: Vec<usize>,
}

impl Hidden {
    /// Keeps what `make` makes for sequences of these lengths: in memory if that takes at most
    /// `most` bytes, or else in `folder`.
    ///
    /// # Errors
    /// Those of `make`; a disk that is full.
    pub fn new(
        lengths: Vec<usize>,
        features: usize,
        most: u64,
        folder: &Path,
        mut make: impl FnMut(usize) -> Result<Activation>,
    ) -> Result<Self> {
        let numbers = 0..lengths.len();
        if bytes(&lengths, features) <= most {
            return numbers.map(make).collect::<Result<_>>().map(Self::Memory);
        }
        let making = || format!("cannot make a file in `{}`", folder.display());
        let mut spilled = Spilled {
            folder: folder.to_owned(),
            file: tempfile::tempfile_in(folder).with_context(making)?,
            features,
            lengths,
        };
        for number in numbers {
            spilled.write(number, &make(number)?)?;
        }
        Ok(Self::File(spilled))
    }

    /// The input of a sequence.
    ///
    /// # Errors
    /// If its file cannot be read.
    pub fn get(&mut self, number: usize) -> Result<Activation> {
        match self {
            Self::Memory(all) => Ok(all[number].clone()),
            Self::File(spilled) => spilled.read(number),
        }
    }

    /// Replaces the input of a sequence.
    ///
    /// # Errors
    /// If its file cannot be written.
    pub fn set(&mut self, number: usize, input: Activation) -> Result<()> {
        match self {
            Self::Memory(all) => {
                all[number] = input;
                Ok(())
            }
            Self::File(spilled) => spilled.write(number, &input),
        }
    }
}

/// Bytes of the inputs of sequences of these lengths.
pub fn bytes(lengths: &[usize], features: usize) -> u64 {
    (lengths.iter().sum::<usize>() * features * size_of::<f32>()) as u64
}

impl Spilled {
    fn seek(&mut self, number: usize) -> Result<()> {
        let before = bytes(&self.lengths[..number], self.features);
        self.file.seek(SeekFrom::Start(before))?;
        Ok(())
    }

    fn read(&mut self, number: usize) -> Result<Activation> {
        let mut values = vec![0.0f32; self.lengths[number] * self.features];
        self.seek(number)?;
        let read = self.file.read_exact(bytemuck::cast_slice_mut(&mut values));
        read.with_context(|| {
            format!(
                "cannot read inputs of a layer in `{}`",
                self.folder.display()
            )
        })?;
        Ok(Activation::of_values(&values, self.features))
    }

    fn write(&mut self, number: usize, input: &Activation) -> Result<()> {
        self.seek(number)?;
        let written = self.file.write_all(bytemuck::cast_slice(input.values()));
        written.with_context(|| {
            format!(
                "cannot keep the inputs of a layer, {} MiB, in a file in `{}`; make room, then \
                 the same command goes on with the finished layers",
                bytes(&self.lengths, self.features).div_ceil(1 << 20),
                self.folder.display(),
            )
        })
    }
}

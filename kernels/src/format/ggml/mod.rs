//! ggml's formats of weights: blocks of integers with f16 factors, as in GGUF files.
//!
//! A [`GgmlFormat`] is a name, a block, and two functions. [`decode`] has the values of a block.
//! [`integers`], [`table`] and [`super_block`] choose scales and codes as ggml's reference does
//! without an importance matrix; [`search`] has its searches for scales. [`exchange`] has ggml's
//! layouts of MXFP4 and NVFP4, which are [`BlockFormat`](super::BlockFormat)s here.
//!
//! Super-blocks and minima are the structure of a format: none of its parts can be chosen.

mod decode;
mod exchange;
mod integers;
mod search;
mod super_block;
mod table;

use std::fmt;
use std::str::FromStr;

use super::error::serde_as_name;
use super::{BlockFormat, ElementFormat, FormatError, ScaleFormat};

pub use exchange::{
    ggml_mxfp4_blocks, ggml_mxfp4_codes, ggml_nvfp4_blocks, ggml_nvfp4_codes, ggml_nvfp4_scale,
};

/// A format of ggml.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "the names are ggml's")]
pub enum GgmlFormat {
    F16,
    Q8_0,
    Q5_1,
    Q5_0,
    Q4_1,
    Q4_0,
    Iq4Nl,
    Q6K,
    Q5K,
    Q4K,
    Q3K,
    Q2K,
}

/// What a format is made of.
struct Parts {
    name: &'static str,
    /// Elements of a block.
    block: usize,
    /// Bytes of a block.
    bytes: usize,
    /// Writes the values of a block.
    decode: fn(&[u8], &mut [f32]),
    /// Writes the block of some values.
    encode: fn(&[f32], &mut [u8]),
}

const fn parts(
    name: &'static str,
    [block, bytes]: [usize; 2],
    decode: fn(&[u8], &mut [f32]),
    encode: fn(&[f32], &mut [u8]),
) -> Parts {
    Parts {
        name,
        block,
        bytes,
        decode,
        encode,
    }
}

impl GgmlFormat {
    /// All, from most bits to fewest; super-blocks last.
    pub const ALL: [Self; 12] = [
        Self::F16,
        Self::Q8_0,
        Self::Q5_1,
        Self::Q5_0,
        Self::Q4_1,
        Self::Q4_0,
        Self::Iq4Nl,
        Self::Q6K,
        Self::Q5K,
        Self::Q4K,
        Self::Q3K,
        Self::Q2K,
    ];

    /// The values of IQ4_NL's codes, under a scale of 1.
    pub(crate) const IQ4_NL_LEVELS: [f32; 16] = decode::LEVELS;

    #[rustfmt::skip]
    const fn parts(self) -> Parts {
        match self {
            Self::F16 => parts("f16", [1, 2], decode::f16, integers::f16),
            Self::Q8_0 => parts("q8_0", [32, 34], decode::q8_0, integers::q8_0),
            Self::Q5_1 => parts("q5_1", [32, 24], decode::q5_1, integers::q5_1),
            Self::Q5_0 => parts("q5_0", [32, 22], decode::q5_0, integers::q5_0),
            Self::Q4_1 => parts("q4_1", [32, 20], decode::q4_1, integers::q4_1),
            Self::Q4_0 => parts("q4_0", [32, 18], decode::q4_0, integers::q4_0),
            Self::Iq4Nl => parts("iq4_nl", [32, 18], decode::iq4_nl, table::iq4_nl),
            Self::Q6K => parts("q6_k", [256, 210], decode::q6_k, super_block::q6_k),
            Self::Q5K => parts("q5_k", [256, 176], decode::q5_k, super_block::q5_k),
            Self::Q4K => parts("q4_k", [256, 144], decode::q4_k, super_block::q4_k),
            Self::Q3K => parts("q3_k", [256, 110], decode::q3_k, super_block::q3_k),
            Self::Q2K => parts("q2_k", [256, 84], decode::q2_k, super_block::q2_k),
        }
    }

    /// ggml's name, in lower case.
    pub const fn name(self) -> &'static str {
        self.parts().name
    }

    /// Elements of a block.
    pub const fn block_size(self) -> usize {
        self.parts().block
    }

    /// The block format that has its values, and the tensor scale under which it has them: a power
    /// of two, since the step of ggml's integers is 1 and that of an element is its unit. `None`
    /// where codes are no element, or a block has more than a scale.
    pub fn as_blocks(self) -> Option<(BlockFormat, f32)> {
        let (element, tensor_scale) = match self {
            Self::Q8_0 => (ElementFormat::INT8, 64.0),
            Self::Q4_0 => (ElementFormat::INT4, 4.0),
            _ => return None,
        };
        let format = BlockFormat::new(element).scale(ScaleFormat::Fp16);
        let format = format.block_size(self.block_size()).tensor_scale(true);
        Some((format.build().expect("parts that fit"), tensor_scale))
    }

    /// Bytes of a block.
    pub const fn block_bytes(self) -> usize {
        self.parts().bytes
    }

    /// Bits of a weight, with its share of scales and minima.
    pub fn bits(self) -> f64 {
        8.0 * self.block_bytes() as f64 / self.block_size() as f64
    }

    /// Whether it has rows of `cols` elements: whole blocks.
    pub const fn takes_rows_of(self, cols: usize) -> bool {
        cols.is_multiple_of(self.block_size())
    }

    /// What llama.cpp takes for rows of `cols` elements that this format does not have: a format of
    /// blocks of 32 for one of super-blocks, or else F16.
    pub fn stand_in(self, cols: usize) -> Self {
        let of_block = match self {
            Self::Q2K | Self::Q3K => Self::Iq4Nl,
            Self::Q4K => Self::Q5_0,
            Self::Q5K => Self::Q5_1,
            Self::Q6K => Self::Q8_0,
            own => own,
        };
        let fitting = [self, of_block].into_iter();
        let mut fitting = fitting.filter(|format| format.takes_rows_of(cols));
        fitting.next().unwrap_or(Self::F16)
    }

    /// Bytes of a row of `cols` elements.
    pub const fn row_bytes(self, cols: usize) -> usize {
        cols / self.block_size() * self.block_bytes()
    }

    /// Writes the values of whole blocks, exactly as ggml's reference computes them in f32.
    pub fn decode(self, blocks: &[u8], out: &mut [f32]) {
        let Parts {
            block,
            bytes,
            decode,
            ..
        } = self.parts();
        let blocks = blocks.chunks_exact(bytes);
        for (stored, out) in blocks.zip(out.chunks_exact_mut(block)) {
            decode(stored, out);
        }
    }

    /// Quantises a row of whole blocks as ggml's reference does, without an importance matrix.
    /// Values must be finite.
    pub fn encode(self, row: &[f32], out: &mut [u8]) {
        let Parts {
            block,
            bytes,
            encode,
            ..
        } = self.parts();
        for (values, out) in row.chunks_exact(block).zip(out.chunks_exact_mut(bytes)) {
            out.fill(0);
            encode(values, out);
        }
    }
}

impl fmt::Display for GgmlFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for GgmlFormat {
    type Err = FormatError;

    /// Upper and lower case are the same, as ggml's tools print either.
    fn from_str(name: &str) -> Result<Self, FormatError> {
        let mut all = Self::ALL.into_iter();
        let found = all.find(|known| known.name().eq_ignore_ascii_case(name));
        found.ok_or_else(|| FormatError::UnknownGgml {
            name: name.to_owned(),
            known: Self::ALL.map(Self::name).join(", "),
        })
    }
}

serde_as_name!(GgmlFormat);

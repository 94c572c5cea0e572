//! The types of ggml's tensors: names, blocks, and how each is read.

use mxlab_kernels::format::GgmlFormat;
use safetensors::Dtype;

/// A type of tensor.
#[derive(Debug)]
pub struct GgmlType {
    id: u32,
    /// ggml's name.
    pub(super) name: &'static str,
    /// Elements of a block.
    pub(super) block: usize,
    /// Bytes of a block.
    pub(super) bytes: usize,
    /// How it is read.
    pub(super) content: Content,
}

/// How the elements of a type are read.
#[derive(Debug)]
pub(super) enum Content {
    /// Floats.
    Float(Dtype),
    /// Codes and scales of a block format.
    Packed(Blocks),
    /// The values of a format of ggml.
    Decoded(GgmlFormat),
    /// Not at all.
    Unread,
}

/// The blocks whose codes and scales are taken as they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Blocks {
    /// One E8M0 scale for 32 elements.
    Mxfp4,
    /// Four UE4M3 scales for 64 elements.
    Nvfp4,
}

const fn float(id: u32, name: &'static str, bytes: usize, dtype: Dtype) -> GgmlType {
    let content = Content::Float(dtype);
    GgmlType {
        id,
        name,
        block: 1,
        bytes,
        content,
    }
}

const fn packed(id: u32, name: &'static str, [block, bytes]: [usize; 2], of: Blocks) -> GgmlType {
    let content = Content::Packed(of);
    GgmlType {
        id,
        name,
        block,
        bytes,
        content,
    }
}

const fn decoded(id: u32, name: &'static str, format: GgmlFormat) -> GgmlType {
    let content = Content::Decoded(format);
    GgmlType {
        id,
        name,
        block: format.block_size(),
        bytes: format.block_bytes(),
        content,
    }
}

const fn unread(id: u32, name: &'static str, [block, bytes]: [usize; 2]) -> GgmlType {
    let content = Content::Unread;
    GgmlType {
        id,
        name,
        block,
        bytes,
        content,
    }
}

/// ggml's types. Those that are not read may occur in tensors that are not needed.
#[rustfmt::skip]
static TYPES: [GgmlType; 34] = [
    float(0, "F32", 4, Dtype::F32),
    float(1, "F16", 2, Dtype::F16),
    decoded(2, "Q4_0", GgmlFormat::Q4_0),
    decoded(3, "Q4_1", GgmlFormat::Q4_1),
    decoded(6, "Q5_0", GgmlFormat::Q5_0),
    decoded(7, "Q5_1", GgmlFormat::Q5_1),
    decoded(8, "Q8_0", GgmlFormat::Q8_0),
    unread(9, "Q8_1", [32, 36]),
    decoded(10, "Q2_K", GgmlFormat::Q2K),
    decoded(11, "Q3_K", GgmlFormat::Q3K),
    decoded(12, "Q4_K", GgmlFormat::Q4K),
    decoded(13, "Q5_K", GgmlFormat::Q5K),
    decoded(14, "Q6_K", GgmlFormat::Q6K),
    unread(15, "Q8_K", [256, 292]),
    unread(16, "IQ2_XXS", [256, 66]),
    unread(17, "IQ2_XS", [256, 74]),
    unread(18, "IQ3_XXS", [256, 98]),
    unread(19, "IQ1_S", [256, 50]),
    decoded(20, "IQ4_NL", GgmlFormat::Iq4Nl),
    unread(21, "IQ3_S", [256, 110]),
    unread(22, "IQ2_S", [256, 82]),
    unread(23, "IQ4_XS", [256, 136]),
    unread(24, "I8", [1, 1]),
    unread(25, "I16", [1, 2]),
    unread(26, "I32", [1, 4]),
    unread(27, "I64", [1, 8]),
    unread(28, "F64", [1, 8]),
    unread(29, "IQ1_M", [256, 56]),
    float(30, "BF16", 2, Dtype::BF16),
    unread(34, "TQ1_0", [256, 54]),
    unread(35, "TQ2_0", [256, 66]),
    packed(39, "MXFP4", [32, 17], Blocks::Mxfp4),
    packed(40, "NVFP4", [64, 36], Blocks::Nvfp4),
    unread(41, "Q1_0", [128, 18]),
];

impl GgmlType {
    /// The type of a tensor in the words of safetensors, where blocks are U8 `[.., blocks, bytes]`,
    /// and its sizes in elements.
    pub(super) fn stored(dtype: Dtype, shape: &[usize]) -> Option<(&'static Self, Vec<usize>)> {
        let block_bytes = shape.last().filter(|_| dtype == Dtype::U8);
        let of = TYPES.iter().find(|one| match (&one.content, block_bytes) {
            (Content::Float(own), None) => *own == dtype,
            (Content::Packed(_), Some(&bytes)) => one.bytes == bytes,
            _ => false,
        })?;
        Some((of, of.sizes(shape)))
    }

    /// Sizes in elements of a tensor in the words of safetensors.
    pub(super) fn sizes(&self, shape: &[usize]) -> Vec<usize> {
        match (&self.content, shape) {
            (Content::Float(_), _) => shape.to_vec(),
            (_, [others @ .., blocks, _]) => [others, &[blocks * self.block]].concat(),
            _ => Vec::new(),
        }
    }

    /// The type of tensors in this format.
    pub(super) fn of_format(format: GgmlFormat) -> Option<&'static Self> {
        let is_it = |one: &&Self| match one.content {
            Content::Decoded(own) => own == format,
            Content::Float(_) | Content::Packed(_) | Content::Unread => false,
        };
        TYPES.iter().find(is_it)
    }

    /// ggml's number.
    pub(super) const fn id(&self) -> u32 {
        self.id
    }

    /// The type with this number.
    pub(super) fn of(id: u32) -> Option<&'static Self> {
        TYPES.iter().find(|one| one.id == id)
    }

    /// ggml's name.
    pub fn name(&self) -> &'static str {
        self.name
    }
}

/// The names of all types that are read.
pub(super) fn names() -> String {
    let is_read = |one: &&GgmlType| !matches!(one.content, Content::Unread);
    let names = TYPES.iter().filter(is_read).map(|one| one.name);
    names.collect::<Vec<_>>().join(", ")
}

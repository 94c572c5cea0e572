//! Maps the bits of stored words to the bits of operand registers.
//!
//! The search in `search.rs` found these tables; a test in `bits.rs` runs it again. For the table
//! of a new element, run the search and copy the terms that it prints.

/// Some bits of a register: those of `mask` in a word rotated left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Term {
    /// Which word of the group.
    pub word: usize,
    /// By how many bits.
    pub rotate: u32,
    /// The bits.
    pub mask: u32,
}

/// Registers that share words.
#[derive(Clone, Copy, Debug)]
pub struct Group {
    /// Words.
    pub words: usize,
    /// The terms of each register.
    pub registers: &'static [&'static [Term]],
}

/// The same bits of both halves of a word.
const fn term(word: usize, rotate: u32, half: u32) -> Term {
    Term {
        word,
        rotate,
        mask: half | half << 16,
    }
}

pub(super) const E2M1: Group = Group {
    words: 1,
    registers: &[
        &[term(0, 0, 0x81C0)],
        &[term(0, 6, 0x81C0)],
        &[term(0, 12, 0x81C0)],
        &[term(0, 2, 0x80C0), term(0, 26, 0x0100)],
    ],
};

pub(super) const INT4: Group = Group {
    words: 1,
    registers: &[
        &[term(0, 0, 0x8070)],
        &[term(0, 4, 0x8070)],
        &[term(0, 8, 0x8070)],
        &[term(0, 12, 0x8070)],
    ],
};

pub(super) const E2M3: Group = Group {
    words: 3,
    registers: &[
        &[term(0, 0, 0x81F0)],
        &[term(1, 0, 0x81F0)],
        &[term(2, 0, 0x81F0)],
        &[term(0, 1, 0x8010), term(0, 11, 0x01E0)],
        &[term(0, 2, 0x0010), term(1, 12, 0x81E0)],
        &[term(0, 6, 0x80C0), term(2, 7, 0x0130)],
        &[term(1, 3, 0x0030), term(2, 12, 0x81C0)],
        &[term(1, 7, 0x00B0), term(2, 6, 0x8140)],
    ],
};

pub(super) const E3M2: Group = Group {
    words: 3,
    registers: &[
        &[term(0, 0, 0x83E0)],
        &[term(0, 5, 0x83E0)],
        &[term(1, 0, 0x83E0)],
        &[term(1, 5, 0x83E0)],
        &[term(2, 0, 0x83E0)],
        &[term(0, 8, 0x0060), term(2, 11, 0x8380)],
        &[term(0, 13, 0x0300), term(2, 4, 0x80E0)],
        &[term(1, 10, 0x01E0), term(2, 15, 0x8200)],
    ],
};

pub(super) const E4M3: Group = Group {
    words: 1,
    registers: &[
        &[term(0, 0, 0x87F0)],
        &[term(0, 4, 0x80F0), term(0, 12, 0x0700)],
    ],
};

pub(super) const E5M2: Group = Group {
    words: 1,
    registers: &[
        &[term(0, 0, 0x8FE0)],
        &[term(0, 8, 0x0F60), term(0, 11, 0x8080)],
    ],
};

pub(super) const INT8: Group = Group {
    words: 1,
    registers: &[&[term(0, 0, 0x807F)], &[term(0, 8, 0x807F)]],
};

/// The same bits of all four bytes of a word.
const fn bytes(word: usize, rotate: u32, byte: u32) -> Term {
    Term {
        word,
        rotate,
        mask: byte * 0x0101_0101,
    }
}

pub(super) const E2M1_AS_E4M3: Group = Group {
    words: 1,
    registers: &[
        &[bytes(0, 0, 0x9C)],
        &[bytes(0, 2, 0x8C), bytes(0, 30, 0x10)],
    ],
};

pub(super) const INT4_AS_E4M3: Group = Group {
    words: 1,
    registers: &[&[bytes(0, 0, 0x87)], &[bytes(0, 4, 0x87)]],
};

pub(super) const E2M3_AS_E4M3: Group = Group {
    words: 3,
    registers: &[
        &[bytes(0, 0, 0x9F)],
        &[bytes(1, 0, 0x9F)],
        &[bytes(2, 0, 0x9F)],
        &[bytes(0, 30, 0x18), bytes(1, 28, 0x06), bytes(2, 2, 0x81)],
    ],
};

pub(super) const E3M2_AS_E4M3: Group = Group {
    words: 3,
    registers: &[
        &[bytes(0, 0, 0xBE)],
        &[bytes(1, 0, 0xBE)],
        &[bytes(2, 0, 0xBE)],
        &[bytes(0, 1, 0x82), bytes(1, 29, 0x28), bytes(2, 28, 0x14)],
    ],
};

pub(super) const INT4_AS_S8: Group = Group {
    words: 1,
    registers: &[&[bytes(0, 0, 0xF0)], &[bytes(0, 4, 0xF0)]],
};

/// Bytes that are operands without any change.
pub(super) const WHOLE: Group = Group {
    words: 1,
    registers: &[&[bytes(0, 0, 0xFF)]],
};

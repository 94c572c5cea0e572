//! The registers of a warp: an array of 32 lanes each.

/// Lanes of a warp.
pub const LANES: usize = 32;

/// How wide a register is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Class {
    /// Up to 32 bits. Narrower values lie in the low bits; the high bits are zero.
    Word,
    /// 64 bits.
    Double,
    /// One bit.
    Predicate,
}

/// A register: its class, and its number among those of the class.
///
/// Constants and special registers are registers too, which are written before the first
/// instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Register {
    /// Its class.
    pub class: Class,
    /// Its number.
    pub index: u16,
}

/// Begins where a cache line does: no vector of the host's lies in two.
#[derive(Clone, Copy, Debug)]
#[repr(align(64))]
pub(crate) struct Aligned<T>(pub T);

/// The registers of a warp. An inactive lane of a register may be computed on, never changed.
#[derive(Clone, Debug, Default)]
pub struct Registers {
    words: Vec<Aligned<[u32; LANES]>>,
    doubles: Vec<Aligned<[u64; LANES]>>,
    predicates: Vec<u32>,
    /// Lanes that hold a value, for the registers of each class.
    written: [Vec<u32>; 3],
}

impl Registers {
    /// That many registers of each class, all unwritten.
    pub fn new(words: usize, doubles: usize, predicates: usize) -> Self {
        Self {
            words: vec![Aligned([0; LANES]); words],
            doubles: vec![Aligned([0; LANES]); doubles],
            predicates: vec![0; predicates],
            written: [vec![0; words], vec![0; doubles], vec![0; predicates]],
        }
    }

    /// Makes every register unwritten.
    pub fn forget(&mut self) {
        for written in &mut self.written {
            written.fill(0);
        }
    }

    /// Lanes in which a register has a value.
    #[inline(always)]
    pub fn written(&self, register: Register) -> u32 {
        self.written[register.class as usize][usize::from(register.index)]
    }

    /// Notes that `lanes` of a register have a value.
    #[inline(always)]
    pub fn mark_written(&mut self, register: Register, lanes: u32) {
        self.written[register.class as usize][usize::from(register.index)] |= lanes;
    }

    /// The lanes of a [`Class::Word`] register.
    #[inline(always)]
    pub fn word(&self, register: Register) -> &[u32; LANES] {
        debug_assert_eq!(register.class, Class::Word);
        &self.words[usize::from(register.index)].0
    }

    /// The lanes of a [`Class::Word`] register, to be changed.
    #[inline(always)]
    pub fn word_mut(&mut self, register: Register) -> &mut [u32; LANES] {
        debug_assert_eq!(register.class, Class::Word);
        &mut self.words[usize::from(register.index)].0
    }

    /// The lanes of a [`Class::Double`] register.
    #[inline(always)]
    pub fn double(&self, register: Register) -> &[u64; LANES] {
        debug_assert_eq!(register.class, Class::Double);
        &self.doubles[usize::from(register.index)].0
    }

    /// The lanes of a [`Class::Double`] register, to be changed.
    #[inline(always)]
    pub fn double_mut(&mut self, register: Register) -> &mut [u64; LANES] {
        debug_assert_eq!(register.class, Class::Double);
        &mut self.doubles[usize::from(register.index)].0
    }

    /// The bits of a lane of a register of words or double words.
    #[inline(always)]
    pub fn bits(&self, register: Register, lane: usize) -> u64 {
        match register.class {
            Class::Double => self.double(register)[lane],
            _ => u64::from(self.word(register)[lane]),
        }
    }

    /// Sets the bits of a lane of a register of words or double words.
    #[inline(always)]
    pub fn set_bits(&mut self, register: Register, lane: usize, bits: u64) {
        match register.class {
            Class::Double => self.double_mut(register)[lane] = bits,
            _ => self.word_mut(register)[lane] = bits as u32,
        }
    }

    /// A predicate: bit i is lane i.
    #[inline(always)]
    pub fn predicate(&self, register: Register) -> u32 {
        debug_assert_eq!(register.class, Class::Predicate);
        self.predicates[usize::from(register.index)]
    }

    /// Sets the `active` lanes of a predicate.
    #[inline(always)]
    pub fn set_predicate(&mut self, register: Register, value: u32, active: u32) {
        debug_assert_eq!(register.class, Class::Predicate);
        let lanes = &mut self.predicates[usize::from(register.index)];
        *lanes = *lanes & !active | value & active;
    }
}

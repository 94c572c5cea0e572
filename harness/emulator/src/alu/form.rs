//! The form of an instruction: the meaning of one combination of opcode and modifiers.

use super::LaneFunction;
use crate::numeric::exact::Rounding;
use crate::syntax::ast::Type;

/// An instruction's function and the types of its operands.
pub(super) struct Form {
    pub run: LaneFunction,
    pub destinations: Vec<Type>,
    pub sources: Vec<Type>,
    /// See [`super::Alu::immediate`].
    pub immediate: u64,
    /// Whether the carry flag follows the sources.
    pub reads_carry: bool,
    /// Whether the carry flag follows the destinations.
    pub writes_carry: bool,
    /// Whether operands may be `{a, b}`.
    pub has_vectors: bool,
    /// Place of a source that must be a constant of up to 8 bits; it goes to the low bits of the
    /// immediate.
    pub constant: Option<usize>,
    /// Bit that is set in the immediate when the last source is `!p`, where PTX allows that.
    pub negation: Option<u32>,
}

impl Form {
    pub fn new(
        destinations: impl Into<Vec<Type>>,
        sources: impl Into<Vec<Type>>,
        run: LaneFunction,
    ) -> Self {
        Self {
            run,
            destinations: destinations.into(),
            sources: sources.into(),
            immediate: 0,
            reads_carry: false,
            writes_carry: false,
            has_vectors: false,
            constant: None,
            negation: None,
        }
    }

    pub fn with(mut self, immediate: u64) -> Self {
        self.immediate = immediate;
        self
    }
}

/// The modifiers of an instruction, taken in the order in which PTX puts them.
#[derive(Clone, Copy)]
pub(super) struct Modifiers<'a>(pub &'a [&'a str]);

impl<'a> Modifiers<'a> {
    /// Takes the next one if it is `name`.
    pub fn take(&mut self, name: &str) -> bool {
        self.choose(&[name]).is_some()
    }

    /// Takes the next one if it is among `names`.
    pub fn choose(&mut self, names: &[&str]) -> Option<&'a str> {
        let (first, rest) = self.0.split_first()?;
        names.contains(first).then(|| {
            self.0 = rest;
            *first
        })
    }

    /// Takes `.rn`, `.rz`, `.rm` or `.rp`.
    pub fn rounding(&mut self) -> Option<Rounding> {
        Some(match self.choose(&["rn", "rz", "rm", "rp"])? {
            "rn" => Rounding::NearestEven,
            "rz" => Rounding::Zero,
            "rm" => Rounding::Down,
            _ => Rounding::Up,
        })
    }

    /// What is left, which must be a type.
    pub fn last_type(self) -> Option<Type> {
        match self.0 {
            [name] => Type::from_name(name),
            _ => None,
        }
    }

    /// What is left, which must be one modifier.
    pub fn last(self) -> Option<&'a str> {
        match self.0 {
            [name] => Some(name),
            _ => None,
        }
    }
}

/// A [`LaneFunction`] from a loop of [`super::lanes`] and the function of a lane.
macro_rules! run {
    ($loop:ident, $f:expr) => {
        |alu: &crate::alu::Alu, registers: &mut crate::registers::Registers, active: u32| {
            crate::alu::lanes::$loop(alu, registers, active, $f)
        }
    };
    (vectorised $loop:ident, $f:expr) => {
        |alu: &crate::alu::Alu, registers: &mut crate::registers::Registers, active: u32| {
            crate::alu::lanes::vectorised(
                #[inline(always)]
                || crate::alu::lanes::$loop(alu, registers, active, $f),
            )
        }
    };
}

/// The form for whichever of the PTX types `$ty` is, with `$T` as the type of its lanes; `None`
/// for others.
macro_rules! by_type {
    ($ty:expr, $T:ident in [$($variant:ident: $lane:ty),*], $form:expr) => {
        match $ty {
            $(Type::$variant => {
                type $T = $lane;
                Some($form)
            })*
            _ => None,
        }
    };
    ($ty:expr, $T:ident in integers, $form:expr) => {
        by_type!($ty, $T in [U16: u16, U32: u32, U64: u64, S16: i16, S32: i32, S64: i64], $form)
    };
    ($ty:expr, $T:ident in signed, $form:expr) => {
        by_type!($ty, $T in [S16: i16, S32: i32, S64: i64], $form)
    };
    ($ty:expr, $T:ident in words, $form:expr) => {
        by_type!($ty, $T in [U32: u32, U64: u64, S32: i32, S64: i64], $form)
    };
    ($ty:expr, $T:ident in moved, $form:expr) => {
        by_type!($ty, $T in [
            B16: u32, U16: u32, S16: u32, B32: u32, U32: u32, S32: u32, F32: u32,
            B64: u64, U64: u64, S64: u64, F64: u64
        ], $form)
    };
    ($ty:expr, $T:ident in word, $form:expr) => {
        by_type!($ty, $T in [S32: i32], $form)
    };
    ($ty:expr, $T:ident in bits, $form:expr) => {
        by_type!($ty, $T in [B16: u16, B32: u32, B64: u64], $form)
    };
}

/// The form of an opcode with modifiers for one type; the lines of the table are opcode, modifiers,
/// type => destination, sources, loop of [`super::lanes`], function of a lane.
macro_rules! by_form {
    ($key:expr; $($opcode:literal, [$($modifier:literal),*], $ty:pat =>
        $to:expr, [$($from:expr),*], $loop:ident, $f:expr;)*) => {
        match $key {
            $(($opcode, [$($modifier),*], $ty) => {
                Some(Form::new([$to], [$($from),*], run!($loop, $f)))
            })*
            _ => None,
        }
    };
}

/// A form whose operands all have the type `$ty`, one of some types, with `$T` as that of its
/// lanes; the lines of the table are opcode, modifiers, types, loop of [`super::lanes`], function
/// of a lane.
macro_rules! by_opcode {
    ($key:expr, $ty:expr, $T:ident; $($opcode:literal, [$($modifier:literal),*] in $types:tt,
        $loop:ident, $f:expr;)*) => {
        match $key {
            $(($opcode, [$($modifier),*]) => by_type!($ty, $T in $types, {
                let run: crate::alu::LaneFunction = run!($loop, $f);
                let sources = by_opcode!(@count $loop);
                Form::new([$ty], vec![$ty; sources], run)
            }),)*
            _ => None,
        }
    };
    (@count unary) => { 1 };
    (@count binary) => { 2 };
    (@count ternary) => { 3 };
}

/// A function with const flags, by the values of the flags.
macro_rules! with_flags {
    ($f:ident::<$T:ty>, $x:expr, $y:expr) => {
        match ($x, $y) {
            (false, false) => $f::<$T, false, false>,
            (false, true) => $f::<$T, false, true>,
            (true, false) => $f::<$T, true, false>,
            (true, true) => $f::<$T, true, true>,
        }
    };
}

pub(super) use {by_form, by_opcode, by_type, run, with_flags};

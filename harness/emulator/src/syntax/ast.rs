//! The syntax tree, with the position of each part in the text. PTX ISA, chapters 4 and 5.

use std::fmt;

/// A place in the source, counted from 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// Line.
    pub line: u32,
    /// Column, in characters.
    pub column: u32,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.line, self.column)
    }
}

/// A translation unit.
#[derive(Clone, Debug, PartialEq)]
pub struct Module {
    /// `.version major.minor`.
    pub version: (u32, u32),
    /// `.target` without `debug`: the first is the architecture, such as `sm_90a`.
    pub target: Vec<String>,
    /// Variables of module scope, in order.
    pub variables: Vec<Variable>,
    /// Kernels and functions, in order.
    pub functions: Vec<Function>,
}

impl Module {
    /// The same module with every position at the same place, to compare what two texts say.
    #[must_use]
    pub fn without_positions(mut self) -> Self {
        let here = Position::default();
        for variable in &mut self.variables {
            variable.position = here;
        }
        for function in &mut self.functions {
            function.position = here;
            for variable in function.returns.iter_mut().chain(&mut function.parameters) {
                variable.position = here;
            }
            clear_positions(function.body.as_deref_mut().unwrap_or_default());
        }
        self
    }
}

fn clear_positions(statements: &mut [Statement]) {
    let here = Position::default();
    for statement in statements {
        match statement {
            Statement::Label(_, position) => *position = here,
            Statement::Registers { names, .. } => names.iter_mut().for_each(|name| name.1 = here),
            Statement::Variable(variable) => variable.position = here,
            Statement::Instruction(instruction) => instruction.position = here,
            Statement::Block(inner) => clear_positions(inner),
        }
    }
}

/// A kernel (`.entry`) or function (`.func`).
#[derive(Clone, Debug, PartialEq)]
pub struct Function {
    /// Its name.
    pub name: String,
    /// Where the name stands.
    pub position: Position,
    /// Whether it is a kernel.
    pub is_entry: bool,
    /// What it returns (`.func` only).
    pub returns: Vec<Variable>,
    /// What it is given.
    pub parameters: Vec<Variable>,
    /// `.reqntid`, with ones for what is left out.
    pub required_threads: Option<[u32; 3]>,
    /// `.maxntid`, with ones for what is left out.
    pub maximum_threads: Option<[u32; 3]>,
    /// The statements; `None` for a declaration.
    pub body: Option<Vec<Statement>>,
}

/// One statement of a body.
#[derive(Clone, Debug, PartialEq)]
pub enum Statement {
    /// `name:`
    Label(String, Position),
    /// `.reg .type a, b<4>;` A parameterised name comes as its members (`b0` to `b3`).
    Registers {
        /// Type of all.
        ty: Type,
        /// Names, each with its place.
        names: Vec<(String, Position)>,
    },
    /// A variable in a state space.
    Variable(Variable),
    /// An instruction.
    Instruction(Instruction),
    /// `{ ... }`: a scope of its own.
    Block(Vec<Statement>),
}

/// An enum of words of PTX.
macro_rules! words {
    ($(#[$meta:meta])* $vis:vis enum $name:ident { $($variant:ident = $word:literal),* $(,)? }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[allow(missing_docs, reason = "the names are those of PTX")]
        $vis enum $name {
            $($variant),*
        }

        impl $name {
            /// The one that a word such as the name of a modifier names.
            pub fn from_name(name: &str) -> Option<Self> {
                match name {
                    $($word => Some(Self::$variant),)*
                    _ => None,
                }
            }

            /// The name that PTX gives it.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $word),*
                }
            }
        }
    };
}
pub(crate) use words;

words! {
    /// State spaces of variables. PTX ISA 5.1.
    pub enum Space {
        Const = "const", Global = "global", Local = "local", Param = "param", Shared = "shared",
    }
}

/// A variable in memory.
#[derive(Clone, Debug, PartialEq)]
pub struct Variable {
    /// Where it lies.
    pub space: Space,
    /// Whether it is `.extern`: dynamic shared memory, when it is in `.shared`.
    pub is_extern: bool,
    /// `.align`, or else the natural alignment of the type.
    pub alignment: u32,
    /// Type of an element.
    pub ty: Type,
    /// Elements; 0 for `name[]` without an initialiser.
    pub elements: u64,
    /// Name.
    pub name: String,
    /// Where the name stands.
    pub position: Position,
    /// Initial bytes of the whole variable, little-endian.
    pub initial: Option<Vec<u8>>,
}

words! {
    /// Fundamental types. PTX ISA 5.2.
    pub enum Type {
        B8 = "b8", B16 = "b16", B32 = "b32", B64 = "b64", B128 = "b128",
        U8 = "u8", U16 = "u16", U32 = "u32", U64 = "u64",
        S8 = "s8", S16 = "s16", S32 = "s32", S64 = "s64",
        F16 = "f16", F16x2 = "f16x2", Bf16 = "bf16", Bf16x2 = "bf16x2", F32 = "f32", F64 = "f64",
        Pred = "pred",
    }
}

impl Type {
    /// Size in bits; 1 for a predicate.
    pub const fn bits(self) -> u32 {
        match self {
            Self::Pred => 1,
            Self::B8 | Self::U8 | Self::S8 => 8,
            Self::B16 | Self::U16 | Self::S16 | Self::F16 | Self::Bf16 => 16,
            Self::B32 | Self::U32 | Self::S32 | Self::F32 | Self::F16x2 | Self::Bf16x2 => 32,
            Self::B64 | Self::U64 | Self::S64 | Self::F64 => 64,
            Self::B128 => 128,
        }
    }

    /// Size in bytes in memory.
    pub const fn bytes(self) -> u32 {
        self.bits().div_ceil(8)
    }

    /// Whether values are signed integers.
    pub const fn is_signed(self) -> bool {
        matches!(self, Self::S8 | Self::S16 | Self::S32 | Self::S64)
    }
}

/// An instruction as written.
#[derive(Clone, Debug, PartialEq)]
pub struct Instruction {
    /// Where the opcode (or its guard) starts.
    pub position: Position,
    /// `@p` or `@!p`.
    pub guard: Option<Guard>,
    /// The part before the first dot: `cvt`.
    pub opcode: String,
    /// The parts after it: `rn`, `satfinite`, `e2m1x2`, `f32`. `::` stays inside a part
    /// (`L1::evict_first`, `shared::cta`).
    pub modifiers: Vec<String>,
    /// Operands in order; a call's lists are [`Operand::List`].
    pub operands: Vec<Operand>,
}

/// The predicate that an instruction runs under.
#[derive(Clone, Debug, PartialEq)]
pub struct Guard {
    /// Register.
    pub register: String,
    /// `@!p`.
    pub is_negated: bool,
}

/// An operand.
#[derive(Clone, Debug, PartialEq)]
pub enum Operand {
    /// A register, special register (`%tid.x`), label, variable or function.
    Name(String),
    /// `name+4`: an address in a variable.
    Offset {
        /// Variable.
        base: String,
        /// Bytes added to its address.
        offset: i64,
    },
    /// `!p`.
    Not(String),
    /// A constant.
    Immediate(Immediate),
    /// `[base + offset]`.
    Address {
        /// Register or variable; `None` for an absolute address.
        base: Option<String>,
        /// Bytes added to it.
        offset: i64,
    },
    /// `{a, b}`.
    Vector(Vec<Operand>),
    /// `(a, b)` of a call.
    List(Vec<Operand>),
    /// `d|p`: two destinations, or a destination and a predicate.
    Pair(Box<Operand>, Box<Operand>),
    /// `_`: a destination that is not wanted.
    Sink,
}

/// A constant.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Immediate {
    /// An integer, as 64 bits of two's complement.
    Integer(u64),
    /// `0f3F800000`: the bits of an `f32`.
    Single(u32),
    /// `0d...`, or a decimal with a point: the bits of an `f64`.
    Double(u64),
}

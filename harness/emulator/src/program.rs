//! A kernel ready to run: its instructions have registers and targets in place of names.

use crate::alu::Alu;
use crate::registers::Register;
use crate::syntax::ast::{Position, Type, words};

/// A kernel.
#[derive(Clone, Debug)]
pub struct Program {
    /// Its name.
    pub name: String,
    /// Instructions; the last one is an exit.
    pub instructions: Vec<Instruction>,
    /// How many registers of each class there are.
    pub registers: [usize; 3],
    /// Names of the registers of each class, for reports.
    pub names: [Vec<String>; 3],
    /// Registers that hold a constant, and the constant.
    pub constants: Vec<(Register, u64)>,
    /// Registers that hold a special register.
    pub specials: Vec<(Register, Special)>,
    /// Parameters, in order: name, offset and bytes.
    pub parameters: Vec<Parameter>,
    /// Bytes of static shared memory; dynamic memory follows.
    pub static_shared: u32,
    /// Bytes of local memory of a thread.
    pub local: u32,
    /// Constant memory.
    pub constant_bank: Vec<u8>,
    /// `.reqntid`.
    pub required_threads: Option<[u32; 3]>,
    /// `.maxntid`.
    pub maximum_threads: Option<[u32; 3]>,
}

/// A kernel's parameter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parameter {
    /// Name.
    pub name: String,
    /// Offset in the parameter block.
    pub offset: u32,
    /// Size.
    pub bytes: u32,
}

/// An instruction: its operation, and data for the checks.
#[derive(Clone, Debug)]
pub struct Instruction {
    /// Where it stands.
    pub position: Position,
    /// Opcode and modifiers.
    pub text: String,
    /// Predicate, and whether it is negated.
    pub guard: Option<(Register, bool)>,
    /// What it does.
    pub operation: Operation,
    /// Registers that it reads.
    pub reads: Vec<Register>,
    /// Registers that it writes.
    pub writes: Vec<Register>,
}

/// Special registers. PTX ISA 10.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "the names are those of PTX")]
pub enum Special {
    Tid(usize),
    NTid(usize),
    CtaId(usize),
    NCtaId(usize),
    LaneId,
    WarpId,
    NWarpId,
    LaneMaskEq,
    LaneMaskLt,
    LaneMaskLe,
    LaneMaskGt,
    LaneMaskGe,
    DynamicSharedBytes,
    TotalSharedBytes,
}

/// A place in memory.
#[derive(Clone, Copy, Debug)]
pub struct Address {
    /// Register, if there is one.
    pub base: Option<Register>,
    /// Bytes added to it.
    pub offset: u64,
}

/// State spaces of an access.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are those of PTX")]
pub enum Space {
    Generic,
    Global,
    Shared,
    Local,
    Param,
    Const,
}

/// A load or store.
#[derive(Clone, Debug)]
pub struct Move {
    /// Where.
    pub space: Space,
    /// Bytes of an element.
    pub bytes: u32,
    /// Whether an element's sign fills a wider register.
    pub is_signed: bool,
    /// The bits that the registers have, for signs to fill.
    pub register_mask: u64,
    /// A register for each element.
    pub registers: Vec<Register>,
    /// Place of the first element.
    pub address: Address,
    /// Volatile, relaxed, acquire or release: does not race with its like.
    pub is_atomic: bool,
}

words! {
    /// An atomic operation. PTX ISA 9.7.13.
    pub enum AtomicOp {
        And = "and", Or = "or", Xor = "xor", Add = "add", Min = "min", Max = "max",
        Inc = "inc", Dec = "dec", Exch = "exch", Cas = "cas",
    }
}

words! {
    /// How a shuffle finds its source lane.
    pub enum ShuffleMode {
        Up = "up", Down = "down", Bfly = "bfly", Idx = "idx",
    }
}

words! {
    /// The kind of a vote.
    pub enum VoteMode {
        All = "all", Any = "any", Uni = "uni", Ballot = "ballot",
    }
}

/// An operation over the lanes of a warp.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Collective {
    /// `shfl.sync d|p, a, b, c, mask`
    Shuffle(ShuffleMode),
    /// `vote.sync d, {!}p, mask`; whether the predicate is negated.
    Vote(VoteMode, bool),
    /// `match.any.sync d, a, mask`
    MatchAny,
    /// `match.all.sync d|p, a, mask`
    MatchAll,
    /// `redux.sync d, a, mask`
    Redux(AtomicOp, Type),
    /// `bar.warp.sync mask`
    Barrier,
    /// `elect.sync d|p, mask`
    Elect,
}

/// `atom`, `red`
#[derive(Clone, Debug)]
pub struct Atomic {
    /// Where.
    pub space: Space,
    /// What.
    pub op: AtomicOp,
    /// Type of the value.
    pub ty: Type,
    /// Old value.
    pub destination: Option<Register>,
    /// Place.
    pub address: Address,
    /// Operands.
    pub sources: Vec<Register>,
}

/// `cp.async`
#[derive(Clone, Copy, Debug)]
pub struct AsyncCopy {
    /// In shared memory.
    pub destination: Address,
    /// In global memory.
    pub source: Address,
    /// Bytes written.
    pub bytes: u32,
    /// Bytes read, if fewer; the rest is zero.
    pub read: Option<Register>,
}

/// 8x8 matrices in shared memory.
#[derive(Clone, Debug)]
pub struct Matrices {
    /// A register for each.
    pub registers: Vec<Register>,
    /// Row addresses.
    pub address: Address,
    /// Whether each is transposed.
    pub is_transposed: bool,
}

/// What an instruction does.
#[derive(Clone, Debug)]
pub enum Operation {
    /// Each lane's result from its own registers.
    Alu(Alu),
    /// `ld`
    Load(Move),
    /// `st`
    Store(Move),
    /// `atom`, `red`
    Atomic(Atomic),
    /// `bra`
    Branch {
        /// Instruction.
        target: u32,
    },
    /// `exit`, `ret`
    Exit,
    /// `trap`
    Trap,
    /// Fences and hints: `membar`, `fence`, `prefetch`, `nanosleep`.
    Nothing,
    /// `bar.sync`, `barrier.sync`, `bar.arrive`.
    Barrier {
        /// Its number.
        barrier: Register,
        /// How many threads; all of the block if `None`.
        threads: Option<Register>,
        /// Whether the thread goes on at once.
        is_arrival: bool,
        /// Whether all threads of a warp must be there together.
        is_aligned: bool,
    },
    /// An operation over the lanes of a warp, with its mask (the last of the sources).
    Collective {
        /// What.
        what: Collective,
        /// Result, and a predicate with it.
        destinations: [Option<Register>; 2],
        /// Operands; the last is the mask.
        sources: Vec<Register>,
    },
    /// `activemask`
    ActiveMask(Register),
    /// `cp.async`
    CopyAsync(AsyncCopy),
    /// `cp.async.commit_group`
    CopyCommit,
    /// `cp.async.wait_group n`; `None` is `wait_all`.
    CopyWait(Option<u32>),
    /// `ldmatrix`
    LoadMatrix(Matrices),
    /// `stmatrix`
    StoreMatrix(Matrices),
    /// `movmatrix`: an 8x8 matrix of 16-bit elements, transposed.
    MoveMatrix {
        /// The matrix's columns.
        destination: Register,
        /// Its rows.
        source: Register,
    },
    /// `mma.sync`
    Mma(Mma),
}

words! {
    /// Operand types of a matrix product.
    pub enum MmaType {
        F16 = "f16", Bf16 = "bf16", E4m3 = "e4m3", E5m2 = "e5m2", S8 = "s8", U8 = "u8",
    }
}

/// `mma.sync.aligned.m16n8k{16,32}.row.col`.
#[derive(Clone, Debug)]
pub struct Mma {
    /// Depth.
    pub k: usize,
    /// Type of A.
    pub a: MmaType,
    /// Type of B.
    pub b: MmaType,
    /// Type of C and D: `f32`, `f16` or `s32`.
    pub accumulator: Type,
    /// D.
    pub d_registers: Vec<Register>,
    /// A.
    pub a_registers: Vec<Register>,
    /// B.
    pub b_registers: Vec<Register>,
    /// C.
    pub c_registers: Vec<Register>,
}

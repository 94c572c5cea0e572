//! Rows: an instruction, its registers, inputs and expected results.
//!
//! A row becomes a kernel in which each thread loads its inputs into the registers `a b c ...`,
//! runs the row's text, and stores the registers `d g h i`. The text may also use what
//! [`Row::entry`] declares.

use std::fmt::Write as _;

/// Names of the registers that hold the inputs.
pub const INPUTS: [&str; 10] = ["a", "b", "c", "e", "k", "l", "m", "n", "o", "q"];
/// Names of the registers that hold the results.
pub const OUTPUTS: [&str; 4] = ["d", "g", "h", "i"];

/// Bytes of memory that each thread has for itself at `tmp` and at `cell`.
pub const SCRATCH: usize = 32;

/// The expectation of a result.
pub enum Expected {
    /// These bits.
    Bits(u64),
    /// Bits that are not defined, but have a property: its description, and whether it holds.
    Where(String, Box<dyn Fn(u64) -> bool + Send + Sync>),
}

impl Expected {
    /// Bits with a property.
    pub fn matching(
        what: impl Into<String>,
        holds: impl Fn(u64) -> bool + Send + Sync + 'static,
    ) -> Self {
        Self::Where(what.into(), Box::new(holds))
    }

    /// Any bits: PTX leaves the result open.
    pub fn open() -> Self {
        Self::matching("anything", |_| true)
    }
}

/// The expectations of a thread's results.
pub struct Outcome(pub(super) Vec<Expected>);

/// Outcomes of one result, as what its bits are computed in.
macro_rules! bits {
    ($($ty:ty),*) => {
        $(impl From<$ty> for Outcome {
            fn from(bits: $ty) -> Self {
                Self(vec![Expected::Bits(bits as u64)])
            }
        })*
    };
}
bits!(bool, u64, i128, u128);

impl From<Expected> for Outcome {
    fn from(expected: Expected) -> Self {
        Self(vec![expected])
    }
}

impl<const N: usize> From<[u64; N]> for Outcome {
    fn from(bits: [u64; N]) -> Self {
        Self(bits.into_iter().map(Expected::Bits).collect())
    }
}

impl<const N: usize> From<[bool; N]> for Outcome {
    fn from(bits: [bool; N]) -> Self {
        bits.map(u64::from).into()
    }
}

impl From<Vec<Expected>> for Outcome {
    fn from(expected: Vec<Expected>) -> Self {
        Self(expected)
    }
}

/// An instruction with its inputs and expected results.
pub struct Row {
    /// See [`Row::id`]; the chapter gives it.
    pub(super) id: String,
    /// The body of the kernel.
    pub(super) text: String,
    /// `.target` that it needs.
    pub(super) target: &'static str,
    /// Types of the registers of its inputs and results.
    pub(super) inputs: Vec<String>,
    pub(super) outputs: Vec<String>,
    /// Threads of a block.
    pub(super) block: u32,
    /// The inputs of all threads, one after the other.
    pub(super) values: Vec<u64>,
    pub(super) threads: usize,
    /// The expected results of a thread.
    pub(super) expected: Box<dyn Fn(usize) -> Outcome + Send + Sync>,
}

/// Bits of a register of a type.
pub fn register_bits(ty: &str) -> u32 {
    match ty {
        "pred" => 1,
        other => other
            .trim_start_matches(|c: char| c.is_alphabetic())
            .parse()
            .expect("the name of a type ends with its width"),
    }
}

impl Row {
    /// The kernel. `src`, `dst` and `tmp` are addresses in global memory of the thread's inputs,
    /// results and scratch memory; `cell` is that of its scratch memory in `tile`, which is
    /// shared; `tid` its number in the block, and `base` the `tmp` of the first thread.
    pub(super) fn entry(&self, name: &str) -> String {
        let mut text = format!(
            ".visible .entry {name}(.param .b64 p_dst, .param .b64 p_src, .param .b64 p_tmp)\n{{\n\
             .reg .b32 tid, at, word, cell;\n.reg .b64 dst, src, tmp, base;\n"
        );
        if self.text.contains("tile") || self.text.contains("cell") {
            let bytes = SCRATCH as u32 * self.block;
            let _ = writeln!(text, ".shared .align 128 .b8 tile[{bytes}];");
            text.push_str("mov.u32 cell, tile;\nmov.u32 word, %tid.x;\n");
            let _ = writeln!(text, "mad.lo.u32 cell, word, {SCRATCH}, cell;");
        }
        let registers = [(&INPUTS[..], &self.inputs), (&OUTPUTS[..], &self.outputs)];
        for (names, types) in registers {
            for (name, ty) in names.iter().zip(types) {
                let _ = writeln!(text, ".reg .{ty} {name};");
            }
        }
        let (input, output) = (8 * self.inputs.len(), 8 * self.outputs.len());
        let _ = write!(
            text,
            "ld.param.b64 dst, [p_dst];\nld.param.b64 src, [p_src];\nld.param.b64 base, [p_tmp];\n\
             mov.u32 tid, %tid.x;\nmov.u32 at, %ctaid.x;\nmad.lo.u32 at, at, {}, tid;\n\
             mad.wide.u32 dst, at, {output}, dst;\nmad.wide.u32 src, at, {input}, src;\n\
             mad.wide.u32 tmp, at, {SCRATCH}, base;\n",
            self.block
        );
        for (i, (name, ty)) in INPUTS.iter().zip(&self.inputs).enumerate() {
            let _ = match ty.as_str() {
                "pred" => write!(
                    text,
                    "ld.global.b32 word, [src+{}];\nsetp.ne.b32 {name}, word, 0;\n",
                    8 * i
                ),
                _ => writeln!(text, "ld.global.{ty} {name}, [src+{}];", 8 * i),
            };
        }
        let _ = writeln!(text, "{}", self.text);
        for (i, (name, ty)) in OUTPUTS.iter().zip(&self.outputs).enumerate() {
            let _ = match ty.as_str() {
                "pred" => write!(
                    text,
                    "selp.b32 word, 1, 0, {name};\nst.global.b32 [dst+{}], word;\n",
                    8 * i
                ),
                _ => writeln!(text, "st.global.{ty} [dst+{}], {name};", 8 * i),
            };
        }
        text.push_str("ret;\n}\n");
        text
    }
}

/// A module of some kernels, one after the other, and a table in constant memory.
pub fn module(target: &str, entries: impl IntoIterator<Item = String>) -> String {
    let mut text = format!(
        ".version 8.8\n.target {target}\n.address_size 64\n\
         .const .align 16 .b32 table[4] = {{ 11, 22, 33, 44 }};\n"
    );
    text.extend(entries);
    text
}

/// Kernels of a module.
const BATCH: usize = 128;

/// Rows that one module can hold, and that module: the kernel of its row i is `row_i`.
pub fn batches(rows: &[Row]) -> impl Iterator<Item = (&[Row], String)> {
    rows.chunk_by(|a, b| a.target == b.target)
        .flat_map(|same| same.chunks(BATCH))
        .map(|rows| {
            let entries = rows.iter().enumerate();
            let entries = entries.map(|(i, row)| row.entry(&format!("row_{i}")));
            (rows, module(rows[0].target, entries))
        })
}

/// Rows, and the target of those that follow.
pub struct Suite {
    pub rows: Vec<Row>,
    target: &'static str,
    block: u32,
}

impl Suite {
    pub fn new() -> Self {
        Self {
            rows: Vec::new(),
            target: "sm_80",
            block: 32,
        }
    }

    /// What the rows that follow need.
    pub fn target(&mut self, target: &'static str) {
        self.target = target;
    }

    /// Threads of a block in the rows that follow.
    pub fn block(&mut self, block: u32) {
        self.block = block;
    }

    /// A row in which what a thread gives depends on its own inputs. A text that ends before its
    /// operands gets them: the results, as `d|g`, and the inputs.
    pub fn lanes<const N: usize, O: Into<Outcome>>(
        &mut self,
        text: impl Into<String>,
        signature: &str,
        inputs: &[[u64; N]],
        f: impl Fn([u64; N]) -> O + Send + Sync + 'static,
    ) {
        self.blocks(text, signature, inputs, move |block, thread| {
            f(block[thread])
        });
    }

    /// A row in which what a thread gives depends on the inputs of all threads of its block.
    pub fn blocks<const N: usize, O: Into<Outcome>>(
        &mut self,
        text: impl Into<String>,
        signature: &str,
        inputs: &[[u64; N]],
        f: impl Fn(&[[u64; N]], usize) -> O + Send + Sync + 'static,
    ) {
        let mut text = text.into();
        let (from, to) = signature.split_once("->").expect("an arrow");
        let types =
            |list: &str| -> Vec<String> { list.split_whitespace().map(String::from).collect() };
        let (from, to) = (types(from), types(to));
        if !text.trim_end().ends_with([';', ':', '}']) {
            let results = OUTPUTS[..to.len()].join("|");
            let operands: String = INPUTS[..N].iter().map(|name| format!(", {name}")).collect();
            let _ = write!(text, " {results}{operands};");
        }
        assert_eq!(from.len(), N, "{text}");
        // Blocks are full: the first inputs come again.
        let size = self.block as usize;
        let threads = inputs.len().next_multiple_of(size);
        let rows: Vec<[u64; N]> = inputs.iter().copied().cycle().take(threads).collect();
        self.rows.push(Row {
            id: String::new(),
            text,
            target: self.target,
            inputs: from,
            outputs: to,
            block: self.block,
            values: rows.iter().flatten().copied().collect(),
            threads,
            expected: Box::new(move |thread| {
                let first = thread / size * size;
                f(&rows[first..first + size], thread - first).into()
            }),
        });
    }
}

/// [`Suite::lanes`] for several instructions on the same inputs, one a line: text, types of the
/// registers, and what a thread's inputs give. Text and types are formatted.
macro_rules! lanes {
    ($suite:expr, $inputs:expr; $($text:literal, $types:literal, |$row:pat_param| $f:expr;)*) => {
        $($suite.lanes(format!($text), &format!($types), $inputs, move |$row| $f);)*
    };
}
pub(super) use lanes;

/// The same for [`Suite::blocks`], with the inputs of a block and a thread of it.
macro_rules! blocks {
    ($suite:expr, $inputs:expr;
        $($text:literal, $types:literal, |$block:pat_param, $thread:pat_param| $f:expr;)*) => {
        $($suite.blocks(
            format!($text), &format!($types), $inputs, move |$block, $thread| $f,
        );)*
    };
}
pub(super) use blocks;

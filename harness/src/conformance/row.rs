//! A row on a device: its name, its program, its verdict.

use super::suite::{Expected, OUTPUTS, Row, SCRATCH, module, register_bits};
use crate::device::{Argument, Device, DeviceError, Geometry, Kernel, Stream};

/// The pattern that fills results before a run.
const FILL: u8 = 0xa5;

/// Statements that bring data to what a row is about, or wait for it.
const PREPARATIONS: [&str; 10] = [
    "st", "ld", "mov", "bar", "barrier", "membar", "fence", "cvta", "setp", "cp",
];

/// The verdict on a row on a device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RowVerdict {
    /// Every result is right.
    Equal {
        /// Results that were compared.
        compared: usize,
    },
    /// Some results are wrong.
    Differs {
        /// Results that differ.
        count: usize,
        /// Results that were compared.
        of: usize,
        /// The first of them.
        first: Difference,
    },
    /// The device's assembler refuses the text.
    Refused {
        /// What it says.
        reason: String,
    },
    /// The row needs a chip of another target.
    NotForThisChip {
        /// The target.
        target: &'static str,
    },
}

/// A wrong result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The thread, over all blocks.
    pub thread: usize,
    /// The register of the row's text.
    pub register: &'static str,
    /// The inputs of that thread, one a register.
    pub inputs: Vec<u64>,
    /// Bits that the device gave.
    pub got: u64,
    /// The expected bits, as text.
    pub expected: String,
}

impl Row {
    /// A name that is stable and of this row alone: chapter, instruction, and a number among rows
    /// of the same instruction, as `float/add.rn.f32 d, a, b;#3`.
    pub fn id(&self) -> String {
        self.id.clone()
    }

    /// The instructions that are tried.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// `.target` that the row needs.
    pub fn target(&self) -> &'static str {
        self.target
    }

    /// Threads that run it, each with inputs of its own.
    pub fn threads(&self) -> usize {
        self.threads
    }

    /// A module with this row alone, whose kernel is `row`.
    pub fn ptx(&self) -> String {
        module(self.target, [self.entry("row")])
    }

    /// The instruction that the row is about: the first that does not prepare another.
    pub(super) fn head(&self) -> String {
        let statements = || {
            let each = self.text.split_inclusive([';', '\n']).map(str::trim);
            each.filter(|statement| statement.len() > 1 && statement.ends_with(';'))
        };
        let prepares = |statement: &&str| {
            let opcode = statement.split(['.', ' ', ';']).next();
            opcode.is_some_and(|opcode| PREPARATIONS.contains(&opcode))
        };
        let main = statements().find(|statement| !prepares(statement));
        let main = main.or_else(|| statements().next()).unwrap_or(&self.text);
        // Long lists of registers say nothing that the opcode does not.
        match main.len() <= 60 {
            true => main.split_whitespace().collect::<Vec<_>>().join(" "),
            false => main.split_whitespace().next().unwrap_or(main).to_owned(),
        }
    }

    /// Loads the row's module, runs it and compares.
    ///
    /// # Errors
    /// [`DeviceError`] if the device cannot run it: a fault, a lost device, no memory. A refused
    /// text and another target are verdicts.
    ///
    /// # Panics
    /// As [`Row::run_kernel`].
    pub fn run(&self, device: &Device, stream: &Stream) -> Result<RowVerdict, DeviceError> {
        let module = match device.load(&self.id, &self.ptx()) {
            Ok(module) => module,
            Err(DeviceError::Target { .. }) => {
                let target = self.target;
                return Ok(RowVerdict::NotForThisChip { target });
            }
            Err(
                error @ (DeviceError::Compile { .. }
                | DeviceError::Syntax { .. }
                | DeviceError::Unsupported { .. }),
            ) => {
                let reason = error.to_string();
                return Ok(RowVerdict::Refused { reason });
            }
            Err(error) => return Err(error),
        };
        self.run_kernel(device, stream, &module.kernel("row")?)
    }

    /// Runs the row's kernel out of a module of many, see [`batches`](super::batches), and
    /// compares.
    ///
    /// # Errors
    /// [`DeviceError`] if the device does not run it.
    ///
    /// # Panics
    /// If the row defines another number of results than it has registers.
    pub fn run_kernel(
        &self,
        device: &Device,
        stream: &Stream,
        kernel: &Kernel,
    ) -> Result<RowVerdict, DeviceError> {
        let source = device.upload("inputs", &self.values)?;
        let bytes = 8 * self.threads * self.outputs.len();
        let results = device.upload("results", &vec![FILL; bytes])?;
        let scratch = device.upload("scratch", &vec![0u8; SCRATCH * self.threads])?;
        let geometry = Geometry {
            grid: [(self.threads as u32) / self.block, 1, 1],
            block: [self.block, 1, 1],
            dynamic_shared: 0,
        };
        let arguments = [&results, &source, &scratch].map(Argument::Buffer);
        stream.launch(kernel, geometry, &arguments)?;
        stream.synchronize()?;
        Ok(self.verdict(&results.download()?))
    }

    /// The verdict on the results of all threads.
    fn verdict(&self, results: &[u64]) -> RowVerdict {
        let outputs = self.outputs.len();
        assert_eq!(results.len(), self.threads * outputs, "{}", self.id);
        let (mut count, mut first) = (0, None);
        for (thread, results) in results.chunks(outputs).enumerate() {
            let expected = (self.expected)(thread).0;
            assert_eq!(expected.len(), results.len(), "{}", self.id);
            for (i, (expected, &result)) in expected.iter().zip(results).enumerate() {
                // A predicate is stored as a word.
                let width = match register_bits(&self.outputs[i]) {
                    1 => 32,
                    bits => bits,
                };
                let mask = u64::MAX >> (64 - width);
                // Bits beyond the register must be as they were.
                let is_untouched = result | mask == u64::from_le_bytes([FILL; 8]) | mask;
                if is_untouched && expected.accepts(result, mask) {
                    continue;
                }
                count += 1;
                first.get_or_insert_with(|| {
                    let registers = self.inputs.len();
                    let got = if is_untouched { result & mask } else { result };
                    Difference {
                        thread,
                        register: OUTPUTS[i],
                        inputs: self.values[registers * thread..][..registers].to_vec(),
                        got,
                        expected: expected.describe(mask),
                    }
                });
            }
        }
        let of = self.threads * outputs;
        match first {
            None => RowVerdict::Equal { compared: of },
            Some(first) => RowVerdict::Differs { count, of, first },
        }
    }
}

impl Expected {
    fn accepts(&self, result: u64, mask: u64) -> bool {
        match self {
            Self::Bits(bits) => bits & mask == result & mask,
            Self::Where(_, holds) => holds(result & mask),
        }
    }

    fn describe(&self, mask: u64) -> String {
        match self {
            Self::Bits(bits) => format!("{:#x}", bits & mask),
            Self::Where(what, _) => what.clone(),
        }
    }
}

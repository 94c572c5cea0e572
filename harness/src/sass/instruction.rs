//! One instruction.

/// An instruction as it is listed: `@!P0 LDG.E.128 R4, desc[UR4][R12.64]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instruction {
    /// Bytes from the start of the section.
    pub address: u32,
    /// The predicate that turns it off, as `@!P0`.
    pub guard: Option<String>,
    /// With its modifiers, as `LDG.E.128`.
    pub opcode: String,
    /// As listed.
    pub operands: Vec<String>,
}

/// A memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Space {
    /// Global, and generic addresses, which may be any.
    Global,
    /// Shared.
    Shared,
    /// Local: a thread's own, in global memory.
    Local,
}

/// The direction of an access.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// Reads into registers, or with LDGSTS into shared memory.
    Load,
    /// Writes.
    Store,
    /// Both.
    Atomic,
}

/// The memory access of a load or store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Access {
    /// Which memory.
    pub space: Space,
    /// Which way.
    pub direction: Direction,
    /// Bits of one thread.
    pub bits: u32,
}

/// What follows an instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flow<'a> {
    /// The next one.
    Next,
    /// A label, or with a condition also the next one.
    Branch {
        label: &'a str,
        is_conditional: bool,
    },
    /// Nothing, or with a condition the next one.
    End { is_conditional: bool },
    /// What is not listed.
    Unknown,
}

impl Instruction {
    /// From the text between the address and the semicolon.
    pub(super) fn parse(address: u32, text: &str) -> Option<Self> {
        let text = text.trim();
        let (guard, rest) = match text.strip_prefix('@') {
            Some(_) => {
                let (guard, rest) = text.split_once(char::is_whitespace)?;
                (Some(guard.to_owned()), rest.trim_start())
            }
            None => (None, text),
        };
        let (opcode, operands) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
        let is_name = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || "._".contains(c);
        if !opcode.starts_with(|c: char| c.is_ascii_uppercase()) {
            return None;
        }
        // Some modifiers are in lower case, as in `.reuse` or the shapes of HGMMA.
        if !opcode.chars().all(|c| is_name(c) || c.is_ascii_lowercase()) {
            return None;
        }
        let operands = operands.split(',').map(str::trim);
        Some(Self {
            address,
            guard,
            opcode: opcode.to_owned(),
            operands: operands
                .filter(|o| !o.is_empty())
                .map(str::to_owned)
                .collect(),
        })
    }

    /// The opcode without modifiers.
    pub fn mnemonic(&self) -> &str {
        self.opcode.split('.').next().unwrap_or_default()
    }

    /// The modifiers, in order.
    pub fn modifiers(&self) -> impl Iterator<Item = &str> {
        self.opcode.split('.').skip(1)
    }

    pub(super) fn has(&self, modifier: &str) -> bool {
        self.modifiers().any(|m| m == modifier)
    }

    /// Its memory access, if it is a load or store of known width.
    pub fn access(&self) -> Option<Access> {
        use {Direction as D, Space as S};
        let (space, direction) = match self.mnemonic() {
            "LDG" | "LD" | "LDGSTS" => (S::Global, D::Load),
            "STG" | "ST" => (S::Global, D::Store),
            "ATOM" | "ATOMG" | "RED" | "REDG" => (S::Global, D::Atomic),
            "LDS" | "LDSM" => (S::Shared, D::Load),
            "STS" | "STSM" => (S::Shared, D::Store),
            "ATOMS" => (S::Shared, D::Atomic),
            "LDL" => (S::Local, D::Load),
            "STL" => (S::Local, D::Store),
            _ => return None,
        };
        let is_matrix = matches!(self.mnemonic(), "LDSM" | "STSM");
        let width = |modifier: &str| match modifier {
            // Matrices of 32 bits a lane.
            "2" if is_matrix => Some(64),
            "4" if is_matrix => Some(128),
            "256" | "128" | "64" => modifier.parse().ok(),
            "U16" | "S16" => Some(16),
            "U8" | "S8" => Some(8),
            _ => None,
        };
        Some(Access {
            space,
            direction,
            bits: self.modifiers().find_map(width).unwrap_or(32),
        })
    }

    /// What follows. A subroutine returns: a call is followed by the next instruction. A `BRA.DIV`
    /// is taken by a warp whose lanes have gone apart, which is not followed. `BREAK` only takes
    /// lanes off a barrier.
    pub(super) fn flow(&self) -> Flow<'_> {
        let is_guarded = self.guard.as_deref().is_some_and(|guard| guard != "@PT");
        match self.mnemonic() {
            "BRA" if self.has("DIV") => Flow::Next,
            "BRA" | "JMP" => match self.label() {
                Some(label) => Flow::Branch {
                    label,
                    is_conditional: is_guarded || self.operands.len() > 1,
                },
                None => Flow::Unknown,
            },
            "EXIT" | "RET" | "KILL" | "BPT" => Flow::End {
                is_conditional: is_guarded
                    || self.operands.iter().any(|o| o.starts_with(['P', '!'])),
            },
            "BRX" | "BRXU" | "JMX" | "JMXU" => Flow::Unknown,
            _ => Flow::Next,
        }
    }

    /// The label in `` `(.L_x_0) ``.
    fn label(&self) -> Option<&str> {
        let operand = self.operands.last()?;
        operand.strip_prefix("`(")?.strip_suffix(')')
    }

    /// Whether it waits for all asynchronous copies begun before. Where some may stay under way it
    /// does not count: what is waited for was begun trips before.
    pub(crate) fn waits_for_copies(&self) -> bool {
        let leaves_some = self.operands.last().is_some_and(|last| {
            let count = last.strip_prefix("0x").unwrap_or(last);
            u32::from_str_radix(count, 16).is_ok_and(|count| count > 0)
        });
        match self.mnemonic() {
            "DEPBAR" => !leaves_some,
            mnemonic => mnemonic == "SYNCS",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Access, Direction, Flow, Instruction, Space};

    fn instruction(text: &str) -> Instruction {
        Instruction::parse(0, text).unwrap()
    }

    #[test]
    fn widths_of_accesses() {
        let (global, shared) = (Space::Global, Space::Shared);
        let (load, store) = (Direction::Load, Direction::Store);
        for (text, expected) in [
            (
                "@!P0 LDG.E.128 R4, desc[UR4][R12.64]",
                Some((global, load, 128)),
            ),
            ("LDG.E.U16.CONSTANT R4, [R2]", Some((global, load, 16))),
            ("STG.E desc[UR4][R2.64], R7", Some((global, store, 32))),
            ("STG.E.U8 desc[UR4][R4.64], R11", Some((global, store, 8))),
            (
                "LDGSTS.E.BYPASS.128 [R5], [R2.64]",
                Some((global, load, 128)),
            ),
            (
                "RED.E.ADD.STRONG.GPU [R2.64], R5",
                Some((global, Direction::Atomic, 32)),
            ),
            ("LDSM.16.M88.4 R4, [R8]", Some((shared, load, 128))),
            ("STS.64 [R0+UR4], R8", Some((shared, store, 64))),
            ("LDL.64 R2, [R1+0x8]", Some((Space::Local, load, 64))),
            ("LDC.64 R2, c[0x0][0x210]", None),
        ] {
            let access = expected.map(|(space, direction, bits)| Access {
                space,
                direction,
                bits,
            });
            assert_eq!(instruction(text).access(), access, "{text}");
        }
    }

    #[test]
    fn what_follows() {
        let branch = |is_conditional| Flow::Branch {
            label: ".L_x_0",
            is_conditional,
        };
        for (text, flow) in [
            ("BRA `(.L_x_0)", branch(false)),
            ("@P2 BRA `(.L_x_0)", branch(true)),
            ("BRA P1, `(.L_x_0)", branch(true)),
            ("BRA.DIV UR4, `(.L_x_0)", Flow::Next),
            ("@P1 BREAK.RELIABLE B1", Flow::Next),
            ("BRX R4 -0x1a0", Flow::Unknown),
            (
                "EXIT",
                Flow::End {
                    is_conditional: false,
                },
            ),
            (
                "@!P1 EXIT",
                Flow::End {
                    is_conditional: true,
                },
            ),
            (
                "RET.REL.NODEC R8 `(kernel)",
                Flow::End {
                    is_conditional: false,
                },
            ),
            ("CALL.REL.NOINC `($slowpath)", Flow::Next),
        ] {
            assert_eq!(instruction(text).flow(), flow, "{text}");
        }
    }

    #[test]
    fn what_is_no_instruction() {
        for text in ["", ".byte 0xff", "@P0", "0x12", "ld.global R4"] {
            assert_eq!(Instruction::parse(0, text), None, "{text}");
        }
    }
}

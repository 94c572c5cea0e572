//! Errors of a listing.

/// A listing that is not understood. Lines count from 1.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SassError {
    /// A line of a code section that is no instruction, label or directive.
    #[error("line {line}: `{text}` is not an instruction")]
    Line {
        /// Where.
        line: usize,
        /// What is there.
        text: String,
    },
    /// A branch to a label that the section does not have.
    #[error("{function}: no label `{label}`")]
    Label {
        /// In which function.
        function: String,
        /// The label.
        label: String,
    },
    /// A branch whose targets the listing does not name.
    #[error("{function}: `{opcode}` at {address:#06x} is a branch to no label")]
    Indirect {
        /// In which function.
        function: String,
        /// The instruction.
        opcode: String,
        /// Where.
        address: u32,
    },
    /// There is no such function.
    #[error("no function `{0}` in the listing")]
    NoFunction(String),
}

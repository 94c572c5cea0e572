//! A listing to its functions.

use super::{Graph, Instruction, SassError};

/// A kernel, or a subroutine that follows one in its section.
#[derive(Clone, Debug)]
pub struct Function {
    /// The name.
    pub name: String,
    /// Its code.
    pub graph: Graph,
}

/// A function while it is read.
#[derive(Default)]
struct Draft {
    name: String,
    instructions: Vec<Instruction>,
    /// Labels, each with the number of the instruction that follows it.
    labels: Vec<(String, usize)>,
}

impl Draft {
    fn finish(self) -> Result<Function, SassError> {
        let graph = Graph::new(&self.name, self.instructions, &self.labels)?;
        Ok(Function {
            name: self.name,
            graph,
        })
    }
}

/// Reads the code sections of what `nvdisasm` or `nvdisasm -c` prints.
///
/// # Errors
/// [`SassError`] if a line or a branch is not understood.
pub fn parse(listing: &str) -> Result<Vec<Function>, SassError> {
    let mut drafts: Vec<Draft> = Vec::new();
    // Names that `.type NAME,@function` announces in the section so far.
    let mut announced: Vec<&str> = Vec::new();
    let mut is_code = false;
    for (number, line) in listing.lines().enumerate() {
        let text = line.trim();
        let mut words = text.split_whitespace();
        if words.next() == Some(".section") {
            is_code = words.next().is_some_and(|name| name.starts_with(".text."));
            continue;
        }
        if text.starts_with("//---") {
            is_code = false;
        }
        if !is_code || text.is_empty() || text.starts_with("//") {
            continue;
        }
        if let Some(label) = text.strip_suffix(':').filter(|_| !text.starts_with("/*")) {
            if announced.contains(&label) {
                drafts.push(Draft {
                    name: label.to_owned(),
                    ..Draft::default()
                });
            } else if let Some(draft) = drafts.last_mut() {
                draft
                    .labels
                    .push((label.to_owned(), draft.instructions.len()));
            }
            continue;
        }
        if text.starts_with('.') {
            if let Some(name) = text
                .strip_prefix(".type")
                .and_then(|rest| rest.trim().strip_suffix(",@function"))
            {
                announced.push(name);
            }
            continue;
        }
        let instruction = instruction(text).zip(drafts.last_mut());
        let Some((instruction, draft)) = instruction else {
            return Err(SassError::Line {
                line: number + 1,
                text: text.to_owned(),
            });
        };
        draft.instructions.push(instruction);
    }
    drafts.into_iter().map(Draft::finish).collect()
}

/// From `/*00f0*/  @!P0 LDG.E.128 R4, desc[UR4][R12.64] ;`.
fn instruction(text: &str) -> Option<Instruction> {
    let (address, text) = text.strip_prefix("/*")?.split_once("*/")?;
    let address = u32::from_str_radix(address, 16).ok()?;
    let (text, _) = text.split_once(';')?;
    Instruction::parse(address, text)
}

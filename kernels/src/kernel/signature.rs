//! The signature of a kernel: its operands, in the order of its PTX parameters, described once.
//!
//! Everything else about operands follows from the signature: the PTX parameters and the table in
//! the header of the text, the checks and arguments of a launch ([`super::Launcher`]), and, in a
//! check, uploads, guard patterns and comparisons ([`super::check`]).

use super::{ElementType, Extent, KernelId};
use std::fmt::Write;
use std::ops::RangeInclusive;

/// What a kernel does with a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Written completely, not read.
    Out,
    /// Read.
    In,
    /// Read and written: it has a value before the launch.
    InOut,
    /// Written and then read within a launch: its value before and after does not matter.
    Scratch,
}

/// One parameter.
#[derive(Clone, Debug)]
pub struct Operand {
    /// The name of the PTX parameter.
    pub name: &'static str,
    /// What it is.
    pub kind: OperandKind,
}

/// A pointer to a buffer.
#[derive(Clone, Debug)]
pub struct BufferOperand {
    /// What the kernel does with it.
    pub access: Access,
    /// What it holds.
    pub element: ElementType,
    /// How many elements the kernel may access.
    pub extent: Extent,
    /// The alignment of the first element, in bytes.
    pub alignment: usize,
    /// The kernel accesses the buffer only if this size is more than 1; otherwise the pointer is 0.
    /// `None` if it always accesses the buffer.
    pub shared_by: Option<&'static str>,
    /// Whether a launch may omit the buffer; the pointer is then 0.
    pub is_optional: bool,
    /// The output that this operand may alias.
    pub may_be: Option<&'static str>,
}

/// What a parameter is.
#[derive(Clone, Debug)]
pub enum OperandKind {
    /// A pointer to a buffer.
    Buffer(BufferOperand),
    /// A pointer that the kernel ignores; a launch passes 0.
    Null,
    /// A size, u32.
    Size,
    /// A number computed from sizes, u32.
    Derived(Extent),
    /// A number within bounds, f32.
    Number(RangeInclusive<f32>),
}

/// Bounds of a size.
#[derive(Clone, Debug)]
pub struct Bounds {
    /// The size.
    pub name: &'static str,
    /// At least.
    pub least: Extent,
    /// At most, if there is a limit below 2^32.
    pub most: Option<Extent>,
    /// A multiple of this.
    pub multiple_of: usize,
}

/// The operands and the launch geometry of a kernel.
#[derive(Clone, Debug)]
pub struct Signature {
    id: KernelId,
    threads: u32,
    grid: [Extent; 3],
    shared_bytes: u32,
    operands: Vec<Operand>,
    numbered: Vec<Extent>,
    bounds: Vec<Bounds>,
}

impl Signature {
    /// A kernel without operands: `grid` thread blocks of `threads` threads each.
    pub fn new(id: KernelId, threads: u32, grid: [Extent; 3]) -> Self {
        Self {
            id,
            threads,
            grid,
            shared_bytes: 0,
            operands: Vec::new(),
            numbered: Vec::new(),
            bounds: Vec::new(),
        }
    }

    /// Bytes of dynamic shared memory of a thread block.
    #[must_use]
    pub const fn dynamic_shared(mut self, bytes: u32) -> Self {
        self.shared_bytes = bytes;
        self
    }

    /// A count that the kernel indexes with 32 bits: a launch must have less than 2^32.
    #[must_use]
    pub fn numbers(mut self, extent: Extent) -> Self {
        self.numbered.push(extent);
        self
    }

    /// A buffer that is written.
    #[must_use]
    pub fn output(self, name: &'static str, element: ElementType, extent: Extent) -> Self {
        self.buffer(name, Access::Out, element, extent)
    }

    /// A buffer that is read.
    #[must_use]
    pub fn input(self, name: &'static str, element: ElementType, extent: Extent) -> Self {
        self.buffer(name, Access::In, element, extent)
    }

    /// A buffer that is read and written.
    #[must_use]
    pub fn in_out(self, name: &'static str, element: ElementType, extent: Extent) -> Self {
        self.buffer(name, Access::InOut, element, extent)
    }

    /// The buffer that was added last is shared by the thread blocks of a split: a launch needs it
    /// only if the size `parts` is more than 1.
    ///
    /// # Panics
    /// If the last operand is not a buffer.
    #[must_use]
    pub fn shared_by(self, parts: &'static str) -> Self {
        self.last(|buffer| buffer.shared_by = Some(parts))
    }

    /// A launch may omit the buffer that was added last.
    ///
    /// # Panics
    /// If the last operand is not a buffer.
    #[must_use]
    pub fn optional(self) -> Self {
        self.last(|buffer| buffer.is_optional = true)
    }

    /// The buffer that was added last may alias `output`: the kernel reads each element before it
    /// writes it.
    ///
    /// # Panics
    /// If the last operand is not a buffer.
    #[must_use]
    pub fn may_be(self, output: &'static str) -> Self {
        self.last(|buffer| buffer.may_be = Some(output))
    }

    /// A buffer that is written and read within a launch.
    #[must_use]
    pub fn scratch(self, name: &'static str, element: ElementType, extent: Extent) -> Self {
        self.buffer(name, Access::Scratch, element, extent)
    }

    /// A pointer that this kernel ignores.
    #[must_use]
    pub fn null(self, name: &'static str) -> Self {
        self.operand(name, OperandKind::Null)
    }

    fn buffer(
        self,
        name: &'static str,
        access: Access,
        element: ElementType,
        extent: Extent,
    ) -> Self {
        let buffer = BufferOperand {
            access,
            element,
            extent,
            alignment: element.bytes(),
            shared_by: None,
            is_optional: false,
            may_be: None,
        };
        self.operand(name, OperandKind::Buffer(buffer))
    }

    /// Changes the buffer that was added last.
    fn last(mut self, change: impl FnOnce(&mut BufferOperand)) -> Self {
        match self.operands.last_mut().map(|operand| &mut operand.kind) {
            Some(OperandKind::Buffer(buffer)) => change(buffer),
            _ => panic!("{}: the operand added last is no buffer", self.id),
        }
        self
    }

    /// The alignment of the buffer that was added last, in bytes, where it differs from the
    /// alignment of an element.
    ///
    /// # Panics
    /// If the last operand is not a buffer.
    #[must_use]
    pub fn aligned(self, bytes: usize) -> Self {
        self.last(|buffer| buffer.alignment = bytes)
    }

    /// A size that is a parameter.
    #[must_use]
    pub fn size(self, name: &'static str) -> Self {
        self.operand(name, OperandKind::Size)
    }

    /// A parameter computed from sizes.
    #[must_use]
    pub fn derived(self, name: &'static str, extent: Extent) -> Self {
        self.operand(name, OperandKind::Derived(extent))
    }

    /// The stride of rows, as a parameter: at least `cols`, and a multiple of `multiple_of`.
    #[must_use]
    pub fn stride(self, name: &'static str, cols: Extent, multiple_of: usize) -> Self {
        self.size(name).bounded(name, cols, None, multiple_of)
    }

    /// A number that is a parameter.
    #[must_use]
    pub fn number(self, name: &'static str, bounds: RangeInclusive<f32>) -> Self {
        self.operand(name, OperandKind::Number(bounds))
    }

    fn operand(mut self, name: &'static str, kind: OperandKind) -> Self {
        self.operands.push(Operand { name, kind });
        self
    }

    /// Bounds of a size, whether it is a parameter or not.
    #[must_use]
    pub fn bounded(
        mut self,
        name: &'static str,
        least: Extent,
        most: Option<usize>,
        multiple_of: usize,
    ) -> Self {
        self.bounds.push(Bounds {
            name,
            least,
            most: most.map(Extent::from),
            multiple_of,
        });
        self
    }

    /// The only value that a size may have.
    #[must_use]
    pub fn exactly(mut self, name: &'static str, value: Extent) -> Self {
        self.bounds.push(Bounds {
            name,
            most: Some(value.clone()),
            least: value,
            multiple_of: 1,
        });
        self
    }

    /// The name of the PTX entry.
    pub const fn id(&self) -> &KernelId {
        &self.id
    }

    /// Threads of a thread block.
    pub const fn threads(&self) -> u32 {
        self.threads
    }

    /// Thread blocks.
    pub const fn grid(&self) -> &[Extent; 3] {
        &self.grid
    }

    /// Bytes of dynamic shared memory of a thread block.
    pub const fn shared_bytes(&self) -> u32 {
        self.shared_bytes
    }

    /// The counts that the kernel indexes with 32 bits.
    pub fn numbered(&self) -> &[Extent] {
        &self.numbered
    }

    /// The parameters, in order.
    pub fn operands(&self) -> &[Operand] {
        &self.operands
    }

    /// The bounds of sizes.
    pub fn bounds(&self) -> &[Bounds] {
        &self.bounds
    }

    /// The operands as PTX comments, one line each.
    pub fn header(&self) -> String {
        let width = self.operands.iter().map(|operand| operand.name.len());
        let width = width.max().unwrap_or(0);
        let mut text = String::new();
        for Operand { name, kind } in &self.operands {
            let what = match kind {
                OperandKind::Buffer(buffer) => buffer.to_string(),
                OperandKind::Null => "0".to_owned(),
                OperandKind::Size => self.bounds_of(name),
                OperandKind::Derived(extent) => format!("u32, {extent}"),
                OperandKind::Number(bounds) => {
                    format!("f32 from {:?} to {:?}", bounds.start(), bounds.end())
                }
            };
            let _ = writeln!(text, "//     {name:width$}  {what}");
        }
        text
    }

    /// The bounds of a size that is a parameter.
    fn bounds_of(&self, name: &str) -> String {
        let mut text = "u32".to_owned();
        for bounds in self.bounds.iter().filter(|bounds| bounds.name == name) {
            let _ = write!(text, ", {bounds}");
        }
        text
    }
}

impl std::fmt::Display for BufferOperand {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let access = match self.access {
            Access::Out => "out",
            Access::In => "in",
            Access::InOut => "in, out",
            Access::Scratch => "scratch",
        };
        let (element, shape, alignment) =
            (self.element.name(), self.extent.shape(), self.alignment);
        write!(f, "{access}: {element} {shape}; alignment {alignment}")?;
        if let Some(parts) = self.shared_by {
            write!(f, "; 0 if {parts} is 1")?;
        }
        if self.is_optional {
            f.write_str("; 0 if there is none")?;
        }
        self.may_be
            .map_or(Ok(()), |output| write!(f, "; may be {output}"))
    }
}

impl std::fmt::Display for Bounds {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.most.as_ref() == Some(&self.least) {
            return write!(f, "exactly {}", self.least);
        }
        let multiple =
            (self.multiple_of > 1).then(|| format!("a multiple of {}", self.multiple_of));
        let says_more = multiple.is_some() || self.most.is_some();
        let has_least = self.least != Extent::Constant(0) || !says_more;
        let least = has_least.then(|| format!("at least {}", self.least));
        let most = self.most.as_ref().map(|most| format!("at most {most}"));
        let bounds: Vec<String> = [multiple, least, most].into_iter().flatten().collect();
        f.write_str(&bounds.join(" and "))
    }
}

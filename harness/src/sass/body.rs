//! The part of a kernel that does its work.

use super::{Access, Class, Function, Graph, Instruction, Mix, SassError, Space};
use std::collections::BTreeSet;

/// The longest way through the main loop, or through a kernel without one.
///
/// The main loop is, of the loops that access global memory and hold no other such loop, the one
/// with most products on tensor cores a trip, and of those with as many the one that moves most
/// bytes.
#[derive(Clone, Debug)]
pub struct Body<'a> {
    /// The issued instructions, in order.
    pub instructions: Vec<&'a Instruction>,
    /// Whether it is a loop's, and so gone through many times.
    pub is_loop: bool,
    /// Loops inside that were gone through once, for want of a count of trips.
    pub inner_loops: usize,
    /// Subroutines called on the way, which were not followed.
    pub calls: usize,
}

impl Function {
    /// The function of that name.
    ///
    /// # Errors
    /// [`SassError::NoFunction`].
    pub fn named<'a>(functions: &'a [Self], name: &str) -> Result<&'a Self, SassError> {
        let function = functions.iter().find(|function| function.name == name);
        function.ok_or_else(|| SassError::NoFunction(name.to_owned()))
    }

    /// The part that does the work.
    pub fn body(&self) -> Body<'_> {
        let graph = &self.graph;
        let traffic = |blocks: &BTreeSet<usize>| -> u32 {
            let code = blocks.iter().flat_map(|&block| graph.code(block));
            code.filter_map(global_bits).sum()
        };
        let products = |blocks: &BTreeSet<usize>| {
            let code = blocks.iter().flat_map(|&block| graph.code(block));
            code.filter(|i| Class::of(i) == Class::Mma).count()
        };
        let loops = graph.loops().iter();
        let moving: Vec<_> = loops.filter(|l| traffic(&l.blocks) > 0).collect();
        let innermost = moving.iter().filter(|outer| {
            let is_inside =
                |l: &&super::Loop| l.head != outer.head && outer.blocks.contains(&l.head);
            !moving.iter().copied().any(|l| is_inside(&l))
        });
        let main = innermost.max_by_key(|l| {
            let first = std::cmp::Reverse(l.head);
            (products(&l.blocks), traffic(&l.blocks), first)
        });
        match main {
            Some(main) => Body::of(graph, main.head, &main.blocks, true),
            None => Body::of(graph, 0, &graph.reachable_blocks(), false),
        }
    }
}

impl<'a> Body<'a> {
    fn of(graph: &'a Graph, start: usize, blocks: &BTreeSet<usize>, is_loop: bool) -> Self {
        let path = graph.longest_path(start, blocks);
        let is_inner = |head: usize| path.contains(&head) && !(is_loop && head == start);
        let inner_loops = graph.loops().iter().filter(|l| is_inner(l.head)).count();
        let instructions: Vec<_> = path.iter().flat_map(|&block| graph.code(block)).collect();
        let calls = instructions.iter().filter(|i| i.mnemonic() == "CALL");
        Self {
            calls: calls.count(),
            instructions,
            is_loop,
            inner_loops,
        }
    }

    /// Issue slots: instructions of a warp.
    pub fn slots(&self) -> usize {
        self.instructions.len()
    }

    /// How many instructions of each class.
    pub fn mix(&self) -> Mix {
        Mix::of(self.instructions.iter().copied())
    }

    /// The accesses to memory, in order.
    pub fn accesses(&self) -> impl Iterator<Item = Access> {
        self.instructions.iter().filter_map(|i| i.access())
    }

    /// Bytes of global memory that a thread reads and writes.
    pub fn global_bytes(&self) -> f64 {
        let bits: u32 = self
            .instructions
            .iter()
            .copied()
            .filter_map(global_bits)
            .sum();
        f64::from(bits) / 8.0
    }
}

fn global_bits(instruction: &Instruction) -> Option<u32> {
    let access = instruction.access()?;
    (access.space == Space::Global).then_some(access.bits)
}

//! Basic blocks and loops of a function.

use super::instruction::Flow;
use super::{Instruction, SassError};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

/// The code of a function as a graph of basic blocks, the first of which is entered.
#[derive(Clone, Debug)]
pub struct Graph {
    instructions: Vec<Instruction>,
    blocks: Vec<Block>,
    /// Reachable blocks, each before those it leads to but for the ways back in loops.
    order: Vec<usize>,
    loops: Vec<Loop>,
}

/// Instructions that are gone through from the first to the last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    /// Which of the function's.
    pub instructions: Range<usize>,
    /// Blocks that may follow.
    pub successors: Vec<usize>,
}

/// A natural loop: a block that dominates blocks which lead back to it, and what is on the ways
/// between.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loop {
    /// The block that is entered.
    pub head: usize,
    /// All of its blocks.
    pub blocks: BTreeSet<usize>,
}

impl Graph {
    pub(super) fn new(
        function: &str,
        instructions: Vec<Instruction>,
        labels: &[(String, usize)],
    ) -> Result<Self, SassError> {
        let blocks = blocks(function, &instructions, labels)?;
        let order = reverse_postorder(&blocks);
        let loops = loops(&blocks, &order);
        Ok(Self {
            instructions,
            blocks,
            order,
            loops,
        })
    }

    /// All instructions, in the order of their addresses.
    pub fn instructions(&self) -> &[Instruction] {
        &self.instructions
    }

    /// All blocks, in the order of their addresses.
    pub fn blocks(&self) -> &[Block] {
        &self.blocks
    }

    /// The loops, one a head.
    pub fn loops(&self) -> &[Loop] {
        &self.loops
    }

    /// Instructions of the function that can be reached from its start.
    pub fn reachable(&self) -> impl Iterator<Item = &Instruction> {
        self.order.iter().flat_map(|&block| self.code(block))
    }

    /// The instructions of a block.
    pub(super) fn code(&self, block: usize) -> &[Instruction] {
        &self.instructions[self.blocks[block].instructions.clone()]
    }

    /// The way of most instructions from a block to any end of a set of blocks, without ways back.
    pub(super) fn longest_path(&self, start: usize, within: &BTreeSet<usize>) -> Vec<usize> {
        let position: BTreeMap<usize, usize> =
            (0..).zip(&self.order).map(|(n, &b)| (b, n)).collect();
        // The most instructions from each block on, and where that way goes next.
        let mut best: BTreeMap<usize, (usize, Option<usize>)> = BTreeMap::new();
        for &block in self
            .order
            .iter()
            .rev()
            .filter(|block| within.contains(block))
        {
            let forward = self.blocks[block].successors.iter().copied();
            let forward = forward.filter(|next| position[next] > position[&block]);
            let next = forward
                .filter_map(|next| Some((best.get(&next)?.0, next)))
                .max_by_key(|&(count, next)| (count, std::cmp::Reverse(next)));
            let rest = next.map_or(0, |(count, _)| count);
            let own = self.blocks[block].instructions.len();
            best.insert(block, (own + rest, next.map(|(_, next)| next)));
        }
        let start = Some(start).filter(|start| best.contains_key(start));
        std::iter::successors(start, |block| best.get(block)?.1).collect()
    }

    /// Every block that can be reached.
    pub(super) fn reachable_blocks(&self) -> BTreeSet<usize> {
        self.order.iter().copied().collect()
    }
}

fn blocks(
    function: &str,
    instructions: &[Instruction],
    labels: &[(String, usize)],
) -> Result<Vec<Block>, SassError> {
    let mut starts: BTreeSet<usize> = labels.iter().map(|&(_, at)| at).collect();
    starts.insert(0);
    for (n, instruction) in instructions.iter().enumerate() {
        if instruction.flow() != Flow::Next {
            starts.insert(n + 1);
        }
    }
    let starts: Vec<usize> = starts
        .into_iter()
        .filter(|&n| n < instructions.len())
        .collect();
    let ends = starts.iter().skip(1).copied().chain([instructions.len()]);
    let block_at = |at| starts.binary_search(&at).ok();
    let mut blocks = Vec::new();
    for (number, (&start, end)) in starts.iter().zip(ends).enumerate() {
        let next = (end < instructions.len()).then_some(number + 1);
        let last = &instructions[end - 1];
        let successors = match last.flow() {
            Flow::Next => next.into_iter().collect(),
            Flow::End { is_conditional } => next.filter(|_| is_conditional).into_iter().collect(),
            Flow::Branch {
                label,
                is_conditional,
            } => {
                let target = labels.iter().find(|(name, _)| name == label);
                let target = target.and_then(|&(_, at)| block_at(at));
                let target = target.ok_or_else(|| SassError::Label {
                    function: function.to_owned(),
                    label: label.to_owned(),
                })?;
                let mut successors = vec![target];
                successors.extend(next.filter(|&next| is_conditional && next != target));
                successors
            }
            Flow::Unknown => {
                return Err(SassError::Indirect {
                    function: function.to_owned(),
                    opcode: last.opcode.clone(),
                    address: last.address,
                });
            }
        };
        blocks.push(Block {
            instructions: start..end,
            successors,
        });
    }
    Ok(blocks)
}

fn reverse_postorder(blocks: &[Block]) -> Vec<usize> {
    let mut order = Vec::new();
    let mut is_seen = vec![false; blocks.len()];
    // Blocks on the way, each with how many of its successors were visited.
    let mut way = Vec::new();
    if !blocks.is_empty() {
        is_seen[0] = true;
        way.push((0, 0));
    }
    while let Some((block, visited)) = way.last_mut() {
        match blocks[*block].successors.get(*visited) {
            Some(&next) => {
                *visited += 1;
                if !is_seen[next] {
                    is_seen[next] = true;
                    way.push((next, 0));
                }
            }
            None => {
                order.push(*block);
                way.pop();
            }
        }
    }
    order.reverse();
    order
}

/// By dominators, each block's the blocks that every way to it goes through (Aho, Lam, Sethi,
/// Ullman, Compilers, 9.6).
fn loops(blocks: &[Block], order: &[usize]) -> Vec<Loop> {
    let mut predecessors = vec![Vec::new(); blocks.len()];
    for &block in order {
        for &next in &blocks[block].successors {
            predecessors[next].push(block);
        }
    }
    let all: BTreeSet<usize> = order.iter().copied().collect();
    let mut dominators = vec![all; blocks.len()];
    let mut has_changed = true;
    while has_changed {
        has_changed = false;
        for &block in order {
            let before = predecessors[block].iter().map(|&p| dominators[p].clone());
            let common = before.reduce(|a, b| &a & &b).filter(|_| block != order[0]);
            let mut own = common.unwrap_or_default();
            own.insert(block);
            if own != dominators[block] {
                dominators[block] = own;
                has_changed = true;
            }
        }
    }
    let mut loops: BTreeMap<usize, BTreeSet<usize>> = BTreeMap::new();
    for &tail in order {
        for &head in &blocks[tail].successors {
            if dominators[tail].contains(&head) {
                let body = loops.entry(head).or_insert_with(|| BTreeSet::from([head]));
                let mut pending = vec![tail];
                while let Some(block) = pending.pop() {
                    if body.insert(block) {
                        pending.extend(&predecessors[block]);
                    }
                }
            }
        }
    }
    let loops = loops.into_iter();
    loops.map(|(head, blocks)| Loop { head, blocks }).collect()
}

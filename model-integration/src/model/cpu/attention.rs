//! Attention of the sequences of a batch, a task for each run of queries.

use rayon::prelude::*;

use super::cache::Part;
use super::{Cache, Cpu};
use crate::model::buffer::Buffer;
use crate::model::ops::attention::{Head, KeyPanel, Scores};
use crate::model::ops::narrow;
use crate::model::{Attention, Batch, Sequence};

/// Queries per task.
const QUERIES_PER_TASK: usize = 96;

/// Keys and values of a batch's sequences.
#[derive(Clone, Copy)]
pub(super) enum Kept<'a> {
    /// Those of the batch's tokens, which are whole sequences.
    Own([&'a [f32]; 2]),
    /// Those of a cache, with the batch's already in it.
    In(&'a Cache),
}

/// Keys and values of one head of one sequence.
struct HeadRows<'a> {
    keys: KeyPanel,
    values: Values<'a>,
}

/// The values of a head.
enum Values<'a> {
    /// Inside tokens of so many features.
    Among(&'a [f32], usize),
    /// One behind another.
    Alone(Buffer),
}

impl Values<'_> {
    /// The values, and the distance between positions.
    fn strided(&self, head_dim: usize) -> (&[f32], usize) {
        match self {
            Self::Among(values, stride) => (values, *stride),
            Self::Alone(values) => (values, head_dim),
        }
    }
}

impl<'a> Kept<'a> {
    /// Those of a head of a sequence, whose first token is the batch's number `start`.
    fn rows(
        self,
        attention: &Attention<Vec<f32>>,
        sequence: &Sequence,
        start: usize,
        head: usize,
    ) -> HeadRows<'a> {
        let (positions, head_dim) = (sequence.end(), attention.head_dim);
        match self {
            Self::Own(own) => {
                let stride = attention.kv_heads * head_dim;
                let [keys, values] = own.map(|x| &x[start * stride + head * head_dim..]);
                HeadRows {
                    keys: KeyPanel::new(keys, positions, head_dim, stride),
                    values: Values::Among(values, stride),
                }
            }
            Self::In(cache) => {
                let layer = attention.layer;
                let keys = KeyPanel::of_runs(positions, head_dim, |run, out| {
                    cache.read((layer, Part::Keys), sequence, head, run, out);
                });
                let mut values = Buffer::of_any_values(positions * head_dim);
                cache.read(
                    (layer, Part::Values),
                    sequence,
                    head,
                    0..positions,
                    &mut values,
                );
                HeadRows {
                    keys,
                    values: Values::Alone(values),
                }
            }
        }
    }
}

impl Cpu {
    /// Attention of every sequence to its own keys and values `kept`, in parallel.
    pub(super) fn attend_sequences(
        &self,
        out: &mut [f32],
        query: &[f32],
        kept: Kept,
        attention: &Attention<Vec<f32>>,
        batch: &Batch,
    ) {
        let &Attention {
            heads,
            kv_heads,
            head_dim,
            ..
        } = attention;
        let query_stride = heads * head_dim;
        let starts = batch.sequences.iter().scan(0, |start, sequence| {
            *start += sequence.length;
            Some(*start - sequence.length)
        });
        let starts: Vec<usize> = starts.collect();
        let sequences = batch.sequences.par_iter().zip(&starts);
        let operands: Vec<Vec<HeadRows>> = sequences
            .map(|(sequence, &start)| {
                let of_head = |head: usize| kept.rows(attention, sequence, start, head);
                (0..kv_heads).into_par_iter().map(of_head).collect()
            })
            .collect();
        let mut tasks = Vec::new();
        let (mut first, mut rest) = (0, out);
        for (index, sequence) in batch.sequences.iter().enumerate() {
            for start in (0..sequence.length).step_by(QUERIES_PER_TASK) {
                let length = QUERIES_PER_TASK.min(sequence.length - start);
                let (own, others) = rest.split_at_mut(length * query_stride);
                tasks.push((first, index, sequence.past + start, own));
                (first, rest) = (first + length, others);
            }
        }
        tasks.into_par_iter().for_each(|(first, index, past, out)| {
            let mut head = Head {
                past,
                length: out.len() / query_stride,
                head_dim,
                query_stride,
                key_stride: 0,
                scores: Scores {
                    scale: attention.scale,
                    cap: attention.cap,
                    window: attention.window,
                    sink: None,
                },
            };
            let query = &query[first * query_stride..];
            let mut scratch = Vec::new();
            for h in 0..heads {
                head.scores.sink = attention.sinks.map(|sinks| sinks[h]);
                let at_query = h * head_dim;
                let of_head = &operands[index][h / (heads / kv_heads)];
                let values;
                (values, head.key_stride) = of_head.values.strided(head_dim);
                let operands = (&query[at_query..], &of_head.keys, values);
                let out = &mut out[at_query..];
                head.attend(self.path.isa(), out, operands, self.dtype, &mut scratch);
            }
            narrow(out, self.dtype);
        });
    }
}

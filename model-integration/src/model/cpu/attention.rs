//! Attention of the sequences of a batch, a task for each run of queries.

use rayon::prelude::*;

use super::cache::Part;
use super::pages::Pages;
use super::{Cache, Cpu};
use crate::model::ops::attention::{Queries, QueriesOf, Recent, Scores};
use crate::model::ops::narrow;
use crate::model::{Attention, Batch, Sequence};

/// Queries per task.
const QUERIES_PER_TASK: usize = 96;

/// Keys and values of a batch's sequences.
#[derive(Clone, Copy)]
pub(super) enum Kept<'a> {
    /// Those of the batch's tokens, which are whole sequences; and the keys as they were, if
    /// queries see some of them so.
    Own([&'a [f32]; 2], Option<&'a [f32]>),
    /// Those of a cache, with the batch's already in it.
    In(&'a Cache),
}

impl<'a> Kept<'a> {
    /// Keys and values of a head of a sequence, whose first token is the batch's number `start`.
    fn pages(
        self,
        attention: &Attention<Vec<f32>>,
        sequence: &Sequence,
        start: usize,
        head: usize,
    ) -> [Pages<'a>; 2] {
        let head_dim = attention.head_dim;
        match self {
            Self::Own(own, _) => {
                let stride = attention.kv_heads * head_dim;
                let [keys, values] = own.map(|x| &x[start * stride + head * head_dim..]);
                [
                    Pages::of_keys(keys, sequence.end(), head_dim, stride),
                    Pages::of_values(values, stride),
                ]
            }
            Self::In(cache) => [Part::Keys, Part::Values]
                .map(|part| cache.pages((attention.layer, part), sequence, head)),
        }
    }

    /// Exact keys of a head of a sequence, and the position of the first, if queries see some.
    fn recent(
        self,
        attention: &Attention<Vec<f32>>,
        sequence: &Sequence,
        start: usize,
        head: usize,
    ) -> Option<(Pages<'a>, usize)> {
        let head_dim = attention.head_dim;
        match self {
            Self::Own(_, exact) => {
                let stride = attention.kv_heads * head_dim;
                let keys = &exact?[start * stride + head * head_dim..];
                let keys = Pages::of_keys(keys, sequence.end(), head_dim, stride);
                Some((keys, 0))
            }
            Self::In(cache) => cache.recent(attention.layer, sequence, head),
        }
    }
}

/// Queries of a sequence that one thread takes.
struct Task<'a> {
    /// The number of the sequence.
    sequence: usize,
    /// The batch's token that the first query is of.
    token: usize,
    /// Positions before the first query.
    past: usize,
    /// The head of keys and values of a single query; `None`: all heads.
    kv_head: Option<usize>,
    out: &'a mut [f32],
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
        type OfHead<'a> = ([Pages<'a>; 2], Option<(Pages<'a>, usize)>);
        let operands: Vec<Vec<OfHead>> = sequences
            .map(|(sequence, &start)| {
                let of_head = |head: usize| {
                    let recent = kept.recent(attention, sequence, start, head);
                    (kept.pages(attention, sequence, start, head), recent)
                };
                (0..kv_heads).into_par_iter().map(of_head).collect()
            })
            .collect();
        let group = heads / kv_heads;
        let mut tasks = Vec::new();
        let (mut token, mut rest) = (0, out);
        for (index, sequence) in batch.sequences.iter().enumerate() {
            for start in (0..sequence.length).step_by(QUERIES_PER_TASK) {
                let length = QUERIES_PER_TASK.min(sequence.length - start);
                let (own, others) = rest.split_at_mut(length * query_stride);
                let task = |kv_head, out| Task {
                    sequence: index,
                    token,
                    past: sequence.past + start,
                    kv_head,
                    out,
                };
                if length == 1 {
                    let of_heads = own.chunks_exact_mut(group * head_dim).enumerate();
                    tasks.extend(of_heads.map(|(head, out)| task(Some(head), out)));
                } else {
                    tasks.push(task(None, own));
                }
                (token, rest) = (token + length, others);
            }
        }
        let queries = Queries {
            of: QueriesOf::Positions(None),
            past: 0,
            count: group,
            head_dim,
            stride: head_dim,
            scores: Scores {
                scale: attention.scale,
                cap: attention.cap,
                window: attention.window,
                sink: None,
            },
        };
        tasks.into_par_iter().for_each(|task| {
            let query = &query[task.token * query_stride..];
            let mut scratch = Vec::new();
            let mut attend = |queries: Queries, out: &mut [f32], query: &[f32], head: usize| {
                let (pages, recent) = &operands[task.sequence][head];
                let recent = recent.as_ref().map(|(keys, from)| Recent {
                    keys: keys.matrix(),
                    from: *from,
                    count: attention.key_recent,
                });
                let operands = (pages.each_ref().map(Pages::matrix), recent);
                let rounding = (self.dtype, &mut scratch);
                queries.attend(self.path.isa(), out, query, operands, rounding);
            };
            let queries = Queries {
                past: task.past,
                ..queries
            };
            if let Some(head) = task.kv_head {
                let heads = head * group..(head + 1) * group;
                let queries = Queries {
                    of: QueriesOf::Heads(attention.sinks.map(|sinks| &sinks[heads.clone()])),
                    ..queries
                };
                attend(queries, task.out, &query[heads.start * head_dim..], head);
            } else {
                for h in 0..heads {
                    let queries = Queries {
                        of: QueriesOf::Positions(attention.sinks.map(|sinks| sinks[h])),
                        count: task.out.len() / query_stride,
                        stride: query_stride,
                        ..queries
                    };
                    let first = h * head_dim;
                    attend(queries, &mut task.out[first..], &query[first..], h / group);
                }
            }
            narrow(task.out, self.dtype);
        });
    }
}

//! What a calibration takes, before it starts: time, memory and disk.
//!
//! Operations are counted, and multiplied by what each takes on this machine ([`super::rates`]).

use std::collections::{BTreeMap, HashMap};

use anyhow::Result;
use mxlab_kernels::format::BlockFormat;

use super::ScaleChoice;
use super::hidden;
use super::own_text::BATCH;
use super::rates::{MatrixRates, Timing};
use crate::config::{Projection, QuantConfig};
use crate::description::parameters::Parameters;

/// The sequences of a run.
#[derive(Clone, Copy, Debug)]
pub struct Sizes {
    /// All sequences.
    pub sequences: usize,
    /// Tokens of each.
    pub length: usize,
    /// How many of them the model writes itself.
    pub own: usize,
    /// Most bytes of memory for the inputs of a layer.
    pub hidden_memory: u64,
}

/// What a run takes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Estimate {
    /// Seconds of the text that the model writes itself.
    pub text: f64,
    /// Seconds of the layers' runs.
    pub layers: f64,
    /// Seconds of the sums of products of inputs.
    pub sums: f64,
    /// Seconds of their factors.
    pub factors: f64,
    /// Seconds of rounding.
    pub rounding: f64,
    /// Bytes of the model as it is stored, which the system may read again instead of keeping them.
    pub model: u64,
    /// Bytes of memory beside the model.
    pub memory: u64,
    /// Bytes of it that H and its factors take.
    pub products: u64,
    /// Bytes of disk until the end, the new model included.
    pub disk: u64,
}

/// Matrices with common inputs.
#[derive(Clone, Copy, Debug)]
struct Group {
    layer: usize,
    cols: usize,
    /// Rows of all.
    rows: usize,
    /// Rows of the largest.
    most_rows: usize,
    format: BlockFormat,
    /// Whether each token chooses some of many.
    is_expert: bool,
}

impl Estimate {
    /// Of a run on this machine.
    ///
    /// # Errors
    /// A model that does not load.
    pub fn new(timing: &Timing, sizes: &Sizes) -> Result<Self> {
        let shape = timing.checkpoint.config();
        let parameters = timing.checkpoint.parameters();
        let groups = groups(parameters, timing.config);
        let layer = timing.layer(sizes.length, sizes.own > 0)?;
        let tokens = (sizes.sequences * sizes.length) as f64;
        let steps = sizes.own.div_ceil(BATCH) * (sizes.length - 1);
        let runs = tokens * shape.num_hidden_layers as f64;
        let mut estimate = Self {
            text: layer.step * steps as f64,
            layers: runs * (layer.stored + layer.coded),
            ..Self::default()
        };
        let mut rates: HashMap<usize, MatrixRates> = HashMap::new();
        for group in &groups {
            let rate = match rates.get(&group.cols) {
                Some(rate) => *rate,
                None => {
                    let rate = timing.matrix(group.cols, &group.format)?;
                    rates.insert(group.cols, rate);
                    rate
                }
            };
            let share = match shape.experts.filter(|_| group.is_expert) {
                Some(experts) => experts.routing.per_token as f64 / experts.count as f64,
                None => 1.0,
            };
            estimate.sums += rate.token * tokens * share;
            estimate.factors += rate.factor;
            estimate.rounding += rate.row * group.rows as f64;
        }
        estimate.sizes(timing, sizes, &groups)?;
        Ok(estimate)
    }

    /// Seconds of all.
    pub fn seconds(&self) -> f64 {
        self.text + self.layers + self.sums + self.factors + self.rounding
    }

    fn sizes(&mut self, timing: &Timing, sizes: &Sizes, groups: &[Group]) -> Result<()> {
        let shape = timing.checkpoint.config();
        let float = timing.dtype.bytes() as u64;
        let (mut packed, mut coded) = (0, 0);
        for parameter in timing.checkpoint.parameters().stored() {
            let bytes = timing.checkpoint.view(parameter)?.byte_len() as u64;
            self.model += bytes;
        }
        for (.., weight) in timing.checkpoint.parameters().projections() {
            if let (Some(format), Some([rows, cols])) =
                (weight.formats(timing.config).0, weight.matrix())
            {
                let (codes, scales) = format.packed_bytes(rows, cols);
                packed += (codes + scales) as u64;
                coded += timing.checkpoint.view(weight)?.byte_len() as u64;
            }
        }
        // H of every group of a layer; then the factor of one, beside the values of a matrix, its
        // targets, and those of a second sweep.
        let searches = timing.recipe.scales == ScaleChoice::Search;
        let copies = if searches { 3 } else { 2 };
        let mut layers: BTreeMap<usize, [u64; 2]> = BTreeMap::new();
        for group in groups {
            let square = 8 * (group.cols * group.cols) as u64;
            let matrix = (4 * copies * group.most_rows * group.cols) as u64;
            let [sums, most] = layers.entry(group.layer).or_default();
            *sums += square;
            *most = (*most).max(square + matrix);
        }
        let products = layers.values().map(|[sums, most]| sums + most).max();
        self.products = products.unwrap_or(0);
        let lengths = vec![sizes.length; sizes.sequences];
        let hidden = hidden::bytes(&lengths, shape.hidden_size);
        let spilled = if hidden > sizes.hidden_memory {
            hidden
        } else {
            0
        };
        // Of a sequence in a layer, about: its input, queries, keys, values, gate, up and product.
        let widths = 6 * shape.hidden_size + 3 * shape.intermediate_size;
        let activations = (4 * sizes.length * widths) as u64;
        let heads = 2 * shape.num_key_value_heads * shape.head_dim * shape.num_hidden_layers;
        let cache = (sizes.own.min(BATCH) * sizes.length * heads) as u64 * float;
        self.memory = (packed + hidden - spilled + activations + self.products).max(cache);
        self.disk = 2 * packed + self.model.saturating_sub(coded) + spilled;
        Ok(())
    }
}

/// Matrices with common inputs that get codes.
fn groups(parameters: &Parameters, config: &QuantConfig) -> Vec<Group> {
    let mut groups: BTreeMap<(usize, Option<usize>, usize), Group> = BTreeMap::new();
    for (layer, projection, weight) in parameters.projections() {
        let (Some(format), Some([rows, cols])) = (weight.formats(config).0, weight.matrix()) else {
            continue;
        };
        let input = match projection {
            Projection::Q | Projection::K | Projection::V => 0,
            Projection::O => 1,
            Projection::Gate | Projection::Up => 2,
            Projection::Down => 3,
        };
        let group = groups
            .entry((layer, weight.expert, input))
            .or_insert(Group {
                layer,
                cols,
                rows: 0,
                most_rows: 0,
                format,
                is_expert: weight.expert.is_some(),
            });
        group.rows += rows;
        group.most_rows = group.most_rows.max(rows);
    }
    groups.into_values().collect()
}

//! The size of packed weights, and the formats that stand in for others.

use mxlab_kernels::format::MatrixFormat;

use crate::config::QuantConfig;
use crate::description::parameters::{Parameters, RowLength};
use crate::engine::{PackedWeights, StandIn};

/// The packed weights of a model under a configuration with its stored formats; `None` if no weight
/// is packed. And the stand-ins among them.
///
/// # Errors
/// If a weight has rows that its format does not have.
pub fn packed_weights(
    parameters: &Parameters,
    config: &QuantConfig,
) -> Result<(Option<PackedWeights>, Vec<StandIn>), RowLength> {
    let mut packed = PackedWeights::default();
    let mut stand_ins: Vec<StandIn> = Vec::new();
    for (_, _, weight) in parameters.kept(config) {
        let (Some(format), Some([rows, cols])) = (weight.weight_format(config)?, weight.matrix())
        else {
            continue;
        };
        packed.elements += (rows * cols) as u64;
        packed.bytes += format.packed_bytes(rows, cols) as u64;
        let (MatrixFormat::Ggml(format), Some(given)) = (format, weight.given_ggml(config)) else {
            continue;
        };
        if format == given {
            continue;
        }
        let same = |one: &&mut StandIn| (one.format, one.of, one.cols) == (format, given, cols);
        match stand_ins.iter_mut().find(same) {
            Some(one) => one.matrices += 1,
            None => stand_ins.push(StandIn {
                format,
                of: given,
                cols,
                matrices: 1,
            }),
        }
    }
    Ok(((packed.elements > 0).then_some(packed), stand_ins))
}

//! The fields of a mixture of experts.

use serde_json::Value;

use super::{Fields, MAX_EXPERTS, MAX_LAYERS, MAX_WIDTH};
use crate::checkpoint::CheckpointError;
use crate::description::architecture::{Condition, Experts, RoutingRule};
use crate::description::{Architecture, ExpertsConfig, LayerKind, Routing};

/// Far above any model; each expert has a description in memory.
const MAX_EXPERTS_OF_ALL: usize = 1 << 16;

/// The mixture of experts, if the architecture has one; and in `layers`, who has it.
pub(super) fn parse(
    fields: Fields,
    architecture: &Architecture,
    layers: &mut [LayerKind],
) -> Result<Option<ExpertsConfig>, CheckpointError> {
    let Some(experts) = &architecture.experts else {
        return Ok(None);
    };
    let given = experts.count.iter().find(|name| fields.get(name).is_some());
    let count = fields.required_size(given.unwrap_or(&experts.count[0]), MAX_EXPERTS)?;
    if count * layers.len() > MAX_EXPERTS_OF_ALL {
        let most = MAX_EXPERTS_OF_ALL / layers.len();
        let expected = format!("at most {most}, as there are {} layers", layers.len());
        return Err(fields.error(given.unwrap_or(&experts.count[0]), expected));
    }
    let per_token = fields.size("num_experts_per_tok", MAX_EXPERTS)?;
    let per_token = per_token.unwrap_or(experts.per_token);
    if per_token > count {
        let expected = format!("at most the number of experts, {count}");
        return Err(fields.error("num_experts_per_tok", expected));
    }
    let routing = match experts.routing {
        RoutingRule::TopFirst => Routing {
            per_token,
            is_softmax_first: false,
            is_normalised: false,
            is_rounded: true,
        },
        RoutingRule::SoftmaxFirst {
            normalised,
            rounded,
        } => Routing {
            per_token,
            is_softmax_first: true,
            is_normalised: match normalised {
                Condition::Always => true,
                Condition::If(field, default) => fields.flag(field, default)?,
            },
            is_rounded: rounded,
        },
    };
    for (layer, has_experts) in layers.iter_mut().zip(placed(fields, experts)?) {
        layer.has_experts = has_experts;
    }
    Ok(Some(ExpertsConfig {
        count,
        intermediate_size: fields.required_size(experts.width, MAX_WIDTH)?,
        routing,
    }))
}

/// Whether each layer has experts, without end.
fn placed(
    fields: Fields,
    experts: &Experts,
) -> Result<impl Iterator<Item = bool>, CheckpointError> {
    let (mut plain, mut step) = (Vec::new(), 1);
    if experts.has_plain_layers {
        const PLAIN: &str = "mlp_only_layers";
        step = fields.size("decoder_sparse_step", MAX_LAYERS)?.unwrap_or(1);
        let list = fields.get(PLAIN).map(|list| {
            let list = list.as_array()?.iter();
            list.map(Value::as_u64).collect::<Option<Vec<u64>>>()
        });
        let wrong = || fields.error(PLAIN, "a list of layers");
        plain = list.map_or(Ok(Vec::new()), |list| list.ok_or_else(wrong))?;
    }
    Ok((0_u64..)
        .map(move |layer| !plain.contains(&layer) && (layer + 1).is_multiple_of(step as u64)))
}

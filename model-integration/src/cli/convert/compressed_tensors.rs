//! The `quantization_config` for the compressed-tensors library.

use anyhow::{Result, bail};
use mxlab_kernels::format::{BlockFormat, ScaleFormat};
use serde_json::{Value, json};

use super::tensors::Plan;
use crate::checkpoint::encoding::COMPRESSED_TENSORS_FORMATS;

/// The library's name of a format; `None` if it lacks it with these scales and blocks.
pub fn format_name(format: &BlockFormat) -> Option<&'static str> {
    let is_mx = format.scale() == ScaleFormat::E8M0 && format.block_size() == 32;
    let formats = COMPRESSED_TENSORS_FORMATS.iter();
    let mut formats = formats.filter(|(_, element)| is_mx && *element == format.element());
    formats.next().map(|(name, _)| *name)
}

/// One group of linear modules in the plan's only format; the others are ignored.
///
/// # Errors
/// If nothing is quantised, or there are several formats.
pub fn quantization_config(plan: &Plan) -> Result<Value> {
    let formats = plan.formats();
    let [format] = formats.as_slice() else {
        bail!(
            "compressed-tensors takes one format for all quantised weights; here are {formats:?}"
        );
    };
    let name = format_name(format);
    let weights = json!({
        "num_bits": format.element().bits(),
        "type": "float",
        "symmetric": true,
        "group_size": format.block_size(),
        "strategy": "group",
        "dynamic": false,
        "scale_dtype": "torch.uint8",
    });
    Ok(json!({
        "quant_method": "compressed-tensors",
        "format": name,
        "quantization_status": "compressed",
        "config_groups": {
            "group_0": {
                "targets": ["Linear"],
                "weights": weights,
                "input_activations": null,
                "output_activations": null,
                "format": name,
            },
        },
        "ignore": plan.plain_modules(),
        "kv_cache_scheme": null,
        "global_compression_ratio": null,
    }))
}

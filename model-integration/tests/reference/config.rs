//! The configurations of the reference files, by name.

use mxlab::config::QuantConfig;
use mxlab_kernels::format::{
    BlockFormat, BlockFormatBuilder, Dialect, ElementFormat, Rounding, ScaleFormat,
};

/// The configuration with this `name`, given without dtype; `None` if unknown.
pub fn named(name: &str) -> Option<QuantConfig> {
    let mut config = QuantConfig::unquantised(name);
    let microxcaling = |element| BlockFormat::new(element).dialect(Dialect::MicroxcalingTorch);
    let fp4 = microxcaling(ElementFormat::FP4_E2M1);
    let fp6 = microxcaling(ElementFormat::FP6_E2M3);
    let ue5m3 = BlockFormat::new(ElementFormat::FP4_E2M1)
        .scale(ScaleFormat::UE5M3)
        .block_size(16);
    let bits = |bits| ScaleFormat::E8M0 { bits };
    let change = |change: fn(BlockFormatBuilder) -> BlockFormatBuilder| (change(fp4), change(fp6));
    let (weights, activations) = match name {
        "base" | "kv" | "kv_b16" => (None, None),
        "ex1" | "ex1kv" => (Some(fp4), Some(fp6)),
        "wonly" => (Some(fp4), None),
        "aonly" => (None, Some(fp6)),
        "ex1_b16" | "ex1_b64" => {
            let k = if name == "ex1_b16" { 16 } else { 64 };
            (Some(fp4.block_size(k)), Some(fp6.block_size(k)))
        }
        "ex1_sb6" | "ex1_sb4" => {
            let scale = bits(if name == "ex1_sb6" { 6 } else { 4 });
            (Some(fp4.scale(scale)), Some(fp6.scale(scale)))
        }
        "ex1_even" | "ex1kv_even" => {
            let (weights, activations) = change(|format| format.rounding(Rounding::Even));
            (Some(weights), Some(activations))
        }
        "mxfp4_w4a4_b32_even" => {
            let even = fp4.rounding(Rounding::Even);
            (Some(even), Some(even))
        }
        "ue5m3_fp4_b16" => (Some(ue5m3), Some(ue5m3)),
        "ue5m3_fp4_b16_wonly" => (Some(ue5m3), None),
        _ => return None,
    };
    let cache = match name {
        "kv" | "ex1kv" => Some(fp4),
        "kv_b16" => Some(fp4.block_size(16)),
        "ex1kv_even" => Some(fp4.rounding(Rounding::Even)),
        _ => None,
    };
    let build = |format: Option<BlockFormatBuilder>| format.map(|f| f.build().expect("fits"));
    config.weights = build(weights).map(Into::into);
    config.activations = build(activations);
    config.keys = build(cache);
    config.values = build(cache);
    Some(config)
}

//! What NVIDIA's ModelOpt writes: tensors of a matrix, and the configuration in two files.

use anyhow::{Result, bail, ensure};
use mxlab_kernels::format::{BlockFormat, ElementFormat, ScaleFormat, ScaleRule};
use safetensors::Dtype;
use serde_json::{Map, Value, json};

use super::piece::{Content, Layout, Piece, scale_dtype};
use super::tensors::Plan;
use crate::checkpoint::encoding::{CodeKind, ScalarInput, StoredInput, rounds_as_packages};
use crate::description::parameters::{Role, outer_name};

/// The version whose layout this is.
const VERSION: &str = "0.47.0";

/// The formats that ModelOpt has, for messages.
const KNOWN: &str = "NVFP4 with inputs as floats or NVFP4 with a stored scale; MXFP4 and MXFP8 \
    with inputs in the same format by the rule rceil; fp8_e4m3 with fp32 by rows and inputs in the \
    same format, or with one scale and inputs with a stored one; int8 with fp32 by rows and inputs \
    as floats";

/// The tensors of the matrix `name` `[rows, cols]` in `format`; `input` is how its input is
/// quantised.
///
/// # Errors
/// A pair of formats that ModelOpt does not have.
pub fn layout(
    name: &str,
    format: &BlockFormat,
    [rows, cols]: [usize; 2],
    input: Option<&StoredInput>,
) -> Result<Layout> {
    let (element, scale, block) = (format.element(), format.scale(), format.block_size());
    let [is_fp4, is_fp8, is_int8] = [
        ElementFormat::FP4_E2M1,
        ElementFormat::FP8_E4M3,
        ElementFormat::INT8,
    ]
    .map(|known| known == element);
    let is_row = block >= cols;
    let is_nvfp4 = is_fp4 && scale == ScaleFormat::UE4M3 && block == 16;
    let is_mx = scale == ScaleFormat::E8M0 && block == 32;
    let by_row = scale == ScaleFormat::Fp32 && is_row;
    // The input, if it has the elements and scales of the weight; a scale of the whole tensor.
    let (like, stored) = match input {
        Some(StoredInput::Block(other, stored)) => {
            let same = (other.element(), other.scale()) == (element, scale);
            let block = other.block_size();
            let same_blocks = block == format.block_size() || by_row && block >= cols;
            let is_taken = same && same_blocks && rounds_as_packages(other);
            (is_taken.then_some(other), *stored)
        }
        // One scale for the weight, and a stored one for the input.
        Some(StoredInput::Scalar(ScalarInput {
            kind: CodeKind::Float(other),
            scale: stored @ Some(_),
            ..
        })) if is_fp8 && by_row && *other == element => (None, *stored),
        _ => (None, None),
    };
    let is_static = like.is_none() && stored.is_some() && is_fp8;
    let is_like = like.is_some() && stored.is_none();
    let is_like_mx = is_like && like.is_some_and(|other| other.rule() == ScaleRule::Rceil);
    let algorithm = match (input.is_some(), format.has_tensor_scale()) {
        (false, _) if is_nvfp4 => Some("W4A16_NVFP4"),
        (true, _) if is_nvfp4 && like.is_some() && stored.is_some() => Some("NVFP4"),
        (_, true) => None,
        // Its name for MXFP4 is in lower case.
        _ if is_fp4 && is_mx && is_like_mx => Some("mxfp4"),
        _ if is_fp8 && is_mx && is_like_mx => Some("MXFP8"),
        _ if is_fp8 && by_row && is_like => Some("FP8_PER_CHANNEL_PER_TOKEN"),
        _ if is_static => Some("FP8"),
        (false, _) if is_int8 && by_row => Some("W8A16"),
        _ => None,
    };
    let (Some(algorithm), Some(of_scales)) = (algorithm, scale_dtype(scale)) else {
        let input = input.map_or_else(|| "floats".to_owned(), StoredInput::in_full);
        bail!(
            "`{name}` is in {format} and its input in {input}; ModelOpt takes \
             {KNOWN}; all round to even; use other formats or --to mxlab"
        );
    };
    ensure!(
        is_row || cols.is_multiple_of(block),
        "`{name}` has {cols} columns; ModelOpt takes whole blocks of {block}; use another \
         block size or --to mxlab"
    );
    let piece = |suffix: &str, dtype, shape: Vec<usize>, content| {
        Piece::new(format!("{name}{suffix}"), dtype, shape, content)
    };
    let of_codes = match (is_fp8, is_int8) {
        (true, _) => Dtype::F8_E4M3,
        (_, true) => Dtype::I8,
        _ => Dtype::U8,
    };
    let shape = match (is_static, is_row) {
        (true, _) => Vec::new(),
        (false, true) => vec![rows],
        (false, false) => vec![rows, cols / block],
    };
    // Our int8 has six bits behind its binary point.
    let shift = if is_int8 { 6 } else { 0 };
    let scales = match is_static {
        true => Content::OneScale,
        false => Content::Scales { shift },
    };
    let row_bytes = format.row_code_bytes(cols);
    let mut pieces = vec![
        piece("", of_codes, vec![rows, row_bytes], Content::Codes),
        piece("_scale", of_scales, shape, scales),
    ];
    if is_nvfp4 {
        pieces.push(piece("_scale_2", Dtype::F32, Vec::new(), Content::Factor));
    }
    if let Some(stored) = stored {
        let name = format!("{}.input_scale", name.trim_end_matches(".weight"));
        pieces.push(Piece::new(
            name,
            Dtype::F32,
            Vec::new(),
            Content::Given(stored),
        ));
    }
    let mut scheme = json!({"quant_algo": algorithm});
    if matches!(algorithm, "NVFP4" | "W4A16_NVFP4" | "MXFP8") {
        scheme["group_size"] = block.into();
    }
    Ok(Layout { scheme, pieces })
}

/// `quantization_config` of config.json, and all of hf_quant_config.json.
pub fn configs(plan: &Plan) -> (Value, Value) {
    let schemes = plan.schemes();
    let producer = json!({"name": "modelopt", "version": VERSION});
    let mut details = json!({"quant_algo": "MIXED_PRECISION", "kv_cache_quant_algo": null});
    let mut config = Map::new();
    match schemes.as_slice() {
        [(scheme, _)] => {
            details["quant_algo"] = scheme["quant_algo"].clone();
            if let Some(size) = scheme.get("group_size") {
                details["group_size"] = size.clone();
            }
            // It lists the embedding, too, and sorts the names.
            let mut excluded = plan.plain_modules();
            excluded.push(outer_name(Role::Embedding).to_owned());
            excluded.sort();
            details["exclude_modules"] = json!(excluded);
            let group = group(scheme, json!(["Linear"]));
            config.extend(group.map(|group| ("config_groups".into(), json!({"group_0": group}))));
        }
        several => {
            let layers = several.iter().flat_map(|(scheme, modules)| {
                modules.iter().map(move |name| (name.clone(), scheme))
            });
            let layers: Map<String, Value> = layers
                .map(|(name, scheme)| (name, scheme.clone()))
                .collect();
            details["quantized_layers"] = layers.clone().into();
            let groups = several.iter().enumerate();
            let groups = groups.filter_map(|(index, (scheme, modules))| {
                let group = group(scheme, json!(modules))?;
                Some((format!("group_{index}"), group))
            });
            config.insert("config_groups".into(), groups.collect::<Map<_, _>>().into());
            config.insert("quantized_layers".into(), layers.into());
        }
    }
    let ignored = details.get("exclude_modules").cloned();
    config.insert("ignore".into(), ignored.unwrap_or_else(|| json!([])));
    config.insert("quant_algo".into(), details["quant_algo"].clone());
    config.insert("producer".into(), producer.clone());
    config.insert("quant_method".into(), "modelopt".into());
    let sidecar = json!({"producer": producer, "quantization": details});
    (config.into(), sidecar)
}

/// A scheme in the words of compressed-tensors, for the algorithms that ModelOpt describes so.
fn group(scheme: &Value, targets: Value) -> Option<Value> {
    let size = scheme.get("group_size");
    let arguments = |bits: u32, kind: &str| {
        let mut arguments = json!({"dynamic": false, "num_bits": bits, "type": kind});
        if let Some(size) = size {
            arguments["group_size"] = size.clone();
        }
        arguments
    };
    let is_single = targets == json!(["Linear"]);
    let mut group = match scheme["quant_algo"].as_str()? {
        "NVFP4" => {
            json!({"input_activations": arguments(4, "float"), "weights": arguments(4, "float")})
        }
        "W4A16_NVFP4" => json!({"weights": arguments(4, "float")}),
        "FP8" => {
            json!({"input_activations": arguments(8, "float"), "weights": arguments(8, "float")})
        }
        // The others have no such description unless they are mixed.
        _ if is_single => return None,
        "FP8_PER_CHANNEL_PER_TOKEN" => {
            let mut weights = arguments(8, "float");
            weights["strategy"] = "channel".into();
            json!({"input_activations": arguments(8, "float"), "weights": weights})
        }
        "W8A16" => json!({"weights": arguments(8, "int")}),
        "MXFP8" => {
            json!({"input_activations": arguments(8, "float"), "weights": arguments(8, "float")})
        }
        other => json!({"quant_algo": other}),
    };
    group["targets"] = targets;
    Some(group)
}

//! What the compressed-tensors library takes: tensors of a matrix, and the `quantization_config`.

use anyhow::{Result, bail, ensure};
use mxlab_kernels::format::{BlockFormat, ElementFormat, ScaleFormat, ScaleRule};
use safetensors::Dtype;
use serde_json::{Value, json};

use super::piece::{Content, Layout, Piece, row_words, scale_dtype};
use super::tensors::Plan;
use crate::checkpoint::encoding::{CodeKind, ScalarInput, StoredInput, rounds_as_packages};

/// The formats of weights that the library has, for messages.
const KNOWN: &str = "fp4_e2m1 with ue4m3 and blocks of 16; fp4_e2m1, fp6_e2m3 or fp8_e4m3 with \
    e8m0 and blocks of 32; fp8_e4m3, int8, int4, int3 or int2 with fp32, bf16 or fp16";

/// How elements are scaled.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Scaling {
    /// E8M0 for 32 elements.
    Mx,
    /// UE4M3 for 16 elements, and a divisor of all.
    Nvfp4,
    /// A float for a group or a row.
    Float,
}

impl Scaling {
    fn of(format: &BlockFormat) -> Option<Self> {
        match (format.scale(), format.block_size()) {
            (ScaleFormat::UE4M3, 16) => Some(Self::Nvfp4),
            _ if format.has_tensor_scale() => None,
            (ScaleFormat::E8M0, 32) => Some(Self::Mx),
            (ScaleFormat::Fp32 | ScaleFormat::Bf16 | ScaleFormat::Fp16, _) => Some(Self::Float),
            _ => None,
        }
    }
}

/// The library's formats.
const FORMATS: [(ElementFormat, Scaling, &str); 9] = [
    (
        ElementFormat::FP4_E2M1,
        Scaling::Nvfp4,
        "nvfp4-pack-quantized",
    ),
    (ElementFormat::FP4_E2M1, Scaling::Mx, "mxfp4-pack-quantized"),
    (ElementFormat::FP6_E2M3, Scaling::Mx, "mxfp6-pack-quantized"),
    (ElementFormat::FP8_E4M3, Scaling::Mx, "mxfp8-quantized"),
    (ElementFormat::FP8_E4M3, Scaling::Float, "float-quantized"),
    (ElementFormat::INT8, Scaling::Float, "pack-quantized"),
    (ElementFormat::INT4, Scaling::Float, "pack-quantized"),
    (ElementFormat::INT3, Scaling::Float, "pack-quantized"),
    (ElementFormat::INT2, Scaling::Float, "pack-quantized"),
];

/// The tensors of the matrix `name` `[rows, cols]` in `format`; `input` is how its input is
/// quantised.
///
/// # Errors
/// A format or an input that the library does not have.
pub fn layout(
    name: &str,
    format: &BlockFormat,
    [rows, cols]: [usize; 2],
    input: Option<&StoredInput>,
) -> Result<Layout> {
    let (element, scale, block) = (format.element(), format.scale(), format.block_size());
    let scaling = Scaling::of(format);
    let is_mx = scaling == Some(Scaling::Mx);
    let is_nvfp4 = scaling == Some(Scaling::Nvfp4);
    let bits = element.bits();
    let is_int = is_integer(element);
    let is_row = block >= cols && scaling == Some(Scaling::Float);
    let mut known = FORMATS.iter();
    let known = known.find(|(own, of, _)| *own == element && Some(*of) == scaling);
    let library = known.map(|(_, _, name)| match element == ElementFormat::INT8 {
        true if input.is_some() => "int-quantized",
        _ => *name,
    });
    let (Some(library), Some(of_scales)) = (library, scale_dtype(scale)) else {
        bail!(
            "`{name}` is in {format}; compressed-tensors takes {KNOWN}; use another \
             format or --to mxlab"
        );
    };
    ensure!(
        is_row || cols.is_multiple_of(block),
        "`{name}` has {cols} columns; compressed-tensors takes whole blocks of {block}; \
         use another block size or --to mxlab"
    );
    let groups = format.blocks_per_row(cols);
    let piece = |suffix: &str, dtype, shape: Vec<usize>, content| {
        Piece::new(format!("{name}{suffix}"), dtype, shape, content)
    };
    let row_bytes = format.row_code_bytes(cols);
    let mut pieces = match library {
        "pack-quantized" => vec![
            piece(
                "_packed",
                Dtype::I32,
                vec![rows, row_words(element.layout(), cols)],
                Content::Words,
            ),
            piece("_shape", Dtype::I64, vec![2], Content::Shape),
        ],
        "int-quantized" => vec![piece("", Dtype::I8, vec![rows, cols], Content::Codes)],
        "float-quantized" | "mxfp8-quantized" => {
            vec![piece("", Dtype::F8_E4M3, vec![rows, cols], Content::Codes)]
        }
        _ => vec![piece(
            "_packed",
            Dtype::U8,
            vec![rows, row_bytes],
            Content::Codes,
        )],
    };
    // The binary point of our integers is behind their first two bits.
    let shift = if is_int { bits - 2 } else { 0 };
    let content = Content::Scales { shift };
    pieces.push(piece("_scale", of_scales, vec![rows, groups], content));
    if is_nvfp4 {
        pieces.push(piece(
            "_global_scale",
            Dtype::F32,
            vec![1],
            Content::Divisor,
        ));
    }
    let strategy = match (is_nvfp4, is_row) {
        (true, _) => "tensor_group",
        (false, true) => "channel",
        (false, false) => "group",
    };
    let mut weights = json!({
        "num_bits": bits,
        "type": if is_int { "int" } else { "float" },
        "symmetric": true,
        "group_size": (!is_row).then_some(block),
        "strategy": strategy,
        "dynamic": false,
    });
    if is_mx || is_nvfp4 {
        weights["scale_dtype"] = scale_type(is_mx).into();
    }
    let input = input.map(|input| of_input(name, input, cols)).transpose()?;
    let (input, stored) = input.unwrap_or((Value::Null, None));
    pieces.extend(stored);
    Ok(Layout {
        scheme: json!({
            "weights": weights,
            "input_activations": input,
            "output_activations": null,
            "format": library,
        }),
        pieces,
    })
}

fn is_integer(element: ElementFormat) -> bool {
    let mut formats = FORMATS.iter();
    formats.any(|(own, _, name)| *own == element && *name == "pack-quantized")
}

const fn scale_type(is_mx: bool) -> &'static str {
    match is_mx {
        true => "torch.uint8",
        false => "torch.float8_e4m3fn",
    }
}

/// What the configuration says about the input of the matrix `name`, and the tensor with its scale.
fn of_input(name: &str, input: &StoredInput, features: usize) -> Result<(Value, Option<Piece>)> {
    let known = |rule: ScaleRule, format: &BlockFormat| {
        let mx = BlockFormat::new(format.element()).scale(ScaleFormat::E8M0);
        mx.block_size(32)
            .rule(rule)
            .build()
            .is_ok_and(|mx| mx == *format)
    };
    let floats = |bits: u32, strategy: &str, group: Option<usize>, dynamic: Value| {
        json!({
            "num_bits": bits, "type": "float", "symmetric": true, "group_size": group,
            "strategy": strategy, "dynamic": dynamic,
        })
    };
    let module = name.trim_end_matches(".weight");
    let stored = |part: &str, scale: f32| {
        let name = format!("{module}.{part}");
        Piece::new(name, Dtype::F32, vec![1], Content::Given(scale))
    };
    match *input {
        StoredInput::Block(format, Some(scale))
            if format.element() == ElementFormat::FP4_E2M1
                && format.scale() == ScaleFormat::UE4M3
                && format.block_size() == 16 =>
        {
            let mut input = floats(4, "tensor_group", Some(16), json!("local"));
            input["scale_dtype"] = scale_type(false).into();
            let divisor = super::piece::reciprocal(scale);
            Ok((input, Some(stored("input_global_scale", divisor))))
        }
        StoredInput::Block(format, None)
            if format.element() == ElementFormat::FP4_E2M1 && known(ScaleRule::Even, &format)
                || format.element() == ElementFormat::FP8_E4M3
                    && known(ScaleRule::Rceil, &format) =>
        {
            let bits = format.element().bits();
            let mut input = floats(bits, "group", Some(32), json!(true));
            input["scale_dtype"] = scale_type(true).into();
            Ok((input, None))
        }
        StoredInput::Block(format, None)
            if format.element() == ElementFormat::FP8_E4M3
                && format.scale() == ScaleFormat::Fp32
                && rounds_as_packages(&format) =>
        {
            let group = format.block_size();
            let input = match group >= features {
                true => floats(8, "token", None, json!(true)),
                false => floats(8, "group", Some(group), json!(true)),
            };
            Ok((input, None))
        }
        StoredInput::Scalar(ScalarInput {
            kind,
            group,
            scale,
            is_symmetric,
        }) => {
            let (bits, kind) = match kind {
                CodeKind::Float(element) => (element.bits(), "float"),
                CodeKind::Int(bits) => (bits, "int"),
            };
            let (strategy, group) = match (scale, group >= features) {
                (Some(_), _) => ("tensor", None),
                (None, true) => ("token", None),
                (None, false) => ("group", Some(group)),
            };
            let input = json!({
                "num_bits": bits, "type": kind, "symmetric": is_symmetric, "group_size": group,
                "strategy": strategy, "dynamic": scale.is_none(),
            });
            Ok((input, scale.map(|scale| stored("input_scale", scale))))
        }
        StoredInput::Block(..) => bail!(
            "the input of `{name}` is in {}; compressed-tensors takes fp4_e2m1 with e8m0, blocks \
             of 32 and the rule {}, fp8_e4m3 with e8m0, blocks of 32 and the rule {}, fp8_e4m3 \
             with fp32, and NVFP4 with a stored scale of the tensor; all round to even",
            input.in_full(),
            ScaleRule::Even,
            ScaleRule::Rceil,
        ),
    }
}

/// The groups of modules with their schemes; all other linear modules are ignored.
pub fn quantization_config(plan: &Plan) -> Value {
    let schemes = plan.schemes();
    let mut groups = serde_json::Map::new();
    let mut formats: Vec<&Value> = Vec::new();
    for (index, (scheme, modules)) in schemes.iter().enumerate() {
        let mut group = scheme.clone();
        group["targets"] = match schemes.len() {
            1 => json!(["Linear"]),
            _ => json!(modules),
        };
        groups.insert(format!("group_{index}"), group);
        let format = &scheme["format"];
        if !formats.contains(&format) {
            formats.push(format);
        }
    }
    let format = match formats.as_slice() {
        [one] => (*one).clone(),
        _ => json!("mixed-precision"),
    };
    json!({
        "quant_method": "compressed-tensors",
        "format": format,
        "quantization_status": "compressed",
        "config_groups": groups,
        "ignore": plan.plain_modules(),
        "kv_cache_scheme": null,
        "global_compression_ratio": null,
    })
}

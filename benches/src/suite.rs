//! The targets of a bench. By default these are the operations of models, in their usual formats.

use crate::cpu::{BlockOperation, BlockTarget, IntegerTarget, ProductTarget};
use crate::gpu::{Gpu, KernelTarget, VendorTarget};
use crate::target::Target;
use crate::{BenchError, Case};
use mxlab_kernels::cpu::{IntegerPath, Isa, Path};
use mxlab_kernels::family::attention::{AttentionRegime, AttentionVariant};
use mxlab_kernels::family::matmul::{MatmulOutput, MatmulVariant};
use mxlab_kernels::format::{
    BlockFormat, Dialect, ElementFormat, Rounding, ScaleFormat, ScaleRule,
};
use mxlab_kernels::fragment::{FragmentFormat, OperandType, WeightFormat};
use mxlab_kernels::kernel::{Kernel, LaunchError};
use mxlab_kernels::registry::{Entry, EntryError, Shape, kernels};
use serde::Serialize;
use std::collections::BTreeMap;
use std::rc::Rc;

/// Rows and columns of weights on the CPU, of Llama 3.2 1B, and the tokens that they are multiplied
/// by.
const CPU_WEIGHTS: [[usize; 2]; 1] = [[8192, 2048]];
const CPU_TOKENS: [usize; 3] = [1, 16, 512];
/// Rows and columns of weights: of Llama 3.2 1B, 3.1 8B and 70B.
pub const WEIGHTS: [[usize; 2]; 5] = [
    [2048, 2048],
    [8192, 2048],
    [4096, 4096],
    [14336, 4096],
    [8192, 8192],
];
/// Tokens that they are multiplied by.
pub const TOKENS: [usize; 4] = [1, 16, 64, 4096];
/// Heads of keys and values, of Llama 3.
const KV_HEADS: usize = 8;
/// Positions of a cache.
pub const POSITIONS: [usize; 3] = [2048, 8192, 32768];
/// Matrices that are quantised: of 64 MiB in f32, and one that a core's L2 holds.
pub const TENSORS: [[usize; 2]; 2] = [[16384, 1024], [64, 1024]];

/// The requested shapes and kernels; an empty field means the default.
#[derive(Clone, Debug, Default)]
pub struct Selection {
    /// Kernels by name.
    pub kernels: Vec<glob::Pattern>,
    /// Families, of what the rest of this selects.
    pub families: Vec<String>,
    /// Rows and columns.
    pub shapes: Vec<[usize; 2]>,
    /// Tokens.
    pub tokens: Vec<usize>,
    /// Seed of what is in tensors.
    pub seed: u64,
    /// The model whose generation peers time, in place of kernels.
    pub model: Option<Generation>,
}

/// Generation with a model: a prompt, and tokens after it, one by one.
#[derive(Clone, Debug, Serialize)]
pub struct Generation {
    /// The model, as it was given.
    #[serde(rename = "path")]
    pub model: String,
    /// Tokens of the prompt.
    pub prompt: usize,
    /// Tokens after it.
    pub decode: usize,
}

impl Selection {
    fn has(&self, kernel: &str) -> bool {
        self.kernels.iter().any(|pattern| pattern.matches(kernel))
    }

    /// Whether a case is of a requested family.
    pub fn has_family(&self, case: &Case) -> bool {
        self.families.is_empty() || self.families.contains(&case.family)
    }

    fn shapes_or<'s>(&'s self, usual: &'s [[usize; 2]]) -> &'s [[usize; 2]] {
        match self.shapes.is_empty() {
            true => usual,
            false => &self.shapes,
        }
    }

    fn tokens_or<'s>(&'s self, usual: &'s [usize]) -> &'s [usize] {
        match self.tokens.is_empty() {
            true => usual,
            false => &self.tokens,
        }
    }
}

fn built(builder: mxlab_kernels::format::BlockFormatBuilder) -> BlockFormat {
    builder.build().expect("the parts fit together")
}

/// Every element under E8M0; and scales, roundings and dialects under E2M1.
fn block_formats() -> Vec<BlockFormat> {
    let fp4 = BlockFormat::new(ElementFormat::FP4_E2M1);
    let elements = ElementFormat::ALL.iter();
    let elements = elements.map(|&element| BlockFormat::new(element));
    let others = [
        fp4.block_size(16),
        fp4.scale(ScaleFormat::UE5M3).block_size(16),
        BlockFormat::NVFP4.to_builder(),
        BlockFormat::NVFP4.to_builder().rule(ScaleRule::FourOverSix),
        fp4.dialect(Dialect::MicroxcalingCuda),
        fp4.dialect(Dialect::MicroxcalingTorch),
        fp4.dialect(Dialect::Nvidia),
        fp4.rounding(Rounding::Stochastic { seed: 1 }),
    ];
    elements.chain(others).map(built).collect()
}

/// Formats of the named configurations' tensors.
fn model_formats() -> [BlockFormat; 5] {
    let fp4 = BlockFormat::new(ElementFormat::FP4_E2M1);
    [
        built(fp4),
        built(fp4.scale(ScaleFormat::UE5M3).block_size(16)),
        BlockFormat::NVFP4,
        built(BlockFormat::new(ElementFormat::FP6_E2M3)),
        built(BlockFormat::new(ElementFormat::FP8_E4M3)),
    ]
}

/// Formats of activations and weights, both integers.
fn integer_formats() -> [[BlockFormat; 2]; 5] {
    let [fp4, fp6, int8] = [
        ElementFormat::FP4_E2M1,
        ElementFormat::FP6_E2M3,
        ElementFormat::INT8,
    ]
    .map(|element| built(BlockFormat::new(element)));
    [
        [fp4, fp4],
        [fp6, fp4],
        [fp6, fp6],
        [int8, int8],
        [BlockFormat::NVFP4; 2],
    ]
}

/// The SIMD kernels of a bench.
#[derive(Default)]
pub struct CpuSuite {
    /// Those to be timed.
    pub targets: Vec<Box<dyn Target>>,
    /// Number of requested ones that are not, by the path that is slower than the one selected.
    pub left_out: BTreeMap<&'static str, usize>,
}

impl CpuSuite {
    /// Adds a target that goes a path, if it is requested: each path in the usual selection, the
    /// fastest ones of those that a pattern matches, and slower ones if the pattern names them.
    fn offer(
        &mut self,
        selection: &Selection,
        target: impl Target + 'static,
        path: &'static str,
        is_fastest: bool,
    ) {
        let case = target.case();
        let mut patterns = selection.kernels.iter();
        let is_requested = patterns
            .clone()
            .any(|pattern| pattern.matches(&case.kernel));
        // Roundings and dialects of one format are packed by kernels of their own, and unpacked by
        // the same.
        let mut others = self.targets.iter();
        if !(selection.kernels.is_empty() || is_requested)
            || others.any(|other| other.case().is_like(case))
        {
            return;
        }
        let is_named =
            |pattern: &glob::Pattern| pattern.matches(&case.kernel) && names_path(pattern.as_str());
        if is_fastest || patterns.any(is_named) {
            self.targets.push(Box::new(target));
        } else if selection.has_family(case) {
            *self.left_out.entry(path).or_default() += 1;
        }
    }

    /// What was left out, in a line; `None` if nothing was.
    pub fn note(&self) -> Option<String> {
        let paths = self.left_out.iter();
        let paths: Vec<String> = paths
            .map(|(path, count)| format!("{count} {path}"))
            .collect();
        let path = self.left_out.keys().next()?;
        Some(format!(
            "left out kernels of slower paths: {}; name the path to time them, such as \
             `*__{}`",
            paths.join(", "),
            path.replace('-', "_")
        ))
    }
}

/// Whether the part of a pattern behind `__`, the path, has no wildcard.
fn names_path(pattern: &str) -> bool {
    let path = pattern.rsplit_once("__").map(|(_, path)| path);
    path.is_some_and(|path| !path.is_empty() && !path.contains(['*', '?', '[']))
}

/// The SIMD kernels: the requested ones in every format, or those of models; on the path that this
/// process selects. Slower paths are timed where a pattern names them: `cpu_matmul_*__portable`.
pub fn cpu(selection: &Selection) -> CpuSuite {
    let is_usual = selection.kernels.is_empty();
    let (formats, isas) = match is_usual {
        true => (model_formats().to_vec(), vec![Isa::best()]),
        false => (block_formats(), Isa::available()),
    };
    let mut suite = CpuSuite::default();
    let usual = if is_usual { &TENSORS[..1] } else { &TENSORS };
    for &shape in selection.shapes_or(usual) {
        for operation in BlockOperation::ALL {
            for &format in &formats {
                for &isa in &isas {
                    let target = BlockTarget::new(operation, format, isa, shape);
                    suite.offer(selection, target, isa.name(), isa == Isa::best());
                }
            }
        }
    }
    let mut paths = match is_usual {
        true => vec![Path::best()],
        false => Path::available(),
    };
    paths.extend(Path::Amx.is_available().then_some(Path::Amx));
    for &shape in selection.shapes_or(&CPU_WEIGHTS) {
        for &tokens in selection.tokens_or(&CPU_TOKENS) {
            for &format in &formats {
                for &path in &paths {
                    let target = ProductTarget::new(format, path, shape, tokens);
                    let is_fastest = path == Path::best() || path == Path::Amx;
                    suite.offer(selection, target, path.name(), is_fastest);
                }
            }
        }
    }
    let paths = match is_usual {
        true => vec![IntegerPath::best()],
        false => IntegerPath::available(),
    };
    for &shape in selection.shapes_or(&CPU_WEIGHTS) {
        for &tokens in selection.tokens_or(&CPU_TOKENS) {
            for formats in integer_formats() {
                for &path in &paths {
                    let target = IntegerTarget::new(formats, path, shape, tokens);
                    suite.offer(selection, target, path.name(), path == IntegerPath::best());
                }
            }
        }
    }
    suite
}

/// The kernels of the registry: the requested ones, on the requested shapes or their own; or those
/// of models, with cuBLAS beside the products if it is installed.
///
/// # Errors
/// If cuBLAS is installed but does not work, or a kernel cannot be built.
pub fn gpu(gpu: &Rc<Gpu>, selection: &Selection) -> Result<Vec<Box<dyn Target>>, BenchError> {
    if !selection.kernels.is_empty() {
        let named = kernels().filter(|entry| selection.has(&entry.id()));
        return Ok(named
            .flat_map(|entry| on_shapes(gpu, entry.into(), selection))
            .collect());
    }
    let mut targets = products(gpu, selection)?;
    for positions in POSITIONS {
        for entry in attentions()? {
            let shape = Shape {
                rows: KV_HEADS * positions,
                ..entry.shape()
            };
            targets.push(target(gpu, Rc::new(entry), shape, selection));
        }
    }
    let is_usual = |entry: &dyn Entry| {
        let id = entry.id();
        entry.runs_on(gpu.properties().sm) && ROWS.iter().any(|start| id.starts_with(start))
    };
    for entry in kernels().filter(|entry| is_usual(&**entry)) {
        let shape = entry.shape();
        targets.push(target(gpu, entry.into(), shape, selection));
    }
    Ok(targets)
}

/// The beginnings of ids of model kernels other than products and attention.
const ROWS: [&str; 16] = [
    "quantize_fp4_e2m1_e8m0_floor_even_ocp_bf16_k32_aligned",
    "quantize_fp4_e2m1_ue5m3_nearest_even_ocp_bf16_k16_aligned",
    "quantize_fp4_e2m1_ue4m3_tensor_nearest_even_ocp_bf16_k16_aligned",
    "quantize_fp6_e2m3_e8m0_floor_even_ocp_bf16_k32_aligned",
    "quantize_fp8_e4m3_e8m0_floor_even_ocp_bf16_k32_aligned",
    "dequantize_fp4_e2m1_e8m0_bf16_k32_aligned",
    "dequantize_fp8_e4m3_e8m0_bf16_k32_aligned",
    "norm_bf16",
    "norm_fp6_e2m3_e8m0_floor_even_ocp_bf16_k32",
    "swiglu_bf16",
    "swiglu_fp6_e2m3_e8m0_floor_even_ocp_bf16_k32",
    "append_queries_bf16",
    "append_rotated_fp4_e2m1_e8m0_floor_even_ocp_bf16_k32",
    "embed",
    "log_probs",
    "sample",
];

fn target(
    gpu: &Rc<Gpu>,
    entry: Rc<dyn Entry>,
    shape: Shape,
    selection: &Selection,
) -> Box<dyn Target> {
    Box::new(KernelTarget::new(gpu.clone(), entry, shape, selection.seed))
}

/// A kernel on the requested shapes.
fn on_shapes(gpu: &Rc<Gpu>, entry: Rc<dyn Entry>, selection: &Selection) -> Vec<Box<dyn Target>> {
    let own = entry.shape();
    let mut targets = Vec::new();
    for &[rows, cols] in selection.shapes_or(&[[own.rows, own.cols]]) {
        let tokens = selection.tokens.iter().map(|&tokens| Some(tokens));
        let mut tokens: Vec<Option<usize>> = tokens.collect();
        if tokens.is_empty() {
            tokens.push(own.tokens);
        }
        for tokens in tokens {
            let shape = Shape { rows, cols, tokens };
            targets.push(target(gpu, entry.clone(), shape, selection));
        }
    }
    targets
}

/// Products with weights of models in every regime, with bf16 weights and by cuBLAS beside them.
fn products(gpu: &Rc<Gpu>, selection: &Selection) -> Result<Vec<Box<dyn Target>>, BenchError> {
    let int4 = BlockFormat::new(ElementFormat::INT4).scale(ScaleFormat::Fp16);
    let nf4 = BlockFormat::new(ElementFormat::NF4).scale(ScaleFormat::Fp32);
    let others = [
        built(BlockFormat::new(ElementFormat::INT8)),
        built(int4.block_size(128)),
        built(nf4.block_size(64)),
    ];
    let packed = model_formats().into_iter().chain(others);
    let packed = packed.map(|format| FragmentFormat::new(&format).map(WeightFormat::Packed));
    let packed: Vec<WeightFormat> = packed.collect::<Result<_, _>>().map_err(EntryError::from)?;
    // Both sides in 8 bits.
    let bytes = [
        (
            BlockFormat::new(ElementFormat::INT8).block_size(64),
            OperandType::S8,
        ),
        (int4.block_size(128), OperandType::S8),
        (BlockFormat::new(ElementFormat::FP8_E4M3), OperandType::E4m3),
        (BlockFormat::new(ElementFormat::FP4_E2M1), OperandType::E4m3),
    ];
    let bytes = bytes.map(|(format, operand)| {
        FragmentFormat::of_operand(&built(format), operand).map(WeightFormat::Packed)
    });
    let bytes: Vec<WeightFormat> = bytes
        .into_iter()
        .collect::<Result<_, _>>()
        .map_err(EntryError::from)?;
    let has_vendor = VendorTarget::is_there(gpu)?;
    let mut targets: Vec<Box<dyn Target>> = Vec::new();
    for &[rows, cols] in selection.shapes_or(&WEIGHTS) {
        for &tokens in selection.tokens_or(&TOKENS) {
            if has_vendor {
                let vendor = VendorTarget::new(gpu.clone(), [rows, cols, tokens]);
                targets.push(Box::new(vendor));
            }
            let dense = std::iter::once(&WeightFormat::Dense);
            for &weights in dense.chain(&packed).chain(&bytes) {
                let max_shared = gpu.properties().max_shared;
                let entry =
                    MatmulVariant::for_tokens(weights, tokens, MatmulOutput::Bf16, max_shared);
                let shape = Shape {
                    rows,
                    cols,
                    tokens: Some(tokens),
                };
                if !entry.runs_on(gpu.properties().sm) {
                    continue;
                }
                targets.push(target(gpu, Rc::new(entry), shape, selection));
            }
        }
    }
    Ok(targets)
}

/// Attention of a step over caches in bf16 and packed, with heads of 128 features.
fn attentions() -> Result<Vec<AttentionVariant>, BenchError> {
    let fp4 = BlockFormat::new(ElementFormat::FP4_E2M1);
    let formats = [
        None,
        Some(built(fp4)),
        Some(built(fp4.scale(ScaleFormat::UE5M3).block_size(16))),
        Some(built(BlockFormat::new(ElementFormat::FP8_E4M3))),
        Some(built(BlockFormat::new(ElementFormat::INT8))),
    ];
    let variant = |format: &Option<BlockFormat>| {
        AttentionVariant::new([format.as_ref(); 2], 128, AttentionRegime::Decode)
    };
    let variants: Result<_, _> = formats.iter().map(variant).collect();
    variants.map_err(|error| BenchError::Launch(LaunchError::from(error)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn selected(kernels: &[&str]) -> CpuSuite {
        let patterns = kernels.iter().map(|kernel| glob::Pattern::new(kernel));
        cpu(&Selection {
            kernels: patterns
                .map(|pattern| pattern.expect("a pattern"))
                .collect(),
            shapes: vec![[64, 64]],
            tokens: vec![1],
            ..Selection::default()
        })
    }

    #[test]
    fn slower_paths_are_timed_where_they_are_named() {
        let ends = |suite: &CpuSuite, path: &str| {
            let mut targets = suite.targets.iter();
            targets.any(|target| target.case().kernel.ends_with(path))
        };
        let all = selected(&["*"]);
        assert!(ends(&all, Isa::best().name()));
        assert_eq!(ends(&all, "__portable"), Isa::best() == Isa::Portable);
        let named = selected(&["cpu_matmul_*__portable"]);
        assert!(ends(&named, "__portable") && named.note().is_none());
        if Isa::best() != Isa::Portable {
            let left_out = all.left_out["portable"];
            assert!(left_out > named.targets.len(), "{left_out}");
            let note = all.note().expect("a line");
            assert!(note.contains(&format!("{left_out} portable")), "{note}");
            // A wildcard in the path names none.
            assert!(!ends(&selected(&["cpu_matmul_*__port*"]), "__portable"));
        }
        // What a family leaves out was not asked for.
        let usual = Selection {
            families: vec!["matmul".to_owned()],
            ..Selection::default()
        };
        assert!(cpu(&usual).left_out.is_empty());
    }

    #[test]
    fn every_kernel_of_the_suite_is_there() {
        let ids: Vec<String> = kernels().map(|entry| entry.id().into()).collect();
        for start in ROWS {
            assert!(ids.iter().any(|id| id.starts_with(start)), "{start}");
        }
    }
}

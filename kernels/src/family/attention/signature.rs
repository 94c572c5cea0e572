//! Operands, launch geometry, text and cost of attention.

use super::context::AttentionContext;
use super::shaped::Last;
use super::{AttentionRegime, AttentionVariant, name};
use crate::family::macros::render_kernel;
use crate::fragment::cache::{CacheFormat, RUN};
use crate::kernel::{ElementType, Extent, Kernel, KernelId, Shape, Signature, rows, size};
use mxlab_harness::assemble::Target;

impl Kernel for AttentionVariant {
    fn id(&self) -> KernelId {
        let [keys, values] = [&self.keys, &self.values].map(name);
        let heads = format!("h{}", self.max_head_dim());
        let form = self.form.name();
        let first = if self.keeps_first { "first" } else { "" };
        let words = [
            "attention",
            self.regime.name(),
            &heads,
            form,
            first,
            &keys,
            &values,
        ];
        KernelId::new(words, Target::new(80))
    }

    fn family(&self) -> &'static str {
        "attention"
    }

    fn signature(&self) -> Signature {
        let heads = size("kv_heads") * size("group");
        let features = heads.clone() * size("head_dim");
        let padded = heads * size("head_dim").next_multiple_of(RUN);
        let groups = (size("longest") * size("group")).div_ceil(self.block_rows());
        let decodes = self.regime == AttentionRegime::Decode;
        let sequences = match decodes {
            true => size("sequence_count") * size("splits"),
            false => size("sequence_count"),
        };
        let cache_rows = size("slots") * size("kv_heads") * size("capacity");
        let dst = rows(size("tokens"), size("dst_stride"), features.clone());
        let grid = [groups.clone(), size("kv_heads"), sequences];
        let signature = Signature::new(self.id(), self.block_threads(), grid)
            .dynamic_shared(self.shared_bytes())
            .numbers(cache_rows.clone())
            .output("dst", ElementType::Bf16, dst)
            .aligned(4)
            .input("src", ElementType::Bf16, size("tokens") * padded)
            .aligned(16);
        let signature = of_cache(signature, ["keys", "key_scales"], self.keys, &cache_rows);
        let signature = of_cache(
            signature,
            ["values", "value_scales"],
            self.values,
            &cache_rows,
        );
        let sides = self.sides().into_iter();
        let signature = sides
            .filter_map(|side| side.exact)
            .fold(signature, |of, name| {
                let rows = CacheFormat::exact_rows("kv_heads");
                of.input(name, ElementType::Bf16, rows).aligned(16)
            });
        let signature = signature
            .input("sequences", ElementType::U32, size("sequence_count") * 4)
            .aligned(16);
        let signature = match decodes {
            true => {
                let blocks = groups * (size("kv_heads") * size("sequence_count"));
                let sums = blocks.clone() * size("splits") * (self.partial_bytes() / 4);
                signature
                    .scratch("workspace", ElementType::F32, sums)
                    .aligned(16)
                    .shared_by("splits")
                    .in_out("arrivals", ElementType::U32, blocks)
                    .shared_by("splits")
            }
            false => signature,
        };
        let signature = signature
            // A score of -infinity stands for a key that is not seen.
            .number("score_factor", f32::from_bits(1)..=f32::MAX)
            .number("value_factor", f32::from_bits(1)..=f32::MAX);
        let signature = match self.form.has_cap() {
            true => ["scale_factor", "cap", "cap_inverse"]
                .into_iter()
                .fold(signature, |signature, name| {
                    signature.number(name, f32::from_bits(1)..=f32::MAX)
                }),
            false => signature,
        };
        let signature = signature
            .size("kv_heads")
            .size("group")
            .size("head_dim")
            .bounded("head_dim", 2.into(), Some(self.max_head_dim()), 2)
            .size("capacity")
            .stride("dst_stride", features, 2)
            .bounded("tokens", size("longest"), None, 1);
        let signature = match self.form.has_window() {
            true => signature
                .size("window")
                .bounded("window", 1.into(), None, 1),
            false => signature,
        };
        let signature = match self.keeps_first {
            true => signature.size("exact").bounded("exact", 1.into(), None, 1),
            false => signature,
        };
        match decodes {
            true => signature
                .size("splits")
                .bounded("splits", 1.into(), None, 1),
            false => signature,
        }
    }

    fn ptx(&self) -> String {
        let template = match self.regime {
            AttentionRegime::Decode => "attention/decode.ptx.j2",
            AttentionRegime::Prefill => "attention/prefill.ptx.j2",
        };
        render_kernel(template, &self.signature(), &AttentionContext::new(self))
    }

    /// 32768 positions of 8 key heads.
    fn shape(&self) -> Shape {
        Shape {
            rows: 8 * 32768,
            cols: self.max_head_dim(),
            tokens: None,
        }
    }

    fn axes(&self) -> [&'static str; 2] {
        ["positions of key heads", "features"]
    }

    /// Keys and values once each: of `rows` positions of heads of `cols` features.
    fn bytes(&self, shape: Shape) -> u64 {
        let [keys, values] = self.sides().map(|side| {
            side.format.row_bytes(shape.cols) + side.format.row_scale_bytes(shape.cols)
        });
        (shape.rows * (keys + values)) as u64
    }

    /// Products of queries with the keys that they see, and of weights with values.
    fn operations(&self, shape: Shape) -> u64 {
        let pairs = Last::of(self, shape).map_or(0, |last| last.pairs());
        4 * shape.cols as u64 * pairs
    }

    fn elements_per_pass(&self, shape: Shape) -> Option<f64> {
        let last = Last::of(self, shape).ok()?;
        // Of a step each lane has as many as any, of keys alone.
        let step = (self.step_keys() * shape.cols) as f64 / 32.0;
        let warps = match self.regime() {
            AttentionRegime::Decode => 1.0,
            // They share a step.
            AttentionRegime::Prefill => (self.block_threads() / 32) as f64,
        };
        Some(step / warps / last.times_read(self))
    }
}

/// Keys or values and their scales, of so many rows of a cache.
fn of_cache(
    signature: Signature,
    [codes, scales]: [&'static str; 2],
    format: CacheFormat,
    cache_rows: &Extent,
) -> Signature {
    let signature = signature
        .input(
            codes,
            format.stored(),
            cache_rows.clone() * format.row_extent(),
        )
        .aligned(16);
    match format {
        CacheFormat::Dense => signature.null(scales),
        CacheFormat::Packed { scale, .. } => {
            let row = format.row_scale_extent();
            signature
                .input(scales, ElementType::U8, cache_rows.clone() * row)
                .aligned(scale.storage_bytes())
        }
    }
}

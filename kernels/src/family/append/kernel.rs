//! What the harness knows of a kernel: its name, parameters, text and costs.

use super::{AppendContext, AppendVariant, HeadKind, StoredTerm};
use crate::family::block::Context;
use crate::family::macros::render_kernel;
use crate::family::macros::rotated::RotatedBlocks;
use crate::format::Grid;
use crate::fragment::bits::StoredBits;
use crate::fragment::cache::{CacheFormat, RUN};
use crate::kernel::{ElementType, Kernel, KernelId, Signature, rows, size};
use crate::registry::Shape;
use mxlab_harness::assemble::Target;
use std::fmt;

impl Kernel for AppendVariant {
    fn id(&self) -> KernelId {
        let kind = match (self.kind, self.is_partial) {
            (HeadKind::Keys, false) => "append_rotated",
            (HeadKind::Keys, true) => "append_part_rotated",
            (HeadKind::Values, _) => "append",
            (HeadKind::Queries, false) => "append_queries",
            (HeadKind::Queries, true) => "append_part_queries",
        };
        let mixed = self.mixed.map_or_else(String::new, RotatedBlocks::word);
        match &self.quantizer {
            None => KernelId::new([kind, &mixed, "bf16"], Target::new(80)),
            Some(quantizer) => {
                let first = if self.keeps_first { "first" } else { "" };
                let fake = if self.is_fake { "fake" } else { "" };
                let words = [kind, &mixed, first, fake, &quantizer.words()];
                KernelId::new(words, quantizer.target())
            }
        }
    }

    fn family(&self) -> &'static str {
        "append"
    }

    fn signature(&self) -> Signature {
        let heads = size("tokens") * size("heads");
        let head_step = self.head_step();
        let threads = heads.clone() * (size("head_dim").div_ceil(head_step) * (head_step / 8));
        let grid = [threads.clone().div_ceil(256), 1.into(), 1.into()];
        let (written, has_cache) = match self.kind {
            HeadKind::Queries => (heads, false),
            HeadKind::Keys | HeadKind::Values => {
                (size("slots") * size("heads") * size("capacity"), true)
            }
        };
        let cache = self.cache();
        let signature = Signature::new(self.id(), 256, grid)
            .numbers(threads)
            .output("dst", cache.stored(), written.clone() * cache.row_extent())
            .aligned(16);
        let signature = match cache {
            CacheFormat::Dense => signature,
            CacheFormat::Packed { scale, .. } => signature
                .output(
                    "dst_scales",
                    ElementType::U8,
                    written * cache.row_scale_extent(),
                )
                .aligned(scale.storage_bytes()),
        };
        let signature = match self.has_exact_rows() {
            true => signature
                .output(
                    "dst_exact",
                    ElementType::Bf16,
                    CacheFormat::exact_rows("heads"),
                )
                .aligned(16),
            false => signature,
        };
        let features = size("heads") * size("head_dim");
        let src = rows(size("tokens"), size("src_stride"), features.clone());
        let signature = signature.input("src", ElementType::Bf16, src);
        let signature = match self.rotates() {
            true => {
                let turned = if self.is_partial {
                    "rotary"
                } else {
                    "head_dim"
                };
                let half = || size(turned).div_ceil(2);
                let signature = signature
                    .input("cos", ElementType::F32, half())
                    .input("sin", ElementType::F32, half())
                    .bounded("head_dim", 2.into(), None, 2);
                match self.is_partial {
                    true => signature.bounded("rotary", 0.into(), None, 2).bounded(
                        "head_dim",
                        size("rotary"),
                        None,
                        1,
                    ),
                    false => signature,
                }
            }
            false => signature.bounded("head_dim", 1.into(), None, 1),
        };
        let signature = signature.input("positions", ElementType::U32, size("tokens"));
        let signature = match has_cache {
            true => signature.input("slot_of", ElementType::U32, size("tokens")),
            false => signature,
        };
        let signature = signature
            .size("tokens")
            .size("heads")
            .size("head_dim")
            .stride("src_stride", features, 1);
        let signature = match self.is_partial {
            true => signature.size("rotary"),
            false => signature,
        };
        let signature = match has_cache {
            true => signature.size("capacity"),
            false => signature,
        };
        let signature = match self.is_random() {
            true => signature.size("seed"),
            false => signature,
        };
        let signature = match self.has_signs() {
            true => signature.size("rotation_seed"),
            false => signature,
        };
        let signature = match self.keeps_first {
            true => signature.size("exact").bounded("exact", 1.into(), None, 1),
            false => signature,
        };
        match self.mixed {
            Some(blocks) => signature.bounded("head_dim", 1.into(), None, blocks.size()),
            None => signature,
        }
    }

    fn ptx(&self) -> String {
        let format = self.format();
        let element = format.map(|format| format.element());
        let stored = element.map(StoredBits::of);
        let (mut terms, mut shift) = (Vec::new(), 0);
        if let Some(StoredBits::Fields {
            group, shift: at, ..
        }) = stored
        {
            shift = at;
            let pairs = group.registers.len();
            for index in 0..pairs.max(4) {
                for term in group.registers[index % pairs] {
                    terms.push(StoredTerm {
                        pair: index % 4,
                        word: index / pairs * group.words + term.word,
                        mask: term.mask,
                        rotate: term.rotate,
                        is_even: index < 4,
                    });
                }
            }
        }
        // A lane has half of a run: words of its own, or those of the run with its neighbour.
        let words = |codes| element.and_then(|element| element.layout().words(codes));
        let (lane_words, is_shared) = match (words(RUN / 2), words(RUN)) {
            (Some(own), _) => (own, false),
            (None, shared) => (shared.unwrap_or(0), shared.is_some()),
        };
        let context = AppendContext {
            quantizer: self.quantizer.as_ref().map(Context::new),
            description: match format {
                None if self.kind == HeadKind::Queries => "rows in bf16".to_owned(),
                None => "cache in bf16".to_owned(),
                Some(format) if self.is_fake => format!("cache in bf16, of {format}"),
                Some(format) => format!("cache in {format}"),
            },
            is_quantized: format.is_some(),
            is_fake: self.is_fake,
            is_partial: self.is_partial,
            rotates: self.rotates(),
            rotation: self.mixed.map(RotatedBlocks::context),
            keeps_first: self.keeps_first,
            appends: self.kind != HeadKind::Queries,
            draws: self.is_random(),
            bits: self.bits(),
            head_step: self.head_step(),
            is_nibbles: matches!(stored, Some(StoredBits::Nibbles(_))),
            is_int: element.is_some_and(|element| matches!(element.grid(), Grid::Int(_))),
            lane_words,
            is_shared,
            stored_shift: shift,
            stored_terms: terms,
            zero_code: element.map_or(0, |element| element.zero_code()),
        };
        render_kernel("append/append.ptx.j2", &self.signature(), &context)
    }

    fn elements_per_thread(&self) -> u32 {
        8
    }

    /// 8192 tokens of 8 heads.
    fn shape(&self) -> Shape {
        Shape {
            rows: 8 * 8192,
            cols: 128,
            tokens: None,
        }
    }

    fn axes(&self) -> [&'static str; 2] {
        ["heads of tokens", "features"]
    }

    fn bytes(&self, shape: Shape) -> u64 {
        let cache = self.cache();
        let head = cache.row_bytes(shape.cols) + cache.row_scale_bytes(shape.cols);
        (shape.rows * (2 * shape.cols + head)) as u64
    }
}

impl fmt::Display for AppendVariant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.id())
    }
}

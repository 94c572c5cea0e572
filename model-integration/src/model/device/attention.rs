//! Attention: rotation, the cache, scores and contexts.

use mxlab_kernels::family::append::{AppendVariant, HeadKind};
use mxlab_kernels::family::attention::{AttentionRegime, AttentionVariant, ScoreForm};
use mxlab_kernels::format::{BlockFormat, Hadamard};
use mxlab_kernels::fragment::cache::RUN;
use mxlab_kernels::kernel::{Call, LaunchError};

use super::activations::Activation;
use super::backend::{DeviceVector, whole};
use super::cache::CacheRows;
use super::plan::Storage;
use super::{DeviceBackend, DeviceCache};
use crate::model::{Attention, Batch, LlamaError};

impl DeviceBackend {
    /// Rotates queries; or rotates, quantises and appends keys or values; all or some features of a
    /// head, or none, by angles, and then heads by a Hadamard matrix, if they are. `dst` has the
    /// destination.
    fn place_heads(
        &self,
        kind: HeadKind,
        src: &Activation,
        attention: &Attention<DeviceVector>,
        batch: &Batch,
        dst: Call,
        format: Option<&BlockFormat>,
    ) -> Result<(), LlamaError> {
        let rotary = attention.rope.map_or(0, |rope| 2 * rope.table.pairs);
        let rotation = (attention.key_rotation).filter(|_| !matches!(kind, HeadKind::Values));
        let kind = match kind {
            HeadKind::Keys if rotary == 0 && rotation.is_none() => HeadKind::Values,
            kind => kind,
        };
        let variant = match (format, self.storage) {
            (Some(format), Storage::Fake) => AppendVariant::fake(kind, *format),
            _ => AppendVariant::new(kind, format.copied()),
        };
        let variant = variant.map_err(LaunchError::from)?;
        let variant = match rotary < attention.head_dim {
            true => variant.partial(),
            false => variant,
        };
        let variant = match rotation {
            Some(rotation) => variant.mixed(rotation).map_err(LaunchError::from)?,
            None => variant,
        };
        let variant = match attention.kv_first {
            0 => variant,
            _ => variant.keeping_first(),
        };
        let [positions, _, _] = self.staging.places(batch)?;
        let seed = format.map_or(0, |format| format.rounding().seed());
        let mut call = dst
            .size("tokens", src.rows())
            .size("heads", src.cols() / attention.head_dim)
            .size("head_dim", attention.head_dim)
            .size("rotary", rotary)
            .rows("src", "src_stride", src.dense())
            .buffer("positions", positions)
            .size("seed", seed as usize);
        if let Some(seed) = rotation.and_then(Hadamard::seed) {
            call = call.size("rotation_seed", seed as usize);
        }
        if variant.rotates() {
            // One table serves all sequences. Where nothing is rotated no angle is read.
            let [cos, sin] = match attention.rope {
                Some(rope) => {
                    let table = rope.number.and_then(|number| self.rope.get(number));
                    table.ok_or(LlamaError::Layout)?.each_ref()
                }
                None => [&self.workspace; 2],
            };
            call = call.buffer("cos", whole(cos)).buffer("sin", whole(sin));
        }
        let kernel = self.kernels.append(variant)?;
        Ok(kernel.launch(&self.stream, &call)?)
    }

    /// The contexts of every query, `[tokens, heads * head_dim]`; see
    /// [`Backend::attend`](crate::model::Backend::attend).
    pub(super) fn attention(
        &self,
        [query, key, value]: [Activation; 3],
        attention: &Attention<DeviceVector>,
        cache: &DeviceCache,
        batch: &Batch,
    ) -> Result<Activation, LlamaError> {
        let &Attention {
            layer,
            heads,
            kv_heads,
            head_dim,
            scale,
            cap,
            window,
            ..
        } = attention;
        cache.check(&batch.sequences)?;
        let [_, slot_of, table] = self.staging.places(batch)?;
        let tokens = query.rows();
        let rotated = self
            .pool
            .take_compact(tokens, heads * head_dim.next_multiple_of(RUN))?;
        let [keys, values] = cache.layer(layer);
        let place = Call::new()
            .buffer("slot_of", slot_of)
            .size("slots", cache.slots())
            .size("capacity", cache.capacity())
            .size("exact", cache.exact());
        let rows = Call::new().buffer("dst", rotated.slice());
        self.place_heads(HeadKind::Queries, &query, attention, batch, rows, None)?;
        let (to, of) = (append_to(&place, keys), attention.keys);
        self.place_heads(HeadKind::Keys, &key, attention, batch, to, of)?;
        let (to, of) = (append_to(&place, values), attention.values);
        self.place_heads(HeadKind::Values, &value, attention, batch, to, of)?;
        drop([query, key, value]);

        let longest = batch.sequences.iter().map(|sequence| sequence.length).max();
        let (longest, group) = (longest.unwrap_or(0), heads / kv_heads);
        let regime = match longest {
            0..=2 => AttentionRegime::Decode,
            _ => AttentionRegime::Prefill,
        };
        let kept = [attention.keys, attention.values].map(|format| self.storage.keeps(format));
        let variant = AttentionVariant::new(kept, head_dim, regime);
        // A window that no sequence fills hides nothing.
        let window = window.filter(|&window| window < cache.capacity());
        let form = ScoreForm::new(window.is_some(), cap.is_some());
        let variant = variant.map_err(LaunchError::from)?.with_form(form);
        let variant = match attention.kv_first {
            0 => variant,
            _ => variant.keeping_first(),
        };
        let kernel = self.kernels.attention(variant)?;
        let sequences = batch.sequences.len();
        let blocks = variant.blocks(sequences, longest, kv_heads, group);
        let splits = variant.splits(&self.limits.split, blocks, cache.capacity());
        let dst = self.pool.take(tokens, heads * head_dim)?;
        let call = Call::new()
            .size("sequence_count", sequences)
            .size("longest", longest)
            .size("tokens", tokens)
            .size("kv_heads", kv_heads)
            .size("group", group)
            .size("head_dim", head_dim)
            .size("slots", cache.slots())
            .size("capacity", cache.capacity())
            .size("exact", cache.exact())
            .size("splits", splits)
            .size("window", window.unwrap_or(ScoreForm::NO_WINDOW))
            .number("score_factor", variant.score_factor(scale))
            .number("value_factor", variant.value_factor())
            .buffer("src", rotated.slice())
            .rows("dst", "dst_stride", dst.dense())
            .buffer("keys", keys.codes)
            .optional("key_scales", keys.scales)
            .optional("exact_keys", keys.exact)
            .buffer("values", values.codes)
            .optional("value_scales", values.scales)
            .optional("exact_values", values.exact)
            .buffer("sequences", table);
        let call = cap.into_iter().fold(call, |call, cap| {
            let factors = variant.cap_factors(scale, cap).into_iter();
            factors.fold(call, |call, (name, factor)| call.number(name, factor))
        });
        let call = match regime {
            AttentionRegime::Decode => self.shared(call),
            AttentionRegime::Prefill => call,
        };
        kernel.launch(&self.stream, &call)?;
        Ok(dst)
    }
}

/// Makes a call append to `rows` of a cache.
fn append_to<'a>(place: &Call<'a>, rows: CacheRows<'a>) -> Call<'a> {
    let call = place.clone().buffer("dst", rows.codes);
    call.optional("dst_scales", rows.scales)
        .optional("dst_exact", rows.exact)
}

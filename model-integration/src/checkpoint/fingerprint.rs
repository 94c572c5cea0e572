//! A digest that identifies a model in records and resume logs.

use sha2::{Digest, Sha256};

use super::weights::Weights;

/// Up to this many bytes of weight files, every byte is hashed.
const WHOLE_BELOW_BYTES: usize = 64 << 20;
/// Beyond it, this many pages of every tensor, evenly spaced, the first and last included.
const PAGES_PER_TENSOR: usize = 16;
const PAGE_BYTES: usize = 4096;

/// SHA-256, in hexadecimal, over the configurations, tokenizer.json, the table of tensors (name,
/// dtype, shape), file sizes, and weights: all of them up to 64 MiB, beyond that 16 pages of 4 KiB
/// from each tensor. Generated weights contribute their seed. So a single changed weight in a large
/// model may go unnoticed; another checkpoint of the same training run does not.
pub(super) fn fingerprint(configs: &[&[u8]], tokenizer_json: &[u8], weights: &Weights) -> String {
    let mut hash = Sha256::new();
    let mut field = |bytes: &[u8]| {
        hash.update((bytes.len() as u64).to_le_bytes());
        hash.update(bytes);
    };
    configs.iter().for_each(|json| field(json));
    field(tokenizer_json);
    let mut total = 0;
    for file in weights.files() {
        field(&(file.bytes().len() as u64).to_le_bytes());
        if let Some(maker) = file.maker() {
            field(&maker.seed().to_le_bytes());
        }
        for (index, (name, info, range)) in file.tensors().iter().enumerate() {
            field(name.as_bytes());
            field(info.dtype.to_string().as_bytes());
            if let Some(of) = file.ggml_type(index) {
                field(of.name().as_bytes());
            }
            for &size in &info.shape {
                field(&(size as u64).to_le_bytes());
            }
            total += range.len();
        }
    }
    let stored = weights.files().iter().filter(|file| file.maker().is_none());
    for file in stored {
        for (_, _, range) in file.tensors() {
            let tensor = &file.bytes()[range.clone()];
            if total <= WHOLE_BELOW_BYTES || tensor.len() <= PAGES_PER_TENSOR * PAGE_BYTES {
                field(tensor);
            } else {
                let last = tensor.len() - PAGE_BYTES;
                for page in 0..PAGES_PER_TENSOR {
                    let start = last / (PAGES_PER_TENSOR - 1) * page;
                    let start = if page == PAGES_PER_TENSOR - 1 {
                        last
                    } else {
                        start
                    };
                    field(&tensor[start..start + PAGE_BYTES]);
                }
            }
        }
    }
    hash.finalize()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

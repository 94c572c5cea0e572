//! A head whose input has a format, beside an embedding in blocks of ggml.

use mxlab::checkpoint::Checkpoint;
use mxlab::config::QuantConfig;
use mxlab::engine::Engine;
use mxlab::model::cpu::{Cache, Cpu, CpuEngine};
use mxlab::model::{Batch, load::load};
use mxlab_kernels::cpu::{Isa, Matmul, Panels, Path};
use mxlab_kernels::format::{BlockFormat, ElementFormat, FloatType, GgmlFormat, random_at};
use mxlab_kernels::reference;

use super::open;
use super::writer::{File, Tensor};

const SHAPE: [usize; 2] = [320, 64];
const BF16: FloatType = FloatType::Bf16;

fn logits(engine: &Cpu, checkpoint: &Checkpoint, config: &QuantConfig) -> Vec<f32> {
    let llama = load(engine, checkpoint, config, 64).expect("a model");
    let batch = Batch::whole([&[5, 300, 77, 9][..], &[12, 200][..]]);
    let rows = llama.logits(engine, &batch, &mut Cache::none(), &[3, 1, 5]);
    rows.expect("logits").values().to_vec()
}

/// The embedding is the head as well: rows are looked up, and the product is that of the reference
/// with rows of the last norm that the scalar reference quantises.
#[test]
fn the_heads_input_is_quantised_beside_blocks_of_ggml() {
    let [rows, cols] = SHAPE;
    for (kind, ggml) in [
        (8, GgmlFormat::Q8_0),
        (2, GgmlFormat::Q4_0),
        (3, GgmlFormat::Q4_1),
    ] {
        let mut blocks: Vec<u8> = (0..rows * ggml.row_bytes(cols))
            .map(|i| random_at(3, i as u64) as u8)
            .collect();
        for block in blocks.chunks_exact_mut(ggml.block_bytes()) {
            block[1] = 0x24 | block[1] & 0x83;
            if ggml == GgmlFormat::Q4_1 {
                block[3] = 0x24 | block[3] & 0x83;
            }
        }
        let file = File::llama(SHAPE, kind, blocks.clone());
        let tied = open(&file).expect("a model");
        assert!(tied.config().tie_word_embeddings);
        // The logits of a head that is the identity are the rows of the norm.
        let mut identity = file.clone();
        let ones =
            (0..rows * cols).map(|i| f32::from(u8::from(i % (cols + 1) == 0 && i < cols * cols)));
        let ones = ones.flat_map(f32::to_le_bytes).collect();
        let head = Tensor("output.weight".to_owned(), 0, SHAPE.to_vec(), ones);
        identity.tensors.push(head);
        let identity = open(&identity).expect("a model");
        let plain = QuantConfig::unquantised("plain");
        let normed = logits(&Cpu::new(BF16), &identity, &plain);
        let normed: Vec<f32> = normed
            .chunks(rows)
            .flat_map(|row| row[..cols].to_vec())
            .collect();
        assert!(normed.iter().any(|x| *x != 0.0));

        let row_of = |row: usize| &blocks[row * ggml.row_bytes(cols)..][..ggml.row_bytes(cols)];
        let panels = Panels::of_ggml(ggml, SHAPE, row_of).expect("whole blocks");
        let panels = panels.expect("panels");
        for (element, makes_integers) in [
            (ElementFormat::INT8, ggml != GgmlFormat::Q4_1),
            (ElementFormat::FP8_E4M3, false),
        ] {
            let what = format!("{ggml} by {element}");
            let format = BlockFormat::new(element).build().expect("a format");
            let config = QuantConfig {
                head_activations: Some(format),
                ..plain.clone()
            };
            let x = reference::quantize(&normed, 3, cols, &format, BF16).expect("codes");
            let mut expected = match makes_integers {
                true => {
                    let w = panels.packed_rows(0..rows).expect("a block format");
                    reference::integer_matmul(&x, &w).expect("integers")
                }
                false => {
                    let mut y = vec![0.0; 3 * rows];
                    let x = reference::dequantize(&x);
                    let x: Vec<f32> = x.iter().map(|&x| BF16.round(x)).collect();
                    let matmul = Matmul::new(&panels).rounded_to(BF16);
                    matmul.multiply(&x, &mut y).expect("sizes that fit");
                    y
                }
            };
            expected.iter_mut().for_each(|y| *y = BF16.round(*y));
            assert_eq!(logits(&Cpu::new(BF16), &tied, &config), expected, "{what}");
            assert_ne!(logits(&Cpu::new(BF16), &tied, &plain), expected, "{what}");
            if makes_integers {
                // Without kernels that decode these blocks, products of integers are the same.
                let portable = Cpu::new(BF16).by(Path::F32(Isa::Portable));
                assert_eq!(logits(&portable, &tied, &config), expected, "{what}");
            }
            let engine =
                CpuEngine::new(open(&file).expect("a model"), None, None).expect("an engine");
            let footprint = engine.footprint(&config).expect("a size");
            assert_eq!(
                footprint.integer_products,
                usize::from(makes_integers),
                "{what}"
            );
        }
    }
}

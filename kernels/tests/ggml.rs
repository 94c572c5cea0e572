//! ggml's formats: blocks equal those of `ggml_quantize_chunk`, and values lie near.

use mxlab_kernels::format::GgmlFormat;

/// Values of blocks of 32: any, of one sign, zeros, with an outlier, all equal; each super-block
/// with another magnitude, down to where f16 factors are 0.
fn values() -> Vec<f32> {
    let mut state = 1u32;
    let value = |i: usize| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let v = ((state >> 8) as f32 - 8_388_608.0) / 8_388_608.0;
        let v = match i / 32 % 8 {
            1 => v * v * v,
            2 => v.abs(),
            3 => -v.abs(),
            4 => 0.0,
            5 => (v * 8.0).floor() / 8.0,
            6 if i % 32 != 5 => v / 64.0,
            7 => 0.5,
            _ => v,
        };
        v * 2f32.powi((i / 256 * 7 % 41) as i32 - 30)
    };
    (0..256 * 64).map(value).collect()
}

/// FNV-1a.
fn hash(bytes: &[u8]) -> u64 {
    let step = |hash: u64, &byte: &u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, step)
}

/// Hashes of the blocks that `ggml_quantize_chunk` of libggml-python 0.20.2 (x86-64) makes of
/// [`values`] in rows of 256.
const GGML: [(&str, u64); 11] = [
    ("q4_0", 0xfb2f762a851f6bd6),
    ("q4_1", 0xc7828fa8ff106dac),
    ("q5_0", 0x5fc6a9c150f216c9),
    ("q5_1", 0x28ccdd231b7c05c7),
    ("q8_0", 0xa3b163455a1a2043),
    ("q2_k", 0xfc766f3f839aaa80),
    ("q3_k", 0xa8c30c70477ebe23),
    ("q4_k", 0xb19825a742314115),
    ("q5_k", 0x46b0807bc94cfd90),
    ("q6_k", 0x8b8c62ff19fbc109),
    ("iq4_nl", 0x3a3f7ff3af58f8f3),
];

#[test]
fn blocks_are_those_of_ggml() {
    let values = values();
    for (name, expected) in GGML {
        let format: GgmlFormat = name.parse().expect("known");
        let mut blocks = vec![0; format.row_bytes(values.len())];
        format.encode(&values, &mut blocks);
        assert_eq!(hash(&blocks), expected, "{name}");
    }
}

#[test]
fn values_are_within_a_step() {
    let values = values();
    for format in GgmlFormat::ALL {
        let mut blocks = vec![0; format.row_bytes(values.len())];
        format.encode(&values, &mut blocks);
        let mut decoded = vec![0.0; values.len()];
        format.decode(&blocks, &mut decoded);
        // The super-block of magnitude 1.
        let error = |i: usize| (decoded[i] - values[i]).abs();
        let largest = (16 * 256..17 * 256).map(error).fold(0.0, f32::max);
        let steps = 2f64.powf(format.bits().floor().min(8.0));
        assert!(f64::from(largest) <= 4.0 / steps, "{format}: {largest}");
    }
}

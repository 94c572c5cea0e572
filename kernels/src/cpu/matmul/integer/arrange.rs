//! From the codes of a token to its integers, in the order in which products read them.

use super::operand::Operand;
use super::rows::{Arrangement, GROUP};

/// The integers of a group of columns as words, as f32 bits; and the sums of those in the lower and
/// the upper halves of words of bytes.
pub(super) fn pack_group(
    arrangement: Arrangement,
    values: &[i32; GROUP],
    words: &mut [f32],
) -> [i32; 2] {
    let columns = arrangement.operand.columns();
    let order = arrangement.columns();
    for (word, order) in words.iter_mut().zip(order.chunks_exact(columns)) {
        let parts = order.iter().rev().map(|&column| values[column] as u32);
        *word = f32::from_bits(match arrangement.operand {
            Operand::Bytes => parts.fold(0, |word, part| word << 8 | part & 0xFF),
            Operand::Words => parts.fold(0, |word, part| word << 16 | part & 0xFFFF),
        });
    }
    let half = |half: usize| {
        let columns = order.chunks_exact(2).skip(half).step_by(2).flatten();
        columns.map(|&column| values[column]).sum()
    };
    [half(0), half(1)]
}

/// Words and sums of the groups of a token, zeros behind its last code. `integers` are by code.
pub(in crate::cpu) fn arrange_portable(
    arrangement: Arrangement,
    integers: &[i32; 256],
    codes: &[u8],
    words: &mut [f32],
    sums: &mut [[i32; 2]],
) {
    let words = words.chunks_exact_mut(GROUP / arrangement.operand.columns());
    for ((words, sum), codes) in words.zip(sums).zip(codes.chunks(GROUP)) {
        let mut values = [0; GROUP];
        for (value, &code) in values.iter_mut().zip(codes) {
            *value = integers[usize::from(code)];
        }
        *sum = pack_group(arrangement, &values, words);
    }
}

#[cfg(target_arch = "x86_64")]
mod vectors {
    use super::*;
    use crate::cpu::matmul::integer::bytes::{Bytes, one_of_64};

    /// Bytes of the longest vector.
    const MOST_BYTES: usize = 64;

    /// [`arrange_portable`] by vectors, a group in every 128 bits.
    #[inline(always)]
    pub(in crate::cpu) fn arrange<S: Bytes>(
        s: S,
        arrangement: Arrangement,
        integers: &[i32; 256],
        codes: &[u8],
        words: &mut [f32],
        sums: &mut [[i32; 2]],
    ) {
        let (columns, groups) = (4 * S::LANES, S::LANES / 4);
        let order = s.sixteen_bytes(&arrangement.byte_columns());
        let table = |byte: i32, table: usize| {
            let bytes = std::array::from_fn(|i| (integers[16 * table + i] >> (8 * byte)) as u8);
            s.sixteen_bytes(&bytes)
        };
        let low = [table(0, 0), table(0, 1), table(0, 2), table(0, 3)];
        let high = [table(1, 0), table(1, 1), table(1, 2), table(1, 3)];
        // Codes of fewer bits repeat; codes of eight are their integers.
        let is_code = integers[64] != integers[0];
        let group_words = GROUP / arrangement.operand.columns();
        let words = words.chunks_mut(groups * group_words);
        for ((words, sums), codes) in words
            .zip(sums.chunks_mut(groups))
            .zip(codes.chunks(columns))
        {
            let loaded = match codes.len() == columns {
                true => s.load_byte_vector(codes),
                false => {
                    let mut padded = [0; MOST_BYTES];
                    padded[..codes.len()].copy_from_slice(codes);
                    s.load_byte_vector(&padded)
                }
            };
            let codes = s.look_up_bytes(loaded, order);
            let bytes = match is_code {
                true => codes,
                false => one_of_64(s, &low, codes),
            };
            let mut to = [[0.0; 16]; 2];
            match arrangement.operand {
                Operand::Bytes => {
                    s.store(s.float(bytes), &mut to[0]);
                    words.copy_from_slice(&to[0][..words.len()]);
                    let pairs = s.multiply_bytes(s.splat_bits(0x0101_0101), bytes);
                    s.store(s.float(pairs), &mut to[1]);
                    for (sum, words) in sums.iter_mut().zip(to[1].as_chunks::<4>().0) {
                        let words = words.map(f32::to_bits);
                        let low = words.into_iter().fold(0, u32::wrapping_add) as i16;
                        let high = words.map(|word| word as i32 >> 16);
                        *sum = [i32::from(low), high.iter().sum()];
                    }
                }
                Operand::Words => {
                    let high = match is_code {
                        true => s.lower_i16(bytes),
                        false => one_of_64(s, &high, codes),
                    };
                    let [even, odd] = match is_code {
                        true => [s.lower_i16(s.raise_i16(bytes)), high],
                        false => s.join_bytes(bytes, high),
                    };
                    s.store(s.float(even), &mut to[0]);
                    s.store(s.float(odd), &mut to[1]);
                    let parts = to[0]
                        .as_chunks::<4>()
                        .0
                        .iter()
                        .zip(to[1].as_chunks::<4>().0);
                    for ((words, sum), (even, odd)) in words
                        .chunks_exact_mut(group_words)
                        .zip(sums.iter_mut())
                        .zip(parts)
                    {
                        words[..4].copy_from_slice(even);
                        words[4..].copy_from_slice(odd);
                        // Nothing is added to weights that are i16.
                        *sum = [0; 2];
                    }
                }
            }
        }
    }
}

#[cfg(target_arch = "x86_64")]
pub(in crate::cpu) use vectors::arrange;

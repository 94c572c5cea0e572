//! Functions on bit patterns, each as PTX ISA 9.7.1 and 9.7.8 define it.

/// `prmt` without a mode: each nibble of `selector` names one of the eight bytes of `b:a`; its
/// top bit asks for the byte's sign bit in all places.
#[inline(always)]
pub fn permute(a: u32, b: u32, selector: u32) -> u32 {
    let bytes = (u64::from(b) << 32 | u64::from(a)).to_le_bytes();
    let mut result = [0; 4];
    for (i, byte) in result.iter_mut().enumerate() {
        let nibble = selector >> (4 * i) & 15;
        let chosen = bytes[(nibble & 7) as usize];
        *byte = if nibble & 8 == 0 {
            chosen
        } else {
            ((chosen as i8) >> 7) as u8
        };
    }
    u32::from_le_bytes(result)
}

/// The selectors of [`permute`] that a mode of `prmt` stands for, by the low two bits of its
/// third operand.
pub fn permute_mode(name: &str) -> Option<[u16; 4]> {
    Some(match name {
        "f4e" => [0x3210, 0x4321, 0x5432, 0x6543],
        "b4e" => [0x5670, 0x6701, 0x7012, 0x0123],
        "rc8" => [0x0000, 0x1111, 0x2222, 0x3333],
        "ecl" => [0x3210, 0x3211, 0x3222, 0x3333],
        "ecr" => [0x0000, 0x1110, 0x2210, 0x3210],
        "rc16" => [0x1010, 0x3232, 0x1010, 0x3232],
        _ => return None,
    })
}

/// `lop3`: bit `4a + 2b + c` of the table, for each bit.
#[inline(always)]
pub fn logic3(a: u32, b: u32, c: u32, table: u8) -> u32 {
    let mut result = 0;
    for row in 0..8 {
        let matches = (if row & 4 == 0 { !a } else { a })
            & (if row & 2 == 0 { !b } else { b })
            & (if row & 1 == 0 { !c } else { c });
        result |= matches & 0u32.wrapping_sub(u32::from(table >> row & 1));
    }
    result
}

/// `shf.l`: the upper word of `b:a` shifted left by up to 32.
#[inline(always)]
pub fn funnel_left(a: u32, b: u32, amount: u32) -> u32 {
    (((u64::from(b) << 32 | u64::from(a)) << amount) >> 32) as u32
}

/// `shf.r`: the lower word of `b:a` shifted right by up to 32.
#[inline(always)]
pub fn funnel_right(a: u32, b: u32, amount: u32) -> u32 {
    ((u64::from(b) << 32 | u64::from(a)) >> amount) as u32
}

/// `fns`: the place of the n-th bit set from `base` on, upwards or downwards by the sign of
/// `offset`; all ones when there is none.
pub fn find_nth_set(mask: u32, base: u32, offset: i32) -> u32 {
    let is_set = |place: i64| (0..32).contains(&place) && mask >> place & 1 == 1;
    let base = i64::from(base);
    if offset == 0 {
        return if is_set(base) { base as u32 } else { u32::MAX };
    }
    let mut left = offset.unsigned_abs();
    let mut place = base;
    while (0..32).contains(&place) {
        left -= u32::from(is_set(place));
        if left == 0 {
            return place as u32;
        }
        place += i64::from(offset.signum());
    }
    u32::MAX
}

/// `bmsk`: `width` ones from bit `start` on.
#[inline(always)]
pub fn bit_mask(start: u32, width: u32, clamps: bool) -> u32 {
    let (start, width) = if clamps {
        (start.min(32), width.min(32))
    } else {
        (start & 31, width & 31)
    };
    let ones = ((1u64 << width) - 1) << start;
    ones as u32
}

/// `szext`: the low `width` bits extended by zeros or by their top bit. A width of zero takes
/// bit 31 for the sign.
#[inline(always)]
pub fn extend_low(a: u32, width: u32, is_signed: bool, clamps: bool) -> u32 {
    if clamps && width >= 32 {
        return a;
    }
    let width = width & 31;
    let high = u32::MAX << width;
    let sign = a >> (width.wrapping_sub(1) & 31) & 1 == 1;
    a & !high | if is_signed && sign { high } else { 0 }
}

/// `dp4a` and `dp2a`: the sum of products of `fields` of `a`, each of 32 / `N` bits, with bytes
/// of `b` from the `first` on.
#[inline(always)]
pub fn dot<const N: u32>(a: u32, b: u32, c: u32, signed: [bool; 2], first: u32) -> u32 {
    let width = 32 / N;
    let field = |word: u32, place: u32, bits: u32, is_signed: bool| {
        let top = word << (32 - place - bits);
        if is_signed {
            ((top as i32) >> (32 - bits)) as u32
        } else {
            top >> (32 - bits)
        }
    };
    (0..N).fold(c, |sum, i| {
        let x = field(a, i * width, width, signed[0]);
        let y = field(b, (first + i) * 8, 8, signed[1]);
        sum.wrapping_add(x.wrapping_mul(y))
    })
}

macro_rules! fields {
    ($extract:ident, $insert:ident, $ty:ty, $signed:ty) => {
        /// `bfe`: `length` bits from `position` on, at the bottom, extended by zeros, or for a
        /// signed type by the field's top bit.
        #[inline(always)]
        pub fn $extract(a: $ty, position: u32, length: u32, is_signed: bool) -> $ty {
            let (position, length) = (position & 0xff, length & 0xff);
            let bits = <$ty>::BITS;
            if length == 0 {
                return 0;
            }
            let sign = is_signed && a >> (position + length - 1).min(bits - 1) & 1 == 1;
            let kept = length.min(bits.saturating_sub(position));
            if kept == 0 {
                return if sign { <$ty>::MAX } else { 0 };
            }
            let field = a >> position << (bits - kept) >> (bits - kept);
            let ones = <$ty>::MAX.checked_shl(kept).unwrap_or(0);
            if sign { field | ones } else { field }
        }

        /// `bfi`: `b` with its `length` bits from `position` on replaced by the low bits of `a`.
        #[inline(always)]
        pub fn $insert(a: $ty, b: $ty, position: u32, length: u32) -> $ty {
            let (position, length) = (position & 0xff, length & 0xff);
            let ones = (1 as $ty).checked_shl(length).unwrap_or(0).wrapping_sub(1);
            let mask = ones.checked_shl(position).unwrap_or(0);
            let field = a.checked_shl(position).unwrap_or(0);
            b & !mask | field & mask
        }
    };
}
fields!(extract32, insert32, u32, i32);
fields!(extract64, insert64, u64, i64);

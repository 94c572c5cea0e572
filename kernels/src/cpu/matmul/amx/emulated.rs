//! AMX for CPUs without it: its instructions raise SIGILL, and the handler here executes them as
//! Intel's manual describes.

use super::super::order::{flushed, tiled};
use super::super::{Bf16Rows, Matmul, Panels, Path};
use crate::format::{BlockFormat, ElementFormat, FloatType, ScaleFormat};
use crate::reference;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::cell::RefCell;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

static INSTALLED: AtomicBool = AtomicBool::new(false);

thread_local! {
    static UNIT: RefCell<Unit> = const { RefCell::new(Unit::NEW) };
}

pub(super) fn is_installed() -> bool {
    INSTALLED.load(Ordering::Acquire)
}

/// The state of a thread's tiles.
struct Unit {
    row_bytes: [usize; 8],
    rows: [usize; 8],
    data: [[[u32; 16]; 16]; 8],
    /// Instructions done.
    done: usize,
}

/// An instruction's fields.
struct Instruction {
    opcode: u8,
    /// 0 for none, 1 for 66, 2 for F3, 3 for F2.
    prefix: u8,
    /// Of ModRM, with the bits of the prefix: register, and register or base.
    reg: usize,
    rm: usize,
    /// The third register.
    third: usize,
    /// Base address, and the distance of rows; `None` for registers.
    memory: Option<[usize; 2]>,
    length: usize,
}

impl Unit {
    const NEW: Self = Self {
        row_bytes: [0; 8],
        rows: [0; 8],
        data: [[[0; 16]; 16]; 8],
        done: 0,
    };

    /// Does one instruction; false if it is none of AMX.
    ///
    /// # Safety
    /// Its addresses must be as of the instruction.
    unsafe fn step(&mut self, i: &Instruction) -> bool {
        match (i.opcode, i.prefix, i.memory) {
            // ldtilecfg
            (0x49, 0, Some([address, _])) => {
                // SAFETY: 64 bytes are read.
                let bytes = unsafe { std::slice::from_raw_parts(address as *const u8, 64) };
                assert_eq!((bytes[0], bytes[1]), (1, 0), "palette, first row");
                assert!(bytes[2..16].iter().all(|&byte| byte == 0));
                let (widths, rows) = (&bytes[16..48], &bytes[48..64]);
                assert!(widths[16..].iter().chain(&rows[8..]).all(|&byte| byte == 0));
                for tile in 0..8 {
                    let width = u16::from_le_bytes([widths[2 * tile], widths[2 * tile + 1]]);
                    self.row_bytes[tile] = width.into();
                    self.rows[tile] = rows[tile].into();
                    assert!(width <= 64 && rows[tile] <= 16);
                    assert_eq!(width == 0, rows[tile] == 0);
                }
                self.data = [[[0; 16]; 16]; 8];
            }
            // tilerelease
            (0x49, 0, None) => {
                *self = Self {
                    done: self.done,
                    ..Self::NEW
                }
            }
            // tileloadd
            (0x4B, 3, Some([address, stride])) => {
                assert!(self.rows[i.reg] > 0, "tile {} has no shape", i.reg);
                self.data[i.reg] = [[0; 16]; 16];
                for row in 0..self.rows[i.reg] {
                    for word in 0..self.row_bytes[i.reg] / 4 {
                        let at = (address + row * stride + 4 * word) as *const u32;
                        // SAFETY: a word of a row of the tile.
                        self.data[i.reg][row][word] = unsafe { at.read_unaligned() };
                    }
                }
            }
            // tilestored
            (0x4B, 2, Some([address, stride])) => {
                assert!(self.rows[i.reg] > 0, "tile {} has no shape", i.reg);
                for row in 0..self.rows[i.reg] {
                    for word in 0..self.row_bytes[i.reg] / 4 {
                        let at = (address + row * stride + 4 * word) as *mut u32;
                        // SAFETY: a word of a row of the tile.
                        unsafe { at.write_unaligned(self.data[i.reg][row][word]) };
                    }
                }
            }
            // tdpbf16ps
            (0x5C, 2, None) => self.multiply(i.reg, i.rm, i.third),
            _ => return false,
        }
        self.done += 1;
        true
    }

    fn multiply(&mut self, sums: usize, a: usize, b: usize) {
        let (rows, words, columns) = (self.rows[a], self.row_bytes[a] / 4, self.row_bytes[b] / 4);
        assert!(sums != a && sums != b && a != b);
        assert_eq!((self.rows[sums], self.rows[b]), (rows, words));
        assert_eq!(self.row_bytes[sums] / 4, columns);
        for m in 0..rows {
            for n in 0..columns {
                let (mut low, mut high) = (0.0f32, 0.0f32);
                for k in 0..words {
                    let (x, w) = (self.data[a][m][k], self.data[b][k][n]);
                    low = fma(x << 16, w << 16, low);
                    high = fma(x & 0xFFFF_0000, w & 0xFFFF_0000, high);
                }
                let sum = f32::from_bits(self.data[sums][m][n]) + flushed(low + high);
                self.data[sums][m][n] = flushed(sum).to_bits();
            }
        }
    }
}

fn fma(a: u32, b: u32, sum: f32) -> f32 {
    let [a, b] = [a, b].map(|bits| flushed(f32::from_bits(bits)));
    flushed(a.mul_add(b, sum))
}

/// The fields of an instruction of AMX, with the values of registers that `register` tells.
///
/// # Safety
/// Code is read at `at`.
unsafe fn decode(at: *const u8, register: impl Fn(usize) -> usize) -> Option<Instruction> {
    // SAFETY: an instruction of this kind has six to ten bytes, and code goes on behind it.
    let byte = |i: usize| unsafe { at.add(i).read() };
    let (vex, map, fields) = (byte(0), byte(1), byte(2));
    if vex != 0xC4 || map & 0x1F != 2 || fields & 0x84 != 0 {
        return None;
    }
    let extended = |bit: u8| usize::from(map >> bit & 1 == 0) << 3;
    let modrm = byte(4);
    let (mode, rm) = (modrm >> 6, usize::from(modrm & 7));
    let mut length = 5;
    let memory = (mode < 3).then(|| {
        let (mut base, mut stride) = (rm | extended(5), 0);
        if rm == 4 {
            let sib = byte(length);
            length += 1;
            base = usize::from(sib & 7) | extended(5);
            let index = usize::from(sib >> 3 & 7) | extended(6);
            if index != 4 {
                stride = register(index) << (sib >> 6);
            }
        }
        let displacement = match mode {
            0 => {
                assert!(base & 7 != 5, "a base is there");
                0
            }
            1 => {
                length += 1;
                isize::from(byte(length - 1) as i8)
            }
            _ => {
                length += 4;
                let bytes = [4, 3, 2, 1].map(|i| byte(length - i));
                i32::from_le_bytes(bytes) as isize
            }
        };
        [register(base).wrapping_add_signed(displacement), stride]
    });
    Some(Instruction {
        opcode: byte(3),
        prefix: fields & 3,
        reg: usize::from(modrm >> 3 & 7),
        rm,
        third: usize::from(!(fields >> 3) & 0xF),
        memory,
        length,
    })
}

extern "C" fn on_illegal(_: libc::c_int, _: *mut libc::siginfo_t, context: *mut libc::c_void) {
    const REGISTERS: [libc::c_int; 16] = [
        libc::REG_RAX,
        libc::REG_RCX,
        libc::REG_RDX,
        libc::REG_RBX,
        libc::REG_RSP,
        libc::REG_RBP,
        libc::REG_RSI,
        libc::REG_RDI,
        libc::REG_R8,
        libc::REG_R9,
        libc::REG_R10,
        libc::REG_R11,
        libc::REG_R12,
        libc::REG_R13,
        libc::REG_R14,
        libc::REG_R15,
    ];
    // SAFETY: that is what a handler with SA_SIGINFO is given.
    let registers = unsafe { &mut (*context.cast::<libc::ucontext_t>()).uc_mcontext.gregs };
    let at = registers[libc::REG_RIP as usize] as *const u8;
    let value = |i: usize| registers[REGISTERS[i] as usize] as usize;
    // SAFETY: this is where the illegal instruction is, and its operands are those of the code that
    // has it.
    let done = unsafe { decode(at, value).filter(|i| UNIT.with_borrow_mut(|unit| unit.step(i))) };
    match done {
        Some(instruction) => registers[libc::REG_RIP as usize] += instruction.length as i64,
        // SAFETY: ends the process, as another illegal instruction should.
        None => unsafe { libc::abort() },
    }
}

/// Emulates AMX instructions for this process from now on; false where the CPU lacks other features
/// of the path.
fn install() -> bool {
    static ANSWER: OnceLock<bool> = OnceLock::new();
    *ANSWER.get_or_init(|| {
        if super::has_tiles() || !Path::Avx512Bf16.is_available() {
            return false;
        }
        // SAFETY: all zeros is an action, and the handler takes what SA_SIGINFO brings.
        let failed = unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = on_illegal as *const () as usize;
            action.sa_flags = libc::SA_SIGINFO | libc::SA_NODEFER;
            libc::sigaction(libc::SIGILL, &raw const action, std::ptr::null_mut())
        };
        assert_eq!(failed, 0, "sigaction");
        INSTALLED.store(true, Ordering::Release);
        true
    })
}

#[test]
fn tiles_add_up_in_their_order() {
    if !install() && !super::is_available() {
        not_run::not_run("tiles_add_up_in_their_order", "a CPU with AVX-512 BF16");
        return;
    }
    let mut rng = ChaCha8Rng::seed_from_u64(3);
    let format = |element, scale, k| {
        let format = BlockFormat::new(element).scale(scale).block_size(k);
        format.build().expect("a format")
    };
    let power = ScaleFormat::E8M0;
    let formats = [
        format(ElementFormat::FP4_E2M1, power, 32),
        format(ElementFormat::FP6_E2M3, power, 32),
        format(ElementFormat::FP8_E4M3, power, 16),
        format(ElementFormat::FP4_E2M1, ScaleFormat::UE5M3, 16),
        format(ElementFormat::INT4, power, 64),
        // Takes no pairs: the chains of all paths.
        format(ElementFormat::INT4, ScaleFormat::Fp16, 32),
    ];
    let shapes = [
        (1, 70, 1030),
        (5, 1, 31),
        (16, 32, 512),
        (17, 33, 544),
        (32, 64, 33),
        (33, 31, 100),
        (70, 40, 96),
    ];
    // Usual values, and such that operands, products and sums are subnormal, with blocks of zeros.
    let ranges = [[-6, 6, -6], [-70, -50, -127]];
    let runs = formats
        .into_iter()
        .flat_map(|format| ranges.map(|range| (format, range)));
    for (format, [low, high, lowest_w]) in runs {
        let is_usual = low > -10;
        if !is_usual && format.scale() == ScaleFormat::Fp16 {
            continue;
        }
        for (tokens, rows, cols) in shapes {
            let mut draw = |count: usize, low: i32| -> Vec<f32> {
                let value =
                    |_| rng.random_range(-1.0f32..1.0) * 2f32.powi(rng.random_range(low..high));
                (0..count)
                    .map(value)
                    .map(|x| FloatType::Bf16.round(x))
                    .collect()
            };
            let (x, mut w) = (draw(tokens * cols, low), draw(rows * cols, lowest_w));
            if !is_usual {
                w.chunks_mut(64)
                    .step_by(3)
                    .for_each(|block| block.fill(0.0));
            }
            let packed =
                reference::quantize(&w, rows, cols, &format, FloatType::Bf16).expect("codes");
            let values = reference::dequantize(&packed);
            let panels = Panels::new(&packed);
            let mut y = vec![7.0; tokens * rows];
            let by_tiles = Matmul::new(&panels).with_path(Path::Amx);
            by_tiles.multiply(&x, &mut y).expect("sizes");
            let mut chains = vec![7.0; tokens * rows];
            let by_chains = Matmul::new(&panels).with_path(Path::Avx512Bf16);
            by_chains.multiply(&x, &mut chains).expect("sizes");
            for (i, &y) in y.iter().enumerate() {
                let x = &x[i / rows * cols..][..cols];
                let w = &values[i % rows * cols..][..cols];
                let expected = match format.scale() {
                    ScaleFormat::Fp16 => chains[i],
                    _ => tiled(x, w),
                };
                assert_eq!(
                    y.to_bits(),
                    expected.to_bits(),
                    "{format}, {tokens} tokens, {rows} x {cols}: {i}"
                );
                if !is_usual {
                    continue;
                }
                let pairs = x.iter().zip(w).map(|(&x, &w)| f64::from(x) * f64::from(w));
                let magnitude: f64 = pairs.clone().map(f64::abs).sum();
                let error = (f64::from(y) - pairs.sum::<f64>()).abs();
                assert!(error <= cols as f64 * 2f64.powi(-24) * magnitude);
            }
        }
    }
    if is_installed() {
        assert!(
            UNIT.with_borrow(|unit| unit.done) > 1000,
            "tiles multiplied"
        );
    }

    // Dense rows, and tokens one by one: the same bits as together.
    let (tokens, rows, cols) = (19, 37, 200);
    let mut draw = |count: usize| -> Vec<f32> {
        let value = |_| FloatType::Bf16.round(rng.random_range(-1.0f32..1.0));
        (0..count).map(value).collect()
    };
    let (x, w) = (draw(tokens * cols), draw(rows * cols));
    let bytes: Vec<u8> = w
        .iter()
        .flat_map(|w| (w.to_bits() >> 16).to_le_bytes()[..2].to_vec())
        .collect();
    let dense = Bf16Rows::new(&bytes, cols).expect("rows");
    let matmul = Matmul::new(dense).with_path(Path::Amx);
    let mut together = vec![0.0; tokens * rows];
    matmul.multiply(&x, &mut together).expect("sizes");
    for (x, together) in x.chunks(cols).zip(together.chunks(rows)) {
        let mut alone = vec![0.0; rows];
        matmul.multiply(x, &mut alone).expect("sizes");
        assert_eq!(alone, together);
        for (w, &y) in w.chunks(cols).zip(&alone) {
            assert_eq!(y.to_bits(), tiled(x, w).to_bits());
        }
    }
}

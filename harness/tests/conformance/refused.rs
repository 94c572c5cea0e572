//! What is no PTX, or not known, is an error that names its place; nothing is skipped.

use super::assemble::refused_lines;
use mxlab_harness::device::Device;

/// Registers that the instructions of this module use: `p` predicates, `b` 8 bits, `h` 16, `r` 32,
/// `w` 64, `x` f32, `y` f64.
const HEAD: &str = ".version 8.8\n.target sm_100a\n.address_size 64\n\
    .visible .entry k(.param .b64 q)\n{\n\
    .reg .pred p<4>; .reg .b8 b<4>; .reg .b16 h<4>; .reg .b32 r<8>; .reg .b64 w<4>; .reg .f32 x<4>; .reg .f64 y<4>;\n\
    .shared .align 16 .b8 tile[64];\n";

/// Illegal: ptxas refuses them too.
const ILLEGAL: &[&str] = &[
    // No such instruction, or no such modifier.
    "frobnicate.u32 r0, r1;",
    "add.foo.u32 r0, r1, r2;",
    "bra.foo after;",
    "fence.nonsense;",
    "membar;",
    "prefetch.shared.L1 [w0];",
    "exit.uni;",
    "bar.sync.aligned 0;",
    "nanosleep.f32 x0;",
    // Types that an instruction does not have.
    "add.b32 r0, r1, r2;",
    "add.u8 h0, h1, h2;",
    "mul.u32 r0, r1, r2;",
    "mul.wide.u64 w0, w1, w2;",
    "abs.u32 r0, r1;",
    "popc.u32 r0, r1;",
    "bfe.b32 r0, r1, r2, r3;",
    "bfi.u32 r0, r1, r2, r3, r4;",
    "and.u32 r0, r1, r2;",
    "shl.s32 r0, r1, r2;",
    "shf.l.b32 r0, r1, r2, r3;",
    "prmt.b32.xyz r0, r1, r2, r3;",
    "mov.f16 h0, h1;",
    "selp.pred p0, p1, p2, p3;",
    "setp.lo.s32 p0, r0, r1;",
    "setp.lt.b32 p0, r0, r1;",
    "setp.ltu.u32 p0, r0, r1;",
    "setp.lt.nand.u32 p0, r0, r1, p1;",
    "lop3.xor.b32 r0|p0, r1, r2, r3, 0x80, p1;",
    "mov.b128 w0, {r0, r1};",
    // Roundings and flags.
    "add.rn.u32 r0, r1, r2;",
    "add.sat.u32 r0, r1, r2;",
    "add.rna.f32 x0, x1, x2;",
    "add.sat.f64 y0, y1, y2;",
    "add.ftz.f64 y0, y1, y2;",
    "add.rz.f16 h0, h1, h2;",
    "fma.f32 x0, x1, x2, x3;",
    "fma.rn.sat.bf16 h0, h1, h2, h3;",
    "div.f32 x0, x1, x2;",
    "sqrt.f32 x0, x1;",
    "sin.f32 x0, x1;",
    "tanh.approx.ftz.f32 x0, x1;",
    "min.ftz.f64 y0, y1, y2;",
    // Constants of types that have none.
    "add.f16 h0, h1, 0x3C00;",
    "fma.rn.bf16x2 r0, r1, r2, 0x80008000;",
    "setp.lt.bf16 p0, h0, 0x3F80;",
    "cvt.f32.f16 x0, 0x3C00;",
    // Conversions.
    "cvt.f16.f32 h0, x0;",
    "cvt.rn.f32.f16 x0, h0;",
    "cvt.s32.f32 r0, x0;",
    "cvt.rn.s32.f32 r0, x0;",
    "cvt.rni.f32.s32 x0, r0;",
    "cvt.sat.u64.u32 w0, r0;",
    "cvt.rn.e4m3x2.f32 h0, x0, x1;",
    "cvt.rz.satfinite.e4m3x2.f32 h0, x0, x1;",
    "cvt.rz.satfinite.e2m1x2.f32 b0, x0, x1;",
    "cvt.rn.ue8m0x2.f32 h0, x0, x1;",
    "cvt.rn.satfinite.f16x2.e4m3x2 r0, h0;",
    // Memory.
    "ld.global.f16 h0, [w0];",
    "ld.global.pred p0, [w0];",
    "ld.global.wb.b32 r0, [w0];",
    "ld.shared.nc.b32 r0, [tile];",
    "ld.relaxed.global.b32 r0, [w0];",
    "ld.release.gpu.global.b32 r0, [w0];",
    "ld.volatile.relaxed.gpu.global.b32 r0, [w0];",
    "ld.global.L2::nonsense.b32 r0, [w0];",
    "ld.shared.v4.b64 {w0, w1, w2, w3}, [tile];",
    "ld.global.v2.b32 {r0, r1, r2}, [w0];",
    "ld.global.b32 r0, [w0], w1;",
    "ldu.shared.b32 r0, [tile];",
    "st.global.ca.b32 [w0], r0;",
    "st.const.b32 [w0], r0;",
    "st.acquire.gpu.global.b32 [w0], r0;",
    "atom.global.add.b32 r0, [w0], r1;",
    "atom.global.add.s64 w0, [w1], w2;",
    "atom.global.inc.s32 r0, [w0], r1;",
    "atom.global.exch.u32 r0, [w0], r1;",
    "atom.global.add.noftz.f32 x0, [w0], x1;",
    "red.global.exch.b32 [w0], r0;",
    "red.global.cas.b32 [w0], r0, r1;",
    "cp.async.ca.shared.global [tile], [w0], 5;",
    "cp.async.cg.shared.global [tile], [w0], 8;",
    "cp.async.shared.global [tile], [w0], 4;",
    "cp.async.wait_group r0;",
    "ldmatrix.sync.aligned.m8n8.x3.shared.b16 {r0, r1, r2}, [tile];",
    "ldmatrix.sync.aligned.m8n8.x2.shared.b16 {r0}, [tile];",
    "movmatrix.sync.aligned.m8n8.b16 r0, r1;",
    "movmatrix.sync.aligned.m8n8.trans.b32 r0, r1;",
    // Warps.
    "shfl.sync.left.b32 r0, r1, r2, r3, r4;",
    "shfl.sync.up.u32 r0, r1, r2, r3, r4;",
    "vote.sync.ballot.pred p0, p1, r0;",
    "redux.sync.add.b32 r0, r1, r2;",
    "redux.sync.and.u32 r0, r1, r2;",
    "mma.sync.aligned.m16n8k16.row.row.f32.bf16.bf16.f32 {x0,x1,x2,x3}, {r0,r1,r2,r3}, {r4,r5}, {x0,x1,x2,x3};",
    "mma.sync.aligned.m16n8k16.row.col.f16.bf16.bf16.f16 {r0,r1}, {r0,r1,r2,r3}, {r4,r5}, {r0,r1};",
    "mma.sync.aligned.m16n8k32.row.col.f32.s8.s8.f32 {x0,x1,x2,x3}, {r0,r1,r2,r3}, {r4,r5}, {x0,x1,x2,x3};",
    // Operands.
    "add.u32 r0, r1;",
    "add.u32 r0, r1, r2, r3;",
    "add.u32 r0, {r1, r2};",
    "add.u32 r0|p0, r1, r2;",
    "add.u32 r0, r1, !r2;",
    "setp.lt.u32 p0, !r0, r1;",
    "lop3.b32 r0, r1, r2, r3, r4;",
    "add.u32 r0, r1, w0;",
    "add.u32 1, r1, r2;",
    "add.u32 r0, r1, unknown;",
    "add.f32 x0, x1, 1;",
    "bra nowhere;",
    "@r0 mov.u32 r1, 0;",
];

/// What ptxas takes and the emulator does not know: an error too.
const UNKNOWN: &[&str] = &[
    // Against PTX ISA: modifiers out of order, a table of nine bits.
    "add.f16.sat h0, h1, h2;",
    "add.sat.rn.f32 x0, x1, x2;",
    "lop3.b32 r0, r1, r2, r3, 0x100;",
    // Legal.
    "mov.u32 r0, %smid;",
    "mov.u32 r0, %clock;",
    "brkpt;",
    "pmevent 1;",
    "discard.global.L2 [w0], 128;",
    "fence.proxy.async;",
    "isspacep.global p0, w0;",
    "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {x0,x1,x2,x3}, {r0,r1,r2,r3}, {r4,r5}, {x0,x1,x2,x3};",
    "atom.global.add.noftz.f16 h0, [w0], h1;",
    "atom.global.cas.b16 h0, [w0], h1, h2;",
    "mbarrier.init.shared.b64 [tile], 32;",
    "barrier.cluster.arrive;",
];

/// A module with the instruction in column 3 of the line after [`HEAD`].
fn module(text: &str) -> String {
    format!("{HEAD}  {text}\nafter:\nret;\n}}\n")
}

#[test]
fn errors_name_line_and_column() {
    let device = Device::emulator();
    let line = HEAD.lines().count() + 1;
    let mut wrong = Vec::new();
    for text in ILLEGAL.iter().chain(UNKNOWN) {
        match device.load("refused", &module(text)) {
            Ok(_) => wrong.push(format!("{text} was taken")),
            Err(error) => {
                let told = error.to_string();
                // Inside the instruction: an operand has a place of its own.
                let columns = 3..4 + text.len();
                if !columns
                    .clone()
                    .any(|column| told.contains(&format!("{line}:{column}: ")))
                {
                    wrong.push(format!("{text}: {told}"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_assembler_refuses_the_illegal_and_takes_the_unknown() {
    let mut wrong = Vec::new();
    for (rows, is_legal) in [(ILLEGAL, false), (UNKNOWN, true)] {
        for text in rows {
            let test = "the_assembler_refuses_the_illegal";
            let Some(refused) = refused_lines(test, "sm_100a", &module(text)) else {
                return;
            };
            if refused.is_empty() != is_legal {
                wrong.push(format!("{text} {refused}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

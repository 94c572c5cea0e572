//! Every combination of opcode and modifiers that the lane-local instructions may have, and which
//! of them are accepted.

use super::machine::lower;
use ptx_emulator::syntax::ast::Type;

const TYPES: &str = "b8 b16 b32 b64 u8 u16 u32 u64 s8 s16 s32 s64 f16 f16x2 bf16 bf16x2 f32 f64 \
    pred u16x2 s16x2 f32x2";
const SCALARS: &str = "u8 u16 u32 u64 s8 s16 s32 s64 f16 bf16 f32 f64";
const FORMATS: &str = "f16 bf16 f16x2 bf16x2 tf32 e4m3x2 e5m2x2 e2m3x2 e3m2x2 e2m1x2 ue8m0x2 f32";

/// Opcodes, with slots of modifiers: `?` is none, `T` and `S` are types.
const GRAMMAR: &[&str] = &[
    "add,sub,mul,fma,mad,div,rcp,sqrt ?.rn.rz.rm.rp.rna ?.ftz ?.sat.relu ?.cc T",
    "add,addc,sub,subc,mul,min,max,abs,neg,sad,div,rem,cnot,popc,clz,brev,bfe,bfi,fns,copysign \
     ?.sat.cc.relu ?.wide T",
    "mul,mad,madc,mul24,mad24 ?.lo.hi.wide ?.sat.cc T",
    "fma ?.rn.rz ?.ftz ?.sat ?.relu T",
    "min,max,abs,neg ?.ftz ?.NaN ?.xorsign ?.abs T",
    "bfind ?.shiftamt T",
    "bmsk,szext ?.clamp.wrap T",
    "dp4a T T",
    "dp2a ?.lo.hi T T",
    "and,or,xor,not,shl,shr,mov,selp T",
    "lop3 ?.and.or.xor T",
    "shf ?.l.r ?.clamp.wrap T",
    "prmt T ?.f4e.b4e.rc8.ecl.ecr.rc16",
    "testp finite.infinite.number.notanumber.normal.subnormal T",
    "rcp,sqrt,rsqrt,sin,cos,lg2,ex2,tanh,div approx.full ?.ftz T",
    "setp eq.ne.lt.le.gt.ge.lo.ls.hi.hs.equ.neu.ltu.leu.gtu.geu.num.nan ?.and ?.ftz T",
    "setp eq.lt or.xor T",
    "set eq.ne.lt.lo.equ.num ?.xor ?.ftz T T",
    "slct ?.ftz T T",
    "cvt ?.rn.rz.rm.rp.rna.rni.rzi.rmi.rpi ?.ftz ?.sat S S",
    "cvt ?.rn.rz.rp.rm.rna ?.satfinite.relu ?.satfinite.relu F F",
];

/// Operands that are tried.
const OPERANDS: &[&str] = &[
    "d, a",
    "d, a, b",
    "d, a, b, c",
    "d, a, b, c, e",
    "d, a, b, c, 0x3a",
    "d|p, a, b, c, 0x3a, !q",
    "d|p, a, b",
    "d|p, a, b, !c",
    "d, a, b, !c",
    "d, {a, b}",
    "d, {a, b, c, e}",
    "{d, p}, a",
    "{_, p}, a",
    "{d, p, q, r}, a",
];

fn choices(slot: &str) -> Vec<&str> {
    match slot {
        "T" => TYPES.split(' ').collect(),
        "S" => SCALARS.split(' ').collect(),
        "F" => FORMATS.split(' ').collect(),
        other => other.split('.').collect(),
    }
}

/// Opcodes with modifiers by one rule: opcodes, then slots.
pub fn heads_of(rule: &str) -> Vec<String> {
    let mut slots = rule.split(' ');
    let opcodes = slots.next().expect("opcodes").split(',');
    slots.fold(opcodes.map(String::from).collect(), |heads, slot| {
        let choices = choices(slot);
        let longer = |head: &String| -> Vec<String> {
            let with = |&choice: &&str| match choice {
                "?" => head.clone(),
                _ => format!("{head}.{choice}"),
            };
            choices.iter().map(with).collect()
        };
        heads.iter().flat_map(longer).collect()
    })
}

/// Opcodes with modifiers.
fn heads() -> Vec<String> {
    let mut all: Vec<String> = GRAMMAR.iter().flat_map(|rule| heads_of(rule)).collect();
    all.sort();
    all.dedup();
    all
}

/// The accepted instructions, each with the registers that it uses.
pub fn accepted() -> Vec<(String, Vec<(String, Type)>)> {
    let mut accepted = Vec::new();
    for head in heads() {
        for operands in OPERANDS {
            let text = format!("{head} {operands}");
            if let Ok(Some((_, names))) = lower(&text) {
                let registers = names
                    .named
                    .iter()
                    .filter(|named| !matches!(&*named.0, "_" | "carry"));
                let registers = registers.map(|named| (named.0.clone(), named.1)).collect();
                accepted.push((text, registers));
            }
        }
    }
    accepted
}

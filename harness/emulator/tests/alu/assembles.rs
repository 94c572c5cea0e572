//! Every form that is accepted is one that NVIDIA's assembler takes.

use crate::machine::lower;
use ptx_emulator::syntax::ast::Type;
use std::fmt::Write as _;
use std::io::Write as _;
use std::process::Command;

const TYPES: &str = "b8 b16 b32 b64 u8 u16 u32 u64 s8 s16 s32 s64 f16 f16x2 bf16 bf16x2 f32 f64 pred u16x2 s16x2 f32x2";
const SCALARS: &str = "u8 u16 u32 u64 s8 s16 s32 s64 f16 bf16 f32 f64";
const FORMATS: &str = "f16 bf16 f16x2 bf16x2 tf32 e4m3x2 e5m2x2 e2m3x2 e3m2x2 e2m1x2 ue8m0x2 f32";

/// Opcodes, with slots of modifiers: `?` is none, `T` and `S` are types.
const GRAMMAR: &[&str] = &[
    "add,sub,mul,fma,mad,div,rcp,sqrt ?.rn.rz.rm.rp.rna ?.ftz ?.sat.relu ?.cc T",
    "add,addc,sub,subc,mul,min,max,abs,neg,sad,div,rem,cnot,popc,clz,brev,bfe,bfi,fns,copysign ?.sat.cc.relu ?.wide T",
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
    "cvta ?.to const.global.local.shared.shared::cta.shared::cluster.param u32.u64",
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

/// Opcodes with modifiers.
fn heads() -> Vec<String> {
    let mut all = Vec::new();
    for rule in GRAMMAR {
        let mut slots = rule.split(' ');
        let opcodes = slots.next().expect("opcodes").split(',');
        let mut heads: Vec<String> = opcodes.map(String::from).collect();
        for slot in slots {
            let choices = choices(slot);
            heads = heads
                .iter()
                .flat_map(|head| {
                    choices.iter().map(move |&choice| match choice {
                        "?" => head.clone(),
                        _ => format!("{head}.{choice}"),
                    })
                })
                .collect();
        }
        all.append(&mut heads);
    }
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

#[test]
fn every_accepted_form_assembles() {
    let accepted = accepted();
    let mut source = String::from(
        ".version 8.8\n.target sm_100a\n.address_size 64\n.visible .entry forms() {\n",
    );
    let header = source.lines().count();
    for (text, registers) in &accepted {
        source.push_str("{ ");
        for (name, ty) in registers {
            let ty = match ty {
                Type::F16 | Type::Bf16 => "b16".into(),
                Type::F16x2 | Type::Bf16x2 => "b32".into(),
                other => format!("{other:?}").to_lowercase(),
            };
            let _ = write!(source, ".reg .{ty} {name}; ");
        }
        let _ = writeln!(source, "{text}; }}");
    }
    source.push_str("ret; }\n");
    assert!(accepted.len() > 2000, "{} forms", accepted.len());

    let path = std::env::temp_dir().join(format!("ptx-emulator-forms-{}.ptx", std::process::id()));
    std::fs::write(&path, &source).expect("a temporary file");
    let ptxas = std::env::var_os("PTXAS").unwrap_or_else(|| "ptxas".into());
    let run = Command::new(ptxas)
        .args(["-arch=sm_100a", "-O0", "-o", "/dev/null"])
        .arg(&path)
        .output();
    let _ = std::fs::remove_file(&path);
    let Ok(run) = run else {
        let _ = writeln!(
            std::io::stderr(),
            "not run: every_accepted_form_assembles (no ptxas)"
        );
        return;
    };
    let messages = String::from_utf8_lossy(&run.stderr);
    let mut refused = String::new();
    for message in messages.lines().filter(|line| line.contains("error")) {
        let line = message
            .split("line ")
            .nth(1)
            .and_then(|rest| rest.split(';').next());
        let form = line
            .and_then(|line| line.trim().parse::<usize>().ok())
            .and_then(|line| accepted.get(line.checked_sub(header + 1)?));
        let text = form.map_or("", |form| form.0.as_str());
        let _ = writeln!(refused, "{text:40} {message}");
    }
    assert!(
        run.status.success(),
        "{refused}{}",
        messages.lines().take(3).collect::<String>()
    );
    let _ = writeln!(std::io::stderr(), "{} forms assemble", accepted.len());
}

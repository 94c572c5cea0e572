//! The tree of each construct.

use ptx_emulator::syntax::{
    ast::{Function, Operand, Position, Space, Statement, Type, Variable},
    parse,
};

use super::{instruction, last_operand, samples::SAMPLES, with_body};

fn name(text: &str) -> Operand {
    Operand::Name(text.to_owned())
}

#[test]
fn types_have_one_name() {
    let names =
        "b8 b16 b32 b64 b128 u8 u16 u32 u64 s8 s16 s32 s64 f16 f16x2 bf16 bf16x2 f32 f64 pred";
    for text in names.split(' ') {
        assert_eq!(Type::from_name(text).map(Type::name), Some(text));
    }
}

#[test]
fn opcodes_keep_their_modifiers() {
    let load = instruction("@!%p ld.global.L1::no_allocate.L2::128B.v4.b32 {a, _}, [b];");
    assert_eq!(load.opcode, "ld");
    let modifiers = ["global", "L1::no_allocate", "L2::128B", "v4", "b32"];
    assert_eq!(load.modifiers, modifiers);
    assert_eq!(
        load.full_opcode(),
        "ld.global.L1::no_allocate.L2::128B.v4.b32"
    );
    let guard = load.guard.as_ref().expect("a guard");
    assert_eq!((guard.register.as_str(), guard.is_negated), ("%p", true));
    assert_eq!(
        load.operands[0],
        Operand::Vector(vec![name("a"), Operand::Sink])
    );
    // The instruction starts at its guard, on the second line of the body's text.
    assert_eq!(load.position, Position { line: 5, column: 1 });
    let tensor = "cp.async.bulk.prefetch.tensor.2d.L2 a;";
    assert_eq!(instruction(tensor).modifiers[4], "2d");
    assert_eq!(instruction("cvt .rn .f32;").modifiers, ["rn", "f32"]);
}

#[test]
fn operands() {
    let pair = |a: Operand, b: Operand| Operand::Pair(Box::new(a), Box::new(b));
    assert_eq!(last_operand("mov.u32 a, %tid.x;"), name("%tid.x"));
    assert_eq!(last_operand("mov.u32 a, %tid .x;"), name("%tid.x"));
    assert_eq!(last_operand("setp a, !p;"), Operand::Not("p".to_owned()));
    assert_eq!(last_operand("shfl d|p;"), pair(name("d"), name("p")));
    assert_eq!(last_operand("setp _ | q;"), pair(Operand::Sink, name("q")));
    assert_eq!(last_operand("setp p|_;"), pair(name("p"), Operand::Sink));
    assert_eq!(last_operand("bra.uni $L__BB0_1;"), name("$L__BB0_1"));
    assert!(instruction("ret;").operands.is_empty());
    let call = instruction("call.uni (r), f, (a, b);").operands;
    let list = |names: &[&str]| Operand::List(names.iter().map(|n| name(n)).collect());
    assert_eq!(call, [list(&["r"]), name("f"), list(&["a", "b"])]);
    assert_eq!(last_operand("call f, ();"), list(&[]));
}

fn sample(wanted: &str) -> ptx_emulator::syntax::ast::Module {
    let (_, source) = SAMPLES
        .iter()
        .find(|(name, _)| *name == wanted)
        .expect("a sample");
    parse(source).unwrap_or_else(|error| panic!("{wanted}: {error}"))
}

#[test]
fn samples_parse() {
    for (name, _) in SAMPLES {
        assert!(!sample(name).functions.is_empty());
    }
}

#[test]
fn debugging_leaves_no_trace() {
    assert_eq!(sample("compiled").target, ["sm_80"]);
}

#[test]
fn variables() {
    let module = sample("declarations");
    assert_eq!(
        (module.version, module.target.join(",")),
        ((8, 0), "sm_90".to_owned())
    );
    let find = |name: &str| -> &Variable {
        let found = module
            .variables
            .iter()
            .find(|variable| variable.name == name);
        found.expect(name)
    };
    let shape = |v: &Variable| (v.space, v.alignment, v.ty, v.elements, v.is_extern);
    let levels = find("levels");
    assert_eq!(shape(levels), (Space::Const, 16, Type::F32, 8, false));
    let bytes: Vec<u8> = [0.0f32, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0]
        .into_iter()
        .flat_map(f32::to_le_bytes)
        .collect();
    assert_eq!(levels.initial.as_ref(), Some(&bytes));
    assert_eq!(
        shape(find("patterns")),
        (Space::Const, 8, Type::B64, 4, false)
    );
    let patterns: Vec<u8> = [1u64 << 63, u64::MAX, 1, 0]
        .into_iter()
        .flat_map(u64::to_le_bytes)
        .collect();
    assert_eq!(find("patterns").initial.as_ref(), Some(&patterns));
    assert_eq!(
        find("exact").initial,
        Some(std::f64::consts::PI.to_le_bytes().to_vec())
    );
    assert_eq!(
        find("decimal").initial,
        Some((-0.325f64).to_le_bytes().to_vec())
    );
    assert_eq!(
        shape(find("letters")),
        (Space::Const, 1, Type::U8, 3, false)
    );
    let table = find("table").initial.as_ref().expect("bytes");
    assert_eq!((table.len(), &table[..3]), (32, &[1, 2, 0][..]));
    assert_eq!(&table[16..21], &[255, 5, 255, 255, 0]);
    assert_eq!(shape(find("pair")), (Space::Const, 8, Type::B32, 2, false));
    assert_eq!(
        shape(find("quad")),
        (Space::Global, 16, Type::F32, 4, false)
    );
    assert_eq!(
        shape(find("dynamic_shared")),
        (Space::Shared, 16, Type::B8, 0, true)
    );
    assert_eq!(
        shape(find("tile")),
        (Space::Shared, 1024, Type::B32, 32 * 33, false)
    );
    assert_eq!(find("zeros").initial, Some(vec![0; 6]));
    assert_eq!(find("counter").initial, None);
}

#[test]
fn functions() {
    let module = sample("declarations");
    let kinds: Vec<_> = module
        .functions
        .iter()
        .map(|f: &Function| {
            (
                f.name.as_str(),
                f.is_entry,
                f.returns.len(),
                f.parameters.len(),
                f.body.is_some(),
            )
        })
        .collect();
    assert_eq!(
        kinds,
        [
            ("later", false, 1, 1, false),
            ("vprintf", false, 1, 2, false),
            ("later", false, 1, 1, true),
            ("stop", false, 0, 0, true),
            ("hidden", true, 0, 0, true),
            ("declarations", true, 0, 4, true),
        ]
    );
    let kernel = &module.functions[5];
    assert_eq!(kernel.required_threads, Some([128, 1, 1]));
    let structure = &kernel.parameters[2];
    assert_eq!((structure.alignment, structure.elements), (8, 24));
    assert_eq!(
        kernel.position,
        Position {
            line: 41,
            column: 17
        }
    );
    let Some(Statement::Registers {
        ty: Type::B32,
        names,
    }) = kernel.body.as_ref().and_then(|body| body.first())
    else {
        panic!("{:?}", kernel.body);
    };
    assert_eq!(names.len(), 12 + 3 + 3);
    assert_eq!(
        (names[11].0.as_str(), names[17].0.as_str()),
        ("%r11", "many2")
    );
    assert_eq!(
        sample("instructions").functions[0].maximum_threads,
        Some([256, 1, 1])
    );
}

#[test]
fn nothing_is_declared_by_a_count_of_zero() {
    let module = parse(&with_body(".reg .b32 %r<0>; .shared .b32 s<0>;")).expect("valid PTX");
    assert_eq!(module.functions[0].body.as_deref(), Some(&[][..]));
}

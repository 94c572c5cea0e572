//! Parsing what is printed gives the same tree, up to positions.

use proptest::prelude::*;
use ptx_emulator::syntax::{
    ast::{Guard, Immediate, Instruction, Module, Operand, Position, Statement},
    parse,
};

use super::{samples::SAMPLES, with_body};

/// Fails unless `module` survives being printed.
#[track_caller]
pub(super) fn assert_survives(module: Module) {
    let printed = module.to_string();
    let again = parse(&printed).unwrap_or_else(|error| panic!("{error}\n{printed}"));
    assert_eq!(
        again.without_positions(),
        module.without_positions(),
        "{printed}"
    );
}

#[test]
fn samples_survive() {
    for (name, source) in SAMPLES {
        assert_survives(parse(source).expect(name));
    }
}

#[test]
fn names_that_look_like_sequences_survive() {
    for names in [
        "a0, a1, a2",
        "a1, a2",
        "a0, a2",
        "a00, a01",
        "a10, a11",
        "%0, %1",
        "_0, _1",
        "$0, $1",
        "x, a0, a1, b<3>, b3",
        "a<12>, a<2>",
        "%r9, %r<11>, %r11",
        "a0",
        "a<1>",
    ] {
        assert_survives(parse(&with_body(&format!(".reg .b32 {names};"))).expect(names));
    }
}

#[test]
fn instructions_are_printed_canonically() {
    let text = "@!p ld .global.L1::evict_first.v2.b32{a,_},[ b - 4 ] ;";
    let printed = super::instruction(text).to_string();
    assert_eq!(
        printed,
        "@!p ld.global.L1::evict_first.v2.b32 {a, _}, [b+-4];"
    );
    let text = "call(r),f,(a,0x10,-1,1.0,0f3f800000) ;";
    let printed = super::instruction(text).to_string();
    assert_eq!(
        printed,
        "call (r), f, (a, 16, -1, 0d3FF0000000000000, 0f3F800000);"
    );
}

fn name() -> impl Strategy<Value = String> {
    "[a-zA-Z][a-zA-Z0-9_$]{0,4}|[%$_][a-zA-Z0-9_$]{1,4}"
}

fn component() -> impl Strategy<Value = String> {
    prop_oneof![
        name(),
        (name(), "[xyzw]").prop_map(|(name, part)| format!("{name}.{part}"))
    ]
}

fn simple() -> impl Strategy<Value = Operand> {
    prop_oneof![
        component().prop_map(Operand::Name),
        component().prop_map(Operand::Not),
        Just(Operand::Sink),
        any::<u64>().prop_map(|bits| Operand::Immediate(Immediate::Integer(bits))),
        any::<u32>().prop_map(|bits| Operand::Immediate(Immediate::Single(bits))),
        any::<u64>().prop_map(|bits| Operand::Immediate(Immediate::Double(bits))),
    ]
}

fn destination() -> impl Strategy<Value = Box<Operand>> {
    prop_oneof![component().prop_map(Operand::Name), Just(Operand::Sink)].prop_map(Box::new)
}

fn operand() -> impl Strategy<Value = Operand> {
    prop_oneof![
        simple(),
        proptest::collection::vec(simple(), 1..5).prop_map(Operand::Vector),
        (proptest::option::of(component()), any::<i64>())
            .prop_map(|(base, offset)| Operand::Address { base, offset }),
        (destination(), destination()).prop_map(|(a, b)| Operand::Pair(a, b)),
    ]
}

fn any_instruction() -> impl Strategy<Value = Instruction> {
    let call = proptest::collection::vec(simple(), 0..4).prop_map(Operand::List);
    let plain = (
        "[a-z][a-z0-9]{1,5}",
        proptest::collection::vec(operand(), 0..5),
    )
        .prop_filter("a call has lists", |(opcode, _)| opcode != "call");
    let call = proptest::collection::vec(prop_oneof![call, operand()], 0..4)
        .prop_map(|operands| ("call".to_owned(), operands));
    let modifier = "[a-z0-9][a-zA-Z0-9_]{0,5}(::[a-zA-Z0-9_]{1,5}){0,2}";
    (
        proptest::option::of((name(), any::<bool>())),
        proptest::collection::vec(modifier, 0..5),
        prop_oneof![4 => plain, 1 => call],
    )
        .prop_map(|(guard, modifiers, (opcode, operands))| Instruction {
            position: Position::default(),
            guard: guard.map(|(register, is_negated)| Guard {
                register,
                is_negated,
            }),
            opcode,
            modifiers,
            operands,
        })
}

proptest! {
    #[test]
    fn any_instruction_survives(instruction in any_instruction()) {
        let mut module = parse(&with_body("")).expect("valid PTX");
        module.functions[0].body = Some(vec![Statement::Instruction(instruction)]);
        assert_survives(module);
    }
}

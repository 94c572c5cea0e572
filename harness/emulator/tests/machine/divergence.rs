//! Random programs with branches and loops that lanes take differently: the warps of the machine
//! against an interpreter that runs one thread after the other.

use std::fmt::Write;

use crate::machine::launched::{Machine, kernel};
use proptest::prelude::*;

const REGISTERS: usize = 4;
const THREADS: usize = 64;

/// An operation on two registers, or a register and a constant: its name, and what it does.
type Op = (&'static str, fn(u32, u32) -> u32);

const OPS: [Op; 5] = [
    ("add.u32", u32::wrapping_add),
    ("sub.u32", u32::wrapping_sub),
    ("mul.lo.u32", u32::wrapping_mul),
    ("xor.b32", |a, b| a ^ b),
    ("min.u32", std::cmp::min),
];

#[derive(Clone, Copy, Debug)]
enum Value {
    Register(usize),
    Constant(u32),
}

#[derive(Clone, Debug)]
enum Statement {
    /// `r[0] = r[1] op value`
    Set(usize, usize, Op, Value),
    /// Where the low bits of the register, so many, are less than a bound: the first, else the
    /// second.
    If(usize, u32, u32, Vec<Statement>, Vec<Statement>),
    /// As often as the low two bits of the register say, plus some.
    Loop(usize, u32, Vec<Statement>),
    /// Leaves the innermost loop where the register is odd.
    Break(usize),
}

/// What all threads do together: statements, and the ballot of a register's lowest bit.
#[derive(Clone, Debug)]
enum Phase {
    Run(Vec<Statement>),
    Ballot(usize),
}

/// Runs statements on one thread's registers; whether a loop is to be left.
fn interpret(statements: &[Statement], registers: &mut [u32; REGISTERS]) -> bool {
    for statement in statements {
        match statement {
            Statement::Set(to, from, op, value) => {
                let a = registers[*from];
                let b = match *value {
                    Value::Register(register) => registers[register],
                    Value::Constant(constant) => constant,
                };
                registers[*to] = op.1(a, b);
            }
            Statement::If(register, bits, bound, then, otherwise) => {
                let holds = registers[*register] & ((1 << bits) - 1) < *bound;
                if interpret(if holds { then } else { otherwise }, registers) {
                    return true;
                }
            }
            Statement::Loop(register, more, body) => {
                for _ in 0..(registers[*register] & 3) + more {
                    if interpret(body, registers) {
                        break;
                    }
                }
            }
            Statement::Break(register) => {
                if registers[*register] & 1 == 1 {
                    return true;
                }
            }
        }
    }
    false
}

/// Writes PTX; labels and the counters of loops are numbered.
#[derive(Default)]
struct Writer {
    text: String,
    labels: usize,
    counters: usize,
}

impl Writer {
    fn line(&mut self, line: std::fmt::Arguments) {
        let _ = writeln!(self.text, "{line}");
    }

    fn label(&mut self) -> String {
        self.labels += 1;
        format!("$L{}", self.labels)
    }

    /// `end` is where the innermost loop ends.
    fn statements(&mut self, statements: &[Statement], end: &str) {
        for statement in statements {
            match statement {
                Statement::Set(to, from, op, value) => {
                    let op = op.0;
                    match value {
                        Value::Register(b) => {
                            self.line(format_args!("{op} %r{to}, %r{from}, %r{b};"))
                        }
                        Value::Constant(b) => {
                            self.line(format_args!("{op} %r{to}, %r{from}, {b};"))
                        }
                    }
                }
                Statement::If(register, bits, bound, then, otherwise) => {
                    let (other, done) = (self.label(), self.label());
                    let mask = (1u32 << bits) - 1;
                    self.line(format_args!("and.b32 %r30, %r{register}, {mask};"));
                    self.line(format_args!("setp.ge.u32 %p0, %r30, {bound};"));
                    self.line(format_args!("@%p0 bra {other};"));
                    self.statements(then, end);
                    self.line(format_args!("bra {done};\n{other}:"));
                    self.statements(otherwise, end);
                    self.line(format_args!("{done}:"));
                }
                Statement::Loop(register, more, body) => {
                    let (again, done) = (self.label(), self.label());
                    let counter = format!("%count{}", self.counters);
                    self.counters += 1;
                    self.line(format_args!(".reg .b32 {counter};"));
                    self.line(format_args!("and.b32 {counter}, %r{register}, 3;"));
                    self.line(format_args!(
                        "add.u32 {counter}, {counter}, {more};\n{again}:"
                    ));
                    self.line(format_args!("setp.eq.u32 %p0, {counter}, 0;"));
                    self.line(format_args!("@%p0 bra {done};"));
                    self.line(format_args!("sub.u32 {counter}, {counter}, 1;"));
                    self.statements(body, &done);
                    self.line(format_args!("bra {again};\n{done}:"));
                }
                Statement::Break(register) => {
                    self.line(format_args!("and.b32 %r30, %r{register}, 1;"));
                    self.line(format_args!("setp.ne.u32 %p0, %r30, 0;"));
                    self.line(format_args!("@%p0 bra {end};"));
                }
            }
        }
    }
}

fn set() -> impl Strategy<Value = Statement> {
    let ops = prop::sample::select(&OPS[..]);
    let values = prop_oneof![
        (0..REGISTERS).prop_map(Value::Register),
        any::<u32>().prop_map(Value::Constant)
    ];
    let registers = 0..REGISTERS;
    (registers.clone(), registers, ops, values)
        .prop_map(|(to, from, op, value)| Statement::Set(to, from, op, value))
}

fn statement() -> impl Strategy<Value = Statement> {
    set().prop_recursive(4, 40, 5, |inner| {
        let body = || prop::collection::vec(inner.clone(), 0..4);
        let register = 0..REGISTERS;
        let within =
            prop_oneof![4 => inner.clone(), 1 => register.clone().prop_map(Statement::Break)];
        prop_oneof![
            (register.clone(), 1..5u32, 0..16u32, body(), body()).prop_map(
                |(r, bits, bound, then, other)| Statement::If(r, bits, bound, then, other)
            ),
            (register, 0..3u32, prop::collection::vec(within, 1..5))
                .prop_map(|(register, more, body)| Statement::Loop(register, more, body)),
        ]
    })
}

fn phases() -> impl Strategy<Value = Vec<Phase>> {
    let phase = prop_oneof![
        4 => prop::collection::vec(statement(), 1..5).prop_map(Phase::Run),
        1 => (0..REGISTERS).prop_map(Phase::Ballot)
    ];
    prop::collection::vec(phase, 1..5)
}

/// What each thread has in its registers at the end.
fn expected(phases: &[Phase]) -> Vec<[u32; REGISTERS]> {
    let mut threads: Vec<[u32; REGISTERS]> = (0..THREADS as u32)
        .map(|tid| [tid, tid.wrapping_mul(0x9e37_79b9), 7, tid % 5])
        .collect();
    for phase in phases {
        match phase {
            Phase::Run(statements) => {
                for registers in &mut threads {
                    interpret(statements, registers);
                }
            }
            Phase::Ballot(register) => {
                for warp in threads.chunks_mut(32) {
                    let bits = (0..32).map(|lane| (warp[lane][*register] & 1) << lane);
                    let ballot = bits.fold(0, |all, bit| all | bit);
                    for registers in warp {
                        registers[*register] ^= ballot;
                    }
                }
            }
        }
    }
    threads
}

fn program(phases: &[Phase]) -> String {
    let mut writer = Writer::default();
    writer.line(format_args!(
        "mov.u32 %r0, %tid; mul.lo.u32 %r1, %tid, 0x9e3779b9;"
    ));
    writer.line(format_args!("mov.u32 %r2, 7; rem.u32 %r3, %tid, 5;"));
    for phase in phases {
        match phase {
            // A break outside of loops ends the phase.
            Phase::Run(statements) => {
                let end = writer.label();
                writer.statements(statements, &end);
                writer.line(format_args!("{end}:"));
            }
            Phase::Ballot(register) => {
                writer.line(format_args!("and.b32 %r30, %r{register}, 1;"));
                writer.line(format_args!("setp.ne.u32 %p0, %r30, 0;"));
                writer.line(format_args!("vote.sync.ballot.b32 %r30, %p0, 0xffffffff;"));
                writer.line(format_args!("xor.b32 %r{register}, %r{register}, %r30;"));
            }
        }
    }
    writer.line(format_args!(
        "mul.wide.u32 %rd0, %tid, 16; add.u64 %rd0, %out, %rd0;"
    ));
    writer.line(format_args!(
        "st.global.v4.u32 [%rd0], {{%r0, %r1, %r2, %r3}};"
    ));
    kernel(&writer.text)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]
    #[test]
    fn warps_compute_what_threads_one_by_one_do(phases in phases()) {
        let mut machine = Machine::new(REGISTERS * THREADS, &[0]);
        let run = machine.run(&program(&phases), 1, THREADS as u32);
        prop_assert!(run.is_ok(), "{run:?}");
        prop_assert_eq!(machine.output(), expected(&phases).concat());
    }
}

//! Errors of the parser name the place of what is wrong.

use ptx_emulator::syntax::parse;

use super::with_body;

#[track_caller]
fn check(source: &str, place: &str, fragment: &str) {
    let error = match parse(source) {
        Ok(module) => panic!("accepted:\n{source}\n{module}"),
        Err(error) => error.to_string(),
    };
    let expected = format!("{place}: ");
    assert!(
        error.starts_with(&expected),
        "{error}, not at {place}:\n{source}"
    );
    assert!(
        error.contains(fragment),
        "{error}, without `{fragment}`:\n{source}"
    );
}

/// Source, place and a part of the message.
#[rustfmt::skip] // A table: one line each.
const MODULES: [(&str, &str, &str); 41] = [
    ("", "1:1", "expected `.version` at the start of the module, found the end of the source"),
    ("\n\n  x", "3:3", "expected `.version`"),
    (".version 8", "1:10", "expected a version such as `8.0`, found `8`"),
    (".version 8.0", "1:13", "expected `.target`"),
    (".version 8.0\n.target 90", "2:9", "expected an architecture such as `sm_90`, found `90`"),
    (".version 8.0\n.target sm_90,", "2:15", "expected a target option"),
    (".version 8.0 .target sm_90\n.address_size 32", "2:15", "only 64-bit addresses"),
    (".version 8.0 .target sm_90\nadd", "2:1", "expected a directive of module scope, found `add`"),
    (".version 8.0 .target sm_90\n.reg .b32 r;", "2:1", "found `.reg`"),
    (".version 8.0 .target sm_90\n.local .b32 r;", "2:1", "found `.local`"),
    (".version 8.0 .target sm_90\n.visible .alias a, b;", "2:10", "found `.alias`"),
    (".version 8.0 .target sm_90\n.entry (", "2:8", "expected the name of a kernel, found `(`"),
    (".version 8.0 .target sm_90\n.entry 1k", "2:8", "`1k` is not a number"),
    (".version 8.0 .target sm_90\n.entry k(.b32 a)", "2:10", "expected `.param`, found `.b32`"),
    (
        ".version 8.0 .target sm_90\n.entry k(.param .b32 a,)",
        "2:24",
        "expected `.param`, found `)`",
    ),
    (
        ".version 8.0 .target sm_90\n.entry k(.param .b32 a b)",
        "2:24",
        "expected `,` or `)`, found `b`",
    ),
    (".version 8.0 .target sm_90\n.entry k(.param a)", "2:17", "expected a type, found `a`"),
    (
        ".version 8.0 .target sm_90\n.entry k(.param .b33 a)",
        "2:17",
        "expected a type, found `.b33`",
    ),
    (".version 8.0 .target sm_90\n.func (.reg .b32 r) f;", "2:8", "parameters in registers"),
    (
        ".version 8.0 .target sm_90\n.entry k() .fast {",
        "2:12",
        "expected a performance directive, `{` or `;`, found `.fast`",
    ),
    (".version 8.0 .target sm_90\n.entry k() .reqntid 0", "2:21", "must be from 1 to"),
    (
        ".version 8.0 .target sm_90\n.entry k() .maxntid 1, x",
        "2:24",
        "expected a number of threads or blocks, found `x`",
    ),
    (".version 8.0 .target sm_90\n.entry k() .pragma \"a\" {", "2:24", "expected `,` or `;`"),
    (".version 8.0 .target sm_90\n.pragma \"a\n\";", "2:9", "string is not closed"),
    (".version 8.0 .target sm_90\n/* ... ", "2:1", "comment is not closed"),
    (".version 8.0 .target sm_90\n.file 1 a", "2:9", "expected the name of a file"),
    (".version 8.0 .target sm_90\n.section .debug {", "2:18", "`}` of the section, found the end"),
    (
        ".version 8.0 .target sm_90\n.global .align 3 .b32 a;",
        "2:16",
        "alignment 3 is not a power of two",
    ),
    (".version 8.0 .target sm_90\n.global .pred a;", "2:9", "a predicate lives in a register"),
    (".version 8.0 .target sm_90\n.global .v4 .b64 a;", "2:13", "at most 128 bits"),
    (".version 8.0 .target sm_90\n.global .b32 a[];", "2:14", "the size of `a` is missing"),
    (".version 8.0 .target sm_90\n.global .b32 a[0];", "2:16", "at least one element"),
    (".version 8.0 .target sm_90\n.global .b32 a[2][];", "2:19", "expected a constant, found `]`"),
    (
        ".version 8.0 .target sm_90\n.global .b32 a[4294967296][4294967296];",
        "2:28",
        "larger than any memory",
    ),
    (
        ".version 8.0 .target sm_90\n.global .b32 a[2] = {1, 2, 3};",
        "2:28",
        "more values than the 2",
    ),
    (
        ".version 8.0 .target sm_90\n.global .b32 a[2] = {1, };",
        "2:25",
        "expected a value, found `}`",
    ),
    (".version 8.0 .target sm_90\n.global .b32 a[2] = 1;", "2:21", "expected `{`"),
    (".version 8.0 .target sm_90\n.global .b32 a = {1};", "2:18", "expected one value, found `{`"),
    (
        ".version 8.0 .target sm_90\n.global .b64 a = generic(b);",
        "2:18",
        "an address as initial value is not supported: `generic`",
    ),
    (
        ".version 8.0 .target sm_90\n.global .u32 a = 1.5;",
        "2:18",
        "a floating-point value cannot initialise `.u32`",
    ),
    (".version 8.0 .target sm_90\n.extern .global .b32 a = 1;", "2:24", "initial values"),
];

/// Body (its first line is line 5), place and a part of the message.
#[rustfmt::skip] // A table: one line each.
const BODIES: [(&str, &str, &str); 61] = [
    ("add.s32 a, b, c", "6:1", "expected `,` or `;`, found `}`"),
    ("add.s32 a, b\nsub.s32 a, b;", "6:1", "expected `,` or `;`, found `sub`"),
    ("add.s32 a b;", "5:11", "found `b`"),
    ("add.s32 a,;", "5:11", "expected an operand, found `;`"),
    ("add.s32 , a;", "5:9", "expected an operand, found `,`"),
    ("add. a;", "5:4", "expected a name after `.`"),
    ("%r1;", "5:1", "expected an instruction, found `%r1`"),
    ("ret;;", "5:5", "expected a statement or `}`, found `;`"),
    ("5;", "5:1", "expected a statement or `}`, found `5`"),
    ("ret; é", "5:6", "no token starts with `é`"),
    ("/* é */ ret §", "5:13", "no token starts with `§`"),
    ("\tret #", "5:6", "expected an operand, found `#`"),
    ("@ bra;", "5:6", "expected an instruction, found `;`"),
    ("@!! bra L;", "5:3", "expected the predicate of a guard, found `!`"),
    ("@p { ret; }", "5:4", "expected an instruction, found `{`"),
    ("@p .reg .b32 r;", "5:4", "expected an instruction, found `.reg`"),
    ("@p L: ret;", "5:5", "expected an operand, found `:`"),
    (".maxntid 3", "5:1", "expected a statement or `}`, found `.maxntid`"),
    (".extern .shared .b8 s[];", "5:1", "found `.extern`"),
    ("L: .branchtargets A, B;", "5:4", "`.branchtargets` is not supported"),
    (".reg r;", "5:6", "expected a type, found `r`"),
    (".reg .b32;", "5:10", "expected the name of a register"),
    (".reg .b32 r,;", "5:13", "expected the name of a register, found `;`"),
    (".reg .b32 a.x;", "5:12", "expected `<`, `,` or `;`, found `.x`"),
    (".reg .v4 .b32 v;", "5:6", "vector registers are not supported"),
    (".reg .b32 WARP_SZ;", "5:11", "found `WARP_SZ`"),
    (
        ".reg .b32 %r<4000000000>;",
        "5:14",
        "4000000000 names in one declaration; the limit is 65536",
    ),
    (".reg .b32 %r<65537>;", "5:14", "the limit is 65536"),
    (".reg .b32 %r<-1>;", "5:14", "expected a number of names, found `-`"),
    (".reg .b32 %r<4;", "5:15", "expected `>`, found `;`"),
    (".shared .b32 s = 4;", "5:16", "only `.const` and `.global` variables"),
    (".global .b32 s<2> = 4;", "5:19", "parameterised names have no initial values"),
    (".global .f16 h = 1;", "5:18", "`.f16` variables have no initial values"),
    (".global .f32 f = 1e39;", "5:18", "beyond single precision"),
    (".global .f64 f = 0f3F800000;", "5:18", "a single-precision value cannot initialise `.f64`"),
    (".global .f32 f = 1;", "5:18", "an integer cannot initialise `.f32`"),
    ("mov.b32 a, 0x;", "5:12", "`0x` is not a number"),
    ("mov.b32 a, 089;", "5:12", "`089` is not a number"),
    ("mov.b32 a, 0b12;", "5:12", "`0b12` is not a number"),
    ("mov.b32 a, 5u;", "5:12", "`5u` is not a number"),
    ("mov.b32 a, 18446744073709551616;", "5:12", "does not fit 64 bits"),
    ("mov.b32 a, 0f3F80;", "5:12", "`0f` takes 8 hexadecimal digits"),
    ("mov.b32 a, 0d3F800000;", "5:12", "`0d` takes 16 hexadecimal digits"),
    ("mov.b32 a, 1e999;", "5:12", "beyond double precision"),
    ("mov.b32 a, -0f3F800000;", "5:13", "takes no sign"),
    ("mov.b32 a, -b;", "5:13", "expected a constant, found `b`"),
    ("mov.b32 a, 5%3;", "5:13", "expected `,` or `;`, found `%3`"),
    ("mov.b32 a, 5/(2-2);", "5:13", "division by zero"),
    ("mov.b32 a, 1 + 1.0;", "5:14", "expected an integer"),
    ("mov.b32 a, (1 + 2;", "5:18", "expected an operator or `)`, found `;`"),
    ("mov.b32 a, (.u32)5;", "5:13", "the cast `(.s64)` or `(.u64)`, found `.u32`"),
    ("mov.b32 a, 1 ? 2;", "5:17", "expected `:` of `? :`"),
    ("mov.b32 {a, {b}}, c;", "5:13", "expected a register or constant, found `{`"),
    ("mov.b32 {}, c;", "5:10", "expected a register or constant, found `}`"),
    ("mov.b32 {a, c;", "5:14", "expected `,` or `}`, found `;`"),
    ("ld.b32 a, [b*4];", "5:13", "expected `+`, `-` or `]`, found `*`"),
    ("ld.b32 a, [b+c];", "5:14", "expected a constant, found `c`"),
    ("ld.b32 a, [];", "5:12", "expected a constant, found `]`"),
    ("tex.2d.v4.f32.f32 d, [a, {x, y}];", "5:24", "coordinates are not supported"),
    ("setp.eq.s32 p|5, a, b;", "5:15", "expected the second register of a pair, found `5`"),
    ("call (r, f;", "5:11", "expected `,` or `)`, found `;`"),
];

#[test]
fn modules() {
    for (source, place, fragment) in MODULES {
        check(source, place, fragment);
    }
}

#[test]
fn bodies() {
    for (body, place, fragment) in BODIES {
        check(&with_body(body), place, fragment);
    }
}

/// Limits on the sum of many declarations.
#[test]
fn limits_of_a_module() {
    let registers = ".reg .b32 %r<65536>;\n".repeat(17);
    check(
        &with_body(&registers),
        "21:14",
        "more than 1048576 parameterised names",
    );
    let bytes = ".global .b8 a[100000000] = {1};\n".repeat(3);
    check(&with_body(&bytes), "7:30", "bytes of initialised variables");
    let rows = format!(".global .b8 a[][100000000] = {{{}}};", "{},".repeat(10));
    check(&with_body(&rows), "5:38", "bytes of initialised variables");
}

/// A token of any length makes a message of one short line.
#[test]
fn messages_are_short() {
    let long = "a".repeat(100_000);
    for body in [format!("ret {long} {long};"), format!("mov a, 0x{long}g;")] {
        let error = parse(&with_body(&body)).expect_err("malformed").to_string();
        assert!(error.len() < 200 && !error.contains('\n'), "{error}");
    }
}

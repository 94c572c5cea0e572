//! Listings in the shape that nvdisasm prints them, written by hand with the answers worked out on
//! paper; and the tools themselves where they are there.

use mxlab_harness::assemble::{Assembler, Disassembler, Job, ToolError};
use mxlab_harness::sass::{Class, Function, SassError, Space, parse};
use not_run::not_run;
use std::collections::BTreeSet;

/// A section around lines of code.
fn section(name: &str, code: &str) -> String {
    let mut address = 0;
    let mut lines = String::new();
    for line in code.lines().map(str::trim).filter(|line| !line.is_empty()) {
        if line.ends_with(':') || line.starts_with('.') {
            lines.push_str(&format!("{line}\n"));
        } else {
            lines.push_str(&format!(
                "        /*{address:04x}*/                   {line} ;\n"
            ));
            address += 16;
        }
    }
    format!(
        "\t.target\tsm_90\n\n\
         //--------------------- .nv.info --------------------------\n\
         \t.section\t.nv.info,\"\",@\"SHT_CUDA_INFO\"\n\
         \x20       /*0000*/ \t.byte\t0x04, 0x2f\n\n\
         //--------------------- .text.{name} --------------------------\n\
         \t.section\t.text.{name},\"ax\",@progbits\n\
         \t.sectioninfo\t@\"SHI_REGISTERS=32\"\n\
         \t.align\t128\n\
         \x20       .global         {name}\n\
         \x20       .type           {name},@function\n\
         {name}:\n\
         .text.{name}:\n\
         {lines}\n\
         //--------------------- SYMBOLS --------------------------\n\
         \t.type\t\t.nv.reservedSmem.offset0,@object\n"
    )
}

fn function(code: &str) -> Function {
    let mut functions = parse(&section("k", code)).unwrap();
    functions.swap_remove(0)
}

#[test]
fn straight_code_is_all_body() {
    // Two loads in flight before the first use, then one more: two waits. What follows EXIT is
    // padding.
    let function = function(
        "S2R R0, SR_TID.X
         ULDC.64 UR4, c[0x0][0x208]
         IMAD.WIDE R2, R0, 0x10, R8
         LDG.E.128 R4, desc[UR4][R2.64]
         LDG.E.64 R10, desc[UR4][R2.64+0x10]
         FADD R12, R11, R7
         LDG.E.U8 R13, desc[UR4][R2.64+0x20]
         .L_x_1:
         SHFL.BFLY PT, R14, R12, 0x1, 0x1f
         HFMA2.MMA.BF16_V2 R14, R14, 0.5, 0.5, -RZ
         @!P0 LOP3.LUT R14, R14, R13, RZ, 0xc0, !PT
         STG.E desc[UR4][R2.64], R14
         @!P0 EXIT
         STG.E.U8 desc[UR4][R2.64+0x4], R14
         EXIT
         .L_x_0:
         BRA `(.L_x_0)
         NOP",
    );
    let body = function.body();
    assert!(!body.is_loop);
    assert_eq!((body.slots(), body.inner_loops, body.calls), (14, 0, 0));
    // 16 + 8 + 1 read, 4 + 1 written.
    assert_eq!(body.global_bytes(), 30.0);
    let mix = body.mix();
    let counts: Vec<_> = mix.present().collect();
    let expected = [
        (Class::Fp32, 1),
        (Class::IntegerMultiply, 1),
        (Class::Half, 1),
        (Class::Alu, 1),
        (Class::Global, 5),
        (Class::Shuffle, 2),
        (Class::Control, 2),
        (Class::Constant, 1),
    ];
    assert_eq!(counts, expected);
    assert_eq!(mix.total(), body.slots());
}

#[test]
fn the_longer_side_of_a_branch_counts() {
    let function = function(
        "ISETP.GE.AND P0, PT, R0, RZ, PT
         @P0 BRA `(.L_x_1)
         FADD R1, R1, R1
         FADD R1, R1, R1
         FADD R1, R1, R1
         BRA `(.L_x_2)
         .L_x_1:
         DADD R2, R2, R2
         .L_x_2:
         BRA.DIV UR4, `(.L_x_3)
         STG.E [R4.64], R1
         EXIT
         .L_x_3:
         WARPSYNC.COLLECTIVE R5, `(.L_x_4)
         .L_x_4:
         BRA `(.L_x_2)",
    );
    let body = function.body();
    // Not the DADD, and not what only a warp that has come apart goes through.
    assert_eq!(body.slots(), 9);
    assert_eq!(body.mix().count(Class::Fp64), 0);
    assert!(function.graph.loops().is_empty());
}

#[test]
fn the_innermost_loop_with_traffic_is_the_main_one() {
    let function = function(
        "MOV R0, RZ
         .L_x_0:
         LDG.E.128 R4, [R2.64]
         .L_x_1:
         LDG.E.64 R8, [R2.64]
         LDG.E.64 R10, [R2.64+0x8]
         .L_x_2:
         FADD R8, R8, R10
         ISETP.GE.AND P1, PT, R8, RZ, PT
         @P1 BRA `(.L_x_2)
         @P0 BRA `(.L_x_1)
         @P2 BRA `(.L_x_0)
         .L_x_3:
         LDG.E.U8 R12, [R2.64]
         @P3 BRA `(.L_x_3)
         STG.E [R2.64], R12
         EXIT",
    );
    // Blocks: 0 MOV, 1 at L_0, 2 at L_1, 3 at L_2, 4 and 5 after it, 6 at L_3, 7.
    let loops: Vec<(usize, BTreeSet<usize>)> = function
        .graph
        .loops()
        .iter()
        .map(|l| (l.head, l.blocks.clone()))
        .collect();
    let expected = [
        (1, BTreeSet::from([1, 2, 3, 4, 5])),
        (2, BTreeSet::from([2, 3, 4])),
        (3, BTreeSet::from([3])),
        (6, BTreeSet::from([6])),
    ];
    assert_eq!(loops, expected);
    // L_1 moves 16 bytes a trip, L_3 one; L_2 moves none and is gone through once.
    let body = function.body();
    assert!(body.is_loop);
    assert_eq!((body.slots(), body.inner_loops), (6, 1));
    assert_eq!(body.global_bytes(), 16.0);
}

#[test]
fn subroutines_are_functions_of_their_own() {
    let function = section(
        "k",
        "FCHK P0, R0, R1
         @!P0 BRA `(.L_x_0)
         CALL.REL.NOINC `($__internal_0_$slow)
         .L_x_0:
         STL [R1], R2
         EXIT
         .weak           $__internal_0_$slow
         .type           $__internal_0_$slow,@function
         $__internal_0_$slow:
         LDL.64 R2, [R1]
         RET.REL.NODEC R8 `(k)",
    );
    let functions = parse(&function).unwrap();
    let names: Vec<_> = functions.iter().map(|f| f.name.as_str()).collect();
    assert_eq!(names, ["k", "$__internal_0_$slow"]);
    let body = Function::named(&functions, "k").unwrap().body();
    assert_eq!((body.slots(), body.calls), (5, 1));
    let spaces: Vec<_> = body.accesses().map(|access| access.space).collect();
    assert_eq!(spaces, [Space::Local]);
    let missing = Function::named(&functions, "j").unwrap_err();
    assert_eq!(missing, SassError::NoFunction("j".to_owned()));
}

#[test]
fn what_is_not_understood_is_an_error() {
    let error = |code| parse(&section("k", code)).unwrap_err();
    assert!(matches!(
        error("ld.global R4"),
        SassError::Line { line: 15, .. }
    ));
    assert!(matches!(error("BRA `(.L_x_9)"), SassError::Label { .. }));
    assert!(matches!(
        error("NOP\nBRX R4 -0x1a0"),
        SassError::Indirect { address: 16, .. }
    ));
    assert_eq!(parse("").unwrap().len(), 0);
    assert_eq!(function("").body().slots(), 0);
}

/// A kernel around `body`, whose first line is line 8 of the text.
fn kernel(body: &str) -> Job {
    let ptx = format!(
        ".version 7.8\n.target sm_80\n.address_size 64\n\
         .visible .entry k(.param .u64 src)\n{{\n\
         .reg .b64 %rd<2>; .reg .b32 %r<4>; .shared .align 16 .b8 tile[512];\n\
         ld.param.u64 %rd0, [src];\n{body}\nret;\n}}\n"
    );
    Job {
        module: "k".to_owned(),
        ptx,
        target: "sm_80".parse().unwrap(),
    }
}

#[test]
fn the_tools_answer() {
    let tools = Assembler::find().and_then(|a| Ok((Disassembler::find(&a)?, a)));
    let (disassembler, assembler) = match tools {
        Ok(tools) => tools,
        Err(error) => {
            not_run("the_tools_answer", &error.needed());
            return;
        }
    };
    let good = kernel(
        "ld.global.b32 %r0, [%rd0];\nst.shared.b32 [tile], %r0;\nbar.sync 0;\n\
         ld.shared.b32 %r1, [tile];\nst.global.b32 [%rd0], %r1;",
    );
    let assembled = assembler.assemble(&good).unwrap();
    let resources = assembled.resources;
    assert_eq!(
        (resources.static_shared_bytes, resources.barriers),
        (512, 1)
    );
    assert!(!resources.uses_local_memory() && resources.registers >= 4);
    let listing = disassembler.listing("k", &assembled.cubin).unwrap();
    let functions = parse(&listing).unwrap();
    let mix = Function::named(&functions, "k").unwrap().body().mix();
    assert_eq!((mix.count(Class::Global), mix.count(Class::Shared)), (2, 2));

    let typo = kernel("ld.global.b33 %r0, [%rd0];");
    let error = assembler.assemble(&typo).map(|_| ()).unwrap_err();
    let ToolError::Rejected { diagnostics, .. } = &error else {
        panic!("{error}");
    };
    assert_eq!(diagnostics[0].line, Some(8), "{error}");
    assert!(error.to_string().contains(".b33"), "{error}");

    // An index that only the run knows.
    let local = kernel(
        ".local .b8 own[4096];\nld.global.b32 %r0, [%rd0];\nmov.u64 %rd1, own;\n\
         mad.wide.u32 %rd1, %r0, 4, %rd1;\nst.local.b32 [%rd1], %r0;\n\
         ld.global.b32 %r0, [%rd0+4];\nmov.u64 %rd1, own;\nmad.wide.u32 %rd1, %r0, 4, %rd1;\n\
         ld.local.b32 %r1, [%rd1];\nst.global.b32 [%rd0], %r1;",
    );
    let error = assembler.assemble(&local).map(|_| ()).unwrap_err();
    assert!(matches!(error, ToolError::LocalMemory { .. }), "{error}");

    let unknown = Job {
        target: "sm_77".parse().unwrap(),
        ..good.clone()
    };
    let error = assembler.assemble(&unknown).map(|_| ()).unwrap_err();
    assert!(error.to_string().contains("sm_77"), "{error}");

    let error = disassembler.listing("junk", b"no ELF").unwrap_err();
    assert!(matches!(error, ToolError::Report { .. }), "{error}");

    // Each result at its job's place, whichever core was first.
    let jobs = (0..20).map(|n| {
        if n % 3 == 0 {
            typo.clone()
        } else {
            good.clone()
        }
    });
    let passed = assembler.assemble_all(jobs, |_, result| result.is_ok());
    let expected: Vec<bool> = (0..20).map(|n| n % 3 != 0).collect();
    assert_eq!(passed, expected);
}

//! The PTX kernels as text: every one renders, names are unique, launches fit, and ptxas takes a
//! sample for each SM version without spills.

use mxlab_harness::assemble::{Assembler, Disassembler, Job};
use mxlab_harness::roofline::{Chip, Limiter, Occupancy, Work, predict};
use mxlab_harness::sass::{Direction, Function, Space, parse};
use mxlab_kernels::family::attention::{AttentionRegime, AttentionVariant};
use mxlab_kernels::family::block::{Addressing, BlockOperation, BlockVariant, Target};
use mxlab_kernels::family::matmul::MatmulVariant;
use mxlab_kernels::format::{
    BlockFormat, Dialect, ElementFormat, FloatType, Rounding, ScaleFormat, ScaleRule,
};
use mxlab_kernels::fragment::FragmentFormat;
use mxlab_kernels::kernel::{Kernel, LaunchError, VariantError};
use mxlab_kernels::registry::{Entry, Shape, kernels};
use mxlab_kernels::support::Part;
use not_run::not_run;
use ptx_emulator::launch::Kernels;
use std::collections::{HashMap, HashSet};

/// Checks what must hold of any kernel's text.
fn check_text(variant: &BlockVariant) {
    let (id, text) = (variant.id(), variant.ptx());
    assert!(
        id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_'),
        "{id} is no PTX name"
    );
    assert_eq!(text.matches(".visible .entry ").count(), 1, "{id}");
    assert!(text.contains(&format!(".visible .entry {id}(")), "{id}");
    for inexact in ["approx", "ftz", ".full"] {
        assert!(!text.contains(inexact), "{id} uses {inexact}");
    }
    let parameters: Vec<&str> = text
        .lines()
        .filter_map(|line| line.strip_prefix("    .param ."))
        .filter_map(|line| Some(line.split_once(' ')?.1.trim_end_matches(',')))
        .collect();
    for read in text.lines().filter(|line| line.contains("ld.param")) {
        let name = read.split(['[', ']']).nth(1).unwrap();
        assert!(parameters.contains(&name), "{id} has no {name}");
    }
}

#[test]
fn every_kernel_renders_to_one_entry_named_after_it() {
    let mut ids = HashSet::new();
    let mut families: HashMap<BlockOperation, usize> = HashMap::new();
    for variant in BlockVariant::all() {
        check_text(&variant);
        assert!(ids.insert(variant.id()), "{variant} occurs twice");
        *families.entry(variant.operation()).or_default() += 1;
    }
    assert_eq!(families.len(), BlockOperation::ALL.len());
}

/// Instructions whose results nothing that can be seen depends on.
fn dead(variant: &BlockVariant) -> Vec<String> {
    let kernels = Kernels::load(&variant.ptx()).unwrap();
    let instructions = &kernels.programs()[0].instructions;
    let mut needed = HashSet::new();
    let mut is_live = vec![false; instructions.len()];
    loop {
        let before = needed.len();
        for (instruction, is_live) in instructions.iter().zip(&mut is_live) {
            // Stores, branches, barriers: what they do is not in their registers.
            let is_seen = instruction.writes.is_empty();
            *is_live |= is_seen || instruction.writes.iter().any(|r| needed.contains(r));
            if *is_live {
                needed.extend(&instruction.reads);
                needed.extend(instruction.guard.map(|(register, _)| register));
            }
        }
        if needed.len() == before {
            break;
        }
    }
    let dead = instructions
        .iter()
        .zip(is_live)
        .filter(|(_, is_live)| !is_live);
    dead.map(|(i, _)| format!("{variant}:{} {}", i.position, i.text))
        .collect()
}

#[test]
fn no_instruction_is_dead() {
    let dead: Vec<String> = BlockVariant::all()
        .step_by(89)
        .flat_map(|v| dead(&v))
        .collect();
    assert!(dead.is_empty(), "{} dead:\n{}", dead.len(), dead.join("\n"));
}

#[test]
fn formats_that_the_list_leaves_out_render_too() {
    let mut rendered = 0;
    for &element in ElementFormat::ALL {
        for (scale, rule) in ScaleFormat::all()
            .flat_map(|scale| ScaleRule::ALL.into_iter().map(move |rule| (scale, rule)))
        {
            for (dialect, rounding) in Dialect::ALL
                .into_iter()
                .flat_map(|d| Rounding::ALL.into_iter().map(move |r| (d, r)))
            {
                let format = BlockFormat::new(element).scale(scale).rule(rule);
                let Ok(format) = format.dialect(dialect).rounding(rounding).build() else {
                    continue;
                };
                for family in BlockOperation::ALL {
                    let variant =
                        BlockVariant::new(family, format, FloatType::Bf16, Addressing::Aligned);
                    if let Ok(variant) = variant {
                        check_text(&variant);
                        rendered += 1;
                    }
                }
            }
        }
    }
    assert!(rendered > 1000, "{rendered}");
}

#[test]
fn formats_without_a_kernel_are_refused_with_the_reason() {
    let fp4 = BlockFormat::new(ElementFormat::FP4_E2M1);
    let new = |format, dense| {
        BlockVariant::new(BlockOperation::Quantize, format, dense, Addressing::Ragged)
    };
    let odd = fp4.block_size(48).build().unwrap();
    let refused = |result: Result<BlockVariant, VariantError>| match result {
        Err(VariantError::Unsupported(unsupported)) => Some(unsupported.part),
        _ => None,
    };
    assert_eq!(refused(new(odd, FloatType::F32)), Some(Part::BlockSize));
    let torch = fp4.dialect(Dialect::MicroxcalingTorch);
    let cut = torch.rounding(Rounding::TowardZero).build().unwrap();
    assert_eq!(refused(new(cut, FloatType::F32)), Some(Part::Rounding));
    let torch = torch.build().unwrap();
    assert!(matches!(
        new(torch, FloatType::F16),
        Err(VariantError::Format(_))
    ));
    for &element in ElementFormat::ALL {
        let format = BlockFormat::new(element).build().unwrap();
        let is_refused = refused(new(format, FloatType::F32)) == Some(Part::Element);
        let caches = [Some(&format), None];
        let attention = AttentionVariant::new(caches, 64, AttentionRegime::Decode);
        let weights = FragmentFormat::new(&format);
        assert_eq!(is_refused, element.bits() < 4, "{element}");
        assert_eq!(is_refused, attention.is_err(), "{element}");
        let weights = weights.err().map(|unsupported| unsupported.part);
        assert_eq!(is_refused, weights == Some(Part::Element), "{element}");
    }
}

#[test]
fn grids_cover_every_element_and_never_wrap() {
    let format = BlockFormat::new(ElementFormat::FP4_E2M1).build().unwrap();
    let variant = |access| {
        BlockVariant::new(BlockOperation::Quantize, format, FloatType::Bf16, access).unwrap()
    };
    for addressing in Addressing::ALL {
        let signature = variant(addressing).signature();
        let grid = |rows, cols| {
            let sizes = [("rows", rows), ("cols", cols), ("src_stride", cols)];
            let grid = signature.thread_blocks(&sizes.into_iter().collect());
            grid.map(|[blocks, ..]| blocks)
        };
        let blocks = |rows, cols| grid(rows, cols).unwrap();
        assert_eq!(blocks(0, 4096), 0);
        // 8 elements a thread, 256 threads: 2048 elements a thread block; short rows round up to k.
        assert_eq!(blocks(1, 2048), 1);
        assert_eq!(blocks(1, 2080), 2);
        assert_eq!(blocks(8192, 8192), 8192 * 8192 / 2048);
        if addressing == Addressing::Ragged {
            assert_eq!(blocks(1, 1), 1);
            assert_eq!(blocks(128, 33), 128 * 64 / 2048);
        }
        // 2^35 elements are 2^32 threads.
        assert_eq!(blocks(1 << 20, (1 << 15) - 32), (1 << 24) - (1 << 14));
        for [rows, cols] in [
            [1 << 20, 1 << 15],
            [1 << 27, 1 << 8],
            [1 << 31, 32],
            [1, usize::MAX],
        ] {
            let is_refused = matches!(grid(rows, cols), Err(LaunchError::Layout { .. }));
            assert!(is_refused, "{rows} x {cols}");
        }
    }
}

fn job(entry: &dyn Entry, sm: &str) -> Job {
    Job {
        module: entry.id().into(),
        ptx: entry.ptx(),
        target: sm.parse().unwrap(),
    }
}

/// One kernel in `STRIDE`, another one for each SM version; a prime, so that no axis is skipped.
/// `MXLAB_PTXAS_STRIDE=1` assembles all.
const STRIDE: usize = 709;
/// The same of matmul.
const MATMUL_STRIDE: usize = 97;

#[test]
fn ptxas_assembles_a_sample_without_spills() {
    let assembler = match Assembler::find() {
        Ok(assembler) => assembler,
        Err(error) => {
            return not_run("ptxas_assembles_a_sample_without_spills", &error.needed());
        }
    };
    let stride = std::env::var("MXLAB_PTXAS_STRIDE").ok();
    let stride = stride
        .and_then(|stride| stride.parse().ok())
        .unwrap_or(STRIDE);
    let sms = ["80", "86", "89", "90", "100a", "120a"];
    let jobs = sms.into_iter().enumerate().flat_map(|(n, sm)| {
        let number = sm.trim_end_matches('a').parse().unwrap();
        let boxed = |variant: BlockVariant| Box::new(variant) as Box<dyn Entry>;
        let sample = kernels().filter(move |entry| entry.runs_on(number));
        let sample = sample.skip(n * stride / 6).step_by(stride);
        let fits = move |variant: &BlockVariant| variant.target().runs_on(number);
        let conversions = Target::ALL.into_iter().flat_map(conversions).filter(fits);
        let always = [flagship(), tensor_scale()].into_iter().chain(conversions);
        // Few of the registry, and large: more of them.
        let matmuls = MatmulVariant::all().skip(n * MATMUL_STRIDE / 6);
        let matmuls = matmuls.step_by(MATMUL_STRIDE.min(stride));
        let matmuls = matmuls.filter(move |variant| variant.runs_on(number));
        sample
            .chain(always.map(boxed))
            .chain(matmuls.map(|variant| Box::new(variant) as Box<dyn Entry>))
            .map(move |entry| job(&*entry, sm))
    });
    // Their listings are read too, where that tool is there.
    let disassembler = Disassembler::find(&assembler)
        .inspect_err(|error| not_run("reading the listings of a sample", &error.needed()))
        .ok();
    let read = |job: &Job, cubin: &[u8]| {
        let disassembler = disassembler.as_ref()?;
        let listing = disassembler.listing(&job.module, cubin).unwrap();
        let functions = parse(&listing).map_err(|error| format!("{}: {error}", job.module));
        functions
            .map(|f| Function::named(&f, &job.module).unwrap().body().slots())
            .map_or_else(Some, |slots| (slots < 10).then(|| job.module.clone()))
    };
    let flagship = flagship().id();
    let failures = assembler.assemble_all(jobs, |job, assembled| match assembled {
        Ok(assembled) if flagship == job.module && assembled.resources.registers > 32 => Some(
            format!("{flagship} for {}: {:?}", job.target, assembled.resources),
        ),
        Ok(assembled) => read(job, &assembled.cubin),
        Err(error) => Some(error.to_string()),
    });
    let failed: Vec<&String> = failures.iter().flatten().collect();
    assert!(failures.len() > 4 && failed.is_empty(), "{failed:#?}");
}

#[test]
fn the_flagship_is_predicted_at_the_speed_of_a_copy() {
    let tools = Assembler::find().and_then(|a| Ok((Disassembler::find(&a)?, a)));
    let (disassembler, assembler) = match tools {
        Ok(tools) => tools,
        Err(error) => {
            return not_run(
                "the_flagship_is_predicted_at_the_speed_of_a_copy",
                &error.needed(),
            );
        }
    };
    let (variant, id) = (flagship(), flagship().id());
    let assembled = assembler.assemble(&job(&variant, "90")).unwrap();
    let listing = disassembler.listing(&id, &assembled.cubin).unwrap();
    let functions = parse(&listing).unwrap();
    let function = Function::named(&functions, &id).unwrap();
    let in_local = |i: &mxlab_harness::sass::Instruction| {
        i.access()
            .is_some_and(|access| access.space == Space::Local)
    };
    assert!(
        !functions
            .iter()
            .flat_map(|f| f.graph.instructions())
            .any(in_local)
    );

    let body = function.body();
    assert!(!body.is_loop && body.inner_loops == 0 && body.calls == 0);
    let bits = |direction| {
        let accesses = body.accesses().filter(move |a| a.space == Space::Global);
        let chosen = accesses.filter(move |a| a.direction == direction);
        chosen.map(|a| a.bits).collect::<Vec<_>>()
    };
    // Eight bf16, eight FP4 codes, and of one lane in four the scale.
    assert_eq!(bits(Direction::Load), [128]);
    assert_eq!(bits(Direction::Store), [32, 8]);

    let chip: Chip = "H200".parse().unwrap();
    let threads = BlockVariant::block_threads(&variant);
    let occupancy = Occupancy::new(&chip, threads, assembled.resources.registers, 0).unwrap();
    assert_eq!(occupancy.fraction(), 1.0);
    let (rows, cols) = (8192, 8192);
    let shape = Shape {
        rows,
        cols,
        tokens: None,
    };
    let work = Work {
        bytes: variant.bytes(shape),
        elements: (rows * cols) as u64,
        elements_per_pass: f64::from(variant.elements_per_thread()),
    };
    // 2 bytes read; half a byte and a 32nd of a byte written.
    assert_eq!(work.bytes, 67_108_864 * 81 / 32);
    let predicted = predict(&chip, &occupancy, &body, &work);
    assert!(predicted.slots_per_element <= 17.0, "{predicted:?}");
    assert_eq!(predicted.limiter, Limiter::Memory, "{predicted:?}");
    assert!(predicted.copy_fraction >= 0.9, "{predicted:?}");
}

/// bf16 to MXFP4, aligned.
fn flagship() -> BlockVariant {
    let format = BlockFormat::new(ElementFormat::FP4_E2M1).build().unwrap();
    BlockVariant::new(
        BlockOperation::Quantize,
        format,
        FloatType::Bf16,
        Addressing::Aligned,
    )
    .unwrap()
}

/// The tensor scale of NVFP4.
fn tensor_scale() -> BlockVariant {
    let (family, format) = (BlockOperation::TensorScale, BlockFormat::NVFP4);
    BlockVariant::new(family, format, FloatType::Bf16, Addressing::Ragged).unwrap()
}

/// One kernel for each conversion of a target, either way.
fn conversions(target: Target) -> impl Iterator<Item = BlockVariant> {
    let elements = ElementFormat::ALL.iter();
    elements.flat_map(move |&element| {
        let format = BlockFormat::new(element).build().unwrap();
        let families = [
            BlockOperation::Quantize,
            BlockOperation::Dequantize,
            BlockOperation::FakeQuantize,
        ];
        families.into_iter().filter_map(move |family| {
            let variant = BlockVariant::new(family, format, FloatType::Bf16, Addressing::Aligned);
            variant.ok()?.with_conversions(target)
        })
    })
}

//! The PTX kernels as text: every one renders, names are unique, launches fit, and ptxas takes a
//! sample for each SM version without spills.

use mxlab_kernels::format::{
    BlockFormat, Dialect, ElementFormat, FloatType, Rounding, ScaleFormat, ScaleRule,
};
use mxlab_kernels::ptx::{Access, Family, Target, Variant, VariantError, render};
use std::collections::{HashMap, HashSet};
use std::io::Write;
use std::path::PathBuf;
use std::process::Command;

/// Checks what must hold of any kernel's text.
fn check_text(variant: &Variant) {
    let (id, text) = (variant.id(), render(variant));
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
    let mut families: HashMap<Family, usize> = HashMap::new();
    for variant in Variant::all() {
        check_text(&variant);
        assert!(ids.insert(variant.id()), "{variant} occurs twice");
        *families.entry(variant.family()).or_default() += 1;
    }
    assert_eq!(families.len(), Family::ALL.len());
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
                for family in Family::ALL {
                    let variant = Variant::new(family, format, FloatType::Bf16, Access::Aligned);
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
    let new = |format, dense| Variant::new(Family::Quantize, format, dense, Access::Ragged);
    let odd = fp4.block_size(48).build().unwrap();
    assert_eq!(
        new(odd, FloatType::F32),
        Err(VariantError::BlockSize { block_size: 48 })
    );
    let torch = fp4.dialect(Dialect::MicroxcalingTorch);
    let cut = torch.rounding(Rounding::TowardZero).build().unwrap();
    assert!(matches!(
        new(cut, FloatType::F32),
        Err(VariantError::Rounding { .. })
    ));
    let torch = torch.build().unwrap();
    assert!(matches!(
        new(torch, FloatType::F16),
        Err(VariantError::Format(_))
    ));
}

#[test]
fn grids_cover_every_element_and_never_wrap() {
    let format = BlockFormat::new(ElementFormat::FP4_E2M1).build().unwrap();
    let variant = |access| Variant::new(Family::Quantize, format, FloatType::Bf16, access).unwrap();
    for access in Access::ALL {
        let variant = variant(access);
        assert_eq!(variant.grid(0, 4096), Ok(0));
        // 8 elements a thread, 256 threads: 2048 elements a thread block; short rows round up to k.
        assert_eq!(variant.grid(1, 1), Ok(1));
        assert_eq!(variant.grid(1, 2048), Ok(1));
        assert_eq!(variant.grid(1, 2049), Ok(2));
        assert_eq!(variant.grid(8192, 8192), Ok(8192 * 8192 / 2048));
        assert_eq!(variant.grid(128, 33), Ok(128 * 64 / 2048));
        // 2^35 elements are 2^32 threads.
        assert_eq!(
            variant.grid(1 << 20, (1 << 15) - 32),
            Ok((1 << 24) - (1 << 14))
        );
        let too_large = |rows, cols| {
            let error = Err(VariantError::TooLarge { rows, cols });
            assert_eq!(variant.grid(rows, cols), error);
        };
        too_large(1 << 20, 1 << 15);
        too_large(1 << 27, 1 << 8);
        too_large(1 << 31, 1);
        too_large(1, usize::MAX);
    }
}

/// ptxas, from `$PTXAS` or the path.
fn ptxas() -> Option<PathBuf> {
    let ptxas = std::env::var_os("PTXAS").map_or_else(|| PathBuf::from("ptxas"), PathBuf::from);
    let answers = Command::new(&ptxas).arg("--version").output();
    answers
        .is_ok_and(|out| out.status.success())
        .then_some(ptxas)
}

/// One kernel in `STRIDE`, another one for each SM version; a prime, so that no axis is skipped.
/// `MXLAB_PTXAS_STRIDE=1` assembles all.
const STRIDE: usize = 709;

#[test]
fn ptxas_assembles_a_sample_without_spills() {
    let Some(ptxas) = ptxas() else {
        let _ = writeln!(
            std::io::stderr(),
            "ptxas_assembles_a_sample_without_spills: not run, neither $PTXAS nor ptxas is there"
        );
        return;
    };
    let stride = std::env::var("MXLAB_PTXAS_STRIDE").ok();
    let stride = stride
        .and_then(|stride| stride.parse().ok())
        .unwrap_or(STRIDE);
    let folder = tempfile::tempdir().unwrap();
    let (source, cubin) = (folder.path().join("k.ptx"), folder.path().join("k.cubin"));
    for (n, sm) in ["80", "86", "89", "90", "100a", "120a"]
        .into_iter()
        .enumerate()
    {
        let number = sm.trim_end_matches('a').parse().unwrap();
        let fits = |variant: &Variant| variant.target().runs_on(number);
        let sample = Variant::all().filter(fits).skip(n * stride / 6);
        let sample = sample.step_by(stride).chain([flagship(), tensor_scale()]);
        let conversions = Target::ALL.into_iter().flat_map(conversions).filter(fits);
        for variant in sample.chain(conversions) {
            std::fs::write(&source, render(&variant)).unwrap();
            let out = Command::new(&ptxas)
                .args(["-v", "-warn-spills", "-warn-lmem-usage", "-Werror"])
                .arg(format!("-arch=sm_{sm}"))
                .arg(&source)
                .arg("-o")
                .arg(&cubin)
                .output()
                .unwrap();
            let log = String::from_utf8_lossy(&out.stderr);
            assert!(out.status.success(), "{variant} for sm_{sm}:\n{log}");
            let registers = registers(&log);
            if variant == flagship() {
                assert!(
                    registers <= 32,
                    "{variant} for sm_{sm}: {registers} registers"
                );
            }
        }
    }
}

/// bf16 to MXFP4, aligned.
fn flagship() -> Variant {
    let format = BlockFormat::new(ElementFormat::FP4_E2M1).build().unwrap();
    Variant::new(Family::Quantize, format, FloatType::Bf16, Access::Aligned).unwrap()
}

/// The tensor scale of NVFP4.
fn tensor_scale() -> Variant {
    let (family, format) = (Family::TensorScale, BlockFormat::NVFP4);
    Variant::new(family, format, FloatType::Bf16, Access::Ragged).unwrap()
}

/// One kernel for each conversion of a target, either way.
fn conversions(target: Target) -> impl Iterator<Item = Variant> {
    let elements = ElementFormat::ALL.iter();
    elements.flat_map(move |&element| {
        let format = BlockFormat::new(element).build().unwrap();
        let families = [Family::Quantize, Family::Dequantize, Family::FakeQuantize];
        families.into_iter().filter_map(move |family| {
            let variant = Variant::new(family, format, FloatType::Bf16, Access::Aligned);
            variant.unwrap().with_conversions(target)
        })
    })
}

/// From `ptxas info : Used 25 registers, ...`.
fn registers(log: &str) -> u32 {
    let (_, rest) = log.split_once("Used ").expect("a count of registers");
    let (count, _) = rest.split_once(' ').expect("a count of registers");
    count.parse().expect("a number")
}

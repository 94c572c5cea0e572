//! Words that chips gave.

use half::f16;
use mxlab_harness::tensor_core::{Bound, Operand, Sums, Term, Terms};
use mxlab_kernels::format::ElementFormat;
use not_run::not_run;
use safetensors::{SafeTensors, View};
use std::io::Write as _;
use std::path::PathBuf;

/// Files, and rows of each.
const FILES: usize = 32;
const ROWS: usize = 3000;

/// The folder of words, if this machine has one.
fn folder() -> Option<PathBuf> {
    let beside_workspace = concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared");
    let shared = std::env::var_os("MXLAB_SHARED").unwrap_or_else(|| beside_workspace.into());
    let folder = PathBuf::from(shared).join("hardware/tensor-core");
    folder.is_dir().then_some(folder)
}

fn operand(format: &str) -> Operand {
    match format {
        "bf16" => Operand::Bf16,
        "fp16" => Operand::F16,
        "tf32" => Operand::Tf32,
        "e4m3" => Operand::E4m3,
        "e5m2" => Operand::E5m2,
        _ => panic!("no operand {format}"),
    }
}

fn value(operand: Operand, code: u32) -> f64 {
    match operand {
        Operand::Bf16 => f32::from_bits(code << 16).into(),
        Operand::F16 => f16::from_bits(code as u16).to_f64(),
        Operand::Tf32 => f32::from_bits(code).into(),
        Operand::E4m3 => ElementFormat::FP8_E4M3.decode(code as u8).into(),
        Operand::E5m2 => ElementFormat::FP8_E5M2.decode(code as u8).into(),
    }
}

/// The elements of a tensor of unsigned words, and how many a row has.
fn words(file: &SafeTensors, name: &str) -> (Vec<u32>, usize) {
    let tensor = file.tensor(name).unwrap();
    let (shape, data) = (tensor.shape(), tensor.data());
    assert_eq!(shape[0], ROWS, "{name}");
    let cols: usize = shape[1..].iter().product();
    let width = tensor.data_len() / (ROWS * cols);
    let word = |bytes: &[u8]| {
        let mut word = [0; 4];
        word[..width].copy_from_slice(bytes);
        u32::from_le_bytes(word)
    };
    let words: Vec<u32> = data.chunks_exact(width).map(word).collect();
    assert_eq!(words.len(), ROWS * cols, "{name}");
    (words, cols)
}

/// C, in the type of the sums.
fn carried(sums: Sums, c: f64) -> Term {
    match sums {
        Sums::F16 => Term::product([c, 1.0], [Operand::F16.least_power(), 1.0]),
        Sums::F32 | Sums::Fp8 => Term::carried(c),
    }
}

/// The rows of a file: bound and word; f16 words if that is asked for.
fn rows(bytes: &[u8], operand: Operand, sums: Sums) -> Vec<(Bound, f64)> {
    let file = SafeTensors::deserialize(bytes).unwrap();
    let names = match sums {
        Sums::F16 => ["c16", "d16"],
        Sums::F32 | Sums::Fp8 => ["c", "d"],
    };
    let ((a, k), (b, _)) = (words(&file, "a"), words(&file, "b"));
    let [(c, _), (d, _)] = names.map(|name| words(&file, name));
    let sum = |code: u32| match sums {
        Sums::F16 => f16::from_bits(code as u16).to_f64(),
        Sums::F32 | Sums::Fp8 => f32::from_bits(code).into(),
    };
    let least = [operand.least_power(); 2];
    let row = |index: usize| {
        let codes = a[index * k..][..k].iter().zip(&b[index * k..][..k]);
        let products =
            codes.map(|(&a, &b)| Term::product([value(operand, a), value(operand, b)], least));
        let terms: Terms = products.chain([carried(sums, sum(c[index]))]).collect();
        (terms.bound(sums, k, 0), sum(d[index]))
    };
    (0..ROWS).map(row).collect()
}

#[test]
fn every_word_of_every_chip_is_within_the_bound() {
    let Some(folder) = folder() else {
        not_run(
            "every_word_of_every_chip_is_within_the_bound",
            "MXLAB_SHARED",
        );
        return;
    };
    let mut paths: Vec<PathBuf> = std::fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "safetensors")
        })
        .collect();
    paths.sort();
    assert_eq!(paths.len(), FILES, "{}", folder.display());
    let (mut checked, mut narrow) = (0, 0);
    for path in paths {
        let stem = path.file_stem().unwrap().to_str().unwrap();
        let (_, format) = stem.split_once('_').unwrap();
        let (operand, bytes) = (operand(format), std::fs::read(&path).unwrap());
        let is_fp8 = matches!(operand, Operand::E4m3 | Operand::E5m2);
        let kinds = match (is_fp8, operand) {
            (true, _) => &[Sums::Fp8][..],
            (_, Operand::F16) => &[Sums::F32, Sums::F16],
            _ => &[Sums::F32],
        };
        for &sums in kinds {
            let rows = rows(&bytes, operand, sums);
            let outside = rows.iter().filter(|(bound, d)| !bound.accepts(*d)).count();
            let rounded = rows.iter().filter(|(bound, d)| *d != bound.exact).count();
            let exact = rows.iter().filter(|(bound, _)| bound.error == 0.0).count();
            let used = rows.iter().map(|(bound, d)| match (d - bound.exact).abs() {
                0.0 => 0.0,
                off => off / bound.error,
            });
            let _ = writeln!(
                std::io::stderr(),
                "{stem:12} {sums:?}: {} words, {outside} outside, {rounded} not exact, {exact} \
                 that must be; at most {:.3} of the bound",
                rows.len(),
                used.fold(0.0, f64::max)
            );
            assert_eq!(outside, 0, "{stem} {sums:?}");
            checked += rows.len();
        }
        if is_fp8 {
            // The bound of f32 sums is not that of these: it would call some of them wrong.
            let rows = self::rows(&bytes, operand, Sums::F32);
            narrow += rows.iter().filter(|(bound, d)| !bound.accepts(*d)).count();
        }
    }
    let _ = writeln!(
        std::io::stderr(),
        "{checked} words within the bound; {narrow} of FP8 beyond that of f32 sums"
    );
    assert!(checked >= FILES * ROWS);
    assert!(narrow > 1000, "{narrow}");
}

//! A whole GGUF file: configuration, tokenizer and weights.

pub mod model;
pub mod tokenizer;

use std::fs::{self, File};
use std::io::Read;
use std::path::Path;
use std::sync::atomic::AtomicBool;

use anyhow::{Context, Result, bail, ensure};
use mxlab_kernels::format::{BlockFormat, ElementFormat, ScaleFormat};
use safetensors::Dtype;
use serde_json::Value;

use super::piece::{Content, Layout, Piece};
use super::tensors::Plan;
use crate::checkpoint::Checkpoint;
use crate::checkpoint::gguf_write::{self, Tensor};
use crate::cli::output::Usage;

/// Elements and bytes of a block of MXFP4.
const MXFP4: [usize; 2] = [32, 17];
/// Elements and bytes of four blocks of NVFP4, which are stored together.
const NVFP4: [usize; 2] = [64, 36];

/// The tensors of the matrix `name` `[rows, cols]` in `format`.
///
/// # Errors
/// A format that GGUF does not have, or rows that are no whole blocks.
pub fn layout(name: &str, format: &BlockFormat, [rows, cols]: [usize; 2]) -> Result<Layout> {
    let is_fp4 = format.element() == ElementFormat::FP4_E2M1;
    let (scale, block) = (format.scale(), format.block_size());
    let (kind, [elements, bytes], content) = match (scale, block) {
        (ScaleFormat::E8M0, 32) if is_fp4 => ("MXFP4", MXFP4, Content::Mxfp4),
        (ScaleFormat::UE4M3, 16) if is_fp4 => ("NVFP4", NVFP4, Content::Nvfp4),
        _ => bail!(
            "`{name}` is in {format}; GGUF takes fp4_e2m1 with e8m0 and blocks of 32 (MXFP4) or \
             with ue4m3 and blocks of 16 (NVFP4); use one of them or --to mxlab"
        ),
    };
    ensure!(
        cols.is_multiple_of(elements),
        "`{name}` has {cols} columns; {kind} of GGUF takes multiples of {elements}; use \
         another format for it or --to mxlab"
    );
    let shape = vec![rows, cols / elements, bytes];
    let mut pieces = vec![Piece::new(name.to_owned(), Dtype::U8, shape, content)];
    if format.has_tensor_scale() {
        let name = format!("{}.scale", name.trim_end_matches(".weight"));
        let factor = Piece::new(name, Dtype::F32, vec![1], Content::Factor);
        pieces.push(factor);
    }
    Ok(Layout {
        scheme: Value::Null,
        pieces,
    })
}

/// Checks that `output` is a name for a GGUF file, and may be written.
///
/// # Errors
/// `Usage`.
pub fn check_output(output: &Path, overwrite: bool) -> Result<()> {
    let refused = |message: String| Err(Usage(message).into());
    let shown = output.display();
    if output.extension().is_none_or(|ending| ending != "gguf") {
        return refused(format!(
            "`{shown}`: --to gguf writes one file; give it a name that ends in .gguf"
        ));
    }
    let mut magic = [0; 4];
    match File::open(output) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error).with_context(|| format!("`{shown}`")),
        Ok(_) if !overwrite => {
            return refused(format!(
                "`{shown}` exists already; replace it with --overwrite, or choose another name"
            ));
        }
        Ok(mut file) => {
            if file.read_exact(&mut magic).is_err() || magic != *b"GGUF" {
                return refused(format!(
                    "`{shown}` is not replaced, because it is not a GGUF file"
                ));
            }
        }
    }
    Ok(())
}

/// Writes the file, reads it back, and moves it to `output`. Returns the bytes of its
/// tensors, and how the file is read where that is not obvious.
///
/// # Errors
/// A model or a tokenizer that GGUF cannot express; a file that cannot be written.
pub fn write(
    checkpoint: &Checkpoint,
    plan: &Plan,
    output: &Path,
    stop: &AtomicBool,
) -> Result<(usize, Vec<String>)> {
    let (mut metadata, divisors) = model::metadata(checkpoint)?;
    metadata.extend(tokenizer::metadata(checkpoint)?);
    let of_divisors = divisors.iter().map(|divisors| Tensor {
        name: divisors.name.to_owned(),
        dtype: Dtype::F32,
        shape: vec![divisors.values.len()],
        ggml: None,
    });
    let parts = plan.parts().into_iter();
    let parts = parts.map(|part| Tensor {
        ggml: plan.ggml(&part.name),
        name: part.name,
        dtype: part.dtype,
        shape: part.shape,
    });
    let tensors: Vec<_> = of_divisors.chain(parts).collect();

    let parent = match output.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    };
    let writing = || format!("cannot write `{}`", output.display());
    fs::create_dir_all(parent).with_context(writing)?;
    let around = tempfile::Builder::new()
        .prefix(".mxlab-convert-")
        .tempdir_in(parent);
    let around = around.with_context(writing)?;
    let path = around.path().join("model.gguf");
    let mut file = gguf_write::create(&path, &metadata, &tensors)?;
    let mut bytes = 0;
    let mut write = |name: &str, content: &[u8]| -> Result<()> {
        bytes += content.len();
        Ok(file.write(name, content)?)
    };
    for divisors in &divisors {
        let content = divisors.values.iter().flat_map(|value| value.to_le_bytes());
        write(divisors.name, &content.collect::<Vec<u8>>())?;
    }
    plan.write(stop, write)?;
    file.commit()?;
    // What is read back is what llama.cpp's rules make of the file.
    let written = Checkpoint::open(&path)?;
    tokenizer::compare(
        &checkpoint.stored_tokenizer()?,
        &written.stored_tokenizer()?,
    )?;
    let notes = written.tokenizer()?.notes().to_vec();
    drop(written);
    fs::rename(&path, output).with_context(writing)?;
    Ok((bytes, notes))
}

//! Finished layers of a run, in a folder beside its output.
//!
//! `run.json` says what is calibrated, and how. A layer is a file of packed tensors, which appears
//! when it is complete, and so does each batch of a text that the model writes itself. A run goes
//! on only in the folder of the same run.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use mxlab_harness::record::write_atomic;
use mxlab_kernels::format::{BlockFormat, PackedTensor};
use serde::Serialize;
use serde_json::Value;

use crate::checkpoint::TensorFile;
use crate::checkpoint::packed_file::{self, Part, format_metadata};
use crate::description::parameters::Parameter;

/// Its name in the folder.
const RUN: &str = "run.json";
/// How names of texts begin.
const TEXT: &str = "text-";

/// The layers that are finished.
pub struct Store {
    folder: PathBuf,
    layers: usize,
    /// Keeps other runs out.
    _lock: File,
}

impl Store {
    /// Opens the folder for a run over `layers` layers, or makes it.
    ///
    /// # Errors
    /// If it is in use, has layers of another run or files of others, or cannot be written.
    pub fn open(folder: &Path, layers: usize, run: &impl Serialize) -> Result<Self> {
        let name = folder.display();
        let text = format!("{:#}\n", serde_json::to_value(run)?);
        let path = folder.join(RUN);
        fs::create_dir_all(folder).with_context(|| format!("cannot make `{name}`"))?;
        let mut file = File::options();
        let file = file.read(true).append(true).create(true).open(&path);
        let mut file = file.with_context(|| format!("cannot write `{}`", path.display()))?;
        ensure!(file.try_lock().is_ok(), "another run writes `{name}` now");
        let store = Self {
            folder: folder.to_owned(),
            layers,
            _lock: file.try_clone()?,
        };
        let mut found = String::new();
        file.read_to_string(&mut found)
            .with_context(|| format!("`{}` is not of a calibration", path.display()))?;
        if found == text {
            return Ok(store);
        }
        // Layers of a run without its words are of no known run.
        if !store.kept()?.is_empty() {
            bail!(
                "`{name}` has layers or texts of another run{}: remove it to start over, or give \
                 the arguments of that run to go on with it",
                difference(&found, &text)
                    .map_or(String::new(), |key| format!(", whose {key} differs")),
            );
        }
        let mut entries = fs::read_dir(folder)?;
        let is_foreign = entries.any(|entry| entry.is_ok_and(|entry| entry.file_name() != RUN));
        ensure!(
            !is_foreign,
            "`{name}` is not empty and has no layers: finished layers are kept there, so move its \
             files away, or choose another output"
        );
        file.set_len(0)?;
        file.write_all(text.as_bytes())?;
        Ok(store)
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    fn path(&self, layer: usize) -> PathBuf {
        self.folder.join(format!("layer-{layer:04}.safetensors"))
    }

    /// Whether a layer is finished.
    pub fn has(&self, layer: usize) -> bool {
        self.path(layer).is_file()
    }

    fn text_path(&self, batch: usize) -> PathBuf {
        self.folder.join(format!("{TEXT}{batch:04}.json"))
    }

    /// The sequences of a batch that the model wrote, if it is finished.
    ///
    /// # Errors
    /// If its file cannot be read.
    pub fn text(&self, batch: usize) -> Result<Option<Vec<Vec<u32>>>> {
        let path = self.text_path(batch);
        if !path.is_file() {
            return Ok(None);
        }
        let reading = || {
            format!(
                "cannot read `{}`: remove it to write it again",
                path.display()
            )
        };
        let text = fs::read(&path).with_context(reading)?;
        serde_json::from_slice(&text)
            .with_context(reading)
            .map(Some)
    }

    /// Keeps a batch that the model wrote.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn keep_text(&self, batch: usize, sequences: &[Vec<u32>]) -> Result<()> {
        Ok(write_atomic(
            &self.text_path(batch),
            &serde_json::to_vec(sequences)?,
        )?)
    }

    /// Files of layers and texts.
    fn kept(&self) -> Result<Vec<PathBuf>> {
        let mut kept: Vec<PathBuf> = (0..self.layers).map(|layer| self.path(layer)).collect();
        kept.retain(|path| path.is_file());
        for entry in fs::read_dir(&self.folder)? {
            let name = entry?.file_name();
            let number = name.to_str().and_then(|name| {
                let number = name.strip_prefix(TEXT)?.strip_suffix(".json")?;
                number.parse().ok()
            });
            kept.extend(number.map(|batch| self.text_path(batch)));
        }
        Ok(kept)
    }

    /// Keeps the matrices of a layer.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn write(&self, layer: usize, matrices: &[(&Parameter, PackedTensor)]) -> Result<()> {
        let parts = matrices.iter().flat_map(|(parameter, packed)| {
            let size = [packed.rows(), packed.cols()];
            Part::packed(&parameter.name, &size, size, packed.format())
        });
        let parts: Vec<Part> = parts.collect();
        let mut file = packed_file::create(&self.path(layer), &parts, format_metadata(&parts)?)?;
        for (parameter, packed) in matrices {
            let name = &parameter.name;
            file.write(&format!("{name}.codes"), packed.codes())?;
            file.write(&format!("{name}.scales"), packed.scales())?;
            if packed.format().has_tensor_scale() {
                let scale = packed.tensor_scale().to_le_bytes();
                file.write(&format!("{name}.tensor_scale"), &scale)?;
            }
        }
        Ok(file.commit()?)
    }

    /// The matrix of a parameter, which its layer's file has in `format`.
    ///
    /// # Errors
    /// If the file does not have it so.
    pub fn read(&self, parameter: &Parameter, format: &BlockFormat) -> Result<PackedTensor> {
        let path = self.path(parameter.layer.context("a projection is in a layer")?);
        let file = TensorFile::open(&path)?;
        let tensor = |part: &str| {
            let name = format!("{}.{part}", parameter.name);
            let tensor = file.tensors().find(|tensor| tensor.name() == name);
            let tensor = tensor.map(|tensor| tensor.bytes().to_vec());
            tensor.with_context(|| format!("`{}` has no tensor `{name}`", path.display()))
        };
        let scale = match format.has_tensor_scale() {
            false => 1.0,
            true => f32::from_le_bytes(tensor("tensor_scale")?.as_slice().try_into()?),
        };
        let [rows, cols] = parameter.matrix().context("a projection is a matrix")?;
        let (codes, scales) = (tensor("codes")?, tensor("scales")?);
        Ok(PackedTensor::new(
            *format, rows, cols, codes, scales, scale,
        )?)
    }

    /// Removes the layers, the texts and the folder.
    ///
    /// # Errors
    /// If something cannot be removed.
    pub fn remove(self) -> Result<()> {
        let removing = || format!("cannot remove `{}`", self.folder.display());
        for path in self.kept()? {
            fs::remove_file(path).with_context(removing)?;
        }
        fs::remove_file(self.folder.join(RUN)).with_context(removing)?;
        fs::remove_dir(&self.folder).with_context(removing)
    }
}

/// The first field in which two runs differ.
fn difference(found: &str, expected: &str) -> Option<String> {
    let found: Value = serde_json::from_str(found).ok()?;
    let expected: Value = serde_json::from_str(expected).ok()?;
    let mut keys = expected.as_object()?.iter();
    let differs = keys.find(|(key, value)| found.get(key) != Some(value));
    differs.map(|(key, _)| format!("`{key}`"))
}

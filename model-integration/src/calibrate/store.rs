//! Finished layers of a run, in a folder beside its output.
//!
//! `run.json` says what is calibrated, and how. A layer is a file of packed tensors, which appears
//! when it is complete. A run goes on only in the folder of the same run.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use mxlab_harness::record::write_atomic;
use mxlab_kernels::format::{BlockFormat, PackedTensor};
use serde::Serialize;

use crate::checkpoint::TensorFile;
use crate::checkpoint::packed_file::{self, Part, format_metadata};
use crate::description::parameters::Parameter;

/// The layers that are finished.
pub struct Store {
    folder: PathBuf,
}

impl Store {
    /// Opens the folder for a run, or makes it.
    ///
    /// # Errors
    /// If it is another run's, or cannot be written.
    pub fn open(folder: &Path, run: &impl Serialize) -> Result<Self> {
        let name = folder.display();
        let text = format!("{:#}\n", serde_json::to_value(run)?);
        let path = folder.join("run.json");
        match fs::read_to_string(&path) {
            Ok(found) => ensure!(
                found == text,
                "`{name}` holds layers of another model, text or recipe: remove it to start over, or \
                 give the arguments of that run to go on with it"
            ),
            Err(_) => {
                fs::create_dir_all(folder).with_context(|| format!("cannot make `{name}`"))?;
                write_atomic(&path, text.as_bytes())?;
            }
        }
        Ok(Self {
            folder: folder.to_owned(),
        })
    }

    fn path(&self, layer: usize) -> PathBuf {
        self.folder.join(format!("layer-{layer:04}.safetensors"))
    }

    /// Whether a layer is finished.
    pub fn has(&self, layer: usize) -> bool {
        self.path(layer).is_file()
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

    /// Removes the folder.
    ///
    /// # Errors
    /// If it cannot be removed.
    pub fn remove(self) -> Result<()> {
        let removing = || format!("cannot remove `{}`", self.folder.display());
        fs::remove_dir_all(&self.folder).with_context(removing)
    }
}

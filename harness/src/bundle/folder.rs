//! The folder of a bundle: which files of an earlier run are kept, and the index.

use super::BundleError;
use crate::assemble::{Job, Target, Version};
use crate::device::ImagesError;
use crate::device::images::{
    INDEX, Index, KIND, MODULE_SUFFIX, Module, SCHEMA_VERSION, TextHash, read, sha256,
};
use crate::record::{Environment, write_atomic};
use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Time between two writes of the index while modules are assembled.
const WRITE_EVERY: Duration = Duration::from_secs(5);

/// A folder that is being filled.
pub struct Folder {
    path: PathBuf,
    /// Its modules are those of this run.
    index: Index,
    /// Those of an earlier run whose files are whole, by their files; not yet met in this one.
    earlier: HashMap<String, Module>,
    written: Instant,
}

/// The index of an earlier run, if there is one.
///
/// # Errors
/// If the folder holds something else, which is not to be lost.
pub fn earlier(folder: &Path) -> Result<Option<Index>, BundleError> {
    match Index::read(folder) {
        Ok(index) => Ok(Some(index)),
        // No folder yet, or a run that was stopped before its first index.
        Err(ImagesError::NoIndex { .. }) if !folder.join(INDEX).exists() => Ok(None),
        Err(error) => Err(BundleError::Foreign(error)),
    }
}

impl Folder {
    /// Opens a folder, or makes it. Modules of an earlier run by another ptxas have other names and
    /// are not kept.
    ///
    /// # Errors
    /// If the folder holds something else, or images of another chip, or cannot be written.
    pub fn open(path: &Path, chip: Target, version: Version) -> Result<Self, BundleError> {
        let earlier = earlier(path)?;
        if let Some(index) = earlier.as_ref().filter(|index| index.chip != chip) {
            return Err(BundleError::OtherChip {
                folder: path.to_owned(),
                found: index.chip,
                expected: chip,
            });
        }
        let modules = earlier
            .into_iter()
            .filter(|index| index.ptxas == version.name);
        let modules = modules.flat_map(|index| index.modules);
        let whole = modules.filter(|module| read(path, module).is_ok());
        let mut folder = Self {
            path: path.to_owned(),
            earlier: whole.map(|module| (module.file.clone(), module)).collect(),
            index: Index {
                kind: KIND.to_owned(),
                schema_version: SCHEMA_VERSION,
                chip,
                ptxas: version.name,
                cuda: version.cuda,
                environment: Environment::capture(),
                is_complete: false,
                modules: Vec::new(),
            },
            written: Instant::now(),
        };
        // A folder that cannot be written is told before minutes are spent.
        folder.write()?;
        Ok(folder)
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The modules of this run so far.
    pub fn modules(&self) -> &[Module] {
        &self.index.modules
    }

    /// The file of a module.
    pub fn name(&self, job: &Job) -> String {
        let made_from = format!("{}\n{}\n{}", self.index.ptxas, job.target, job.ptx);
        sha256(made_from.as_bytes()) + MODULE_SUFFIX
    }

    /// Keeps a module of an earlier run, if there is one; `texts` are those of its kernels now,
    /// whose comments may have changed.
    pub fn keep<'t>(&mut self, file: &str, texts: impl Iterator<Item = &'t str>) -> bool {
        let Some(mut module) = self.earlier.remove(file) else {
            return false;
        };
        module.kernels = texts.map(TextHash::of).collect();
        self.index.modules.push(module);
        true
    }

    /// Adds a module whose file was written.
    pub fn add<'t>(
        &mut self,
        file: String,
        packed: &[u8],
        image_bytes: usize,
        arch: Target,
        texts: impl Iterator<Item = &'t str>,
    ) -> Result<(), BundleError> {
        self.index.modules.push(Module {
            file,
            bytes: packed.len() as u64,
            sha256: sha256(packed),
            image_bytes: image_bytes as u64,
            arch,
            kernels: texts.map(TextHash::of).collect(),
        });
        match self.written.elapsed() >= WRITE_EVERY {
            true => self.write(),
            false => Ok(()),
        }
    }

    /// Writes the index of what is whole: modules of this run, and those of an earlier one that
    /// this one may yet come to.
    pub fn write(&mut self) -> Result<(), BundleError> {
        let mut index = self.index.clone();
        index.modules.extend(self.earlier.values().cloned());
        self.write_index(index)
    }

    /// Writes the index of this run, and removes what an earlier one had beyond it.
    pub fn finish(&mut self, is_complete: bool) -> Result<(), BundleError> {
        self.index.is_complete = is_complete;
        self.write_index(self.index.clone())?;
        let kept: HashSet<&str> = self
            .index
            .modules
            .iter()
            .map(|module| module.file.as_str())
            .collect();
        let Ok(files) = std::fs::read_dir(&self.path) else {
            return Ok(());
        };
        for file in files.flatten() {
            let name = file.file_name();
            let name = name.to_string_lossy();
            if name.ends_with(MODULE_SUFFIX) && !kept.contains(&*name) {
                // One that stays is not in the index and does no harm.
                let _ = std::fs::remove_file(file.path());
            }
        }
        Ok(())
    }

    /// Modules stand by file name: the same kernels give the same index, whichever assembler ended
    /// first.
    fn write_index(&mut self, mut index: Index) -> Result<(), BundleError> {
        index.modules.sort_by(|a, b| a.file.cmp(&b.file));
        let text = serde_json::to_vec(&index).expect("an index is plain data");
        write_atomic(&self.path.join(INDEX), &text)?;
        self.written = Instant::now();
        Ok(())
    }
}

//! Machine code made ahead of time, so that the driver need not compile.
//!
//! `mxlab bundle` ([`crate::bundle`]) writes a folder: modules, each the compressed ELF file of up
//! to some dozens of kernels, and [`index.json`](Index), which maps the hash of a kernel's PTX text
//! to its module. [`Images`] reads it. A device opened with images looks up each text that it loads
//! (see [`Code`](super::Code)). An edited text has another hash, so the driver compiles that text
//! only.

mod error;
mod hash;
mod index;
mod packing;

pub use error::ImagesError;
pub use hash::TextHash;
pub(crate) use hash::sha256;
pub(crate) use index::{INDEX, Index, KIND, MODULE_SUFFIX, Module, SCHEMA_VERSION};
pub(crate) use packing::pack;

use super::{DeviceKind, NoImage, Properties};
use crate::assemble::Target;
use std::collections::HashMap;
use std::path::{Path, PathBuf};

/// The advice where there are no images.
const MAKE: &str = "`mxlab bundle --chip sm_90 --output DIR` makes a folder of images";

/// A folder of images, all of whose files are present and whole.
#[derive(Debug)]
pub struct Images {
    folder: PathBuf,
    index: Index,
    /// The module of each PTX text, by its hash.
    by_text: HashMap<TextHash, usize>,
}

impl Images {
    /// Opens a folder that `mxlab bundle` wrote. Every file is read and compared with its digest.
    ///
    /// # Errors
    /// If the folder holds no images, or a file is missing or changed.
    pub fn open(folder: &Path) -> Result<Self, ImagesError> {
        let index = Index::read(folder)?;
        let mut by_text = HashMap::new();
        for (number, module) in index.modules.iter().enumerate() {
            read(folder, module)?;
            by_text.extend(module.kernels.iter().map(|&kernel| (kernel, number)));
        }
        let folder = folder.to_owned();
        Ok(Self {
            folder,
            index,
            by_text,
        })
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The chip that they are for.
    pub const fn chip(&self) -> Target {
        self.index.chip
    }

    /// The CUDA version of the assembler that made them, as 13000 for 13.0. Older drivers refuse
    /// them.
    pub const fn cuda(&self) -> u32 {
        self.index.cuda
    }

    /// Whether a device with these properties takes the images of this folder. The emulator runs
    /// the text, so images of every chip fit it.
    ///
    /// # Errors
    /// With the reason if not.
    pub fn fit(&self, properties: &Properties) -> Result<(), NoImage> {
        if properties.kind == DeviceKind::Emulator {
            return Ok(());
        }
        if !self.chip().runs_on(properties.sm) {
            return Err(NoImage::OtherChip);
        }
        match properties.driver_version {
            Some(version) if version >= self.cuda() => Ok(()),
            _ => Err(NoImage::OldDriver),
        }
    }

    /// Whether the folder has every requested kernel.
    pub const fn is_complete(&self) -> bool {
        self.index.is_complete
    }

    /// How many kernels there are.
    pub fn kernels(&self) -> usize {
        self.by_text.len()
    }

    /// How many modules hold them.
    pub const fn modules(&self) -> usize {
        self.index.modules.len()
    }

    /// Bytes of all modules as they lie on disk.
    pub fn bytes(&self) -> u64 {
        self.index.modules.iter().map(|module| module.bytes).sum()
    }

    /// The number of the module with the machine code of that text, from 0; `None` if none has it.
    /// Loading kernels module by module is fastest, since a device keeps the last few modules
    /// loaded.
    pub fn module_of(&self, ptx: &str) -> Option<usize> {
        self.by_text.get(&TextHash::of(ptx)).copied()
    }

    /// The ELF file of a module.
    ///
    /// # Errors
    /// If its file has changed since the folder was opened.
    ///
    /// # Panics
    /// If there is no module of that number.
    pub fn image(&self, module: usize) -> Result<Vec<u8>, ImagesError> {
        let module = &self.index.modules[module];
        let wrong = |reason: String| ImagesError::Packing {
            path: self.folder.join(&module.file),
            reason,
        };
        let packed = read(&self.folder, module)?;
        let image = packing::unpack(&packed, module.image_bytes);
        let image = image.map_err(|error| wrong(error.to_string()))?;
        match is_whole_elf(&image) {
            true => Ok(image),
            false => Err(wrong("what is packed is no whole ELF file".to_owned())),
        }
    }
}

/// The bytes of a module's file.
///
/// # Errors
/// If they are not those of the index.
pub(crate) fn read(folder: &Path, module: &Module) -> Result<Vec<u8>, ImagesError> {
    let path = folder.join(&module.file);
    let bytes = std::fs::read(&path).map_err(|reason| ImagesError::Unreadable {
        path: path.clone(),
        reason: reason.to_string(),
    })?;
    let (found, expected) = (bytes.len() as u64, module.bytes);
    if found != expected {
        return Err(ImagesError::Length {
            path,
            found,
            expected,
        });
    }
    let found = sha256(&bytes);
    match found == module.sha256 {
        true => Ok(bytes),
        false => Err(ImagesError::Content {
            path,
            found,
            expected: module.sha256.clone(),
        }),
    }
}

/// Whether it is an ELF file of 64 bits, little-endian, that has the tables that its head names:
/// the driver is given no length and follows them.
pub(crate) fn is_whole_elf(image: &[u8]) -> bool {
    let number = |at: usize, bytes: usize| -> u64 {
        let digits = image[at..at + bytes].iter().rev();
        digits.fold(0, |number, &byte| number << 8 | u64::from(byte))
    };
    // Offset, size and number of the entries of a table.
    let fits = |offset: usize, size: usize, count: usize| {
        let bytes = number(size, 2) * number(count, 2);
        let end = number(offset, 8).checked_add(bytes);
        end.is_some_and(|end| end <= image.len() as u64)
    };
    image.len() >= 64
        && image.starts_with(b"\x7fELF\x02\x01")
        && fits(0x20, 0x36, 0x38)
        && fits(0x28, 0x3A, 0x3C)
}

#[cfg(test)]
mod tests {
    use super::is_whole_elf;

    #[test]
    fn an_elf_file_has_the_tables_that_its_head_names() {
        let mut elf = vec![0u8; 64 + 3 * 64 + 2 * 56];
        elf[..6].copy_from_slice(b"\x7fELF\x02\x01");
        // Three section headers of 64 bytes after the head, then two program headers of 56.
        elf[0x28..0x30].copy_from_slice(&64u64.to_le_bytes());
        elf[0x3A..0x3E].copy_from_slice(&[64, 0, 3, 0]);
        elf[0x20..0x28].copy_from_slice(&(64u64 + 3 * 64).to_le_bytes());
        elf[0x36..0x3A].copy_from_slice(&[56, 0, 2, 0]);
        assert!(is_whole_elf(&elf));
        assert!(!is_whole_elf(&elf[..elf.len() - 1]));
        assert!(!is_whole_elf(&elf[..63]) && !is_whole_elf(b""));
        elf[0x2F] = 0xFF;
        assert!(
            !is_whole_elf(&elf),
            "the end of a table is beyond all numbers"
        );
        elf[0x2F] = 0;
        elf[1] = b'e';
        assert!(!is_whole_elf(&elf));
    }
}

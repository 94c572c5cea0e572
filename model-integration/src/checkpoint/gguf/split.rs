//! Models in several files, `NAME-00001-of-00003.gguf` and on.

use std::path::{Path, PathBuf};

use super::container::{self, Entry, Metadata};
use crate::checkpoint::CheckpointError;
use crate::checkpoint::weight_file::WeightFile;

/// Number of files, this file's index, and the number of all tensors.
const COUNT: &str = "split.count";
const INDEX: &str = "split.no";
const TENSORS: &str = "split.tensors.count";

/// Opens the file at `path`, and all other files of its model. The metadata are those of the first.
///
/// # Errors
/// As [`container::open`]; `Gguf` if a file is missing, or is not what its name says.
pub(super) fn open(path: &Path) -> Result<(Vec<WeightFile>, Metadata), CheckpointError> {
    let (file, metadata) = container::open(path)?;
    let count = match number(&metadata, COUNT) {
        None | Some(0 | 1) => return Ok((vec![file], metadata)),
        Some(count) => count,
    };
    let wrong = |path: &Path, reason: String| CheckpointError::Gguf {
        file: path.to_owned(),
        reason,
    };
    let Some(name) = Name::of(path).filter(|name| name.count == count) else {
        let part = number(&metadata, INDEX).map_or(1, |index| index.saturating_add(1));
        return Err(wrong(
            path,
            format!(
                "the file is part {part} of a model in {count} files, by `{COUNT}`; its name must \
                 end in `-{part:05}-of-{count:05}.gguf`"
            ),
        ));
    };
    let mut own = Some((file, metadata));
    let (mut files, mut first) = (Vec::new(), None);
    for part in 1..=count {
        let place = name.part(part);
        let opened = match own.take_if(|_| part == name.part) {
            Some(own) => own,
            None if !place.exists() => {
                return Err(wrong(
                    path,
                    format!(
                        "part {part} of {count} is missing: `{}`; put all parts in one folder, or \
                         merge them with `llama-gguf-split --merge`",
                        place.display()
                    ),
                ));
            }
            None => container::open(&place)?,
        };
        let (file, metadata) = opened;
        for (key, expected) in [(COUNT, count), (INDEX, part - 1)] {
            if number(&metadata, key) != Some(expected) {
                let found = number(&metadata, key);
                let found = found.map_or_else(|| "absent".to_owned(), |found| found.to_string());
                return Err(wrong(
                    &place,
                    format!("`{key}` is {found}; expected {expected}, as its name says"),
                ));
            }
        }
        files.push(file);
        first.get_or_insert(metadata);
    }
    let first = first.unwrap_or_default();
    let tensors: usize = files.iter().map(|file| file.tensors().len()).sum();
    match number(&first, TENSORS) {
        Some(expected) if expected != tensors as u64 => Err(wrong(
            &name.part(1),
            format!("`{TENSORS}` is {expected}, but the {count} parts have {tensors} tensors"),
        )),
        _ => Ok((files, first)),
    }
}

fn number(metadata: &Metadata, key: &str) -> Option<u64> {
    match metadata.get(key) {
        Some(Entry::Value(value)) => value.as_u64(),
        _ => None,
    }
}

/// The name of a part.
struct Name {
    /// All before `-00001-of-00003.gguf`.
    stem: PathBuf,
    part: u64,
    count: u64,
}

impl Name {
    fn of(path: &Path) -> Option<Self> {
        let name = path.file_name()?.to_str()?;
        let (rest, count) = name.strip_suffix(".gguf")?.rsplit_once("-of-")?;
        let (stem, part) = rest.rsplit_once('-')?;
        let number = |digits: &str| -> Option<u64> {
            let is_number = digits.len() == 5 && digits.bytes().all(|byte| byte.is_ascii_digit());
            is_number.then(|| digits.parse().ok())?
        };
        Some(Self {
            stem: path.with_file_name(stem),
            part: number(part)?,
            count: number(count)?,
        })
    }

    fn part(&self, part: u64) -> PathBuf {
        let mut path = self.stem.clone().into_os_string();
        path.push(format!("-{part:05}-of-{:05}.gguf", self.count));
        path.into()
    }
}

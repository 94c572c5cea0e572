//! The origin of a kernel's machine code.

use serde::{Deserialize, Serialize};
use std::fmt;

/// The origin of the machine code of a loaded text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Code {
    /// From the device's images (see [`Images`](super::Images)).
    Image,
    /// The device was given the PTX text: the driver compiled it, or the emulator decoded it.
    Ptx {
        /// Why no image was used.
        why: NoImage,
    },
}

/// Why the PTX text was loaded instead of an image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NoImage {
    /// The device was opened without images.
    NoImages,
    /// The images lack the text: it was edited or left out.
    NotInImages,
    /// The images are for another chip.
    OtherChip,
    /// The driver is of an older CUDA version than the images.
    OldDriver,
    /// The driver refused the image, for this reason.
    Refused(String),
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Image => f.write_str("image"),
            Self::Ptx { why } => write!(f, "PTX, {why}"),
        }
    }
}

impl fmt::Display for NoImage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoImages => f.write_str("no images given"),
            Self::NotInImages => f.write_str("not in the images"),
            Self::OtherChip => f.write_str("images of another chip"),
            Self::OldDriver => f.write_str("driver older than the images"),
            Self::Refused(reason) => write!(f, "image refused: {reason}"),
        }
    }
}

/// How many texts a device has loaded, by where their machine code came from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Loads {
    /// [`Code::Image`].
    pub images: u64,
    /// [`NoImage::NoImages`].
    pub no_images: u64,
    /// [`NoImage::NotInImages`].
    pub not_in_images: u64,
    /// [`NoImage::OtherChip`].
    pub other_chip: u64,
    /// [`NoImage::OldDriver`].
    pub old_driver: u64,
    /// [`NoImage::Refused`].
    pub refused: u64,
    /// The first refusal: the name of the text and the reason.
    pub first_refusal: Option<String>,
}

impl Loads {
    /// Counts one.
    pub(super) fn count(&mut self, name: &str, code: &Code) {
        let counter = match code {
            Code::Image => &mut self.images,
            Code::Ptx { why } => match why {
                NoImage::NoImages => &mut self.no_images,
                NoImage::NotInImages => &mut self.not_in_images,
                NoImage::OtherChip => &mut self.other_chip,
                NoImage::OldDriver => &mut self.old_driver,
                NoImage::Refused(reason) => {
                    let first = || format!("{name}: {reason}");
                    self.first_refusal.get_or_insert_with(first);
                    &mut self.refused
                }
            },
        };
        *counter += 1;
    }

    /// Loads as PTX text, for any reason.
    pub const fn ptx(&self) -> u64 {
        self.no_images + self.not_in_images + self.other_chip + self.old_driver + self.refused
    }

    /// The loads since `earlier`, which are counts of the same device.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let first_refusal = match earlier.refused {
            0 => self.first_refusal.clone(),
            _ => None,
        };
        Self {
            images: self.images - earlier.images,
            no_images: self.no_images - earlier.no_images,
            not_in_images: self.not_in_images - earlier.not_in_images,
            other_chip: self.other_chip - earlier.other_chip,
            old_driver: self.old_driver - earlier.old_driver,
            refused: self.refused - earlier.refused,
            first_refusal,
        }
    }
}

/// One line: how many of each, and the first refusal.
impl fmt::Display for Loads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} from images, {} from PTX", self.images, self.ptx())?;
        let whys = [
            (self.no_images, "no images given"),
            (self.not_in_images, "not in the images"),
            (self.other_chip, "images of another chip"),
            (self.old_driver, "driver older than the images"),
            (self.refused, "image refused"),
        ];
        let whys = whys.iter().filter(|(count, _)| *count > 0);
        let whys: Vec<String> = whys.map(|(count, why)| format!("{count} {why}")).collect();
        if !whys.is_empty() {
            write!(f, " ({})", whys.join(", "))?;
        }
        match &self.first_refusal {
            Some(reason) => write!(f, "; first refusal: {reason}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_cause_is_counted_apart_and_told() {
        let mut loads = Loads::default();
        let ptx = |why| Code::Ptx { why };
        loads.count("a", &Code::Image);
        loads.count("b", &ptx(NoImage::NotInImages));
        let earlier = loads.clone();
        loads.count(
            "c",
            &ptx(NoImage::Refused("CUDA_ERROR_INVALID_IMAGE".to_owned())),
        );
        loads.count("d", &ptx(NoImage::Refused("another".to_owned())));
        loads.count("e", &ptx(NoImage::OldDriver));
        loads.count("f", &ptx(NoImage::OtherChip));
        loads.count("g", &ptx(NoImage::NoImages));
        assert_eq!((loads.images, loads.ptx()), (1, 6));
        assert_eq!(
            loads.to_string(),
            "1 from images, 6 from PTX (1 no images given, 1 not in the images, 1 images of \
             another chip, 1 driver older than the images, 2 image refused); first refusal: c: \
             CUDA_ERROR_INVALID_IMAGE"
        );
        let since = loads.since(&earlier);
        assert_eq!(
            (since.images, since.not_in_images, since.refused),
            (0, 0, 2)
        );
        assert_eq!(since.first_refusal, loads.first_refusal);
    }
}

//! Compression of images: LZMA, whose dictionary is as long as a module, since the kernels of one
//! differ by little.

use lzma_rust2::{LzmaOptions, LzmaReader, LzmaWriter};
use std::io::{self, Read, Write};

/// Strength, 0 to 9. Higher ones take longer and gain less than 1 %.
const PRESET: u32 = 6;
/// Memory that unpacking may take, KiB: the dictionary of the preset and a little more.
const MEMORY_KIB: u32 = 64 << 10;
/// Bytes of an image, at most.
const MAX_IMAGE: u64 = 1 << 30;

/// The image, packed.
///
/// # Errors
/// Never by what is in it.
pub fn pack(image: &[u8]) -> io::Result<Vec<u8>> {
    let options = LzmaOptions::with_preset(PRESET);
    let length = Some(image.len() as u64);
    let mut writer = LzmaWriter::new_use_header(Vec::new(), &options, length)?;
    writer.write_all(image)?;
    writer.finish()
}

/// The image that was packed, `length` bytes.
///
/// # Errors
/// If the bytes were not packed by [`pack`] or the image has another length.
pub fn unpack(packed: &[u8], length: u64) -> io::Result<Vec<u8>> {
    let wrong = |reason: String| io::Error::new(io::ErrorKind::InvalidData, reason);
    if length > MAX_IMAGE {
        return Err(wrong(format!(
            "{length} bytes once unpacked, at most {MAX_IMAGE}"
        )));
    }
    let mut reader = LzmaReader::new_mem_limit(packed, MEMORY_KIB, None)?;
    let mut image = Vec::with_capacity(length as usize);
    let read = reader.by_ref().take(length + 1).read_to_end(&mut image)?;
    match read as u64 == length {
        true => Ok(image),
        false => Err(wrong(format!(
            "{read} bytes or more once unpacked, expected {length}"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_packed_comes_back_and_nothing_else_does() {
        let image: Vec<u8> = (0..100_000u32)
            .flat_map(|i| (i / 64).to_le_bytes())
            .collect();
        let packed = pack(&image).expect("memory");
        assert!(packed.len() < image.len() / 20, "{}", packed.len());
        let length = image.len() as u64;
        assert_eq!(unpack(&packed, length).expect("packed"), image);
        assert!(unpack(&packed, length - 1).is_err());
        assert!(unpack(&packed, length + 1).is_err());
        assert!(unpack(&packed[..packed.len() / 2], length).is_err());
        assert!(unpack(b"no LZMA at all, whatever its length", length).is_err());
        assert!(unpack(&packed, u64::MAX).is_err());
    }
}

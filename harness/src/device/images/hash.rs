//! Digests: of a PTX text, which finds its image, and of a file, which shows that it is whole.

use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest, Sha256};

/// The first half of the SHA-256 of a PTX text. Any edit, of a comment too, gives another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TextHash([u8; 16]);

impl TextHash {
    /// The hash of a text.
    pub fn of(ptx: &str) -> Self {
        let digest = Sha256::digest(ptx.as_bytes());
        Self(std::array::from_fn(|i| digest[i]))
    }
}

impl Serialize for TextHash {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&hexadecimal(&self.0))
    }
}

impl<'de> Deserialize<'de> for TextHash {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let digits = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let number = digits
            .then(|| u128::from_str_radix(&text, 16).ok())
            .flatten();
        let number = number.ok_or_else(|| D::Error::custom(format!("`{text}` is no hash of PTX")));
        Ok(Self(number?.to_be_bytes()))
    }
}

/// SHA-256 of bytes, hexadecimal.
pub fn sha256(bytes: &[u8]) -> String {
    hexadecimal(&Sha256::digest(bytes))
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_is_written_and_read_and_differs_by_a_comment() {
        let hash = TextHash::of(".version 7.8\n");
        let text = serde_json::to_string(&hash).expect("plain data");
        // The first half of `printf '.version 7.8\n' | sha256sum`.
        assert_eq!(text, "\"15f9bc7eeee0f649040fe81ac1a48a0a\"");
        assert_eq!(
            serde_json::from_str::<TextHash>(&text).expect("a hash"),
            hash
        );
        assert_ne!(TextHash::of(".version 7.8 // edited\n"), hash);
        for wrong in [
            "\"\"",
            "\"+123456789012345678901234567890123\"",
            "\"zz\"",
            "3",
        ] {
            assert!(serde_json::from_str::<TextHash>(wrong).is_err(), "{wrong}");
        }
    }
}

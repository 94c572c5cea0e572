//! MIG slices: parts of a GPU that are devices of their own.

use std::fmt;

/// A slice as NVML names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Slice {
    /// `MIG-` and digits.
    uuid: String,
    /// Such as `NVIDIA H100 80GB HBM3 MIG 1g.10gb`.
    name: Option<String>,
}

impl Slice {
    pub const fn new(uuid: String, name: Option<String>) -> Self {
        Self { uuid, name }
    }
}

impl fmt::Display for Slice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.name {
            Some(name) => write!(f, "{name} ({})", self.uuid),
            None => f.write_str(&self.uuid),
        }
    }
}

/// The slice that CUDA has opened by `uuid`, on a GPU in a MIG mode with these slices; `None` if
/// the GPU is not divided. CUDA opens no divided GPU as a whole, so it is a slice even where it is
/// not found.
pub(super) fn slice_of(mode: u32, slices: &[Slice], uuid: Option<&str>) -> Option<String> {
    if mode == 0 {
        return None;
    }
    // CUDA's UUID is 16 bytes, without a prefix.
    let digits = |uuid: &str| {
        uuid.rsplit_once("GPU-")
            .map(|(_, digits)| digits.to_owned())
    };
    let own = uuid.map(|uuid| digits(uuid).unwrap_or_else(|| uuid.replace("MIG-", "")));
    let is_own = |slice: &&Slice| {
        let digits = slice.uuid.trim_start_matches("MIG-");
        own.as_ref().is_some_and(|own| own == digits)
    };
    let found = match slices {
        [only] => Some(only),
        slices => slices.iter().find(is_own),
    };
    Some(found.map_or_else(|| "a MIG slice without a name".to_owned(), Slice::to_string))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slice(uuid: &str, profile: Option<&str>) -> Slice {
        let name = profile.map(|profile| format!("NVIDIA H100 MIG {profile}"));
        Slice::new(format!("MIG-{uuid}"), name)
    }

    #[test]
    fn the_slice_is_that_of_the_uuid() {
        let slices = [
            slice("a1", Some("1g.10gb")),
            slice("b2", Some("3g.40gb")),
            slice("c3", None),
        ];
        let of = |mode, uuid| slice_of(mode, &slices, uuid);
        assert_eq!(of(0, Some("GPU-b2")), None);
        let second = Some("NVIDIA H100 MIG 3g.40gb (MIG-b2)".to_owned());
        assert_eq!(of(1, Some("GPU-b2")), second);
        assert_eq!(of(1, Some("MIG-b2")), second);
        assert_eq!(of(1, Some("GPU-c3")), Some("MIG-c3".to_owned()));
        // A slice in any case, though not a known one.
        for uuid in [None, Some("GPU-d4")] {
            assert_eq!(of(1, uuid), Some("a MIG slice without a name".to_owned()));
        }
        assert_eq!(slice_of(1, &slices[..1], None), Some(slices[0].to_string()));
    }
}

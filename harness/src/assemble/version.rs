//! The version of the assembler.

/// A version of ptxas.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    /// As `V13.0.88`.
    pub name: String,
    /// The CUDA version that it is of, as 13000 for 13.0.
    pub cuda: u32,
}

impl Version {
    /// From `Cuda compilation tools, release 13.0, V13.0.88`, a line of `ptxas --version`.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (_, rest) = text.split_once("release ")?;
        let mut parts = rest.lines().next()?.split(", ");
        let (major, minor) = parts.next()?.trim().split_once('.')?;
        let (major, minor): (u32, u32) = (major.parse().ok()?, minor.parse().ok()?);
        let name = parts.next()?.trim();
        (major < 1000 && minor < 100 && name.starts_with('V')).then(|| Self {
            name: name.to_owned(),
            cuda: 1000 * major + 10 * minor,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::Version;

    #[test]
    fn a_version_is_read() {
        let text = "ptxas: NVIDIA (R) Ptx optimizing assembler\n\
                    Cuda compilation tools, release 12.8, V12.8.93\nBuild cuda_12.8\n";
        let expected = Version {
            name: "V12.8.93".to_owned(),
            cuda: 12_080,
        };
        assert_eq!(Version::parse(text), Some(expected));
        for wrong in [
            "",
            "release",
            "release 13, V13.0.88",
            "release a.b, V1",
            "release 13.0",
        ] {
            assert_eq!(Version::parse(wrong), None, "{wrong}");
        }
    }
}

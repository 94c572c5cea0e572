//! The `--device` option.

use super::{DeviceError, Result};
use std::fmt;
use std::str::FromStr;

/// The device to run on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DeviceChoice {
    /// The first GPU, or the emulator where there is none.
    #[default]
    Auto,
    /// A GPU, the first unless numbered.
    Cuda(Option<usize>),
    /// The PTX emulator.
    Emulator,
    /// The PTX emulator that, like a GPU, is lost to the process after the first fault of a kernel;
    /// to test what happens then.
    EmulatorLostByFaults,
    /// The CPU kernels; they run no PTX.
    Cpu,
}

impl fmt::Display for DeviceChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Cuda(None) => f.write_str("cuda"),
            Self::Cuda(Some(ordinal)) => write!(f, "cuda:{ordinal}"),
            Self::Emulator => f.write_str("emulator"),
            Self::EmulatorLostByFaults => f.write_str("emulator:lost-by-faults"),
            Self::Cpu => f.write_str("cpu"),
        }
    }
}

impl FromStr for DeviceChoice {
    type Err = DeviceError;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "auto" => Ok(Self::Auto),
            "cuda" => Ok(Self::Cuda(None)),
            "emulator" => Ok(Self::Emulator),
            "emulator:lost-by-faults" => Ok(Self::EmulatorLostByFaults),
            "cpu" => Ok(Self::Cpu),
            _ => {
                // Digits alone: the parser of integers takes a sign too.
                let digits = |n: &&str| n.bytes().all(|byte| byte.is_ascii_digit());
                let ordinal = text.strip_prefix("cuda:").filter(digits);
                let ordinal = ordinal.and_then(|n| n.parse().ok());
                let unknown = || DeviceError::UnknownChoice(text.to_owned());
                ordinal.map(|n| Self::Cuda(Some(n))).ok_or_else(unknown)
            }
        }
    }
}
